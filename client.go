package wxphone

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/wxphone/wxphone/internal/redact"
	"github.com/wxphone/wxphone/internal/transport"
)

// Client calls WeChat for one mini-program. Create it with [New], once for each
// appid in a process. It is safe for concurrent use by multiple goroutines and
// does not need to be closed.
type Client struct { //nolint:recvcheck // Format has a value receiver, so that a copied Client prints no secret
	appID   string
	account *account // nil in a Client that New did not make
	api     *api

	component *Component // set if a platform calls for the mini-program, otherwise nil

	duplicates *duplicates

	watermarkMaxAge time.Duration // 0 for no limit
}

// account is what WeChat knows the caller by.
type account struct {
	appID  string
	secret redact.Hidden[string]
}

// New returns a Client for the mini-program appID. The secret is its AppSecret.
// It may be empty with [WithTokenSource] or [WithoutAccessToken]; then only
// [Client.Code2Session] needs it.
//
// New makes no requests. It returns an error that matches [ErrInvalidArgument]
// if an argument or option is not valid. An appid has 1 to 64 of the characters
// A-Z, a-z, 0-9, _ and -.
func New(appID, secret string, opts ...Option) (*Client, error) {
	o, err := newOptions(opts)
	if err != nil {
		return nil, err
	}
	if err := checkAppID("appid", appID); err != nil {
		return nil, err
	}
	needsSecret := o.source == nil && !o.tokenless
	if secret != "" || needsSecret {
		if err := checkCredential("secret", secret); err != nil {
			return nil, err
		}
	}
	o.log = o.log.With("appid", appID)
	c := &Client{
		appID:   appID,
		account: &account{appID: appID, secret: redact.Conceal(secret)},
		api:     &api{sender: o.sender(appID), maxRetries: o.maxRetries},

		duplicates:      o.duplicates(appID),
		watermarkMaxAge: o.watermarkMaxAge,
	}
	c.api.tokens = o.tokenSource(c.api.sender, c.account)
	return c, nil
}

// tokenSource returns the source of the Client's access_tokens, or nil if its
// calls carry none.
func (o *options) tokenSource(sender *transport.Sender, a *account) TokenSource {
	switch {
	case o.source != nil:
		return o.source
	case o.tokenless:
		return nil
	case o.classic:
		return newTokenCache(&classicSource{sender, a}, o.cacheOptions("wxphone:classic:"+a.appID)...)
	default:
		return newTokenCache(&stableSource{sender, a}, o.cacheOptions("wxphone:stable:"+a.appID)...)
	}
}

// cacheOptions returns the options of a token cache, which is shared under key
// if there is a store.
func (o *options) cacheOptions(key string) []CacheOption {
	cache := []CacheOption{WithCacheLogger(o.log)}
	if o.store != nil {
		cache = append(cache, WithCacheStore(o.store, key))
	}
	return cache
}

// checkCredential rejects an empty value and one with white space around it, as
// a value copied from the console or read from a file often has.
func checkCredential(name, value string) error {
	switch {
	case value == "":
		return invalid(name, "is empty")
	case strings.TrimSpace(value) != value:
		return invalid(name, "has white space around it")
	}
	return nil
}

const (
	// maxAppID is far above WeChat's 18 characters.
	maxAppID        = 64
	appIDCharacters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"
)

// checkAppID refuses what is no appid. The keys of stores are made of appids
// and colons, so an appid with a colon could stand for another account's key.
func checkAppID(name, value string) error {
	if err := checkCredential(name, value); err != nil {
		return err
	}
	if len(value) > maxAppID {
		return invalid(name, "is longer than 64 characters")
	}
	foreign := func(r rune) bool { return !strings.ContainsRune(appIDCharacters, r) }
	if strings.ContainsFunc(value, foreign) {
		return invalid(name, "has characters other than A-Z, a-z, 0-9, _ and -")
	}
	return nil
}

// Format implements [fmt.Formatter]. Every verb prints the appid and no secret.
func (c Client) Format(f fmt.State, _ rune) {
	_, _ = io.WriteString(f, "wxphone.Client("+c.appID+")")
}

// AccessToken returns the Client's access_token, for calls to other WeChat
// APIs. The token comes from the Client's cache while it is fresh. If WeChat
// rejects it, call [Client.InvalidateAccessToken], then AccessToken again. The
// error matches [ErrInvalidArgument] if the Client was made with
// [WithoutAccessToken].
func (c *Client) AccessToken(ctx context.Context) (Token, error) {
	if err := c.check(ctx); err != nil {
		return Token{}, err
	}
	if c.api.tokens == nil {
		return Token{}, invalid("AccessToken", "has no token: the Client was made with WithoutAccessToken")
	}
	return c.api.tokens.Token(ctx)
}

// InvalidateAccessToken reports that WeChat rejected the access_token rejected
// (errcode 40001, 40014 or 42001). The next call then fetches another token. It
// does nothing if the Client has already replaced that token, or if its
// [TokenSource] does not implement [TokenInvalidator].
//
// Report only tokens that WeChat rejected. Replacing a token that WeChat still
// issues uses one of the account's 20 forced refreshes per day.
func (c *Client) InvalidateAccessToken(ctx context.Context, rejected string) error {
	if err := c.check(ctx); err != nil {
		return err
	}
	if rejected == "" {
		return invalid("rejected", "is empty")
	}
	if invalidator, ok := c.api.tokens.(TokenInvalidator); ok {
		return invalidator.InvalidateToken(ctx, rejected)
	}
	return nil
}

// TokenSource returns the source of the Client's own access_tokens, for other
// programs and SDKs that need one: its Token is [Client.AccessToken], and it is
// a [TokenInvalidator] by [Client.InvalidateAccessToken].
func (c *Client) TokenSource() TokenSource { return clientTokens{c} }

// clientTokens is a Client as a TokenSource.
type clientTokens struct{ client *Client }

// Token implements [TokenSource].
func (t clientTokens) Token(ctx context.Context) (Token, error) { return t.client.AccessToken(ctx) }

// InvalidateToken implements [TokenInvalidator].
func (t clientTokens) InvalidateToken(ctx context.Context, rejected string) error {
	return t.client.InvalidateAccessToken(ctx, rejected)
}

// check rejects a Client or context that would cause a panic later.
func (c *Client) check(ctx context.Context) error {
	switch {
	case c == nil || c.api == nil:
		return invalid("Client", "was not made by New")
	case ctx == nil:
		return invalid("ctx", "is nil")
	}
	return nil
}
