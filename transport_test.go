package wxphone_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
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
	fake.SetLatency(phoneAPI, 5*time.Millisecond)
	server, httpClient, connections := tlsServer(t, fake)
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
	assert.Equal(t, "/a/prefix"+phoneAPI, path)
	assert.Equal(t, odd, token)
}

func TestLargestAnswerIsAMebibyte(t *testing.T) {
	t.Parallel()
	// The padding is inside the JSON, so that only its size can be wrong.
	answer := func(size int) string {
		head, tail := success[:len(success)-1]+`,"padding":"`, `"}`
		return head + strings.Repeat("x", size-len(head)-len(tail)) + tail
	}
	for _, chunked := range []bool{false, true} {
		t.Run(fmt.Sprintf("chunked %t", chunked), func(t *testing.T) {
			t.Parallel()
			for size, fits := range map[int]bool{megabyte: true, megabyte + 1: false, 3 * megabyte: false} {
				handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					if !chunked {
						w.Header().Set("Content-Length", fmt.Sprint(size))
					}
					_, _ = io.WriteString(w, answer(size))
				})
				server := httptest.NewServer(handler)
				t.Cleanup(server.Close)
				client, err := wxphone.New(someAppID, "", wxphone.WithBaseURL(server.URL),
					wxphone.WithTokenSource(fixedToken(someToken)), wxphone.WithMaxRetries(0))
				require.NoError(t, err)
				info, err := client.GetPhoneNumber(context.Background(), someCode)
				if fits {
					require.NoError(t, err)
					assert.Equal(t, "13800000000", info.PhoneNumber)
					continue
				}
				var response *wxphone.ResponseError
				require.ErrorAs(t, err, &response)
				assert.Equal(t, "", response.Snippet)
			}
		})
	}
}

// endless is a body that goes on for 64 MiB.
type endless struct {
	chunk int // the most that one Read returns
	read  int
}

func (e *endless) Read(p []byte) (int, error) {
	if e.read >= 64*megabyte {
		return 0, io.EOF
	}
	n := min(len(p), e.chunk)
	for i := range p[:n] {
		p[i] = ' '
	}
	e.read += n
	return n, nil
}

func (*endless) Close() error { return nil }

func TestAnswerWithoutEndIsCutAtAMegabyte(t *testing.T) {
	t.Parallel()
	for name, length := range map[string]int64{"no length": -1, "huge length": 1 << 40, "zero length": 0} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			body := &endless{chunk: 16 << 10}
			client := sendingThrough(t, roundTrip(func(req *http.Request) (*http.Response, error) {
				return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, ContentLength: length, Body: body, Request: req}, nil
			}), wxphone.WithMaxRetries(0))
			_, err := client.GetPhoneNumber(context.Background(), someCode)
			var notAnswer *wxphone.ResponseError
			require.ErrorAs(t, err, &notAnswer)
			assert.Greater(t, body.read, megabyte, "a megabyte is still an answer")
			assert.LessOrEqual(t, body.read, megabyte+body.chunk)
		})
	}
}

// A compressed answer could unpack to any size, and WeChat's are small.
func TestDefaultTransportAsksForNoCompression(t *testing.T) {
	t.Parallel()
	var asked []string
	server, httpClient, _ := tlsServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
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

// Some middlewares add to a header's value in place, where they should set it.
func TestTransportThatWritesIntoHeadersSpoilsNoOtherRequest(t *testing.T) {
	t.Parallel()
	var seen sync.Map
	client := sendingThrough(t, roundTrip(func(req *http.Request) (*http.Response, error) {
		for name, values := range req.Header {
			seen.Store(name+": "+values[0], true)
			values[0] += " spoilt"
		}
		return answerTo(req, success), nil
	}))
	var group sync.WaitGroup
	for range 8 { // at once, for the race detector
		group.Add(1)
		go func() {
			defer group.Done()
			for range 10 {
				_, err := client.GetPhoneNumber(context.Background(), someCode)
				assert.NoError(t, err)
			}
		}()
	}
	group.Wait()
	count := 0
	seen.Range(func(header, _ any) bool {
		count++
		assert.NotContains(t, header, "spoilt")
		return true
	})
	assert.Equal(t, 2, count, "User-Agent and Content-Type")
}
