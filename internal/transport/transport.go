// Package transport sends one request to WeChat and brings its answer: over
// the hosts that there are, and again where another attempt can save the call.
// It knows nothing of where access_tokens come from.
//
// [Sender.Send] runs the attempts of a call. An attempt goes to one host after
// another as long as no connection is made (hosts.go). An exchange is one HTTP
// request at one host; it follows the request onto the wire, because what may
// be done after a failure depends on what was sent (exchange.go).
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
	// longestRetryAfter bounds the wait of callers who set no deadline.
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

// Errors makes the errors that are types of the package above.
type Errors struct {
	// Refused is an errcode. busy means that the same request may succeed in a
	// moment.
	Refused func(Refusal) (err error, busy bool) //nolint:revive,staticcheck // the error is what it makes
	// NotAnswer is an answer that is not WeChat's JSON. The snippet of its body
	// holds no secret.
	NotAnswer func(endpoint string, httpStatus int, snippet string) error
}

// Refusal is an errcode that WeChat answered with. Message and RID hold no
// secret.
type Refusal struct {
	Endpoint   string
	Code       int
	Message    string
	RID        string
	HTTPStatus int
	// OneTime is the code that was sent. It is for looking at, not for showing.
	OneTime string
	// Bound is [Request.Bound].
	Bound bool
}

// Exchange is one HTTP exchange with WeChat. It holds no secret.
type Exchange struct {
	Endpoint   string
	Host       string
	Attempt    int
	Duration   time.Duration
	HTTPStatus int
	Code       int
	RID        string
	Err        error
}

// Request describes a call of one of WeChat's APIs. It does not change while
// the call is under way.
type Request struct {
	Method string
	Path   string // with its slash, as errors and observers show it
	Query  string // escaped, without the access_token
	// TokenName is the query parameter of the token where it is not
	// access_token.
	TokenName string
	Body      []byte   // JSON, or nil
	OneTime   string   // the code that WeChat takes only once
	Bound     bool     // WeChat is to compare the code's user with an openid
	Effect    *Effect  // what WeChat does only once for it, or nil
	Secrets   []string // what else no error may tell
	Secured   bool     // one of the APIs that API security applies to
	Retries   int      // how often to try again after a failure that passes
	Urgent    bool     // many wait for it, so it waits for no other's handshake
	// NewAnswer makes the fresh value that an attempt's answer is read into.
	NewAnswer func() wire.Answer
}

// Effect is what WeChat does only once for a request.
type Effect struct {
	Done  string // in words: "consumed the code"
	Maybe error  // what an error matches that leaves open whether it is done, or nil
}

// Progress is what has become of a call so far. A call that is sent again with
// another token goes on with the same Progress.
type Progress struct {
	SentAt time.Time // when the last exchange began

	exchanges int      // begun
	retries   int      // used up
	sent      bool     // one of them may have been written whole
	alone     bool     // the next exchange has a connection of its own
	taken     *failure // the one that may have come after the effect, or nil
	first     *failure // of these
}

// Sent reports whether WeChat may have got any of the call's requests.
func (p *Progress) Sent() bool { return p.sent }

// note remembers a failure after which the effect may be done. One whose answer
// was lost says more than one that says "busy".
func (p *Progress) note(f *failure) {
	f.attempt = p.exchanges
	if p.first == nil {
		p.first = f
	}
	if p.taken == nil || f.answerLost && !p.taken.answerLost {
		p.taken = f
	}
}

// Send returns WeChat's answer to req, sent with token if it has one. It tries
// again what may pass, within ctx.
func (s *Sender) Send(ctx context.Context, req *Request, token string, progress *Progress) (wire.Answer, error) {
	for {
		answer, failed := s.tryHosts(ctx, req, token, progress)
		switch {
		case failed == nil:
			return answer, nil
		case !failed.retry:
			return nil, progress.withEffect(req, failed)
		case ctx.Err() != nil:
			return nil, progress.interrupted(ctx, req, failed)
		case progress.retries >= req.Retries:
			return nil, progress.withEffect(req, failed)
		case failed.reused && progress.retries+1 >= req.Retries:
			// The pool may be full of connections that are dead like this one.
			// The last attempt must not meet another.
			progress.alone = true
		}
		if err := s.pause(ctx, req, progress, failed); err != nil {
			return nil, err
		}
	}
}

// withEffect adds to a call's last error that its code may be gone: whoever
// handles the error must not count on the code.
func (p *Progress) withEffect(req *Request, failed *failure) error {
	if p.taken == nil {
		return failed.err
	}
	earlier := p.taken
	if earlier == failed {
		earlier = p.first
	}
	var err error
	switch {
	case earlier == failed, failed.code != 0 && failed.code == earlier.code:
		err = fmt.Errorf("%w; WeChat may have %s all the same", failed.err, req.Effect.Done)
	case earlier.attempt == 1:
		err = fmt.Errorf("%w; the first attempt may have %s, it had failed with: %w", failed.err, req.Effect.Done, earlier.err)
	default:
		err = fmt.Errorf("%w; an earlier attempt may have %s, it had failed with: %w", failed.err, req.Effect.Done, earlier.err)
	}
	return &maybeDone{err, req.Effect.Maybe}
}

// maybeDone is an error that leaves open whether the effect is done.
type maybeDone struct {
	error
	maybe error
}

// Unwrap returns the cause first, which decides what the error is about.
func (e *maybeDone) Unwrap() []error {
	if e.maybe == nil {
		return []error{e.error}
	}
	return []error{e.error, e.maybe}
}

// interrupted is the error of a call whose context ended during an attempt.
func (p *Progress) interrupted(ctx context.Context, req *Request, failed *failure) error {
	if errors.Is(failed.err, ctx.Err()) {
		return p.withEffect(req, failed)
	}
	return fmt.Errorf("wxphone: %s: %w after: %w", req.Path, ctx.Err(), p.withEffect(req, failed))
}

// pause waits before the next attempt, or returns an error that wraps both the
// context's and the last answer's.
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
		"endpoint", req.Path, "attempt", progress.exchanges, "wait", wait, "error", failed.err)
	if err := Sleep(ctx, wait); err != nil {
		return fmt.Errorf("wxphone: %s: %w while waiting to try again after: %w", req.Path, err, progress.withEffect(req, failed))
	}
	return nil
}

// hasTime reports whether a call may wait so long because the other side asked
// for it.
func hasTime(ctx context.Context, wait time.Duration) bool {
	deadline, ok := ctx.Deadline()
	if !ok {
		return wait <= longestRetryAfter
	}
	return wait < time.Until(deadline)
}

// Sleep waits for d, or returns the error of ctx if that ends before.
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

// Backoff returns how long to wait before the next try after so many. It
// doubles, and is spread by half either way, so that the callers of an outage
// do not come back in step.
func Backoff(retries int) time.Duration {
	d := maxBackoff
	if retries < 4 {
		d = min(firstBackoff<<retries, maxBackoff)
	}
	return d/2 + rand.N(d) //nolint:gosec // spreads load, guards nothing
}
