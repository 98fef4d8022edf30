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
	"strconv"
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
	attempt    int    // of the call's, from 1
	httpStatus int    // 0 if no answer came
	code       int    // WeChat's errcode, or 0
	rid        string // of that errcode

	retry        bool          // another attempt may succeed
	retryAfter   time.Duration // no sooner than this, as the other side said
	mayHaveTaken bool          // WeChat may have done what the request is for
	answerLost   bool          // … and said so in an answer that did not arrive
	reused       bool          // it failed on a connection from the pool
	silent       bool          // no answer came until time was up

	noConnection bool // nothing was sent to this host, or not by the last try
	movedOn      bool // it waited for a connection until the host was given up
}

// exchange sends req to the host with that index once and reads the answer.
// Unless it is the last host, the exchange does not wait long for a connection.
func (s *Sender) exchange(ctx context.Context, req *Request, token string, index int, last bool, progress *Progress) (wire.Answer, *failure) {
	progress.exchanges++
	x := newExchange(s, req, token, index)
	x.alone = progress.alone || s.Hosts.silent[index].Load()
	progress.SentAt = x.begun
	answer, status, failed := x.run(ctx, last)
	progress.sent = progress.sent || failed == nil || failed.httpStatus > 0 || failed.mayHaveTaken
	if x.repeated() {
		progress.note(&failure{err: errRepeated, answerLost: true})
	}
	if failed != nil && failed.mayHaveTaken && req.Effect != nil {
		progress.note(failed)
	}
	if s.Observe == nil && !s.Log.Enabled(ctx, slog.LevelDebug) {
		return answer, failed
	}
	seen := Exchange{
		Endpoint:   req.Path,
		Host:       x.host.Name,
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
	sender  *Sender
	req     *Request
	token   string
	host    *Host
	waiters *waiters
	begun   time.Time
	alone   bool // on a connection of its own

	url    url.URL
	body   []byte
	header http.Header // what API security adds
	signed bool        // the answer is WeChat's own, and decrypted

	trace httptrace.ClientTrace
	ctx   exchangeContext
	// The values of headers that a transport of the user's may write to.
	userAgent, contentType [1]string
	reader                 bytes.Reader // of the body, the first time

	wait wait // for a connection

	// Atomic, because net/http's hooks may be called after the call returned.
	wanted    atomic.Int32 // connections asked for
	got       atomic.Int32 // connections made or taken from the pool
	written   atomic.Int32 // requests written whole
	reused    atomic.Bool  // the last connection came from the pool
	closed    atomic.Bool  // the last connection was closed before anything was written
	over      atomic.Bool  // nobody waits for a connection any more
	handshake atomic.Pointer[passingConn]
}

// exchangeKey finds the exchange that a connection is made for.
type exchangeKey struct{}

// exchangeContext carries an exchange to the dialer. It is a field of the
// exchange, which saves the allocation that context.WithValue makes.
type exchangeContext struct {
	context.Context
	x *exchange
}

func (c *exchangeContext) Value(key any) any {
	if _, ok := key.(exchangeKey); ok {
		return c.x
	}
	return c.Context.Value(key)
}

// newExchange puts the URL together from its parts; parsing what was just
// written would cost more than the rest of the request.
func newExchange(s *Sender, req *Request, token string, index int) *exchange {
	host := &s.Hosts.list[index]
	x := &exchange{
		sender: s, req: req, token: token, host: host, waiters: &s.Hosts.waiters[index], begun: time.Now(), body: req.Body,
	}
	x.url = url.URL{Scheme: host.scheme, Host: host.Name, Path: host.path + req.Path, RawQuery: req.withToken(token)}
	if host.rawPath != "" {
		x.url.RawPath = host.rawPath + req.Path
	}
	x.userAgent[0], x.contentType[0] = userAgent, "application/json"
	x.trace = httptrace.ClientTrace{
		GetConn: x.onWanted, GotConn: x.onGot, WroteRequest: x.onWritten,
	}
	if s.HTTP.standard {
		x.trace.TLSHandshakeDone = x.onHandshake
	}
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

// onWanted is called when net/http begins to look for a connection.
func (x *exchange) onWanted(string) {
	x.wanted.Add(1)
	if x.wait.allowed > 0 {
		x.waiters.enter(x)
	}
}

// onDial is called when a connection is being made for this exchange.
func (x *exchange) onDial() {
	if x.wait.allowed > 0 {
		x.waiters.dials(x)
	}
}

func (x *exchange) onDNSStart(httptrace.DNSStartInfo) { x.onDial() }
func (x *exchange) onConnectStart(string, string)     { x.onDial() }

func (x *exchange) onHandshake(tls.ConnectionState, error) {
	if conn := x.handshake.Load(); conn != nil {
		conn.pass()
	}
}

// onGot is called when net/http has a connection, before it writes to it.
func (x *exchange) onGot(info httptrace.GotConnInfo) {
	x.got.Add(1)
	x.reused.Store(info.Reused)
	if x.wait.allowed == 0 {
		return
	}
	if !x.waiters.got(x) && ownConn(info.Conn) {
		// The exchange was moved on a moment ago, and net/http would send the
		// request on this connection all the same.
		_ = info.Conn.Close()
		x.closed.Store(true)
	}
}

// ownConn reports whether conn carries one request at a time. HTTP/2 puts many
// on one.
func ownConn(conn net.Conn) bool {
	secure, ok := conn.(*tls.Conn)
	return conn != nil && (!ok || secure.ConnectionState().NegotiatedProtocol != "h2")
}

func (x *exchange) onWritten(info httptrace.WroteRequestInfo) {
	if info.Err == nil {
		x.written.Add(1)
	}
}

// wantsConnection reports whether a connection is of use still.
func (x *exchange) wantsConnection() bool {
	return !x.over.Load() && x.got.Load() < x.wanted.Load()
}

// mayQueue reports whether x may be waiting for a place in the pool.
func (x *exchange) mayQueue() bool { return x.sender.HTTP.queues }

// run sends the request and returns its answer and the HTTP status of it.
func (x *exchange) run(ctx context.Context, last bool) (wire.Answer, int, *failure) {
	if err := ctx.Err(); err != nil {
		return nil, 0, &failure{err: x.cleanError(err), noConnection: true}
	}
	if failed := x.seal(ctx); failed != nil {
		return nil, 0, failed
	}
	if !last {
		var cancel context.CancelCauseFunc
		ctx, cancel = context.WithCancelCause(ctx)
		defer cancel(nil)
		x.wait.allowed, x.wait.cancel = allowedWait(ctx, x.begun), cancel
		defer x.waiters.leave(x)
	}
	defer x.over.Store(true)
	resp, err := x.client().Do(x.httpRequest(ctx))
	if err != nil {
		return nil, 0, x.lost(err)
	}
	defer resp.Body.Close()
	status := resp.StatusCode
	body, err := readAnswer(resp)
	if err != nil {
		failed := x.lost(err)
		failed.httpStatus = status
		return nil, status, failed
	}
	body, err = x.open(resp.Header, body)
	if err != nil {
		return nil, status, &failure{err: err, httpStatus: status, mayHaveTaken: status < http.StatusMultipleChoices, answerLost: true}
	}
	answer, failed := x.decode(status, body)
	if failed != nil {
		failed.httpStatus = status
		failed.retryAfter = retryAfter(resp.Header, time.Now())
		failed.retry = failed.retry || status == http.StatusTooManyRequests && failed.code == 0 && failed.retryAfter > 0
	}
	return answer, status, failed
}

// client returns what sends the request: if x is to be alone, on a connection
// that has not been in the pool.
func (x *exchange) client() *http.Client {
	client := x.sender.HTTP
	switch {
	case !x.alone:
	case client.alone != nil:
		return client.alone
	default:
		client.http.CloseIdleConnections()
	}
	return client.http
}

// retryAfter returns what a Retry-After header asks for, or 0.
func retryAfter(header http.Header, now time.Time) time.Duration {
	text := header.Get("Retry-After")
	if text == "" {
		return 0
	}
	if seconds, err := strconv.ParseUint(text, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(0, at.Sub(now))
	}
	return 0
}

// repeated reports whether the request was sent more than once unseen, so that
// what it does may be done already. net/http repeats a request without a body
// when a pooled connection breaks; one with a body only if none of it was
// written, even where it reports that it was. Other transports may repeat any.
func (x *exchange) repeated() bool {
	return x.req.Effect != nil && x.written.Load() > 1 && (x.req.Body == nil || !x.sender.HTTP.standard)
}

// errRepeated stands for the attempt that was made unseen.
var errRepeated = errors.New("connection broken while waiting for the answer")

func (x *exchange) httpRequest(ctx context.Context) *http.Request {
	httpReq := (&http.Request{
		Method:     x.req.Method,
		URL:        &x.url,
		Host:       x.host.Name,
		Header:     http.Header{"User-Agent": x.userAgent[:]},
		Proto:      "HTTP/1.1",
		ProtoMajor: 1,
		ProtoMinor: 1,
	}).WithContext(x.traced(ctx))
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
	x.reader.Reset(x.body)
	httpReq.Body = io.NopCloser(&x.reader)
	return httpReq
}

// traced returns ctx with the hooks of x.
func (x *exchange) traced(ctx context.Context) context.Context {
	if x.sender.HTTP.dialHooks && x.wait.allowed > 0 {
		x.trace.DNSStart, x.trace.ConnectStart = x.onDNSStart, x.onConnectStart
	}
	x.ctx = exchangeContext{ctx, x}
	return httptrace.WithClientTrace(&x.ctx, &x.trace)
}

// newBody returns a reader of a type that net/http knows to be in memory: it
// then sends headers and body in one piece.
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
		return nil, &failure{
			err:          fmt.Errorf("%w (%s): a success without a signature", apisec.ErrFailed, x.req.Path),
			mayHaveTaken: true,
			answerLost:   true,
		}
	}
	if !answer.Complete() {
		return nil, x.notAnswer(status, nil)
	}
	return answer, nil
}

// notAnswer makes nothing of body, which is nil if it is JSON without what it
// should hold. It is a lost answer if a gateway in between failed or the answer was
// cut short: WeChat may have processed the request, and it may answer the next
// one. With any other 2xx it may have processed it too.
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
		rid = redact.Text(rid, secrets) // an older id, of no known form
	}
	refusal := Refusal{
		Endpoint:   x.req.Path,
		Code:       int(outcome.ErrCode.Value),
		Message:    redact.Text(message, secrets),
		RID:        rid,
		HTTPStatus: status,
		OneTime:    x.req.OneTime,
		Bound:      x.req.Bound,
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
	failed := &failure{retry: true}
	sent := x.written.Load() > 0
	movedOn := x.wait.allowed > 0 && x.waiters.leave(x)
	switch {
	case movedOn && (x.closed.Load() || x.got.Load() < x.wanted.Load()):
		err = errMovedOn
		// On a connection that was closed, only net/http's buffer was written.
		sent = sent && (!x.closed.Load() || x.written.Load() > 1)
		failed.noConnection, failed.movedOn = true, true
	case x.got.Load() < x.wanted.Load(), x.wanted.Load() == 0 && (x.sender.HTTP.standard || isDialError(err)):
		failed.noConnection = true
		failed.retry = !isCertificateError(err)
	case x.wanted.Load() == 0:
		sent = true // a transport that does not call the hooks may have sent anything
	default:
		failed.reused = x.reused.Load()
		failed.silent = time.Since(x.begun) >= shortestSilence && isTimeout(err)
	}
	failed.err = x.cleanError(err)
	failed.mayHaveTaken, failed.answerLost = sent, sent
	return failed
}

// shortestSilence is the wait for an answer below which its lack says more of
// the caller's deadline than of the host.
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
