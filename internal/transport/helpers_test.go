package transport_test

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/internal/transport"
	"github.com/wxphone/wxphone/wxphonetest"
)

// What the tests ask, and what WeChat answers.
const (
	phoneAPI   = "/wxa/business/getuserphonenumber"
	someAppID  = "wx0123456789abcdef"
	someSecret = "5f2d8c1a0b9e4d7786f3a1c2e4b6d809"
	someToken  = "86_kZ5nXUJ8oqWfQ0y3bR7dLhVtMgC2sEaP4xN6uTiYwSrDvBmFjKpHzGeQc9O1lAI8"
	someCode   = "e31968a7f94cc5ee25fafc2aef2773f0bb8c3937b22520eb8ee345274d00c144"
	success    = `{"errcode":0,"errmsg":"ok","phone_info":{"phoneNumber":"13800000000","purePhoneNumber":"13800000000",` +
		`"countryCode":"86","watermark":{"timestamp":1700000000,"appid":"` + someAppID + `"}}}`
	megabyte = 1 << 20
)

var aPhone = wxphone.PhoneInfo{PhoneNumber: "13800000000", PurePhoneNumber: "13800000000", CountryCode: "86"}

// fixedToken is a token source that always has the same token.
func fixedToken(token string) wxphone.TokenSource {
	return wxphone.TokenSourceFunc(func(context.Context) (wxphone.Token, error) {
		return wxphone.Token{AccessToken: token, ExpiresAt: time.Now().Add(time.Hour)}, nil
	})
}

// roundTrip is a function as a transport.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// answerTo is an answer as a transport returns it.
func answerTo(req *http.Request, body string) *http.Response {
	return &http.Response{
		StatusCode: http.StatusOK, Header: http.Header{}, ContentLength: int64(len(body)),
		Body: io.NopCloser(strings.NewReader(body)), Request: req,
	}
}

// sendingThrough returns a client that has a token and sends through transport.
func sendingThrough(tb testing.TB, transport http.RoundTripper, opts ...wxphone.Option) *wxphone.Client {
	tb.Helper()
	client, err := wxphone.New(someAppID, someSecret, append([]wxphone.Option{
		wxphone.WithTokenSource(fixedToken(someToken)),
		wxphone.WithHTTPClient(&http.Client{Transport: transport}),
	}, opts...)...)
	require.NoError(tb, err)
	return client
}

// countConnections counts the connections to a server that was not started yet.
func countConnections(server *httptest.Server) *atomic.Int32 {
	connections := new(atomic.Int32)
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	return connections
}

// tlsServer serves handler over loopback TLS and counts the connections. The
// returned client is the default one, but for trusting the server.
func tlsServer(tb testing.TB, handler http.Handler) (server *httptest.Server, client *http.Client, connections *atomic.Int32) {
	tb.Helper()
	server = httptest.NewUnstartedServer(handler)
	connections = countConnections(server)
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // connections closed in mid-handshake
	server.StartTLS()
	tb.Cleanup(server.Close)
	own := *transport.DefaultClient().HTTP()
	pool := own.Transport.(*http.Transport).Clone()
	pool.TLSClientConfig.RootCAs = server.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	tb.Cleanup(pool.CloseIdleConnections)
	own.Transport = pool
	return server, &own, connections
}

// written plays a transport that sends a request so many times, as the hooks of
// httptrace see it.
func written(req *http.Request, times int) {
	hooks := httptrace.ContextClientTrace(req.Context())
	for range times {
		hooks.GetConn("h:443")
		hooks.GotConn(httptrace.GotConnInfo{})
		hooks.WroteRequest(httptrace.WroteRequestInfo{})
	}
}

// The hosts that a Client asks by default.
const (
	primary  = "api.weixin.qq.com"
	fallback = "api2.weixin.qq.com"
)

// outage stands between a Client and the fake WeChat and keeps some hosts from
// being reached, as net/http would report it.
type outage struct {
	next http.RoundTripper

	mu    sync.Mutex
	down  map[string]error         // by host
	slow  map[string]time.Duration // how long a failing dial takes
	dials map[string]int
}

// breakDown keeps host from being reached; a dial of it takes as long as slow.
func (o *outage) breakDown(host string, slow time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.down[host] = &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}
	o.slow[host] = slow
}

func (o *outage) RoundTrip(req *http.Request) (*http.Response, error) {
	host := req.URL.Host
	o.mu.Lock()
	o.dials[host]++
	down, slow := o.down[host], o.slow[host]
	o.mu.Unlock()
	if down == nil {
		return o.next.RoundTrip(req)
	}
	req.Body.Close()
	if trace := httptrace.ContextClientTrace(req.Context()); trace != nil && trace.GetConn != nil {
		trace.GetConn(host)
	}
	select {
	case <-time.After(slow):
		return nil, down
	case <-req.Context().Done():
		return nil, req.Context().Err()
	}
}

func (o *outage) client() *http.Client { return &http.Client{Transport: o} }

func (o *outage) dialled(host string) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.dials[host]
}

func (o *outage) restore(host string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.down, host)
}

func newOutage(server *wxphonetest.Server, hosts ...string) *outage {
	o := &outage{
		next:  server.HTTPClient().Transport,
		down:  map[string]error{},
		slow:  map[string]time.Duration{},
		dials: map[string]int{},
	}
	for _, host := range hosts {
		o.breakDown(host, 0)
	}
	return o
}
