package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	dialTimeout   = 3 * time.Second
	tlsTimeout    = 5 * time.Second
	headerTimeout = 10 * time.Second
	// callTimeout is the longest duration of an exchange, including the body,
	// for callers whose context has no deadline.
	callTimeout = 15 * time.Second

	// maxIdle is how many idle connections to one host are kept. net/http's
	// default is 2, so that every further concurrent call needs a TLS
	// handshake.
	maxIdle = 4096
	// idleTimeout is short because WeChat closes idle connections without
	// notice, and a request sent at that moment may lose its answer.
	idleTimeout = 30 * time.Second

	// maxHandshakes is how many connections to one host are established at a
	// time. Without a limit, a burst of callers establishes several connections
	// each, and most of them are no longer needed when they are ready.
	maxHandshakes = 64

	// maxHeader is what the head of an answer may have in bytes. net/http bears
	// 1 MiB, and WeChat needs less than one KiB.
	maxHeader = 64 << 10
)

// Client is an http.Client with what is known about its transport.
type Client struct {
	http *http.Client
	// alone sends each request on its own connection. It is nil for a user's
	// client.
	alone *http.Client

	// standard reports whether the transport is net/http's own, which calls the
	// hooks of httptrace before it sends anything.
	standard bool
	// queues reports whether a request may have to wait for a place in the
	// pool.
	queues bool
	// dialHooks reports whether only the hooks of package net show that a
	// connection is being established.
	dialHooks bool

	droppedAt atomic.Pointer[time.Time]

	// proxy is that of a standard transport, or nil.
	proxy func(*http.Request) (*url.URL, error)
}

// NewClient returns c as a Client. c must not follow redirects.
func NewClient(c *http.Client) *Client {
	given := c.Transport
	if given == nil {
		given = http.DefaultTransport
	}
	standard, ok := given.(*http.Transport)
	queues := ok && standard.MaxConnsPerHost > 0
	client := &Client{http: c, standard: ok, queues: queues, dialHooks: queues}
	if ok {
		client.proxy = standard.Proxy
	}
	return client
}

// DefaultClient returns the Client for users who provide none. There is one per
// process, so that a thousand mini-programs do not have a thousand connection
// pools.
func DefaultClient() *Client { return defaultClient() }

var defaultClient = sync.OnceValue(func() *Client {
	pool := newTransport()
	alone := pool.Clone()
	alone.MaxIdleConnsPerHost = -1 // unlike DisableKeepAlives, sends no "Connection: close"
	return &Client{
		http:     &http.Client{Timeout: callTimeout, CheckRedirect: NoRedirects, Transport: pool},
		alone:    &http.Client{Timeout: callTimeout, CheckRedirect: NoRedirects, Transport: alone},
		standard: true,
		queues:   true,
		proxy:    pool.Proxy,
	}
})

// dropIdle closes the idle connections, because one of the pool gave no answer
// in time and the others may be as dead. If WeChat is only slow, that happens
// often, so it is done once in the time that an idle connection may live.
func (c *Client) dropIdle(now time.Time) {
	before := c.droppedAt.Load()
	if before != nil && now.Sub(*before) < idleTimeout {
		return
	}
	if c.droppedAt.CompareAndSwap(before, &now) {
		c.http.CloseIdleConnections()
	}
}

// tunnels reports whether a request to this URL is sent through a proxy that
// has to connect first.
func (c *Client) tunnels(to *url.URL) bool {
	if c.proxy == nil || to.Scheme != "https" {
		return false
	}
	proxy, err := c.proxy(&http.Request{URL: to})
	return err == nil && proxy != nil
}

// proxyRefusal returns err without the words of a proxy that did not connect:
// net/http makes an error of whatever line came with the status.
func proxyRefusal(err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	if reflect.TypeOf(err) != reflect.TypeOf(errRefusedByProxy) {
		return err
	}
	text := err.Error()
	for _, own := range []string{"EOF", "unexpected EOF", "unknown status code", "http: ", "net/http: ", "tls: ", "x509: "} {
		if strings.HasPrefix(text, own) {
			return err
		}
	}
	for status := 100; status < 600; status++ {
		if http.StatusText(status) == text {
			return fmt.Errorf("%w: %d %s", errRefusedByProxy, status, text)
		}
	}
	return errRefusedByProxy
}

var errRefusedByProxy = errors.New("the proxy did not connect")

// HTTP returns the http.Client in c.
func (c *Client) HTTP() *http.Client { return c.http }

func newTransport() *http.Transport {
	dialer := &gatedDialer{Dialer: net.Dialer{Timeout: dialTimeout, KeepAlive: 15 * time.Second}}
	return &http.Transport{
		Proxy:       http.ProxyFromEnvironment,
		DialContext: dialer.dial,
		TLSClientConfig: &tls.Config{
			MinVersion: tls.VersionTLS12,
			// A burst of callers opens many connections at once. Resumed
			// handshakes cost much less than full ones.
			ClientSessionCache: tls.NewLRUClientSessionCache(0),
		},
		TLSHandshakeTimeout:   tlsTimeout,
		ResponseHeaderTimeout: headerTimeout,
		ExpectContinueTimeout: time.Second,
		MaxIdleConnsPerHost:   maxIdle,
		MaxIdleConns:          2 * maxIdle,
		IdleConnTimeout:       idleTimeout,
		DisableCompression:    true,

		MaxResponseHeaderBytes: maxHeader,
		// HTTP/2 is disabled on purpose: a broken HTTP/1.1 connection loses one
		// answer, and with it at most one code, but a broken HTTP/2 connection
		// loses all requests in progress.
		ForceAttemptHTTP2: false,
		TLSNextProto:      map[string]func(string, *tls.Conn) http.RoundTripper{},
	}
}

// NoRedirects returns a redirect to the caller. Following it would send the
// access_token to the host it names.
func NoRedirects(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// gatedDialer limits how many connections to one address are established at a
// time, and skips those that are no longer needed when it is their turn. It
// does not delay calls: each gets its own connection or one that another call
// has finished with.
type gatedDialer struct {
	net.Dialer

	mu    sync.Mutex
	gates map[string]chan struct{}
}

// errNotWanted does not reach a call, because the call that needed the
// connection has another one.
var errNotWanted = errors.New("wxphone: the connection is not wanted any more")

func (d *gatedDialer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	x, _ := ctx.Value(exchangeKey{}).(*exchange)
	if x == nil || x.req.Urgent {
		return d.DialContext(ctx, network, address)
	}
	gate := d.gate(address)
	select {
	case gate <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if !x.wantsConnection() {
		<-gate
		return nil, errNotWanted
	}
	x.onDial()
	conn, err := d.DialContext(ctx, network, address)
	if err != nil {
		<-gate
		return nil, err
	}
	passed := &passingConn{Conn: conn, gate: gate}
	if x.host.scheme == "http" {
		passed.pass()
	} else if earlier := x.handshake.Swap(passed); earlier != nil {
		earlier.pass() // only one can be found when its handshake is done
	}
	return passed, nil
}

func (d *gatedDialer) gate(address string) chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	gate := d.gates[address]
	if gate == nil {
		gate = make(chan struct{}, maxHandshakes)
		if d.gates == nil {
			d.gates = make(map[string]chan struct{})
		}
		d.gates[address] = gate
	}
	return gate
}

// passingConn holds its place in the gate until the handshake is over.
type passingConn struct {
	net.Conn
	gate chan struct{}
	once sync.Once
}

func (c *passingConn) pass() { c.once.Do(func() { <-c.gate }) }

// Close also releases the place, in case there was no handshake.
func (c *passingConn) Close() error {
	c.pass()
	return c.Conn.Close()
}
