package transport

import (
	"context"
	"sync"
	"time"
)

const (
	// longestWait is how long a call waits for a connection to a host before it
	// moves on to the next. A call with a deadline waits at most a third of its
	// remaining time.
	longestWait = time.Second
	// shortestVerdict is the shortest wait that counts against the host. A
	// shorter wait is due to the caller's deadline.
	shortestVerdict = 100 * time.Millisecond
)

// waiters are the exchanges that wait for a connection to one host while there
// is another host to try.
//
// An exchange enters when net/http starts to look for a connection and leaves
// when it has one. If its wait ends first, the host counts as dead, and all
// waiting exchanges move on to the next host. But if the transport limits its
// connections, an exchange may have waited only for a place in the pool: other
// exchanges hold connections, and none is being established for this one. Then
// it moves on alone.
type waiters struct {
	dead func() // called if the host is dead; it calls moveOn

	mu      sync.Mutex
	front   *exchange // of an unordered list
	holding int       // exchanges that have a connection
	timer   *time.Timer
	armed   time.Time // when the timer fires, or the zero time
}

// wait is the state of an exchange among the waiters of a host. All fields
// except allowed are guarded by the waiters' mutex.
type wait struct {
	allowed    time.Duration // 0 if there is no other host
	cancel     context.CancelCauseFunc
	prev, next *exchange
	until      time.Time
	waiting    bool
	dialing    bool // a connection is being established for this exchange
	movedOn    bool // the exchange must try the next host
	holds      bool
}

// errMovedOn is the error of an exchange that moves on to the next host.
var errMovedOn error = movedOnError{}

type movedOnError struct{}

func (movedOnError) Error() string   { return "no connection to the host in time" }
func (movedOnError) Timeout() bool   { return true }
func (movedOnError) Temporary() bool { return true }

// allowedWait returns how long a call may wait for a connection to one host.
func allowedWait(ctx context.Context, now time.Time) time.Duration {
	deadline, ok := ctx.Deadline()
	if !ok {
		return longestWait
	}
	return max(1, min(deadline.Sub(now)/3, longestWait))
}

// enter adds x to the waiting exchanges.
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

// dials records that a connection is being established for x.
func (w *waiters) dials(x *exchange) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if x.wait.waiting && !x.wait.dialing {
		x.wait.dialing = true
		w.expectIn(x, x.wait.allowed)
	}
}

// expectIn schedules a check of x in d. The caller must hold mu.
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

// got ends the wait of x, which has a connection. It returns false if x was
// moved on before.
func (w *waiters) got(x *exchange) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.remove(x)
	x.wait.dialing = false
	if !x.wait.holds {
		x.wait.holds = true
		w.holding++
	}
	return !x.wait.movedOn
}

// leave removes x from the host. It reports whether x was moved on.
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

// tick checks for exchanges whose wait has ended.
func (w *waiters) tick() {
	if w.isDead(time.Now()) {
		w.dead()
	}
}

// isDead moves on the exchanges whose wait has ended, and reports whether the
// host is dead.
func (w *waiters) isDead(now time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.armed = time.Time{}
	for x := w.front; x != nil; {
		next := x.wait.next
		switch {
		case now.Before(x.wait.until):
			w.arm(x.wait.until, x.wait.until.Sub(now))
		case w.speaksForOthers(x):
			return true
		default:
			w.end(x)
		}
		x = next
	}
	return false
}

// speaksForOthers reports whether the failed wait of x shows that the host is
// dead.
func (w *waiters) speaksForOthers(x *exchange) bool {
	placeless := x.mayQueue() && !x.wait.dialing && w.holding > 0
	return x.wait.allowed >= shortestVerdict && !placeless
}

// moveOn moves on all waiting exchanges.
func (w *waiters) moveOn() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.front != nil {
		w.end(w.front)
	}
}

// end moves x on to the next host. The caller must hold mu.
func (w *waiters) end(x *exchange) {
	w.remove(x)
	x.wait.movedOn = true
	x.wait.cancel(errMovedOn)
}
