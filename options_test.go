package wxphone_test

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wxphone/wxphone"
)

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

func TestBaseURLThatCannotBeRightIsRefused(t *testing.T) {
	t.Parallel()
	for _, base := range []string{
		"http://h:99999", "http://h:65536", "http://h:0", "http://h:-1", "http://h:http",
		"http://h?", "http://h/?", "http://h/a?b=c", "http://h#", "http://h/#", "http://h/a#b",
		"http://", "http://:80", "h", "//h", "ftp://h", "http://user:password@h", "http://[::1", "http://a b",
	} {
		for name, option := range map[string]wxphone.Option{
			"WithBaseURL": wxphone.WithBaseURL(base), "WithFallbackURLs": wxphone.WithFallbackURLs("https://h", base),
		} {
			_, err := wxphone.New(someAppID, someSecret, option)
			require.ErrorIs(t, err, wxphone.ErrInvalidArgument, base)
			assert.ErrorContains(t, err, name)
			assert.NotContains(t, err.Error(), "password")
		}
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

func TestNilSourceIsNoticedWhereverItIsWrapped(t *testing.T) {
	t.Parallel()
	_, err := wxphone.New(someAppID, "", wxphone.WithTokenSource(wxphone.CacheTokens(nil)))
	require.ErrorIs(t, err, wxphone.ErrInvalidArgument)
	_, err = wxphone.New(someAppID, "", wxphone.WithTokenSource(wxphone.TokenSourceFunc(nil)))
	require.ErrorIs(t, err, wxphone.ErrInvalidArgument)
	_, err = wxphone.CacheTokens(wxphone.TokenSourceFunc(nil)).Token(context.Background())
	require.ErrorIs(t, err, wxphone.ErrInvalidArgument)
}
