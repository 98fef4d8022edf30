package wxphone

import (
	"context"
	"fmt"
	"time"
)

// reportTimeout bounds what a source and a store do about a refused token.
const reportTimeout = 5 * time.Second

// InvalidateToken implements [TokenInvalidator].
func (c *tokenCache) InvalidateToken(ctx context.Context, rejected string) error {
	switch {
	case c.broken != nil:
		return c.broken
	case ctx == nil:
		return invalid("ctx", "is nil")
	}
	r := c.drop(rejected)
	if r == nil {
		return nil
	}
	go c.tell(r, rejected) //nolint:gosec // it must not end with this caller's context
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
		return fmt.Errorf("wxphone: reporting a refused access_token: %w", ctx.Err())
	case <-time.After(reportTimeout + storeTimeout):
		return nil // the source ignores its context; the flight asks it anyway
	}
}

// report is a refusal on its way to the store and the source. A flight waits
// for it, or it would bring the refused token back from a source that does not
// know yet. err is written before done is closed.
type report struct {
	done chan struct{}
	err  error
	age  time.Duration // of the token; minutes mean that somebody retires it
}

// drop forgets the token that was handed out last if it is the rejected one,
// and begins the report of it. It returns nil if there is nothing to do.
func (c *tokenCache) drop(rejected string) *report {
	c.mu.Lock()
	defer c.mu.Unlock()
	cached := c.current.Load()
	if rejected == "" || rejected != c.served && (cached == nil || rejected != cached.token.AccessToken) {
		return nil
	}
	if rejected == c.rejected && time.Now().Before(c.bearUntil) {
		return nil
	}
	c.rejected, c.served = rejected, ""
	c.current.Store(nil)
	c.report = &report{done: make(chan struct{}), age: time.Since(c.servedAt).Round(time.Second)}
	return c.report
}

// tell goes on when the caller who reported has given up: others wait.
func (c *tokenCache) tell(r *report, rejected string) {
	ctx, cancel := context.WithTimeout(context.Background(), reportTimeout)
	defer cancel()
	defer func() {
		if v := recover(); v != nil {
			r.err = fmt.Errorf("wxphone: the token source panicked: %s", describePanic(v))
		}
		c.mu.Lock()
		if c.report == r {
			c.report = nil
		}
		c.mu.Unlock()
		close(r.done)
	}()
	c.log.WarnContext(ctx, "wxphone: WeChat refused the access_token", "age", r.age)
	c.forget(ctx, rejected)
	if invalidator, ok := c.src.(TokenInvalidator); ok {
		r.err = invalidator.InvalidateToken(ctx, rejected)
	}
}

// knownRefused returns the token that WeChat refused last, when the source has
// been told of it.
func (c *tokenCache) knownRefused(ctx context.Context) string {
	for {
		c.mu.Lock()
		r, rejected := c.report, c.rejected
		c.mu.Unlock()
		if r == nil {
			return rejected
		}
		select {
		case <-r.done:
		case <-time.After(reportTimeout):
			return rejected // a source that ignores its context
		case <-ctx.Done():
			return rejected
		}
	}
}

// fetch asks the source, and has it forced to make another token if it hands
// the refused one out again. considered is true if it does so knowingly.
func (c *tokenCache) fetch(ctx context.Context) (token Token, considered bool, err error) {
	refused := c.knownRefused(ctx)
	token, err = guard(ctx, c.src.Token)
	if err != nil || refused == "" || token.AccessToken != refused {
		return token, false, err
	}
	if c.mayForce() {
		token = c.force(ctx, token)
	}
	return token, token.AccessToken == refused, nil
}
