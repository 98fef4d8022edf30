package wxphone

import (
	"context"
	"time"
)

// tokenForcer is a source that can make WeChat replace a token that is still
// valid to it.
type tokenForcer interface {
	forceToken(ctx context.Context) (Token, error)
}

const (
	// WeChat allows an account 20 forced refreshes a day, 30 seconds apart. A
	// Client takes a quarter of them at most: others of the account may need
	// theirs, and a token that dies this often has another cause.
	forcesPerDay  = 5
	firstForceGap = 30 * time.Second
	day           = 24 * time.Hour
)

// forceBudget remembers the forced refreshes of the last day.
type forceBudget struct {
	times []time.Time
}

// take uses up one forced refresh, or reports that none is left now. The gap
// after each doubles.
func (b *forceBudget) take(now time.Time) bool {
	for len(b.times) > 0 && now.Sub(b.times[0]) >= day {
		b.times = b.times[1:]
	}
	n := len(b.times)
	if n >= forcesPerDay {
		return false
	}
	if n > 0 && now.Sub(b.times[n-1]) < firstForceGap<<(n-1) {
		return false
	}
	b.times = append(b.times, now)
	return true
}

// mayForce takes a forced refresh from the budget if the source can do one.
func (c *tokenCache) mayForce() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, able := c.src.(tokenForcer)
	return able && c.forced.take(time.Now())
}

// forcePause is the time given to another process's forced refresh.
const forcePause = time.Second

// force returns the token of a forced refresh. If that fails, the account's
// quota may have gone to another process, whose fresh token WeChat then hands
// out the plain way. If it does not, the refused one is returned: WeChat may
// take it yet, and no token takes no call anywhere.
func (c *tokenCache) force(ctx context.Context, refused Token) Token {
	c.log.WarnContext(ctx, "wxphone: WeChat handed out the refused access_token again, forcing a refresh")
	forced, err := guard(ctx, c.src.(tokenForcer).forceToken)
	if err != nil {
		c.log.WarnContext(ctx, "wxphone: forced refresh failed", "error", err)
		if sleep(ctx, forcePause) != nil {
			return refused
		}
		if forced, err = guard(ctx, c.src.Token); err != nil {
			return refused
		}
	}
	return forced
}
