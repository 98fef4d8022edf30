package wxphone

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/wxphone/wxphone/internal/tokencache"
)

// ErrTokenNotFound is what a [TokenStore] returns for a key that it has no
// token for. An error that wraps it is a miss too, and is logged: return one
// for a value that cannot be read.
var ErrTokenNotFound = tokencache.ErrNotFound

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

// tokenCache is what CacheTokens describes.
type tokenCache struct {
	cache  *tokencache.Cache
	broken error // what was wrong with the options

	log   *slog.Logger
	store TokenStore // nil for this process alone
	key   string
}

func newTokenCache(src TokenSource, opts ...CacheOption) *tokenCache {
	c := &tokenCache{log: slog.New(discard{})}
	if f, ok := src.(TokenSourceFunc); src == nil || ok && f == nil {
		c.broken = invalid("CacheTokens", "has a nil source")
		return c
	}
	for _, opt := range opts {
		if opt == nil {
			c.broken = invalid("CacheTokens", "has a nil option")
			continue
		}
		opt(c)
	}
	c.cache = tokencache.New(tokencache.Config{Source: cachedSource(src), Store: cachedStore(c.store, c.key), Log: c.log, Refused: ErrAccessToken})
	return c
}

// Format keeps the tokens out of what fmt prints.
func (c *tokenCache) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "wxphone.CacheTokens") }

// Token implements [TokenSource].
func (c *tokenCache) Token(ctx context.Context) (Token, error) {
	if ctx == nil || c.broken != nil {
		return Token{}, c.check(ctx)
	}
	token, err := c.cache.Token(ctx)
	return Token(token), err
}

// InvalidateToken implements [TokenInvalidator].
func (c *tokenCache) InvalidateToken(ctx context.Context, rejected string) error {
	if err := c.check(ctx); err != nil {
		return err
	}
	return c.cache.Refused(ctx, rejected)
}

func (c *tokenCache) check(ctx context.Context) error {
	if ctx == nil {
		return invalid("ctx", "is nil")
	}
	return c.broken
}

// forcer is a source that can make WeChat replace a token that is still valid
// to it.
type forcer interface {
	forceToken(ctx context.Context) (token Token, sent bool, err error)
}

// cachedSource is src as the cache calls it.
func cachedSource(src TokenSource) tokencache.Source {
	source := tokencache.Source{Token: cachedToken(src.Token)}
	if invalidator, ok := src.(TokenInvalidator); ok {
		source.Refused = invalidator.InvalidateToken
	}
	if able, ok := src.(forcer); ok {
		source.Force = func(ctx context.Context) (tokencache.Token, bool, error) {
			token, sent, err := able.forceToken(ctx)
			return tokencache.Token(token), sent, err
		}
	}
	_, source.Exclusive = src.(*classicSource)
	return source
}

func cachedToken(get func(context.Context) (Token, error)) func(context.Context) (tokencache.Token, error) {
	return func(ctx context.Context) (tokencache.Token, error) {
		token, err := get(ctx)
		return tokencache.Token(token), err
	}
}

// cachedStore is what store has under key, as the cache calls it.
func cachedStore(store TokenStore, key string) tokencache.Store {
	if store == nil {
		return tokencache.Store{}
	}
	one := tokencache.Store{
		Load: cachedToken(func(ctx context.Context) (Token, error) { return store.Load(ctx, key) }),
		Save: func(ctx context.Context, token tokencache.Token) error { return store.Save(ctx, key, Token(token)) },
		DeleteIf: func(ctx context.Context, accessToken string) error {
			return store.DeleteIf(ctx, key, accessToken)
		},
	}
	if locker, ok := store.(TokenLocker); ok {
		one.TryLock = func(ctx context.Context, ttl time.Duration) (func(context.Context) error, bool, error) {
			return locker.TryLock(ctx, key, ttl)
		}
	}
	return one
}
