//go:build go1.25

package simulation_test

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/wxphone/wxphone"
)

// redeemWithin makes one call and returns what it took.
func (n *network) redeemWithin(t *testing.T, client *wxphone.Client, limit time.Duration) (time.Duration, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	begin := time.Now()
	_, err := client.GetPhoneNumber(ctx, n.server.IssueCode(somebody))
	return time.Since(begin), err
}

// settle lets the dials end that nobody waits for.
func settle(transport *http.Transport) {
	time.Sleep(2 * hangingDial)
	transport.CloseIdleConnections()
	synctest.Wait()
}

func TestPrimaryWhoseDialsHangForTenMinutes(t *testing.T) {
	t.Parallel()
	for _, limit := range []time.Duration{400 * time.Millisecond, time.Second, 2900 * time.Millisecond, 10 * time.Second} {
		t.Run(limit.String(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				n := newNetwork(t)
				transport := n.transport(t, 0)
				client := n.client(t, transport)
				transport.CloseIdleConnections()
				n.hosts[primaryHost].die()
				var failed, slow int
				for range 600 {
					took, err := n.redeemWithin(t, client, limit)
					if err != nil {
						failed++
					}
					if took > 10*time.Millisecond {
						slow++
					}
					time.Sleep(time.Second)
				}
				t.Logf("deadline %v: %d of 600 calls failed, %d waited, %d dials of the primary", limit, failed, slow, n.hosts[primaryHost].now().dials)
				assert.LessOrEqual(t, failed, 1)
				assert.LessOrEqual(t, slow, 1, "nobody pays for looking whether the primary is back")
				settle(transport)
			})
		})
	}
}

// The calls under way when the host dies time out one by one, on connections
// that look alive. None of that is a sign of life.
func TestPrimaryThatDiesUnderLoad(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		transport := n.transport(t, 0)
		client := n.client(t, transport, wxphone.WithMaxRetries(0))
		transport.CloseIdleConnections()
		n.hosts[primaryHost].slowDown(100 * time.Millisecond)
		var group sync.WaitGroup
		for i := range 20 {
			group.Go(func() { _, _ = n.redeemWithin(t, client, time.Duration(i+1)*time.Second) })
		}
		synctest.Wait()
		n.hosts[primaryHost].die()
		before := n.hosts[primaryHost].now().dials

		failed, slow := n.redeemInARow(t, client, 20)
		group.Wait()
		t.Logf("20 calls in a row: %d failed, %d waited, %d dials of the primary", failed, slow, n.hosts[primaryHost].now().dials-before)
		assert.Zero(t, failed)
		assert.LessOrEqual(t, slow, 1)
		settle(transport)
	})
}

// A pool full of connections that died in silence costs one call, not one for
// each connection.
func TestPoolWhoseConnectionsDiedInSilence(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		transport := n.transport(t, 0)
		client := n.client(t, transport, wxphone.WithMaxRetries(0))
		n.hosts[primaryHost].slowDown(100 * time.Millisecond)
		var group sync.WaitGroup
		for range 20 {
			group.Go(func() { _, _ = n.redeemWithin(t, client, 10*time.Second) })
		}
		group.Wait()
		n.hosts[primaryHost].die()

		failed, slow := n.redeemInARow(t, client, 20)
		t.Logf("20 calls in a row: %d failed, %d waited", failed, slow)
		assert.LessOrEqual(t, failed, 1)
		assert.LessOrEqual(t, slow, 2, "one for the answer, one for the dial")
		settle(transport)
	})
}

// redeemInARow makes calls, one a second, and counts those that failed and those
// that took longer than a host that works does.
func (n *network) redeemInARow(t *testing.T, client *wxphone.Client, calls int) (failed, slow int) {
	t.Helper()
	for range calls {
		took, err := n.redeemWithin(t, client, 10*time.Second)
		if err != nil {
			failed++
		}
		if took > 200*time.Millisecond {
			slow++
		}
		time.Sleep(time.Second)
	}
	return failed, slow
}

func TestThousandsWaitForADeadPrimaryInAFullPool(t *testing.T) {
	t.Parallel()
	for name, maxConns := range map[string]int{"384 connections": 384, "no limit": 0} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				n := newNetwork(t)
				transport := n.transport(t, maxConns)
				client := n.client(t, transport)
				transport.CloseIdleConnections()
				n.hosts[primaryHost].die()
				n.hosts[fallbackHost].slowDown(50 * time.Millisecond)
				var group sync.WaitGroup
				var failed atomic.Int32
				for range 2048 {
					group.Go(func() {
						if _, err := n.redeemWithin(t, client, 10*time.Second); err != nil {
							failed.Add(1)
						}
					})
				}
				group.Wait()
				t.Logf("%d of 2048 callers lost", failed.Load())
				assert.Zero(t, failed.Load())
				settle(transport)
			})
		})
	}
}

// A caller who waits for a place in the pool learns nothing about the host. It
// goes on to the next one, and leaves this one to the others.
func TestFullPoolOfASlowHostIsNoOutage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		transport := n.transport(t, 8)
		client := n.client(t, transport)
		n.hosts[primaryHost].slowDown(2 * time.Second)
		var group sync.WaitGroup
		var failed atomic.Int32
		for range 16 {
			group.Go(func() {
				if _, err := n.redeemWithin(t, client, 3*time.Second); err != nil {
					failed.Add(1)
				}
			})
		}
		group.Wait()
		assert.Zero(t, failed.Load())
		before := n.hosts[fallbackHost].now().requests
		_, err := n.redeemWithin(t, client, 3*time.Second)
		t.Logf("%d of 16 callers lost; the next one's error: %v, requests at the fallback: %d", failed.Load(), err,
			n.hosts[fallbackHost].now().requests-before)
		assert.NoError(t, err)
		assert.Equal(t, before, n.hosts[fallbackHost].now().requests, "the primary is not given up")
		settle(transport)
	})
}
