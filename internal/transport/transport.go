// Package transport sends one request to WeChat and returns its answer. It
// tries the configured hosts and retries if another attempt may succeed. It
// does not know where access_tokens come from.
//
// [Sender.Send] runs the attempts of a call. An attempt tries one host after
// another until a connection is established (hosts.go). An exchange is one HTTP
// request to one host; it records what was sent, which determines what may be
// done after a failure (exchange.go).
package transport

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/wxphone/wxphone/internal/apisec"
	"github.com/wxphone/wxphone/internal/wire"
)

const (
	firstBackoff = 150 * time.Millisecond
	maxBackoff   = 2 * time.Second
	// longestRetryAfter is the longest wait for callers without a deadline.
	longestRetryAfter = 10 * time.Second
)

// Sender sends the requests of one account.
type Sender struct {
	HTTP    *Client
	Hosts   *Hosts
	Log     *slog.Logger
	Observe func(context.Context, Exchange) // or nil
	Errors  Errors

	AppID    string
	Security *apisec.Scheme // nil without API security
}

// Errors creates errors whose types belong to the calling package.
type Errors struct {
	// Refused returns what may be done about an errcode, and the error for it.
	Refused func(Refusal) (Remedy, error)
	// NotAnswer returns the error for an answer that is not WeChat's JSON. The
	// snippet of its body contains no secrets.
	NotAnswer func(endpoint string, httpStatus int, snippet string) error
}

// Remedy is what may make a refused request succeed.
type Remedy int

const (
	// None means that the same request is refused again.
	None Remedy = iota
	// Time means that the same request may soon succeed.
	Time
	// Token means that the request may succeed with another access_token.
	Token
)

// Refusal is an errcode that WeChat returned. Message and RID contain no
// secrets.
type Refusal struct {
	Endpoint   string
	Code       int
	Message    string
	RID        string
	HTTPStatus int
	// OneTime is the code that was sent. It must not be shown.
	OneTime string
	// Bound is [Request.Bound].
	Bound bool
}

// Exchange describes one HTTP exchange with WeChat. It contains no secrets.
type Exchange struct {
	Endpoint   string
	Host       string
	Attempt    int
	Start      time.Time
	Duration   time.Duration
	HTTPStatus int
	Code       int
	RID        string
	Err        error
	Retried    bool
}

// Request describes a call of a WeChat API. It must not change during the call.
type Request struct {
	Method string
	Path   string // with a leading slash, as shown in errors and to observers
	Query  string // escaped, without the access_token
	// TokenName is the query parameter of the token, if it is not access_token.
	TokenName string
	Body      []byte   // JSON, or nil
	OneTime   string   // the code, which works once
	Bound     bool     // WeChat compares the code's user with an openid
	Effect    *Effect  // what WeChat does only once for the request, or nil
	Secrets   []string // other values that no error may contain
	Secured   bool     // API security applies to the API
	Retries   int      // how many times to retry after a temporary failure
	Urgent    bool     // does not wait for other handshakes, because many callers wait for it
	// NewAnswer returns a new value to decode an attempt's answer into.
	NewAnswer func() wire.Answer
}

// Effect is what WeChat does only once for a request.
type Effect struct {
	Done  string // in words, such as "consumed the code"
	Maybe error  // matched by an error if it may be done, or nil
}

// Progress is the state of a call. A call that is sent again with another token
// keeps its Progress.
type Progress struct {
	SentAt  time.Time // when the last exchange started
	Repeats int       // how many times the call may still be sent with another token

	exchanges  int       // started
	unreported *Exchange // the last one, until it is known whether another follows
	retries    int       // made
	sent       bool      // a request may have been written completely
	alone      bool      // the next exchange uses its own connection
	taken      *failure  // the failure after which the effect is most likely done, or nil
	first      *failure  // the first failure after which the effect may be done
}

// Sent reports whether WeChat may have received any request of the call.
func (p *Progress) Sent() bool { return p.sent }

// note records a failure after which the effect may be done. A lost answer is a
// stronger indication than a busy one.
func (p *Progress) note(f *failure) {
	f.attempt = p.exchanges
	if p.first == nil {
		p.first = f
	}
	if p.taken == nil || f.answerLost && !p.taken.answerLost {
		p.taken = f
	}
}

// Send sends req, with token if it is not empty, and returns WeChat's answer.
// It retries temporary failures until ctx is done. If WeChat rejects token and
// progress allows a repeat, the caller must send req again or call
// [Sender.GiveUp].
func (s *Sender) Send(ctx context.Context, req *Request, token string, progress *Progress) (wire.Answer, error) {
	answer, failed, err := s.attempts(ctx, req, token, progress)
	if failed == nil || !failed.needsToken || token == "" || progress.Repeats == 0 {
		s.report(ctx, progress, false)
	}
	return answer, err
}

// GiveUp ends a call that is not sent again with another token.
func (s *Sender) GiveUp(ctx context.Context, progress *Progress) { s.report(ctx, progress, false) }

// attempts returns an answer, or the last failure and the error of the call.
func (s *Sender) attempts(ctx context.Context, req *Request, token string, progress *Progress) (wire.Answer, *failure, error) {
	for {
		answer, failed := s.tryHosts(ctx, req, token, progress)
		switch {
		case failed == nil:
			return answer, nil, nil
		case !failed.retry:
			return nil, failed, progress.withEffect(req, failed)
		case ctx.Err() != nil:
			return nil, failed, progress.interrupted(ctx, req, failed)
		case progress.retries >= req.Retries:
			return nil, failed, progress.withEffect(req, failed)
		case failed.reused && progress.retries+1 >= req.Retries:
			// Other connections in the pool may be broken too. The last attempt
			// must not use one.
			progress.alone = true
		}
		if err := s.pause(ctx, req, progress, failed); err != nil {
			return nil, failed, err
		}
	}
}

// withEffect adds to a call's last error that the effect may be done, so that
// the caller does not rely on the code.
func (p *Progress) withEffect(req *Request, failed *failure) error {
	if p.taken == nil {
		return failed.err
	}
	earlier := p.taken
	if failed.includes(earlier) {
		earlier = p.first
	}
	var err error
	switch {
	case failed.includes(earlier), failed.code != 0 && failed.code == earlier.code:
		err = fmt.Errorf("%w; WeChat may have %s all the same", failed.err, req.Effect.Done)
	case earlier.attempt == 1:
		err = fmt.Errorf("%w; the first attempt may have %s, it had failed with: %w", failed.err, req.Effect.Done, earlier.err)
	default:
		err = fmt.Errorf("%w; an earlier attempt may have %s, it had failed with: %w", failed.err, req.Effect.Done, earlier.err)
	}
	return &maybeDoneError{err, req.Effect.Maybe}
}

// maybeDoneError is an error after which the effect may be done.
type maybeDoneError struct {
	error
	maybe error
}

// Unwrap returns the cause first, because it determines how the error is
// handled.
func (e *maybeDoneError) Unwrap() []error {
	if e.maybe == nil {
		return []error{e.error}
	}
	return []error{e.error, e.maybe}
}

// interrupted returns the error of a call whose context ended during an
// attempt.
func (p *Progress) interrupted(ctx context.Context, req *Request, failed *failure) error {
	if errors.Is(failed.err, ctx.Err()) {
		return p.withEffect(req, failed)
	}
	return fmt.Errorf("wxphone: %s: %w after: %w", req.Path, ctx.Err(), p.withEffect(req, failed))
}

// pause waits before the next attempt. If ctx ends, it returns an error that
// wraps both the error of ctx and that of the last attempt.
func (s *Sender) pause(ctx context.Context, req *Request, progress *Progress, failed *failure) error {
	wait := Backoff(progress.retries)
	if failed.retryAfter > wait {
		wait = failed.retryAfter
		if !hasTime(ctx, wait) {
			return progress.withEffect(req, failed)
		}
	}
	progress.retries++
	s.Log.WarnContext(ctx, "wxphone: trying again",
		"endpoint", req.Path, "attempt", progress.exchanges, "wait", wait.String(), "error", failed.err)
	if err := Sleep(ctx, wait); err != nil {
		return fmt.Errorf("wxphone: %s: %w while waiting to try again after: %w", req.Path, err, progress.withEffect(req, failed))
	}
	return nil
}

// hasTime reports whether a call may wait as long as the answer asks for.
func hasTime(ctx context.Context, wait time.Duration) bool {
	deadline, ok := ctx.Deadline()
	if !ok {
		return wait <= longestRetryAfter
	}
	return wait < time.Until(deadline)
}

// Sleep waits for d. If ctx ends earlier, it returns its error.
func Sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Backoff returns the wait before the next retry after the given number of
// retries. It doubles each time and is randomized by half, so that the callers
// of an outage do not retry together.
func Backoff(retries int) time.Duration {
	d := maxBackoff
	if retries < 4 {
		d = min(firstBackoff<<retries, maxBackoff)
	}
	return d/2 + rand.N(d) //nolint:gosec // spreads load, guards nothing
}
