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

func ExampleServer_Exchanges() {
	wechat, err := wxphonetest.Start()
	if err != nil {
		log.Fatal(err)
	}
	defer wechat.Close()
	client := wechat.NewClient()

	// The mini-program sends the code of wx.login instead of the button's.
	_, err = client.GetPhoneNumber(context.Background(), wechat.IssueLoginCode("openid"))
	fmt.Println(errors.Is(err, wxphone.ErrCodeInvalid))
	for _, e := range wechat.Exchanges() {
		if e.Reason != "" {
			fmt.Println(e.Code, e.Reason)
		}
	}
	// Output:
	// true
	// 40029 this is a login code, from wx.login; this API takes the code of the phone number button
}
