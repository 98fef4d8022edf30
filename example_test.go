package wxphone_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"os"
	"time"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/wxphonetest"
)

// The examples talk to a fake WeChat. A deployed program makes its client with
// New alone, once per process.
func ExampleNew() {
	client, err := wxphone.New("wx0123456789abcdef", "the AppSecret",
		wxphone.WithMaxRetries(1),
		wxphone.WithLogger(slog.Default()),
	)
	if err != nil {
		log.Fatal(err) // an option or a credential that cannot be right
	}
	_ = client // hand it to your handlers

	_, err = wxphone.New("wx0123456789abcdef", "")
	fmt.Println(err)
	// Output:
	// wxphone: invalid argument: secret is empty
}

func ExampleClient_GetPhoneNumber() {
	wechat, err := wxphonetest.Start()
	if err != nil {
		log.Fatal(err)
	}
	defer wechat.Close()
	code := wechat.IssueCode(wxphone.PhoneInfo{
		PhoneNumber:     "13800000000",
		PurePhoneNumber: "13800000000",
		CountryCode:     "86",
	})
	ctx, client := context.Background(), wechat.NewClient()

	phone, err := client.GetPhoneNumber(ctx, code) // e.detail.code of the button
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(phone)        // masked, for logs and pages
	fmt.Println(phone.E164()) // the number itself, for your database
	// Output:
	// +86 138****0000
	// +8613800000000
}

func ExampleWithOpenID() {
	wechat, err := wxphonetest.Start()
	if err != nil {
		log.Fatal(err)
	}
	defer wechat.Close()
	code := wechat.IssueCode(wxphone.PhoneInfo{
		PhoneNumber:     "13800000000",
		PurePhoneNumber: "13800000000",
		CountryCode:     "86",
	}, wxphonetest.ForOpenID("openid-of-alice"))
	ctx, client := context.Background(), wechat.NewClient()

	// The openid is the one of your own session, never one from the request.
	_, err = client.GetPhoneNumber(ctx, code, wxphone.WithOpenID("openid-of-mallory"))
	fmt.Println("refused:", errors.Is(err, wxphone.ErrCodeInvalid))

	phone, err := client.GetPhoneNumber(ctx, code, wxphone.WithOpenID("openid-of-alice"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(phone)
	// Output:
	// refused: true
	// +86 138****0000
}

func ExampleAPIError() {
	wechat, err := wxphonetest.Start()
	if err != nil {
		log.Fatal(err)
	}
	defer wechat.Close()
	wechat.FailNext("/wxa/business/getuserphonenumber", 45011, "", 1)
	ctx, client := context.Background(), wechat.NewClient()

	_, err = client.GetPhoneNumber(ctx, "a code")
	if errors.Is(err, wxphone.ErrRateLimited) {
		fmt.Println("too many calls in this minute")
	}
	var refusal *wxphone.APIError
	if errors.As(err, &refusal) {
		fmt.Println(refusal.Code, refusal.Kind(), refusal.Retryable())
	}
	// Output:
	// too many calls in this minute
	// 45011 rate limited true
}

func ExampleHTTPStatus() {
	wechat, err := wxphonetest.Start()
	if err != nil {
		log.Fatal(err)
	}
	defer wechat.Close()
	ctx, client := context.Background(), wechat.NewClient()

	_, err = client.GetPhoneNumber(ctx, "a code that WeChat does not know")
	fmt.Println(wxphone.HTTPStatus(err))

	wechat.FailNext("/wxa/business/getuserphonenumber", 45011, "", 1)
	_, err = client.GetPhoneNumber(ctx, "a code")
	fmt.Println(wxphone.HTTPStatus(err))

	fmt.Println(wxphone.HTTPStatus(context.DeadlineExceeded), wxphone.HTTPStatus(nil))
	// Output:
	// 400
	// 429
	// 504 200
}

func ExampleNextStep() {
	wechat, err := wxphonetest.Start()
	if err != nil {
		log.Fatal(err)
	}
	defer wechat.Close()
	ctx, client := context.Background(), wechat.NewClient()

	_, err = client.GetPhoneNumber(ctx, "a code that WeChat does not know")
	fmt.Println(wxphone.NextStep(err)) // a handler answers {"step": "tap_again"}

	_, err = client.Code2Session(ctx, "a code of wx.login that WeChat does not know")
	fmt.Println(wxphone.NextStep(err))

	fmt.Println(wxphone.NextStep(context.DeadlineExceeded), wxphone.NextStep(nil))
	// Output:
	// tap_again
	// log_in
	// send_again done
}

// The mini-program sends a code again because the answer was lost on its way.
func ExampleWithDuplicateWindow() {
	wechat, err := wxphonetest.Start()
	if err != nil {
		log.Fatal(err)
	}
	defer wechat.Close()
	code := wechat.IssueCode(wxphone.PhoneInfo{
		PhoneNumber:     "13800000000",
		PurePhoneNumber: "13800000000",
		CountryCode:     "86",
	})
	ctx, client := context.Background(), wechat.NewClient(wxphone.WithDuplicateWindow(5*time.Minute))

	for range 2 {
		phone, err := client.GetPhoneNumber(ctx, code)
		fmt.Println(phone, err)
	}
	fmt.Println("requests:", wechat.Requests("/wxa/business/getuserphonenumber"))
	// Output:
	// +86 138****0000 <nil>
	// +86 138****0000 <nil>
	// requests: 1
}

func ExampleClient_AccessToken() {
	wechat, err := wxphonetest.Start()
	if err != nil {
		log.Fatal(err)
	}
	defer wechat.Close()
	ctx, client := context.Background(), wechat.NewClient()

	token, err := client.AccessToken(ctx)
	if err != nil {
		log.Fatal(err)
	}
	wechat.RevokeToken() // another program retires it, so another API answers 40001

	// Say that WeChat refused the token, and ask again.
	if err := client.InvalidateAccessToken(ctx, token.AccessToken); err != nil {
		log.Fatal(err)
	}
	next, err := client.AccessToken(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("another token:", next.AccessToken != token.AccessToken)
	// Output:
	// another token: true
}

func ExampleCacheTokens() {
	wechat, err := wxphonetest.Start()
	if err != nil {
		log.Fatal(err)
	}
	defer wechat.Close()
	fetches := 0
	tokenService := wxphone.TokenSourceFunc(func(context.Context) (wxphone.Token, error) {
		fetches++ // here: ask the service that keeps your company's tokens
		return wxphone.Token{AccessToken: wechat.Token(), ExpiresAt: time.Now().Add(time.Hour)}, nil
	})

	client := wechat.NewClient(wxphone.WithTokenSource(wxphone.CacheTokens(tokenService)))

	for range 3 {
		code := wechat.IssueCode(wxphone.PhoneInfo{PhoneNumber: "13800000000"})
		if _, err := client.GetPhoneNumber(context.Background(), code); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Println("fetches:", fetches)
	// Output:
	// fetches: 1
}

func ExampleWithObserver() {
	wechat, err := wxphonetest.Start()
	if err != nil {
		log.Fatal(err)
	}
	defer wechat.Close()
	code := wechat.IssueCode(wxphone.PhoneInfo{PhoneNumber: "13800000000"})
	wechat.FailNext("/wxa/business/getuserphonenumber", -1, "", 1)

	client := wechat.NewClient(wxphone.WithObserver(func(_ context.Context, call wxphone.Call) {
		fmt.Println(call.Endpoint, "attempt", call.Attempt, "errcode", call.Code)
	}))

	if _, err := client.GetPhoneNumber(context.Background(), code); err != nil {
		log.Fatal(err)
	}
	// Output:
	// /cgi-bin/stable_token attempt 1 errcode 0
	// /wxa/business/getuserphonenumber attempt 1 errcode -1
	// /wxa/business/getuserphonenumber attempt 2 errcode 0
}

func ExampleWithLogger() {
	wechat, err := wxphonetest.Start()
	if err != nil {
		log.Fatal(err)
	}
	defer wechat.Close()
	code := wechat.IssueCode(wxphone.PhoneInfo{PhoneNumber: "13800000000"})
	wechat.FailNext("/wxa/business/getuserphonenumber", -1, "", 1)

	handler := slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{
		Level: slog.LevelWarn,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			switch a.Key {
			case slog.TimeKey, "wait", "error": // they differ from run to run
				return slog.Attr{}
			}
			return a
		},
	})
	client := wechat.NewClient(wxphone.WithLogger(slog.New(handler)))

	if _, err := client.GetPhoneNumber(context.Background(), code); err != nil {
		log.Fatal(err)
	}
	// Output:
	// level=WARN msg="wxphone: trying again" appid=wx7b3c1f0e9d5a2468 endpoint=/wxa/business/getuserphonenumber attempt=1
}

// The failures that a handler should stand.
func Example_failures() {
	wechat, err := wxphonetest.Start()
	if err != nil {
		log.Fatal(err)
	}
	defer wechat.Close()
	client := wechat.NewClient()

	const phone = "/wxa/business/getuserphonenumber"
	wechat.FailNext(phone, -1, "", -1)    // busy until told otherwise: 503; once would be retried: 200
	wechat.FailNext(phone, 45011, "", 1)  // rate limited: 429
	wechat.SetLatency(phone, time.Minute) // longer than the handler waits: 504; no time in synctest
	wechat.DropNext(phone, 1)             // connection cut, code unused: retried
	wechat.LoseNext(phone, 1)             // code used up, answer lost: 400 after the retry

	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	_, err = client.GetPhoneNumber(ctx, "a code")
	fmt.Println(wxphone.HTTPStatus(err))
	// Output: 504
}

// Two processes that share a store make one token request. In a program, the
// store is one of redisstore's.
func ExampleWithTokenStore() {
	wechat, err := wxphonetest.Start()
	if err != nil {
		log.Fatal(err)
	}
	defer wechat.Close()

	store := new(wxphonetest.MemoryStore)
	for range 2 {
		client := wechat.NewClient(wxphone.WithTokenStore(store), wxphone.WithClassicToken())
		if _, err := client.AccessToken(context.Background()); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Println("token requests:", wechat.TokenFetches())
	// Output: token requests: 1
}
