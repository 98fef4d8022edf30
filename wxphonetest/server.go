package wxphonetest

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"time"

	"github.com/wxphone/wxphone"
)

// Server is a fake WeChat API with one mini-program. Create it with [NewServer]
// or [Start]. Its methods are safe for concurrent use by multiple goroutines.
type Server struct {
	options
	reporter reporter
	security *security // nil without API security

	// mu guards the fields below. It is not held while waiting.
	mu       sync.Mutex
	closed   bool
	listener *httptest.Server
	hangUp   context.CancelFunc
	// eventURL is where pushes go, through eventHandler if it is not nil.
	eventURL     string
	eventHandler http.Handler
	state
}

// state holds everything that a Server remembers.
type state struct {
	requests map[string]int
	latency  map[string]time.Duration
	faults   map[string][]*fault

	tokens     tokenBook
	platform   platform
	phoneCodes map[string]*phoneCode
	loginCodes map[string]*loginCode
	sessions   map[string]*session
	encrypted  map[string]time.Time
	cloudIDs   map[string]*cloudID

	quotas  quotaBook
	journal journal
}

func newState() state {
	return state{
		requests:   make(map[string]int),
		latency:    make(map[string]time.Duration),
		faults:     make(map[string][]*fault),
		tokens:     newTokenBook(),
		platform:   newPlatform(),
		phoneCodes: make(map[string]*phoneCode),
		loginCodes: make(map[string]*loginCode),
		sessions:   make(map[string]*session),
		encrypted:  make(map[string]time.Time),
		cloudIDs:   make(map[string]*cloudID),
		quotas:     newQuotaBook(),
	}
}

// NewServer returns a [Server] that is closed when the test ends. It fails the
// test if it gets a malformed request, or if a fault was set for an unknown
// endpoint that got no request.
func NewServer(tb TB, opts ...Option) *Server {
	if tb == nil {
		panic("wxphonetest: NewServer needs a test; use Start without one")
	}
	tb.Helper()
	s, err := Start(opts...)
	if err != nil {
		tb.Fatalf("%v", err)
		return nil
	}
	s.reporter.tb = tb
	tb.Cleanup(func() {
		defer s.reporter.stop()
		s.Close()
	})
	return s
}

// Start returns a [Server] for a program that is not a test, such as an example
// or a local substitute for WeChat. Call [Server.Close] when done. The error is
// non-nil only if an option is not valid.
//
// What would fail a test is logged to the logger of [WithLogger]. Without one,
// a malformed request is only visible in [Server.Exchanges].
func Start(opts ...Option) (*Server, error) {
	o, err := newOptions(opts)
	if err != nil {
		return nil, err
	}
	s := &Server{options: o, state: newState()}
	s.reporter.log = o.log
	if o.apiSecurity {
		s.security = newSecurity()
	}
	return s, nil
}

// Close stops the server. Its address and its HTTPClient then refuse
// connections. Further calls of Close do nothing.
func (s *Server) Close() {
	s.mu.Lock()
	listener, hangUp := s.listener, s.hangUp
	alreadyClosed := s.closed
	s.closed = true
	s.mu.Unlock()

	if alreadyClosed {
		return
	}
	s.reportMisspelt()
	if listener == nil {
		return
	}
	// A handler that waits for a latency or reads a stalled body would
	// otherwise keep the listener open.
	hangUp()
	listener.CloseClientConnections()
	listener.Close()
}

// Reset returns the server to its initial state. It clears codes,
// access_tokens, sessions, authorisations, quotas, faults, latencies, the count
// of requests and the journal. The address, the credentials, the keys and the
// URL of [Server.PushTo] are kept, so that existing clients continue to work.
func (s *Server) Reset() {
	s.reportMisspelt()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state = newState()
	if s.security != nil {
		s.security.rotations = 0
	}
}

// URL returns the server's address on the loopback interface, such as
// "http://127.0.0.1:40000", for use as a base URL. The first call starts the
// listener. It is not needed with [Server.HTTPClient]. URL panics if the server
// is closed and had no listener.
func (s *Server) URL() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener == nil {
		if s.closed {
			panic("wxphonetest: URL of a closed Server")
		}
		ctx, cancel := context.WithCancel(context.Background())
		listener := httptest.NewUnstartedServer(s)
		listener.Config.BaseContext = func(net.Listener) context.Context { return ctx }
		listener.Start()
		s.listener, s.hangUp = listener, cancel
	}
	return s.listener.URL
}

// NewClient returns a client of this server. opts follow the server's own
// options, [wxphone.WithHTTPClient] and, for a server with API security,
// [wxphone.WithAPISecurity], and can override them.
func (s *Server) NewClient(opts ...wxphone.Option) *wxphone.Client {
	own := []wxphone.Option{wxphone.WithHTTPClient(s.HTTPClient())}
	if s.security != nil {
		own = append(own, wxphone.WithAPISecurity(s.APISecurity()))
	}
	c, err := wxphone.New(s.appID, s.secret, append(own, opts...)...)
	if err != nil {
		s.reporter.fatalf("wxphonetest: NewClient: %v", err)
		return nil
	}
	return c
}

// AppID returns the appid of the server's mini-program.
func (s *Server) AppID() string { return s.appID }

// Secret returns the AppSecret of the server's mini-program.
func (s *Server) Secret() string { return s.secret }

var _ http.Handler = (*Server)(nil)
