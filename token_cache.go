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
	// lookInterval is how often the store is looked into meanwhile: another
	// process may have a token by now.
	lookInterval = time.Second

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
		c.log = slog.New(guardedHandler{l.Handler()})
	}
}

// guardedHandler outlives a log handler that panics: in a flight's goroutine
// that would end the process.
type guardedHandler struct{ slog.Handler }

func (h guardedHandler) Handle(ctx context.Context, r slog.Record) error {
	defer func() { _ = recover() }()
	return h.Handler.Handle(ctx, r)
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
// the refused token out again, it is served, and further refusals of it are
// ignored for 30 seconds.
//
// src is called with a context of the cache's own, which has no caller's
// values.
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
	lookAt    time.Time // when the store may be looked into before that
	served    string    // the token that was handed out last, cached or not
	servedAt  time.Time // when it arrived
	rejected  string    // the token that WeChat refused last
	report    *report   // of that token, while the source is told
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
	look  bool // into the store only; its failure says nothing of the source
}

func newTokenCache(src TokenSource, opts ...CacheOption) *tokenCache {
	c := &tokenCache{src: src, log: slog.New(discard{})}
	if f, ok := src.(TokenSourceFunc); src == nil || ok && f == nil {
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
	switch {
	case c.broken != nil:
		return Token{}, c.broken
	case ctx == nil:
		return Token{}, invalid("ctx", "is nil")
	}
	c.mu.Lock()
	now := time.Now()
	if cached := c.current.Load(); cached != nil && now.Before(cached.token.ExpiresAt) {
		c.refreshEarly(cached, now)
		c.mu.Unlock()
		return cached.token, nil
	}
	f, err := c.join(now)
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

// refreshEarly starts a flight unless one is under way, and keeps the other
// callers off the lock meanwhile. A pause after a failure has moved refreshAt.
// The caller holds mu.
func (c *tokenCache) refreshEarly(cached *cachedToken, now time.Time) {
	if now.Before(cached.refreshAt) {
		return
	}
	if c.flight == nil {
		c.takeOff()
	}
	c.keepQuiet(cached, now.Add(flightTimeout))
}

func (c *tokenCache) keepQuiet(cached *cachedToken, until time.Time) {
	if until.After(cached.token.ExpiresAt) {
		until = cached.token.ExpiresAt
	}
	c.current.Store(&cachedToken{cached.token, until})
}

// join returns the flight under way or a new one, or why none may start. The
// caller holds mu.
func (c *tokenCache) join(now time.Time) (*flight, error) {
	wait := c.retryAt.Sub(now)
	switch {
	case c.flight != nil:
	case wait <= 0:
		c.takeOff()
	default:
		paused := fmt.Errorf("wxphone: no access_token, next try in %v: %w", wait.Round(time.Millisecond), c.lastErr)
		if c.store == nil || now.Before(c.lookAt) {
			return nil, paused
		}
		c.lookAt = now.Add(lookInterval)
		c.fly(&flight{done: make(chan struct{}), look: true}, func(ctx context.Context) (Token, bool, error) {
			token, err := c.load(ctx)
			if err != nil {
				return Token{}, false, paused
			}
			return token, false, nil
		})
	}
	return c.flight, nil
}

// takeOff starts a flight to the store and the source. The caller holds mu.
func (c *tokenCache) takeOff() { c.fly(&flight{done: make(chan struct{})}, c.obtain) }

// fly starts f. It outlives the caller that happened to start it, because
// others wait for it too; so it has a context of its own, with not even the
// caller's values, which a framework may recycle after the call. The caller
// holds mu.
func (c *tokenCache) fly(f *flight, obtain func(context.Context) (Token, bool, error)) {
	c.flight = f
	ctx, cancel := context.WithTimeout(context.Background(), flightTimeout)
	// A source that ignores its context must not hold up every later call.
	unbound := context.AfterFunc(ctx, func() {
		c.land(f, Token{}, fmt.Errorf("wxphone: token source: %w", ctx.Err()), true)
	})
	go func() {
		defer cancel()
		defer unbound()
		// Only a source that ends its goroutine leaves anything to land here.
		defer c.land(f, Token{}, errors.New("wxphone: the token source ended its goroutine"), true)
		for try := 1; ; try++ {
			token, considered, err := obtain(ctx)
			if c.land(f, token, err, considered || try == obtainTries) {
				return
			}
		}
	}()
}

// obtainTries bounds how often a flight starts over because its token was
// refused while it was under way.
const obtainTries = 3

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
		if !f.look {
			c.failed(err, now)
		}
	} else {
		f.token = token
		c.served, c.servedAt = token.AccessToken, now
		c.fetched(token, now)
	}
	c.flight = nil
	c.mu.Unlock()
	if err == nil || !f.look {
		c.logLanding(token, err, refused)
	}
	close(f.done) // after the record, so that the waiters find it written
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
		// Without a token there is more to lose than a request.
		if expires := cached.token.ExpiresAt; now.Before(expires) && c.retryAt.After(expires) {
			c.retryAt = expires
		}
		c.keepQuiet(cached, c.retryAt)
	}
}
