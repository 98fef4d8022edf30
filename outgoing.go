package wxphone

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/wxphone/wxphone/internal/apisec"
	"github.com/wxphone/wxphone/internal/redact"
)

const userAgent = "wxphone (+https://github.com/wxphone/wxphone)"

// outgoing is one request on its way to one host. It follows the request onto
// the wire, to tell "never sent" from "answer lost".
type outgoing struct {
	req   *request
	token string
	host  *host

	url   url.URL
	body  []byte
	trace httptrace.ClientTrace
	// The values of headers that a transport of the user's may write to.
	userAgent, contentType [1]string

	appID    string
	security *apisec.Scheme // nil without API security
	header   http.Header    // of a secured request
	verified bool           // the answer is signed and decrypted

	// Atomic, because net/http's hooks may be called after the call returned.
	wanted  atomic.Int32 // connections asked for
	got     atomic.Int32 // connections made or taken from the pool
	written atomic.Int32 // requests written whole
	reused  atomic.Bool  // the last connection came from the pool
}

// newOutgoing puts the URL together from its parts; parsing what was just
// written would cost more than the rest of the request.
func newOutgoing(req *request, token string, h *host) *outgoing {
	o := &outgoing{req: req, token: token, host: h, body: req.body}
	o.url = url.URL{Scheme: h.scheme, Host: h.name, Path: h.path + req.path, RawQuery: req.withToken(token)}
	if h.rawPath != "" {
		o.url.RawPath = h.rawPath + req.path
	}
	o.userAgent[0], o.contentType[0] = userAgent, "application/json"
	o.trace = httptrace.ClientTrace{GetConn: o.onWanted, GotConn: o.onGot, WroteRequest: o.onWritten}
	return o
}

// withToken returns the query with the token in it.
func (req *request) withToken(token string) string {
	if token == "" {
		return req.query
	}
	query := "access_token=" + url.QueryEscape(token)
	if req.tokenName != "" {
		query = req.tokenName + "=" + url.QueryEscape(token)
	}
	if req.query != "" {
		query += "&" + req.query
	}
	return query
}

func (o *outgoing) onWanted(string) { o.wanted.Add(1) }
func (o *outgoing) onGot(info httptrace.GotConnInfo) {
	o.got.Add(1)
	o.reused.Store(info.Reused)
}
func (o *outgoing) onWritten(info httptrace.WroteRequestInfo) {
	if info.Err == nil {
		o.written.Add(1)
	}
}

func (o *outgoing) httpRequest(ctx context.Context) *http.Request {
	httpReq := (&http.Request{
		Method:     o.req.method,
		URL:        &o.url,
		Host:       o.host.name,
		Header:     http.Header{"User-Agent": o.userAgent[:]},
		Proto:      "HTTP/1.1",
		ProtoMajor: 1,
		ProtoMinor: 1,
	}).WithContext(httptrace.WithClientTrace(ctx, &o.trace))
	for name, values := range o.header {
		httpReq.Header[name] = values
	}
	if o.body == nil {
		return httpReq
	}
	httpReq.Header["Content-Type"] = o.contentType[:]
	// Without a length net/http sends the body chunked, which WeChat answers
	// with 412.
	httpReq.ContentLength = int64(len(o.body))
	httpReq.GetBody = o.newBody
	httpReq.Body, _ = o.newBody()
	return httpReq
}

// newBody returns a reader that net/http knows to be in memory: it then sends
// headers and body in one piece.
func (o *outgoing) newBody() (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(o.body)), nil
}

// secrets lists what no error of this request may tell.
func (o *outgoing) secrets() []string {
	return append([]string{o.token, o.req.oneTime}, o.req.secrets...)
}

// failure says what a lost connection means for the code that was sent over it.
func (o *outgoing) failure(err error) error {
	clean := o.cleanError(err)
	switch {
	case o.got.Load() > 0:
		return &attemptError{err: clean, retry: true, mayHaveTaken: o.written.Load() > 0, stale: o.reused.Load()}
	case o.wanted.Load() > 0 || isDialError(err):
		return &attemptError{err: clean, retry: !isCertificateError(err), neverSent: true, took: time.Since(o.req.sentAt)}
	default:
		// A transport that does not call the hooks may have sent anything.
		return &attemptError{err: clean, retry: true, mayHaveTaken: true}
	}
}

func isDialError(err error) bool {
	var op *net.OpError
	var dns *net.DNSError
	return errors.As(err, &op) && op.Op == "dial" || errors.As(err, &dns) || isCertificateError(err)
}

// cleanError makes net/http's error anew, without the query and the secrets
// that a transport may have put into its text.
func (o *outgoing) cleanError(err error) error {
	var given *url.Error
	if errors.As(err, &given) {
		err = given.Err
	}
	method := o.req.method[:1] + strings.ToLower(o.req.method[1:])
	return fmt.Errorf("wxphone: %w",
		&url.Error{Op: method, URL: o.host.url(o.req.path), Err: redact.NetworkError(err, o.secrets())})
}
