package wxphonetest_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/wxphonetest"
)

func Example() {
	wechat, err := wxphonetest.Start() // in a test: wxphonetest.NewServer(t)
	if err != nil {
		log.Fatal(err)
	}
	defer wechat.Close()
	client := wechat.NewClient()

	code := wechat.IssueCode(wxphone.PhoneInfo{
		PhoneNumber:     "13800000000",
		PurePhoneNumber: "13800000000",
		CountryCode:     "86",
	})
	info, err := client.GetPhoneNumber(context.Background(), code)
	fmt.Println(info, err)

	_, err = client.GetPhoneNumber(context.Background(), code)
	fmt.Println(errors.Is(err, wxphone.ErrCodeInvalid))
	// Output:
	// +86 138****0000 <nil>
	// true
}

func ExampleServer_FailNext() {
	wechat, err := wxphonetest.Start()
	if err != nil {
		log.Fatal(err)
	}
	defer wechat.Close()
	client := wechat.NewClient()

	const endpoint = "/wxa/business/getuserphonenumber"
	wechat.FailNext(endpoint, 45011, "", 1)
	code := wechat.IssueCode(wxphone.PhoneInfo{PhoneNumber: "13800000000"})
	_, err = client.GetPhoneNumber(context.Background(), code)
	fmt.Println(errors.Is(err, wxphone.ErrRateLimited), wechat.Requests(endpoint))
	// Output: true 1
}
