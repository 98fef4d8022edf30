package wxphone

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/wxphone/wxphone/internal/apisec"
	"github.com/wxphone/wxphone/internal/wire"
)

const (
	defaultRetries = 2
	firstBackoff   = 150 * time.Millisecond
	maxBackoff     = 2 * time.Second

	// patience is how long a caller must have waited in vain for a connection,
	// before giving up, to count as a host that cannot be reached.
	patience = 500 * time.Millisecond
)

// gateway sends requests to WeChat: over its hosts, and again where a further
// attempt can save the call. It knows nothing of tokens' lives.
type gateway struct {
	http       *http.Client
	hosts      *hostList
	maxRetries int
	log        *slog.Logger
	observe    func(context.Context, Call)

	appID    string
	security *apisec.Scheme // nil without API security
}

// consumedCode is the effect of redeeming a code.
const consumedCode = "consumed the code"

// request is one call of a WeChat API, over all its attempts.
type request struct {
	method string
	path   string // with its slash, as errors and observers show it
	query  string // escaped, without the access_token
	// tokenName is the query parameter of the token where it is not
	// access_token.
	tokenName string
	body      []byte   // JSON, or nil
	oneTime   string   // the code that WeChat takes only once
	effect    string   // what WeChat does only once: consumedCode, or ""
	secrets   []string // what else no error may tell
	secured   bool     // one of the APIs that API security applies to
	noRetry   bool     // each attempt counts against a quota of its own
	// newAnswer makes the fresh value that an attempt's answer is read into.
	newAnswer func() wire.Answer

	attempts int       // exchanges begun
	sentAt   time.Time // when the last of them was
	retries  int       // retries used up
	unclear  error     // the first failure that may have come after the effect
}

// do returns WeChat's answer to req, sent with token if it has one. It retries
// what may pass, within ctx.
func (g *gateway) do(ctx context.Context, req *request, token string) (wire.Answer, error) {
	for {
		answer, err := g.tryHosts(ctx, req, token)
		if err == nil {
			return answer, nil
		}
		failed, retry := err, false
		var attempt *attemptError
		if errors.As(err, &attempt) {
			failed, retry = attempt.err, attempt.retry
			if attempt.mayHaveTaken && req.effect != "" && req.unclear == nil {
				req.unclear = failed
			}
		}
		switch {
		case !retry:
			return nil, req.afterUnclear(failed)
		case ctx.Err() != nil:
			return nil, interrupted(ctx, req, failed)
		case req.noRetry || req.retries >= g.maxRetries:
			return nil, req.afterUnclear(failed)
		case attempt.stale && req.retries+1 >= g.maxRetries:
			// The pool may be full of connections that are dead like this one.
			// The last attempt must not meet another.
			g.http.CloseIdleConnections()
		}
		if err := g.pause(ctx, req, failed); err != nil {
			return nil, err
		}
	}
}

// afterUnclear adds to a call's last error that its code may be gone: whoever
// handles the error must not count on the code.
func (req *request) afterUnclear(failed error) error {
	var refusal, first *APIError
	refused := errors.As(failed, &refusal)
	switch {
	case req.unclear == nil, refused && errors.As(req.unclear, &first) && first.Code == refusal.Code:
		return failed // which says all there is to say
	case req.unclear == failed: //nolint:errorlint // identity
		return fmt.Errorf("%w; WeChat may have %s all the same", failed, req.effect)
	}
	return fmt.Errorf("%w; the first attempt may have %s, it had failed with: %w", failed, req.effect, req.unclear)
}

// interrupted is the error of a call whose context ended during an attempt.
func interrupted(ctx context.Context, req *request, failed error) error {
	if errors.Is(failed, ctx.Err()) {
		return req.afterUnclear(failed)
	}
	return fmt.Errorf("wxphone: %s: %w after: %w", req.path, ctx.Err(), req.afterUnclear(failed))
}

// pause waits before the next attempt, or returns an error that wraps both the
// context's and the last answer's.
func (g *gateway) pause(ctx context.Context, req *request, last error) error {
	wait := backoff(req.retries)
	req.retries++
	g.log.WarnContext(ctx, "wxphone: trying again",
		"endpoint", req.path, "attempt", req.attempts, "wait", wait, "error", last)
	if err := sleep(ctx, wait); err != nil {
		return fmt.Errorf("wxphone: %s: %w while waiting to try again after: %w", req.path, err, req.afterUnclear(last))
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// backoff doubles from firstBackoff and is spread by half either way, so that
// the callers of an outage do not come back in step.
func backoff(retries int) time.Duration {
	d := maxBackoff
	if retries < 4 {
		d = min(firstBackoff<<retries, maxBackoff)
	}
	return d/2 + rand.N(d) //nolint:gosec // spreads load, guards nothing
}

// tryHosts makes one attempt, at the next host as long as no connection could
// be made: then nothing was sent, so nothing is at risk.
func (g *gateway) tryHosts(ctx context.Context, req *request, token string) (wire.Answer, error) {
	first, n := g.hosts.first(), len(g.hosts.hosts)
	var unreached error
	for i := range n {
		index := (first + i) % n
		answer, err := g.exchange(ctx, req, token, &g.hosts.hosts[index])
		if err == nil {
			g.hosts.reached(index)
			return answer, nil
		}
		var attempt *attemptError
		if !errors.As(err, &attempt) || !attempt.neverSent {
			g.hosts.reached(index)
			return nil, err
		}
		if ctx.Err() == nil || attempt.took >= patience {
			g.hosts.unreachable(index)
		}
		if errors.Is(ctx.Err(), context.Canceled) {
			return nil, err
		}
		unreached = attempt.after(unreached)
		if ctx.Err() != nil {
			break
		}
		g.log.WarnContext(ctx, "wxphone: host not reached",
			"endpoint", req.path, "host", g.hosts.hosts[index].name, "error", attempt.err)
	}
	return nil, unreached
}

// attemptError is a failed attempt and what follows from it. It stays inside
// the gateway: callers see the error it holds.
type attemptError struct {
	err          error
	retry        bool // another attempt may succeed
	neverSent    bool // no connection was made
	took         time.Duration
	stale        bool // it failed on a connection from the pool
	mayHaveTaken bool // WeChat may have processed the request
}

func (e *attemptError) Error() string { return e.err.Error() }
func (e *attemptError) Unwrap() error { return e.err }

// after joins e to what an earlier host failed with.
func (e *attemptError) after(earlier error) error {
	var first *attemptError
	if !errors.As(earlier, &first) {
		return e
	}
	joined := *e
	joined.err = fmt.Errorf("%w; then: %w", first.err, e.err)
	joined.retry = e.retry || first.retry
	return &joined
}

// isCertificateError tells a TLS failure that will be the same next time.
func isCertificateError(err error) bool {
	var certificate *tls.CertificateVerificationError
	return errors.As(err, &certificate)
}
