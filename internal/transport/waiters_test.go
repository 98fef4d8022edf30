package transport

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func hostWithWaiters() (w *waiters, found *atomic.Int32) {
	w, found = new(waiters), new(atomic.Int32)
	w.dead = func() {
		found.Add(1)
		w.moveOn()
	}
	return w, found
}

func movedOn(ctx context.Context) bool { return context.Cause(ctx) == errMovedOn } //nolint:errorlint // identity

func TestWhoHoldsAConnectionIsCountedOnce(t *testing.T) {
	t.Parallel()
	w, _ := hostWithWaiters()
	x, _ := waitingExchange(t, w, time.Hour, true)
	y, _ := waitingExchange(t, w, time.Hour, true)
	w.got(x)
	w.got(x) // net/http sent its request again
	w.got(y)
	assert.Equal(t, 2, w.holding)
	w.leave(x)
	w.leave(x)
	assert.Equal(t, 1, w.holding)
	w.leave(y)
	assert.Zero(t, w.holding)
}

func TestAnyWaiterMayLeaveFirst(t *testing.T) {
	t.Parallel()
	for _, order := range [][]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}} {
		w, _ := hostWithWaiters()
		var list [3]*exchange
		var contexts [3]context.Context
		for i := range list {
			list[i], contexts[i] = waitingExchange(t, w, time.Hour, false)
			w.enter(list[i])
		}
		for left, i := range order {
			assert.Equal(t, 3-left, waiting(w), "%v", order)
			w.leave(list[i])
			if left == 0 {
				w.enter(list[i])
				w.leave(list[i])
			}
		}
		assert.Zero(t, waiting(w))
		w.moveOn()
		for _, ctx := range contexts {
			assert.NoError(t, ctx.Err(), "who has left is not moved on")
		}
	}
}

func waiting(w *waiters) (n int) {
	var before *exchange
	for x := w.front; x != nil; x = x.wait.next {
		if x.wait.prev != before {
			return -1
		}
		before, n = x, n+1
	}
	return n
}

func TestHalfOfTheWaitersLeaveAndTheOthersMoveOn(t *testing.T) {
	t.Parallel()
	w, _ := hostWithWaiters()
	var list []*exchange
	var contexts []context.Context
	for range 20 {
		x, ctx := waitingExchange(t, w, time.Hour, false)
		list, contexts = append(list, x), append(contexts, ctx)
		w.enter(x)
	}
	for i := 0; i < len(list); i += 2 {
		w.got(list[i])
	}
	w.moveOn()
	for i, ctx := range contexts {
		assert.Equal(t, i%2 == 1, movedOn(ctx))
		assert.Equal(t, i%2 == 1, w.leave(list[i]))
	}
}

func TestAllowedWait(t *testing.T) {
	t.Parallel()
	now := time.Now()
	assert.Equal(t, longestWait, allowedWait(context.Background(), now))
	for left, want := range map[time.Duration]time.Duration{
		time.Hour:              longestWait,
		3 * longestWait:        longestWait,
		3*longestWait - 3:      longestWait - 1,
		300 * time.Millisecond: 100 * time.Millisecond,
		3:                      1,
		1:                      1,
		0:                      1,
		-time.Second:           1, // 0 would mean that there is no host to go on to
	} {
		ctx, cancel := context.WithDeadline(context.Background(), now.Add(left))
		assert.Equal(t, want, allowedWait(ctx, now), "%v", left)
		cancel()
	}
}

func TestMovedOnIsATimeout(t *testing.T) {
	t.Parallel()
	assert.True(t, isTimeout(errMovedOn))
	var temporary interface{ Temporary() bool }
	assert.ErrorAs(t, errMovedOn, &temporary)
	assert.True(t, temporary.Temporary())
}

// An exchange whose first dial lost against a connection from the pool, and
// whose connection broke then, waits for a place in a full pool. It still
// counts as dialling, so it declares the host dead.
func TestSecondWaitForAPlaceSpeaksForNobody(t *testing.T) {
	t.Parallel()
	w, _ := hostWithWaiters()
	other, _ := waitingExchange(t, w, time.Hour, true)
	w.got(other)
	x, _ := waitingExchange(t, w, time.Hour, true)
	w.enter(x)
	w.dials(x)
	w.got(x)   // one from the pool, which is broken
	w.enter(x) // and now it waits for a place
	w.mu.Lock()
	defer w.mu.Unlock()
	assert.False(t, w.speaksForOthers(x))
}
