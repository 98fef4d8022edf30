package wxphone

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/wxphone/wxphone/internal/redact"
	"github.com/wxphone/wxphone/internal/transport"
	"github.com/wxphone/wxphone/internal/wire"
)

// Call is one HTTP exchange with WeChat, as [WithObserver] reports it. It
// holds no secret and no phone number.
type Call struct {
	// Endpoint is the path of the API: "/wxa/business/getuserphonenumber".
	Endpoint string
	// Host is the host that was asked: "api.weixin.qq.com".
	Host string
	// Attempt counts a call's exchanges from 1, over its retries, fallback
	// hosts and the repeat after a refused token.
	Attempt int
	// Duration is the time from before the request to after the whole answer.
	Duration time.Duration
	// HTTPStatus is the answer's status, 0 if none came.
	HTTPStatus int
	// Code is WeChat's errcode, 0 on success and when no errcode came.
	Code int
	// RID is WeChat's id of the request, mostly known of failures only.
	RID string
	// Err is what the exchange failed with, or nil.
	Err error
}

// api calls WeChat's APIs with an access_token.
type api struct {
	sender     *transport.Sender
	tokens     TokenSource // nil where calls carry no access_token
	maxRetries int
}

// maxRepeats is how often a call is sent again with another token: the second
// one may have been retired while it was on its way too. A platform's own token
// has a daily quota, and nobody else retires it.
func maxRepeats(req *transport.Request) int {
	if strings.Contains(req.Path, "/component/") {
		return 1
	}
	return 2
}

// call sends req to WeChat: with a token, with retries, and again with another
// token as long as WeChat refuses the one before and there is another.
func (a *api) call(ctx context.Context, req *transport.Request) (wire.Answer, error) {
	req.Retries = a.maxRetries
	var progress transport.Progress
	if a.tokens == nil {
		return a.sender.Send(ctx, req, "", &progress)
	}
	token, err := a.token(ctx, req)
	if err != nil {
		return nil, err
	}
	for repeats := 0; ; repeats++ {
		answer, err := a.sender.Send(ctx, req, token, &progress)
		if !isTokenRefused(err) {
			return answer, err
		}
		a.reportRefused(ctx, req, token)
		if repeats == maxRepeats(req) {
			return nil, err
		}
		next, tokenErr := a.token(ctx, req)
		switch {
		case tokenErr != nil:
			return nil, fmt.Errorf("%w; it was needed because of: %w", tokenErr, err)
		case next == token:
			return nil, err
		}
		a.sender.Log.WarnContext(ctx, "wxphone: repeating the call with a fresh access_token",
			"endpoint", req.Path, "error", err)
		token = next
	}
}

func (a *api) token(ctx context.Context, req *transport.Request) (string, error) {
	token, err := a.tokens.Token(ctx)
	if err != nil {
		return "", fmt.Errorf("wxphone: %s: no access_token: %w", req.Path, err)
	}
	if token.AccessToken == "" {
		return "", fmt.Errorf("wxphone: %s: no access_token: the token source returned an empty one", req.Path)
	}
	return token.AccessToken, nil
}

// reportRefused tells the token source that WeChat refused its token. A source
// that cannot take the news may have another token all the same.
func (a *api) reportRefused(ctx context.Context, req *transport.Request, rejected string) {
	invalidator, ok := a.tokens.(TokenInvalidator)
	if !ok {
		return
	}
	if err := invalidator.InvalidateToken(ctx, rejected); err != nil {
		a.sender.Log.WarnContext(ctx, "wxphone: the token source was not told of a refused access_token",
			"endpoint", req.Path, "error", redact.Error(err, []string{rejected}))
	}
}

// callWithoutToken sends req to one of the APIs that take no access_token.
func (a *api) callWithoutToken(ctx context.Context, req *transport.Request) (wire.Answer, error) {
	req.Retries = a.maxRetries
	return a.sender.Send(ctx, req, "", new(transport.Progress))
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

// consumedCode is the effect of redeeming a code.
var consumedCode = &transport.Effect{Done: "consumed the code", Maybe: ErrCodeMaybeUsed}

// transportErrors makes internal/transport's errors those of this package.
var transportErrors = transport.Errors{
	Refused: func(r transport.Refusal) (error, bool) { //nolint:revive,staticcheck // the error is what it makes
		err := &APIError{Endpoint: r.Endpoint, Code: r.Code, Message: r.Message, RID: r.RID, HTTPStatus: r.HTTPStatus}
		if err.Kind() == KindCodeRejected {
			err.hint = codeHint(r.Endpoint, r.OneTime)
		}
		if err.hint == "" && r.Bound {
			err.hint = boundHint(r.Code)
		}
		return err, err.Kind() == KindTransient
	},
	NotAnswer: func(endpoint string, httpStatus int, snippet string) error {
		return &ResponseError{Endpoint: endpoint, HTTPStatus: httpStatus, Snippet: snippet}
	},
}
