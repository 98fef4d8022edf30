package wxphone

import (
	"context"
	"errors"
	"fmt"

	"github.com/wxphone/wxphone/internal/redact"
	"github.com/wxphone/wxphone/internal/wire"
)

// caller sends requests with an access_token.
type caller struct {
	gateway *gateway
	tokens  TokenSource // nil where calls carry no access_token
}

// call sends req to WeChat: with a token, with retries, and a second time with
// a fresh token if WeChat refused the first.
func (c *caller) call(ctx context.Context, req *request) (wire.Answer, error) {
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

func (c *caller) token(ctx context.Context, req *request) (string, error) {
	token, err := c.tokens.Token(ctx)
	if err != nil {
		return "", fmt.Errorf("wxphone: %s: no access_token: %w", req.path, err)
	}
	if token.AccessToken == "" {
		return "", fmt.Errorf("wxphone: %s: no access_token: the token source returned an empty one", req.path)
	}
	return token.AccessToken, nil
}

func (c *caller) replaceToken(ctx context.Context, req *request, rejected string) (string, error) {
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
	return errors.As(err, &refusal) &&
		(refusal.Kind() == KindTokenRejected || refusal.Code == 41001 || isComponentTokenRefused(refusal))
}
