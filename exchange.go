package wxphone

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/wxphone/wxphone/internal/redact"
	"github.com/wxphone/wxphone/internal/wire"
)

// maxAnswer is more than a hundred times WeChat's largest answer here.
const maxAnswer = 1 << 20

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

// exchange sends req to h once and reads the answer. Its errors are
// [*attemptError] where another attempt or host may do better.
func (g *gateway) exchange(ctx context.Context, req *request, token string, h *host) (wire.Answer, error) {
	req.attempts++
	req.sentAt = time.Now()
	if g.observe == nil && !g.log.Enabled(ctx, slog.LevelDebug) {
		answer, _, err := g.roundTrip(ctx, req, token, h)
		return answer, err
	}
	answer, status, err := g.roundTrip(ctx, req, token, h)
	g.report(ctx, Call{
		Endpoint:   req.path,
		Host:       h.name,
		Attempt:    req.attempts,
		Duration:   time.Since(req.sentAt),
		HTTPStatus: status,
		Err:        err,
	})
	return answer, err
}

func (g *gateway) report(ctx context.Context, call Call) {
	var attempt *attemptError
	if errors.As(call.Err, &attempt) {
		call.Err = attempt.err
	}
	var refusal *APIError
	if errors.As(call.Err, &refusal) {
		call.Code, call.RID = refusal.Code, refusal.RID
	}
	g.log.DebugContext(ctx, "wxphone: exchange",
		"endpoint", call.Endpoint, "host", call.Host, "attempt", call.Attempt,
		"duration", call.Duration, "status", call.HTTPStatus, "errcode", call.Code, "rid", call.RID)
	if g.observe != nil {
		g.observe(ctx, call)
	}
}

func (g *gateway) roundTrip(ctx context.Context, req *request, token string, h *host) (wire.Answer, int, error) {
	out := newOutgoing(req, token, h)
	out.appID, out.security = g.appID, g.security
	if err := out.secure(ctx); err != nil {
		return nil, 0, fmt.Errorf("%w (%s)", err, req.path)
	}
	resp, err := g.http.Do(out.httpRequest(ctx))
	if err != nil {
		return nil, 0, out.failure(err)
	}
	defer resp.Body.Close()
	// A request with a body is replayed only if none of it was written, even
	// where net/http reports that it was.
	if req.body == nil && out.written.Load() > 1 && req.effect != "" && req.unclear == nil {
		req.unclear = errReplayed
	}
	body, err := readAnswer(resp)
	if err != nil {
		return nil, resp.StatusCode, out.failure(err)
	}
	if body, err = out.unlock(resp.Header, body); err != nil {
		return nil, resp.StatusCode, err
	}
	answer, err := out.decode(resp.StatusCode, body)
	return answer, resp.StatusCode, err
}

// errReplayed stands for the attempt that net/http makes unseen: it sends a
// request without a body again when a pooled connection turns out broken.
var errReplayed = errors.New("connection broken while waiting for the answer")

// readAnswer reads the body up to one byte more than it may have.
func readAnswer(resp *http.Response) ([]byte, error) {
	size := int64(bytes.MinRead)
	if n := resp.ContentLength; n > 0 && n <= maxAnswer {
		// One byte more than the answer, or the last read would grow it.
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

// decode reads WeChat's JSON whatever the HTTP status and Content-Type.
func (o *outgoing) decode(status int, body []byte) (wire.Answer, error) {
	answer := o.req.newAnswer()
	if len(body) > maxAnswer || wire.Decode(body, answer) != nil {
		return nil, o.notAnswer(status, body)
	}
	outcome := answer.Outcome()
	if status >= http.StatusMultipleChoices && !outcome.ErrCode.Present {
		return nil, o.notAnswer(status, body) // a gateway's own JSON
	}
	if outcome.ErrCode.Value != 0 {
		return nil, o.refusal(status, outcome)
	}
	if o.secured() && !o.verified {
		return nil, fmt.Errorf("%w (%s): a success without a signature", ErrAPISecurity, o.req.path)
	}
	if !answer.Complete() {
		return nil, o.notAnswer(status, nil)
	}
	return answer, nil
}

// notAnswer is a lost answer if a gateway in between failed: WeChat may have
// processed the request, and it may answer the next one.
func (o *outgoing) notAnswer(status int, body []byte) error {
	err := &ResponseError{Endpoint: o.req.path, HTTPStatus: status, Snippet: redact.Snippet(body, o.secrets())}
	if status >= http.StatusInternalServerError {
		return &attemptError{err: err, retry: true, mayHaveTaken: true}
	}
	return err
}

func (o *outgoing) refusal(status int, outcome *wire.Status) error {
	secrets := o.secrets()
	message, rid := wire.SplitRID(string(outcome.ErrMsg))
	if !wire.IsRID(rid) {
		rid = redact.Text(rid, secrets) // an older id, of no known form
	}
	err := &APIError{
		Endpoint:   o.req.path,
		Code:       int(outcome.ErrCode.Value),
		Message:    redact.Text(message, secrets),
		RID:        rid,
		HTTPStatus: status,
	}
	switch err.Kind() {
	case KindTransient:
		return &attemptError{err: err, retry: true, mayHaveTaken: true}
	case KindCodeRejected:
		err.hint = codeHint(o.req.path, o.req.oneTime)
	}
	return err
}

// codeHint names the mistakes that a refused code shows by its looks.
func codeHint(path, code string) string {
	switch {
	case path != pathGetUserPhoneNumber && len(code) == 64:
		return "the code that was sent looks like the phone button's; wx.login's has 32 characters"
	case strings.ContainsAny(code, `"'{}`):
		return "the code that was sent has quotes or braces around it; send the bare value of e.detail.code"
	case path == pathGetUserPhoneNumber && len(code) == 32:
		return "the code that was sent looks like one of wx.login's; the button's is e.detail.code, 64 hex digits"
	default:
		return ""
	}
}
