//go:build go1.25

package transport

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
)

// hostWithWaiters counts how often its host is found dead.
// movedOn reports whether an exchange was told to go to the next host.
func TestWaiterMovesOnWhenItsWaitIsOver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, found := hostWithWaiters()
		x, ctx := waitingExchange(t, w, time.Second, false)
		w.enter(x)
		time.Sleep(time.Second - 1)
		synctest.Wait()
		assert.False(t, movedOn(ctx))
		time.Sleep(1)
		synctest.Wait()
		assert.True(t, movedOn(ctx))
		assert.EqualValues(t, 1, found.Load())
		assert.True(t, w.leave(x))
		time.Sleep(time.Minute)
		assert.EqualValues(t, 1, found.Load(), "nobody waits any more")
	})
}

func TestConnectionOrLeavingEndsTheWait(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*waiters, *exchange){
		"got":  func(w *waiters, x *exchange) { assert.True(t, w.got(x)) },
		"left": func(w *waiters, x *exchange) { assert.False(t, w.leave(x)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w, found := hostWithWaiters()
				x, ctx := waitingExchange(t, w, time.Second, false)
				w.enter(x)
				time.Sleep(time.Second - 1)
				end(w, x)
				time.Sleep(time.Minute)
				assert.False(t, movedOn(ctx))
				assert.Zero(t, found.Load())
				assert.Nil(t, w.front)
			})
		})
	}
}

func TestOnlyAPatientWaiterThatWasDiallingSpeaksForTheOthers(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		allowed time.Duration
		queues  bool // the pool may be full
		dialing bool // a connection was being made
		holding int  // connections of others
		want    bool
	}{
		"short deadline":                  {allowed: shortestVerdict - 1},
		"just long enough":                {allowed: shortestVerdict, want: true},
		"longest":                         {allowed: longestWait, want: true},
		"no limit, others connected":      {allowed: longestWait, holding: 5, want: true},
		"full pool":                       {allowed: longestWait, queues: true, holding: 5},
		"full pool, one connection":       {allowed: longestWait, queues: true, holding: 1},
		"bounded pool, nobody connected":  {allowed: longestWait, queues: true, want: true},
		"bounded pool, dialling":          {allowed: longestWait, queues: true, dialing: true, holding: 5, want: true},
		"bounded pool, dialling, shortly": {allowed: shortestVerdict - 1, queues: true, dialing: true, holding: 5},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w, found := hostWithWaiters()
				for range tt.holding {
					other, _ := waitingExchange(t, w, time.Hour, tt.queues)
					w.got(other)
				}
				before, beforeCtx := waitingExchange(t, w, time.Hour, tt.queues)
				x, ctx := waitingExchange(t, w, tt.allowed, tt.queues)
				after, afterCtx := waitingExchange(t, w, time.Hour, tt.queues)
				w.enter(before)
				w.enter(x)
				w.enter(after)
				if tt.dialing {
					w.dials(x)
				}
				time.Sleep(tt.allowed)
				synctest.Wait()
				assert.True(t, movedOn(ctx), "it goes on itself in any case")
				assert.Equal(t, tt.want, found.Load() == 1)
				assert.Equal(t, tt.want, movedOn(beforeCtx))
				assert.Equal(t, tt.want, movedOn(afterCtx))
				w.leave(before)
				w.leave(after)
			})
		})
	}
}

// A place in the gate or in the pool may have taken all of the wait.
func TestWaitBeginsAnewWithTheDial(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, _ := hostWithWaiters()
		x, ctx := waitingExchange(t, w, time.Second, true)
		w.dials(x)
		assert.Nil(t, w.front, "it does not wait yet")
		w.enter(x)
		time.Sleep(900 * time.Millisecond)
		w.dials(x)
		time.Sleep(900 * time.Millisecond)
		synctest.Wait()
		assert.False(t, movedOn(ctx))
		w.dials(x) // the other address of the host
		w.enter(x)
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		assert.True(t, movedOn(ctx))
	})
}

func TestEachWaiterEndsInItsOwnTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, found := hostWithWaiters()
		var contexts []context.Context
		// The verdict comes last; before it everybody goes alone.
		for _, allowed := range []time.Duration{90, 30, 60, 10, 80, 99} {
			x, ctx := waitingExchange(t, w, allowed*time.Millisecond, false)
			contexts = append(contexts, ctx)
			w.enter(x)
		}
		patient, ctx := waitingExchange(t, w, time.Second, false)
		w.enter(patient)
		ended := make([]int, len(contexts)) // after so many milliseconds
		for now := range 100 {
			synctest.Wait()
			for i, ctx := range contexts {
				if movedOn(ctx) && ended[i] == 0 {
					ended[i] = now
				}
			}
			time.Sleep(time.Millisecond)
		}
		assert.Equal(t, []int{90, 30, 60, 10, 80, 99}, ended)
		assert.Zero(t, found.Load())
		time.Sleep(900*time.Millisecond - 1)
		synctest.Wait()
		assert.False(t, movedOn(ctx))
		time.Sleep(1)
		synctest.Wait()
		assert.True(t, movedOn(ctx))
		assert.EqualValues(t, 1, found.Load())
	})
}

func TestMovedOnExchangeDoesNotWaitAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, found := hostWithWaiters()
		x, ctx := waitingExchange(t, w, time.Second, false)
		w.enter(x)
		w.moveOn()
		assert.True(t, movedOn(ctx))
		w.enter(x)
		assert.Nil(t, w.front)
		assert.False(t, w.got(x), "it must not use a connection now")
		assert.True(t, w.leave(x))
		time.Sleep(time.Minute)
		assert.Zero(t, found.Load())
	})
}

// waiting counts the waiters, and looks whether each knows its neighbour.
