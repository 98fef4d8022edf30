package wxphone

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/wxphone/wxphone/internal/redact"
	"github.com/wxphone/wxphone/internal/wire"
)

// Client calls WeChat for one mini-program. Make it with [New], once per appid
// and process, and use it from any number of goroutines; there is nothing to
// close.
type Client struct { //nolint:recvcheck // Format has a value receiver, so that a copied Client prints no secret either
	appID   string
	account *account    // nil in a Client that New did not make
	tokens  TokenSource // nil where calls carry no access_token
	gateway *gateway

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
		gateway: o.gateway(),

		watermarkMaxAge: o.watermarkMaxAge,
	}
	c.tokens = o.tokenSource(c.gateway, c.account)
	return c, nil
}

// tokenSource returns where the Client's access_tokens come from, or nil if
// its calls carry none.
func (o *options) tokenSource(g *gateway, a *account) TokenSource {
	cache := []CacheOption{WithCacheLogger(o.log)}
	switch {
	case o.source != nil:
		return o.source
	case o.tokenless:
		return nil
	case o.classic:
		if o.store != nil {
			cache = append(cache, WithCacheStore(o.store, "wxphone:classic:"+a.appID), withExclusiveFetch())
		}
		return newTokenCache(&classicSource{g, a}, cache...)
	default:
		if o.store != nil {
			cache = append(cache, WithCacheStore(o.store, "wxphone:stable:"+a.appID))
		}
		return newTokenCache(&stableSource{g, a}, cache...)
	}
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
	if c.tokens == nil {
		return Token{}, invalid("AccessToken", "has no token: the Client was made WithoutAccessToken")
	}
	return c.tokens.Token(ctx)
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
	if invalidator, ok := c.tokens.(TokenInvalidator); ok {
		return invalidator.InvalidateToken(ctx, rejected)
	}
	return nil
}

// check refuses a Client and a context that would panic further down.
func (c *Client) check(ctx context.Context) error {
	switch {
	case c == nil || c.gateway == nil:
		return invalid("Client", "was not made by New")
	case ctx == nil:
		return invalid("ctx", "is nil")
	}
	return nil
}

// call sends req to WeChat: with a token, with retries, and a second time with
// a fresh token if WeChat refused the first.
func (c *Client) call(ctx context.Context, req *request) (wire.Answer, error) {
	if c.tokens == nil {
		return c.gateway.do(ctx, req, "")
	}
	token, err := c.token(ctx, req)
	if err != nil {
		return nil, err
	}
	answer, err := c.gateway.do(ctx, req, token)
	if !isTokenRefused(err) {
		return answer, err
	}
	next, refreshErr := c.replaceToken(ctx, req, token)
	if refreshErr != nil {
		return nil, fmt.Errorf("%w; it was needed because of: %w", refreshErr, err)
	}
	if next == token {
		return nil, err
	}
	c.gateway.log.WarnContext(ctx, "wxphone: repeating the call with a fresh access_token",
		"endpoint", req.path, "error", err)
	return c.gateway.do(ctx, req, next)
}

func (c *Client) token(ctx context.Context, req *request) (string, error) {
	token, err := c.tokens.Token(ctx)
	if err != nil {
		return "", fmt.Errorf("wxphone: %s: no access_token: %w", req.path, err)
	}
	if token.AccessToken == "" {
		return "", fmt.Errorf("wxphone: %s: no access_token: the token source returned an empty one", req.path)
	}
	return token.AccessToken, nil
}

func (c *Client) replaceToken(ctx context.Context, req *request, rejected string) (string, error) {
	if invalidator, ok := c.tokens.(TokenInvalidator); ok {
		if err := invalidator.InvalidateToken(ctx, rejected); err != nil {
			return "", fmt.Errorf("wxphone: %s: refused access_token not replaced: %w",
				req.path, redact.Error(err, []string{rejected}))
		}
	}
	return c.token(ctx, req)
}

// isTokenRefused includes 41001, "access_token missing": where a token was
// sent, a fresh one may arrive.
func isTokenRefused(err error) bool {
	if err == nil {
		return false
	}
	var refusal *APIError
	return errors.As(err, &refusal) && (refusal.Kind() == KindTokenRejected || refusal.Code == 41001)
}
