package wxphone_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wxphone/wxphone"
)

// statusOfKind is the HTTPStatus table, for errcodes.
var statusOfKind = map[wxphone.ErrorKind]int{
	wxphone.KindCodeRejected:   400,
	wxphone.KindInvalidRequest: 400,
	wxphone.KindSessionExpired: 401,
	wxphone.KindUserBlocked:    403,
	wxphone.KindRateLimited:    429,
	wxphone.KindMisconfigured:  500,
	wxphone.KindPlatform:       500,
	wxphone.KindUnknown:        502,
	wxphone.KindTransient:      503,
	wxphone.KindTokenRejected:  503,
	wxphone.KindQuotaExhausted: 503,
}

// errcodes has every return code that WeChat documents for the APIs in use.
var errcodes = []struct {
	kind    wxphone.ErrorKind
	matches []error
	codes   []int
}{
	{wxphone.KindTransient, []error{wxphone.ErrSystemBusy}, []int{-1, -601001, -601003, -601008}},
	{wxphone.KindTokenRejected, []error{wxphone.ErrAccessToken}, []int{40001, 40014, 42001}},
	{wxphone.KindCodeRejected, []error{wxphone.ErrCodeInvalid}, []int{40029, 42003, -601005, -601006, -601007}},
	{wxphone.KindCodeRejected, []error{wxphone.ErrCodeInvalid, wxphone.ErrCodeUsed}, []int{40163}},
	{wxphone.KindSessionExpired, []error{wxphone.ErrSessionExpired}, []int{87007, 87009}},
	{wxphone.KindUserBlocked, []error{wxphone.ErrUserBlocked}, []int{40226}},
	{wxphone.KindRateLimited, []error{wxphone.ErrRateLimited}, []int{45011}},
	{wxphone.KindQuotaExhausted, []error{wxphone.ErrQuotaExhausted}, []int{45009, 48006}},
	{wxphone.KindMisconfigured, []error{wxphone.ErrAppIDMismatch}, []int{40013}},
	{wxphone.KindMisconfigured, []error{wxphone.ErrSecretInvalid}, []int{40125, 40243}},
	{
		wxphone.KindMisconfigured, []error{wxphone.ErrIPNotAllowed},
		[]int{40164, 45035, 61004, 89501, 89502, 89503, 89504, 89505, 89506, 89507},
	},
	{
		wxphone.KindMisconfigured, []error{wxphone.ErrAPISecurity},
		[]int{40230, 40231, 40232, 40233, 40234, 40235, 40236, 40237, 40238, 40239, 40240},
	},
	{wxphone.KindMisconfigured, []error{wxphone.ErrUnauthorized}, []int{48001, 50001, -601004}},
	{
		wxphone.KindMisconfigured, nil,
		[]int{40222, 48004, 48017, 50002, 50004, 50007, 85105, 85107, 85112, 85113},
	},
	{wxphone.KindPlatform, []error{wxphone.ErrUnauthorized}, []int{61003, 61007}},
	{wxphone.KindPlatform, nil, []int{40090, 40094, 61005, 61006, 61011, 61014, 61015, 61023}},
	{
		wxphone.KindInvalidRequest, nil,
		[]int{
			40002, 40003, 40030, 40066, 40097, 41001, 41002, 41004, 41008, 41018, 43001, 43002, 43003,
			44002, 45002, 47001, 47002, 61024, 76001, 76002, 76003, 76004, 76021, 76022, 87008, -601002,
		},
	},
	{wxphone.KindUnknown, []error{wxphone.ErrNoPhoneNumber}, []int{-601009}},
	{wxphone.KindUnknown, nil, []int{1, 99999, -2}},
}

func TestErrcodesMapToKindsSentinelsAndStatuses(t *testing.T) {
	t.Parallel()
	for _, row := range errcodes {
		for _, code := range row.codes {
			t.Run(fmt.Sprint(code), func(t *testing.T) {
				t.Parallel()
				err := &wxphone.APIError{Endpoint: phoneAPI, Code: code}
				assert.Equal(t, row.kind, err.Kind(), "got %v", err.Kind())
				wrapped := fmt.Errorf("binding: %w", fmt.Errorf("redeeming: %w", err))
				for _, sentinel := range sentinels {
					want := slices.Contains(row.matches, sentinel)
					assert.Equal(t, want, errors.Is(err, sentinel), "%v", sentinel)
					assert.Equal(t, want, errors.Is(wrapped, sentinel), "%v", sentinel)
				}
				assert.Equal(t, statusOfKind[row.kind], wxphone.HTTPStatus(err))
				assert.Equal(t, statusOfKind[row.kind], wxphone.HTTPStatus(wrapped))
				retryable := row.kind == wxphone.KindTransient || row.kind == wxphone.KindRateLimited
				assert.Equal(t, retryable, err.Retryable())
			})
		}
	}
}

func TestRefusedTokenOfATokenAPIIsTheSecret(t *testing.T) {
	t.Parallel()
	tests := []struct {
		endpoint string
		kind     wxphone.ErrorKind
		matches  error
	}{
		{classicTokenAPI, wxphone.KindMisconfigured, wxphone.ErrSecretInvalid},
		{stableTokenAPI, wxphone.KindMisconfigured, wxphone.ErrSecretInvalid},
		{"/cgi-bin/component/api_component_token", wxphone.KindMisconfigured, wxphone.ErrSecretInvalid},
		// These carry the component's token.
		{"/cgi-bin/component/api_authorizer_token", wxphone.KindTokenRejected, wxphone.ErrAccessToken},
		{"/sns/component/jscode2session", wxphone.KindTokenRejected, wxphone.ErrAccessToken},
		{phoneAPI, wxphone.KindTokenRejected, wxphone.ErrAccessToken},
	}
	for _, tt := range tests {
		t.Run(tt.endpoint, func(t *testing.T) {
			t.Parallel()
			err := &wxphone.APIError{Endpoint: tt.endpoint, Code: 40001}
			assert.Equal(t, tt.kind, err.Kind())
			for _, sentinel := range sentinels {
				assert.Equal(t, sentinel == tt.matches, errors.Is(err, sentinel), "%v", sentinel) //nolint:errorlint // identity
			}
			assert.Equal(t, statusOfKind[tt.kind], wxphone.HTTPStatus(err))
		})
	}
}

func TestAPIErrorTellsAllInOneLine(t *testing.T) {
	t.Parallel()
	const rid = "61a2b3c4-0f1e2d3c-4b5a6978"
	for _, row := range errcodes {
		for _, code := range row.codes {
			err := &wxphone.APIError{Endpoint: phoneAPI, Code: code, Message: "two\nlines", RID: rid, HTTPStatus: 200}
			text := err.Error()
			assert.NotContains(t, text, "\n")
			assert.True(t, strings.HasPrefix(text, "wxphone: "), text)
			for _, part := range []string{phoneAPI, fmt.Sprintf("errcode %d ", code), `two\nlines`, rid} {
				assert.Contains(t, text, part)
			}
			_, advice, _ := strings.Cut(text, rid)
			if row.kind != wxphone.KindInvalidRequest && row.kind != wxphone.KindUnknown {
				assert.Greater(t, len(advice), 20, "what is to be done? %s", text)
			}
		}
	}
}

func TestAPIErrorLeavesOutWhatItDoesNotHave(t *testing.T) {
	t.Parallel()
	text := (&wxphone.APIError{Code: 99999}).Error()
	assert.Equal(t, "wxphone: errcode 99999", text)
}

func TestErrorKindsHaveNames(t *testing.T) {
	t.Parallel()
	seen := map[string]wxphone.ErrorKind{}
	for kind := range statusOfKind {
		name := kind.String()
		assert.Regexp(t, `^[a-z ]+$`, name)
		assert.NotContains(t, seen, name)
		seen[name] = kind
	}
	assert.Equal(t, "code rejected", wxphone.KindCodeRejected.String())
	assert.Equal(t, "unknown", wxphone.ErrorKind(0).String())
	assert.Equal(t, "ErrorKind(99)", wxphone.ErrorKind(99).String())
	assert.Equal(t, "ErrorKind(-1)", wxphone.ErrorKind(-1).String())
}

func TestResponseErrorTellsEndpointStatusAndSnippet(t *testing.T) {
	t.Parallel()
	text := (&wxphone.ResponseError{Endpoint: phoneAPI, HTTPStatus: 502, Snippet: "<html>\n502"}).Error()
	assert.NotContains(t, text, "\n")
	for _, part := range []string{"wxphone: ", phoneAPI, "502", `<html>\n502`} {
		assert.Contains(t, text, part)
	}
	// WeChat's 412 has no body, so the error has to explain it.
	assert.Contains(t, (&wxphone.ResponseError{HTTPStatus: 412}).Error(), "Content-Length")
	assert.NotContains(t, text, "Content-Length")
}

func TestCloudIDsOuterErrcodeComesBeforeItsOwn(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		body string
		want int
	}{
		"both":       {`{"errcode":45009,"errmsg":"outer","data_list":[{"json":{"errCode":-601006,"errMsg":"inner"}}]}`, 45009},
		"outer only": {`{"errcode":45009,"errmsg":"outer","data_list":[{"json":{"errCode":0}}]}`, 45009},
		"inner only": {`{"errcode":0,"errmsg":"ok","data_list":[{"json":{"errCode":-601006,"errMsg":"inner"}}]}`, -601006},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := answering(t, http.StatusOK, tt.body).GetPhoneNumberByCloudID(context.Background(), "o1", "cloud-id")
			var refusal *wxphone.APIError
			require.ErrorAs(t, err, &refusal)
			assert.Equal(t, tt.want, refusal.Code)
		})
	}
}

func TestMessageAndRequestIDAreBounded(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ errmsg, message, rid string }{
		"500 bytes":            {strings.Repeat("ab", 250), strings.Repeat("ab", 250), ""},
		"501 bytes":            {strings.Repeat("ab", 250) + "c", strings.Repeat("ab", 250), ""},
		"no rune is cut":       {strings.Repeat("微", 300), strings.Repeat("微", 166), ""},
		"a megabyte":           {strings.Repeat("a.", 400_000), strings.Repeat("a.", 250), ""},
		"the rid stays":        {strings.Repeat("a.", 400) + " rid: 61a2b3c4-0f1e2d3c-4b5a6978", strings.Repeat("a.", 250), "61a2b3c4-0f1e2d3c-4b5a6978"},
		"a long request id":    {"no, hints: [ req_id: " + strings.Repeat("ab", 400) + " ]", "no", strings.Repeat("ab", 250)},
		"scrubbed, then cut":   {strings.Repeat("a.", 245) + " " + someCode + " x", strings.Repeat("a.", 245) + " [REDACTED", ""},
		"a number at the cut":  {strings.Repeat("a.", 248) + " 138-0013-8000", strings.Repeat("a.", 248) + " ***", ""},
		"a token across a cut": {strings.Repeat("a.", 240) + " x " + someToken, strings.Repeat("a.", 240) + " x [REDACTED]", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			answer, err := json.Marshal(map[string]any{"errcode": 40029, "errmsg": tt.errmsg})
			require.NoError(t, err)
			var call wxphone.Call
			_, err = answering(t, http.StatusOK, string(answer),
				wxphone.WithObserver(func(_ context.Context, c wxphone.Call) { call = c })).GetPhoneNumber(context.Background(), someCode)
			var refusal *wxphone.APIError
			require.ErrorAs(t, err, &refusal)
			assert.Equal(t, tt.message, refusal.Message)
			assert.Equal(t, tt.rid, refusal.RID)
			assert.Equal(t, tt.rid, call.RID)
			assert.Less(t, len(err.Error()), 1500)
		})
	}
}
