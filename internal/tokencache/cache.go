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

// Token is an access_token and the time it expires, the zero time if that is
// not known.
type Token struct {
	AccessToken string
	ExpiresAt   time.Time
}

// Config says what a [Cache] works with.
type Config struct {
	Source Source
	Store  Store
	Log    *slog.Logger
	// Refused is what the error of a caller matches for whom there is no token
	// because WeChat refused so many.
	Refused error
}

// Source is where tokens come from.
type Source struct {
	// Token returns a token that WeChat takes now.
	Token func(context.Context) (Token, error)
	// Refused, if it is not nil, is told of a token that WeChat refused.
	Refused func(ctx context.Context, accessToken string) error
	// Force, if it is not nil, makes WeChat replace the token that Token would
	// return, and returns the new one. sent is false if WeChat cannot have got
	// the request.
	Force func(context.Context) (token Token, sent bool, err error)
	// Exclusive is true if each new token retires the one before, so that a
	// process must not fetch without the knowledge of the others.
	Exclusive bool
}

const (
	// flightLimit bounds one try of a flight with all that it does.
	flightLimit = 30 * time.Second
	// refusalLimit bounds what a source does about a refused token.
	refusalLimit = 5 * time.Second
	// maxTries bounds how often a flight starts over because its token was
	// refused while it was under way.
	maxTries = 3
)

// Cache serves one token to any number of callers. Nothing of it runs while
// nobody calls, so there is nothing to close. Make it with [New].
type Cache struct {
	source  Source
	store   Store
	log     *slog.Logger
	refused error

	sourceCode, refusalCode, storeCode guarded.Code

	fresh atomic.Pointer[fresh] // written under mu only

	mu      sync.Mutex
	state   state
	flight  *flight  // the one under way, or nil
	refusal *refusal // the one that nobody has been told of yet, or nil
}

// fresh is a token that is handed out without a look at the state.
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

	look   bool // into the store only; its failure says nothing of the source
	wanted bool // somebody asked for a token; otherwise there is a refusal to tell
}

// refusal is a refused token on its way to the store and the source. err is
// written before done is closed.
type refusal struct {
	token string
	age   time.Duration // when it was refused; minutes mean that somebody retires it
	done  chan struct{}
	err   error
}

// New returns an empty Cache. It asks nobody for anything.
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

// Token returns the cached token, or waits for a flight, as long as ctx allows.
// During a pause, a caller whose deadline comes after it waits for its end.
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

// ask returns a token, or the flight to wait for, or neither in a pause.
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

// sitOut waits until a caller who met a pause may ask again. It returns the
// pause's error at once if the caller has not said that it has so much time.
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

// paused is the error of who came during a pause. The caller holds mu.
func (c *Cache) paused(now time.Time) error {
	return fmt.Errorf("wxphone: no access_token, next try in %v: %w",
		max(0, c.state.retryAt.Sub(now)).Round(time.Millisecond), c.state.cause)
}

// publish lets callers read without the lock what the state allows.
func (c *Cache) publish() {
	if c.state.token.AccessToken == "" {
		c.fresh.Store(nil)
		return
	}
	c.fresh.Store(&fresh{c.state.token, c.state.refreshAt})
}

// Refused takes the news that WeChat refused an access_token, tells the store
// and the source, and returns the source's error. It does nothing if the cache
// has replaced that token already.
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
		return nil // a flight is held up by its source; it tells it afterwards
	}
}

// drop forgets the token if it is the refused one, and sees to it that a flight
// tells so. It returns nil if there is nothing to tell.
func (c *Cache) drop(accessToken string) *refusal {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	age := now.Sub(c.state.handedAt).Round(time.Second)
	if !c.state.refuse(now, accessToken, fmt.Errorf("%w again and again; does another program fetch classic tokens?", c.refused)) {
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

// takeOff starts f. It outlives the caller that happened to start it, because
// others wait for it too; so it has a context of its own, with not even the
// caller's values, which a framework may recycle after the call. The caller
// holds mu.
func (c *Cache) takeOff(f *flight) {
	f.done = make(chan struct{})
	c.flight = f
	go c.fly(f)
}

// fly tells a refusal if there is one, and brings a token if somebody wants
// one.
func (c *Cache) fly(f *flight) {
	for try := 1; !c.try(f, try == maxTries); try++ {
	}
}

// try goes once through all that a flight does, and reports whether that ended
// it.
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

// tell lets the store and the source know of a refusal. It returns the token
// that they know to be refused.
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
		c.log.WarnContext(ctx, "wxphone: WeChat refused the access_token", "age", r.age)
		c.forget(ctx, r.token)
		if c.source.Refused != nil {
			r.err = c.scrub(guarded.Do(ctx, &c.refusalCode, func(ctx context.Context) error { return c.source.Refused(ctx, r.token) }))
		}
		close(r.done)
	}
}

// unwanted ends a flight that had a refusal to tell and nothing else.
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

// land ends a flight with its result. It returns false, and leaves the flight
// under way, if its token was refused meanwhile.
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
		f.token = token
		c.state.arrived(now, token)
	case f.look:
		f.err = c.paused(now)
	case errors.As(err, new(*storeDownError)):
		f.err = err
		c.state.storeFailed(now, err)
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
		c.logLanding(token, err, refused)
	}
	close(f.done) // after the record, so that the waiters find it written
	return true
}

// logLanding is called without the lock, because a log handler may take long.
func (c *Cache) logLanding(token Token, err error, refused bool) {
	switch {
	case err != nil:
		c.log.Warn("wxphone: access_token not fetched", "error", err)
	case refused:
		c.log.Warn("wxphone: the token source insists on the access_token that WeChat refused")
	default:
		c.log.Info("wxphone: access_token fetched", "expires_at", token.ExpiresAt)
	}
}

// scrub keeps the tokens that the cache knows, and those given, out of an error
// of the user's code.
func (c *Cache) scrub(err error, more ...string) error {
	if err == nil {
		return nil
	}
	c.mu.Lock()
	secrets := append(more, c.state.token.AccessToken, c.state.handed, c.state.refused)
	c.mu.Unlock()
	return redact.Error(err, secrets)
}

// check refuses a source's token that cannot be one.
func check(now time.Time, token Token) error {
	switch {
	case token.AccessToken == "":
		return errors.New("wxphone: the token source returned an empty access_token")
	case !token.ExpiresAt.IsZero() && !now.Before(token.ExpiresAt):
		return fmt.Errorf("wxphone: the token source returned a token that expired %v ago; are the clocks right?",
			now.Sub(token.ExpiresAt).Round(time.Second))
	}
	return nil
}
