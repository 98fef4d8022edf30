package wxphone_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wxphone/wxphone"
)

// silent is a timeout whose text does not say so.
type silent struct{}

func (silent) Error() string   { return "gave up" }
func (silent) Timeout() bool   { return true }
func (silent) Temporary() bool { return true }

func TestHandlersAnswer(t *testing.T) {
	t.Parallel()
	overURL := func(err error) error {
		return &url.Error{Op: "Post", URL: "https://api.weixin.qq.com" + phoneAPI, Err: err}
	}
	code := &wxphone.APIError{Endpoint: phoneAPI, Code: 40029}
	busy := &wxphone.APIError{Endpoint: phoneAPI, Code: -1}
	tests := []struct {
		name   string
		err    error
		status int
		step   wxphone.Step
	}{
		{"nil", nil, 200, wxphone.StepDone},
		{"ErrDecrypt", wxphone.ErrDecrypt, 400, wxphone.StepTapAgain},
		{"ErrInvalidArgument", wxphone.ErrInvalidArgument, 400, wxphone.StepStop},
		{"ErrWatermarkExpired", wxphone.ErrWatermarkExpired, 400, wxphone.StepTapAgain},
		{"ErrWatermark", wxphone.ErrWatermark, 502, wxphone.StepStop},
		{"ErrNoPhoneNumber", wxphone.ErrNoPhoneNumber, 502, wxphone.StepStop},
		{"ErrAPISecurity", wxphone.ErrAPISecurity, 500, wxphone.StepStop},
		{"wrapped sentinel", fmt.Errorf("a: %w", fmt.Errorf("b: %w", wxphone.ErrDecrypt)), 400, wxphone.StepTapAgain},

		{"ErrCodeInvalid alone", wxphone.ErrCodeInvalid, 400, wxphone.StepTapAgain},
		{"ErrCodeUsed alone", wxphone.ErrCodeUsed, 400, wxphone.StepTapAgain},
		{"ErrSessionExpired alone", wxphone.ErrSessionExpired, 401, wxphone.StepLogIn},
		{"ErrUserBlocked alone", wxphone.ErrUserBlocked, 403, wxphone.StepStop},
		{"ErrRateLimited alone", wxphone.ErrRateLimited, 429, wxphone.StepSendAgain},
		{"ErrAppIDMismatch alone", wxphone.ErrAppIDMismatch, 500, wxphone.StepStop},
		{"ErrSecretInvalid alone", wxphone.ErrSecretInvalid, 500, wxphone.StepStop},
		{"ErrIPNotAllowed alone", wxphone.ErrIPNotAllowed, 500, wxphone.StepStop},
		{"ErrUnauthorized alone", wxphone.ErrUnauthorized, 500, wxphone.StepStop},
		{"ErrSystemBusy alone", wxphone.ErrSystemBusy, 503, wxphone.StepSendAgain},
		{"ErrAccessToken alone", wxphone.ErrAccessToken, 503, wxphone.StepSendAgain},
		{"ErrQuotaExhausted alone", wxphone.ErrQuotaExhausted, 503, wxphone.StepStop},

		{"ResponseError", &wxphone.ResponseError{Endpoint: phoneAPI, HTTPStatus: 404}, 502, wxphone.StepSendAgain},
		{"wrapped ResponseError", fmt.Errorf("a: %w", &wxphone.ResponseError{}), 502, wxphone.StepSendAgain},

		{"cancelled", context.Canceled, 503, wxphone.StepSendAgain},
		{"wrapped cancelled", fmt.Errorf("a: %w", context.Canceled), 503, wxphone.StepSendAgain},
		{"deadline", context.DeadlineExceeded, 504, wxphone.StepSendAgain},
		{"wrapped deadline", fmt.Errorf("a: %w", context.DeadlineExceeded), 504, wxphone.StepSendAgain},
		{"url cancelled", overURL(context.Canceled), 503, wxphone.StepSendAgain},
		{"url cancelled, wrapped inside", overURL(fmt.Errorf("proxy: %w", context.Canceled)), 503, wxphone.StepSendAgain},
		{"url deadline", overURL(context.DeadlineExceeded), 504, wxphone.StepSendAgain},
		{"url deadline, wrapped inside", overURL(fmt.Errorf("proxy: %w", context.DeadlineExceeded)), 504, wxphone.StepSendAgain},
		{"url timeout", overURL(silent{}), 504, wxphone.StepSendAgain},
		{"url timeout, wrapped inside", overURL(fmt.Errorf("proxy: %w", silent{})), 504, wxphone.StepSendAgain},
		{"wrapped url timeout", fmt.Errorf("a: %w", overURL(silent{})), 504, wxphone.StepSendAgain},
		{"read timeout", &net.OpError{Op: "read", Net: "tcp", Err: os.ErrDeadlineExceeded}, 504, wxphone.StepSendAgain},
		{"bare timeout", silent{}, 504, wxphone.StepSendAgain},
		{"refused", overURL(&net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}), 502, wxphone.StepSendAgain},
		{"dial without URL", &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}, 502, wxphone.StepSendAgain},
		{"DNS", &net.DNSError{Err: "no such host", Name: "api.weixin.qq.com", IsNotFound: true}, 502, wxphone.StepSendAgain},
		{"lost answer", overURL(io.EOF), 502, wxphone.StepSendAgain},

		// Where there are several, the first one that says something decides.
		{"refusal before a lost answer", fmt.Errorf("%w; before: %w", code, overURL(io.EOF)), 400, wxphone.StepTapAgain},
		{"lost answer before a refusal", fmt.Errorf("%w; then: %w", overURL(io.EOF), code), 502, wxphone.StepSendAgain},
		{"deadline while waiting", fmt.Errorf("a: %w after: %w", context.DeadlineExceeded, busy), 504, wxphone.StepSendAgain},
		{"cancelled while waiting", fmt.Errorf("a: %w after: %w", context.Canceled, code), 503, wxphone.StepSendAgain},
		{"joined", errors.Join(busy, code), 503, wxphone.StepSendAgain},
		{"joined, other way", errors.Join(code, busy), 400, wxphone.StepTapAgain},
		{"unknown first", errors.Join(errors.New("cleanup"), code), 400, wxphone.StepTapAgain},
		{"nested join", errors.Join(errors.Join(errors.New("a"), fmt.Errorf("b: %w", code)), busy), 400, wxphone.StepTapAgain},
		{"no token", fmt.Errorf("no access_token: %w", &wxphone.APIError{Endpoint: stableTokenAPI, Code: 40164}), 500, wxphone.StepStop},
		{"secret", &wxphone.APIError{Endpoint: stableTokenAPI, Code: 40001}, 500, wxphone.StepStop},
		{"no token, busy", fmt.Errorf("no access_token: %w", &wxphone.APIError{Endpoint: stableTokenAPI, Code: -1}), 503, wxphone.StepSendAgain},
		{"login code", fmt.Errorf("a: %w", &wxphone.APIError{Endpoint: "/sns/jscode2session", Code: 40029}), 400, wxphone.StepLogIn},
		{"used login code", &wxphone.APIError{Endpoint: "/sns/jscode2session", Code: 40163}, 400, wxphone.StepLogIn},
		{"platform's login code", &wxphone.APIError{Endpoint: componentLoginAPI, Code: 40029}, 400, wxphone.StepLogIn},
		{"login of a blocked user", &wxphone.APIError{Endpoint: "/sns/jscode2session", Code: 40226}, 403, wxphone.StepStop},
		{"cloudID", &wxphone.APIError{Endpoint: "/wxa/getopendata", Code: -601006}, 400, wxphone.StepTapAgain},
		{"no number in the account", &wxphone.APIError{Endpoint: "/wxa/getopendata", Code: -601009}, 502, wxphone.StepStop},
		{"by hand", &wxphone.APIError{Code: 87009}, 401, wxphone.StepLogIn},
		{"ErrTokenNotFound", wxphone.ErrTokenNotFound, 500, wxphone.StepStop},
		{"unknown", errors.New("database is down"), 500, wxphone.StepStop},
		{"wrapped unknown", fmt.Errorf("a: %w", errors.New("database is down")), 500, wxphone.StepStop},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			assert.Equal(t, tt.status, wxphone.HTTPStatus(tt.err))
			assert.Equal(t, tt.step, wxphone.NextStep(tt.err))
		})
	}
}

// stepOfKind is what each kind of errcode is answered with.
var stepOfKind = map[wxphone.ErrorKind]wxphone.Step{
	wxphone.KindUnknown:        wxphone.StepStop,
	wxphone.KindTransient:      wxphone.StepSendAgain,
	wxphone.KindTokenRejected:  wxphone.StepSendAgain,
	wxphone.KindCodeRejected:   wxphone.StepTapAgain,
	wxphone.KindSessionExpired: wxphone.StepLogIn,
	wxphone.KindUserBlocked:    wxphone.StepStop,
	wxphone.KindRateLimited:    wxphone.StepSendAgain,
	wxphone.KindQuotaExhausted: wxphone.StepStop,
	wxphone.KindMisconfigured:  wxphone.StepStop,
	wxphone.KindInvalidRequest: wxphone.StepStop,
	wxphone.KindPlatform:       wxphone.StepStop,
}

func TestEveryErrcodeHasAStep(t *testing.T) {
	t.Parallel()
	require.Len(t, stepOfKind, len(statusOfKind))
	for _, row := range errcodes {
		for _, code := range row.codes {
			err := &wxphone.APIError{Endpoint: phoneAPI, Code: code}
			assert.Equal(t, stepOfKind[row.kind], wxphone.NextStep(err), "errcode %d", code)
			wrapped := fmt.Errorf("a: %w", errors.Join(errors.New("b"), err))
			assert.Equal(t, stepOfKind[row.kind], wxphone.NextStep(wrapped), "errcode %d, wrapped", code)
		}
	}
	assert.Equal(t, wxphone.StepStop, wxphone.NextStep(&wxphone.APIError{Endpoint: phoneAPI, Code: 99999}))
}

// HTTPStatus and NextStep go by the same error, in whatever order errors wrap
// each other.
func TestStatusAndStepAgreeOnTheErrorThatDecides(t *testing.T) {
	t.Parallel()
	all := []error{context.Canceled, context.DeadlineExceeded, &wxphone.ResponseError{}, silent{}, &net.DNSError{}}
	for _, sentinel := range sentinels {
		if sentinel != wxphone.ErrTokenNotFound { //nolint:errorlint // identity; it does not decide
			all = append(all, sentinel)
		}
	}
	for _, row := range errcodes {
		all = append(all, &wxphone.APIError{Endpoint: phoneAPI, Code: row.codes[0]})
	}
	for _, one := range all {
		for _, other := range all {
			for _, err := range []error{
				errors.Join(one, other),
				fmt.Errorf("a: %w; b: %w", one, other),
				fmt.Errorf("a: %w", errors.Join(errors.New("c"), fmt.Errorf("d: %w", one), other)),
				errors.Join(wxphone.ErrTokenNotFound, one, other),
			} {
				assert.Equal(t, wxphone.HTTPStatus(one), wxphone.HTTPStatus(err), "%v", err)
				assert.Equal(t, wxphone.NextStep(one), wxphone.NextStep(err), "%v", err)
			}
		}
	}
}
