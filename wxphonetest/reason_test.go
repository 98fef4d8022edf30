//go:build go1.25

package wxphonetest_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/wxphone/wxphone/wxphonetest"
)

func TestReasonsNameTheCauseAndTheTimeSince(t *testing.T) {
	t.Parallel()
	type server = *wxphonetest.Server
	check := func(t *testing.T, s server, openid, signature string) {
		t.Helper()
		get(t, s, checkSession, withToken(s, "openid", openid, "signature", signature, "sig_method", "hmac_sha256"))
	}
	login := func(t *testing.T, s server, appID, token, jsCode string) {
		t.Helper()
		platformCall(t, s, "GET", componentLogin, url.Values{
			"component_access_token": {token}, "component_appid": {s.ComponentAppID()}, "appid": {appID},
			"js_code": {jsCode}, "grant_type": {"authorization_code"},
		}, nil)
	}
	refresh := func(t *testing.T, s server, token, refreshToken string) platformAnswer {
		t.Helper()
		return platformCall(t, s, "POST", authorizerToken, url.Values{"component_access_token": {token}}, map[string]string{
			"component_appid": s.ComponentAppID(), "authorizer_appid": otherApp, "authorizer_refresh_token": refreshToken,
		})
	}
	for reason, tc := range map[string]struct {
		endpoint string
		errcode  int
		call     func(*testing.T, server)
	}{
		// Codes.
		"this code was redeemed 12 s ago; a code works once": {phoneNumber, 40029, func(t *testing.T, s server) {
			code := s.IssueCode(somePhone)
			redeem(t, s, code)
			time.Sleep(12 * time.Second)
			redeem(t, s, code)
		}},
		"this code expired 3 h 5 min ago; a code lives for 5 minutes": {phoneNumber, 40029, func(t *testing.T, s server) {
			code := s.IssueCode(somePhone)
			time.Sleep(3*time.Hour + 10*time.Minute)
			redeem(t, s, code)
		}},
		"this code was redeemed 6 min 1 s ago; a code works once": {phoneNumber, 40029, func(t *testing.T, s server) {
			code := s.IssueCode(somePhone)
			redeem(t, s, code)
			time.Sleep(6*time.Minute + time.Second)
			redeem(t, s, code)
		}},
		"this is a login code, from wx.login; this API takes the code of the phone number button": {phoneNumber, 40029, func(t *testing.T, s server) {
			redeem(t, s, s.IssueLoginCode("o"))
		}},
		"this code has quotes, braces or spaces around it; this API takes it bare": {phoneNumber, 40029, func(t *testing.T, s server) {
			redeem(t, s, `"`+s.IssueCode(somePhone)+`"`)
		}},
		"the server has issued no such code since it started or was reset": {phoneNumber, 40029, func(t *testing.T, s server) {
			redeem(t, s, "1")
		}},
		"this code was made in the mini-program " + otherApp + "; the access_token is for wx7b3c1f0e9d5a2468": {phoneNumber, 40013, func(t *testing.T, s server) {
			redeem(t, s, s.IssueCode(somePhone, wxphonetest.ForApp(otherApp)))
		}},
		`this code is of the openid "mine", not of "theirs"`: {phoneNumber, 40029, func(t *testing.T, s server) {
			post(t, s, phoneNumber, withToken(s), map[string]string{"code": s.IssueCode(somePhone, wxphonetest.ForOpenID("mine")), "openid": "theirs"})
		}},
		"this code was redeemed 1 s ago; a code works once": {code2Session, 40163, func(t *testing.T, s server) {
			jsCode := s.IssueLoginCode("o")
			logIn(t, s, jsCode)
			time.Sleep(time.Second)
			logIn(t, s, jsCode)
		}},
		"this is a code of the phone number button; a login takes the one of wx.login": {code2Session, 40029, func(t *testing.T, s server) {
			logIn(t, s, s.IssueCode(somePhone))
		}},
		"this code was made in the mini-program " + otherApp + "; the login is for wx7b3c1f0e9d5a2468": {code2Session, 40029, func(t *testing.T, s server) {
			logIn(t, s, s.IssueLoginCodeForApp(otherApp, "o"))
		}},

		// Sessions and data.
		`the user "o" has no session; a login makes one`: {checkSession, 87009, func(t *testing.T, s server) { check(t, s, "o", "0") }},
		"the signature was made with a session_key that was replaced 2 min 0 s ago": {checkSession, 87009, func(t *testing.T, s server) {
			key := s.SessionKey("o")
			s.RotateSessionKey("o")
			time.Sleep(2 * time.Minute)
			check(t, s, "o", sign([]byte(key)))
		}},
		`the signature was not made with a session_key of the user "o"`: {checkSession, 87009, func(t *testing.T, s server) {
			s.SessionKey("o")
			check(t, s, "o", sign([]byte("another")))
		}},
		"the server has encrypted no data with this hash since it started or was reset": {checkEncryptedMsg, 1, func(t *testing.T, s server) { checkData(t, s, "unknown") }},
		"the data was encrypted 73 h 0 min ago; WeChat knows it for 3 days": {checkEncryptedMsg, 1, func(t *testing.T, s server) {
			data, _ := s.Encrypt("o", somePhone)
			time.Sleep(73 * time.Hour)
			checkData(t, s, data)
		}},
		"the cloudID 1: cloudID is invalid (-601005)": {getOpenData, 0, func(t *testing.T, s server) { openCloudIDs(t, s, "o", "1") }},

		// Tokens.
		"the access_token was revoked 3 s ago": {phoneNumber, 40001, func(t *testing.T, s server) {
			token := s.Token()
			s.RevokeToken()
			time.Sleep(3 * time.Second)
			use(t, s, token)
		}},
		"the access_token was replaced by a forced refresh 4 s ago": {phoneNumber, 40001, func(t *testing.T, s server) {
			token := s.Token()
			fetchStable(t, s, true)
			time.Sleep(4 * time.Second)
			use(t, s, token)
		}},
		"the access_token was replaced, and stopped working 5 s ago": {phoneNumber, 40001, func(t *testing.T, s server) {
			token := fetchClassic(t, s).AccessToken
			fetchClassic(t, s)
			time.Sleep(5*time.Minute + 5*time.Second)
			use(t, s, token)
		}},
		"the access_token was replaced twice, the last time 6 s ago": {phoneNumber, 40001, func(t *testing.T, s server) {
			token := fetchClassic(t, s).AccessToken
			fetchClassic(t, s)
			fetchClassic(t, s)
			time.Sleep(6 * time.Second)
			use(t, s, token)
		}},
		"the access_token expired 1 h 0 min ago": {phoneNumber, 42001, func(t *testing.T, s server) {
			token := s.Token()
			time.Sleep(3 * time.Hour)
			use(t, s, token)
		}},
		"the server has handed out no such access_token since it started or was reset": {phoneNumber, 40001, func(t *testing.T, s server) { use(t, s, "1") }},
		"this is the platform's component_access_token; the API takes a mini-program's access_token": {phoneNumber, 40001, func(t *testing.T, s server) {
			use(t, s, fetchComponent(t, s))
		}},
		`the appid is "wx0"; the server's mini-program is wx7b3c1f0e9d5a2468`: {classicToken, 40013, func(t *testing.T, s server) {
			get(t, s, classicToken, values("grant_type", "client_credential", "appid", "wx0", "secret", s.Secret()))
		}},
		"this is not the AppSecret of wx7b3c1f0e9d5a2468": {classicToken, 40125, func(t *testing.T, s server) {
			get(t, s, classicToken, values("grant_type", "client_credential", "appid", s.AppID(), "secret", "wrong"))
		}},
		"all 20 forced refreshes of this day in China are used up": {stableToken, 45009, func(t *testing.T, s server) {
			for range 21 {
				fetchStable(t, s, true)
				time.Sleep(time.Minute)
			}
		}},

		// The platform.
		"this ticket was pushed 13 h 0 min ago; a ticket works for 12 hours": {componentToken, 61005, func(t *testing.T, s server) {
			body := componentBody(s)
			time.Sleep(13 * time.Hour)
			platformCall(t, s, "POST", componentToken, nil, body)
		}},
		`the mini-program "wxfedcba9876543210" has not authorised the platform`: {componentLogin, 61003, func(t *testing.T, s server) {
			login(t, s, otherApp, fetchComponent(t, s), "1")
		}},
		"the mini-program wxfedcba9876543210 withdrew its authorisation 7 s ago": {componentLogin, 61003, func(t *testing.T, s server) {
			s.AuthorizeApp(otherApp)
			s.Deauthorize(otherApp)
			time.Sleep(7 * time.Second)
			login(t, s, otherApp, fetchComponent(t, s), "1")
		}},
		"the authorisation of wxfedcba9876543210 lost permission set 18 8 s ago": {componentLogin, 61007, func(t *testing.T, s server) {
			s.AuthorizeApp(otherApp)
			s.WithdrawPermission(otherApp)
			time.Sleep(8 * time.Second)
			login(t, s, otherApp, fetchComponent(t, s), "1")
		}},
		"the component_access_token was revoked 9 s ago": {componentLogin, 40094, func(t *testing.T, s server) {
			token := fetchComponent(t, s)
			s.RevokeComponentToken()
			time.Sleep(9 * time.Second)
			login(t, s, otherApp, token, "1")
		}},
		"this authorizer_refresh_token of wxfedcba9876543210 stopped working 10 s ago": {authorizerToken, 61023, func(t *testing.T, s server) {
			old := s.AuthorizeApp(otherApp)
			s.RevokeRefreshToken(otherApp)
			time.Sleep(10 * time.Second)
			refresh(t, s, fetchComponent(t, s), old)
		}},
		"this is no authorizer_refresh_token of wxfedcba9876543210 since it authorised the platform last": {authorizerToken, 61023, func(t *testing.T, s server) {
			old := s.AuthorizeApp(otherApp)
			s.AuthorizeApp(otherApp)
			refresh(t, s, fetchComponent(t, s), old)
		}},
		"this authorization_code was exchanged 12 s ago; it works once": {queryAuth, 61010, func(t *testing.T, s server) {
			token, code := fetchComponent(t, s), s.IssueAuthorizationCode(otherApp)
			exchangeCode(t, s, token, code)
			time.Sleep(12 * time.Second)
			exchangeCode(t, s, token, code)
		}},
		"this authorization_code expired 2 min 0 s ago; it lives for 10 minutes": {queryAuth, 61010, func(t *testing.T, s server) {
			code := s.IssueAuthorizationCode(otherApp)
			time.Sleep(12 * time.Minute)
			exchangeCode(t, s, fetchComponent(t, s), code)
		}},
		"this authorization_code is of an earlier authorisation of wxfedcba9876543210": {queryAuth, 61010, func(t *testing.T, s server) {
			code := s.IssueAuthorizationCode(otherApp)
			s.AuthorizeApp(otherApp)
			exchangeCode(t, s, fetchComponent(t, s), code)
		}},
		"the server has issued no such authorization_code since it started or was reset": {queryAuth, 61010, func(t *testing.T, s server) {
			exchangeCode(t, s, fetchComponent(t, s), "queryauthcode@@@another")
		}},
		"the mini-program wxfedcba9876543210 withdrew its authorisation 13 s ago": {queryAuth, 61003, func(t *testing.T, s server) {
			code := s.IssueAuthorizationCode(otherApp)
			s.Deauthorize(otherApp)
			time.Sleep(13 * time.Second)
			exchangeCode(t, s, fetchComponent(t, s), code)
		}},
		"this is not the AppSecret of the platform wx9e8d7c6b5a403f21": {startTicketPush, 40125, func(t *testing.T, s server) {
			authorizeCall(t, s, startTicketPush, "", map[string]any{"component_appid": s.ComponentAppID(), "component_secret": "wrong"})
		}},
		"this pre_auth_code expired 1 min 0 s ago; it lives for 30 minutes": {"/cgi-bin/componentloginpage", 0, func(t *testing.T, s server) {
			code := newPreAuthCode(t, s, fetchComponent(t, s))
			time.Sleep(31 * time.Minute)
			_, err := s.AuthorizeByURL("https://mp.weixin.qq.com/cgi-bin/componentloginpage?auth_type=2&redirect_uri=http%3A%2F%2Fa.test&pre_auth_code="+
				code+"&component_appid="+s.ComponentAppID(), otherApp)
			assert.Error(t, err)
		}},
		"the platform did not answer within 5 seconds": {"push component_verify_ticket", 0, func(_ *testing.T, s server) {
			s.PushTo("/", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
			s.PushTicket()
		}},
		"the access_token was ended by a new authorisation 11 s ago": {phoneNumber, 40001, func(t *testing.T, s server) {
			token := refresh(t, s, fetchComponent(t, s), s.AuthorizeApp(otherApp)).AuthorizerToken
			s.AuthorizeApp(otherApp)
			time.Sleep(11 * time.Second)
			use(t, s, token)
		}},
	} {
		t.Run(reason, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := wxphonetest.NewServer(t)
				tc.call(t, s)
				e := last(t, s)
				assert.Equal(t, tc.endpoint, e.Endpoint)
				assert.Equal(t, tc.errcode, e.Code)
				assert.Equal(t, reason, e.Reason)
				for _, before := range s.Exchanges()[:len(s.Exchanges())-1] {
					assert.Empty(t, before.Reason, "a success has none")
				}
			})
		})
	}
}

func TestReasonsOfAPISecurity(t *testing.T) {
	t.Parallel()
	for reason, spoil := range map[string]func(*securedCall){
		"is neither encrypted nor signed":    nil,
		"Wechatmp-Appid is wx0000000000":     func(c *securedCall) { c.appID = "wx0000000000000000" },
		"which is no appid":                  func(c *securedCall) { c.appID = "wx" },
		"more than the allowed 5 min 0 s":    func(c *securedCall) { c.timestamp = "1000000000" },
		"the signature is not the developer": func(c *securedCall) { c.salt = 20 },
		"the envelope does not decrypt with": func(c *securedCall) { c.sn = "0123" },
	} {
		s := wxphonetest.NewServer(t, wxphonetest.WithAPISecurity())
		if spoil == nil {
			redeem(t, s, "1")
		} else {
			call := goodCall(s)
			spoil(&call)
			call.send(t, s)
		}
		assert.True(t, strings.Contains(last(t, s).Reason, reason), "%q is not in %q", reason, last(t, s).Reason)
	}
}
