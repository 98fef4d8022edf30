package wxphone_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"testing"
	"time"

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

func TestOptionsRefuseWhatCannotBeRight(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		opt  wxphone.Option
	}{
		{"option", nil},
		{"WithHTTPClient", wxphone.WithHTTPClient(nil)},
		{"WithTokenSource", wxphone.WithTokenSource(nil)},
		{"WithLogger", wxphone.WithLogger(nil)},
		{"WithObserver", wxphone.WithObserver(nil)},
		{"WithMaxRetries", wxphone.WithMaxRetries(-1)},
		{"WithWatermarkMaxAge", wxphone.WithWatermarkMaxAge(0)},
		{"WithWatermarkMaxAge", wxphone.WithWatermarkMaxAge(-time.Hour)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			client, err := wxphone.New(someAppID, someSecret, tt.opt)
			assert.Nil(t, client)
			assertInvalid(t, err, tt.name)
		})
	}
}

func TestBaseURLsAreSchemeHostAndPath(t *testing.T) {
	t.Parallel()
	for name, raw := range map[string]string{
		"empty":            "",
		"no scheme":        "api.weixin.qq.com",
		"host and port":    "localhost:8080",
		"path only":        "/wxa",
		"no host":          "https://",
		"port only":        "https://:8080",
		"another scheme":   "ftp://api.weixin.qq.com",
		"password":         "https://user:hunter22@api.weixin.qq.com",
		"user":             "https://hunter22@api.weixin.qq.com",
		"query":            "https://api.weixin.qq.com?access_token=hunter22",
		"empty query":      "https://api.weixin.qq.com?",
		"fragment":         "https://api.weixin.qq.com#hunter22",
		"bad port":         "https://api.weixin.qq.com:port",
		"bad port, secret": "https://user:hunter22@api.weixin.qq.com:port",
		"space":            "https://api weixin",
		"control":          "https://api.weixin.qq.com/\x7f",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := wxphone.New(someAppID, someSecret, wxphone.WithBaseURL(raw))
			assertInvalid(t, err, "WithBaseURL")
			assert.NotContains(t, err.Error(), "hunter22")
			_, err = wxphone.New(someAppID, someSecret, wxphone.WithFallbackURLs("https://sh.api.weixin.qq.com", raw))
			assertInvalid(t, err, "WithFallbackURLs")
			assert.NotContains(t, err.Error(), "hunter22")
		})
	}
	for _, raw := range []string{
		"https://sh.api.weixin.qq.com", "https://sh.api.weixin.qq.com/", "http://127.0.0.1:8080/proxy/", "https://[::1]:8443", "HTTPS://h",
	} {
		_, err := wxphone.New(someAppID, someSecret, wxphone.WithBaseURL(raw), wxphone.WithFallbackURLs(raw))
		assert.NoError(t, err, raw)
	}
}

func TestOptionsThatExcludeEachOther(t *testing.T) {
	t.Parallel()
	source := wxphone.WithTokenSource(fixedToken(someToken))
	tests := []struct {
		one, other     wxphone.Option
		oneIs, otherIs string
	}{
		{source, wxphone.WithClassicToken(), "WithTokenSource", "WithClassicToken"},
		{source, wxphone.WithoutAccessToken(), "WithTokenSource", "WithoutAccessToken"},
		{wxphone.WithClassicToken(), wxphone.WithoutAccessToken(), "WithClassicToken", "WithoutAccessToken"},
	}
	for _, tt := range tests {
		t.Run(tt.oneIs+" and "+tt.otherIs, func(t *testing.T) {
			t.Parallel()
			for _, opts := range [][]wxphone.Option{{tt.one, tt.other}, {tt.other, tt.one}} {
				client, err := wxphone.New(someAppID, someSecret, opts...)
				assert.Nil(t, client)
				assertInvalid(t, err, tt.oneIs)
				assertInvalid(t, err, tt.otherIs)
			}
		})
	}
}

func TestOptionsThatGoTogether(t *testing.T) {
	t.Parallel()
	common := []wxphone.Option{
		wxphone.WithHTTPClient(&http.Client{}), wxphone.WithBaseURL("https://sh.api.weixin.qq.com"),
		wxphone.WithFallbackURLs(), wxphone.WithMaxRetries(0), wxphone.WithObserver(func(context.Context, wxphone.Call) {}),
		wxphone.WithLogger(slog.New(slog.NewTextHandler(io.Discard, nil))),
	}
	for name, opt := range map[string]wxphone.Option{
		"source": wxphone.WithTokenSource(fixedToken(someToken)), "classic": wxphone.WithClassicToken(),
		"cloud hosting": wxphone.WithoutAccessToken(), "stable": wxphone.WithMaxRetries(5),
	} {
		_, err := wxphone.New(someAppID, someSecret, append([]wxphone.Option{opt}, common...)...)
		assert.NoError(t, err, name)
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

func TestTokenSourceWithoutATokenSendsNothing(t *testing.T) {
	t.Parallel()
	server := wxphonetest.NewServer(t)
	client := server.NewClient(wxphone.WithTokenSource(fixedToken("")))
	_, err := client.GetPhoneNumber(context.Background(), someCode)
	require.Error(t, err)
	assert.Contains(t, err.Error(), phoneAPI)
	assert.Zero(t, server.Requests(phoneAPI))
}

func TestCodeIsSentAsItIs(t *testing.T) {
	t.Parallel()
	// A code is opaque: its shape is a hint for error messages, never a rule.
	for _, code := range []string{"x", "0a3BcD1f2gH4iJ5kL6mN7oP8qR9sT0uV", `<a&b>"c"`, "微信"} {
		var sent string
		client, err := wxphone.New(someAppID, "", wxphone.WithTokenSource(fixedToken(someToken)),
			wxphone.WithHTTPClient(&http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
				body, err := io.ReadAll(r.Body)
				sent = string(body)
				return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody}, err
			})}))
		require.NoError(t, err)
		_, _ = client.GetPhoneNumber(context.Background(), code, wxphone.WithOpenID("o-alice"))
		var got map[string]string
		require.NoError(t, json.Unmarshal([]byte(sent), &got))
		assert.Equal(t, map[string]string{"code": code, "openid": "o-alice"}, got)
		assert.NotContains(t, sent, `\u`)
	}
}
