package otelwxphone_test

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/wxphonetest"
)

// Values that a trace must not show. None is part of another, and none looks
// like something that WeChat's answers hold anyway.
const (
	appSecret       = "5ecre7ba5eba11f00dfeedfacecafe42"
	accessToken     = "99_tOkEn-Qx7ZvB3nM1kL5pW8rT2yU6iO0aS4dF9gH"
	componentToken  = "98_cOmPoNeNt-Lk2JhG5fD8sA1qW4eR7tY0uI3oP6zX"
	componentSecret = "c0ffee5ecre7deadbea7feedf00dba11"
	refreshToken    = "refreshtoken@@@wZ4xC7vB1nM5kJ8hG2fD6s"
	ticket          = "ticket@@@qA3wS6eD9rF2tG5yH8uJ1iK4oL7pZ0x"
	preAuthCode     = "preauthcode@@@Jk3Lm5Np7Qr9St1Uv2Wx4Yz6"
	authCode        = "queryauthcode@@@Bc8De0Fg2Hi4Jk6Lm1No3Pq5"
	phoneCode       = "e3c9a75d1f86b204ea6c8d35b790f124aa53d6e8"
	jsCode          = "0d1JsCoDeXy7ZaBcDeFgHiJkLmNoPqRs"
	openID          = "oOpEnId-Hk5Lm8Np2Qr6St9Uv3Wx7Yz"
	cloudID         = "37_cLoUdId-Zx9Cv6Bn3Mk0Lj7Hg4Fd1Sa8"
	sessionKey      = "q83vASNFZ4mrze8BI0VniQ=="
	number          = "13912345678"
)

var encryptedData, iv = wxphonetest.Seal(sessionKey, `{"phoneNumber":"+86`+number+`","purePhoneNumber":"`+number+
	`","countryCode":"86","watermark":{"timestamp":1700000000,"appid":"wx0123456789abcdef"}}`)

// calls are the methods that ask WeChat.
var calls = map[string]func(context.Context, *wxphone.Client) error{
	"AccessToken": func(ctx context.Context, c *wxphone.Client) error {
		_, err := c.AccessToken(ctx)
		return err
	},
	"GetPhoneNumber": func(ctx context.Context, c *wxphone.Client) error {
		_, err := c.GetPhoneNumber(ctx, phoneCode, wxphone.WithOpenID(openID))
		return err
	},
	"GetPhoneNumberByCloudID": func(ctx context.Context, c *wxphone.Client) error {
		_, err := c.GetPhoneNumberByCloudID(ctx, openID, cloudID)
		return err
	},
	"Code2Session": func(ctx context.Context, c *wxphone.Client) error {
		_, err := c.Code2Session(ctx, jsCode)
		return err
	},
	"CheckSessionKey": func(ctx context.Context, c *wxphone.Client) error {
		return c.CheckSessionKey(ctx, openID, sessionKey)
	},
	"ResetUserSessionKey": func(ctx context.Context, c *wxphone.Client) error {
		_, err := c.ResetUserSessionKey(ctx, openID, sessionKey)
		return err
	},
	"CheckEncryptedData": func(ctx context.Context, c *wxphone.Client) error {
		_, err := c.CheckEncryptedData(ctx, encryptedData)
		return err
	},
	"RevealPhoneNumber": func(ctx context.Context, c *wxphone.Client) error {
		_, err := c.RevealPhoneNumber(ctx, &wxphone.Session{OpenID: openID, SessionKey: sessionKey}, encryptedData, iv)
		return err
	},
}

// platformCalls are the methods of a third-party platform that ask WeChat.
var platformCalls = map[string]func(context.Context, *wxphone.Component) error{
	"AccessToken": func(ctx context.Context, c *wxphone.Component) error {
		_, err := c.AccessToken(ctx)
		return err
	},
	"AuthorizationURL": func(ctx context.Context, c *wxphone.Component) error {
		_, err := c.AuthorizationURL(ctx, wxphone.AuthorizationLink{RedirectURI: "https://platform.example.com/authorized"})
		return err
	},
	"QueryAuthorization": func(ctx context.Context, c *wxphone.Component) error {
		_, err := c.QueryAuthorization(ctx, authCode)
		return err
	},
	"Authorizers": func(ctx context.Context, c *wxphone.Component) error {
		for _, err := range c.Authorizers(ctx) {
			if err != nil {
				return err
			}
		}
		return nil
	},
	"StartTicketPush": func(ctx context.Context, c *wxphone.Component) error { return c.StartTicketPush(ctx) },
}

// The observer is not told the method, so this compares it with what arrives.
func TestMethodIsTheOneThatArrives(t *testing.T) {
	t.Parallel()
	ctx := context.Background() // WeChat knows none of the codes
	for name, callAll := range map[string]func(*testing.T, *wxphonetest.Server, wxphone.Option){
		"stable": func(_ *testing.T, s *wxphonetest.Server, o wxphone.Option) {
			client := s.NewClient(o)
			for _, call := range calls {
				_ = call(ctx, client)
			}
		},
		"classic": func(_ *testing.T, s *wxphonetest.Server, o wxphone.Option) {
			_, _ = s.NewClient(o, wxphone.WithClassicToken()).AccessToken(ctx)
		},
		"platform": func(t *testing.T, s *wxphonetest.Server, o wxphone.Option) {
			platform := s.NewComponent(o)
			for _, call := range platformCalls {
				_ = call(ctx, platform)
			}
			client, err := platform.Client(s.AppID(), &refreshTokens{token: s.Authorize()})
			require.NoError(t, err)
			for _, call := range calls {
				_ = call(ctx, client)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRecorder()
			wechat := wxphonetest.NewServer(t)
			callAll(t, wechat, r.option())

			var arrived []string
			for _, exchange := range wechat.Exchanges() {
				arrived = append(arrived, exchange.Method+" "+exchange.Endpoint)
			}
			assert.NotEmpty(t, arrived)
			assert.Equal(t, arrived, r.names())
			for _, span := range r.spans() {
				method, _, _ := strings.Cut(span.Name, " ")
				assert.Contains(t, text(span.Attributes), "http.request.method="+method+" ")
			}
		})
	}
}
