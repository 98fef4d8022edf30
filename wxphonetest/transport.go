package wxphonetest

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/url"
	"syscall"
)

// HTTPClient returns a client that sends all requests to this server, whatever
// their host, in the goroutine of the caller. It opens no socket, so it works
// in a testing/synctest bubble. It calls the hooks of a
// [httptrace.ClientTrace].
func (s *Server) HTTPClient() *http.Client {
	return &http.Client{Transport: transport{s}}
}

// transport takes the place of an [http.Transport] and a network.
type transport struct {
	server *Server
}

// RoundTrip implements [http.RoundTripper].
func (t transport) RoundTrip(req *http.Request) (*http.Response, error) {
	defer closeBody(req)
	ctx := req.Context()
	if req.URL == nil || req.URL.Host == "" {
		return nil, errors.New("wxphonetest: no host in request URL")
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	trace := httptrace.ContextClientTrace(ctx)
	if trace == nil {
		trace = new(httptrace.ClientTrace)
	}

	if err := t.connect(req.URL, trace); err != nil {
		return nil, err
	}
	in, err := inbound(req)
	if trace.WroteHeaders != nil {
		trace.WroteHeaders()
	}
	if trace.WroteRequest != nil {
		trace.WroteRequest(httptrace.WroteRequestInfo{Err: err})
	}
	if err != nil {
		return nil, err
	}

	answer := httptest.NewRecorder()
	if !t.serve(answer, in) {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		// net/http returns the same error if a connection ends before the
		// answer.
		return nil, io.EOF
	}
	if trace.GotFirstResponseByte != nil {
		trace.GotFirstResponseByte()
	}
	resp := answer.Result()
	resp.Header = received(resp.Header)
	resp.Request = req
	return resp, nil
}

// connect simulates dialling. A closed server refuses the connection.
func (t transport) connect(target *url.URL, trace *httptrace.ClientTrace) error {
	address := target.Host
	if target.Port() == "" {
		port := "80"
		if target.Scheme == "https" {
			port = "443"
		}
		address = net.JoinHostPort(target.Hostname(), port)
	}
	if trace.GetConn != nil {
		trace.GetConn(address)
	}
	t.server.mu.Lock()
	closed := t.server.closed
	t.server.mu.Unlock()
	if closed {
		return &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	}
	if trace.GotConn != nil {
		// Observers call methods of the connection, so it cannot be nil.
		conn, _ := net.Pipe()
		trace.GotConn(httptrace.GotConnInfo{Conn: conn})
	}
	return nil
}

// serve reports whether the server answered and did not cut the connection.
func (t transport) serve(w http.ResponseWriter, r *http.Request) (answered bool) {
	defer func() {
		switch reason := recover(); reason {
		case nil, http.ErrAbortHandler:
		default:
			panic(reason)
		}
	}()
	t.server.ServeHTTP(w, r)
	return true
}

// inbound returns req as a server receives it.
func inbound(req *http.Request) (*http.Request, error) {
	body, length, err := sendBody(req)
	if err != nil {
		return nil, err
	}
	target, err := url.ParseRequestURI(req.URL.RequestURI())
	if err != nil {
		return nil, err
	}

	in := req.Clone(req.Context())
	in.URL = target
	in.RequestURI = req.URL.RequestURI()
	in.Proto, in.ProtoMajor, in.ProtoMinor = "HTTP/1.1", 1, 1
	in.RemoteAddr = "192.0.2.1:40000"
	in.Body = io.NopCloser(bytes.NewReader(body))
	in.GetBody = nil
	in.ContentLength = length
	in.TransferEncoding = nil
	if length < 0 {
		in.TransferEncoding = []string{"chunked"}
	}
	if in.Method == "" {
		in.Method = http.MethodGet
	}
	if in.Host == "" {
		in.Host = req.URL.Host
	}
	in.Header = received(req.Header)
	if req.URL.Scheme == "https" {
		in.TLS = &tls.ConnectionState{Version: tls.VersionTLS13, HandshakeComplete: true, ServerName: req.URL.Hostname()}
	}
	return in, nil
}

// received returns a header as net/http reads it from a connection, with
// canonical names.
func received(sent http.Header) http.Header {
	header := make(http.Header, len(sent))
	for name, values := range sent {
		for _, value := range values {
			header.Add(name, value)
		}
	}
	return header
}

// sendBody reads the body. It returns it with the length that net/http would
// send, or -1 if net/http would send the body chunked.
func sendBody(req *http.Request) ([]byte, int64, error) {
	if req.Body == nil || req.Body == http.NoBody {
		return nil, 0, nil
	}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, 0, err
	}
	if len(req.TransferEncoding) > 0 && req.TransferEncoding[0] == "chunked" {
		return body, -1, nil
	}
	if req.ContentLength > 0 {
		if int64(len(body)) != req.ContentLength {
			return nil, 0, fmt.Errorf("wxphonetest: ContentLength=%d with a body of %d bytes", req.ContentLength, len(body))
		}
		return body, req.ContentLength, nil
	}
	// The length is unknown. For methods that seldom have a body, net/http then
	// checks whether there is one.
	switch req.Method {
	case http.MethodPost, http.MethodPut, http.MethodPatch:
		return body, -1, nil
	}
	if len(body) == 0 {
		return nil, 0, nil
	}
	return body, -1, nil
}

func closeBody(req *http.Request) {
	if req.Body != nil {
		_ = req.Body.Close()
	}
}
