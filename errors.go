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
	// ErrSystemBusy is returned when WeChat is busy on every attempt: errcode
	// -1, or a similar code for a cloudID.
	ErrSystemBusy = errors.New("wxphone: WeChat is busy")
	// ErrCodeInvalid is returned when WeChat does not accept a code or cloudID:
	// it is unknown, has expired, belongs to another app, or was used. The user
	// must tap the button again.
	ErrCodeInvalid = errors.New("wxphone: invalid code")
	// ErrCodeUsed is returned when a wx.login code was already redeemed. Such
	// an error also matches [ErrCodeInvalid]. For a used code of the phone
	// number button, the error matches only [ErrCodeInvalid].
	ErrCodeUsed = errors.New("wxphone: code already used")
	// ErrAccessToken is returned when WeChat rejects the access_token, and
	// repeating the call with another token did not help.
	ErrAccessToken = errors.New("wxphone: access_token refused")
	// ErrAppIDMismatch is returned when the appid is unknown or is not the one
	// the code was created for.
	ErrAppIDMismatch = errors.New("wxphone: appid does not match")
	// ErrSecretInvalid is returned when the AppSecret is wrong or frozen.
	ErrSecretInvalid = errors.New("wxphone: invalid AppSecret")
	// ErrIPNotAllowed is returned when the IP address of the caller is not on
	// the IP whitelist.
	ErrIPNotAllowed = errors.New("wxphone: IP address not on the whitelist")
	// ErrUserBlocked is returned when WeChat blocks the user as high risk.
	ErrUserBlocked = errors.New("wxphone: user blocked by WeChat")
	// ErrRateLimited is returned when a quota per minute is used up.
	ErrRateLimited = errors.New("wxphone: rate limited")
	// ErrQuotaExhausted is returned when a quota per day or month is used up.
	ErrQuotaExhausted = errors.New("wxphone: quota exhausted")
	// ErrUnauthorized is returned when the account or the third-party platform
	// has not been granted the API.
	ErrUnauthorized = errors.New("wxphone: API not granted")
	// ErrSessionExpired is returned when a session_key is no longer the user's.
	// The mini-program must call wx.login again.
	ErrSessionExpired = errors.New("wxphone: session expired")
	// ErrAPISecurity is returned when WeChat's API security fails: the
	// signature or encryption of a request or an answer is not valid.
	ErrAPISecurity = apisec.ErrFailed
)

// Errors that this package detects itself.
var (
	// ErrInvalidArgument is returned when an argument or option is not valid.
	// The error names it, and no request was made.
	ErrInvalidArgument = errors.New("wxphone: invalid argument")
	// ErrDecrypt is returned when encryptedData cannot be decrypted, is not
	// valid, or was not created by WeChat. It is the same for every cause,
	// because distinguishing them would help an attacker to forge data.
	ErrDecrypt = errors.New("wxphone: encryptedData does not decrypt")
	// ErrWatermark is returned when WeChat's answer is for another appid.
	ErrWatermark = errors.New("wxphone: watermark of another appid")
	// ErrWatermarkExpired is returned when data is older than
	// [WithWatermarkMaxAge] allows, is from the future, or has no timestamp.
	ErrWatermarkExpired = errors.New("wxphone: watermark outside the allowed age")
	// ErrCodeMaybeUsed is returned, together with the cause, when a call fails
	// but WeChat may have consumed the code: an answer was lost, or WeChat was
	// busy on one attempt. The code may work once more or be used.
	ErrCodeMaybeUsed = errors.New("wxphone: the code may have been used")
	// ErrNoPhoneNumber is returned when WeChat reports success but the answer
	// contains no phone number, or when a cloudID's errcode is -601009, for an
	// account without a phone number.
	ErrNoPhoneNumber = errors.New("wxphone: no phone number in the answer")
	// ErrPush is returned when a request to a [PushReader] is not a push from
	// WeChat to this platform.
	ErrPush = errors.New("wxphone: push refused")
)

// An APIError is an errcode returned by WeChat. Match it with [errors.As],
// match its cause with [errors.Is] and one of this package's errors, or use
// [APIError.Kind]. A test stub, or code that calls another WeChat API, may
// create one with Endpoint and Code.
//
// For all errcodes, see
// https://developers.weixin.qq.com/doc/oplatform/developers/errCode
type APIError struct {
	// Endpoint is the path of the API, such as
	// "/wxa/business/getuserphonenumber".
	Endpoint string
	// Code is WeChat's errcode.
	Code int
	// Message is WeChat's errmsg without the rid and without secrets, at most 500
	// bytes of it. The text is not stable; use Code to tell errors apart.
	Message string
	// RID is WeChat's id of the request. For 7 days, openapi/rid/get and
	// WeChat's support can look it up. It is often empty, and has at most 500
	// bytes.
	RID string
	// HTTPStatus is the status of the HTTP answer. It is nearly always 200.
	HTTPStatus int

	hint string // a likely cause found in the request, or ""
}

// Error returns one line with the endpoint, the errcode, WeChat's message, the
// rid, and advice on what to do.
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

// Is reports whether target is one of this package's errors that e's errcode
// matches.
func (e *APIError) Is(target error) bool { return slices.Contains(e.meaning().matches, target) }

// Kind returns the class of e's errcode.
func (e *APIError) Kind() ErrorKind { return e.meaning().kind }

// Retryable reports whether the same call may succeed later. It is true for
// [KindTransient], which the Client has already retried, and for
// [KindRateLimited], which it has not.
func (e *APIError) Retryable() bool {
	kind := e.Kind()
	return kind == KindTransient || kind == KindRateLimited
}

// An ErrorKind is a class of errcodes that require the same reaction.
type ErrorKind int

// The kinds of errcodes.
const (
	// KindUnknown is an errcode that this package does not know.
	KindUnknown ErrorKind = iota
	// KindTransient is a temporary failure inside WeChat.
	KindTransient
	// KindTokenRejected is an access_token that WeChat does not accept.
	KindTokenRejected
	// KindCodeRejected is a code that WeChat does not accept. The user must tap
	// again.
	KindCodeRejected
	// KindSessionExpired is a session_key that is no longer valid. The
	// mini-program must call wx.login again.
	KindSessionExpired
	// KindUserBlocked is a user that WeChat blocks.
	KindUserBlocked
	// KindRateLimited is a quota per minute that is used up.
	KindRateLimited
	// KindQuotaExhausted is a quota per day or month that is used up.
	KindQuotaExhausted
	// KindMisconfigured is an account, AppSecret or IP whitelist that must be
	// corrected.
	KindMisconfigured
	// KindInvalidRequest is a request that is not valid.
	KindInvalidRequest
	// KindPlatform is an authorisation between a mini-program and its
	// third-party platform that must be corrected.
	KindPlatform
)

// String returns the kind in words, such as "code rejected".
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

// A ResponseError is an answer that is not WeChat's JSON, such as a gateway's
// error page or a truncated or oversized body. It matches [ErrRateLimited] if
// its status is 429.
type ResponseError struct {
	Endpoint   string
	HTTPStatus int
	// Snippet is the start of the body: at most 200 bytes, up to the first "{",
	// without secrets and long numbers.
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

// Is reports whether target is [ErrRateLimited] and the status is 429.
func (e *ResponseError) Is(target error) bool {
	return target == ErrRateLimited && e.HTTPStatus == http.StatusTooManyRequests
}

// codeHint returns the likely mistake behind a rejected code, judging by its
// form, or "".
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
