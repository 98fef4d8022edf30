package transport_test

import (
	"context"
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/internal/tlstest"
	"github.com/wxphone/wxphone/internal/transport"
	"github.com/wxphone/wxphone/wxphonetest"
)

func TestConcurrentCallersKeepTheirConnections(t *testing.T) {
	t.Parallel()
	const callers, callsEach = 256, 5
	fake := wxphonetest.NewServer(t)
	fake.SetLatency(phoneAPI, 5*time.Millisecond)
	server, httpClient, connections := tlstest.NewServer(t, fake)
	client := fake.NewClient(wxphone.WithHTTPClient(httpClient), wxphone.WithBaseURL(server.URL))
	var group sync.WaitGroup
	for range callers {
		group.Add(1)
		go func() {
			defer group.Done()
			for range callsEach {
				_, err := client.GetPhoneNumber(context.Background(), fake.IssueCode(aPhone))
				assert.NoError(t, err)
			}
		}()
	}
	group.Wait()
	assert.LessOrEqual(t, int(connections.Load()), callers*3/2)
}

func TestTLSIsVerifiedAndNotOlderThan12(t *testing.T) {
	t.Parallel()
	fake := wxphonetest.NewServer(t)
	server, httpClient, _ := tlstest.NewServer(t, fake)

	stranger := transport.DefaultClient().HTTP() // does not know the test server's authority
	client := fake.NewClient(wxphone.WithHTTPClient(stranger), wxphone.WithBaseURL(server.URL))
	_, err := client.AccessToken(context.Background())
	var untrusted *tls.CertificateVerificationError
	require.ErrorAs(t, err, &untrusted)

	old := httptest.NewUnstartedServer(fake)
	old.TLS = &tls.Config{MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}
	old.Config.ErrorLog = log.New(io.Discard, "", 0)
	old.StartTLS()
	defer old.Close()
	transport := httpClient.Transport.(*http.Transport).Clone()
	transport.TLSClientConfig.RootCAs = old.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	client = fake.NewClient(wxphone.WithHTTPClient(&http.Client{Transport: transport}), wxphone.WithBaseURL(old.URL))
	_, err = client.AccessToken(context.Background())
	require.ErrorContains(t, err, "protocol version")
	assert.Zero(t, fake.TokenFetches())
}

func TestDefaultTransportBoundsEveryStep(t *testing.T) {
	t.Parallel()
	client := transport.DefaultClient().HTTP()
	transport := client.Transport.(*http.Transport)
	for name, d := range map[string]time.Duration{
		"whole call":      client.Timeout,
		"TLS handshake":   transport.TLSHandshakeTimeout,
		"response header": transport.ResponseHeaderTimeout,
		"idle":            transport.IdleConnTimeout,
	} {
		assert.Positive(t, d, name)
		assert.LessOrEqual(t, d, 30*time.Second, name)
	}
	assert.GreaterOrEqual(t, transport.MaxIdleConnsPerHost, 256)
	assert.GreaterOrEqual(t, transport.MaxIdleConns, transport.MaxIdleConnsPerHost)
	assert.NotNil(t, transport.Proxy)
}

// A compressed answer could unpack to any size, and WeChat's are small.
func TestDefaultTransportAsksForNoCompression(t *testing.T) {
	t.Parallel()
	var asked []string
	server, httpClient, _ := tlstest.NewServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = r.Header.Values("Accept-Encoding")
		_, _ = io.WriteString(w, success)
	}))
	client, err := wxphone.New(someAppID, "", wxphone.WithTokenSource(fixedToken(someToken)),
		wxphone.WithHTTPClient(httpClient), wxphone.WithBaseURL(server.URL))
	require.NoError(t, err)
	_, err = client.GetPhoneNumber(context.Background(), someCode)
	require.NoError(t, err)
	assert.Empty(t, asked)
}

// Following a redirect would hand the access_token to another host.
func TestRedirectIsNotFollowed(t *testing.T) {
	t.Parallel()
	var visits atomic.Int32
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		visits.Add(1)
		_, _ = io.WriteString(w, success)
	}))
	t.Cleanup(elsewhere.Close)
	followed := 0
	own := &http.Client{
		Timeout:       5 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { followed++; return nil },
	}
	for _, status := range []int{301, 302, 303, 307, 308} {
		for name, opts := range map[string][]wxphone.Option{
			"default client": nil,
			"user's client":  {wxphone.WithHTTPClient(own)},
		} {
			var requests atomic.Int32
			moved := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				requests.Add(1)
				http.Redirect(w, r, elsewhere.URL+"/?"+r.URL.RawQuery, status)
			}))
			t.Cleanup(moved.Close)
			client, err := wxphone.New(someAppID, "", append(opts, wxphone.WithBaseURL(moved.URL),
				wxphone.WithTokenSource(fixedToken(someToken)))...)
			require.NoError(t, err)
			_, err = client.GetPhoneNumber(context.Background(), someCode)
			var response *wxphone.ResponseError
			require.ErrorAs(t, err, &response, "%d, %s", status, name)
			assert.Equal(t, status, response.HTTPStatus)
			assert.EqualValues(t, 1, requests.Load())
		}
	}
	assert.Zero(t, visits.Load())
	assert.Zero(t, followed)
	// The user's client is copied, not changed.
	resp, err := own.Get(redirecting(t, elsewhere.URL))
	require.NoError(t, err)
	resp.Body.Close()
	assert.Equal(t, 1, followed)
}

func redirecting(t *testing.T, target string) string {
	t.Helper()
	server := httptest.NewServer(http.RedirectHandler(target, http.StatusFound))
	t.Cleanup(server.Close)
	return server.URL
}

func TestIPv6HostIsReached(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Skip("no IPv6 here: ", err)
	}
	server := &http.Server{Handler: wxphonetest.NewServer(t), ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { server.Close() })
	fake := server.Handler.(*wxphonetest.Server)
	client := fake.NewClient(wxphone.WithHTTPClient(new(http.Client)), wxphone.WithBaseURL("http://"+listener.Addr().String()))
	_, err = client.GetPhoneNumber(context.Background(), fake.IssueCode(aPhone))
	require.NoError(t, err)
}
