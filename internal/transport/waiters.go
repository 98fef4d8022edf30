package transport

import (
	"context"
	"sync"
	"time"
)

const (
	// longestWait is how long a call waits for a connection to a host before
	// it goes on to the next. A call with little time waits a third of it.
	longestWait = time.Second
	// shortestVerdict is the wait below which a caller goes on by itself: so
	// short a wait says more of its deadline than of the host.
	shortestVerdict = 100 * time.Millisecond
)

// waiters are the exchanges that wait for a connection to one host while there
// is another host to go on to.
//
// An exchange enters when net/http begins to look for a connection and leaves
// when it has one. Whoever is still here when its wait is over goes on to the
// next host and has found out, for all who are here, that this one is dead. But
// in a transport that bounds its connections, an exchange may only have waited
// for a place: then somebody else holds a connection, and none is being made
// for this one. It goes on alone.
type waiters struct {
	dead func() // the host is: it calls moveOn

	mu      sync.Mutex
	front   *exchange // of a list, in no order
	holding int       // exchanges that have a connection
	timer   *time.Timer
	armed   time.Time // when the timer fires, or the zero time
}

// wait is an exchange's place among the waiters of a host. All of it but
// allowed belongs to the waiters' mutex.
type wait struct {
	allowed    time.Duration // 0 if there is no host to go on to
	cancel     context.CancelCauseFunc
	prev, next *exchange
	until      time.Time
	waiting    bool
	dialing    bool // a connection is being made for this exchange
	movedOn    bool // it was told to try the next host
	holds      bool
}

// errMovedOn ends the wait of an exchange for a connection.
var errMovedOn error = movedOnError{}

type movedOnError struct{}

func (movedOnError) Error() string   { return "no connection to the host in time" }
func (movedOnError) Timeout() bool   { return true }
func (movedOnError) Temporary() bool { return true }

// allowedWait is how long a call may wait for a connection to one host.
func allowedWait(ctx context.Context, now time.Time) time.Duration {
	deadline, ok := ctx.Deadline()
	if !ok {
		return longestWait
	}
	return max(1, min(deadline.Sub(now)/3, longestWait))
}

// enter has x wait, from now on.
func (w *waiters) enter(x *exchange) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if x.wait.waiting || x.wait.movedOn {
		return
	}
	x.wait.waiting = true
	x.wait.prev, x.wait.next = nil, w.front
	if w.front != nil {
		w.front.wait.prev = x
	}
	w.front = x
	w.expectIn(x, x.wait.allowed)
}

// dials notes that a connection is being made for x.
func (w *waiters) dials(x *exchange) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if x.wait.waiting && !x.wait.dialing {
		x.wait.dialing = true
		w.expectIn(x, x.wait.allowed)
	}
}

// expectIn looks at x again in d. The caller holds mu.
func (w *waiters) expectIn(x *exchange, d time.Duration) {
	x.wait.until = time.Now().Add(d)
	w.arm(x.wait.until, d)
}

func (w *waiters) arm(at time.Time, in time.Duration) {
	if !w.armed.IsZero() && !at.Before(w.armed) {
		return
	}
	w.armed = at
	if w.timer == nil {
		w.timer = time.AfterFunc(in, w.tick)
		return
	}
	w.timer.Reset(in)
}

// got ends x's wait, because it has a connection. It returns false if x was
// told to move on before.
func (w *waiters) got(x *exchange) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.remove(x)
	if !x.wait.holds {
		x.wait.holds = true
		w.holding++
	}
	return !x.wait.movedOn
}

// leave ends what x has to do with the host. It reports whether x was told to
// move on.
func (w *waiters) leave(x *exchange) (movedOn bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.remove(x)
	if x.wait.holds {
		x.wait.holds = false
		w.holding--
	}
	return x.wait.movedOn
}

func (w *waiters) remove(x *exchange) {
	if !x.wait.waiting {
		return
	}
	x.wait.waiting = false
	if x.wait.prev != nil {
		x.wait.prev.wait.next = x.wait.next
	} else {
		w.front = x.wait.next
	}
	if x.wait.next != nil {
		x.wait.next.wait.prev = x.wait.prev
	}
	x.wait.prev, x.wait.next = nil, nil
}

// tick looks whose wait is over.
func (w *waiters) tick() {
	if w.isDead(time.Now()) {
		w.dead()
	}
}

// isDead moves on those whose wait is over, and reports whether one of them
// speaks for all.
func (w *waiters) isDead(now time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.armed = time.Time{}
	for x, next := w.front, (*exchange)(nil); x != nil; x = next {
		next = x.wait.next
		switch {
		case now.Before(x.wait.until):
			w.arm(x.wait.until, x.wait.until.Sub(now))
		case w.speaksForOthers(x):
			return true
		default:
			w.end(x)
		}
	}
	return false
}

// speaksForOthers reports whether x's vain wait says that the host is dead.
func (w *waiters) speaksForOthers(x *exchange) bool {
	placeless := x.mayQueue() && !x.wait.dialing && w.holding > 0
	return x.wait.allowed >= shortestVerdict && !placeless
}

// moveOn ends the wait of all.
func (w *waiters) moveOn() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.front != nil {
		w.end(w.front)
	}
}

// end moves x on to the next host. The caller holds mu.
func (w *waiters) end(x *exchange) {
	w.remove(x)
	x.wait.movedOn = true
	x.wait.cancel(errMovedOn)
}
