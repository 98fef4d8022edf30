package wxphone

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// ErrTokenNotFound is what a [TokenStore] returns for a key that it has no
// token for. An error that wraps it is a miss too, and is logged: return one
// for a value that cannot be read.
var ErrTokenNotFound = errors.New("wxphone: no token in the store")

// TokenStore keeps tokens where several processes find them: in Redis, etcd or
// a database. [github.com/wxphone/wxphone/redisstore] is one, and
// [github.com/wxphone/wxphone/wxphonetest.TestTokenStore] tests others.
//
// The methods are called from many goroutines at once and must honour ctx,
// whose deadline is short. A stored token is a secret: whoever reads it can
// call WeChat as the mini-program.
type TokenStore interface {
	// Load returns the token that was saved last under key, or
	// [ErrTokenNotFound] if there is none, it was deleted, or it has expired.
	Load(ctx context.Context, key string) (Token, error)
	// Save keeps token under key, in place of any other, until token.ExpiresAt.
	Save(ctx context.Context, key string, token Token) error
	// DeleteIf deletes the token under key if it still is accessToken, in one
	// step: a token that another process has saved meanwhile must stay. If
	// there is none or another one, it does nothing and returns nil.
	DeleteIf(ctx context.Context, key, accessToken string) error
}

// TokenLocker is an ability a [TokenStore] may have: a lock that lets one
// process at a time fetch a token, so that a fleet makes one request where it
// would make one per process. Classic tokens need it.
//
// TryLock returns at once: ok is false if another holder has the lock. The
// lock ends with unlock, or after ttl if its holder died; unlock must not end
// a lock that has passed to somebody else since. Lock keys and token keys do
// not collide.
type TokenLocker interface {
	TryLock(ctx context.Context, key string, ttl time.Duration) (unlock func(context.Context) error, ok bool, err error)
}

const (
	// storeTimeout bounds each call of a store: one that hangs is down.
	storeTimeout = time.Second

	// lockLease is how long the others wait for a process that died with the
	// lock. A fetch under the lock must end before it.
	lockLease    = 15 * time.Second
	lockedFetch  = 12 * time.Second
	pollInterval = 100 * time.Millisecond
)

// WithCacheStore shares the cached token with other processes through store,
// under key. The fetch is done by one process at a time if store is a
// [TokenLocker].
//
// A store that is down is logged and done without: the process then fetches
// for itself.
func WithCacheStore(store TokenStore, key string) CacheOption {
	return func(c *tokenCache) {
		switch {
		case store == nil:
			c.broken = invalid("WithCacheStore", "has a nil store")
		case key == "":
			c.broken = invalid("WithCacheStore", "has an empty key")
		default:
			c.store, c.key = store, key
		}
	}
}

// withExclusiveFetch marks a source whose every fetch retires the token before,
// so that without the store no process may fetch for itself.
func withExclusiveFetch() CacheOption { return func(c *tokenCache) { c.exclusive = true } }

// obtain returns a token from the store or the source. considered is true if
// the token is the one that WeChat refused, and all was done that could be
// done about it.
func (c *tokenCache) obtain(ctx context.Context) (token Token, considered bool, err error) {
	if c.store == nil {
		return c.fetch(ctx)
	}
	for {
		token, err = c.load(ctx)
		if err == nil {
			return token, false, nil
		}
		if !errors.Is(err, ErrTokenNotFound) {
			return c.withoutStore(ctx, err)
		}
		unlock, ok, err := c.lock(ctx)
		if err != nil {
			return c.withoutStore(ctx, err)
		}
		if ok {
			return c.fetchLocked(ctx, unlock)
		}
		if err := sleep(ctx, pollInterval/2+rand.N(pollInterval)); err != nil { //nolint:gosec // spreads load, guards nothing
			return Token{}, false, fmt.Errorf("wxphone: another process holds the lock of the token store: %w", err)
		}
	}
}

// withoutStore fetches although the store is down, unless that would retire
// the token which the other processes work with.
func (c *tokenCache) withoutStore(ctx context.Context, down error) (Token, bool, error) {
	if c.exclusive {
		return Token{}, false, fmt.Errorf("wxphone: token store: %w; without it, fetching a classic token would retire the other processes' token", down)
	}
	c.log.WarnContext(ctx, "wxphone: token store is down, fetching without it", "error", down)
	return c.fetch(ctx)
}

// fetchLocked fetches and saves under the lock. Another process may have done
// both between this one's look into the store and its lock.
func (c *tokenCache) fetchLocked(ctx context.Context, unlock func(context.Context) error) (Token, bool, error) {
	defer c.unlock(ctx, unlock)
	token, err := c.load(ctx)
	if err == nil {
		return token, false, nil
	}
	if !errors.Is(err, ErrTokenNotFound) {
		return c.withoutStore(ctx, err)
	}
	ctx, cancel := context.WithTimeout(ctx, lockedFetch)
	defer cancel()
	token, considered, err := c.fetch(ctx)
	if err != nil {
		return token, considered, err
	}
	if !considered && checkFetched(token, time.Now()) == nil && !token.ExpiresAt.IsZero() {
		_, err := within(ctx, func(ctx context.Context) (struct{}, error) {
			return struct{}{}, c.store.Save(ctx, c.key, token)
		})
		if err != nil {
			c.log.WarnContext(ctx, "wxphone: access_token not saved in the token store", "error", err)
		}
	}
	return token, considered, nil
}

// load returns the store's token if it is of use, or an error that matches
// ErrTokenNotFound if it has none, or else why the store is down.
func (c *tokenCache) load(ctx context.Context) (Token, error) {
	token, err := within(ctx, func(ctx context.Context) (Token, error) { return c.store.Load(ctx, c.key) })
	switch {
	case err == nil:
		err = c.checkStored(token)
	case err != ErrTokenNotFound && errors.Is(err, ErrTokenNotFound): //nolint:errorlint // only a bare miss says nothing
		c.log.WarnContext(ctx, "wxphone: unreadable token in the token store", "error", err)
	}
	return token, err
}

// checkStored passes over what is worse than a fetch: a token that is refused,
// already known, expired, or that no sound process can have saved.
func (c *tokenCache) checkStored(token Token) error {
	c.mu.Lock()
	rejected, current := c.rejected, c.current.Load()
	c.mu.Unlock()
	now := time.Now()
	switch {
	case token.AccessToken == "", token.ExpiresAt.IsZero(), token.ExpiresAt.After(now.Add(maxTokenLife)):
		c.log.Warn("wxphone: passed over a token in the token store that is empty or has no sensible expiry")
		return ErrTokenNotFound
	case token.AccessToken == rejected, !now.Before(token.ExpiresAt):
		return ErrTokenNotFound
	case current != nil && token.AccessToken == current.token.AccessToken:
		return ErrTokenNotFound
	}
	return nil
}

// lock takes the store's lock. A store without one is always locked.
func (c *tokenCache) lock(ctx context.Context) (unlock func(context.Context) error, ok bool, err error) {
	locker, able := c.store.(TokenLocker)
	if !able {
		return func(context.Context) error { return nil }, true, nil
	}
	type lock struct {
		unlock func(context.Context) error
		ok     bool
	}
	got, err := within(ctx, func(ctx context.Context) (lock, error) {
		unlock, ok, err := locker.TryLock(ctx, c.key, lockLease)
		return lock{unlock, ok}, err
	})
	return got.unlock, got.ok, err
}

func (c *tokenCache) unlock(ctx context.Context, unlock func(context.Context) error) {
	_, err := within(context.WithoutCancel(ctx), func(ctx context.Context) (struct{}, error) {
		return struct{}{}, unlock(ctx)
	})
	if err != nil {
		c.log.WarnContext(ctx, "wxphone: lock of the token store not released, it ends by itself", "within", lockLease, "error", err)
	}
}

// forget takes a refused token out of the store. Failing that does no harm:
// no process takes back from the store what it knows to be refused.
func (c *tokenCache) forget(ctx context.Context, rejected string) {
	if c.store == nil {
		return
	}
	_, err := within(ctx, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, c.store.DeleteIf(ctx, c.key, rejected)
	})
	if err != nil {
		c.log.WarnContext(ctx, "wxphone: refused access_token not deleted from the token store", "error", err)
	}
}

// within calls a store's method and waits for it no longer than storeTimeout,
// even if the method ignores its context or panics.
func within[T any](ctx context.Context, method func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		var r result
		defer func() {
			if v := recover(); v != nil {
				r.err = fmt.Errorf("wxphone: the token store panicked: %s", describePanic(v))
			}
			done <- r
		}()
		r.value, r.err = method(ctx)
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
		var none T
		return none, fmt.Errorf("wxphone: the token store does not answer: %w", ctx.Err())
	}
}
