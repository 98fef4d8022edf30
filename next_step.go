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
// must fix, 502 and 503 for WeChat's failures, 503 for a cancelled call and
// 504 for a deadline. Of several wrapped errors, the first that this package
// knows counts. An error that it does not know is a 500.
func HTTPStatus(err error) int {
	if err == nil {
		return http.StatusOK
	}
	if r := replyInTree(err); r.decides() {
		return r.status
	}
	return http.StatusInternalServerError
}

// Step is what a mini-program should do next. It is a word for a handler's
// JSON: {"step": "tap_again"}.
type Step string

// The steps that [NextStep] tells.
const (
	// StepDone is a success: there is nothing to do.
	StepDone Step = "done"
	// StepSendAgain is a failure that may pass. The mini-program may send the
	// same request, with the same code, again in a moment, up to twice.
	StepSendAgain Step = "send_again"
	// StepTapAgain is a code, or encryptedData, that is of no use. The user
	// must tap the button again.
	StepTapAgain Step = "tap_again"
	// StepLogIn is a session that is over, or that a login code did not lead
	// to. The mini-program must call wx.login and send its code; after that the
	// user must tap the button.
	StepLogIn Step = "log_in"
	// StepStop is a failure that the user can do nothing about.
	StepStop Step = "stop"
)

// NextStep returns what the mini-program should do after a call of this
// package that returned err: [StepDone] for nil, and [StepStop] for an error
// that this package does not know. Of several wrapped errors, the one that
// [HTTPStatus] uses counts.
func NextStep(err error) Step {
	if err == nil {
		return StepDone
	}
	if r := replyInTree(err); r.decides() {
		return r.step
	}
	return StepStop
}

// reply is what a handler answers an error with. The zero value is that of an
// error which does not decide.
type reply struct {
	status int
	step   Step
}

func (r reply) decides() bool { return r.status != 0 }

// replyInTree returns the reply of the first error that decides in err's tree,
// in the order in which errors.As walks it.
func replyInTree(err error) reply {
	if r := ownReply(err); r.decides() {
		return r
	}
	switch wrapper := err.(type) { //nolint:errorlint // this is the walk
	case interface{ Unwrap() error }:
		if inner := wrapper.Unwrap(); inner != nil {
			return replyInTree(inner)
		}
	case interface{ Unwrap() []error }:
		for _, inner := range wrapper.Unwrap() {
			if inner == nil {
				continue
			}
			if r := replyInTree(inner); r.decides() {
				return r
			}
		}
	}
	return reply{}
}

// ownReply returns the reply that err itself stands for, without what it wraps.
func ownReply(err error) reply {
	switch e := err.(type) { //nolint:errorlint // replyInTree unwraps
	case *APIError:
		return e.reply()
	case *ResponseError:
		if e.HTTPStatus == http.StatusTooManyRequests {
			return KindRateLimited.reply()
		}
		return reply{http.StatusBadGateway, StepSendAgain}
	case *url.Error:
		return networkReply(e)
	}
	for _, row := range repliesToErrors {
		if err == row.err { //nolint:errorlint // replyInTree unwraps
			return row.reply
		}
	}
	if network, ok := err.(net.Error); ok { //nolint:errorlint // replyInTree unwraps
		return networkReply(network)
	}
	return reply{}
}

// repliesToErrors has the errors that stand for a reply by themselves. Those
// that an APIError matches are here for stubs of a Client in users' tests.
var repliesToErrors = []struct {
	err   error
	reply reply
}{
	{ErrInvalidArgument, reply{http.StatusBadRequest, StepStop}},
	{ErrDecrypt, reply{http.StatusBadRequest, StepTapAgain}},
	{ErrWatermarkExpired, reply{http.StatusBadRequest, StepTapAgain}},
	{errPushForged, reply{http.StatusForbidden, StepStop}},
	{ErrPush, reply{http.StatusBadRequest, StepStop}},
	{ErrWatermark, reply{http.StatusBadGateway, StepStop}},
	{ErrNoPhoneNumber, reply{http.StatusBadGateway, StepStop}},
	{ErrAPISecurity, reply{http.StatusInternalServerError, StepStop}},

	{ErrCodeInvalid, KindCodeRejected.reply()},
	{ErrCodeUsed, KindCodeRejected.reply()},
	{ErrSessionExpired, KindSessionExpired.reply()},
	{ErrUserBlocked, KindUserBlocked.reply()},
	{ErrRateLimited, KindRateLimited.reply()},
	{ErrQuotaExhausted, KindQuotaExhausted.reply()},
	{ErrSystemBusy, KindTransient.reply()},
	{ErrAccessToken, KindTokenRejected.reply()},
	{ErrAppIDMismatch, KindMisconfigured.reply()},
	{ErrSecretInvalid, KindMisconfigured.reply()},
	{ErrIPNotAllowed, KindMisconfigured.reply()},
	{ErrUnauthorized, KindMisconfigured.reply()},

	{context.Canceled, reply{http.StatusServiceUnavailable, StepSendAgain}},
	{context.DeadlineExceeded, reply{http.StatusGatewayTimeout, StepSendAgain}},
}

// networkReply tells a cancelled call, a timeout and any other failure apart.
func networkReply(err net.Error) reply {
	switch {
	case errors.Is(err, context.Canceled):
		return reply{http.StatusServiceUnavailable, StepSendAgain}
	case isTimeout(err):
		return reply{http.StatusGatewayTimeout, StepSendAgain}
	default:
		return reply{http.StatusBadGateway, StepSendAgain}
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

// reply is that of the error's kind, but that a refused login code asks for
// another login.
func (e *APIError) reply() reply {
	r := e.Kind().reply()
	if r.step == StepTapAgain && e.isOfLogin() {
		r.step = StepLogIn
	}
	return r
}

// reply is what an errcode of kind k is answered with.
func (k ErrorKind) reply() reply {
	switch k {
	case KindCodeRejected:
		return reply{http.StatusBadRequest, StepTapAgain}
	case KindInvalidRequest:
		return reply{http.StatusBadRequest, StepStop}
	case KindSessionExpired:
		return reply{http.StatusUnauthorized, StepLogIn}
	case KindUserBlocked:
		return reply{http.StatusForbidden, StepStop}
	case KindRateLimited:
		return reply{http.StatusTooManyRequests, StepSendAgain}
	case KindMisconfigured, KindPlatform:
		return reply{http.StatusInternalServerError, StepStop}
	case KindTransient, KindTokenRejected:
		return reply{http.StatusServiceUnavailable, StepSendAgain}
	case KindQuotaExhausted:
		return reply{http.StatusServiceUnavailable, StepStop}
	default:
		return reply{http.StatusBadGateway, StepStop}
	}
}
