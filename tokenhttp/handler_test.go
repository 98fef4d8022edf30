package tokenhttp_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/tokenhttp"
)

func TestGetAnswersTheTokenAndTheSecondsItHasLeft(t *testing.T) {
	t.Parallel()
	w := ask(newHandler(t, lasting(time.Hour+500*time.Millisecond)), http.MethodGet, "")
	assert.Equal(t, http.StatusOK, w.Code)
	assert.JSONEq(t, `{"access_token":"`+someToken+`","expires_in":3600}`, w.Body.String())
	assert.Equal(t, "no-store", w.Header().Get("Cache-Control"))
	assert.Equal(t, "application/json", w.Header().Get("Content-Type"))
}

func TestATokenOfUnknownExpiryHasNoExpiresIn(t *testing.T) {
	t.Parallel()
	for name, source := range map[string]*fakeSource{
		"unknown":            {token: wxphone.Token{AccessToken: someToken}},
		"less than a second": lasting(900 * time.Millisecond),
	} {
		w := ask(newHandler(t, source), http.MethodGet, "")
		assert.Equal(t, http.StatusOK, w.Code, name)
		assert.JSONEq(t, `{"access_token":"`+someToken+`"}`, w.Body.String(), name)
	}
}

func TestASourceWithoutAUsableTokenIsAFailure(t *testing.T) {
	t.Parallel()
	for name, source := range map[string]*fakeSource{
		"expired": lasting(-time.Second),
		"empty":   {token: wxphone.Token{ExpiresAt: time.Now().Add(time.Hour)}},
	} {
		w := ask(newHandler(t, source), http.MethodGet, "")
		assert.Equal(t, http.StatusBadGateway, w.Code, name)
		assert.JSONEq(t, `{"error":"no_token"}`, w.Body.String(), name)
	}
}

func TestNobodyIsServedWithoutTheKey(t *testing.T) {
	t.Parallel()
	for name, authorization := range map[string][]string{
		"none":           nil,
		"empty":          {""},
		"scheme only":    {"Bearer "},
		"another":        {"Bearer " + anotherKey},
		"part":           {"Bearer " + someKey[:len(someKey)-1]},
		"more":           {"Bearer " + someKey + "0"},
		"upper case":     {"Bearer " + strings.ToUpper(someKey)},
		"without scheme": {someKey},
		"other scheme":   {"Basic " + someKey},
		"second header":  {"Bearer " + anotherKey, "Bearer " + someKey},
		"two keys":       {"Bearer " + someKey + " " + someKey},
	} {
		for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodDelete} {
			source := lasting(time.Hour)
			req := httptest.NewRequest(method, serverURL, strings.NewReader(`{"access_token":"`+someToken+`"}`))
			req.Header["Authorization"] = authorization
			w := httptest.NewRecorder()
			newHandler(t, source).ServeHTTP(w, req)
			assert.Equal(t, http.StatusUnauthorized, w.Code, name)
			assert.Equal(t, http.Header{"Www-Authenticate": {"Bearer"}}, w.Header(), name)
			assert.Empty(t, w.Body.String(), name)
			assert.Empty(t, source.reported, name)
		}
	}
}

func TestTheSchemeMayBeSpeltInAnyCase(t *testing.T) {
	t.Parallel()
	req := httptest.NewRequest(http.MethodGet, serverURL, http.NoBody)
	req.Header.Set("Authorization", "bearer  "+someKey)
	w := httptest.NewRecorder()
	newHandler(t, lasting(time.Hour)).ServeHTTP(w, req)
	assert.Equal(t, http.StatusOK, w.Code)
}

func TestOtherMethodsAreNotAllowed(t *testing.T) {
	t.Parallel()
	for _, method := range []string{http.MethodHead, http.MethodPut, http.MethodDelete, http.MethodOptions, http.MethodPatch} {
		w := ask(newHandler(t, lasting(time.Hour)), method, "")
		assert.Equal(t, http.StatusMethodNotAllowed, w.Code, method)
		assert.Equal(t, "GET, POST", w.Header().Get("Allow"), method)
		assert.Empty(t, w.Body.String(), method)
	}
}

func TestPostReportsARefusedToken(t *testing.T) {
	t.Parallel()
	source := lasting(time.Hour)
	w := ask(newHandler(t, source), http.MethodPost, `{"access_token":"`+someToken+`","expires_in":"soon"}`)
	assert.Equal(t, http.StatusNoContent, w.Code)
	assert.Empty(t, w.Body.String())
	assert.Equal(t, []string{someToken}, source.reported)
}

func TestAReportThatCannotBeReadIsRefused(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		body   string
		status int
		answer string
	}{
		"nothing":      {"", http.StatusBadRequest, "bad_request"},
		"no JSON":      {someToken, http.StatusBadRequest, "bad_request"},
		"no object":    {`["` + someToken + `"]`, http.StatusBadRequest, "bad_request"},
		"no token":     {`{}`, http.StatusBadRequest, "bad_request"},
		"empty token":  {`{"access_token":""}`, http.StatusBadRequest, "bad_request"},
		"other type":   {`{"access_token":["` + someToken + `"]}`, http.StatusBadRequest, "bad_request"},
		"two values":   {`{"access_token":"` + someToken + `"}{}`, http.StatusBadRequest, "bad_request"},
		"cut short":    {`{"access_token":"` + someToken, http.StatusBadRequest, "bad_request"},
		"a byte more":  {reportOf(4<<10 + 1), http.StatusRequestEntityTooLarge, "too_large"},
		"far too long": {reportOf(1 << 20), http.StatusRequestEntityTooLarge, "too_large"},
	} {
		source := lasting(time.Hour)
		w := ask(newHandler(t, source), http.MethodPost, test.body)
		assert.Equal(t, test.status, w.Code, name)
		assert.JSONEq(t, `{"error":"`+test.answer+`"}`, w.Body.String(), name)
		assert.Empty(t, source.reported, name)
	}
	assert.Equal(t, http.StatusNoContent, ask(newHandler(t, lasting(time.Hour)), http.MethodPost, reportOf(4<<10)).Code)
}

// reportOf returns a report with a body of size bytes.
func reportOf(size int) string {
	const start, end = `{"access_token":"`, `"}`
	return start + strings.Repeat("t", size-len(start)-len(end)) + end
}

func TestASourceThatTakesNoReportsAnswers501(t *testing.T) {
	t.Parallel()
	source := wxphone.TokenSourceFunc(lasting(time.Hour).Token)
	w := ask(newHandler(t, source), http.MethodPost, `{"access_token":"`+someToken+`"}`)
	assert.Equal(t, http.StatusNotImplemented, w.Code)
	assert.JSONEq(t, `{"error":"unsupported"}`, w.Body.String())
	assert.Equal(t, http.StatusOK, ask(newHandler(t, source), http.MethodGet, "").Code)
}

func TestAFailureOfTheSourceIsToldByErrcodeOnly(t *testing.T) {
	t.Parallel()
	const api = "/cgi-bin/stable_token"
	const details = "10.2.3.4 in rack 7"
	refusal := func(code int) error { return &wxphone.APIError{Endpoint: api, Code: code, Message: details} }
	for name, test := range map[string]struct {
		err        error
		status     int
		retryAfter string
		answer     string
	}{
		"not whitelisted": {refusal(40164), 502, "", `{"error":"no_token","errcode":40164,"endpoint":"` + api + `"}`},
		"wrong secret":    {refusal(40001), 502, "", `{"error":"no_token","errcode":40001,"endpoint":"` + api + `"}`},
		"busy":            {refusal(-1), 503, "1", `{"error":"no_token","errcode":-1,"endpoint":"` + api + `"}`},
		"minute's quota":  {refusal(45011), 503, "60", `{"error":"no_token","errcode":45011,"endpoint":"` + api + `"}`},
		"day's quota":     {refusal(45009), 503, "", `{"error":"no_token","errcode":45009,"endpoint":"` + api + `"}`},
		"wrapped":         {fmt.Errorf("at %s: %w", details, refusal(-1)), 503, "1", `{"error":"no_token","errcode":-1,"endpoint":"` + api + `"}`},
		"odd endpoint":    {&wxphone.APIError{Endpoint: "/" + details, Code: -1}, 503, "1", `{"error":"no_token","errcode":-1}`},
		"network":         {&url.Error{Op: "Post", URL: "https://" + details, Err: syscall.ECONNREFUSED}, 503, "1", `{"error":"no_token"}`},
		"gateway":         {&wxphone.ResponseError{Endpoint: api, HTTPStatus: 502, Snippet: details}, 503, "1", `{"error":"no_token"}`},
		"deadline":        {fmt.Errorf("%s: %w", details, context.DeadlineExceeded), 503, "1", `{"error":"no_token"}`},
		"cancelled":       {fmt.Errorf("%s: %w", details, context.Canceled), 503, "1", `{"error":"no_token"}`},
		"options":         {fmt.Errorf("%w: %s", wxphone.ErrInvalidArgument, details), 502, "", `{"error":"no_token"}`},
		"unknown":         {errors.New(details), 502, "", `{"error":"no_token"}`},
	} {
		for method, body := range map[string]string{http.MethodGet: "", http.MethodPost: `{"access_token":"` + someToken + `"}`} {
			w := ask(newHandler(t, &fakeSource{err: test.err}), method, body)
			assert.Equal(t, test.status, w.Code, name)
			assert.Equal(t, test.retryAfter, w.Header().Get("Retry-After"), name)
			assert.Equal(t, "no-store", w.Header().Get("Cache-Control"), name)
			assert.JSONEq(t, test.answer, w.Body.String(), name)
			assert.NotContains(t, fmt.Sprint(w.Header(), w.Body), details, name)
		}
	}
}

func TestNewHandlerChecksItsArguments(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		source wxphone.TokenSource
		key    string
		says   string
	}{
		"no source":      {nil, someKey, "src is nil"},
		"nil function":   {wxphone.TokenSourceFunc(nil), someKey, "src is nil"},
		"no key":         {lasting(time.Hour), "", "key has fewer than 32 bytes"},
		"short key":      {lasting(time.Hour), someKey[:31], "key has fewer than 32 bytes"},
		"key with space": {lasting(time.Hour), someKey[:20] + " " + someKey[20:], "key has white space"},
		"key of a file":  {lasting(time.Hour), someKey + "\n", "key has white space"},
		"key not ASCII":  {lasting(time.Hour), someKey + "é", "key has white space"},
	} {
		handler, err := tokenhttp.NewHandler(test.source, test.key)
		assert.Nil(t, handler, name)
		require.ErrorIs(t, err, wxphone.ErrInvalidArgument, name)
		assert.ErrorContains(t, err, test.says, name)
		if test.key != "" {
			assert.NotContains(t, err.Error(), test.key[:20], name)
		}
	}
	_, err := tokenhttp.NewHandler(lasting(time.Hour), someKey[:32])
	assert.NoError(t, err)
}

func TestAReportThatBreaksOffIsRefused(t *testing.T) {
	t.Parallel()
	source := lasting(time.Hour)
	body := io.MultiReader(strings.NewReader(`{"access_token":"`+someToken+`"}`), broken{})
	req := httptest.NewRequest(http.MethodPost, serverURL, body)
	req.Header.Set("Authorization", "Bearer "+someKey)
	w := httptest.NewRecorder()
	newHandler(t, source).ServeHTTP(w, req)
	assert.Equal(t, http.StatusBadRequest, w.Code)
	assert.Empty(t, source.reported)
}

// broken is a connection that ends too early.
type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }
