package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/url"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var (
	errRefusedDial = &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	errUntrusted   = &tls.CertificateVerificationError{Err: errors.New("unknown authority")}
)

// What the hooks saw of an exchange decides what its end means.
func TestLostExchange(t *testing.T) {
	t.Parallel()
	type verdict struct{ noConnection, movedOn, retry, sent, reused, silent bool }
	for name, tt := range map[string]struct {
		err                  error
		wanted, got, written int32
		custom               bool // the transport is not net/http's
		reused               bool
		movedOn, closed      bool
		took                 time.Duration
		want                 verdict
	}{
		"not dialled":                   {err: errRefusedDial, wanted: 1, want: verdict{noConnection: true, retry: true}},
		"not dialled, custom":           {err: errRefusedDial, wanted: 1, custom: true, want: verdict{noConnection: true, retry: true}},
		"handshake cut":                 {err: io.EOF, wanted: 1, want: verdict{noConnection: true, retry: true}},
		"certificate":                   {err: errUntrusted, wanted: 1, want: verdict{noConnection: true}},
		"dial took all the time":        {err: context.DeadlineExceeded, wanted: 1, took: time.Minute, want: verdict{noConnection: true, retry: true}},
		"connected, not written":        {err: io.EOF, wanted: 1, got: 1, want: verdict{retry: true}},
		"written":                       {err: io.EOF, wanted: 1, got: 1, written: 1, want: verdict{retry: true, sent: true}},
		"written, reused":               {err: io.EOF, wanted: 1, got: 1, written: 1, reused: true, want: verdict{retry: true, sent: true, reused: true}},
		"written, reused, timeout":      {err: os.ErrDeadlineExceeded, wanted: 1, got: 1, written: 1, reused: true, took: time.Second, want: verdict{retry: true, sent: true, reused: true, silent: true}},
		"written, timeout":              {err: os.ErrDeadlineExceeded, wanted: 1, got: 1, written: 1, took: time.Second, want: verdict{retry: true, sent: true}},
		"written, context over":         {err: context.DeadlineExceeded, wanted: 1, got: 1, written: 1, took: time.Second, want: verdict{retry: true, sent: true}},
		"written, short deadline":       {err: context.DeadlineExceeded, wanted: 1, got: 1, written: 1, took: time.Second / 2, want: verdict{retry: true, sent: true}},
		"written, cut late":             {err: io.EOF, wanted: 1, got: 1, written: 1, took: time.Minute, want: verdict{retry: true, sent: true}},
		"cancelled late":                {err: context.Canceled, wanted: 1, got: 1, written: 1, took: time.Minute, want: verdict{retry: true, sent: true}},
		"written, re-dial failed":       {err: errRefusedDial, wanted: 2, got: 1, written: 1, want: verdict{noConnection: true, retry: true, sent: true}},
		"written twice":                 {err: io.EOF, wanted: 2, got: 2, written: 2, reused: true, want: verdict{retry: true, sent: true, reused: true}},
		"no hooks, standard":            {err: errors.New("bad proxy"), want: verdict{noConnection: true, retry: true}},
		"no hooks, custom":              {err: io.EOF, custom: true, want: verdict{retry: true, sent: true}},
		"no hooks, custom, dial":        {err: errRefusedDial, custom: true, want: verdict{noConnection: true, retry: true}},
		"no hooks, custom, certificate": {err: errUntrusted, custom: true, want: verdict{noConnection: true}},
		"moved on":                      {err: context.Canceled, wanted: 1, movedOn: true, want: verdict{noConnection: true, movedOn: true, retry: true}},
		"moved on from the re-dial":     {err: context.Canceled, wanted: 2, got: 1, written: 1, movedOn: true, want: verdict{noConnection: true, movedOn: true, retry: true, sent: true}},
		"moved on, connection closed":   {err: net.ErrClosed, wanted: 1, got: 1, movedOn: true, closed: true, want: verdict{noConnection: true, movedOn: true, retry: true}},
		"moved on, buffer written":      {err: net.ErrClosed, wanted: 1, got: 1, written: 1, movedOn: true, closed: true, want: verdict{noConnection: true, movedOn: true, retry: true}},
		"moved on, written before":      {err: net.ErrClosed, wanted: 2, got: 2, written: 2, movedOn: true, closed: true, want: verdict{noConnection: true, movedOn: true, retry: true, sent: true}},
		"moved on, yet used":            {err: io.EOF, wanted: 1, got: 1, written: 1, movedOn: true, want: verdict{retry: true, sent: true}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSender(sendOver(nil))
			s.HTTP.standard = !tt.custom
			x := newExchange(s, newRequest(), "", 0)
			x.wait.allowed, x.wait.movedOn = time.Hour, tt.movedOn
			x.begun = x.begun.Add(-tt.took)
			x.wanted.Store(tt.wanted)
			x.got.Store(tt.got)
			x.written.Store(tt.written)
			x.reused.Store(tt.reused)
			x.closed.Store(tt.closed)
			x.writtenBefore.Store(max(0, tt.written-1))
			failed := x.lost(&url.Error{Op: "Post", URL: "http://a.test/?access_token=secret", Err: tt.err})
			assert.Equal(t, tt.want, verdict{
				failed.noConnection, failed.movedOn, failed.retry, failed.mayHaveTaken, failed.reused, failed.silent,
			})
			assert.Equal(t, failed.mayHaveTaken, failed.answerLost)
			if tt.want.movedOn {
				require.ErrorIs(t, failed.err, errMovedOn)
				return
			}
			require.ErrorIs(t, failed.err, tt.err)
			assert.NotContains(t, failed.err.Error(), "secret")
		})
	}
}

// The last host has nobody to move on to: its waiters are not asked.
func TestLastHostMovesNobodyOn(t *testing.T) {
	t.Parallel()
	x := newExchange(newSender(sendOver(nil)), newRequest(), "", 1)
	x.wait.movedOn = true
	x.wanted.Store(1)
	failed := x.lost(errRefusedDial)
	assert.False(t, failed.movedOn)
	assert.True(t, failed.noConnection)
}

func TestIsTimeout(t *testing.T) {
	t.Parallel()
	for err, want := range map[error]bool{
		context.DeadlineExceeded:                                        true,
		os.ErrDeadlineExceeded:                                          true,
		errMovedOn:                                                      true,
		&net.DNSError{IsTimeout: true}:                                  true,
		fmt.Errorf("read: %w", os.ErrDeadlineExceeded):                  true,
		errors.Join(io.EOF, context.DeadlineExceeded):                   true,
		&url.Error{Op: "Post", URL: "u", Err: context.DeadlineExceeded}: true,
		context.Canceled:                                                false,
		io.EOF:                                                          false,
		errRefusedDial:                                                  false,
		&net.DNSError{IsNotFound: true}:                                 false,
	} {
		assert.Equal(t, want, isTimeout(err), "%v", err)
	}
}

func TestIsDialError(t *testing.T) {
	t.Parallel()
	for err, want := range map[error]bool{
		errRefusedDial:                                     true,
		&net.DNSError{Err: "no such host"}:                 true,
		errUntrusted:                                       true,
		fmt.Errorf("proxy: %w", errRefusedDial):            true,
		&net.OpError{Op: "read", Err: syscall.ECONNRESET}:  false,
		&net.OpError{Op: "write", Err: syscall.ECONNRESET}: false,
		io.EOF: false,
	} {
		assert.Equal(t, want, isDialError(err), "%v", err)
	}
}

func TestRequestRepeatedUnseenIsNoticed(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		written  int32
		body     []byte
		noEffect bool
		custom   bool
		want     bool
	}{
		"once":                  {written: 1},
		"twice, without a body": {written: 2, want: true},
		"twice, with a body":    {written: 2, body: []byte("{}")},
		"twice, custom":         {written: 2, body: []byte("{}"), custom: true, want: true},
		"once, custom":          {written: 1, body: []byte("{}"), custom: true},
		"twice, without a body, without an effect": {written: 2, noEffect: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSender(sendOver(nil))
			s.HTTP.standard = !tt.custom
			req := newRequest()
			req.Body = tt.body
			if tt.noEffect {
				req.Effect = nil
			}
			x := newExchange(s, req, "", 0)
			x.written.Store(tt.written)
			assert.Equal(t, tt.want, x.repeated())
		})
	}
}

// pipeEnd returns one end of a connection, and whether it is closed.
func pipeEnd(t *testing.T) (conn net.Conn, isClosed func() bool) {
	t.Helper()
	near, far := net.Pipe()
	t.Cleanup(func() { near.Close(); far.Close() })
	return near, func() bool {
		_ = far.SetWriteDeadline(time.Now()) // nobody reads
		_, err := far.Write([]byte{0})
		return errors.Is(err, io.ErrClosedPipe)
	}
}

// The host is given up in the moment in which a connection to it is there.
func TestConnectionThatComesTooLateIsClosedUnused(t *testing.T) {
	t.Parallel()
	for name, write := range map[string]bool{"buffered": true, "not written": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn, isClosed := pipeEnd(t)
			var s *Sender
			var asked []string
			s = newSender(sendOver(func(req *http.Request, hooks *httptrace.ClientTrace) (*http.Response, error) {
				if asked = append(asked, req.URL.Host); len(asked) > 1 {
					return answerWith(req, 200, `{"errcode":7}`), nil
				}
				hooks.GetConn("a.test:80")
				s.Hosts.dead(0)
				assert.ErrorIs(t, context.Cause(req.Context()), errMovedOn)
				hooks.GotConn(httptrace.GotConnInfo{Conn: conn})
				assert.True(t, isClosed())
				if write {
					hooks.WroteRequest(httptrace.WroteRequestInfo{})
				}
				return nil, net.ErrClosed
			}))
			_, err := s.Send(context.Background(), newRequest(), "", new(Progress))
			var refusal *refused
			require.ErrorAs(t, err, &refusal)
			assert.NotErrorIs(t, err, errMaybeUsed, "nothing was sent to the first host")
			assert.Equal(t, []string{"a.test", "b.test"}, asked)
			assert.Zero(t, s.Hosts.waiters[0].holding)
		})
	}
}

// Not every transport says which connection it has.
func TestLateConnectionThatIsNotShownCannotBeClosed(t *testing.T) {
	t.Parallel()
	w, _ := hostWithWaiters()
	x, _ := waitingExchange(t, w, time.Hour, false)
	x.onWanted("a.test:80")
	w.moveOn()
	x.onGot(httptrace.GotConnInfo{})
	assert.False(t, x.closed.Load())
	assert.False(t, x.lost(errCut).noConnection, "it may be used")
}

func TestExchangeThatIsOverWantsNoConnection(t *testing.T) {
	t.Parallel()
	for _, last := range []bool{false, true} {
		x := newExchange(newSender(sendOver(func(_ *http.Request, hooks *httptrace.ClientTrace) (*http.Response, error) {
			hooks.GetConn("a.test:80")
			return nil, errCut
		})), newRequest(), "", 0)
		_, _, failed := x.run(context.Background(), last)
		require.ErrorIs(t, failed.err, errCut)
		assert.False(t, x.wantsConnection())
	}
}

func TestConnectionInTimeIsKept(t *testing.T) {
	t.Parallel()
	conn, isClosed := pipeEnd(t)
	s := newSender(sendOver(func(req *http.Request, hooks *httptrace.ClientTrace) (*http.Response, error) {
		hooks.GetConn("a.test:80")
		hooks.GotConn(httptrace.GotConnInfo{Conn: conn})
		assert.False(t, isClosed())
		return answerWith(req, 200, goodAnswer), nil
	}))
	_, err := s.Send(context.Background(), newRequest(), "", new(Progress))
	require.NoError(t, err)
}

// lateDialer dials when it is told to.
type lateDialer struct{ dialling, dial chan struct{} }

func (d *lateDialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	d.dialling <- struct{}{}
	<-d.dial
	return conn, err
}

// Whoever comes first, the request is sent once or not at all, and the failure
// says which.
func TestGivenUpHostAndItsConnectionComeAtOnce(t *testing.T) {
	t.Parallel()
	const rounds = 500
	var requests, answered atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		requests.Add(1)
		_, _ = io.WriteString(w, goodAnswer)
	}))
	d := &lateDialer{make(chan struct{}), make(chan struct{})}
	pool := &http.Transport{DialContext: d.DialContext, DisableKeepAlives: true}
	s := newSender(pool)
	s.Hosts = NewHosts(NewHost("http", server.Listener.Addr().String()), NewHost("http", "b.test"))
	for round := range rounds {
		var progress Progress
		var group sync.WaitGroup
		group.Add(1)
		go func() {
			defer group.Done()
			answer, failed := s.exchange(context.Background(), newRequest(), "", 0, false, &progress)
			switch failed {
			case nil:
				assert.NotNil(t, answer)
				answered.Add(1)
			default:
				assert.True(t, failed.movedOn, "%v", failed.err)
				assert.True(t, failed.noConnection)
				assert.False(t, failed.mayHaveTaken)
				assert.Nil(t, progress.taken)
			}
		}()
		<-d.dialling
		for range round % 50 { // shifts the one against the other
			s.Hosts.answered(1)
		}
		group.Add(1)
		go func() {
			defer group.Done()
			s.Hosts.waiters[0].moveOn()
		}()
		d.dial <- struct{}{}
		group.Wait()
	}
	server.Close() // after all that it was sent
	assert.Equal(t, answered.Load(), requests.Load())
	assert.Zero(t, s.Hosts.waiters[0].holding)
	assert.Zero(t, waiting(&s.Hosts.waiters[0]))
	t.Logf("%d of %d were answered, the others moved on", answered.Load(), rounds)
}

// A GET is written whole, its connection breaks, net/http looks for another
// one, and the host is given up just when that is there. If net/http notices
// the closing before it writes, the first request is forgotten.
func TestRequestWrittenBeforeTheLateConnectionIsRemembered(t *testing.T) {
	t.Parallel()
	conn, _ := pipeEnd(t)
	var s *Sender
	s = newSender(sendOver(func(req *http.Request, hooks *httptrace.ClientTrace) (*http.Response, error) {
		if req.URL.Host == "b.test" {
			return answerWith(req, 200, `{"errcode":40029}`), nil
		}
		sent(hooks, httptrace.GotConnInfo{Reused: true}) // WeChat has it
		hooks.GetConn("a.test:80")
		s.Hosts.dead(0)
		hooks.GotConn(httptrace.GotConnInfo{Conn: conn})
		return nil, net.ErrClosed // nothing is written to it
	}))
	s.HTTP.standard = true
	req := newRequest()
	req.Method, req.Body = http.MethodGet, nil
	_, err := s.Send(context.Background(), req, "", new(Progress))
	require.ErrorIs(t, err, errMaybeUsed)
}
