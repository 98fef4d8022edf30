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

	"github.com/wxphone/wxphone"
)

// silent is a timeout whose text does not say so.
type silent struct{}

func (silent) Error() string   { return "gave up" }
func (silent) Timeout() bool   { return true }
func (silent) Temporary() bool { return true }

func TestHTTPStatus(t *testing.T) {
	t.Parallel()
	overURL := func(err error) error {
		return &url.Error{Op: "Post", URL: "https://api.weixin.qq.com" + phoneAPI, Err: err}
	}
	code := &wxphone.APIError{Endpoint: phoneAPI, Code: 40029}
	busy := &wxphone.APIError{Endpoint: phoneAPI, Code: -1}
	tests := []struct {
		name string
		err  error
		want int
	}{
		{"nil", nil, 200},
		{"ErrDecrypt", wxphone.ErrDecrypt, 400},
		{"ErrInvalidArgument", wxphone.ErrInvalidArgument, 400},
		{"ErrWatermarkExpired", wxphone.ErrWatermarkExpired, 400},
		{"ErrWatermark", wxphone.ErrWatermark, 502},
		{"ErrNoPhoneNumber", wxphone.ErrNoPhoneNumber, 502},
		{"ErrAPISecurity", wxphone.ErrAPISecurity, 500},
		{"wrapped sentinel", fmt.Errorf("a: %w", fmt.Errorf("b: %w", wxphone.ErrDecrypt)), 400},

		{"ErrCodeInvalid alone", wxphone.ErrCodeInvalid, 400},
		{"ErrCodeUsed alone", wxphone.ErrCodeUsed, 400},
		{"ErrSessionExpired alone", wxphone.ErrSessionExpired, 401},
		{"ErrUserBlocked alone", wxphone.ErrUserBlocked, 403},
		{"ErrRateLimited alone", wxphone.ErrRateLimited, 429},
		{"ErrAppIDMismatch alone", wxphone.ErrAppIDMismatch, 500},
		{"ErrSecretInvalid alone", wxphone.ErrSecretInvalid, 500},
		{"ErrIPNotAllowed alone", wxphone.ErrIPNotAllowed, 500},
		{"ErrUnauthorized alone", wxphone.ErrUnauthorized, 500},
		{"ErrSystemBusy alone", wxphone.ErrSystemBusy, 503},
		{"ErrAccessToken alone", wxphone.ErrAccessToken, 503},
		{"ErrQuotaExhausted alone", wxphone.ErrQuotaExhausted, 503},

		{"ResponseError", &wxphone.ResponseError{Endpoint: phoneAPI, HTTPStatus: 404}, 502},
		{"wrapped ResponseError", fmt.Errorf("a: %w", &wxphone.ResponseError{}), 502},

		{"cancelled", context.Canceled, 503},
		{"wrapped cancelled", fmt.Errorf("a: %w", context.Canceled), 503},
		{"deadline", context.DeadlineExceeded, 504},
		{"wrapped deadline", fmt.Errorf("a: %w", context.DeadlineExceeded), 504},
		{"url cancelled", overURL(context.Canceled), 503},
		{"url cancelled, wrapped inside", overURL(fmt.Errorf("proxy: %w", context.Canceled)), 503},
		{"url deadline", overURL(context.DeadlineExceeded), 504},
		{"url deadline, wrapped inside", overURL(fmt.Errorf("proxy: %w", context.DeadlineExceeded)), 504},
		{"url timeout", overURL(silent{}), 504},
		{"url timeout, wrapped inside", overURL(fmt.Errorf("proxy: %w", silent{})), 504},
		{"wrapped url timeout", fmt.Errorf("a: %w", overURL(silent{})), 504},
		{"read timeout", &net.OpError{Op: "read", Net: "tcp", Err: os.ErrDeadlineExceeded}, 504},
		{"bare timeout", silent{}, 504},
		{"refused", overURL(&net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}), 502},
		{"dial without URL", &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}, 502},
		{"DNS", &net.DNSError{Err: "no such host", Name: "api.weixin.qq.com", IsNotFound: true}, 502},
		{"lost answer", overURL(io.EOF), 502},

		// Where there are several, the first one that says something decides.
		{"refusal before a lost answer", fmt.Errorf("%w; before: %w", code, overURL(io.EOF)), 400},
		{"lost answer before a refusal", fmt.Errorf("%w; then: %w", overURL(io.EOF), code), 502},
		{"deadline while waiting", fmt.Errorf("a: %w after: %w", context.DeadlineExceeded, busy), 504},
		{"cancelled while waiting", fmt.Errorf("a: %w after: %w", context.Canceled, code), 503},
		{"joined", errors.Join(busy, code), 503},
		{"joined, other way", errors.Join(code, busy), 400},
		{"unknown first", errors.Join(errors.New("cleanup"), code), 400},
		{"nested join", errors.Join(errors.Join(errors.New("a"), fmt.Errorf("b: %w", code)), busy), 400},
		{"unknown", errors.New("database is down"), 500},
		{"wrapped unknown", fmt.Errorf("a: %w", errors.New("database is down")), 500},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			assert.Equal(t, tt.want, wxphone.HTTPStatus(tt.err))
		})
	}
}
