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
	"sync/atomic"
	"time"

	"github.com/wxphone/wxphone/internal/wire"
)

const userAgent = "wxphone (+https://github.com/wxphone/wxphone)"

// exchange sends req once to the host with the given index and reads the
// answer. Unless it is the last host, the exchange limits how long it waits for
// a connection.
func (s *Sender) exchange(ctx context.Context, req *Request, token string, index int, last bool, progress *Progress) (wire.Answer, *failure) {
	s.report(ctx, progress, true)
	progress.exchanges++
	x := newExchange(s, req, token, index)
	x.alone = progress.alone
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
		Start:      x.begun,
		Duration:   time.Since(x.begun),
		HTTPStatus: status,
	}
	if failed != nil {
		seen.Code, seen.RID, seen.Err = failed.code, failed.rid, failed.err
	}
	s.Log.DebugContext(ctx, "wxphone: exchange",
		"endpoint", seen.Endpoint, "host", seen.Host, "attempt", seen.Attempt,
		"duration", seen.Duration.String(), "status", seen.HTTPStatus, "errcode", seen.Code, "rid", seen.RID)
	switch {
	case s.Observe == nil:
	case failed == nil:
		s.Observe(ctx, seen)
	default:
		kept := seen // so that a success allocates nothing
		progress.unreported = &kept
	}
	return answer, failed
}

// report reports the last exchange of a call to the observers, now that it is
// known whether another one follows.
func (s *Sender) report(ctx context.Context, progress *Progress, retried bool) {
	seen := progress.unreported
	if seen == nil {
		return
	}
	progress.unreported = nil
	seen.Retried = retried
	s.Observe(ctx, *seen)
}

// exchange is one request to one host. It uses the hooks of httptrace to
// distinguish a request that was not sent from one whose answer was lost.
type exchange struct {
	sender  *Sender
	req     *Request
	token   string
	host    *Host
	waiters *waiters
	begun   time.Time
	alone   bool // uses its own connection

	url    url.URL
	body   []byte
	header http.Header // added by API security
	signed bool        // the answer is signed by WeChat, and decrypted

	trace httptrace.ClientTrace
	ctx   exchangeContext
	// The values of headers, which a transport of the user's may write to.
	userAgent, contentType [1]string
	reader                 bytes.Reader // of the body, the first time

	wait wait // for a connection

	// Atomic, because net/http's hooks may be called after the call returned.
	wanted    atomic.Int32 // connections requested
	got       atomic.Int32 // connections established or taken from the pool
	written   atomic.Int32 // requests written completely
	reused    atomic.Bool  // the last connection came from the pool
	closed    atomic.Bool  // the last connection was closed before anything was written
	over      atomic.Bool  // no longer waits for a connection
	handshake atomic.Pointer[passingConn]

	writtenBefore atomic.Int32 // written, when the last connection was closed
}

// exchangeKey is the context key of the exchange that a connection is
// established for.
type exchangeKey struct{}

// exchangeContext passes an exchange to the dialer. It is a field of the
// exchange, which avoids the allocation of context.WithValue.
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

// newExchange assembles the URL from its parts. Parsing a complete URL would
// cost more than the rest of the request.
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

// withToken returns the query with the token added.
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

// onWanted is called when net/http starts to look for a connection.
func (x *exchange) onWanted(string) {
	x.wanted.Add(1)
	if x.wait.allowed > 0 {
		x.waiters.enter(x)
	}
}

// onDial is called when a connection is being established for this exchange.
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
		// The exchange was moved on in the meantime, but net/http would still
		// send the request on this connection.
		_ = info.Conn.Close()
		x.writtenBefore.Store(x.written.Load())
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

// wantsConnection reports whether the exchange still needs a connection.
func (x *exchange) wantsConnection() bool {
	return !x.over.Load() && x.got.Load() < x.wanted.Load()
}

// mayQueue reports whether x may be waiting for a place in the pool.
func (x *exchange) mayQueue() bool { return x.sender.HTTP.queues }

// run sends the request and returns the answer and its HTTP status.
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

// client returns the http.Client for the request. If x is alone, its connection
// does not come from the pool.
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

// repeated reports whether the request may have been sent more than once, so
// that WeChat may already have done what it asks for. If a pooled connection
// breaks, net/http repeats a request without a body. It repeats one with a body
// only if nothing of it was written, even if the hooks report a write. Other
// transports may repeat any request.
func (x *exchange) repeated() bool {
	return x.req.Effect != nil && x.written.Load() > 1 && (x.req.Body == nil || !x.sender.HTTP.standard)
}

// errRepeated is the error of an attempt that the transport repeated itself.
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
	// Without a length, net/http sends the body chunked, which WeChat answers
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

// newBody returns a reader that net/http recognizes as in memory, so that it
// sends the headers and the body together.
func (x *exchange) newBody() (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(x.body)), nil
}

// seal replaces the body with a sealed one for this attempt and host, if API
// security applies to the API.
func (x *exchange) seal(ctx context.Context) *failure {
	if !x.secured() {
		return nil
	}
	var err error
	x.body, x.header, err = x.sender.Security.Seal(x.sender.AppID, x.host.url(x.req.Path), x.req.Body)
	if err != nil {
		return &failure{err: fmt.Errorf("%w (%s)", err, x.req.Path)}
	}
	if err := ctx.Err(); err != nil {
		// Signing may have taken long, for example in a KMS.
		return &failure{err: x.cleanError(err), noConnection: true}
	}
	return nil
}

func (x *exchange) secured() bool { return x.sender.Security != nil && x.req.Secured }

// secrets returns the values that no error of this request may contain.
func (x *exchange) secrets() []string {
	return append([]string{x.token, x.req.OneTime}, x.req.Secrets...)
}
