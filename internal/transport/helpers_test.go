package transport_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wxphone/wxphone"
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
