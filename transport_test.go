package wxphone_test

import (
	"context"
	"crypto/tls"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/wxphonetest"
)

func TestConcurrentCallersKeepTheirConnections(t *testing.T) {
	t.Parallel()
	const callers, callsEach = 256, 5
	fake := wxphonetest.NewServer(t)
	fake.SetLatency(phoneEndpoint, 5*time.Millisecond)
	server, httpClient, connections := tlsServer(t, fake)
	client := fake.NewClient(wxphone.WithHTTPClient(httpClient), wxphone.WithBaseURL(server.URL))
	var group sync.WaitGroup
	for range callers {
		group.Add(1)
		go func() {
			defer group.Done()
			for range callsEach {
				_, err := client.GetPhoneNumber(context.Background(), fake.IssueCode(testPhone))
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
	server, httpClient, _ := tlsServer(t, fake)

	stranger := wxphone.DefaultHTTPClient() // does not know the test server's authority
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
	client := wxphone.DefaultHTTPClient()
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

func TestBodyIsSentWithItsLengthAsPlainUTF8JSON(t *testing.T) {
	t.Parallel()
	var length, contentType, body string
	server, httpClient, _ := tlsServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		length, contentType = r.Header.Get("Content-Length"), r.Header.Get("Content-Type")
		if length == "" {
			length = strconv.FormatInt(r.ContentLength, 10)
		}
		text := make([]byte, r.ContentLength)
		_, _ = r.Body.Read(text)
		body = string(text)
		_, _ = w.Write([]byte(`{"errcode":0,"phone_info":{"phoneNumber":"13800000000"}}`))
	}))
	client, err := wxphone.New("wx1", "", wxphone.WithHTTPClient(httpClient), wxphone.WithBaseURL(server.URL+"/prefix"),
		wxphone.WithTokenSource(wxphone.TokenSourceFunc(func(context.Context) (wxphone.Token, error) {
			return wxphone.Token{AccessToken: "a token&with=signs"}, nil
		})))
	require.NoError(t, err)
	_, err = client.GetPhoneNumber(context.Background(), "<码&>", wxphone.WithOpenID("o1"))
	require.NoError(t, err)
	assert.Equal(t, `{"code":"<码&>","openid":"o1"}`, body)
	assert.Equal(t, strconv.Itoa(len(body)), length)
	assert.Equal(t, "application/json", contentType)
}

func TestTokenAndPathSurviveTheURL(t *testing.T) {
	t.Parallel()
	var path, token string
	server, httpClient, _ := tlsServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path, token = r.URL.Path, r.URL.Query().Get("access_token")
		_, _ = w.Write([]byte(`{"errcode":0,"phone_info":{"phoneNumber":"13800000000"}}`))
	}))
	const odd = "a+b/c=d&e f%20é"
	client, err := wxphone.New("wx1", "", wxphone.WithHTTPClient(httpClient), wxphone.WithBaseURL(server.URL+"/a/prefix/"),
		wxphone.WithTokenSource(wxphone.TokenSourceFunc(func(context.Context) (wxphone.Token, error) {
			return wxphone.Token{AccessToken: odd}, nil
		})))
	require.NoError(t, err)
	_, err = client.GetPhoneNumber(context.Background(), "code")
	require.NoError(t, err)
	assert.Equal(t, "/a/prefix"+phoneEndpoint, path)
	assert.Equal(t, odd, token)
}

// BenchmarkConcurrentCallers has 256 callers over loopback TLS and a server
// that takes 20 ms, on the default transport.
func BenchmarkConcurrentCallers(b *testing.B) {
	const callers, latency = 256, 20 * time.Millisecond
	server, httpClient, connections := tlsServer(b, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		time.Sleep(latency)
		_, _ = w.Write([]byte(benchAnswer))
	}))
	source := wxphone.TokenSourceFunc(func(context.Context) (wxphone.Token, error) {
		return wxphone.Token{AccessToken: benchToken}, nil
	})
	client, err := wxphone.New(benchAppID, "", wxphone.WithTokenSource(source),
		wxphone.WithHTTPClient(httpClient), wxphone.WithBaseURL(server.URL))
	require.NoError(b, err)
	jobs := make(chan struct{})
	var group sync.WaitGroup
	b.ResetTimer()
	for range callers {
		group.Add(1)
		go func() {
			defer group.Done()
			for range jobs {
				if _, err := client.GetPhoneNumber(context.Background(), benchCode); err != nil {
					b.Error(err)
				}
			}
		}()
	}
	for i := 0; i < b.N; i++ {
		jobs <- struct{}{}
	}
	close(jobs)
	group.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "req/s")
	b.ReportMetric(float64(connections.Load()), "connections")
}

const phoneEndpoint = "/wxa/business/getuserphonenumber"

var testPhone = wxphone.PhoneInfo{PhoneNumber: "13800000000", PurePhoneNumber: "13800000000", CountryCode: "86"}

func TestCachedTokenIsReadWithoutAllocation(t *testing.T) {
	client := wxphonetest.NewServer(t).NewClient()
	ctx := context.Background()
	_, err := client.AccessToken(ctx)
	require.NoError(t, err)
	assert.Zero(t, testing.AllocsPerRun(100, func() { _, _ = client.AccessToken(ctx) }))
}
