package wxphone

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
)

// HTTPStatus returns the status that a handler should answer err with: 200 for
// nil, 400 for what the client sent wrong, 401 for a stale session, 403 for a
// blocked user or a forged push, 429 for a rate limit, 500 for what the owner
// must mend, 502 and 503 for WeChat's failures, 503 for a cancelled call and
// 504 for a deadline. Where err wraps several errors the first one counts. An error that this package does not know is a
// 500.
func HTTPStatus(err error) int {
	if err == nil {
		return http.StatusOK
	}
	if status := statusInTree(err); status != 0 {
		return status
	}
	return http.StatusInternalServerError
}

// statusInTree returns the status of the first error that decides in err's
// tree, in the order in which errors.As walks it, or 0.
func statusInTree(err error) int {
	if status := ownStatus(err); status != 0 {
		return status
	}
	switch wrapper := err.(type) { //nolint:errorlint // this is the walk
	case interface{ Unwrap() error }:
		if inner := wrapper.Unwrap(); inner != nil {
			return statusInTree(inner)
		}
	case interface{ Unwrap() []error }:
		for _, inner := range wrapper.Unwrap() {
			if inner == nil {
				continue
			}
			if status := statusInTree(inner); status != 0 {
				return status
			}
		}
	}
	return 0
}

// ownStatus returns the status that err itself stands for, without what it
// wraps, or 0.
func ownStatus(err error) int {
	switch e := err.(type) { //nolint:errorlint // statusInTree unwraps
	case *APIError:
		return e.Kind().httpStatus()
	case *ResponseError:
		if e.HTTPStatus == http.StatusTooManyRequests {
			return KindRateLimited.httpStatus()
		}
		return http.StatusBadGateway
	case *url.Error:
		return networkStatus(e)
	}
	for _, row := range statusOfErrors {
		if err == row.err { //nolint:errorlint // statusInTree unwraps
			return row.status
		}
	}
	if network, ok := err.(net.Error); ok { //nolint:errorlint // statusInTree unwraps
		return networkStatus(network)
	}
	return 0
}

// statusOfErrors has the errors that stand for a status by themselves. Those
// that an APIError matches are here for stubs of a Client in users' tests.
var statusOfErrors = []struct {
	err    error
	status int
}{
	{ErrInvalidArgument, http.StatusBadRequest},
	{ErrDecrypt, http.StatusBadRequest},
	{ErrWatermarkExpired, http.StatusBadRequest},
	{errPushForged, http.StatusForbidden},
	{ErrPush, http.StatusBadRequest},
	{ErrWatermark, http.StatusBadGateway},
	{ErrNoPhoneNumber, http.StatusBadGateway},
	{ErrAPISecurity, http.StatusInternalServerError},

	{ErrCodeInvalid, KindCodeRejected.httpStatus()},
	{ErrCodeUsed, KindCodeRejected.httpStatus()},
	{ErrSessionExpired, KindSessionExpired.httpStatus()},
	{ErrUserBlocked, KindUserBlocked.httpStatus()},
	{ErrRateLimited, KindRateLimited.httpStatus()},
	{ErrQuotaExhausted, KindQuotaExhausted.httpStatus()},
	{ErrSystemBusy, KindTransient.httpStatus()},
	{ErrAccessToken, KindTokenRejected.httpStatus()},
	{ErrAppIDMismatch, KindMisconfigured.httpStatus()},
	{ErrSecretInvalid, KindMisconfigured.httpStatus()},
	{ErrIPNotAllowed, KindMisconfigured.httpStatus()},
	{ErrUnauthorized, KindMisconfigured.httpStatus()},

	{context.Canceled, http.StatusServiceUnavailable},
	{context.DeadlineExceeded, http.StatusGatewayTimeout},
}

// networkStatus tells a cancelled call, a timeout and any other failure apart.
func networkStatus(err net.Error) int {
	switch {
	case errors.Is(err, context.Canceled):
		return http.StatusServiceUnavailable
	case isTimeout(err):
		return http.StatusGatewayTimeout
	default:
		return http.StatusBadGateway
	}
}

// isTimeout looks below a url.Error too, whose own Timeout asks only the error
// right under it.
func isTimeout(err error) bool {
	if errors.Is(err, context.DeadlineExceeded) {
		return true
	}
	for ; err != nil; err = errors.Unwrap(err) {
		if e, ok := err.(interface{ Timeout() bool }); ok && e.Timeout() {
			return true
		}
	}
	return false
}

// httpStatus is the row of HTTPStatus for an errcode of kind k.
func (k ErrorKind) httpStatus() int {
	switch k {
	case KindCodeRejected, KindInvalidRequest:
		return http.StatusBadRequest
	case KindSessionExpired:
		return http.StatusUnauthorized
	case KindUserBlocked:
		return http.StatusForbidden
	case KindRateLimited:
		return http.StatusTooManyRequests
	case KindMisconfigured, KindPlatform:
		return http.StatusInternalServerError
	case KindTransient, KindTokenRejected, KindQuotaExhausted:
		return http.StatusServiceUnavailable
	default:
		return http.StatusBadGateway
	}
}
