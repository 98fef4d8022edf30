// Package wxphonetest is a fake of the WeChat API for tests of code that uses
// package wxphone.
//
// Most tests create a [Server], get a client from it, issue the code that a tap
// on the button would have returned, and pass it to the code under test:
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
// # Behaviour
//
// The server follows WeChat's rules: codes work once and for five minutes,
// access_tokens expire and replace each other, quotas run out, and a body
// without Content-Length is rejected. quota/get and rid/get return what the
// server counted and answered. Tests cause failures with [Server.FailNext],
// [Server.RespondNext], [Server.DropNext], [Server.LoseNext],
// [Server.SetLatency] and [Server.RevokeToken]. [Server.Faults] lists the
// failures still to come, and [Server.ClearFaults] removes them.
//
// A request that no working program would send (a wrong method, a body that is
// not JSON, a missing access_token) fails the test as well as the call, because
// the errcode alone is easy to miss. [AllowMalformed] disables that. A rejected
// code or secret does not fail the test. HEAD / is a health check and does not
// count as a request.
//
// # Why a request was rejected
//
// [Server.Exchanges] returns the last 1,000 requests, each with the reason why
// the server rejected it, such as "this code was redeemed 12 s ago; a code
// works once". [WithObserver] reports them as they arrive. A program that is
// not a test uses [Start], logs malformed requests with [WithLogger], and
// returns to the initial state with [Server.Reset].
//
// # Third-party platforms
//
// The server knows one platform, which [Server.NewComponent] returns. Owners
// authorise it with [Server.AuthorizeByURL] or [Server.AuthorizeApp], and take
// that back with [Server.Deauthorize]. [Server.RevokeRefreshToken] makes a
// refresh token die without notice. What happens is pushed to the handler of
// [Server.PushTo].
//
// # Time
//
// The server reads the clock only with time.Now and waits only on timers, and
// [Server.HTTPClient] calls it without a socket or a goroutine. In a
// testing/synctest bubble, the five minutes of a code therefore pass at once.
package wxphonetest
