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

// route is how one API is called and who answers.
type route struct {
	method      string
	contentType string
	// needsToken is whether the query carries an access_token.
	needsToken bool
	// serve answers; it runs with the Server's mutex held.
	serve func(*Server, *call) any
}

// WeChat names its Content-Types in several ways.
const (
	typeText     = "text/plain"
	typeJSON     = "application/json; charset=UTF-8"
	typeEncoding = "application/json; encoding=utf-8"
)

var routes = map[string]route{
	pathClassicToken:        {http.MethodGet, typeEncoding, false, (*Server).serveClassicToken},
	pathStableToken:         {http.MethodPost, typeEncoding, false, (*Server).serveStableToken},
	pathPhoneNumber:         {http.MethodPost, typeEncoding, true, (*Server).servePhoneNumber},
	pathCode2Session:        {http.MethodGet, typeText, false, (*Server).serveCode2Session},
	pathCheckSession:        {http.MethodGet, typeJSON, true, (*Server).serveCheckSession},
	pathResetUserSessionKey: {http.MethodGet, typeJSON, true, (*Server).serveResetUserSessionKey},
	pathCheckEncryptedMsg:   {http.MethodPost, typeJSON, true, (*Server).serveCheckEncryptedMsg},
	pathGetOpenData:         {http.MethodPost, typeJSON, true, (*Server).serveGetOpenData},

	pathComponentToken:        {http.MethodPost, typeJSON, false, (*Server).serveComponentToken},
	pathAuthorizerToken:       {http.MethodPost, typeJSON, false, (*Server).serveAuthorizerToken},
	pathComponentCode2Session: {http.MethodGet, typeText, false, (*Server).serveComponentCode2Session},
}

// call is one request on its way through a route.
type call struct {
	endpoint string
	query    url.Values
	body     []byte
	now      time.Time
	// sealed is whether the body came encrypted, as the answer is to be.
	sealed bool
	// appID is the mini-program that the access_token is for.
	appID string
	// mistakes are what no working program would have sent.
	mistakes []string
}

func (c *call) fail(errcode int) outcome { return failure(c.endpoint, errcode, "", c.now) }

// reject is fail for a request that is malformed, with the reason.
func (c *call) reject(errcode int, format string, args ...any) outcome {
	c.blame(format, args...)
	return c.fail(errcode)
}

func (c *call) blame(format string, args ...any) {
	c.mistakes = append(c.mistakes, fmt.Sprintf(format, args...))
}

// decode reads the body into v. The answer is nil if that worked.
func (c *call) decode(v any) any {
	if err := json.Unmarshal(c.body, v); err != nil {
		return c.reject(47001, "a field of the body has the wrong type: %v", err)
	}
	return nil
}

// maxBody is more than any of these APIs needs.
const maxBody = 1 << 20

// ServeHTTP implements [http.Handler]. Where it cuts the connection, as after
// [Server.DropNext], it panics with [http.ErrAbortHandler], which a real
// http.Server and the HTTPClient understand.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodHead && r.URL.Path == "/" {
		return // a client looks whether this host is alive
	}
	f, latency := s.arrive(r.URL.Path)
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if f != nil && f.processes {
		s.process(r, body)
	}
	if !wait(r.Context(), latency) {
		panic(http.ErrAbortHandler)
	}
	switch {
	case f == nil:
		s.process(r, body).write(w)
	case f.answer == nil:
		panic(http.ErrAbortHandler)
	default:
		s.sealFault(f, f.answer(r.URL.Path), r).write(w)
	}
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

// process does what a request asks for and returns the answer.
func (s *Server) process(r *http.Request, body []byte) reply {
	c := &call{endpoint: r.URL.Path, query: r.URL.Query(), body: body, now: time.Now()}
	answer := s.dispatch(c, r)
	if !s.allowMalformed {
		for _, mistake := range c.mistakes {
			s.reporter.errorf("wxphonetest: malformed request: %s %s: %s", r.Method, r.URL.Path, mistake)
		}
	}
	return answer
}

func (s *Server) dispatch(c *call, r *http.Request) reply {
	if r.ContentLength < 0 {
		c.blame("the body has no Content-Length, so WeChat answers HTTP 412; use a bytes.Reader as the body")
		return reply{status: http.StatusPreconditionFailed}
	}
	rt, ok := routes[r.URL.Path]
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
		return c.reject(40066, "no such API; is the path right?")
	}
	if !s.cloudHosting && r.TLS == nil && isWeChatHost(r.Host) {
		return c.reject(43003, "WeChat takes HTTPS only, except inside cloud hosting (WithCloudHosting)")
	}
	if r.Method != rt.method {
		return c.reject(methodRequired(rt.method), "WeChat takes this API by %s only", rt.method)
	}
	if rt.method == http.MethodPost {
		if refusal := checkBody(c, r.URL.Path); refusal != nil {
			return refusal
		}
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	if rt.needsToken {
		if refusal := s.checkToken(c); refusal != nil {
			return refusal
		}
	}
	if refusal := s.unseal(c, r); refusal != nil {
		return refusal
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

// checkBody returns the refusal of a body that is no JSON object, or nil.
func checkBody(c *call, path string) any {
	if len(c.body) == 0 {
		return c.reject(44002, "the body is empty")
	}
	if len(c.body) > maxBody {
		return c.reject(45002, "the body is larger than %d bytes", maxBody)
	}
	if json.Valid(c.body) && bytes.TrimLeft(c.body, " \t\r\n")[0] == '{' {
		return nil
	}
	if form, err := url.ParseQuery(string(c.body)); path == pathStableToken && err == nil && form.Has("appid") {
		return c.reject(41002, "the body is a form; this API takes JSON")
	}
	return c.reject(47001, "the body is not a JSON object")
}
