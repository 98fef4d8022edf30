package wxphone_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
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
			inVirtualTime(t, func(t *testing.T) {
				client := sendingThrough(t, tt.transport, wxphone.WithFallbackURLs())
				_, err := client.GetPhoneNumber(tt.ctx, someCode)
				require.Error(t, err)
				assert.Equal(t, tt.sent, sent)
				assert.Equal(t, tt.want, errors.Is(err, wxphone.ErrCodeMaybeUsed), "%v", err)
				assert.Equal(t, tt.want, strings.Contains(err.Error(), "may have consumed"), "%v", err)
			})
		})
	}
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
