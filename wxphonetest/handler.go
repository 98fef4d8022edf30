package wxphonetest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// call is a request that a route handles.
type call struct {
	method, endpoint string
	rawQuery         string
	clientIP         string
	arrived          time.Time

	query url.Values
	body  []byte
	now   time.Time // the time at which it takes effect
	// sealed reports whether the body was encrypted, and the answer must be.
	sealed bool
	// appID is the account of the access_token.
	appID string

	// reason describes why the request is rejected.
	reason string
	// malformed reports whether no working program would send the request.
	malformed bool
}

func newCall(r *http.Request) *call {
	c := &call{
		method:   r.Method,
		endpoint: r.URL.Path,
		rawQuery: r.URL.RawQuery,
		clientIP: r.RemoteAddr,
		arrived:  time.Now(),
		query:    r.URL.Query(),
	}
	if ip, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
		c.clientIP = ip
	}
	return c
}

// fail rejects the request for the given reason.
func (c *call) fail(errcode int, format string, args ...any) outcome {
	c.reason = fmt.Sprintf(format, args...)
	return failure(c.endpoint, errcode, "", c.now)
}

// reject is fail for a malformed request.
func (c *call) reject(errcode int, format string, args ...any) outcome {
	c.malformed = true
	return c.fail(errcode, format, args...)
}

// decode decodes the body into v. It returns nil on success and otherwise the
// answer.
func (c *call) decode(v any) any {
	if err := json.Unmarshal(c.body, v); err != nil {
		return c.reject(47001, "a field of the body has the wrong type: %v", err)
	}
	return nil
}

// maxBody is the largest accepted body, in bytes, which is more than any of
// these APIs needs.
const maxBody = 1 << 20

// ServeHTTP implements [http.Handler]. To cut the connection, for example after
// [Server.DropNext], it panics with [http.ErrAbortHandler], which a real
// http.Server and the client of [Server.HTTPClient] handle.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodHead && r.URL.Path == "/" {
		w.WriteHeader(http.StatusOK) // a health check
		return
	}
	c := newCall(r)
	f, latency := s.arrive(c.endpoint)
	var err error
	if c.body, err = io.ReadAll(io.LimitReader(r.Body, maxBody+1)); err != nil {
		s.cut(c, nil, "the connection broke before the body was complete")
	}
	var lost reply
	if f != nil && f.processes {
		lost = s.process(c, r)
	}
	if !wait(r.Context(), latency) {
		s.cut(c, lost.text(), whyGone(latency))
	}
	switch {
	case f == nil:
		answer := s.process(c, r) // also sets the reason
		s.send(w, c, answer, c.reason)
	case f.answer == nil:
		s.cut(c, lost.text(), f.reason(c))
	default:
		s.send(w, c, s.sealFault(f, f.answer(c.endpoint), r), f.reason(c))
	}
}

// send records and writes an answer.
func (s *Server) send(w http.ResponseWriter, c *call, answer reply, reason string) {
	s.record(c, answer.status, answer.text(), reason)
	answer.write(w)
}

// cut ends a request without an answer. lost is the answer that is not sent.
func (s *Server) cut(c *call, lost []byte, reason string) {
	s.record(c, 0, lost, reason)
	panic(http.ErrAbortHandler)
}

func whyGone(latency time.Duration) string {
	if latency <= 0 {
		return "the caller gave up"
	}
	return fmt.Sprintf("the caller gave up during the latency of %v", latency)
}

// wait reports whether d passed before ctx ended.
func wait(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// process handles a request and returns the answer.
func (s *Server) process(c *call, r *http.Request) reply {
	c.now = time.Now()
	answer := s.dispatch(c, r)
	if c.malformed {
		s.reportMalformed(c)
	}
	return answer
}

func (s *Server) dispatch(c *call, r *http.Request) reply {
	if r.ContentLength < 0 {
		c.reject(0, "the body has no Content-Length, so WeChat answers HTTP 412; use a bytes.Reader as the body")
		return reply{status: http.StatusPreconditionFailed}
	}
	rt, ok := routes[c.endpoint]
	if !ok {
		rt.contentType = typeJSON
	}
	answer := reply{status: http.StatusOK, contentType: rt.contentType, body: encodeAnswer(c.endpoint, s.answer(c, r, rt))}
	if c.sealed {
		return s.seal(answer, r)
	}
	return answer
}

func (s *Server) answer(c *call, r *http.Request, rt route) any {
	if rt.serve == nil {
		return c.reject(40066, "no such API; check the path")
	}
	if !s.cloudHosting && r.TLS == nil && isWeChatHost(r.Host) {
		return c.reject(43003, "WeChat takes HTTPS only, except inside cloud hosting (WithCloudHosting)")
	}
	if r.Method != rt.method {
		return c.reject(methodRequired(rt.method), "WeChat takes this API by %s only", rt.method)
	}
	if rt.method == http.MethodPost {
		if refusal := checkBody(c); refusal != nil {
			return refusal
		}
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	if refusal := s.checkTokenOf(c, rt.token); refusal != nil {
		return refusal
	}
	if refusal := s.unseal(c, r); refusal != nil {
		return refusal
	}
	if rt.token != noToken {
		// The other APIs do so when they know the account.
		if refusal := s.takeCall(c); refusal != nil {
			return refusal
		}
	}
	return rt.serve(s, c)
}

func methodRequired(method string) int {
	if method == http.MethodGet {
		return 43001
	}
	return 43002
}

func isWeChatHost(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	return strings.HasSuffix(host, ".weixin.qq.com")
}

// checkBody returns nil if the body is a JSON object, and otherwise the answer.
func checkBody(c *call) any {
	if len(c.body) == 0 {
		return c.reject(44002, "the body is empty")
	}
	if len(c.body) > maxBody {
		return c.reject(45002, "the body is larger than %d bytes", maxBody)
	}
	if json.Valid(c.body) && bytes.TrimLeft(c.body, " \t\r\n")[0] == '{' {
		return nil
	}
	if form, err := url.ParseQuery(string(c.body)); c.endpoint == pathStableToken && err == nil && form.Has("appid") {
		return c.reject(41002, "the body is a form; this API takes JSON")
	}
	return c.reject(47001, "the body is not a JSON object")
}
