package wxphone

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/wxphone/wxphone/internal/transport"
)

// Client calls WeChat for one mini-program. Make it with [New], once per appid
// and process, and use it from any number of goroutines; there is nothing to
// close.
type Client struct { //nolint:recvcheck // Format has a value receiver, so that a copied Client prints no secret either
	appID   string
	account *account // nil in a Client that New did not make
	api     *api

	component *Component // of a mini-program that a platform calls for, or nil

	duplicates *duplicates

	watermarkMaxAge time.Duration // 0 for no limit
}

// account is behind a pointer so that no fmt verb prints the secret along with
// the Client.
type account struct {
	appID, secret string
}

// New returns a Client for the mini-program appID. The secret is its
// AppSecret; it may be "" with [WithTokenSource] or [WithoutAccessToken],
// where only the login calls need it.
//
// New sends nothing. What cannot be right is an [ErrInvalidArgument].
func New(appID, secret string, opts ...Option) (*Client, error) {
	o, err := newOptions(opts)
	if err != nil {
		return nil, err
	}
	if err := checkCredential("appid", appID); err != nil {
		return nil, err
	}
	needsSecret := o.source == nil && !o.tokenless
	if secret != "" || needsSecret {
		if err := checkCredential("secret", secret); err != nil {
			return nil, err
		}
	}
	c := &Client{
		appID:   appID,
		account: &account{appID: appID, secret: secret},
		api:     &api{sender: o.sender(appID), maxRetries: o.maxRetries},

		duplicates:      o.duplicates(appID),
		watermarkMaxAge: o.watermarkMaxAge,
	}
	c.api.tokens = o.tokenSource(c.api.sender, c.account)
	return c, nil
}

// tokenSource returns where the Client's access_tokens come from, or nil if
// its calls carry none.
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

// cacheOptions are those of a token cache that is shared under key if there is
// a store.
func (o *options) cacheOptions(key string) []CacheOption {
	cache := []CacheOption{WithCacheLogger(o.log)}
	if o.store != nil {
		cache = append(cache, WithCacheStore(o.store, key))
	}
	return cache
}

// checkCredential refuses what a copied console field or a file's last line
// tends to bring along.
func checkCredential(name, value string) error {
	switch {
	case value == "":
		return invalid(name, "is empty")
	case strings.TrimSpace(value) != value:
		return invalid(name, "has white space around it")
	}
	return nil
}

// Format implements [fmt.Formatter]: every verb prints the appid and no
// secret.
func (c Client) Format(f fmt.State, _ rune) {
	_, _ = io.WriteString(f, "wxphone.Client("+c.appID+")")
}

// AccessToken returns the access_token that the Client itself uses, for calls
// of other WeChat APIs, from its cache while it is fresh. Report a token that
// WeChat refuses with [Client.InvalidateAccessToken] and ask again.
func (c *Client) AccessToken(ctx context.Context) (Token, error) {
	if err := c.check(ctx); err != nil {
		return Token{}, err
	}
	if c.api.tokens == nil {
		return Token{}, invalid("AccessToken", "has no token: the Client was made WithoutAccessToken")
	}
	return c.api.tokens.Token(ctx)
}

// InvalidateAccessToken reports that WeChat refused the access_token rejected
// (errcode 40001, 40014 or 42001), so that the next call fetches another. It
// does nothing if the Client has replaced that token already, or if its
// [TokenSource] is no [TokenInvalidator].
//
// Report only what WeChat refused: replacing a token that WeChat still hands
// out takes one of the account's 20 forced refreshes of a day.
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

// check refuses a Client and a context that would panic further down.
func (c *Client) check(ctx context.Context) error {
	switch {
	case c == nil || c.api == nil:
		return invalid("Client", "was not made by New")
	case ctx == nil:
		return invalid("ctx", "is nil")
	}
	return nil
}
