package wxphone_test

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
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wxphone/wxphone"
)

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
