package wxphone_test

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/jarcoal/httpmock"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/wxphonetest"
)

func TestNewRefusesCredentialsThatCannotBeRight(t *testing.T) {
	t.Parallel()
	source := wxphone.WithTokenSource(fixedToken(someToken))
	tests := []struct {
		name, appID, secret string
		opts                []wxphone.Option
		names               string
	}{
		{"no appid", "", someSecret, nil, "appid"},
		{"blank appid", " ", someSecret, nil, "appid"},
		{"space before the appid", " " + someAppID, someSecret, nil, "appid"},
		{"line end after the appid", someAppID + "\n", someSecret, nil, "appid"},
		{"no secret", someAppID, "", nil, "secret"},
		{"blank secret", someAppID, "\t", nil, "secret"},
		{"line end after the secret", someAppID, someSecret + "\r\n", nil, "secret"},
		{"no secret for classic tokens", someAppID, "", []wxphone.Option{wxphone.WithClassicToken()}, "secret"},
		{"no appid beside a source", "", "", []wxphone.Option{source}, "appid"},
		// A secret that is not needed now may still be for Code2Session.
		{"bad secret beside a source", someAppID, someSecret + " ", []wxphone.Option{source}, "secret"},
		{"bad secret without tokens", someAppID, someSecret + " ", []wxphone.Option{wxphone.WithoutAccessToken()}, "secret"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			client, err := wxphone.New(tt.appID, tt.secret, tt.opts...)
			assert.Nil(t, client)
			assertInvalid(t, err, tt.names)
			assert.NotContains(t, err.Error(), someSecret)
		})
	}
}

// badAppIDs spell what could be another account's key in a store, or are too
// long for one.
var badAppIDs = []string{
	someAppID + ":lock", "wx1:wx2", ":", "wx 1", "wx1/2", "wx.1", "wx1\x00", "wx1\n2", "微信", "wx1\u200b", "wx1{2}", "wx1*", "wx1%3a",
	strings.Repeat("a", 65), "\xff",
}

func TestAppIDThatSpellsAnotherKeyIsRefused(t *testing.T) {
	t.Parallel()
	platform, err := wxphone.NewComponent(someComponentID, someComponentSecret, latestTicket)
	require.NoError(t, err)
	for _, appID := range badAppIDs {
		client, err := wxphone.New(appID, someSecret)
		assert.Nil(t, client)
		assertInvalid(t, err, "appid")
		client, err = wxphone.New(appID, "", wxphone.WithTokenSource(fixedToken(someToken)))
		assert.Nil(t, client)
		assertInvalid(t, err, "appid")
		component, err := wxphone.NewComponent(appID, someComponentSecret, latestTicket)
		assert.Nil(t, component)
		assertInvalid(t, err, "component_appid")
		client, err = platform.Client(appID, &refreshTokens{})
		assert.Nil(t, client)
		assertInvalid(t, err, "authorizer_appid")
		reader, err := wxphone.NewPushReader(appID, "token", strings.Repeat("a", 43))
		assert.Nil(t, reader)
		assertInvalid(t, err, "component_appid")
		assert.NotContains(t, err.Error(), "\n")
	}
	for _, appID := range []string{"a", "wx_1-Z", strings.Repeat("9", 64), "lock"} {
		_, err := wxphone.New(appID, someSecret)
		require.NoError(t, err)
		_, err = platform.Client(appID, &refreshTokens{})
		require.NoError(t, err)
		_, err = wxphone.NewComponent(appID, someComponentSecret, latestTicket)
		require.NoError(t, err)
	}
}

func TestSecretIsOptionalWhereNoTokenIsFetched(t *testing.T) {
	t.Parallel()
	for name, opt := range map[string]wxphone.Option{
		"source": wxphone.WithTokenSource(fixedToken(someToken)), "cloud hosting": wxphone.WithoutAccessToken(),
	} {
		for _, secret := range []string{"", someSecret} {
			client, err := wxphone.New(someAppID, secret, opt)
			require.NoError(t, err, name)
			assert.NotNil(t, client)
		}
	}
}

func TestMisuseOfAClientSendsNothing(t *testing.T) {
	t.Parallel()
	server := wxphonetest.NewServer(t)
	good := server.NewClient()
	ctx := context.Background()
	var noContext context.Context
	getNumber := func(c *wxphone.Client, ctx context.Context, code string, opts ...wxphone.PhoneOption) error {
		info, err := c.GetPhoneNumber(ctx, code, opts...)
		assert.Nil(t, info)
		return err
	}
	getToken := func(c *wxphone.Client, ctx context.Context) error {
		token, err := c.AccessToken(ctx)
		assert.Zero(t, token)
		return err
	}
	tests := []struct {
		name string
		err  error
	}{
		{"code", getNumber(good, ctx, "")},
		{"code", getNumber(good, ctx, " \t\n")},
		{"openid", getNumber(good, ctx, someCode, wxphone.WithOpenID(""))},
		{"PhoneOption", getNumber(good, ctx, someCode, nil)},
		{"PhoneOption", getNumber(good, ctx, someCode, wxphone.WithOpenID("o-alice"), nil)},
		{"ctx", getNumber(good, noContext, someCode)},
		{"Client", getNumber(nil, ctx, someCode)},
		{"Client", getNumber(new(wxphone.Client), ctx, someCode)},
		{"ctx", getToken(good, noContext)},
		{"Client", getToken(nil, ctx)},
		{"Client", getToken(new(wxphone.Client), ctx)},
		{"rejected", good.InvalidateAccessToken(ctx, "")},
		{"ctx", good.InvalidateAccessToken(noContext, someToken)},
		{"Client", (*wxphone.Client)(nil).InvalidateAccessToken(ctx, someToken)},
		{"Client", new(wxphone.Client).InvalidateAccessToken(ctx, someToken)},
	}
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			assertInvalid(t, tt.err, tt.name)
			assert.NotContains(t, tt.err.Error(), someCode, "call %d", i)
		})
	}
	assert.Zero(t, server.Requests(phoneAPI))
	assert.Zero(t, server.TokenFetches())
}

func TestClientWithoutTokensHasNoneToHandOut(t *testing.T) {
	t.Parallel()
	server := wxphonetest.NewServer(t, wxphonetest.WithCloudHosting())
	client := server.NewClient(wxphone.WithoutAccessToken())
	_, err := client.AccessToken(context.Background())
	assertInvalid(t, err, "WithoutAccessToken")
	assert.Zero(t, server.TokenFetches())

	info, err := client.GetPhoneNumber(context.Background(), server.IssueCode(aPhone))
	require.NoError(t, err)
	assert.Equal(t, aPhone.PhoneNumber, info.PhoneNumber)
	assert.Zero(t, server.TokenFetches())
}

func TestCachedTokenIsReadWithoutAllocation(t *testing.T) {
	client := wxphonetest.NewServer(t).NewClient()
	ctx := context.Background()
	_, err := client.AccessToken(ctx)
	require.NoError(t, err)
	assert.Zero(t, testing.AllocsPerRun(100, func() { _, _ = client.AccessToken(ctx) }))
}

// valueSource is a token source that fmt could look into.
type valueSource struct{ token string }

func (s valueSource) Token(context.Context) (wxphone.Token, error) {
	return wxphone.Token{AccessToken: s.token, ExpiresAt: time.Now().Add(time.Hour)}, nil
}

func TestClientPrintsNoSecret(t *testing.T) {
	t.Parallel()
	server := wxphonetest.NewServer(t)
	for name, opts := range map[string][]wxphone.Option{
		"stable": nil, "classic": {wxphone.WithClassicToken()}, "source": {wxphone.WithTokenSource(valueSource{server.Token()})},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := server.NewClient(opts...)
			token, err := client.AccessToken(context.Background())
			require.NoError(t, err)
			assertPrintsWithout(t, client, server.Secret(), token.AccessToken)
			assertPrintsWithout(t, *client, server.Secret(), token.AccessToken)
		})
	}
}

// A user's test may mock WeChat at its own address.
func TestHTTPMockStandsInForWeChat(t *testing.T) {
	t.Parallel()
	mock := httpmock.NewMockTransport()
	mock.RegisterResponder(http.MethodPost, "https://api.weixin.qq.com"+stableTokenAPI,
		httpmock.NewJsonResponderOrPanic(http.StatusOK, map[string]any{"access_token": someToken, "expires_in": 7200}))
	mock.RegisterResponderWithQuery(http.MethodPost, "https://api.weixin.qq.com"+phoneAPI,
		map[string]string{"access_token": someToken},
		func(r *http.Request) (*http.Response, error) {
			var body map[string]string
			_ = json.NewDecoder(r.Body).Decode(&body)
			if body["code"] != someCode || len(body) != 1 {
				return httpmock.NewStringResponse(http.StatusOK, `{"errcode":40029}`), nil
			}
			return httpmock.NewStringResponse(http.StatusOK, success), nil
		})
	client, err := wxphone.New(someAppID, "5f2d8c1a0b9e4d7786f3a1c2e4b6d809",
		wxphone.WithHTTPClient(&http.Client{Transport: mock}))
	require.NoError(t, err)

	info, err := client.GetPhoneNumber(context.Background(), someCode)

	require.NoError(t, err)
	assert.Equal(t, "+8613800000000", info.E164())
	assert.Equal(t, 2, mock.GetTotalCallCount())
}

func TestClientsTokenSourceIsItsOwn(t *testing.T) {
	t.Parallel()
	server := wxphonetest.NewServer(t)
	client := server.NewClient()
	source := client.TokenSource()
	want, err := client.AccessToken(context.Background())
	require.NoError(t, err)
	got, err := source.Token(context.Background())
	require.NoError(t, err)
	assert.Equal(t, want.AccessToken, got.AccessToken)
	assert.Equal(t, 1, server.TokenFetches())

	// Another Client works with it, and its refusal reaches the first one.
	other := server.NewClient(wxphone.WithTokenSource(source))
	server.RevokeToken()
	_, err = other.GetPhoneNumber(context.Background(), server.IssueCode(aPhone))
	require.NoError(t, err)
	assert.Equal(t, 2, server.TokenFetches())
	renewed, err := client.AccessToken(context.Background())
	require.NoError(t, err)
	assert.NotEqual(t, want.AccessToken, renewed.AccessToken)
	assertPrintsWithout(t, source, want.AccessToken, renewed.AccessToken, server.Secret())
}

func TestTokenSourceOfAClientWithoutATokenIsAnError(t *testing.T) {
	t.Parallel()
	client, err := wxphone.New(someAppID, "", wxphone.WithoutAccessToken())
	require.NoError(t, err)
	_, err = client.TokenSource().Token(context.Background())
	assertInvalid(t, err, "WithoutAccessToken")
	_, err = (*wxphone.Client)(nil).TokenSource().Token(context.Background())
	assertInvalid(t, err, "Client")
	invalidator, ok := client.TokenSource().(wxphone.TokenInvalidator)
	require.True(t, ok)
	assertInvalid(t, invalidator.InvalidateToken(context.Background(), ""), "rejected")
}
