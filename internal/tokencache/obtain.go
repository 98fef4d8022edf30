package tokencache

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/wxphone/wxphone/internal/guarded"
)

// ErrNotFound is returned by [Store.Load] if there is no token.
var ErrNotFound = errors.New("wxphone: no token in the store")

// Unasked marks the error of a source that could not ask WeChat, for want of
// something that is stored. It may be there at any moment, and asking for it
// costs WeChat nothing, so the pause after it is short and does not grow.
func Unasked(err error) error { return &unaskedError{err} }

type unaskedError struct{ error }

func (e *unaskedError) Unwrap() error { return e.error }

// Store keeps one token that several processes share. If there is no store, its
// functions are nil.
type Store struct {
	// Load returns the token, or an error that matches [ErrNotFound].
	Load func(context.Context) (Token, error)
	// Save stores token until it expires.
	Save func(ctx context.Context, token Token) error
	// DeleteIf deletes the token if it is accessToken.
	DeleteIf func(ctx context.Context, accessToken string) error
	// TryLock lets one process at a time fetch. It is nil if the store does not
	// lock.
	TryLock func(ctx context.Context, ttl time.Duration) (unlock func(context.Context) error, ok bool, err error)
}

const (
	// storeLimit is the longest duration of a call of a store. A store that
	// takes longer counts as down.
	storeLimit = time.Second

	// lockLease is how long other processes wait for a process that failed
	// while it held the lock. A fetch with the lock must end earlier.
	lockLease    = 15 * time.Second
	lockedFetch  = 12 * time.Second
	pollInterval = 100 * time.Millisecond
	// lockPatience is how long a process waits for another's fetch if its own
	// fetch would do no harm: the holder of the lock may have failed.
	lockPatience = 2 * time.Second

	// maxLife is the longest accepted lifetime of a stored token. WeChat's is
	// two hours.
	maxLife = 24 * time.Hour
)

// obtain returns a token from the store or the source. told is the token that
// both know to be rejected. It is returned only if there is no other.
func (c *Cache) obtain(ctx context.Context, f *flight, told string) (Token, error) {
	f.from = c.source.Name
	switch {
	case c.store.Load == nil:
		return c.fetch(ctx, told)
	case f.look:
		return c.loadFor(ctx, f)
	}
	for begun := time.Now(); ; {
		token, err := c.loadFor(ctx, f)
		if err == nil {
			return token, nil
		}
		if !errors.Is(err, ErrNotFound) {
			return c.fetchWithoutStore(ctx, told, err)
		}
		unlock, ok, err := c.lock(ctx)
		if err != nil {
			return c.fetchWithoutStore(ctx, told, err)
		}
		if ok {
			return c.fetchLocked(ctx, f, told, unlock)
		}
		if !c.source.Exclusive && time.Since(begun) >= lockPatience {
			c.log.WarnContext(ctx, "wxphone: another process holds the lock of the token store, fetching without it")
			return c.fetchAndSave(ctx, told)
		}
		if err := sleep(ctx, pollInterval/2+rand.N(pollInterval)); err != nil { //nolint:gosec // spreads load, guards nothing
			return Token{}, fmt.Errorf("wxphone: another process holds the lock of the token store: %w", err)
		}
	}
}

// fetch asks the source. If the source returns the rejected token, fetch forces
// a new one if possible.
func (c *Cache) fetch(ctx context.Context, told string) (Token, error) {
	token, err := c.askSource(ctx)
	if err != nil || told == "" || token.AccessToken != told || !c.mayForce() {
		return token, err
	}
	return c.force(ctx, token), nil
}

// askSource calls the source once.
func (c *Cache) askSource(ctx context.Context) (Token, error) {
	token, err := guarded.Call(ctx, &c.sourceCode, c.source.Token)
	return token, c.scrub(err, token.AccessToken)
}

// mayForce reports whether a refresh may be forced, and counts it.
func (c *Cache) mayForce() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.source.Force != nil && c.state.force(time.Now())
}

// forcePause is how long to wait for another process's forced refresh.
const forcePause = time.Second

// force returns the token of a forced refresh. If that fails, another process
// may have used up the account's quota, and WeChat then returns that process's
// new token without force. Otherwise force returns the rejected token: WeChat
// may accept it yet, and without a token every call fails.
func (c *Cache) force(ctx context.Context, refused Token) Token {
	c.log.WarnContext(ctx, "wxphone: WeChat handed out the refused access_token again, forcing a refresh")
	type forced struct {
		token Token
		sent  bool
	}
	got, err := guarded.Call(ctx, &c.sourceCode, func(ctx context.Context) (forced, error) {
		token, sent, err := c.source.Force(ctx)
		return forced{token, sent}, err
	})
	if err == nil {
		return got.token
	}
	if !got.sent {
		c.mu.Lock()
		c.state.unforce()
		c.mu.Unlock()
	}
	c.log.WarnContext(ctx, "wxphone: forced refresh failed", "error", err)
	if sleep(ctx, forcePause) != nil {
		return refused
	}
	token, err := c.askSource(ctx)
	if err != nil {
		return refused
	}
	return token
}

// storeDownError is an error of the store, not of the source.
type storeDownError struct{ error }

func (e *storeDownError) Unwrap() error { return e.error }

// fetchWithoutStore fetches although the store is down, unless that would
// invalidate the token that the other processes use.
func (c *Cache) fetchWithoutStore(ctx context.Context, told string, down error) (Token, error) {
	if c.source.Exclusive {
		return Token{}, &storeDownError{fmt.Errorf("wxphone: token store: %w; without it, fetching a classic token would invalidate the other processes' token", down)}
	}
	c.log.WarnContext(ctx, "wxphone: token store is down, fetching without it", "error", down)
	return c.fetch(ctx, told)
}

// fetchLocked fetches and saves with the lock held. It loads first, because
// another process may have saved a token before this one acquired the lock.
func (c *Cache) fetchLocked(ctx context.Context, f *flight, told string, unlock func(context.Context) error) (Token, error) {
	defer c.unlock(ctx, unlock)
	token, err := c.loadFor(ctx, f)
	if err == nil {
		return token, nil
	}
	if !errors.Is(err, ErrNotFound) {
		return c.fetchWithoutStore(ctx, told, err)
	}
	return c.fetchAndSave(ctx, told)
}

// fetchAndSave fetches a token for all processes. With an exclusive source, a
// token that cannot be saved counts as not fetched, because the next fetch of
// another process would invalidate it.
func (c *Cache) fetchAndSave(ctx context.Context, told string) (Token, error) {
	fetchCtx, cancel := context.WithTimeout(ctx, lockedFetch)
	defer cancel()
	token, err := c.fetch(fetchCtx, told)
	if err != nil || token.AccessToken == told || check(time.Now(), token) != nil || token.ExpiresAt.IsZero() {
		return token, err
	}
	err = guarded.Do(ctx, &c.storeCode, func(ctx context.Context) error { return c.store.Save(ctx, token) })
	switch err = c.scrub(err, token.AccessToken); {
	case err == nil:
		return token, nil
	case c.source.Exclusive:
		return Token{}, fmt.Errorf("wxphone: access_token fetched, but not saved for the other processes: %w", err)
	}
	c.log.WarnContext(ctx, "wxphone: access_token not saved in the token store", "error", err)
	return token, nil
}

// loadFor is load, and records where the flight's token came from.
func (c *Cache) loadFor(ctx context.Context, f *flight) (Token, error) {
	token, err := c.load(ctx)
	if err == nil {
		f.from = "the store"
	}
	return token, err
}

// load returns the store's token if it is usable. It returns an error that
// matches ErrNotFound if there is none, and any other error if the store is
// down.
func (c *Cache) load(ctx context.Context) (Token, error) {
	token, err := guarded.Call(ctx, &c.storeCode, c.store.Load)
	if err = c.scrub(err, token.AccessToken); err != nil {
		if err != ErrNotFound && errors.Is(err, ErrNotFound) { //nolint:errorlint // a wrapped miss is logged
			c.log.WarnContext(ctx, "wxphone: unreadable token in the token store", "error", err)
		}
		return Token{}, err
	}
	now := time.Now()
	if token.AccessToken == "" || token.ExpiresAt.IsZero() || token.ExpiresAt.After(now.Add(maxLife)) {
		c.log.WarnContext(ctx, "wxphone: passed over a token in the token store that is empty or has no sensible expiry")
		return Token{}, ErrNotFound
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.state.usable(now, token) {
		return Token{}, ErrNotFound
	}
	return token, nil
}

// lock acquires the store's lock. It always succeeds if the store does not
// lock.
func (c *Cache) lock(ctx context.Context) (unlock func(context.Context) error, ok bool, err error) {
	if c.store.TryLock == nil {
		return func(context.Context) error { return nil }, true, nil
	}
	type lock struct {
		unlock func(context.Context) error
		ok     bool
	}
	got, err := guarded.Call(ctx, &c.storeCode, func(ctx context.Context) (lock, error) {
		unlock, ok, err := c.store.TryLock(ctx, lockLease)
		return lock{unlock, ok}, err
	})
	return got.unlock, got.ok, c.scrub(err)
}

func (c *Cache) unlock(ctx context.Context, unlock func(context.Context) error) {
	err := c.scrub(guarded.Do(context.WithoutCancel(ctx), &c.storeCode, unlock))
	if err != nil {
		c.log.WarnContext(ctx, "wxphone: lock of the token store not released, it ends by itself", "within", lockLease.String(), "error", err)
	}
}

// forget deletes a rejected token from the store. A failure does no harm,
// because no process loads a token that it knows to be rejected.
func (c *Cache) forget(ctx context.Context, refused string) {
	if c.store.DeleteIf == nil {
		return
	}
	err := c.scrub(guarded.Do(ctx, &c.storeCode, func(ctx context.Context) error { return c.store.DeleteIf(ctx, refused) }))
	if err != nil {
		c.log.WarnContext(ctx, "wxphone: refused access_token not deleted from the token store", "error", err)
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
