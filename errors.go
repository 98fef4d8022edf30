package wxphone

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/wxphone/wxphone/internal/apisec"
)

// Errors that an [APIError] matches by its errcode with [errors.Is].
var (
	// ErrSystemBusy is errcode -1, or a like code of one cloudID: WeChat was
	// busy on every attempt.
	ErrSystemBusy = errors.New("wxphone: WeChat is busy")
	// ErrCodeInvalid is a code (or cloudID) that WeChat does not take: unknown,
	// expired, of another app, or used. The user must tap the button again.
	ErrCodeInvalid = errors.New("wxphone: invalid code")
	// ErrCodeUsed is a code of wx.login that was redeemed before. It matches
	// [ErrCodeInvalid] too, and a used code of the button is only that.
	ErrCodeUsed = errors.New("wxphone: code already used")
	// ErrAccessToken is an access_token that WeChat refused, like the fresh one
	// it was replaced by, if there was another.
	ErrAccessToken = errors.New("wxphone: access_token refused")
	// ErrAppIDMismatch is an appid that is unknown or not the one the code was
	// made for.
	ErrAppIDMismatch = errors.New("wxphone: appid does not match")
	// ErrSecretInvalid is a wrong AppSecret.
	ErrSecretInvalid = errors.New("wxphone: invalid AppSecret")
	// ErrIPNotAllowed is a caller's address that is not on the IP whitelist.
	ErrIPNotAllowed = errors.New("wxphone: IP address not on the whitelist")
	// ErrUserBlocked is a user that WeChat blocks as high risk.
	ErrUserBlocked = errors.New("wxphone: user blocked by WeChat")
	// ErrRateLimited is a quota per minute that is used up.
	ErrRateLimited = errors.New("wxphone: rate limited")
	// ErrQuotaExhausted is a quota per day or month that is used up.
	ErrQuotaExhausted = errors.New("wxphone: quota exhausted")
	// ErrUnauthorized is an API that the account, or the third-party platform,
	// has not been granted.
	ErrUnauthorized = errors.New("wxphone: API not granted")
	// ErrSessionExpired is a session_key that is no longer the user's. The
	// mini-program must call wx.login again.
	ErrSessionExpired = errors.New("wxphone: session expired")
	// ErrAPISecurity is a failure of WeChat's API security: the signature or
	// encryption of a request or of an answer.
	ErrAPISecurity = apisec.ErrFailed
)

// Errors that this package finds itself.
var (
	// ErrInvalidArgument is an argument or an option that cannot be right. The
	// error names it, and nothing was sent.
	ErrInvalidArgument = errors.New("wxphone: invalid argument")
	// ErrDecrypt is the one error for all that can be wrong with encryptedData,
	// iv or session_key; telling the causes apart would help who forges them.
	ErrDecrypt = errors.New("wxphone: encryptedData does not decrypt")
	// ErrWatermark is an answer of WeChat's that is for another appid.
	ErrWatermark = errors.New("wxphone: watermark of another appid")
	// ErrWatermarkExpired is data older than [WithWatermarkMaxAge] allows, from
	// the future, or without a time.
	ErrWatermarkExpired = errors.New("wxphone: watermark outside the allowed age")
	// ErrCodeMaybeUsed is matched, beside the cause, by the error of a call
	// whose code WeChat may have taken although no number arrived: an answer was
	// lost, or WeChat said on one attempt that it was busy. The code may work
	// once more, or be used.
	ErrCodeMaybeUsed = errors.New("wxphone: the code may have been used")
	// ErrNoPhoneNumber is a success of WeChat's that holds no phone number, or a
	// cloudID's -601009: an account without one.
	ErrNoPhoneNumber = errors.New("wxphone: no phone number in the answer")
	// ErrPush is a request to a [PushReader] that is not a push of WeChat's to
	// this platform.
	ErrPush = errors.New("wxphone: push refused")
)

// APIError is an errcode that WeChat answered with. Match it with
// [errors.As], or its cause with [errors.Is] and one of this package's
// errors, or ask for its [APIError.Kind]. One may also be made by hand, with
// Endpoint and Code, for a stub in a test or another API of WeChat's.
//
// All errcodes: https://developers.weixin.qq.com/doc/oplatform/developers/errCode
type APIError struct {
	// Endpoint is the path of the API: "/wxa/business/getuserphonenumber".
	Endpoint string
	// Code is WeChat's errcode.
	Code int
	// Message is WeChat's errmsg without the rid, scrubbed of secrets. Its text
	// is not stable: decide by Code.
	Message string
	// RID is WeChat's id of the request, which openapi/rid/get and WeChat's
	// support explain for 7 days. It is often empty.
	RID string
	// HTTPStatus is the status of the HTTP answer, nearly always 200.
	HTTPStatus int

	hint string // what the request itself tells about the cause
}

// Error returns one line: the endpoint, errcode, WeChat's message, rid, and
// what to do about it.
func (e *APIError) Error() string {
	var b strings.Builder
	b.WriteString("wxphone: ")
	if e.Endpoint != "" {
		b.WriteString(e.Endpoint)
		b.WriteString(": ")
	}
	b.WriteString("errcode ")
	b.WriteString(strconv.Itoa(e.Code))
	if e.Message != "" {
		fmt.Fprintf(&b, " %q", e.Message)
	}
	if e.RID != "" {
		fmt.Fprintf(&b, " (rid %s)", e.RID)
	}
	for _, advice := range []string{e.meaning().advice, e.hint} {
		if advice != "" {
			b.WriteString(": ")
			b.WriteString(advice)
		}
	}
	return b.String()
}

// Is reports whether target is one of this package's errors for e's errcode.
func (e *APIError) Is(target error) bool { return slices.Contains(e.meaning().matches, target) }

// Kind returns the class of e's errcode.
func (e *APIError) Kind() ErrorKind { return e.meaning().kind }

// Retryable reports whether the same call may succeed later: its kind is
// [KindTransient], which the Client has retried already, or
// [KindRateLimited], which it has not.
func (e *APIError) Retryable() bool {
	kind := e.Kind()
	return kind == KindTransient || kind == KindRateLimited
}

// ErrorKind is a class of errcodes that call for the same reaction.
type ErrorKind int

// The kinds of errcodes.
const (
	// KindUnknown is an errcode this package does not know.
	KindUnknown ErrorKind = iota
	// KindTransient is a failure inside WeChat that passes.
	KindTransient
	// KindTokenRejected is an access_token that WeChat does not take.
	KindTokenRejected
	// KindCodeRejected is a code that WeChat does not take: ask for a new tap.
	KindCodeRejected
	// KindSessionExpired is a stale session_key: ask for a new wx.login.
	KindSessionExpired
	// KindUserBlocked is a user that WeChat blocks.
	KindUserBlocked
	// KindRateLimited is a used-up quota per minute.
	KindRateLimited
	// KindQuotaExhausted is a used-up quota per day or month.
	KindQuotaExhausted
	// KindMisconfigured is an account, a secret or an IP whitelist to mend.
	KindMisconfigured
	// KindInvalidRequest is a request that WeChat cannot take.
	KindInvalidRequest
	// KindPlatform is an authorisation to mend between a mini-program and its
	// third-party platform.
	KindPlatform
)

// String returns the kind in words: "code rejected".
func (k ErrorKind) String() string {
	names := [...]string{
		KindUnknown:        "unknown",
		KindTransient:      "transient",
		KindTokenRejected:  "token rejected",
		KindCodeRejected:   "code rejected",
		KindSessionExpired: "session expired",
		KindUserBlocked:    "user blocked",
		KindRateLimited:    "rate limited",
		KindQuotaExhausted: "quota exhausted",
		KindMisconfigured:  "misconfigured",
		KindInvalidRequest: "invalid request",
		KindPlatform:       "platform",
	}
	if k < 0 || int(k) >= len(names) {
		return "ErrorKind(" + strconv.Itoa(int(k)) + ")"
	}
	return names[k]
}

// ResponseError is an answer that is not WeChat's JSON: a gateway's error
// page, a truncated or an oversized body. It matches [ErrRateLimited] if its
// status is 429.
type ResponseError struct {
	Endpoint   string
	HTTPStatus int
	// Snippet is the start of the body, at most 200 bytes and no further than
	// the first "{", scrubbed of secrets and of long numbers.
	Snippet string
}

// Error returns one line with the endpoint, the HTTP status and the snippet.
func (e *ResponseError) Error() string {
	text := fmt.Sprintf("wxphone: %s: HTTP %d with a body that is not WeChat's JSON", e.Endpoint, e.HTTPStatus)
	if e.Snippet != "" {
		text += fmt.Sprintf(": %q", e.Snippet)
	}
	if e.HTTPStatus == http.StatusPreconditionFailed {
		text += ": WeChat answers 412 to a chunked body; send a Content-Length"
	}
	return text
}

// Is reports whether target is [ErrRateLimited] and the status says so.
func (e *ResponseError) Is(target error) bool {
	return target == ErrRateLimited && e.HTTPStatus == http.StatusTooManyRequests //nolint:errorlint // this is what errors.Is asks
}

// codeHint names the mistakes that a refused code shows by its looks.
func codeHint(path, code string) string {
	switch {
	case path != pathGetUserPhoneNumber && len(code) == 64:
		return "the code that was sent looks like the phone button's; wx.login's has 32 characters"
	case strings.ContainsAny(code, `"'{}`):
		return "the code that was sent has quotes or braces around it; send the bare value of e.detail.code"
	case path == pathGetUserPhoneNumber && len(code) == 32:
		return "the code that was sent looks like one of wx.login's; the button's is e.detail.code, 64 hex digits"
	default:
		return ""
	}
}

// boundHint names what else an errcode may mean where WeChat compared the code's
// user with an openid: it is not documented how WeChat says that they differ.
func boundHint(code int) string {
	switch code {
	case 40029, 40003, 40097, 47001:
		return "the code may be another user's than the openid that was sent with it"
	default:
		return ""
	}
}
