package transport

import (
	"context"
	"net/http"
	"net/http/httptrace"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// threeHosts are a.test, b.test and c.test.
func threeHosts() *Hosts {
	return NewHosts(NewHost("http", "a.test"), NewHost("http", "b.test"), NewHost("http", "c.test"))
}

func TestDeadHostIsFollowedByTheNext(t *testing.T) {
	t.Parallel()
	l := threeHosts()
	first := func() int { index, _ := l.first(); return index }
	assert.Zero(t, first())
	l.dead(0)
	assert.Equal(t, 1, first())
	l.dead(1)
	assert.Equal(t, 2, first())
	l.dead(2)
	assert.Zero(t, first())
	assert.Nil(t, l.outage.Load(), "the primary is as good as any other")
}

func TestOnlyAnAnswerOfThePrimaryEndsItsOutage(t *testing.T) {
	t.Parallel()
	l := threeHosts()
	l.dead(0)
	l.answered(1)
	l.answered(2)
	require.NotNil(t, l.outage.Load())
	l.answered(0)
	require.Nil(t, l.outage.Load())
	l.answered(0)
	require.Nil(t, l.outage.Load())
}

func TestDeadHostMovesItsOwnWaitersOn(t *testing.T) {
	t.Parallel()
	l := threeHosts()
	var contexts []context.Context
	for i := range l.list {
		x, ctx := waitingExchange(t, &l.waiters[i], time.Hour, false)
		contexts = append(contexts, ctx)
		l.waiters[i].enter(x)
		t.Cleanup(func() { x.waiters.leave(x) })
	}
	l.waiters[1].dead()
	assert.False(t, movedOn(contexts[0]))
	assert.True(t, movedOn(contexts[1]))
	assert.False(t, movedOn(contexts[2]))
	index, _ := l.first()
	assert.Equal(t, 2, index)
}

func TestEqualHosts(t *testing.T) {
	t.Parallel()
	a, b := NewHost("http", "a.test"), NewHost("http", "b.test")
	assert.True(t, NewHosts(a, b).Equal(NewHosts(a, b)))
	assert.False(t, NewHosts(a, b).Equal(NewHosts(b, a)))
	assert.False(t, NewHosts(a).Equal(NewHosts(a, b)))
	assert.False(t, NewHosts(a).Equal(NewHosts(NewHost("https", "a.test"))))
	dead := NewHosts(a, b)
	dead.dead(0)
	assert.True(t, dead.Equal(NewHosts(a, b)), "an outage is of the moment")
}

// One connection of the pool gave no answer, so the others may be as dead. If
// WeChat is only slow, the pool must not be emptied again and again.
func TestPoolIsEmptiedOnceInTheLifeOfAnIdleConnection(t *testing.T) {
	t.Parallel()
	pool := new(idle)
	client := NewClient(&http.Client{Transport: pool})
	now := time.Now()
	for _, at := range []time.Duration{0, 1, idleTimeout - 1, idleTimeout, 2*idleTimeout - 1} {
		client.dropIdle(now.Add(at))
	}
	assert.Equal(t, 2, pool.closed)
}

func TestNextHostIsAskedOnlyIfNothingCameOfTheFirst(t *testing.T) {
	t.Parallel()
	type step = sendOver
	notDialled := step(func(*http.Request, *httptrace.ClientTrace) (*http.Response, error) { return nil, errRefusedDial })
	cut := step(func(_ *http.Request, hooks *httptrace.ClientTrace) (*http.Response, error) {
		sent(hooks, httptrace.GotConnInfo{})
		return nil, errCut
	})
	answer := step(func(req *http.Request, _ *httptrace.ClientTrace) (*http.Response, error) {
		return answerWith(req, 200, goodAnswer), nil
	})
	for name, tt := range map[string]struct {
		outage bool
		steps  map[string]step
		want   []string
		first  int // afterwards
		err    error
	}{
		"first works":             {false, map[string]step{"a.test": answer}, []string{"a.test"}, 0, nil},
		"first is cut":            {false, map[string]step{"a.test": cut}, []string{"a.test"}, 0, errCut},
		"first is not there":      {false, map[string]step{"a.test": notDialled, "b.test": answer}, []string{"a.test", "b.test"}, 1, nil},
		"none is there":           {false, map[string]step{"a.test": notDialled, "b.test": notDialled}, []string{"a.test", "b.test"}, 0, errRefusedDial},
		"second works":            {true, map[string]step{"b.test": answer}, []string{"b.test"}, 1, nil},
		"second is not there":     {true, map[string]step{"b.test": notDialled, "a.test": answer}, []string{"b.test", "a.test"}, 0, nil},
		"second is gone, then it": {true, map[string]step{"b.test": notDialled, "a.test": cut}, []string{"b.test", "a.test"}, 0, errCut},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var asked []string
			s := newSender(sendOver(func(req *http.Request, hooks *httptrace.ClientTrace) (*http.Response, error) {
				asked = append(asked, req.URL.Host)
				return tt.steps[req.URL.Host](req, hooks)
			}))
			if tt.outage {
				s.Hosts.dead(0)
			}
			_, err := s.Send(context.Background(), newRequest(), "", new(Progress))
			require.ErrorIs(t, err, tt.err)
			assert.Equal(t, tt.want, asked)
			first, _ := s.Hosts.first()
			assert.Equal(t, tt.first, first)
		})
	}
}

// A lone host is never given up.
func TestLoneHostHasNoOutage(t *testing.T) {
	t.Parallel()
	s := newSender(sendOver(func(*http.Request, *httptrace.ClientTrace) (*http.Response, error) { return nil, errRefusedDial }))
	s.Hosts = NewHosts(NewHost("http", "a.test"))
	_, err := s.Send(context.Background(), newRequest(), "", new(Progress))
	require.ErrorIs(t, err, errRefusedDial)
	assert.Nil(t, s.Hosts.outage.Load())
}

func TestCallerWhoGivesUpSaysNothingOfTheHost(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(context.Background())
	var asked []string
	s := newSender(sendOver(func(req *http.Request, hooks *httptrace.ClientTrace) (*http.Response, error) {
		asked = append(asked, req.URL.Host)
		hooks.GetConn("a.test:80")
		cancel()
		return nil, req.Context().Err()
	}))
	_, err := s.Send(ctx, newRequest(), "", new(Progress))
	require.ErrorIs(t, err, context.Canceled)
	assert.Equal(t, []string{"a.test"}, asked)
	assert.Nil(t, s.Hosts.outage.Load())
}

func TestFailureAfterAnother(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ earlier, later, retry, taken bool }{
		{false, false, false, false}, {true, false, true, true}, {false, true, true, true}, {true, true, true, true},
	} {
		earlier := &failure{err: errCut, retry: tt.earlier, mayHaveTaken: tt.earlier}
		later := &failure{err: errRefusedDial, retry: tt.later, mayHaveTaken: tt.later, noConnection: true}
		joined := later.after(earlier)
		require.EqualError(t, joined.err, "connection cut; then: dial tcp: connection refused")
		require.ErrorIs(t, joined.err, errCut)
		require.ErrorIs(t, joined.err, errRefusedDial)
		assert.Equal(t, tt.retry, joined.retry)
		assert.Equal(t, tt.taken, joined.mayHaveTaken)
		assert.True(t, joined.noConnection)
		assert.Same(t, later, later.after(nil))
	}
}

func TestBaseURLInPieces(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]Host{
		"http://h.test":            {Name: "h.test", scheme: "http"},
		"https://h.test:1/":        {Name: "h.test:1", scheme: "https"},
		"https://h.test:65535/a/b": {Name: "h.test:65535", scheme: "https", path: "/a/b"},
		"http://h.test/a%2Fb":      {Name: "h.test", scheme: "http", path: "/a/b", rawPath: "/a%2Fb"},
		"http://h.test/a%20b/":     {Name: "h.test", scheme: "http", path: "/a b", rawPath: "/a%20b"},
	} {
		host, err := ParseBaseURL(raw)
		require.NoError(t, err)
		assert.Equal(t, want, host)
	}
	for _, raw := range []string{
		"", "h.test", "//h.test", "ftp://h.test", "http://", "http:///a", "http://:80", "http://h.test:0", "http://h.test:65536",
		"http://user:secret@h.test", "http://user@h.test", "http://h.test?", "http://h.test?a=secret", "http://h.test#", "http://h\x7f.test",
	} {
		_, err := ParseBaseURL(raw)
		require.Error(t, err, raw)
		assert.NotContains(t, err.Error(), "secret")
	}
}
