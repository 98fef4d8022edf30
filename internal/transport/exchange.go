package transport

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/wxphone/wxphone/internal/apisec"
	"github.com/wxphone/wxphone/internal/redact"
	"github.com/wxphone/wxphone/internal/wire"
)

const (
	userAgent = "wxphone (+https://github.com/wxphone/wxphone)"

	// maxAnswer is more than a hundred times WeChat's largest answer here.
	maxAnswer = 1 << 20
)

// failure is an exchange that brought no answer to its call, and what follows
// from that.
type failure struct {
	err        error
	httpStatus int    // 0 if no answer came
	code       int    // WeChat's errcode, or 0
	rid        string // of that errcode

	retry        bool // another attempt may succeed
	mayHaveTaken bool // WeChat may have processed the request
	reused       bool // it failed on a connection from the pool

	neverSent bool // no connection was made
	waited    time.Duration
}

// exchange sends req to host once and reads the answer.
func (s *Sender) exchange(ctx context.Context, req *Request, token string, host *Host, progress *Progress) (wire.Answer, *failure) {
	progress.exchanges++
	x := newExchange(s, req, token, host)
	progress.SentAt = x.begun
	answer, status, failed := x.do(ctx)
	if x.replayed() && progress.taken == nil {
		progress.taken = &failure{err: errReplayed}
	}
	if s.Observe == nil && !s.Log.Enabled(ctx, slog.LevelDebug) {
		return answer, failed
	}
	seen := Exchange{
		Endpoint:   req.Path,
		Host:       host.Name,
		Attempt:    progress.exchanges,
		Duration:   time.Since(x.begun),
		HTTPStatus: status,
	}
	if failed != nil {
		seen.Code, seen.RID, seen.Err = failed.code, failed.rid, failed.err
	}
	s.Log.DebugContext(ctx, "wxphone: exchange",
		"endpoint", seen.Endpoint, "host", seen.Host, "attempt", seen.Attempt,
		"duration", seen.Duration, "status", seen.HTTPStatus, "errcode", seen.Code, "rid", seen.RID)
	if s.Observe != nil {
		s.Observe(ctx, seen)
	}
	return answer, failed
}

// exchange is one request on its way to one host. It follows the request onto
// the wire, to tell "never sent" from "answer lost".
type exchange struct {
	sender *Sender
	req    *Request
	token  string
	host   *Host
	begun  time.Time

	url    url.URL
	body   []byte
	header http.Header // what API security adds
	signed bool        // the answer is WeChat's own, and decrypted

	trace httptrace.ClientTrace
	// The values of headers that a transport of the user's may write to.
	userAgent, contentType [1]string

	// Atomic, because net/http's hooks may be called after the call returned.
	wanted  atomic.Int32 // connections asked for
	got     atomic.Int32 // connections made or taken from the pool
	written atomic.Int32 // requests written whole
	reused  atomic.Bool  // the last connection came from the pool
}

// newExchange puts the URL together from its parts; parsing what was just
// written would cost more than the rest of the request.
func newExchange(s *Sender, req *Request, token string, host *Host) *exchange {
	x := &exchange{sender: s, req: req, token: token, host: host, begun: time.Now(), body: req.Body}
	x.url = url.URL{Scheme: host.scheme, Host: host.Name, Path: host.path + req.Path, RawQuery: req.withToken(token)}
	if host.rawPath != "" {
		x.url.RawPath = host.rawPath + req.Path
	}
	x.userAgent[0], x.contentType[0] = userAgent, "application/json"
	x.trace = httptrace.ClientTrace{GetConn: x.onWanted, GotConn: x.onGot, WroteRequest: x.onWritten}
	return x
}

// withToken returns the query with the token in it.
func (req *Request) withToken(token string) string {
	if token == "" {
		return req.Query
	}
	query := "access_token=" + url.QueryEscape(token)
	if req.TokenName != "" {
		query = req.TokenName + "=" + url.QueryEscape(token)
	}
	if req.Query != "" {
		query += "&" + req.Query
	}
	return query
}

func (x *exchange) onWanted(string) { x.wanted.Add(1) }

func (x *exchange) onGot(info httptrace.GotConnInfo) {
	x.got.Add(1)
	x.reused.Store(info.Reused)
}

func (x *exchange) onWritten(info httptrace.WroteRequestInfo) {
	if info.Err == nil {
		x.written.Add(1)
	}
}

// do sends the request and returns its answer and the HTTP status of it.
func (x *exchange) do(ctx context.Context) (wire.Answer, int, *failure) {
	if failed := x.seal(ctx); failed != nil {
		return nil, 0, failed
	}
	resp, err := x.sender.HTTP.Do(x.httpRequest(ctx))
	if err != nil {
		return nil, 0, x.lost(err)
	}
	defer resp.Body.Close()
	status := resp.StatusCode
	body, err := readAnswer(resp)
	if err != nil {
		return nil, status, x.lost(err)
	}
	if body, err = x.open(resp.Header, body); err != nil {
		return nil, status, &failure{err: err}
	}
	answer, failed := x.decode(status, body)
	return answer, status, failed
}

// replayed reports whether net/http sent the request twice, and what it does
// may be done already. A request with a body is replayed only if none of it was
// written, even where net/http reports that it was.
func (x *exchange) replayed() bool {
	return x.req.Body == nil && x.req.Effect != "" && x.written.Load() > 1
}

// errReplayed stands for the attempt that net/http makes unseen: it sends a
// request without a body again when a pooled connection turns out broken.
var errReplayed = errors.New("connection broken while waiting for the answer")

func (x *exchange) httpRequest(ctx context.Context) *http.Request {
	httpReq := (&http.Request{
		Method:     x.req.Method,
		URL:        &x.url,
		Host:       x.host.Name,
		Header:     http.Header{"User-Agent": x.userAgent[:]},
		Proto:      "HTTP/1.1",
		ProtoMajor: 1,
		ProtoMinor: 1,
	}).WithContext(httptrace.WithClientTrace(ctx, &x.trace))
	for name, values := range x.header {
		httpReq.Header[name] = values
	}
	if x.body == nil {
		return httpReq
	}
	httpReq.Header["Content-Type"] = x.contentType[:]
	// Without a length net/http sends the body chunked, which WeChat answers
	// with 412.
	httpReq.ContentLength = int64(len(x.body))
	httpReq.GetBody = x.newBody
	httpReq.Body, _ = x.newBody()
	return httpReq
}

// newBody returns a reader that net/http knows to be in memory: it then sends
// headers and body in one piece.
func (x *exchange) newBody() (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(x.body)), nil
}

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

// seal replaces the body, if the API is one that API security applies to, by
// one made for this attempt and this host.
func (x *exchange) seal(ctx context.Context) *failure {
	if !x.secured() {
		return nil
	}
	if err := ctx.Err(); err != nil {
		// Signing may take a KMS's time. This is what net/http would say.
		return &failure{err: x.cleanError(err), retry: true}
	}
	var err error
	x.body, x.header, err = x.sender.Security.Seal(x.sender.AppID, x.host.url(x.req.Path), x.req.Body)
	if err != nil {
		return &failure{err: fmt.Errorf("%w (%s)", err, x.req.Path)}
	}
	return nil
}

func (x *exchange) secured() bool { return x.sender.Security != nil && x.req.Secured }

// open returns the plaintext of a secured answer. An unsigned one stays as it
// is; decode then takes it for an error or not at all.
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

// decode reads WeChat's JSON whatever the HTTP status and Content-Type.
func (x *exchange) decode(status int, body []byte) (wire.Answer, *failure) {
	answer := x.req.NewAnswer()
	if len(body) > maxAnswer || wire.Decode(body, answer) != nil {
		return nil, x.notAnswer(status, body)
	}
	outcome := answer.Outcome()
	if status >= http.StatusMultipleChoices && !outcome.ErrCode.Present {
		return nil, x.notAnswer(status, body) // a gateway's own JSON
	}
	if outcome.ErrCode.Value != 0 {
		return nil, x.refusal(status, outcome)
	}
	if x.secured() && !x.signed {
		return nil, &failure{err: fmt.Errorf("%w (%s): a success without a signature", apisec.ErrFailed, x.req.Path)}
	}
	if !answer.Complete() {
		return nil, x.notAnswer(status, nil)
	}
	return answer, nil
}

// notAnswer is a lost answer if a gateway in between failed: WeChat may have
// processed the request, and it may answer the next one.
func (x *exchange) notAnswer(status int, body []byte) *failure {
	failedBetween := status >= http.StatusInternalServerError
	return &failure{
		err:          x.sender.Errors.NotAnswer(x.req.Path, status, redact.Snippet(body, x.secrets())),
		retry:        failedBetween,
		mayHaveTaken: failedBetween,
	}
}

func (x *exchange) refusal(status int, outcome *wire.Status) *failure {
	secrets := x.secrets()
	message, rid := wire.SplitRID(string(outcome.ErrMsg))
	if !wire.IsRID(rid) {
		rid = redact.Text(rid, secrets) // an older id, of no known form
	}
	refusal := Refusal{
		Endpoint:   x.req.Path,
		Code:       int(outcome.ErrCode.Value),
		Message:    redact.Text(message, secrets),
		RID:        rid,
		HTTPStatus: status,
		OneTime:    x.req.OneTime,
	}
	err, busy := x.sender.Errors.Refused(refusal)
	return &failure{err: err, code: refusal.Code, rid: rid, retry: busy, mayHaveTaken: busy}
}

// secrets lists what no error of this request may tell.
func (x *exchange) secrets() []string {
	return append([]string{x.token, x.req.OneTime}, x.req.Secrets...)
}

// lost says what a lost connection means for what was sent over it.
func (x *exchange) lost(err error) *failure {
	clean := x.cleanError(err)
	switch {
	case x.got.Load() > 0:
		return &failure{err: clean, retry: true, mayHaveTaken: x.written.Load() > 0, reused: x.reused.Load()}
	case x.wanted.Load() > 0 || isDialError(err):
		return &failure{err: clean, retry: !isCertificateError(err), neverSent: true, waited: time.Since(x.begun)}
	default:
		// A transport that does not call the hooks may have sent anything.
		return &failure{err: clean, retry: true, mayHaveTaken: true}
	}
}

func isDialError(err error) bool {
	var op *net.OpError
	var dns *net.DNSError
	return errors.As(err, &op) && op.Op == "dial" || errors.As(err, &dns) || isCertificateError(err)
}

// isCertificateError tells a TLS failure that will be the same next time.
func isCertificateError(err error) bool {
	var certificate *tls.CertificateVerificationError
	return errors.As(err, &certificate)
}

// cleanError makes net/http's error anew, without the query and the secrets
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
