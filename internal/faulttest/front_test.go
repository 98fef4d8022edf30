package faulttest

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/wxphonetest"
)

// front stands before the fake WeChat as a load balancer does before the real
// one, over TLS and loopback sockets, and breaks what it is told to break.
type front struct {
	URL    string
	fake   *wxphonetest.Server
	server *httptest.Server
	ended  context.Context // ends with the front, and with it every silence

	mu        sync.Mutex
	greetings []greeting           // for the next connections
	faults    map[string][]fault   // for the next requests, by endpoint
	plan      func(*arrival) fault // for requests without a fault of their own
	attempts  map[string]int       // requests seen, by code
	states    map[*link]http.ConnState
	opened    int // connections
	greeters  sync.WaitGroup
	held      int // connections that a greeting keeps
}

// fault answers a request, or not. A nil fault is the fake's own answer.
type fault func(*arrival)

// greeting takes the place of a TLS handshake.
type greeting func(*front, *link)

// newFront starts a front over TLS. Make it after [checkLeaks].
func newFront(t *testing.T) *front {
	t.Helper()
	return startFront(t, true)
}

func startFront(t *testing.T, secure bool) *front {
	t.Helper()
	ended, end := context.WithCancel(context.Background())
	f := &front{
		fake:     wxphonetest.NewServer(t),
		ended:    ended,
		faults:   map[string][]fault{},
		attempts: map[string]int{},
		states:   map[*link]http.ConnState{},
	}
	f.server = httptest.NewUnstartedServer(f)
	f.server.Listener = &greeter{f.server.Listener, f}
	f.server.Config.ErrorLog = log.New(io.Discard, "", 0) // broken on purpose
	f.server.Config.ConnState = f.onState
	f.server.Config.ConnContext = func(ctx context.Context, conn net.Conn) context.Context {
		return context.WithValue(ctx, linkKey{}, linkOf(conn))
	}
	if secure {
		f.server.StartTLS()
	} else {
		f.server.Start()
	}
	f.URL = f.server.URL
	t.Cleanup(func() {
		end()
		f.server.CloseClientConnections()
		f.server.Close()
		f.greeters.Wait()
	})
	return f
}

// client returns a client of f with the transport that users get.
func (f *front) client(t *testing.T, opts ...wxphone.Option) *wxphone.Client {
	t.Helper()
	opts = append([]wxphone.Option{wxphone.WithBaseURL(f.URL)}, opts...)
	client, err := wxphone.New(f.fake.AppID(), f.fake.Secret(), opts...)
	require.NoError(t, err)
	return client
}

// warmClient is client with a token already fetched, so that the connection of
// that is in the pool.
func (f *front) warmClient(t *testing.T, opts ...wxphone.Option) *wxphone.Client {
	t.Helper()
	client := f.client(t, opts...)
	_, err := client.AccessToken(context.Background())
	require.NoError(t, err)
	return client
}

// next has faults happen to the next requests to endpoint, one each.
func (f *front) next(endpoint string, faults ...fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults[endpoint] = append(f.faults[endpoint], faults...)
}

// greet has greetings happen to the next connections, one each.
func (f *front) greet(greetings ...greeting) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.greetings = append(f.greetings, greetings...)
}

// planFor has plan decide on every request that no other fault is meant for.
func (f *front) planFor(plan func(*arrival) fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.plan = plan
}

// connections returns how many connections were ever opened.
func (f *front) connections() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.opened
}

// killIdle makes the peer of every idle connection a dead one.
func (f *front) killIdle() {
	idle, _ := f.idle()
	for _, l := range idle {
		l.dead.Store(true)
	}
}

// arrival is one request on its way through a front.
type arrival struct {
	front    *front
	w        http.ResponseWriter
	r        *http.Request
	body     []byte
	endpoint string
	code     string // the one-time code it carries, if any
	attempt  int    // how many requests came with this code, from 1
	link     *link
}

// ServeHTTP implements [http.Handler].
func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a := &arrival{front: f, w: w, r: r, endpoint: r.URL.Path, link: r.Context().Value(linkKey{}).(*link)}
	f.mu.Lock()
	if queue := f.faults[a.endpoint]; len(queue) > 0 && isStreaming(r) {
		f.faults[a.endpoint] = queue[1:]
		f.mu.Unlock()
		queue[0](a)
		return
	}
	f.mu.Unlock()

	var err error
	if a.body, err = io.ReadAll(r.Body); err != nil {
		panic(http.ErrAbortHandler)
	}
	a.code = codeOf(r, a.body)
	if broken := f.faultFor(a); broken != nil {
		broken(a)
		return
	}
	a.answer(a.process())
}

// isStreaming tells a body too large for the fake, which only a fault that does
// not read it can be meant for.
func isStreaming(r *http.Request) bool { return r.ContentLength > 1<<20 }

func (f *front) faultFor(a *arrival) fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.attempts[a.code]++
	a.attempt = f.attempts[a.code]
	if queue := f.faults[a.endpoint]; len(queue) > 0 {
		f.faults[a.endpoint] = queue[1:]
		return queue[0]
	}
	if f.plan != nil {
		return f.plan(a)
	}
	return nil
}

func codeOf(r *http.Request, body []byte) string {
	if code := r.URL.Query().Get("js_code"); code != "" {
		return code
	}
	var message struct {
		Code string `json:"code"`
	}
	_ = json.Unmarshal(body, &message) // a body without a code has none
	return message.Code
}

// process lets the request take effect and returns the answer.
func (a *arrival) process() *httptest.ResponseRecorder {
	answer := httptest.NewRecorder()
	in := a.r.Clone(a.r.Context())
	in.Body = io.NopCloser(bytes.NewReader(a.body))
	a.front.fake.ServeHTTP(answer, in)
	return answer
}

func (a *arrival) answer(answer *httptest.ResponseRecorder) {
	for name, values := range answer.Header() {
		a.w.Header()[name] = values
	}
	a.w.WriteHeader(answer.Code)
	_, _ = a.w.Write(answer.Body.Bytes())
}

// onState follows the connections, so that leaked ones are seen.
func (f *front) onState(conn net.Conn, state http.ConnState) {
	f.mu.Lock()
	defer f.mu.Unlock()
	l := linkOf(conn)
	switch state {
	case http.StateNew:
		f.opened++
		f.states[l] = state
	case http.StateClosed, http.StateHijacked:
		delete(f.states, l)
	default:
		f.states[l] = state
	}
}

// idle returns the connections on which no request is under way, and busy how
// many others there are: with no call under way, those are leaked.
func (f *front) idle() (idle []*link, busy int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for l, state := range f.states {
		switch state {
		case http.StateActive:
			busy++
		default:
			idle = append(idle, l)
		}
	}
	return idle, busy + f.held
}

// requireIdle waits until all connections are idle or closed.
func (f *front) requireIdle(t *testing.T) {
	t.Helper()
	require.Eventually(t, func() bool {
		_, busy := f.idle()
		return busy == 0
	}, 10*time.Second, time.Millisecond, "connections leaked")
}
