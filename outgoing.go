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

	"github.com/wxphone/wxphone/internal/redact"
)

// outgoing is one request on its way to one host. It follows the request onto
// the wire, to tell "never sent" from "answer lost".
type outgoing struct {
	req   *request
	token string
	host  *host

	url   url.URL
	trace httptrace.ClientTrace

	// Atomic, because net/http's hooks may be called after the call returned.
	wanted  atomic.Int32 // connections asked for
	got     atomic.Int32 // connections made or taken from the pool
	written atomic.Int32 // requests written whole
}

// newOutgoing puts the URL together from its parts; parsing what was just
// written would cost more than the rest of the request.
func newOutgoing(req *request, token string, h *host) *outgoing {
	o := &outgoing{req: req, token: token, host: h}
	query := req.query
	switch {
	case token != "" && query != "":
		query = "access_token=" + url.QueryEscape(token) + "&" + query
	case token != "":
		query = "access_token=" + url.QueryEscape(token)
	}
	o.url = url.URL{Scheme: h.scheme, Host: h.name, Path: h.path + req.path, RawQuery: query}
	o.trace = httptrace.ClientTrace{GetConn: o.onWanted, GotConn: o.onGot, WroteRequest: o.onWritten}
	return o
}

func (o *outgoing) onWanted(string)             { o.wanted.Add(1) }
func (o *outgoing) onGot(httptrace.GotConnInfo) { o.got.Add(1) }
func (o *outgoing) onWritten(info httptrace.WroteRequestInfo) {
	if info.Err == nil {
		o.written.Add(1)
	}
}

func (o *outgoing) httpRequest(ctx context.Context) (*http.Request, error) {
	httpReq, err := http.NewRequestWithContext(httptrace.WithClientTrace(ctx, &o.trace), o.req.method, "", nil)
	if err != nil {
		return nil, err
	}
	httpReq.URL, httpReq.Host = &o.url, o.host.name
	httpReq.Header["User-Agent"] = userAgent
	if o.req.body == nil {
		return httpReq, nil
	}
	httpReq.Header["Content-Type"] = contentType
	// Without a length net/http sends the body chunked, which WeChat answers
	// with 412.
	httpReq.ContentLength = int64(len(o.req.body))
	httpReq.GetBody = o.newBody
	httpReq.Body, err = o.newBody()
	return httpReq, err
}

func (o *outgoing) newBody() (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(o.req.body)), nil
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
		return &attemptError{err: clean, retry: true, mayHaveTaken: o.written.Load() > 0}
	case o.wanted.Load() > 0 || isDialError(err):
		return &attemptError{err: clean, retry: !isCertificateError(err), neverSent: true}
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
