package wxphone_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/wxphonetest"
)

func TestPlatformServesItsMiniPrograms(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	server := wxphonetest.NewServer(t)
	own, other := server.AppID(), "wxfedcba9876543210"
	tokens := authorized(server, own, other)
	platform := server.NewComponent()
	clients := map[string]*wxphone.Client{own: clientOf(t, platform, own, tokens), other: clientOf(t, platform, other, tokens)}

	accessTokens := make(map[string]bool)
	for appID, client := range clients {
		info, err := client.GetPhoneNumber(ctx, server.IssueCode(aPhone, wxphonetest.ForApp(appID)))
		require.NoError(t, err)
		assert.Equal(t, someNumber, info.PurePhoneNumber)
		assert.Equal(t, appID, info.Watermark.AppID)

		openid := "openid-in-" + appID
		server.SetUnionID(openid, "union-"+appID)
		session, err := client.Code2Session(ctx, server.IssueLoginCodeForApp(appID, openid))
		require.NoError(t, err)
		assert.Equal(t, &wxphone.Session{OpenID: openid, UnionID: "union-" + appID, SessionKey: server.SessionKey(openid)}, session)
		require.NoError(t, client.CheckSessionKey(ctx, openid, session.SessionKey))
		token, err := client.AccessToken(ctx)
		require.NoError(t, err)
		accessTokens[token.AccessToken] = true
	}
	assert.Len(t, accessTokens, 2, "each mini-program has its own token")
	assert.Equal(t, 1, server.Requests(componentTokenAPI))
	assert.Equal(t, 2, server.Requests(authorizerTokenAPI))
	assert.Equal(t, 2, server.Requests(componentLoginAPI))
	assert.Zero(t, server.Requests("/sns/jscode2session"))
	assert.Zero(t, server.TokenFetches(), "a mini-program's own tokens")

	info, err := clients[own].VerifyPhoneNumber(ctx, server.SessionKey("openid"), first(server.Encrypt("openid", aPhone)), "AAAAAAAAAAAAAAAAAAAAAA==")
	assert.Nil(t, info)
	require.ErrorIs(t, err, wxphone.ErrDecrypt, "WeChat knows the data, and its iv is another one")

	_, err = clients[own].GetPhoneNumber(ctx, server.IssueCode(aPhone, wxphonetest.ForApp(other)))
	require.ErrorIs(t, err, wxphone.ErrAppIDMismatch, "a code of another mini-program")
	_, err = clients[own].Code2Session(ctx, server.IssueLoginCodeForApp(other, "openid"))
	require.ErrorIs(t, err, wxphone.ErrCodeInvalid, "a login of another mini-program, whose errcode is a string")
}

func first(a, _ string) string { return a }

func TestComponentRefusesArgumentsThatCannotBeRight(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, appID, secret string
		ticket              func(context.Context) (string, error)
		opts                []wxphone.Option
		names               string
	}{
		{"no appid", "", someSecret, latestTicket, nil, "component_appid"},
		{"blank around the appid", someComponentID + "\n", someSecret, latestTicket, nil, "component_appid"},
		{"no secret", someComponentID, "", latestTicket, nil, "component_appsecret"},
		{"blank around the secret", someComponentID, " " + someSecret, latestTicket, nil, "component_appsecret"},
		{"no ticket", someComponentID, someSecret, nil, nil, "ticket"},
		{"nil option", someComponentID, someSecret, latestTicket, []wxphone.Option{nil}, "option"},
		{"bad option", someComponentID, someSecret, latestTicket, []wxphone.Option{wxphone.WithMaxRetries(-1)}, "WithMaxRetries"},
	} {
		platform, err := wxphone.NewComponent(tt.appID, tt.secret, tt.ticket, tt.opts...)
		assert.Nil(t, platform, tt.name)
		assertInvalid(t, err, tt.names)
	}

	platform, err := wxphone.NewComponent(someComponentID, someComponentSecret, latestTicket)
	require.NoError(t, err)
	tokens := &refreshTokens{}
	for _, tt := range []struct {
		name, appID string
		platform    *wxphone.Component
		tokens      wxphone.RefreshTokens
		opts        []wxphone.Option
		names       string
	}{
		{"no appid", "", platform, tokens, nil, "authorizer_appid"},
		{"blank around the appid", someAppID + " ", platform, tokens, nil, "authorizer_appid"},
		{"no refresh tokens", someAppID, platform, nil, nil, "tokens"},
		{"nil option", someAppID, platform, tokens, []wxphone.Option{nil}, "option"},
		{"bad option", someAppID, platform, tokens, []wxphone.Option{wxphone.WithBaseURL("api.weixin.qq.com")}, "WithBaseURL"},
		{"nil Component", someAppID, nil, tokens, nil, "NewComponent"},
		{"zero Component", someAppID, new(wxphone.Component), tokens, nil, "NewComponent"},
	} {
		client, err := tt.platform.Client(tt.appID, tt.tokens, tt.opts...)
		assert.Nil(t, client, tt.name)
		assertInvalid(t, err, tt.names)
	}

	for name, misfit := range map[string]wxphone.Option{
		"WithTokenSource":    wxphone.WithTokenSource(fixedToken(someToken)),
		"WithClassicToken":   wxphone.WithClassicToken(),
		"WithoutAccessToken": wxphone.WithoutAccessToken(),
	} {
		_, err := wxphone.NewComponent(someComponentID, someComponentSecret, latestTicket, misfit)
		assertInvalid(t, err, name)
		_, err = platform.Client(someAppID, tokens, misfit)
		assertInvalid(t, err, name)
	}
}

func TestPlatformsAnswersWithoutTheirTokenAreNoAnswers(t *testing.T) {
	t.Parallel()
	for api, bodies := range map[string][]string{
		componentTokenAPI: {
			`{}`, `{"errcode":0}`, `{"expires_in":7200}`, `{"component_access_token":"","expires_in":7200}`,
			`{"component_access_token":null}`, `{"component_access_token":["a"]}`, `{"access_token":"of another API","expires_in":7200}`,
			`null`, `[]`, ``, `<html>`, `{"component_access_token":"`,
		},
		authorizerTokenAPI: {
			`{}`, `{"errcode":"0"}`, `{"expires_in":7200,"authorizer_refresh_token":"refreshtoken@@@x"}`,
			`{"authorizer_access_token":{},"expires_in":7200}`, `{"access_token":"of another API","expires_in":7200}`, `<html>`,
		},
		componentLoginAPI: {`{}`, `{"openid":"openid"}`, `{"session_key":"tiihtNczf5v6AKRyjwEUhQ=="}`, `{"errcode":"0"}`, `<html>`},
	} {
		for _, body := range bodies {
			client := platformAgainst(t, api, func(w http.ResponseWriter, _ string) { _, _ = io.WriteString(w, body) })
			err := callAt(client, api)
			var response *wxphone.ResponseError
			require.ErrorAs(t, err, &response, "%s: %s", api, body)
			assert.Equal(t, api, response.Endpoint)
			assert.Equal(t, http.StatusBadGateway, wxphone.HTTPStatus(err))
		}
	}
}

func TestPlatformsAnswersAreReadLeniently(t *testing.T) {
	t.Parallel()
	for api, bodies := range map[string][]string{
		componentTokenAPI: {
			`{"component_access_token":"a","expires_in":"7200"}`, `{"component_access_token":"a"}`, `{"component_access_token":12345678,"expires_in":7200}`,
			`{"errcode":"0","component_access_token":"a","expires_in":99999999999}`,
		},
		authorizerTokenAPI: {
			`{"authorizer_access_token":"a","expires_in":7200}`, `{"authorizer_access_token":"a","expires_in":"7200","authorizer_refresh_token":null}`,
			`{"authorizer_access_token":"a","expires_in":-1,"authorizer_refresh_token":{}}`,
		},
	} {
		for _, body := range bodies {
			client := platformAgainst(t, api, func(w http.ResponseWriter, _ string) { _, _ = io.WriteString(w, body) })
			require.NoError(t, callAt(client, api), body)
		}
	}
}

func TestComponentPrintsNoSecret(t *testing.T) {
	t.Parallel()
	secrets := []string{someComponentSecret, someTicket, someRefreshToken}
	platform, err := wxphone.NewComponent(someComponentID, someComponentSecret, latestTicket)
	require.NoError(t, err)
	tokens := &refreshTokens{tokens: map[string]string{someAppID: someRefreshToken}}
	assertPrintsWithout(t, *platform, secrets...)
	assertPrintsWithout(t, *clientOf(t, platform, someAppID, tokens), secrets...)
	assert.Equal(t, "wxphone.Component("+someComponentID+")", fmt.Sprintf("%+v", platform))
	assert.Equal(t, "wxphone.Component()", fmt.Sprint(new(wxphone.Component)))
	assert.Equal(t, "wxphone.Client("+someAppID+")", fmt.Sprintf("%#v", clientOf(t, platform, someAppID, tokens)))
}

// counter is an observer that counts.
type counter struct {
	mu    sync.Mutex
	calls map[string]int
}

func (c *counter) option() wxphone.Option {
	return wxphone.WithObserver(func(_ context.Context, call wxphone.Call) {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.calls == nil {
			c.calls = make(map[string]int)
		}
		c.calls[call.Endpoint]++
	})
}

func TestClientInheritsThePlatformsOptions(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	server := wxphonetest.NewServer(t)
	const other = "wxfedcba9876543210"
	tokens := authorized(server, server.AppID(), other)
	var ofPlatform, ofClient counter
	platform := server.NewComponent(ofPlatform.option(), wxphone.WithMaxRetries(0), wxphone.WithWatermarkMaxAge(time.Hour))
	inherits := clientOf(t, platform, server.AppID(), tokens)
	overrides := clientOf(t, platform, other, tokens, ofClient.option(), wxphone.WithMaxRetries(1), wxphone.WithWatermarkMaxAge(100*365*24*time.Hour))

	for _, api := range []string{phoneAPI, componentLoginAPI} {
		call := func(client *wxphone.Client, appID string) error {
			server.FailNext(api, -1, "", 1)
			if api == phoneAPI {
				_, err := client.GetPhoneNumber(ctx, server.IssueCode(aPhone, wxphonetest.ForApp(appID)))
				return err
			}
			_, err := client.Code2Session(ctx, server.IssueLoginCodeForApp(appID, "openid"))
			return err
		}
		require.ErrorIs(t, call(inherits, server.AppID()), wxphone.ErrSystemBusy, api)
		require.NoError(t, call(overrides, other), api)
	}
	assert.Equal(t, map[string]int{componentTokenAPI: 1, authorizerTokenAPI: 2, phoneAPI: 3, componentLoginAPI: 3}, ofPlatform.calls,
		"the platform's observer sees all its Clients' calls")
	assert.Equal(t, map[string]int{authorizerTokenAPI: 1, phoneAPI: 2, componentLoginAPI: 2}, ofClient.calls)

	old := aPhone
	old.Watermark = wxphone.Watermark{AppID: server.AppID(), Timestamp: 1700000000}
	data, iv := server.Encrypt("openid", old)
	_, err := inherits.DecryptPhoneNumber(server.SessionKey("openid"), data, iv)
	require.ErrorIs(t, err, wxphone.ErrWatermarkExpired)
	old.Watermark.AppID = other
	data, iv = server.Encrypt("openid", old)
	_, err = overrides.DecryptPhoneNumber(server.SessionKey("openid"), data, iv)
	require.NoError(t, err)
}

func TestPlatformsOptionsAreNotChangedByItsClients(t *testing.T) {
	t.Parallel()
	server := wxphonetest.NewServer(t)
	opts := make([]wxphone.Option, 0, 9) // room to append into
	opts = append(opts, wxphone.WithHTTPClient(server.HTTPClient()))
	ticket := func(context.Context) (string, error) { return server.Ticket(), nil }
	platform, err := wxphone.NewComponent(server.ComponentAppID(), server.ComponentSecret(), ticket, opts...)
	require.NoError(t, err)
	tokens := authorized(server, server.AppID())
	clientOf(t, platform, server.AppID(), tokens, wxphone.WithHTTPClient(&http.Client{Transport: roundTrip(
		func(*http.Request) (*http.Response, error) { return nil, errors.New("another mini-program's proxy") },
	)}))
	_, err = clientOf(t, platform, server.AppID(), tokens).AccessToken(context.Background())
	require.NoError(t, err)
}

// An unreachable host is met once by the platform, and not once for each
// mini-program; but a mini-program's own proxy says nothing about the others'.
func TestMiniProgramsShareTheViewOfTheHosts(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	server := wxphonetest.NewServer(t)
	var mu sync.Mutex
	dials := make(map[string]int)
	outage := func(name string) *http.Client {
		return &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			if r.URL.Host == "api.weixin.qq.com" {
				mu.Lock()
				dials[name]++
				mu.Unlock()
				return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
			}
			return server.HTTPClient().Transport.RoundTrip(r)
		})}
	}
	platform := server.NewComponent(wxphone.WithHTTPClient(outage("platform")))
	for i := range 5 {
		appID := fmt.Sprintf("wx%016d", i)
		client := clientOf(t, platform, appID, authorized(server, appID), wxphone.WithMaxRetries(i))
		_, err := client.GetPhoneNumber(ctx, server.IssueCode(aPhone, wxphonetest.ForApp(appID)))
		require.NoError(t, err)
	}
	proxied := clientOf(t, platform, server.AppID(), authorized(server, server.AppID()), wxphone.WithHTTPClient(outage("proxy")))
	_, err := proxied.AccessToken(ctx)
	require.NoError(t, err)
	assert.Equal(t, map[string]int{"platform": 1, "proxy": 1}, dials)
}
