package transport

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/wxphone/wxphone/internal/apisec"
	"github.com/wxphone/wxphone/internal/redact"
	"github.com/wxphone/wxphone/internal/wire"
)

const (
	// maxAnswer is the largest accepted answer, in bytes. WeChat's answers to
	// these calls are less than a hundredth of it.
	maxAnswer = 1 << 20
	// maxMessage bounds an errmsg and a rid in bytes. WeChat's have some 100,
	// and they end up in logs.
	maxMessage = 500
)

// failure describes an exchange that returned no answer to its call, and what
// may be done about it.
type failure struct {
	err        error
	attempt    int    // the exchange's number within its call, from 1
	httpStatus int    // 0 if no answer came
	code       int    // WeChat's errcode, or 0
	rid        string // the rid of that errcode, or ""

	retry        bool          // another attempt may succeed
	needsToken   bool          // an attempt with another token may succeed
	retryAfter   time.Duration // the wait that the answer asks for, or 0
	mayHaveTaken bool          // WeChat may have done what the request asks for
	answerLost   bool          // its answer may have been lost
	reused       bool          // the connection came from the pool
	silent       bool          // that connection gave no answer before the time limit

	parts [2]*failure // those that this one joins

	noConnection bool // nothing was sent to this host, or not by the last try of net/http
	movedOn      bool // the wait for a connection was ended
}

// retryAfter returns the wait that a Retry-After header asks for, or 0.
func retryAfter(header http.Header, now time.Time) time.Duration {
	text := header.Get("Retry-After")
	if text == "" {
		return 0
	}
	if seconds, err := strconv.ParseUint(text, 10, 64); err == nil || errors.Is(err, strconv.ErrRange) {
		return time.Duration(min(seconds, math.MaxInt32)) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(0, at.Sub(now))
	}
	return 0
}

// readAnswer reads the body, up to one byte more than the limit.
func readAnswer(resp *http.Response) ([]byte, error) {
	size := int64(bytes.MinRead)
	if n := resp.ContentLength; n > 0 && n <= maxAnswer {
		// One byte more than the answer, so that the last read does not grow
		// the slice.
		size = n + 1
	}
	body := make([]byte, 0, size)
	for len(body) <= maxAnswer {
		n, err := resp.Body.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if len(body) == cap(body) {
			body = append(body, 0)[:len(body)]
		}
	}
	return body, nil
}

// open returns the plaintext of a secured answer. An unsigned answer is
// returned unchanged; decode accepts it only as an error.
func (x *exchange) open(header http.Header, body []byte) ([]byte, error) {
	if !x.secured() || !apisec.IsSigned(header) {
		return body, nil
	}
	plaintext, err := x.sender.Security.Open(x.sender.AppID, x.host.url(x.req.Path), header, body)
	if err != nil {
		return nil, fmt.Errorf("%w (%s)", err, x.req.Path)
	}
	x.signed = true
	return plaintext, nil
}

// decode reads WeChat's JSON, whatever the HTTP status and Content-Type are.
func (x *exchange) decode(status int, body []byte) (wire.Answer, *failure) {
	answer := x.req.NewAnswer()
	if len(body) > maxAnswer || wire.Decode(body, answer) != nil {
		return nil, x.notAnswer(status, body)
	}
	outcome := answer.Outcome()
	if status >= http.StatusMultipleChoices && !outcome.ErrCode.Present {
		return nil, x.notAnswer(status, body) // JSON from a gateway
	}
	if code := outcome.ErrCode.Value; code < math.MinInt32 || code > math.MaxInt32 {
		// No errcode has so many digits, but a phone number has.
		return nil, x.notAnswer(status, body)
	}
	if outcome.ErrCode.Value != 0 {
		return nil, x.refusal(status, outcome)
	}
	if x.secured() && !x.signed {
		return nil, &failure{
			err:          fmt.Errorf("%w (%s): the answer reports success without a signature", apisec.ErrFailed, x.req.Path),
			mayHaveTaken: true,
			answerLost:   true,
		}
	}
	if !answer.Complete() {
		return nil, x.notAnswer(status, nil)
	}
	return answer, nil
}

// notAnswer returns the failure for an answer that cannot be used. body is nil
// if it is JSON without the required fields. If a gateway failed or the answer
// was truncated, WeChat may have processed the request, and a retry may
// succeed. With any other 2xx status it may also have processed it.
func (x *exchange) notAnswer(status int, body []byte) *failure {
	success := status < http.StatusMultipleChoices
	failedBetween := status >= http.StatusInternalServerError
	return &failure{
		err:          x.sender.Errors.NotAnswer(x.req.Path, status, redact.Snippet(body, x.secrets())),
		retry:        failedBetween || success && body != nil && wire.CutShort(body),
		mayHaveTaken: failedBetween || success,
		answerLost:   true,
	}
}

func (x *exchange) refusal(status int, outcome *wire.Status) *failure {
	secrets := x.secrets()
	message, rid := wire.SplitRID(string(outcome.ErrMsg))
	if !wire.IsRID(rid) {
		rid = redact.Text(rid, secrets) // an older id of unknown format
	}
	refusal := Refusal{
		Endpoint:   x.req.Path,
		Code:       int(outcome.ErrCode.Value),
		Message:    redact.Cut(redact.Text(message, secrets), maxMessage),
		RID:        redact.Cut(rid, maxMessage),
		HTTPStatus: status,
		OneTime:    x.req.OneTime,
		Bound:      x.req.Bound,
	}
	remedy, err := x.sender.Errors.Refused(refusal)
	busy := remedy == Time
	return &failure{
		err: err, code: refusal.Code, rid: refusal.RID, retry: busy, needsToken: remedy == Token, mayHaveTaken: busy,
	}
}

// lost returns the failure for an exchange that ended without an answer.
func (x *exchange) lost(err error) *failure {
	failed := &failure{retry: true}
	sent := x.written.Load() > 0
	movedOn := x.wait.allowed > 0 && x.waiters.leave(x)
	switch {
	case movedOn && (x.closed.Load() || x.got.Load() < x.wanted.Load()):
		err = errMovedOn
		if x.closed.Load() {
			// What was written after that went into net/http's buffer only.
			sent = x.writtenBefore.Load() > 0
		}
		failed.noConnection, failed.movedOn = true, true
	case x.got.Load() < x.wanted.Load(), x.wanted.Load() == 0 && (x.sender.HTTP.standard || isDialError(err)):
		failed.noConnection = true
		failed.retry = !isCertificateError(err)
	case x.wanted.Load() == 0:
		sent = true // a transport that calls no hooks may have sent it
	default:
		failed.reused = x.reused.Load()
		failed.silent = failed.reused && time.Since(x.begun) >= shortestSilence && isTimeout(err)
	}
	if failed.noConnection && !failed.movedOn && x.sender.HTTP.tunnels(&x.url) {
		err = proxyRefusal(err)
	}
	failed.err = x.cleanError(err)
	failed.mayHaveTaken, failed.answerLost = sent, sent
	return failed
}

// shortestSilence is the shortest wait for an answer that counts against the
// idle connections. A shorter wait is due to the caller's deadline.
const shortestSilence = time.Second

func isTimeout(err error) bool {
	var timeout interface{ Timeout() bool }
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout()
}

func isDialError(err error) bool {
	var op *net.OpError
	var dns *net.DNSError
	return errors.As(err, &op) && op.Op == "dial" || errors.As(err, &dns) || isCertificateError(err)
}

// isCertificateError reports whether err is a TLS failure that a retry would
// repeat.
func isCertificateError(err error) bool {
	var certificate *tls.CertificateVerificationError
	return errors.As(err, &certificate)
}

// cleanError rebuilds net/http's error without the query and without secrets
// that a transport may have put into its text.
func (x *exchange) cleanError(err error) error {
	var given *url.Error
	if errors.As(err, &given) {
		err = given.Err
	}
	method := x.req.Method[:1] + strings.ToLower(x.req.Method[1:])
	return fmt.Errorf("wxphone: %w",
		&url.Error{Op: method, URL: x.host.url(x.req.Path), Err: redact.NetworkError(err, x.secrets())})
}
