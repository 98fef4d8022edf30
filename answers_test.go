package wxphone_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/jarcoal/httpmock"
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

func TestLargestAnswerIsAMebibyte(t *testing.T) {
	t.Parallel()
	// The padding is inside the JSON, so that only its size can be wrong.
	answer := func(size int) string {
		head, tail := success[:len(success)-1]+`,"padding":"`, `"}`
		return head + strings.Repeat("x", size-len(head)-len(tail)) + tail
	}
	for _, chunked := range []bool{false, true} {
		t.Run(fmt.Sprintf("chunked %t", chunked), func(t *testing.T) {
			t.Parallel()
			for size, fits := range map[int]bool{megabyte: true, megabyte + 1: false, 3 * megabyte: false} {
				handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					if !chunked {
						w.Header().Set("Content-Length", fmt.Sprint(size))
					}
					_, _ = io.WriteString(w, answer(size))
				})
				server := httptest.NewServer(handler)
				t.Cleanup(server.Close)
				client, err := wxphone.New(someAppID, "", wxphone.WithBaseURL(server.URL),
					wxphone.WithTokenSource(fixedToken(someToken)), wxphone.WithMaxRetries(0))
				require.NoError(t, err)
				info, err := client.GetPhoneNumber(context.Background(), someCode)
				if fits {
					require.NoError(t, err)
					assert.Equal(t, "13800000000", info.PhoneNumber)
					continue
				}
				var response *wxphone.ResponseError
				require.ErrorAs(t, err, &response)
				assert.Equal(t, "", response.Snippet)
			}
		})
	}
}

// Following a redirect would hand the access_token to another host.
func TestRedirectIsNotFollowed(t *testing.T) {
	t.Parallel()
	var visits atomic.Int32
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		visits.Add(1)
		_, _ = io.WriteString(w, success)
	}))
	t.Cleanup(elsewhere.Close)
	followed := 0
	own := &http.Client{
		Timeout:       5 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { followed++; return nil },
	}
	for _, status := range []int{301, 302, 303, 307, 308} {
		for name, opts := range map[string][]wxphone.Option{
			"default client": nil,
			"user's client":  {wxphone.WithHTTPClient(own)},
		} {
			var requests atomic.Int32
			moved := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				requests.Add(1)
				http.Redirect(w, r, elsewhere.URL+"/?"+r.URL.RawQuery, status)
			}))
			t.Cleanup(moved.Close)
			client, err := wxphone.New(someAppID, "", append(opts, wxphone.WithBaseURL(moved.URL),
				wxphone.WithTokenSource(fixedToken(someToken)))...)
			require.NoError(t, err)
			_, err = client.GetPhoneNumber(context.Background(), someCode)
			var response *wxphone.ResponseError
			require.ErrorAs(t, err, &response, "%d, %s", status, name)
			assert.Equal(t, status, response.HTTPStatus)
			assert.EqualValues(t, 1, requests.Load())
		}
	}
	assert.Zero(t, visits.Load())
	assert.Zero(t, followed)
	// The user's client is copied, not changed.
	resp, err := own.Get(redirecting(t, elsewhere.URL))
	require.NoError(t, err)
	resp.Body.Close()
	assert.Equal(t, 1, followed)
}

func redirecting(t *testing.T, target string) string {
	t.Helper()
	server := httptest.NewServer(http.RedirectHandler(target, http.StatusFound))
	t.Cleanup(server.Close)
	return server.URL
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

// A user's test may mock WeChat at its own address.
func TestHTTPMockStandsInForWeChat(t *testing.T) {
	t.Parallel()
	mock := httpmock.NewMockTransport()
	mock.RegisterResponder(http.MethodPost, "https://api.weixin.qq.com"+stableTokenAPI,
		httpmock.NewJsonResponderOrPanic(http.StatusOK, map[string]any{"access_token": someToken, "expires_in": 7200}))
	mock.RegisterResponderWithQuery(http.MethodPost, "https://api.weixin.qq.com"+phoneAPI,
		map[string]string{"access_token": someToken},
		func(r *http.Request) (*http.Response, error) {
			var body map[string]string
			_ = json.NewDecoder(r.Body).Decode(&body)
			if body["code"] != someCode || len(body) != 1 {
				return httpmock.NewStringResponse(http.StatusOK, `{"errcode":40029}`), nil
			}
			return httpmock.NewStringResponse(http.StatusOK, success), nil
		})
	client, err := wxphone.New(someAppID, "5f2d8c1a0b9e4d7786f3a1c2e4b6d809",
		wxphone.WithHTTPClient(&http.Client{Transport: mock}))
	require.NoError(t, err)

	info, err := client.GetPhoneNumber(context.Background(), someCode)

	require.NoError(t, err)
	assert.Equal(t, "+8613800000000", info.E164())
	assert.Equal(t, 2, mock.GetTotalCallCount())
}
