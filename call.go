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

// Call describes one HTTP exchange with WeChat, as reported to [WithObserver].
// It contains no secrets or phone numbers.
type Call struct {
	// Endpoint is the path of the API, such as
	// "/wxa/business/getuserphonenumber".
	Endpoint string
	// Host is the host that received the request, such as "api.weixin.qq.com".
	Host string
	// Attempt is the number of the exchange within its call, starting at 1.
	// Retries, fallback hosts and repeats with another token are counted.
	Attempt int
	// Start is when the exchange began.
	Start time.Time
	// Duration is the time from before the request until the whole answer was
	// read.
	Duration time.Duration
	// HTTPStatus is the status of the answer, or 0 if there was none.
	HTTPStatus int
	// Code is WeChat's errcode. It is 0 on success and if the answer has no
	// errcode.
	Code int
	// RID is WeChat's id of the request. It is mostly set on failures.
	RID string
	// Err is the error of the exchange, or nil.
	Err error
	// Retried reports whether another exchange of the same call followed: a
	// retry, the next host, or a repeat with another token. It is false for
	// exactly one exchange of each call, the last.
	Retried bool
}

// Outcome returns a label for metrics, of letters and "_" only: "ok", "timeout",
// "canceled", "network", "api_security", "not_wechat" for a [ResponseError], or
// the [ErrorKind] of an errcode, such as "code_rejected".
func (c Call) Outcome() string {
	var refusal *APIError
	var notAnswer *ResponseError
	switch {
	case c.Err == nil:
		return "ok"
	case errors.As(c.Err, &refusal):
		return strings.ReplaceAll(refusal.Kind().String(), " ", "_")
	case errors.Is(c.Err, ErrRateLimited):
		return strings.ReplaceAll(KindRateLimited.String(), " ", "_")
	case errors.As(c.Err, &notAnswer):
		return "not_wechat"
	case errors.Is(c.Err, ErrAPISecurity):
		return "api_security"
	case errors.Is(c.Err, context.Canceled):
		return "canceled"
	case isTimeout(c.Err):
		return "timeout"
	default:
		return "network"
	}
}

// api calls WeChat's APIs with an access_token.
type api struct {
	sender     *transport.Sender
	tokens     TokenSource // nil if calls carry no access_token
	maxRetries int
}

// maxRepeats returns how many times a call is repeated with another token. The
// second token may also have been invalidated while the request was on its way.
// A platform's own token has a daily quota, and no other program invalidates
// it.
func maxRepeats(req *transport.Request) int {
	if strings.Contains(req.Path, "/component/") {
		return 1
	}
	return 2
}

// call sends req to WeChat with a token and with retries. While WeChat rejects
// the token and the source has another, it sends req again.
func (a *api) call(ctx context.Context, req *transport.Request) (wire.Answer, error) {
	a.setRetries(req)
	var progress transport.Progress
	if a.tokens == nil {
		return a.sender.Send(ctx, req, "", &progress)
	}
	token, err := a.token(ctx, req)
	if err != nil {
		return nil, err
	}
	for progress.Repeats = maxRepeats(req); ; progress.Repeats-- {
		answer, err := a.sender.Send(ctx, req, token, &progress)
		if !isTokenRefused(err) {
			return answer, err
		}
		a.reportRefused(ctx, req, token)
		if progress.Repeats == 0 {
			return nil, err
		}
		next, tokenErr := a.token(ctx, req)
		if tokenErr != nil {
			a.sender.GiveUp(ctx, &progress)
			return nil, fmt.Errorf("%w; a new token was needed because of: %w", tokenErr, err)
		}
		if next == token {
			a.sender.GiveUp(ctx, &progress)
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

// reportRefused reports to the token source that WeChat rejected its token. A
// failure is only logged, because the source may have another token even so.
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

// callWithoutToken sends req to an API that needs no access_token.
func (a *api) callWithoutToken(ctx context.Context, req *transport.Request) (wire.Answer, error) {
	a.setRetries(req)
	return a.sender.Send(ctx, req, "", new(transport.Progress))
}

// setRetries applies [WithMaxRetries], which is about calls. Many calls wait for
// a request of a token, so it is retried even if that is 0.
func (a *api) setRetries(req *transport.Request) {
	req.Retries = a.maxRetries
	if req.Urgent {
		req.Retries = defaultRetries
	}
}

// isTokenRefused reports whether another token may help. That includes 41001,
// "access_token missing": if a token was sent, a new one may arrive.
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

// transportErrors creates the errors of internal/transport as types of this
// package.
var transportErrors = transport.Errors{
	Refused: func(r transport.Refusal) (transport.Remedy, error) {
		err := &APIError{Endpoint: r.Endpoint, Code: r.Code, Message: r.Message, RID: r.RID, HTTPStatus: r.HTTPStatus}
		if err.Kind() == KindCodeRejected {
			err.hint = codeHint(r.Endpoint, r.OneTime)
		}
		if err.hint == "" && r.Bound {
			err.hint = boundHint(r.Code)
		}
		switch {
		case err.Kind() == KindTransient:
			return transport.Time, err
		case isTokenRefused(err):
			return transport.Token, err
		default:
			return transport.None, err
		}
	},
	NotAnswer: func(endpoint string, httpStatus int, snippet string) error {
		return &ResponseError{Endpoint: endpoint, HTTPStatus: httpStatus, Snippet: snippet}
	},
}
