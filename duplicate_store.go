package wxphone

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/wxphone/wxphone/internal/guarded"
	"github.com/wxphone/wxphone/internal/sealed"
	"github.com/wxphone/wxphone/internal/transport"
)

// WithDuplicateStore keeps what [WithDuplicateWindow] remembers in store, so that
// a request which is repeated at another process is answered too. If several
// processes receive the same code at the same time, one of them redeems it. The
// option needs WithDuplicateWindow.
//
// Someone who reads the store learns neither phone numbers nor codes, and there
// is no key to manage: a result is encrypted (AES-256-GCM) with a key derived
// from the code, and its name in the store is derived from the code too. This
// relies on codes that cannot be guessed. WeChat's have 256 random bits. Do not
// use a store with short codes of your own that stand for real numbers.
//
// Calls go on without a store that is down, which is logged. It takes at most a
// second of a call's time, and at most a third of what the call has left. If a
// process dies while it redeems a code, the others wait for up to 15 seconds,
// none longer than its own context, and then redeem it.
//
// [github.com/wxphone/wxphone/redisstore] is a store, and
// [github.com/wxphone/wxphone/wxphonetest.TestDuplicateStore] tests others.
func WithDuplicateStore(store DuplicateStore) Option {
	return func(o *options) error {
		if store == nil {
			return invalid("WithDuplicateStore", "has a nil store")
		}
		o.duplicateStore = store
		return nil
	}
}

// DuplicateStore keeps the results of codes for several processes. The results
// are encrypted before they are saved.
//
// The methods are called by multiple goroutines concurrently and must honour
// ctx, whose deadline is short. A type can also be a [TokenStore]: results,
// tokens and locks with the same key must not collide.
type DuplicateStore interface {
	// LoadResult returns the value that was saved last under key, or nil and no
	// error if there is none or it has expired.
	LoadResult(ctx context.Context, key string) (sealed []byte, err error)
	// SaveResult keeps a value under key for ttl, in place of any other.
	SaveResult(ctx context.Context, key string, sealed []byte, ttl time.Duration) error
	// TokenLocker lets one process at a time redeem a code.
	TokenLocker
}

const (
	// duplicateStoreLimit bounds each call of a store: one that hangs is down.
	duplicateStoreLimit = time.Second
	// duplicateStorePause is how long a store is left alone that was down.
	duplicateStorePause = time.Second

	// redemptionLease is how long the others wait for a process that died with
	// the lock, and redemptionWait how long for any number of them.
	redemptionLease = 15 * time.Second
	redemptionWait  = redemptionLease + time.Second
	redemptionPoll  = 100 * time.Millisecond

	// clockSkew is how far another process's clock may be ahead.
	clockSkew = 5 * time.Minute
)

// sharedResults is a DuplicateStore as a Client calls it.
type sharedResults struct {
	store  DuplicateStore
	appID  string
	window time.Duration
	log    *slog.Logger

	mu      sync.Mutex
	down    bool
	retryAt time.Time // when a store that is down is tried again
	running int       // calls of the store that have not returned
}

// sharedResult is what is sealed.
type sharedResult struct {
	Phone      PhoneInfo `json:"phone"`
	RedeemedAt time.Time `json:"redeemed_at"`
}

// redeemAmongProcesses redeems a code unless another process has done so.
func (c *Client) redeemAmongProcesses(ctx context.Context, key redemptionKey) (*PhoneInfo, time.Time, error) {
	s := c.duplicates.shared
	box := sealed.NewBox(s.appID, key.openID, key.code)
	found, unlock, err := s.await(ctx, box)
	if unlock != nil {
		defer unlock()
	}
	if err != nil {
		return nil, time.Time{}, err
	}
	if found != nil {
		c.logDuplicate(ctx, "the store")
		return &found.Phone, found.RedeemedAt.Add(s.window), nil
	}
	phone, err := c.redeem(ctx, key)
	if err != nil {
		return nil, time.Time{}, err
	}
	now := time.Now()
	s.save(ctx, box, sharedResult{Phone: *phone, RedeemedAt: now})
	return phone, now.Add(s.window), nil
}

// await returns a code's result if another process has it, waiting for one
// that is about to. Otherwise the caller is to redeem the code, and to call
// unlock, if that is not nil, afterwards. The error is ctx's.
func (s *sharedResults) await(ctx context.Context, box *sealed.Box) (found *sharedResult, unlock func(), err error) {
	for giveUp := time.Now().Add(redemptionWait); ; {
		unlock, ok := s.lock(ctx, box)
		if !ok {
			return nil, nil, s.interrupted(ctx)
		}
		found, ok := s.load(ctx, box)
		if found != nil || unlock != nil || !ok {
			return found, unlock, s.interrupted(ctx)
		}
		if !time.Now().Before(giveUp) {
			s.log.WarnContext(ctx, "wxphone: the lock of the duplicate store does not end, redeeming the code without it")
			return nil, nil, nil
		}
		if transport.Sleep(ctx, redemptionPoll/2+rand.N(redemptionPoll)) != nil { //nolint:gosec // spreads load, guards nothing
			return nil, nil, s.interrupted(ctx)
		}
	}
}

// interrupted returns an error if ctx has ended.
func (s *sharedResults) interrupted(ctx context.Context) error {
	if ctx.Err() == nil {
		return nil
	}
	return fmt.Errorf("wxphone: %s: %w while waiting for the duplicate store", pathGetUserPhoneNumber, ctx.Err())
}

// lock takes the lock of a code's redemption. Without unlock, another process
// has it; ok is false if the store is to be done without.
func (s *sharedResults) lock(ctx context.Context, box *sealed.Box) (unlock func(), ok bool) {
	release, ok := askStore(ctx, s, func(ctx context.Context) (func(context.Context) error, error) {
		release, ok, err := s.store.TryLock(ctx, box.Name, redemptionLease)
		switch {
		case err != nil || !ok:
			return nil, err
		case ctx.Err() != nil: // too late for the caller
			return nil, errors.Join(ctx.Err(), release(context.WithoutCancel(ctx)))
		}
		return release, nil
	})
	if !ok || release == nil {
		return nil, ok
	}
	return func() {
		_, err := callStore(context.WithoutCancel(ctx), s, duplicateStoreLimit, func(ctx context.Context) (struct{}, error) {
			return struct{}{}, release(ctx)
		})
		if err != nil {
			s.log.WarnContext(ctx, "wxphone: lock of the duplicate store not released, it ends by itself",
				"within", redemptionLease.String(), "error", err)
		}
	}, true
}

// load returns a code's result, or nil if there is none. ok is false if the
// store is to be done without.
func (s *sharedResults) load(ctx context.Context, box *sealed.Box) (found *sharedResult, ok bool) {
	value, ok := askStore(ctx, s, func(ctx context.Context) ([]byte, error) { return s.store.LoadResult(ctx, box.Name) })
	if !ok || len(value) == 0 {
		return nil, ok
	}
	result := new(sharedResult)
	text, ok := box.Open(value)
	if !ok || json.Unmarshal(text, result) != nil || result.Phone.PhoneNumber == "" {
		s.log.WarnContext(ctx, "wxphone: passed over a value in the duplicate store that is no result of this code")
		return nil, true
	}
	now := time.Now()
	if ahead := result.RedeemedAt.Sub(now); ahead > clockSkew {
		s.log.WarnContext(ctx, "wxphone: passed over a result in the duplicate store that is from the future", "ahead", ahead.String())
		return nil, true
	} else if ahead > 0 {
		result.RedeemedAt = now
	}
	if now.Sub(result.RedeemedAt) >= s.window {
		return nil, true
	}
	return result, true
}

// save shares a result, even if its caller's ctx has ended: it was paid for.
func (s *sharedResults) save(ctx context.Context, box *sealed.Box, result sharedResult) {
	text, err := json.Marshal(result)
	if err != nil {
		s.log.WarnContext(ctx, "wxphone: result not shared", "error", err)
		return
	}
	value, err := box.Seal(text)
	if err != nil {
		s.log.WarnContext(ctx, "wxphone: result not shared", "error", err)
		return
	}
	askStore(context.WithoutCancel(ctx), s, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, s.store.SaveResult(ctx, box.Name, value, s.window)
	})
}

// askStore calls a store that is up, and reports whether that went well.
func askStore[T any](ctx context.Context, s *sharedResults, call func(context.Context) (T, error)) (T, bool) {
	var none T
	if !s.isUp() {
		return none, false
	}
	limit := duplicateStoreLimit
	if deadline, ok := ctx.Deadline(); ok {
		limit = max(min(limit, time.Until(deadline)/3), 1)
	}
	value, err := callStore(ctx, s, limit, call)
	switch {
	case err == nil:
		s.setDown(false)
		return value, true
	case ctx.Err() != nil:
		return none, false // the caller's own
	case limit == duplicateStoreLimit || !errors.Is(err, context.DeadlineExceeded):
		s.setDown(true)
	}
	s.log.WarnContext(ctx, "wxphone: duplicate store is down, doing without it", "error", err)
	return none, false
}

// callStore returns within limit whatever the store does.
func callStore[T any](ctx context.Context, s *sharedResults, limit time.Duration, call func(context.Context) (T, error)) (T, error) {
	s.count(1)
	return guarded.Call(ctx, &guarded.Code{Name: "the duplicate store", Limit: limit}, func(ctx context.Context) (T, error) {
		defer s.count(-1)
		return call(ctx)
	})
}

// isUp reports whether the store may be asked. One that was down is asked again
// by one call at a time, after a pause; one that never returns, never again.
func (s *sharedResults) isUp() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.down || s.running == 0 && !time.Now().Before(s.retryAt)
}

func (s *sharedResults) setDown(down bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = down
	s.retryAt = time.Now().Add(duplicateStorePause)
}

func (s *sharedResults) count(calls int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running += calls
}
