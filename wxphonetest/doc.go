// Package wxphonetest is a fake of the WeChat API for tests of code that uses
// package wxphone.
//
// Most tests make a [Server], take a client from it, issue the code that a tap
// on the button would have given, and hand it to the code under test:
//
//	func TestBindPhone(t *testing.T) {
//		wechat := wxphonetest.NewServer(t)
//		app := NewApp(wechat.NewClient())
//
//		code := wechat.IssueCode(wxphone.PhoneInfo{
//			PhoneNumber:     "13800000000",
//			PurePhoneNumber: "13800000000",
//			CountryCode:     "86",
//		})
//
//		if err := app.BindPhone(context.Background(), "user-1", code); err != nil {
//			t.Fatal(err)
//		}
//	}
//
// # What it does
//
// The server keeps WeChat's rules: codes work once and for five minutes,
// access_tokens expire and replace each other, quotas run out, a body without
// Content-Length is turned away. quota/get and rid/get tell what the server
// counted and answered. Failures are made on purpose with
// [Server.FailNext], [Server.RespondNext], [Server.DropNext],
// [Server.LoseNext], [Server.SetLatency] and [Server.RevokeToken].
//
// A request that no working program would send (a wrong method, a body that is
// not JSON, a missing access_token) fails the test as well as the call,
// because such a mistake is easy to overlook behind an errcode. Switch that off
// with [AllowMalformed]. A refused code or secret is left to the test to judge.
// HEAD / is a look whether the host is up, and counts as no request.
//
// # Why it refused
//
// [Server.Exchanges] returns the last 1,000 requests, each with the reason why
// the server refused it: "this code was redeemed 12 s ago; a code works once".
// [WithObserver] shows them as they come. A program that is no test begins with
// [Start], hears of malformed requests through [WithLogger], and begins anew with
// [Server.Reset].
//
// # Time
//
// The server reads the clock with time.Now and waits on timers only, and
// [Server.HTTPClient] calls it without a socket or a goroutine. So in a
// testing/synctest bubble the five minutes of a code pass at once.
package wxphonetest
