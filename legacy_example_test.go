package wxphone_test

import (
	"errors"
	"fmt"

	"github.com/wxphone/wxphone"
)

func ExampleDecryptPhoneNumber() {
	// The key is from Code2Session; the rest is what the button's event holds.
	key := wxphone.SessionKey("AAECAwQFBgcICQoLDA0ODw==")
	iv := "EBESExQVFhcYGRobHB0eHw=="
	encryptedData := "aLhedzo+Z6es5zW+YHo9snYC0yqzXTKggXNMQvhcyudkik75xObeE7YxlOkqVmhF" +
		"K8f+LxhMgOYi9sTvM5HwmI782mFnqn3zZPlUfzWBBP/6qAGbf5iVZm6scZDBeHhAYxqAfDna3wjWIIw4" +
		"JekkOgPqYRi5a1p2CbxrAzXBAOZMvs9LoF8ukdHuBs+IbJ3JzDVGGDB3LlRR1b+PJx8SKA=="

	phone, err := wxphone.DecryptPhoneNumber("wx0123456789abcdef", key, encryptedData, iv)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(phone)
	fmt.Println(phone.Watermark.Time().UTC())

	_, err = wxphone.DecryptPhoneNumber("wx0123456789abcdef", key, encryptedData, "iv of another tap")
	fmt.Println(errors.Is(err, wxphone.ErrDecrypt))
	// Output:
	// +86 138****0000
	// 2023-11-14 22:13:20 +0000 UTC
	// true
}
