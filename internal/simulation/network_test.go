//go:build go1.25

package simulation_test

import (
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/wxphonetest"
)

// network is what a real http.Transport dials in a simulation. All its hosts
// are the same WeChat.
type network struct {
	server *wxphonetest.Server

	hosts map[string]*host
}

// host is one of WeChat's domains.
type host struct {
	listener chan net.Conn

	mu sync.Mutex
	is hostState
}

type hostState struct {
	dead            bool          // it takes no connection and answers nothing any more
	latency         time.Duration // of an answer
	dials, requests int
}

const (
	primaryHost  = "primary.test"
	fallbackHost = "fallback.test"

	hangingDial = 3 * time.Second // as long as the default client waits for one
)

// newNetwork returns a network with two hosts that work. Its bubble must end
// after the last dial has.
func newNetwork(t *testing.T) *network {
	t.Helper()
	n := &network{server: wxphonetest.NewServer(t), hosts: map[string]*host{}}
	for _, name := range []string{primaryHost, fallbackHost} {
		h := &host{listener: make(chan net.Conn)}
		n.hosts[name] = h
		server := &http.Server{Handler: n.handler(h), ErrorLog: log.New(io.Discard, "", 0)}
		go func() { _ = server.Serve(h) }()
		t.Cleanup(func() { server.Close() })
	}
	return n
}

func (n *network) handler(h *host) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(h.set(func(is *hostState) { is.requests++ }).latency)
		if h.now().dead {
			_, _ = io.Copy(io.Discard, r.Body) // or the server would not see the line being cut
			<-r.Context().Done()
			panic(http.ErrAbortHandler)
		}
		if r.Method == http.MethodHead {
			return // somebody looks whether the host is alive
		}
		n.server.ServeHTTP(w, r)
	})
}

// Accept, Close and Addr make a host a net.Listener.
func (h *host) Accept() (net.Conn, error) {
	conn, ok := <-h.listener
	if !ok {
		return nil, net.ErrClosed
	}
	return conn, nil
}

func (h *host) Close() error   { close(h.listener); return nil }
func (h *host) Addr() net.Addr { return &net.TCPAddr{} }

func (h *host) now() hostState { return h.set(func(*hostState) {}) }

func (h *host) set(change func(*hostState)) hostState {
	h.mu.Lock()
	defer h.mu.Unlock()
	change(&h.is)
	return h.is
}

func (h *host) die() { h.set(func(is *hostState) { is.dead = true }) }

func (h *host) slowDown(latency time.Duration) {
	h.set(func(is *hostState) { is.latency = latency })
}

func (n *network) dial(ctx context.Context, _, address string) (net.Conn, error) {
	name, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	h := n.hosts[name]
	if h.set(func(is *hostState) { is.dials++ }).dead {
		select {
		case <-time.After(hangingDial):
		case <-ctx.Done():
		}
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: context.DeadlineExceeded}
	}
	near, far := net.Pipe()
	h.listener <- far
	return near, nil
}

// transport returns a transport to the network with so many connections to a
// host at most, or without a limit if that is 0.
func (n *network) transport(t *testing.T, maxConns int) *http.Transport {
	t.Helper()
	transport := &http.Transport{
		DialContext:           n.dial,
		MaxConnsPerHost:       maxConns,
		MaxIdleConnsPerHost:   4096,
		ResponseHeaderTimeout: 10 * time.Second,
	}
	t.Cleanup(transport.CloseIdleConnections)
	return transport
}

// client returns a Client with a token, which asks the primary first.
func (n *network) client(t *testing.T, transport http.RoundTripper, opts ...wxphone.Option) *wxphone.Client {
	t.Helper()
	client := n.server.NewClient(append([]wxphone.Option{
		wxphone.WithHTTPClient(&http.Client{Transport: transport}),
		wxphone.WithBaseURL("http://" + primaryHost),
		wxphone.WithFallbackURLs("http://" + fallbackHost),
	}, opts...)...)
	_, err := client.AccessToken(t.Context())
	require.NoError(t, err)
	return client
}
