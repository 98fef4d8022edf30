package transport_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/internal/tlstest"
)

func TestBodyIsSentWithItsLengthAsPlainUTF8JSON(t *testing.T) {
	t.Parallel()
	var length, contentType, body string
	server, httpClient, _ := tlstest.NewServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
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
	server, httpClient, _ := tlstest.NewServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
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

// failure is an error of a type that callers look for.
type failure struct{ text string }

func (f *failure) Error() string { return f.text }

func TestTransportErrorIsOneLineAndStillItself(t *testing.T) {
	t.Parallel()
	for name, given := range map[string]error{
		"plain":   &failure{"proxy failed:\n\tno route\r\nto host"},
		"wrapped": fmt.Errorf("proxy:\n%w", &failure{"no\nroute"}),
		"joined":  errors.Join(io.EOF, &failure{"no route"}),
		"in URL":  &url.Error{Op: "Post", URL: "https://h/", Err: &failure{"no\nroute"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := sendingThrough(t, roundTrip(func(*http.Request) (*http.Response, error) { return nil, given }),
				wxphone.WithMaxRetries(0))
			_, err := client.GetPhoneNumber(context.Background(), someCode)
			require.Error(t, err)
			assert.NotContains(t, err.Error(), "\n")
			assert.NotContains(t, err.Error(), "\r")
			assert.ErrorContains(t, err, "route")
			var inner *failure
			require.ErrorAs(t, err, &inner)
			assert.ErrorIs(t, err, given)
			var network *url.Error
			require.ErrorAs(t, err, &network)
		})
	}
}

const (
	mayHaveConsumed = "may have consumed"
	usedCode        = `{"errcode":40163,"errmsg":"code been used"}`
)

// What a transport reports of an attempt that failed decides whether WeChat may
// have got the code.
func TestOnlyACodeThatWasSentMayHaveBeenConsumed(t *testing.T) {
	t.Parallel()
	broken := errors.New("connection reset by peer")
	type hooks = httptrace.ClientTrace
	tests := map[string]struct {
		report func(*hooks)
		err    error
		want   bool
	}{
		"sent": {func(h *hooks) {
			h.GetConn("h:443")
			h.GotConn(httptrace.GotConnInfo{})
			h.WroteRequest(httptrace.WroteRequestInfo{})
		}, broken, true},
		"connected": {func(h *hooks) {
			h.GetConn("h:443")
			h.GotConn(httptrace.GotConnInfo{})
		}, broken, false},
		"sending failed": {func(h *hooks) {
			h.GetConn("h:443")
			h.GotConn(httptrace.GotConnInfo{})
			h.WroteRequest(httptrace.WroteRequestInfo{Err: syscall.EPIPE})
		}, broken, false},
		"not connected":         {func(h *hooks) { h.GetConn("h:443") }, broken, false},
		"no hooks":              {func(*hooks) {}, broken, true},
		"no hooks, dial failed": {func(*hooks) {}, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}, false},
		"no hooks, read failed": {func(*hooks) {}, &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}, true},
		"no hooks, no such host": {func(*hooks) {},
			&net.DNSError{Err: "no such host", Name: "api.weixin.qq.com", IsNotFound: true}, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			requests := 0
			client := sendingThrough(t, roundTrip(func(req *http.Request) (*http.Response, error) {
				if requests++; requests > 1 {
					return answerTo(req, usedCode), nil
				}
				tt.report(httptrace.ContextClientTrace(req.Context()))
				return nil, tt.err
			}), wxphone.WithFallbackURLs(), wxphone.WithMaxRetries(1))
			_, err := client.GetPhoneNumber(context.Background(), someCode)
			require.ErrorIs(t, err, wxphone.ErrCodeUsed)
			assert.Equal(t, 2, requests)
			assert.Equal(t, tt.want, strings.Contains(err.Error(), mayHaveConsumed), "%v", err)
		})
	}
}

// A broken pooled connection whose re-dial fails is no reason to give up: the
// fallback is there. But WeChat may have got the code over the broken one.
func TestRepeatWhoseDialFailsGoesOnToTheFallbackAndIsRemembered(t *testing.T) {
	t.Parallel()
	var asked []string
	client := sendingThrough(t, roundTrip(func(req *http.Request) (*http.Response, error) {
		asked = append(asked, req.URL.Host)
		hooks := httptrace.ContextClientTrace(req.Context())
		written(req, 1)
		if len(asked) == 1 {
			hooks.GetConn("h:443")
			return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
		}
		return answerTo(req, `{"errcode":40029,"errmsg":"invalid code"}`), nil
	}), wxphone.WithMaxRetries(0))
	_, err := client.GetPhoneNumber(context.Background(), someCode)
	require.ErrorIs(t, err, wxphone.ErrCodeInvalid)
	require.ErrorIs(t, err, wxphone.ErrCodeMaybeUsed)
	assert.Equal(t, []string{"api.weixin.qq.com", "api2.weixin.qq.com"}, asked)
}

func TestTransportWithoutHooksReachesTheFallbackHost(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		failure error
		want    string // the host that is asked next
	}{
		"dial failed":  {&net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}, "api2.weixin.qq.com"},
		"no such host": {&net.DNSError{Err: "no such host", Name: "api.weixin.qq.com"}, "api2.weixin.qq.com"},
		"answer lost":  {&net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}, "api.weixin.qq.com"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var asked []string
			client := sendingThrough(t, roundTrip(func(req *http.Request) (*http.Response, error) {
				if asked = append(asked, req.URL.Host); len(asked) == 1 {
					return nil, tt.failure
				}
				return answerTo(req, success), nil
			}))
			_, err := client.GetPhoneNumber(context.Background(), someCode)
			require.NoError(t, err)
			assert.Equal(t, []string{"api.weixin.qq.com", tt.want}, asked)
		})
	}
}

// brokenPipe is a connection that the other side closed after one request.
type brokenPipe struct {
	net.Conn
	writes atomic.Int32
}

func (c *brokenPipe) Write(b []byte) (int, error) {
	if c.writes.Add(1) > 1 {
		return 0, syscall.EPIPE
	}
	return c.Conn.Write(b)
}

// net/http sends such a request again on a new connection, unseen but for its
// hooks. WeChat got the code once.
func TestPostThatMetAStaleConnectionConsumedNothingBefore(t *testing.T) {
	t.Parallel()
	var requests, dials atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if requests.Add(1) == 1 {
			_, _ = io.WriteString(w, success)
			return
		}
		_, _ = io.WriteString(w, usedCode)
	}))
	t.Cleanup(server.Close)
	transport := &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		if err != nil || dials.Add(1) > 1 {
			return conn, err
		}
		return &brokenPipe{Conn: conn}, nil
	}}
	t.Cleanup(transport.CloseIdleConnections)
	client := sendingThrough(t, transport, wxphone.WithBaseURL(server.URL))
	_, err := client.GetPhoneNumber(context.Background(), someCode)
	require.NoError(t, err)
	_, err = client.GetPhoneNumber(context.Background(), someCode)
	require.ErrorIs(t, err, wxphone.ErrCodeUsed)
	assert.NotContains(t, err.Error(), mayHaveConsumed)
	assert.EqualValues(t, 2, requests.Load())
	assert.EqualValues(t, 2, dials.Load())
}

// scriptedServer answers the requests in turn, over real connections. It reads
// one whose answer is "" and cuts the connection.
func scriptedServer(t *testing.T, answers ...string) (address string, requests *atomic.Int32) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { listener.Close() })
	requests = new(atomic.Int32)
	serve := func(conn net.Conn) {
		defer conn.Close()
		in := bufio.NewReader(conn)
		for {
			req, err := http.ReadRequest(in)
			if err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, req.Body)
			answer := answers[requests.Add(1)-1]
			if answer == "" {
				return
			}
			fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(answer), answer)
		}
	}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go serve(conn)
		}
	}()
	return "http://" + listener.Addr().String(), requests
}

// net/http sends a GET again when a pooled connection breaks, even if the first
// was read. Then WeChat may have got the js_code twice in what looks like one
// attempt.
func TestGetThatWasReplayedUnseenMayHaveConsumedTheCode(t *testing.T) {
	t.Parallel()
	const session = `{"openid":"o1","session_key":"AAECAwQFBgcICQoLDA0ODw=="}`
	base, requests := scriptedServer(t, session, "", usedCode)
	transport := new(http.Transport)
	t.Cleanup(transport.CloseIdleConnections)
	client := sendingThrough(t, transport, wxphone.WithBaseURL(base), wxphone.WithMaxRetries(0))
	_, err := client.Code2Session(context.Background(), "js-code-1")
	require.NoError(t, err)
	_, err = client.Code2Session(context.Background(), "js-code-2")
	require.ErrorIs(t, err, wxphone.ErrCodeUsed)
	assert.ErrorContains(t, err, mayHaveConsumed)
	assert.EqualValues(t, 3, requests.Load())
}
