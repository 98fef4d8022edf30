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

// Server is a fake WeChat API of one mini-program. Make one with [NewServer]
// or [Start]. Its methods are safe for concurrent use.
type Server struct {
	options
	reporter reporter
	security *security // nil without API security

	// mu guards all that follows. It is never held while waiting.
	mu       sync.Mutex
	closed   bool
	listener *httptest.Server
	hangUp   context.CancelFunc
	state
}

// state is all that a Server remembers of what happened.
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

// NewServer returns a [Server] that closes when the test ends and that fails
// the test when it gets a malformed request, or when a fault was set for an
// endpoint that neither WeChat nor the test's own requests know.
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

// Start returns a [Server] for a program that is no test, such as an example
// or a local stand-in for WeChat. Call [Server.Close] when done. It fails only
// on an invalid option.
//
// What would fail a test is written to the logger of [WithLogger]. Without one
// a malformed request shows in [Server.Exchanges] only.
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

// Close stops the server. From then on its address and its HTTPClient refuse
// connections. Closing twice is fine.
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
	// A handler that sits out a latency or reads a stalled body would otherwise
	// hold the listener open.
	hangUp()
	listener.CloseClientConnections()
	listener.Close()
}

// Reset makes the server what it was when it started. It forgets codes,
// access_tokens, sessions, authorisations, quotas, faults and latencies, its
// count of requests and its journal. Its address, its credentials and its keys
// of API security stay, so that clients need not be made anew.
func (s *Server) Reset() {
	s.reportMisspelt()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state = newState()
	if s.security != nil {
		s.security.rotations = 0
	}
}

// URL returns the server's address on the loopback interface, for a base URL:
// "http://127.0.0.1:40000". The first call starts to listen; with
// [Server.HTTPClient] there is no need to.
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

// NewClient returns a client of this server. opts come after the server's own,
// [wxphone.WithHTTPClient] and for a server [WithAPISecurity]
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
