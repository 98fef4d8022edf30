//go:build go1.25

package wxphone_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/wxphonetest"
)

func TestFallbackHostIsAskedWhenNoConnectionCanBeMade(t *testing.T) {
	t.Parallel()
	failures := map[string]error{
		"refused":             &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")},
		"DNS":                 &net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Err: "no such host", Name: primary}},
		"TLS handshake":       tls.RecordHeaderError{Msg: "first record does not look like a TLS handshake"},
		"TLS certificate":     &tls.CertificateVerificationError{Err: errors.New("unknown authority")},
		"EOF in handshake":    errors.New("EOF"),
		"dial timeout":        context.DeadlineExceeded,
		"handshake timed out": errors.New("net/http: TLS handshake timeout"),
	}
	for name, failure := range failures {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server := wxphonetest.NewServer(t)
				out := newOutage(server, primary)
				out.down[primary] = failure
				client := server.NewClient(wxphone.WithHTTPClient(out.client()), wxphone.WithMaxRetries(0))
				_, err := client.GetPhoneNumber(t.Context(), server.IssueCode(somebody))
				require.NoError(t, err)
				assert.Equal(t, 1, server.Requests(phonePath))
			})
		})
	}
}

func TestLostAnswerIsNotTakenToAnotherHost(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t)
		out := newOutage(server)
		client := server.NewClient(wxphone.WithHTTPClient(out.client()))
		server.DropNext(phonePath, -1)
		_, err := client.GetPhoneNumber(t.Context(), server.IssueCode(somebody))
		require.Error(t, err)
		assert.Equal(t, 502, wxphone.HTTPStatus(err))
		assert.Equal(t, 3, server.Requests(phonePath))
		assert.Zero(t, out.dialled(fallback))
	})
}

func TestAnOutageCostsOneDialTimeoutAMinuteAndNotOnePerCall(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t)
		out := newOutage(server, primary)
		out.slow[primary] = 3 * time.Second
		client := server.NewClient(wxphone.WithHTTPClient(out.client()))
		begin, slowCalls := time.Now(), 0
		for range 100 {
			called := time.Now()
			_, err := client.GetPhoneNumber(t.Context(), server.IssueCode(somebody))
			require.NoError(t, err)
			if time.Since(called) > 0 {
				slowCalls++
			}
			time.Sleep(3 * time.Second)
		}
		minutes := int(time.Since(begin) / time.Minute)
		assert.LessOrEqual(t, slowCalls, minutes+1)
		assert.Equal(t, slowCalls, out.dialled(primary))

		out.restore(primary)
		time.Sleep(time.Minute)
		_, err := client.GetPhoneNumber(t.Context(), server.IssueCode(somebody))
		require.NoError(t, err)
		before := out.dialled(fallback)
		for range 50 {
			_, err := client.GetPhoneNumber(t.Context(), server.IssueCode(somebody))
			require.NoError(t, err)
			time.Sleep(3 * time.Second)
		}
		assert.Equal(t, before, out.dialled(fallback), "the primary is back")
	})
}

func TestOnlyOneOfManyCallersLooksWhetherThePrimaryIsBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t)
		out := newOutage(server, primary)
		out.slow[primary] = 3 * time.Second
		client := server.NewClient(wxphone.WithHTTPClient(out.client()))
		_, err := client.AccessToken(t.Context())
		require.NoError(t, err)
		time.Sleep(time.Minute + time.Second)
		before := out.dialled(primary)
		var group sync.WaitGroup
		var delayed atomic.Int32
		for range 200 {
			code := server.IssueCode(somebody)
			group.Go(func() {
				begin := time.Now()
				_, err := client.GetPhoneNumber(t.Context(), code)
				assert.NoError(t, err)
				if time.Since(begin) > 0 {
					delayed.Add(1)
				}
			})
		}
		group.Wait()
		assert.EqualValues(t, 1, delayed.Load())
		assert.Equal(t, before+1, out.dialled(primary))
	})
}

func TestCallersWithShortDeadlinesLeaveAnUnreachableHostToo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t)
		client := server.NewClient()
		token, err := client.AccessToken(t.Context())
		require.NoError(t, err)
		out := newOutage(server, primary)
		out.slow[primary] = 3 * time.Second
		client = server.NewClient(wxphone.WithHTTPClient(out.client()),
			wxphone.WithTokenSource(wxphone.TokenSourceFunc(func(context.Context) (wxphone.Token, error) { return token, nil })))
		failed := 0
		for range 20 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			_, err := client.GetPhoneNumber(ctx, server.IssueCode(somebody))
			cancel()
			if err != nil {
				require.ErrorIs(t, err, context.DeadlineExceeded)
				failed++
			}
		}
		assert.Equal(t, 1, failed)
	})
}

func TestAllHostsUnreachableIsRetriedAndNamesThemAll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t)
		out := newOutage(server, primary, fallback)
		client := server.NewClient(wxphone.WithHTTPClient(out.client()))
		_, err := client.AccessToken(t.Context())
		require.Error(t, err)
		assert.Equal(t, 502, wxphone.HTTPStatus(err))
		assert.ErrorContains(t, err, "https://"+primary)
		assert.ErrorContains(t, err, "https://"+fallback)
		assert.Equal(t, 3, out.dialled(primary))
		assert.Equal(t, 3, out.dialled(fallback))
		assert.Zero(t, server.TokenFetches())
	})
}

func TestBadCertificateIsNotRetried(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t)
		out := newOutage(server, primary, fallback)
		for host := range out.down {
			out.down[host] = &tls.CertificateVerificationError{Err: errors.New("unknown authority")}
		}
		client := server.NewClient(wxphone.WithHTTPClient(out.client()))
		_, err := client.AccessToken(t.Context())
		var certificate *tls.CertificateVerificationError
		require.ErrorAs(t, err, &certificate)
		assert.Equal(t, 1, out.dialled(primary))
	})
}

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
				out := newOutage(server, primary, fallback, "sh.api.weixin.qq.com", "a.example", "b.example")
				var asked []string
				observe := wxphone.WithObserver(func(_ context.Context, call wxphone.Call) { asked = append(asked, call.Host) })
				client := server.NewClient(append(tt.options, wxphone.WithHTTPClient(out.client()), wxphone.WithMaxRetries(0), observe)...)
				_, err := client.GetPhoneNumber(t.Context(), "code")
				require.Error(t, err)
				assert.Equal(t, tt.want, asked)
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
			wxphone.WithHTTPClient(&http.Client{Transport: roundTripper(func(req *http.Request) (*http.Response, error) {
				scheme, query = req.URL.Scheme, req.URL.RawQuery
				return server.HTTPClient().Transport.RoundTrip(req)
			})}))
		require.NoError(t, err)
		_, err = client.GetPhoneNumber(t.Context(), server.IssueCode(somebody))
		require.NoError(t, err)
		assert.Equal(t, "http", scheme)
		assert.Empty(t, query)
		assert.Zero(t, server.TokenFetches())
		_, err = client.AccessToken(t.Context())
		require.ErrorIs(t, err, wxphone.ErrInvalidArgument)
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }
