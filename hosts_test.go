//go:build go1.25

package wxphone_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/wxphonetest"
)

func TestWhichHostsAreAsked(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		options []wxphone.Option
		want    []string
	}{
		"default":          {nil, []string{primary, fallback}},
		"own base URL":     {[]wxphone.Option{wxphone.WithBaseURL("https://sh.api.weixin.qq.com/")}, []string{"sh.api.weixin.qq.com"}},
		"own fallbacks":    {[]wxphone.Option{wxphone.WithFallbackURLs("https://a.example", "https://b.example")}, []string{primary, "a.example", "b.example"}},
		"no fallback":      {[]wxphone.Option{wxphone.WithFallbackURLs()}, []string{primary}},
		"both":             {[]wxphone.Option{wxphone.WithBaseURL("https://a.example"), wxphone.WithFallbackURLs("https://b.example")}, []string{"a.example", "b.example"}},
		"without token":    {[]wxphone.Option{wxphone.WithoutAccessToken()}, []string{primary}},
		"token-free, own":  {[]wxphone.Option{wxphone.WithoutAccessToken(), wxphone.WithBaseURL("http://a.example")}, []string{"a.example"}},
		"token-free, more": {[]wxphone.Option{wxphone.WithoutAccessToken(), wxphone.WithFallbackURLs("http://b.example")}, []string{primary, "b.example"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server := wxphonetest.NewServer(t)
				out := without(map[string]bool{
					primary: true, fallback: true, "sh.api.weixin.qq.com": true, "a.example": true, "b.example": true,
				}, server.HTTPClient().Transport)
				var asked []string
				observe := wxphone.WithObserver(func(_ context.Context, call wxphone.Call) { asked = append(asked, call.Host) })
				client := server.NewClient(append(tt.options, wxphone.WithHTTPClient(&http.Client{Transport: out}), wxphone.WithMaxRetries(0), observe)...)
				_, err := client.GetPhoneNumber(t.Context(), "code")
				require.Error(t, err)
				assert.Equal(t, tt.want, asked[:len(tt.want)])
				assert.Zero(t, len(asked)%len(tt.want), "the token request's retries ask the same")
			})
		})
	}
}

func TestWithoutAccessTokenSendsNoTokenOverPlainHTTP(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t, wxphonetest.WithCloudHosting())
		var scheme, query string
		client, err := wxphone.New(server.AppID(), "", wxphone.WithoutAccessToken(),
			wxphone.WithHTTPClient(&http.Client{Transport: roundTrip(func(req *http.Request) (*http.Response, error) {
				scheme, query = req.URL.Scheme, req.URL.RawQuery
				return server.HTTPClient().Transport.RoundTrip(req)
			})}))
		require.NoError(t, err)
		_, err = client.GetPhoneNumber(t.Context(), server.IssueCode(aPhone))
		require.NoError(t, err)
		assert.Equal(t, "http", scheme)
		assert.Empty(t, query)
		assert.Zero(t, server.TokenFetches())
		_, err = client.AccessToken(t.Context())
		require.ErrorIs(t, err, wxphone.ErrInvalidArgument)
	})
}

func TestBaseURLIsUsedAsItIsWritten(t *testing.T) {
	t.Parallel()
	for base, want := range map[string]string{
		"http://h":                "http://h",
		"http://h/":               "http://h",
		"https://h:65535/a/b//":   "https://h:65535/a/b",
		"http://h/a%2Fb":          "http://h/a%2Fb",
		"http://h/a%2Fb/":         "http://h/a%2Fb",
		"http://h/a%2Fb%2F/":      "http://h/a%2Fb%2F",
		"http://h/a%20b":          "http://h/a%20b",
		"http://h/%E5%BE%AE":      "http://h/%E5%BE%AE",
		"http://127.0.0.1:80":     "http://127.0.0.1:80",
		"http://[::1]":            "http://[::1]",
		"https://[2001:db8::1]:8": "https://[2001:db8::1]:8",
	} {
		t.Run(base, func(t *testing.T) {
			t.Parallel()
			var target, host string
			client := sendingThrough(t, roundTrip(func(req *http.Request) (*http.Response, error) {
				target, host = req.URL.Scheme+"://"+req.URL.Host+req.URL.EscapedPath(), req.Host
				assert.Equal(t, req.URL.Host, req.Host)
				return nil, errors.New("failed")
			}), wxphone.WithBaseURL(base), wxphone.WithMaxRetries(0))
			_, err := client.GetPhoneNumber(t.Context(), "code")
			assert.Equal(t, want+phoneAPI, target)
			assert.NotEmpty(t, host)
			require.ErrorContains(t, err, `"`+want+phoneAPI+`"`, "the error names what was asked")
		})
	}
}
