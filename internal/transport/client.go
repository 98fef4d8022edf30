package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"
)

const (
	dialTimeout   = 3 * time.Second
	tlsTimeout    = 5 * time.Second
	headerTimeout = 10 * time.Second
	// callTimeout bounds a whole exchange, body included, for callers whose
	// context has no deadline.
	callTimeout = 15 * time.Second

	// maxIdle is how many connections to one host stay open for the next calls.
	// net/http keeps only 2 by default, so that every further concurrent call
	// pays a TLS handshake.
	maxIdle = 4096
	// idleTimeout is short because WeChat closes idle connections unannounced,
	// and a request that meets the closing may lose its answer.
	idleTimeout = 30 * time.Second

	// maxHandshakes is how many connections to one host are made at a time.
	// Without a limit a burst of callers makes several each, most of which
	// nobody waits for any more when they are made.
	maxHandshakes = 64
)

// Client is an http.Client, and what is known of the transport in it.
type Client struct {
	http *http.Client
	// alone sends each request on a connection of its own. It is nil for a
	// user's client.
	alone *http.Client

	// standard is whether the transport is net/http's own, which calls the
	// hooks of httptrace before it sends anything.
	standard bool
	// queues is whether a request may have to wait for a place in the pool.
	queues bool
	// dialHooks is whether only the hooks of package net tell that a
	// connection is being made.
	dialHooks bool
}

// NewClient returns c, which does not follow redirects, as a Client.
func NewClient(c *http.Client) *Client {
	given := c.Transport
	if given == nil {
		given = http.DefaultTransport
	}
	standard, ok := given.(*http.Transport)
	queues := ok && standard.MaxConnsPerHost > 0
	return &Client{http: c, standard: ok, queues: queues, dialHooks: queues}
}

// DefaultClient returns the Client that serves all who bring none of their own.
// There is one in a process, so that a thousand mini-programs do not open a
// thousand connection pools.
func DefaultClient() *Client { return defaultClient() }

var defaultClient = sync.OnceValue(func() *Client {
	pool := newTransport()
	alone := pool.Clone()
	alone.MaxIdleConnsPerHost = -1 // no Connection: close, which ends it with the answer
	return &Client{
		http:     &http.Client{Timeout: callTimeout, CheckRedirect: NoRedirects, Transport: pool},
		alone:    &http.Client{Timeout: callTimeout, CheckRedirect: NoRedirects, Transport: alone},
		standard: true,
		queues:   true,
	}
})

// HTTP returns the http.Client in c.
func (c *Client) HTTP() *http.Client { return c.http }

func newTransport() *http.Transport {
	dialer := &gatedDialer{Dialer: net.Dialer{Timeout: dialTimeout, KeepAlive: 15 * time.Second}}
	return &http.Transport{
		Proxy:       http.ProxyFromEnvironment,
		DialContext: dialer.dial,
		TLSClientConfig: &tls.Config{
			MinVersion: tls.VersionTLS12,
			// A burst of callers opens many connections at once; resumed
			// handshakes cost a fraction of full ones.
			ClientSessionCache: tls.NewLRUClientSessionCache(0),
		},
		TLSHandshakeTimeout:   tlsTimeout,
		ResponseHeaderTimeout: headerTimeout,
		ExpectContinueTimeout: time.Second,
		MaxIdleConnsPerHost:   maxIdle,
		MaxIdleConns:          2 * maxIdle,
		IdleConnTimeout:       idleTimeout,
		DisableCompression:    true,
		// HTTP/1.1 on purpose: a connection that breaks loses one answer,
		// and with it at most one code, rather than all under way.
		ForceAttemptHTTP2: false,
		TLSNextProto:      map[string]func(string, *tls.Conn) http.RoundTripper{},
	}
}

// NoRedirects hands a redirect to the caller: following it would send the
// access_token to whatever host it names.
func NoRedirects(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// gatedDialer makes few connections at a time to one address, and only such as
// somebody still waits for when it is their turn. Calls are not held back: each
// gets its connection, or one that another call is done with.
type gatedDialer struct {
	net.Dialer

	mu    sync.Mutex
	gates map[string]chan struct{}
}

// errNotWanted is never seen by a call: the one that the connection was for has
// got another.
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
	} else {
		x.handshake.Store(passed)
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

// passingConn keeps its place in the gate until the handshake is over.
type passingConn struct {
	net.Conn
	gate chan struct{}
	once sync.Once
}

func (c *passingConn) pass() { c.once.Do(func() { <-c.gate }) }

// Close gives the place back too, if there was no handshake.
func (c *passingConn) Close() error {
	c.pass()
	return c.Conn.Close()
}
