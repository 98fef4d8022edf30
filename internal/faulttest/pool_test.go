package faulttest

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wxphone/wxphone"
)

// fillPool makes n calls at once, so that n connections are idle after.
func fillPool(t *testing.T, f *front, client *wxphone.Client, n int) {
	t.Helper()
	var group, met sync.WaitGroup
	met.Add(n)
	f.planFor(func(a *arrival) fault {
		if a.endpoint != phonePath {
			return nil
		}
		return func(a *arrival) {
			met.Done()
			met.Wait()
			a.answer(a.process())
		}
	})
	for i := range n {
		group.Add(1)
		go func() {
			defer group.Done()
			_, err := client.GetPhoneNumber(context.Background(), f.fake.IssueCode(numbered(i)))
			assert.NoError(t, err)
		}()
	}
	group.Wait()
	f.planFor(nil)
	f.requireIdle(t)
	idle, _ := f.idle()
	require.GreaterOrEqual(t, len(idle), n)
}

// redeemAtOnce makes n calls at once, within a generous deadline.
func redeemAtOnce(t *testing.T, books *ledger, f *front, client *wxphone.Client, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var group sync.WaitGroup
	for range n {
		group.Add(1)
		go func() {
			defer group.Done()
			books.redeem(ctx, t, f.fake, client)
		}()
	}
	group.Wait()
}

// A server may close its idle connections just when they are taken again.
func TestIdleConnectionsClosedUnannouncedCostNoCode(t *testing.T) {
	checkLeaks(t)
	f := newFront(t)
	client := f.warmClient(t)
	const rounds, n = 2, 40
	var books ledger
	for range rounds {
		fillPool(t, f, client, n)
		idle, _ := f.idle()
		for _, l := range idle {
			_ = l.Close()
		}
		redeemAtOnce(t, &books, f, client, n)
	}
	books.want(t, rounds*n, 0, 0)
	f.requireIdle(t)
}

// A load balancer that was replaced knows none of the connections that its
// clients keep, and resets each as soon as it is used.
func TestPoolOfDeadConnectionsCostsNoCode(t *testing.T) {
	for name, n := range map[string]int{"fewer than attempts": 2, "more than attempts": 8, "many": 40} {
		t.Run(name, func(t *testing.T) {
			checkLeaks(t)
			f := newFront(t)
			client := f.warmClient(t)
			fillPool(t, f, client, n)
			f.killIdle()
			var books ledger
			books.redeem(context.Background(), t, f.fake, client)
			books.want(t, 1, 0, 0)
			f.requireIdle(t)
		})
	}
}

func TestBurstOverAPoolOfDeadConnectionsCostsNoCode(t *testing.T) {
	checkLeaks(t)
	f := newFront(t)
	client := f.warmClient(t)
	const n = 60
	fillPool(t, f, client, n)
	f.killIdle()
	var books ledger
	redeemAtOnce(t, &books, f, client, n/4)
	books.want(t, n/4, 0, 0)
	f.requireIdle(t)
}

// net/http would repeat a login on dead connection after dead connection by
// itself.
func TestLoginOverAPoolOfDeadConnectionsCostsNoCode(t *testing.T) {
	checkLeaks(t)
	f := newFront(t)
	client := f.warmClient(t)
	fillPool(t, f, client, 8)
	f.killIdle()
	_, err := client.Code2Session(context.Background(), f.fake.IssueLoginCode("o1"))
	require.NoError(t, err)
	f.requireIdle(t)
}

// Whatever happened to it before, the pool does not grow beyond the callers.
func TestBrokenConnectionsLeaveThePool(t *testing.T) {
	checkLeaks(t)
	f := newFront(t)
	client := f.warmClient(t)
	const callers = 10
	f.planFor(func(a *arrival) fault {
		if a.endpoint == phonePath && a.attempt == 1 {
			return resetBefore
		}
		return nil
	})
	var books ledger
	const rounds = 3
	for range rounds {
		redeemAtOnce(t, &books, f, client, callers)
	}
	books.want(t, rounds*callers, 0, 0)
	f.requireIdle(t)
	idle, _ := f.idle()
	assert.LessOrEqual(t, len(idle), 2*callers)
}
