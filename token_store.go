package wxphone

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/wxphone/wxphone/internal/tokencache"
)

// ErrTokenNotFound is returned by [TokenStore.Load] when the store has no token
// for the key. An error that wraps it also counts as a miss, and is logged:
// return such an error for a value that cannot be read.
var ErrTokenNotFound = tokencache.ErrNotFound

// TokenStore keeps tokens that several processes share, for example in Redis,
// etcd or a database. Package [github.com/wxphone/wxphone/redisstore] is an
// implementation, and [github.com/wxphone/wxphone/wxphonetest.TestTokenStore]
// tests others.
//
// The methods are called by multiple goroutines concurrently and must honor
// ctx, which has a short deadline. Stored tokens are secrets: anyone who reads
// one can call WeChat as the mini-program.
type TokenStore interface {
	// Load returns the token last saved under key. It returns
	// [ErrTokenNotFound] if there is none, it was deleted, or it has expired.
	Load(ctx context.Context, key string) (Token, error)
	// Save stores token under key until token.ExpiresAt, replacing any other.
	Save(ctx context.Context, key string, token Token) error
	// DeleteIf deletes the token under key if it is accessToken. It must
	// compare and delete atomically, so that a token saved concurrently by
	// another process is kept. It returns nil if there is no token or a
	// different one.
	DeleteIf(ctx context.Context, key, accessToken string) error
}

// TokenLocker is an optional interface of a [TokenStore]. Its lock lets one
// process at a time fetch a token, so that the processes together make one
// request instead of one each. Classic tokens need it.
//
// TryLock does not wait: it returns false for ok if the lock is held. The lock
// is released by unlock, or after ttl if its holder has failed. unlock must not
// release a lock that has since been acquired by another holder. The keys of
// locks must not collide with those of tokens.
type TokenLocker interface {
	TryLock(ctx context.Context, key string, ttl time.Duration) (unlock func(context.Context) error, ok bool, err error)
}

// CacheOption configures [CacheTokens].
type CacheOption func(*tokenCache)

// WithCacheLogger logs refreshes and their failures to l. Records contain no
// tokens.
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
// under key. If store implements [TokenLocker], only one process at a time
// fetches a token.
//
// If the store fails, the failure is logged and the process fetches a token
// itself.
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

// CacheTokens returns a [TokenSource] that caches the tokens of src:
//
//   - It returns a fresh token without acquiring a lock.
//   - Four to two minutes before expiry, one call starts a refresh in the
//     background. No call waits for it.
//   - Without a valid token, all callers wait for the same fetch, each until
//     its own context is done. The fetch continues if a caller gives up.
//   - After a failed fetch, src is not called for one second, then for two
//     seconds, up to a minute. Expired tokens are never returned.
//   - A token without an expiry is returned to the callers that wait for it and
//     is not cached.
//
// The result also implements [TokenInvalidator]. A token that WeChat rejected
// is replaced, and reported to src if src implements TokenInvalidator. If src
// returns the rejected token again, it is used, and further reports about it
// are ignored for 30 seconds.
//
// The context passed to src is not derived from any caller's context and
// carries no values.
func CacheTokens(src TokenSource, opts ...CacheOption) TokenSource {
	return newTokenCache(src, opts...)
}

// tokenCache implements CacheTokens.
type tokenCache struct {
	cache  *tokencache.Cache
	broken error // the error of an option that is not valid

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

// Format implements fmt.Formatter, so that fmt does not print tokens.
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

// forcer is a source that can make WeChat replace a token that is still valid.
type forcer interface {
	forceToken(ctx context.Context) (token Token, sent bool, err error)
}

// cachedSource adapts src to the cache.
func cachedSource(src TokenSource) tokencache.Source {
	source := tokencache.Source{Name: "the TokenSource", Token: cachedToken(src.Token)}
	if own, ok := src.(interface{ endpoint() string }); ok {
		source.Name = own.endpoint()
	}
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

// cachedStore adapts the token of store under key to the cache.
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
