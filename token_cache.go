package wxphone

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// flightTimeout bounds one fetch with all its retries.
	flightTimeout = 30 * time.Second

	// The early refresh starts between these times before expiry: WeChat
	// renews a stable token in its last 5 minutes, and in those the old and
	// the new one both work.
	latestRefresh   = 2 * time.Minute
	earliestRefresh = 4 * time.Minute
	// shortLife is the life of a token too short to be refreshed early.
	shortLife = 2 * time.Second

	firstFailurePause = time.Second
	maxFailurePause   = time.Minute

	// bearWith is how long rejections are ignored of a token that the source
	// insists on: fetching it again for every call would not make it better.
	bearWith = 30 * time.Second
)

// CacheOption changes how [CacheTokens] works.
type CacheOption func(*tokenCache)

// WithCacheLogger logs refreshes and their failures to l. No record holds a
// token.
func WithCacheLogger(l *slog.Logger) CacheOption {
	return func(c *tokenCache) {
		if l == nil {
			c.broken = invalid("WithCacheLogger", "has a nil logger")
			return
		}
		c.log = l
	}
}

// CacheTokens returns a [TokenSource] that asks src only when it has to:
//
//   - A fresh token is handed out without a lock.
//   - Four to two minutes before expiry one call starts a refresh in the
//     background, and nobody waits for it.
//   - Without a valid token, all callers wait for the same fetch, each no
//     longer than its own context; a caller that gives up does not end it.
//   - After a failed fetch the source is left alone for a second, then two,
//     up to a minute. An expired token is never handed out.
//   - A token without expiry serves the callers that wait for it and is not
//     kept.
//
// The result is a [TokenInvalidator] too: a token that WeChat refused is
// replaced, and src is told if it is a TokenInvalidator itself. If src hands
// the refused token out again, it is served for 30 seconds before src is asked
// anew.
func CacheTokens(src TokenSource, opts ...CacheOption) TokenSource {
	return newTokenCache(src, opts...)
}

// tokenCache is what CacheTokens describes. It has no goroutine of its own, so
// there is nothing to close.
type tokenCache struct {
	src    TokenSource
	log    *slog.Logger
	broken error // what was wrong with the options

	store     TokenStore // nil for this process alone
	key       string
	exclusive bool // a fetch retires the token that other processes use

	current atomic.Pointer[cachedToken] // written under mu only

	mu        sync.Mutex
	flight    *flight // the fetch under way, or nil
	failures  int     // fetches failed in a row
	lastErr   error
	retryAt   time.Time // when the source may be asked again
	rejected  string    // the token that WeChat refused last
	bearUntil time.Time // until when further rejections of it are ignored
	forced    forceBudget
}

type cachedToken struct {
	token     Token
	refreshAt time.Time // at the latest when the token expires
}

// flight is a fetch that any number of callers wait for. token and err are
// written before done is closed.
type flight struct {
	done  chan struct{}
	token Token
	err   error
}

func newTokenCache(src TokenSource, opts ...CacheOption) *tokenCache {
	c := &tokenCache{src: src, log: slog.New(discard{})}
	if src == nil {
		c.broken = invalid("CacheTokens", "has a nil source")
	}
	for _, opt := range opts {
		if opt == nil {
			c.broken = invalid("CacheTokens", "has a nil option")
			continue
		}
		opt(c)
	}
	return c
}

// Format keeps the tokens out of what fmt prints.
func (c *tokenCache) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "wxphone.CacheTokens") }

// Token implements [TokenSource].
func (c *tokenCache) Token(ctx context.Context) (Token, error) {
	if cached := c.current.Load(); cached != nil && time.Now().Before(cached.refreshAt) {
		return cached.token, nil
	}
	return c.stale(ctx)
}

// stale serves a caller who met no fresh token: with the old one as long as it
// is valid, else with the next flight's.
func (c *tokenCache) stale(ctx context.Context) (Token, error) {
	if c.broken != nil {
		return Token{}, c.broken
	}
	c.mu.Lock()
	now := time.Now()
	if cached := c.current.Load(); cached != nil && now.Before(cached.token.ExpiresAt) {
		c.refreshEarly(ctx, cached, now)
		c.mu.Unlock()
		return cached.token, nil
	}
	f, err := c.join(ctx, now)
	c.mu.Unlock()
	if err != nil {
		return Token{}, err
	}
	select {
	case <-f.done:
		return f.token, f.err
	case <-ctx.Done():
		return Token{}, fmt.Errorf("wxphone: waiting for an access_token: %w", ctx.Err())
	}
}

// refreshEarly starts a flight if none is due to end soon, and keeps the other
// callers off the lock meanwhile. The caller holds mu.
func (c *tokenCache) refreshEarly(ctx context.Context, cached *cachedToken, now time.Time) {
	if now.Before(cached.refreshAt) {
		return
	}
	quietUntil := now.Add(flightTimeout)
	switch {
	case c.flight != nil:
	case now.Before(c.retryAt):
		quietUntil = c.retryAt
	default:
		c.takeOff(ctx)
	}
	c.keepQuiet(cached, quietUntil)
}

func (c *tokenCache) keepQuiet(cached *cachedToken, until time.Time) {
	if until.After(cached.token.ExpiresAt) {
		until = cached.token.ExpiresAt
	}
	c.current.Store(&cachedToken{cached.token, until})
}

// join returns the flight under way or a new one, or why none may start. The
// caller holds mu.
func (c *tokenCache) join(ctx context.Context, now time.Time) (*flight, error) {
	if c.flight == nil {
		if wait := c.retryAt.Sub(now); wait > 0 {
			return nil, fmt.Errorf("wxphone: no access_token, next try in %v: %w", wait.Round(time.Millisecond), c.lastErr)
		}
		c.takeOff(ctx)
	}
	return c.flight, nil
}

// takeOff starts a flight. It outlives the caller that happened to start it,
// because others wait for it too. The caller holds mu.
func (c *tokenCache) takeOff(ctx context.Context) {
	f := &flight{done: make(chan struct{})}
	c.flight = f
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flightTimeout)
	// A source that ignores its context must not hold up every later call.
	unbound := context.AfterFunc(ctx, func() {
		c.land(f, Token{}, fmt.Errorf("wxphone: token source: %w", ctx.Err()), true)
	})
	go func() {
		defer cancel()
		defer unbound()
		// Only a source that ends its goroutine leaves anything to land here.
		defer c.land(f, Token{}, errors.New("wxphone: the token source ended its goroutine"), true)
		token, considered, err := c.obtain(ctx)
		if !c.land(f, token, err, considered) {
			token, _, err = c.obtain(ctx)
			c.land(f, token, err, true)
		}
	}()
}

// guard calls fetch and makes an error of its panic.
func guard(ctx context.Context, fetch func(context.Context) (Token, error)) (token Token, err error) {
	defer func() {
		if v := recover(); v != nil {
			token, err = Token{}, fmt.Errorf("wxphone: the token source panicked: %s", describePanic(v))
		}
	}()
	return fetch(ctx)
}

// describePanic shows the runtime's own words only: other values may hold a
// secret.
func describePanic(v any) string {
	if fault, ok := v.(runtime.Error); ok {
		return fault.Error()
	}
	return fmt.Sprintf("with a value of type %T", v)
}

// fetch asks the source, and has it forced to make another token if it hands
// the refused one out again. considered is true if it still does.
func (c *tokenCache) fetch(ctx context.Context) (token Token, considered bool, err error) {
	token, err = guard(ctx, c.src.Token)
	if err != nil || !c.isRejected(token) {
		return token, false, err
	}
	if c.mayForce() {
		token = c.force(ctx, token)
	}
	return token, c.isRejected(token), nil
}

func (c *tokenCache) isRejected(token Token) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rejected != "" && token.AccessToken == c.rejected
}

// land ends a flight with its result. It returns false, and leaves the flight
// under way, if its token was refused after it was obtained and nothing has
// been done about that yet.
func (c *tokenCache) land(f *flight, token Token, err error, considered bool) bool {
	c.mu.Lock()
	if c.flight != f {
		c.mu.Unlock()
		return true
	}
	now := time.Now()
	if err == nil {
		err = checkFetched(token, now)
	}
	refused := err == nil && token.AccessToken == c.rejected
	if refused && !considered {
		c.mu.Unlock()
		return false
	}
	if err != nil {
		f.err = err
		c.failed(err, now)
	} else {
		f.token = token
		c.fetched(token, now)
	}
	c.flight = nil
	close(f.done)
	c.mu.Unlock()
	c.logLanding(token, err, refused)
	return true
}

// logLanding is called without the lock, because a log handler may take long
// or ask for a token itself.
func (c *tokenCache) logLanding(token Token, err error, refused bool) {
	switch {
	case err != nil:
		c.log.Warn("wxphone: access_token not fetched", "error", err)
	case refused:
		c.log.Warn("wxphone: the token source insists on the access_token that WeChat refused")
	default:
		c.log.Info("wxphone: access_token fetched", "expires_at", token.ExpiresAt)
	}
}

func checkFetched(token Token, now time.Time) error {
	switch {
	case token.AccessToken == "":
		return errors.New("wxphone: the token source returned an empty access_token")
	case !token.ExpiresAt.IsZero() && !now.Before(token.ExpiresAt):
		return fmt.Errorf("wxphone: the token source returned a token that expired %v ago; are the clocks right?",
			now.Sub(token.ExpiresAt).Round(time.Second))
	}
	return nil
}

// fetched publishes a token. The caller holds mu.
func (c *tokenCache) fetched(token Token, now time.Time) {
	c.failures, c.lastErr, c.retryAt = 0, nil, time.Time{}
	if token.AccessToken == c.rejected {
		c.bearUntil = now.Add(bearWith)
	}
	if token.ExpiresAt.IsZero() {
		c.current.Store(nil)
		return
	}
	c.current.Store(&cachedToken{token, refreshTime(now, token.ExpiresAt)})
}

// refreshTime is jittered, so that the processes that share a token do not
// refresh it together.
func refreshTime(now, expires time.Time) time.Time {
	life := expires.Sub(now)
	if life < shortLife {
		return expires
	}
	lead := latestRefresh + rand.N(earliestRefresh-latestRefresh) //nolint:gosec // spreads load, guards nothing
	return expires.Add(-min(lead, life/2))
}

// failed makes the next fetch wait. The caller holds mu.
func (c *tokenCache) failed(err error, now time.Time) {
	pause := maxFailurePause
	if c.failures < 6 {
		pause = min(firstFailurePause<<c.failures, maxFailurePause)
	}
	c.failures++
	c.lastErr = err
	c.retryAt = now.Add(pause)
	if cached := c.current.Load(); cached != nil {
		c.keepQuiet(cached, c.retryAt)
	}
}

// InvalidateToken implements [TokenInvalidator].
func (c *tokenCache) InvalidateToken(ctx context.Context, rejected string) error {
	if c.broken != nil {
		return c.broken
	}
	if !c.drop(rejected) {
		return nil
	}
	c.log.WarnContext(ctx, "wxphone: WeChat refused the access_token")
	c.forget(ctx, rejected)
	if invalidator, ok := c.src.(TokenInvalidator); ok {
		return invalidator.InvalidateToken(ctx, rejected)
	}
	return nil
}

// drop forgets the cached token if it is the rejected one, and reports whether
// it did.
func (c *tokenCache) drop(rejected string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	cached := c.current.Load()
	if cached == nil || cached.token.AccessToken != rejected {
		return false
	}
	if rejected == c.rejected && time.Now().Before(c.bearUntil) {
		return false
	}
	c.rejected = rejected
	c.current.Store(nil)
	return true
}
