package wxphone_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/wxphonetest"
)

func TestAnswerThatIsNotWeChatsIsResponseError(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("微", 100)
	tests := []struct {
		name    string
		status  int
		body    string
		snippet string
	}{
		{"HTML", 200, "<html>\n<h1>portal</h1></html>", "<html> <h1>portal</h1></html>"},
		{"empty", 200, "", ""},
		{"null", 200, "null", "null"},
		{"array", 200, `["13800000000"]`, `["***"]`},
		{"truncated", 200, success[:len(success)-20], ""},
		{"trailing garbage", 200, success + "<html>", ""},
		{"errcode that is no number", 200, `{"errcode":"abc"}`, ""},
		{"chunked body refused", 412, "", ""},
		{"not found", 404, "no such page, call 13800000000", "no such page, call ***"},
		{"a gateway's JSON", 403, `{"message":"forbidden","phone":"13800000000"}`, ""},
		{"number and code before JSON", 400, "13800000000 " + someCode + ` {"a":1}`, "*** [REDACTED]"},
		{"redirect without a target", 302, "moved", "moved"},
		{"long", 200, long, strings.Repeat("微", 66)},
		{"gateway", 502, "<html>502 Bad Gateway</html>", "<html>502 Bad Gateway</html>"},
		{"gateway without a body", 503, "", ""},
		{"oversized", 200, strings.Repeat("a.", megabyte/2) + "a", strings.Repeat("a.", 100)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			server := wxphonetest.NewServer(t)
			server.RespondNext(phoneAPI, tt.status, tt.body, 1)
			info, err := server.NewClient(wxphone.WithMaxRetries(0)).GetPhoneNumber(context.Background(), someCode)
			assert.Nil(t, info)
			var response *wxphone.ResponseError
			require.ErrorAs(t, err, &response)
			assert.Equal(t, wxphone.ResponseError{Endpoint: phoneAPI, HTTPStatus: tt.status, Snippet: tt.snippet}, *response)
			assert.LessOrEqual(t, len(response.Snippet), 200)
			assert.True(t, utf8.ValidString(response.Snippet))
			assert.Equal(t, http.StatusBadGateway, wxphone.HTTPStatus(err))
			assert.Equal(t, 1, server.Requests(phoneAPI))
		})
	}
}

// A 4xx or garbled answer will be the same next time, and the code may be gone.
func TestAnswersThatWillNotChangeAreNotRetried(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]struct {
		status int
		body   string
	}{
		"412":                  {412, ""},
		"404 HTML":             {404, "<html>"},
		"400 JSON":             {400, `{"message":"bad request"}`},
		"200 HTML":             {200, "<html>"},
		"200 null":             {200, "null"},
		"302":                  {302, ""},
		"refused code":         {200, `{"errcode":40029}`},
		"rate limit":           {200, `{"errcode":45011}`},
		"no number":            {200, `{"errcode":0}`},
		"HTTP 500 with 40029":  {500, `{"errcode":40029}`},
		"HTTP 429 with a page": {429, "slow down"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := wxphonetest.NewServer(t)
			server.RespondNext(phoneAPI, answer.status, answer.body, -1)
			_, err := server.NewClient(wxphone.WithMaxRetries(2)).GetPhoneNumber(context.Background(), someCode)
			require.Error(t, err)
			assert.Equal(t, 1, server.Requests(phoneAPI))
		})
	}
}

func TestGatewayFailureIsRetried(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{"HTML": "<html>502</html>", "empty": "", "JSON of a gateway": `{"message":"upstream"}`} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := wxphonetest.NewServer(t)
			server.RespondNext(phoneAPI, http.StatusBadGateway, body, 1)
			info, err := server.NewClient(wxphone.WithMaxRetries(1)).GetPhoneNumber(context.Background(), server.IssueCode(aPhone))
			require.NoError(t, err)
			assert.Equal(t, aPhone.PhoneNumber, info.PhoneNumber)
			assert.Equal(t, 2, server.Requests(phoneAPI))
		})
	}
}

// A gateway's own JSON must not pass for WeChat's, whose answers with such a
// status have an errcode.
func TestStatusBeyond299NeedsAnErrcode(t *testing.T) {
	t.Parallel()
	const phone = `"phone_info":{"phoneNumber":"13800000000"}`
	for _, status := range []int{300, 302, 304, 400, 404} {
		for _, body := range []string{`{}`, `{"message":"moved"}`, `{` + phone + `}`, `{"errcode":null,` + phone + `}`} {
			_, err := answering(t, status, body).GetPhoneNumber(context.Background(), someCode)
			var notAnswer *wxphone.ResponseError
			require.ErrorAs(t, err, &notAnswer, "%d %s", status, body)
			assert.Equal(t, status, notAnswer.HTTPStatus)
		}
		_, err := answering(t, status, `{"errcode":40029}`).GetPhoneNumber(context.Background(), someCode)
		require.ErrorIs(t, err, wxphone.ErrCodeInvalid)
	}
	_, err := answering(t, 299, `{`+phone+`}`).GetPhoneNumber(context.Background(), someCode)
	require.NoError(t, err)
}

func TestByteOrderMarkBeforeAnAnswerIsSkipped(t *testing.T) {
	t.Parallel()
	info, err := answering(t, http.StatusOK, "\ufeff"+success).GetPhoneNumber(context.Background(), someCode)
	require.NoError(t, err)
	assert.Equal(t, someNumber, info.PhoneNumber)
	_, err = answering(t, http.StatusOK, "\ufeff "+`{"errcode":40029}`).GetPhoneNumber(context.Background(), someCode)
	require.ErrorIs(t, err, wxphone.ErrCodeInvalid)
	_, err = answering(t, http.StatusOK, "\ufeff\ufeff"+success).GetPhoneNumber(context.Background(), someCode)
	var notAnswer *wxphone.ResponseError
	require.ErrorAs(t, err, &notAnswer, "one mark is enough")
}

// failure is an error of a type that callers look for.
type failure struct{ text string }

func (f *failure) Error() string { return f.text }

func TestTransportErrorIsOneLineAndStillItself(t *testing.T) {
	t.Parallel()
	for name, given := range map[string]error{
		"plain":   &failure{"proxy failed:\n\tno route\r\nto host"},
		"wrapped": fmt.Errorf("proxy:\n%w", &failure{"no\nroute"}),
		"joined":  errors.Join(io.EOF, &failure{"no route"}),
		"in URL":  &url.Error{Op: "Post", URL: "https://h/", Err: &failure{"no\nroute"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := sendingThrough(t, roundTrip(func(*http.Request) (*http.Response, error) { return nil, given }),
				wxphone.WithMaxRetries(0))
			_, err := client.GetPhoneNumber(context.Background(), someCode)
			require.Error(t, err)
			assert.NotContains(t, err.Error(), "\n")
			assert.NotContains(t, err.Error(), "\r")
			assert.ErrorContains(t, err, "route")
			var inner *failure
			require.ErrorAs(t, err, &inner)
			assert.ErrorIs(t, err, given)
			var network *url.Error
			require.ErrorAs(t, err, &network)
		})
	}
}

func TestTimeoutAmongOtherErrorsIsATimeout(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		given error
		want  int
	}{
		"joined deadline":     {errors.Join(errors.New("x"), context.DeadlineExceeded), 504},
		"deadline first":      {errors.Join(context.DeadlineExceeded, errors.New("x")), 504},
		"deep":                {fmt.Errorf("a: %w", errors.Join(io.EOF, fmt.Errorf("b: %w", context.DeadlineExceeded))), 504},
		"joined cancellation": {errors.Join(errors.New("x"), context.Canceled), 503},
		"no timeout":          {errors.Join(errors.New("x"), io.EOF), 502},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			assert.Equal(t, tt.want, wxphone.HTTPStatus(&url.Error{Op: "Post", URL: "https://h/", Err: tt.given}))
			client := sendingThrough(t, roundTrip(func(*http.Request) (*http.Response, error) { return nil, tt.given }),
				wxphone.WithMaxRetries(0))
			_, err := client.GetPhoneNumber(context.Background(), someCode)
			assert.Equal(t, tt.want, wxphone.HTTPStatus(err), "%v", err)
		})
	}
}

const (
	mayHaveConsumed = "may have consumed"
	usedCode        = `{"errcode":40163,"errmsg":"code been used"}`
)

// What a transport reports of an attempt that failed decides whether WeChat may
// have got the code.
func TestOnlyACodeThatWasSentMayHaveBeenConsumed(t *testing.T) {
	t.Parallel()
	broken := errors.New("connection reset by peer")
	type hooks = httptrace.ClientTrace
	tests := map[string]struct {
		report func(*hooks)
		err    error
		want   bool
	}{
		"sent": {func(h *hooks) {
			h.GetConn("h:443")
			h.GotConn(httptrace.GotConnInfo{})
			h.WroteRequest(httptrace.WroteRequestInfo{})
		}, broken, true},
		"connected": {func(h *hooks) {
			h.GetConn("h:443")
			h.GotConn(httptrace.GotConnInfo{})
		}, broken, false},
		"sending failed": {func(h *hooks) {
			h.GetConn("h:443")
			h.GotConn(httptrace.GotConnInfo{})
			h.WroteRequest(httptrace.WroteRequestInfo{Err: syscall.EPIPE})
		}, broken, false},
		"not connected":         {func(h *hooks) { h.GetConn("h:443") }, broken, false},
		"no hooks":              {func(*hooks) {}, broken, true},
		"no hooks, dial failed": {func(*hooks) {}, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}, false},
		"no hooks, read failed": {func(*hooks) {}, &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}, true},
		"no hooks, no such host": {func(*hooks) {},
			&net.DNSError{Err: "no such host", Name: "api.weixin.qq.com", IsNotFound: true}, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			requests := 0
			client := sendingThrough(t, roundTrip(func(req *http.Request) (*http.Response, error) {
				if requests++; requests > 1 {
					return answerTo(req, usedCode), nil
				}
				tt.report(httptrace.ContextClientTrace(req.Context()))
				return nil, tt.err
			}), wxphone.WithFallbackURLs(), wxphone.WithMaxRetries(1))
			_, err := client.GetPhoneNumber(context.Background(), someCode)
			require.ErrorIs(t, err, wxphone.ErrCodeUsed)
			assert.Equal(t, 2, requests)
			assert.Equal(t, tt.want, strings.Contains(err.Error(), mayHaveConsumed), "%v", err)
		})
	}
}

// written plays a transport that sends a request so many times, as the hooks of
// httptrace see it.
func written(req *http.Request, times int) {
	hooks := httptrace.ContextClientTrace(req.Context())
	for range times {
		hooks.GetConn("h:443")
		hooks.GotConn(httptrace.GotConnInfo{})
		hooks.WroteRequest(httptrace.WroteRequestInfo{})
	}
}

// ErrCodeMaybeUsed is matched exactly when an attempt whose outcome is open may
// have been written whole, whichever came last.
func TestErrorSaysExactlyWhenTheCodeMayBeUsed(t *testing.T) {
	t.Parallel()
	const (
		busy    = `{"errcode":-1,"errmsg":"system error"}`
		refused = `{"errcode":40029,"errmsg":"invalid code"}`
		limited = `{"errcode":45011,"errmsg":"api minute-quota reach limit"}`
		half    = `{"errcode":0,"errmsg":"ok","phone_info":{"phoneNumber":"138`
	)
	type step func(*http.Request) (*http.Response, error)
	answer := func(body string) step {
		return func(req *http.Request) (*http.Response, error) {
			written(req, 1)
			return answerTo(req, body), nil
		}
	}
	lost := step(func(req *http.Request) (*http.Response, error) {
		written(req, 1)
		return nil, io.EOF
	})
	notDialled := step(func(req *http.Request) (*http.Response, error) {
		httptrace.ContextClientTrace(req.Context()).GetConn("h:443")
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	})
	over, cancel := context.WithCancel(context.Background())
	cancel()
	tests := map[string]struct {
		ctx       context.Context
		transport http.RoundTripper // or
		steps     []step
		sent      int // requests
		want      bool
	}{
		"refused":                      {steps: []step{answer(refused)}, sent: 1},
		"rate limited":                 {steps: []step{answer(limited)}, sent: 1},
		"never reached":                {steps: []step{notDialled, notDialled, notDialled}, sent: 3},
		"never reached, then refused":  {steps: []step{notDialled, answer(refused)}, sent: 2},
		"the context was over":         {ctx: over, steps: []step{answer(refused)}},
		"the proxy is not a proxy":     {transport: &http.Transport{Proxy: func(*http.Request) (*url.URL, error) { return nil, errors.New("bad proxy") }}},
		"lost, then refused":           {steps: []step{lost, answer(refused)}, sent: 2, want: true},
		"lost, then never reached":     {steps: []step{lost, notDialled, notDialled}, sent: 3, want: true},
		"busy, lost, busy":             {steps: []step{answer(busy), lost, answer(busy)}, sent: 3, want: true},
		"busy all the time":            {steps: []step{answer(busy), answer(busy), answer(busy)}, sent: 3, want: true},
		"half a success, then refused": {steps: []step{answer(half), answer(refused)}, sent: 2, want: true},
		"half a success every time":    {steps: []step{answer(half), answer(half), answer(half)}, sent: 3, want: true},
		"nothing, then refused":        {steps: []step{answer(""), answer(refused)}, sent: 2, want: true},
		"a success page of a gateway":  {steps: []step{answer("<html>welcome</html>")}, sent: 1, want: true},
		"a transport that repeats by itself": {steps: []step{func(req *http.Request) (*http.Response, error) {
			written(req, 2)
			return answerTo(req, refused), nil
		}}, sent: 1, want: true},
		"a transport that repeats, and cannot dial any more": {steps: []step{func(req *http.Request) (*http.Response, error) {
			written(req, 1)
			return notDialled(req)
		}, answer(refused)}, sent: 2, want: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sent := 0
			if tt.transport == nil {
				tt.transport = roundTrip(func(req *http.Request) (*http.Response, error) {
					sent++
					return tt.steps[sent-1](req)
				})
			}
			if tt.ctx == nil {
				tt.ctx = context.Background()
			}
			client := sendingThrough(t, tt.transport, wxphone.WithFallbackURLs())
			_, err := client.GetPhoneNumber(tt.ctx, someCode)
			require.Error(t, err)
			assert.Equal(t, tt.sent, sent)
			assert.Equal(t, tt.want, errors.Is(err, wxphone.ErrCodeMaybeUsed), "%v", err)
			assert.Equal(t, tt.want, strings.Contains(err.Error(), "may have consumed"), "%v", err)
		})
	}
}

// A broken pooled connection whose re-dial fails is no reason to give up: the
// fallback is there. But WeChat may have got the code over the broken one.
func TestRepeatWhoseDialFailsGoesOnToTheFallbackAndIsRemembered(t *testing.T) {
	t.Parallel()
	var asked []string
	client := sendingThrough(t, roundTrip(func(req *http.Request) (*http.Response, error) {
		asked = append(asked, req.URL.Host)
		hooks := httptrace.ContextClientTrace(req.Context())
		written(req, 1)
		if len(asked) == 1 {
			hooks.GetConn("h:443")
			return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
		}
		return answerTo(req, `{"errcode":40029,"errmsg":"invalid code"}`), nil
	}), wxphone.WithMaxRetries(0))
	_, err := client.GetPhoneNumber(context.Background(), someCode)
	require.ErrorIs(t, err, wxphone.ErrCodeInvalid)
	require.ErrorIs(t, err, wxphone.ErrCodeMaybeUsed)
	assert.Equal(t, []string{"api.weixin.qq.com", "api2.weixin.qq.com"}, asked)
}

func TestTransportWithoutHooksReachesTheFallbackHost(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		failure error
		want    string // the host that is asked next
	}{
		"dial failed":  {&net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}, "api2.weixin.qq.com"},
		"no such host": {&net.DNSError{Err: "no such host", Name: "api.weixin.qq.com"}, "api2.weixin.qq.com"},
		"answer lost":  {&net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}, "api.weixin.qq.com"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var asked []string
			client := sendingThrough(t, roundTrip(func(req *http.Request) (*http.Response, error) {
				if asked = append(asked, req.URL.Host); len(asked) == 1 {
					return nil, tt.failure
				}
				return answerTo(req, success), nil
			}))
			_, err := client.GetPhoneNumber(context.Background(), someCode)
			require.NoError(t, err)
			assert.Equal(t, []string{"api.weixin.qq.com", tt.want}, asked)
		})
	}
}

// brokenPipe is a connection that the other side closed after one request.
type brokenPipe struct {
	net.Conn
	writes atomic.Int32
}

func (c *brokenPipe) Write(b []byte) (int, error) {
	if c.writes.Add(1) > 1 {
		return 0, syscall.EPIPE
	}
	return c.Conn.Write(b)
}

// net/http sends such a request again on a new connection, unseen but for its
// hooks. WeChat got the code once.
func TestPostThatMetAStaleConnectionConsumedNothingBefore(t *testing.T) {
	t.Parallel()
	var requests, dials atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if requests.Add(1) == 1 {
			_, _ = io.WriteString(w, success)
			return
		}
		_, _ = io.WriteString(w, usedCode)
	}))
	t.Cleanup(server.Close)
	transport := &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		if err != nil || dials.Add(1) > 1 {
			return conn, err
		}
		return &brokenPipe{Conn: conn}, nil
	}}
	t.Cleanup(transport.CloseIdleConnections)
	client := sendingThrough(t, transport, wxphone.WithBaseURL(server.URL))
	_, err := client.GetPhoneNumber(context.Background(), someCode)
	require.NoError(t, err)
	_, err = client.GetPhoneNumber(context.Background(), someCode)
	require.ErrorIs(t, err, wxphone.ErrCodeUsed)
	assert.NotContains(t, err.Error(), mayHaveConsumed)
	assert.EqualValues(t, 2, requests.Load())
	assert.EqualValues(t, 2, dials.Load())
}

// scriptedServer answers the requests in turn, over real connections. It reads
// one whose answer is "" and cuts the connection.
func scriptedServer(t *testing.T, answers ...string) (address string, requests *atomic.Int32) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { listener.Close() })
	requests = new(atomic.Int32)
	serve := func(conn net.Conn) {
		defer conn.Close()
		in := bufio.NewReader(conn)
		for {
			req, err := http.ReadRequest(in)
			if err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, req.Body)
			answer := answers[requests.Add(1)-1]
			if answer == "" {
				return
			}
			fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(answer), answer)
		}
	}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go serve(conn)
		}
	}()
	return "http://" + listener.Addr().String(), requests
}

// net/http sends a GET again when a pooled connection breaks, even if the first
// was read. Then WeChat may have got the js_code twice in what looks like one
// attempt.
func TestGetThatWasReplayedUnseenMayHaveConsumedTheCode(t *testing.T) {
	t.Parallel()
	const session = `{"openid":"o1","session_key":"AAECAwQFBgcICQoLDA0ODw=="}`
	base, requests := scriptedServer(t, session, "", usedCode)
	transport := new(http.Transport)
	t.Cleanup(transport.CloseIdleConnections)
	client := sendingThrough(t, transport, wxphone.WithBaseURL(base), wxphone.WithMaxRetries(0))
	_, err := client.Code2Session(context.Background(), "js-code-1")
	require.NoError(t, err)
	_, err = client.Code2Session(context.Background(), "js-code-2")
	require.ErrorIs(t, err, wxphone.ErrCodeUsed)
	assert.ErrorContains(t, err, mayHaveConsumed)
	assert.EqualValues(t, 3, requests.Load())
}

func TestTokenAnswerWithoutATokenIsResponseError(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"empty object": `{}`, "only a life": `{"expires_in":7200}`, "empty token": `{"access_token":"","expires_in":7200}`,
		"errcode 0": `{"errcode":0,"errmsg":"ok"}`, "page": "<html>",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := wxphonetest.NewServer(t)
			server.RespondNext(stableTokenAPI, http.StatusOK, body, -1)
			_, err := server.NewClient(wxphone.WithMaxRetries(0)).GetPhoneNumber(context.Background(), someCode)
			var response *wxphone.ResponseError
			require.ErrorAs(t, err, &response)
			assert.Equal(t, stableTokenAPI, response.Endpoint)
			assert.Zero(t, server.Requests(phoneAPI), "the code must not be sent without a token")
		})
	}
}

func TestWrongSecretIsNotRetried(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string][]wxphone.Option{"stable": nil, "classic": {wxphone.WithClassicToken()}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := wxphonetest.NewServer(t)
			client, err := wxphone.New(server.AppID(), "00000000000000000000000000000000",
				append(opts, wxphone.WithHTTPClient(server.HTTPClient()))...)
			require.NoError(t, err)
			_, err = client.GetPhoneNumber(context.Background(), server.IssueCode(aPhone))
			require.ErrorIs(t, err, wxphone.ErrSecretInvalid)
			assert.NotErrorIs(t, err, wxphone.ErrAccessToken)
			assert.Equal(t, http.StatusInternalServerError, wxphone.HTTPStatus(err))
			assert.Equal(t, 1, server.TokenFetches())
			assert.Zero(t, server.Requests(phoneAPI))
		})
	}
}

func TestTokenSourceWithoutATokenSendsNothing(t *testing.T) {
	t.Parallel()
	server := wxphonetest.NewServer(t)
	client := server.NewClient(wxphone.WithTokenSource(fixedToken("")))
	_, err := client.GetPhoneNumber(context.Background(), someCode)
	require.Error(t, err)
	assert.Contains(t, err.Error(), phoneAPI)
	assert.Zero(t, server.Requests(phoneAPI))
}

func TestOutcomeIsALabelForMetrics(t *testing.T) {
	t.Parallel()
	for want, err := range map[string]error{
		"ok":              nil,
		"transient":       &wxphone.APIError{Code: -1},
		"token_rejected":  &wxphone.APIError{Endpoint: phoneAPI, Code: 40001},
		"code_rejected":   &wxphone.APIError{Code: 40029},
		"session_expired": &wxphone.APIError{Code: 87009},
		"user_blocked":    &wxphone.APIError{Code: 40226},
		"rate_limited":    &wxphone.ResponseError{HTTPStatus: 429},
		"quota_exhausted": &wxphone.APIError{Code: 45009},
		"misconfigured":   &wxphone.APIError{Code: 40125},
		"invalid_request": &wxphone.APIError{Code: 47001},
		"platform":        &wxphone.APIError{Code: 61023},
		"unknown":         &wxphone.APIError{Code: 99999},
		"not_wechat":      fmt.Errorf("wrapped: %w", &wxphone.ResponseError{HTTPStatus: 502}),
		"api_security":    fmt.Errorf("wrapped: %w", wxphone.ErrAPISecurity),
		"canceled":        &url.Error{Op: "Post", Err: context.Canceled},
		"timeout":         &url.Error{Op: "Post", Err: context.DeadlineExceeded},
		"network":         &url.Error{Op: "Post", Err: io.EOF},
	} {
		assert.Equal(t, want, wxphone.Call{Err: err}.Outcome())
		assert.Regexp(t, "^[a-z_]+$", wxphone.Call{Err: err}.Outcome())
	}
}
