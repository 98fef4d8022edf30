package tokenhttp_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http/httptest"
	"strings"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/tokenhttp"
	"github.com/wxphone/wxphone/wxphonetest"
)

// One program has the AppSecret and serves its token. Another redeems codes
// with it, also after WeChat refused the token.
func Example() {
	wechat, err := wxphonetest.Start()
	if err != nil {
		log.Fatal(err)
	}
	defer wechat.Close()
	key := strings.Repeat("0123456789abcdef", 4) // yours is random

	// The token server.
	handler, err := tokenhttp.NewHandler(wechat.NewClient().TokenSource(), key)
	if err != nil {
		log.Fatal(err)
	}
	server := httptest.NewServer(handler) // a deployed one has TLS
	defer server.Close()

	// Another program. It has no AppSecret.
	client, err := newClient(wechat.AppID(), server.URL, key,
		wxphone.WithHTTPClient(wechat.HTTPClient())) // a deployed program leaves this out
	if err != nil {
		log.Fatal(err)
	}
	for range 2 {
		code := wechat.IssueCode(wxphone.PhoneInfo{
			PhoneNumber:     "13800000000",
			PurePhoneNumber: "13800000000",
			CountryCode:     "86",
		})
		phone, err := client.GetPhoneNumber(context.Background(), code)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(phone, "with token requests:", wechat.TokenFetches())
		wechat.RevokeToken()
	}
	// Output:
	// +86 138****0000 with token requests: 1
	// +86 138****0000 with token requests: 2
}

// newClient returns a Client that takes its tokens from the token server at
// url.
func newClient(appID, url, key string, opts ...wxphone.Option) (*wxphone.Client, error) {
	source, err := tokenhttp.NewSource(url, key)
	if err != nil {
		return nil, err
	}
	tokens := wxphone.CacheTokens(source) // a call then seldom asks the token server
	return wxphone.New(appID, "", append(opts, wxphone.WithTokenSource(tokens))...)
}

func ExampleAnswerError() {
	wechat, err := wxphonetest.Start()
	if err != nil {
		log.Fatal(err)
	}
	defer wechat.Close()
	key := strings.Repeat("0123456789abcdef", 4)
	handler, err := tokenhttp.NewHandler(wechat.NewClient().TokenSource(), key)
	if err != nil {
		log.Fatal(err)
	}
	server := httptest.NewServer(handler)
	defer server.Close()
	source, err := tokenhttp.NewSource(server.URL, key)
	if err != nil {
		log.Fatal(err)
	}

	wechat.FailNext("/cgi-bin/stable_token", 40164, "", 1)
	_, err = source.Token(context.Background())
	var answer *tokenhttp.AnswerError
	if errors.As(err, &answer) {
		fmt.Println("the token server answered", answer.HTTPStatus)
	}
	if errors.Is(err, wxphone.ErrIPNotAllowed) {
		fmt.Println("its address is not on the IP whitelist")
	}

	stranger, err := tokenhttp.NewSource(server.URL, strings.Repeat("another-key-", 4))
	if err != nil {
		log.Fatal(err)
	}
	_, err = stranger.Token(context.Background())
	if errors.Is(err, tokenhttp.ErrKeyRefused) {
		fmt.Println("the key is wrong; a handler answers", wxphone.HTTPStatus(err))
	}
	// Output:
	// the token server answered 502
	// its address is not on the IP whitelist
	// the key is wrong; a handler answers 500
}
