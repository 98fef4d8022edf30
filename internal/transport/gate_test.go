package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// silentHost takes connections and says nothing.
type silentHost struct {
	net.Listener
	address string

	mu    sync.Mutex
	taken []net.Conn
}

func newSilentHost(t *testing.T) *silentHost {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	h := &silentHost{Listener: listener, address: listener.Addr().String()}
	go h.serve()
	t.Cleanup(h.hangUp)
	return h
}

func (h *silentHost) serve() {
	for {
		conn, err := h.Accept()
		if err != nil {
			return
		}
		h.mu.Lock()
		h.taken = append(h.taken, conn)
		h.mu.Unlock()
	}
}

func (h *silentHost) connections() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.taken)
}

func (h *silentHost) hangUp() {
	h.Close()
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, conn := range h.taken {
		conn.Close()
	}
}

// wanting returns an exchange that looks for a connection, and a context in
// which one is dialled for it.
func wanting(scheme string) (*exchange, context.Context) {
	host := NewHost(scheme, "a.test")
	x := &exchange{sender: &Sender{HTTP: &Client{queues: true}}, req: newRequest(), host: &host, waiters: new(waiters)}
	x.onWanted("")
	return x, &exchangeContext{context.Background(), x}
}

// fill takes all but so many places of the gate to address.
func fill(d *gatedDialer, address string, but int) chan struct{} {
	gate := d.gate(address)
	for len(gate) < cap(gate)-but {
		gate <- struct{}{}
	}
	return gate
}

func TestSixtyFourConnectionsAreMadeAtATime(t *testing.T) {
	t.Parallel()
	const dials = 150
	host := newSilentHost(t)
	address := host.address
	d := new(gatedDialer)
	conns := make(chan net.Conn, dials)
	for range dials {
		_, ctx := wanting("https")
		go func() {
			conn, err := d.dial(ctx, "tcp", address)
			assert.NoError(t, err)
			conns <- conn
		}()
	}
	var held []net.Conn
	for range 64 {
		held = append(held, <-conns)
	}
	for released := 0; len(held) > 0; released++ {
		assert.Len(t, d.gate(address), len(held), "one place for each that is under way")
		assert.Empty(t, conns)
		_ = held[0].Close()
		held = held[1:]
		if released < dials-64 {
			held = append(held, <-conns)
		}
	}
	assert.Empty(t, d.gate(address))
	require.Eventually(t, func() bool { return host.connections() == dials }, 10*time.Second, time.Millisecond)
}

func TestPlaceIsGivenBackOnce(t *testing.T) {
	t.Parallel()
	address := newSilentHost(t).address
	for name, tt := range map[string]struct {
		scheme string
		after  int // places taken after the dial
		end    func(*exchange, net.Conn)
	}{
		"handshake over":            {"https", 1, func(x *exchange, _ net.Conn) { x.onHandshake(tls.ConnectionState{}, nil) }},
		"handshake failed":          {"https", 1, func(x *exchange, _ net.Conn) { x.onHandshake(tls.ConnectionState{}, io.EOF) }},
		"connection closed":         {"https", 1, func(_ *exchange, conn net.Conn) { _ = conn.Close() }},
		"plain HTTP":                {"http", 0, func(*exchange, net.Conn) {}},
		"plain HTTP, and closed":    {"http", 0, func(_ *exchange, conn net.Conn) { _ = conn.Close() }},
		"handshake over and closed": {"https", 1, func(x *exchange, conn net.Conn) { x.onHandshake(tls.ConnectionState{}, nil); _ = conn.Close() }},
		"closed twice":              {"https", 1, func(_ *exchange, conn net.Conn) { _ = conn.Close(); _ = conn.Close() }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := new(gatedDialer)
			gate := d.gate(address)
			gate <- struct{}{} // somebody else's, which stays
			x, ctx := wanting(tt.scheme)
			conn, err := d.dial(ctx, "tcp", address)
			require.NoError(t, err)
			defer conn.Close()
			assert.Len(t, gate, 1+tt.after)
			tt.end(x, conn)
			assert.Len(t, gate, 1)
		})
	}
}

func TestFailedDialGivesItsPlaceBack(t *testing.T) {
	t.Parallel()
	errNoSocket := errors.New("no socket")
	d := &gatedDialer{Dialer: net.Dialer{Control: func(string, string, syscall.RawConn) error { return errNoSocket }}}
	for range 2 * maxHandshakes {
		x, ctx := wanting("https")
		_, err := d.dial(ctx, "tcp", "127.0.0.1:1")
		require.ErrorIs(t, err, errNoSocket)
		assert.Nil(t, x.handshake.Load())
	}
	assert.Empty(t, d.gate("127.0.0.1:1"))
}

// neverDials fails a dial that goes as far as a socket.
func neverDials(t *testing.T) *gatedDialer {
	t.Helper()
	return &gatedDialer{Dialer: net.Dialer{Control: func(string, string, syscall.RawConn) error {
		t.Error("dialled")
		return errCut
	}}}
}

func TestConnectionThatNobodyWantsIsNotMade(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]func(*exchange){
		"got another one": func(x *exchange) { x.got.Add(1) },
		"call is over":    func(x *exchange) { x.over.Store(true) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := neverDials(t)
			gate := fill(d, "127.0.0.1:1", 0)
			x, ctx := wanting("https")
			failed := make(chan error)
			go func() {
				_, err := d.dial(ctx, "tcp", "127.0.0.1:1")
				failed <- err
			}()
			lose(x)
			<-gate // its turn comes
			require.ErrorIs(t, <-failed, errNotWanted)
			assert.Len(t, gate, cap(gate)-1)
		})
	}
}

func TestSecondConnectionIsMadeAfterTheFirstBroke(t *testing.T) {
	t.Parallel()
	address := newSilentHost(t).address
	x, ctx := wanting("https")
	x.got.Add(1)
	x.onWanted("")
	conn, err := new(gatedDialer).dial(ctx, "tcp", address)
	require.NoError(t, err)
	conn.Close()
}

func TestDialWhoseContextEndsLeavesTheQueue(t *testing.T) {
	t.Parallel()
	d := neverDials(t)
	gate := fill(d, "127.0.0.1:1", 0)
	x, _ := wanting("https")
	ctx, cancel := context.WithCancel(&exchangeContext{context.Background(), x})
	failed := make(chan error)
	go func() {
		_, err := d.dial(ctx, "tcp", "127.0.0.1:1")
		failed <- err
	}()
	cancel()
	require.ErrorIs(t, <-failed, context.Canceled)
	assert.Len(t, gate, cap(gate))
}

func TestWhoIsUrgentOrUnknownPassesTheGate(t *testing.T) {
	t.Parallel()
	address := newSilentHost(t).address
	d := new(gatedDialer)
	gate := fill(d, address, 0)
	urgent, ctx := wanting("https")
	urgent.req.Urgent = true
	for name, ctx := range map[string]context.Context{"urgent": ctx, "no exchange": context.Background()} {
		conn, err := d.dial(ctx, "tcp", address)
		require.NoError(t, err, name)
		conn.Close()
		assert.Len(t, gate, cap(gate), "it takes no place and gives none back")
	}
}

func TestTwoAddressesHaveTwoGates(t *testing.T) {
	t.Parallel()
	address := newSilentHost(t).address
	other := newSilentHost(t).address
	d := new(gatedDialer)
	full := fill(d, address, 0)
	_, ctx := wanting("https")
	conn, err := d.dial(ctx, "tcp", other)
	require.NoError(t, err)
	assert.Len(t, d.gate(other), 1)
	assert.Len(t, full, cap(full))
	conn.Close()
	assert.Empty(t, d.gate(other))
	assert.Len(t, d.gate(address), cap(full))
}

// In the gate a call is not dialling yet: its wait says nothing of the host.
func TestDialBeginsBehindTheGate(t *testing.T) {
	t.Parallel()
	d := &gatedDialer{Dialer: net.Dialer{Control: func(string, string, syscall.RawConn) error { return errCut }}}
	x, _ := waitingExchange(t, new(waiters), time.Hour, true)
	x.onWanted("")
	gate := fill(d, "127.0.0.1:1", 0)
	ctx, cancel := context.WithCancel(&exchangeContext{context.Background(), x})
	cancel()
	_, err := d.dial(ctx, "tcp", "127.0.0.1:1")
	require.ErrorIs(t, err, context.Canceled)
	assert.False(t, x.wait.dialing)
	<-gate
	_, err = d.dial(&exchangeContext{context.Background(), x}, "tcp", "127.0.0.1:1")
	require.ErrorIs(t, err, errCut)
	assert.True(t, x.wait.dialing)
	x.waiters.leave(x)
}

// A pool of the user's with a bound has no gate; package net tells of its dials.
func TestDialOfABoundedPoolIsNoticed(t *testing.T) {
	t.Parallel()
	address := newSilentHost(t).address
	for _, bound := range []int{0, 1} {
		dialled := make(chan struct{})
		pool := &http.Transport{MaxConnsPerHost: bound, DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			defer close(dialled)
			conn, err := new(net.Dialer).DialContext(ctx, network, addr)
			if err == nil {
				conn.Close()
			}
			return nil, errCut
		}}
		x := newExchange(newSender(pool), newRequest(), "", 0)
		x.url.Host = address
		_, _, failed := x.run(context.Background(), false)
		<-dialled
		require.ErrorIs(t, failed.err, errCut)
		assert.Equal(t, bound > 0, x.wait.dialing)
	}
}

func TestDNSLookupIsADial(t *testing.T) {
	t.Parallel()
	x := newExchange(newSender(&http.Transport{MaxConnsPerHost: 1}), newRequest(), "", 0)
	x.wait.allowed = time.Hour
	hooks := httptrace.ContextClientTrace(x.traced(context.Background()))
	hooks.GetConn("a.test:80")
	hooks.DNSStart(httptrace.DNSStartInfo{Host: "a.test"})
	assert.True(t, x.wait.dialing)
	x.waiters.leave(x)
}

// gatedPool returns the default client's pool and the dialer in it.
func gatedPool(t *testing.T) (*http.Transport, *gatedDialer) {
	t.Helper()
	d := new(gatedDialer)
	pool := newTransport()
	pool.Proxy = nil
	pool.DialContext = d.dial
	t.Cleanup(pool.CloseIdleConnections)
	return pool, d
}

// throughPool returns a Sender to address that uses pool as the default client
// would.
func throughPool(pool *http.Transport, address string) *Sender {
	s := newSender(nil)
	s.HTTP = &Client{http: &http.Client{Transport: pool}, standard: true, queues: true}
	s.Hosts = NewHosts(NewHost("https", address))
	return s
}

// newTLSServer returns a server that answers well, and the gate to it in the
// pool that the Sender uses. It asks handshake before it goes on with one.
func newTLSServer(t *testing.T, handshake func() error) (s *Sender, pool *http.Transport, gate chan struct{}) {
	t.Helper()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, goodAnswer)
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.TLS = &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return nil, handshake() }}
	server.StartTLS()
	t.Cleanup(server.Close)
	address := server.Listener.Addr().String()
	pool, d := gatedPool(t)
	pool.TLSClientConfig.RootCAs = server.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	return throughPool(pool, address), pool, d.gate(address)
}

func TestDefaultPoolHasAGate(t *testing.T) {
	t.Parallel()
	x, ctx := wanting("https")
	x.over.Store(true)
	_, err := newTransport().DialContext(ctx, "tcp", newSilentHost(t).address)
	require.ErrorIs(t, err, errNotWanted)
}

func TestBurstMakesSixtyFourHandshakesAtATime(t *testing.T) {
	t.Parallel()
	const callers = 130
	var now, most atomic.Int32
	var once sync.Once
	full, release := make(chan struct{}), make(chan struct{})
	s, pool, gate := newTLSServer(t, func() error {
		n := now.Add(1)
		defer now.Add(-1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		if n == maxHandshakes {
			once.Do(func() { close(full) })
		}
		<-release
		return nil
	})
	var group sync.WaitGroup
	for range callers {
		group.Add(1)
		go func() {
			defer group.Done()
			_, err := s.Send(context.Background(), newRequest(), "", new(Progress))
			assert.NoError(t, err)
		}()
	}
	<-full
	assert.Len(t, gate, maxHandshakes)
	close(release)
	group.Wait()
	assert.EqualValues(t, maxHandshakes, most.Load())
	pool.CloseIdleConnections()
	require.Eventually(t, func() bool { return len(gate) == 0 }, 10*time.Second, time.Millisecond)
}

func TestHandshakeThatIsOverHoldsNoPlace(t *testing.T) {
	t.Parallel()
	var refuse atomic.Bool
	s, pool, gate := newTLSServer(t, func() error {
		if refuse.Load() {
			return errors.New("no handshake today")
		}
		return nil
	})
	_, err := s.Send(context.Background(), newRequest(), "", new(Progress))
	require.NoError(t, err)
	assert.Empty(t, gate, "the connection is idle in the pool")

	pool.CloseIdleConnections()
	refuse.Store(true)
	_, err = s.Send(context.Background(), newRequest(), "", new(Progress))
	require.ErrorContains(t, err, "tls")
	require.NotErrorIs(t, err, errMaybeUsed)
	require.Eventually(t, func() bool { return len(gate) == 0 }, 10*time.Second, time.Millisecond)
}

// Callers who give up while the host takes no handshake leave nothing behind.
func TestNoDialOutlivesItsCallers(t *testing.T) { //nolint:paralleltest // looks at all goroutines
	host := newSilentHost(t)
	pool, d := gatedPool(t)
	s, gate := throughPool(pool, host.address), d.gate(host.address)
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	for range 3 * maxHandshakes {
		group.Add(1)
		go func() {
			defer group.Done()
			_, err := s.Send(ctx, newRequest(), "", new(Progress))
			assert.ErrorIs(t, err, context.Canceled)
			assert.NotErrorIs(t, err, errMaybeUsed)
		}()
	}
	require.Eventually(t, func() bool { return len(gate) == maxHandshakes }, 10*time.Second, time.Millisecond)
	cancel()
	group.Wait()
	host.hangUp() // net/http goes on with the handshakes
	require.Eventually(t, func() bool { return len(gate) == 0 && !isDialing() }, 10*time.Second, time.Millisecond)
	assert.LessOrEqual(t, host.connections(), maxHandshakes, "nobody wanted the others")
}

// isDialing reports whether a goroutine is in a gatedDialer.
func isDialing() bool {
	stacks := make([]byte, 4<<20)
	return strings.Contains(string(stacks[:runtime.Stack(stacks, true)]), "(*gatedDialer).dial")
}

// Two handshakes under way for one exchange: the first dial of a call that got
// a connection from the pool meanwhile, which broke, and the second. The
// pointer to the first is overwritten, so its place in the gate is held as long
// as its connection lives in the pool.
func TestTwoHandshakesOfOneExchangeGiveBothPlacesBack(t *testing.T) {
	t.Parallel()
	address := newSilentHost(t).address
	d := new(gatedDialer)
	x, ctx := wanting("https")
	first, err := d.dial(ctx, "tcp", address)
	require.NoError(t, err)
	defer first.Close()
	x.got.Add(1) // from the pool, and broken
	x.onWanted("")
	second, err := d.dial(ctx, "tcp", address)
	require.NoError(t, err)
	defer second.Close()
	x.onHandshake(tls.ConnectionState{}, nil)
	x.onHandshake(tls.ConnectionState{}, nil)
	assert.Empty(t, d.gate(address), "both handshakes are over")
}
