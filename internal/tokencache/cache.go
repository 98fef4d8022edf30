package tokencache

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wxphone/wxphone/internal/guarded"
	"github.com/wxphone/wxphone/internal/redact"
)

// Token is an access_token and its expiry, which is the zero time if it is not
// known.
type Token struct {
	AccessToken string
	ExpiresAt   time.Time
}

// Config is the configuration of a [Cache].
type Config struct {
	Source Source
	Store  Store
	Log    *slog.Logger
	// Refused is an error that a caller's error matches if there is no token
	// because WeChat rejected too many.
	Refused error
}

// Source supplies tokens.
type Source struct {
	// Name is what log records call the source.
	Name string
	// Token returns a token that WeChat currently accepts.
	Token func(context.Context) (Token, error)
	// Refused reports a token that WeChat rejected. It may be nil.
	Refused func(ctx context.Context, accessToken string) error
	// Force makes WeChat replace the token that Token would return, and returns
	// the new one. sent is false if WeChat cannot have received the request.
	// Force may be nil.
	Force func(context.Context) (token Token, sent bool, err error)
	// Exclusive is true if each new token invalidates the previous one. A
	// process must then coordinate its fetches with the others.
	Exclusive bool
}

const (
	// flightLimit is the longest duration of one try of a flight.
	flightLimit = 30 * time.Second
	// refusalLimit is the longest duration of a source's reaction to a rejected
	// token.
	refusalLimit = 5 * time.Second
	// maxTries is how many times a flight may start because its token was
	// rejected in the meantime.
	maxTries = 3
)

// Cache serves one token to any number of callers. It runs no goroutine while
// it has no callers, so it does not need to be closed. Create it with [New].
type Cache struct {
	source  Source
	store   Store
	log     *slog.Logger
	refused error

	sourceCode, refusalCode, storeCode guarded.Code

	fresh atomic.Pointer[fresh] // written only with mu held

	mu      sync.Mutex
	state   state
	flight  *flight  // the current one, or nil
	refusal *refusal // the one not yet reported, or nil
}

// fresh is a token that is returned without looking at the state.
type fresh struct {
	token Token
	until time.Time
}

// flight is a fetch that any number of callers wait for. token and err are
// written before done is closed.
type flight struct {
	done  chan struct{}
	token Token
	err   error
	from  string // where the token came from

	look   bool // asks only the store, so its failure is not one of the source
	wanted bool // a caller asked for a token; otherwise it only reports a refusal
}

// refusal is a rejected token that is to be reported to the store and the
// source. err is written before done is closed.
type refusal struct {
	token string
	age   time.Duration // when it was rejected; if only minutes, another program invalidates it
	done  chan struct{}
	err   error
}

// New returns an empty Cache. It makes no calls.
func New(config Config) *Cache {
	if config.Refused == nil {
		config.Refused = errors.New("wxphone: access_token refused")
	}
	return &Cache{
		source:  config.Source,
		store:   config.Store,
		log:     config.Log,
		refused: config.Refused,

		sourceCode:  guarded.Code{Name: "the token source"},
		refusalCode: guarded.Code{Name: "the token source", Limit: refusalLimit},
		storeCode:   guarded.Code{Name: "the token store", Limit: storeLimit},

		state: state{shared: config.Store.Load != nil, exclusive: config.Source.Exclusive},
	}
}

// Token returns the cached token, or waits for a flight until ctx is done.
// During a pause, it waits for the end of the pause if the deadline of ctx is
// later.
func (c *Cache) Token(ctx context.Context) (Token, error) {
	if f := c.fresh.Load(); f != nil && time.Now().Before(f.until) {
		return f.token, nil
	}
	for {
		next, token, f := c.ask()
		switch {
		case next == pause:
			if err := c.sitOut(ctx); err != nil {
				return Token{}, err
			}
			continue
		case f == nil:
			return token, nil
		}
		select {
		case <-f.done:
			return f.token, f.err
		case <-ctx.Done():
			return Token{}, fmt.Errorf("wxphone: waiting for an access_token: %w", ctx.Err())
		}
	}
}

// ask returns a token, a flight to wait for, or neither during a pause.
func (c *Cache) ask() (step, Token, *flight) {
	c.mu.Lock()
	defer c.mu.Unlock()
	next := c.state.ask(time.Now(), c.flight != nil)
	switch next {
	case take:
		return next, c.state.token, nil
	case refresh:
		c.takeOff(&flight{wanted: true})
		c.publish()
		return next, c.state.token, nil
	case pause:
		return next, Token{}, nil
	case fetch:
		c.takeOff(&flight{})
	case look:
		c.takeOff(&flight{look: true})
	case join:
	}
	c.flight.wanted = true
	return next, Token{}, c.flight
}

// sitOut waits until a caller may ask again during a pause. It returns the
// error of the pause at once if ctx has no deadline or one before the end of
// the pause.
func (c *Cache) sitOut(ctx context.Context) error {
	c.mu.Lock()
	now := time.Now()
	over, next, paused := c.state.retryAt, c.state.nextTry(), c.paused(now)
	c.mu.Unlock()
	if deadline, ok := ctx.Deadline(); !ok || !over.Before(deadline) {
		return paused
	}
	if err := sleep(ctx, next.Sub(now)); err != nil {
		return fmt.Errorf("wxphone: %w while waiting: %w", err, paused)
	}
	return nil
}

// paused returns the error of a call during a pause. The caller must hold mu.
func (c *Cache) paused(now time.Time) error {
	return fmt.Errorf("wxphone: no access_token, next try in %v: %w",
		max(0, c.state.retryAt.Sub(now)).Round(time.Millisecond), c.state.cause)
}

// publish updates the token that callers read without the lock.
func (c *Cache) publish() {
	if c.state.token.AccessToken == "" {
		c.fresh.Store(nil)
		return
	}
	c.fresh.Store(&fresh{c.state.token, c.state.refreshAt})
}

// Refused reports an access_token that WeChat rejected to the store and the
// source, and returns the source's error. It does nothing if the cache has
// already replaced that token.
func (c *Cache) Refused(ctx context.Context, accessToken string) error {
	r := c.drop(accessToken)
	if r == nil {
		return nil
	}
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
		return fmt.Errorf("wxphone: reporting a refused access_token: %w", ctx.Err())
	case <-time.After(refusalLimit + storeLimit):
		return nil // the flight waits for its source and reports the refusal afterwards
	}
}

// drop removes the token if it is the rejected one, and makes sure that a
// flight reports that. It returns nil if there is nothing to report.
func (c *Cache) drop(accessToken string) *refusal {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	age := now.Sub(c.state.handedAt).Round(time.Second)
	if !c.state.refuse(now, accessToken, fmt.Errorf("%w repeatedly; check whether another program fetches classic tokens", c.refused)) {
		return nil
	}
	c.publish()
	c.refusal = &refusal{
		token: accessToken,
		age:   age,
		done:  make(chan struct{}),
	}
	if c.flight == nil {
		c.takeOff(&flight{})
	}
	return c.refusal
}

// takeOff starts f. Its context is not derived from the caller's, because other
// callers wait for f too, and a framework may reuse the values of a context
// after the call. The caller must hold mu.
func (c *Cache) takeOff(f *flight) {
	f.done = make(chan struct{})
	c.flight = f
	go c.fly(f)
}

// fly reports a refusal if there is one, and fetches a token if a caller wants
// one.
func (c *Cache) fly(f *flight) {
	for try := 1; !c.try(f, try == maxTries); try++ {
	}
}

// try runs all steps of a flight once, and reports whether the flight has
// ended.
func (c *Cache) try(f *flight, last bool) (landed bool) {
	ctx, cancel := context.WithTimeout(context.Background(), flightLimit)
	defer cancel()
	told := c.tell(ctx)
	if c.unwanted(f) {
		return true
	}
	token, err := c.obtain(ctx, f, told)
	return c.land(f, token, err, told, last)
}

// tell reports a refusal to the store and the source. It returns the rejected
// token that they know of.
func (c *Cache) tell(ctx context.Context) (told string) {
	for {
		c.mu.Lock()
		r := c.refusal
		c.refusal = nil
		told = c.state.refused
		c.mu.Unlock()
		if r == nil {
			return told
		}
		c.log.WarnContext(ctx, "wxphone: WeChat refused the access_token", "age", r.age.String())
		c.forget(ctx, r.token)
		if c.source.Refused != nil {
			r.err = c.scrub(guarded.Do(ctx, &c.refusalCode, func(ctx context.Context) error { return c.source.Refused(ctx, r.token) }))
		}
		close(r.done)
	}
}

// unwanted ends a flight that only had a refusal to report.
func (c *Cache) unwanted(f *flight) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.wanted || c.refusal != nil {
		return false
	}
	c.flight = nil
	close(f.done)
	return true
}

// land ends a flight with its result. It returns false and does not end the
// flight if its token was rejected meanwhile.
func (c *Cache) land(f *flight, token Token, err error, told string, last bool) bool {
	c.mu.Lock()
	now := time.Now()
	if err == nil {
		err = check(now, token)
	}
	refused := err == nil && token.AccessToken == c.state.refused
	switch {
	case err == nil && c.state.outdated(token, told) && !last:
		c.mu.Unlock()
		return false
	case err == nil:
		f.token = c.state.arrived(now, token)
	case f.look:
		f.err = c.paused(now)
	case errors.As(err, new(*storeDownError)):
		f.err = err
		c.state.storeFailed(now, err)
	case errors.As(err, new(*unaskedError)):
		f.err = err
		c.state.unasked(now, err)
	default:
		f.err = err
		c.state.failed(now, err)
	}
	c.publish()
	c.flight = nil
	if c.refusal != nil {
		c.takeOff(&flight{})
	}
	c.mu.Unlock()
	if err == nil || !f.look {
		c.logLanding(token, f.from, err, refused)
	}
	close(f.done) // after logging, so that waiters find the record
	return true
}

// logLanding must be called without the lock, because a log handler may be
// slow.
func (c *Cache) logLanding(token Token, from string, err error, refused bool) {
	switch {
	case err != nil:
		c.log.Warn("wxphone: access_token not fetched", "error", err)
	case refused:
		c.log.Warn("wxphone: the token source insists on the access_token that WeChat refused", "source", c.source.Name)
	default:
		c.log.Info("wxphone: access_token fetched", "from", from, "expires_at", token.ExpiresAt)
	}
}

// scrub removes the tokens that the cache knows, and more, from an error of the
// user's code.
func (c *Cache) scrub(err error, more ...string) error {
	if err == nil {
		return nil
	}
	c.mu.Lock()
	secrets := append([]string{c.state.token.AccessToken, c.state.handed, c.state.refused}, more...)
	c.mu.Unlock()
	return redact.Error(err, secrets)
}

// check rejects a token of a source that is not usable.
func check(now time.Time, token Token) error {
	switch {
	case token.AccessToken == "":
		return errors.New("wxphone: the token source returned an empty access_token")
	case !token.ExpiresAt.IsZero() && !now.Before(token.ExpiresAt):
		return fmt.Errorf("wxphone: the token source returned a token that expired %v ago; check the clocks",
			now.Sub(token.ExpiresAt).Round(time.Second))
	}
	return nil
}
