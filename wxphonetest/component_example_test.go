package wxphonetest_test

import (
	"context"
	"fmt"
	"log"
	"net/http"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/wxphonetest"
)

// The server pushes to the handler under test what a method makes happen.
func ExampleServer_PushTo() {
	wechat, err := wxphonetest.Start()
	if err != nil {
		log.Fatal(err)
	}
	defer wechat.Close()
	events := wechat.NewPushReader().Handler(func(_ context.Context, push *wxphone.Push) error {
		fmt.Printf("%s %q\n", push.InfoType, push.AuthorizerAppID)
		return nil
	})
	mux := http.NewServeMux()
	mux.Handle("/wechat/events", events)

	wechat.PushTo("/wechat/events", mux)
	wechat.PushTicket()
	wechat.IssueAuthorizationCode("wx0123456789abcdef")
	wechat.Deauthorize("wx0123456789abcdef")
	// Output:
	// component_verify_ticket ""
	// authorized "wx0123456789abcdef"
	// unauthorized "wx0123456789abcdef"
}
