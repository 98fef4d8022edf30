package tokenhttp

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/internal/wire"
)

// ErrKeyRefused is returned when the token server answers 401, because its
// handler has another key. A retry does not help.
var ErrKeyRefused = errors.New("tokenhttp: the token server refuses the key")

// An AnswerError is an unexpected answer from the token server or from a proxy
// in front of it. Match it with [errors.As], and its cause with [errors.Is] or
// [errors.As]:
//
//   - [ErrKeyRefused] for a 401.
//   - [errors.ErrUnsupported] for a report of a rejected token that the
//     server's source does not accept.
//   - [*wxphone.APIError] if WeChat returned an errcode to the token server. It
//     has the errcode and the endpoint, so it matches [wxphone.ErrIPNotAllowed]
//     and the other errors of wxphone as it does in the token server.
//   - [*wxphone.ResponseError] for everything else.
//
// If the token server does not answer at all, the error is a [*net/url.Error]
// and not an AnswerError.
type AnswerError struct {
	// HTTPStatus is the status of the answer.
	HTTPStatus int

	problem string
	cause   error
}

// Error returns one line with the problem and the HTTP status. It does not
// quote the answer.
func (e *AnswerError) Error() string {
	text := fmt.Sprintf("tokenhttp: %s (HTTP %d)", e.problem, e.HTTPStatus)
	var refusal *wxphone.APIError
	if errors.As(e.cause, &refusal) {
		text += ": " + refusal.Error()
	}
	return text
}

// Unwrap returns the cause.
func (e *AnswerError) Unwrap() error { return e.cause }

// failureAnswer is the body of a failure as a Source decodes it.
type failureAnswer struct {
	Error    wire.Text `json:"error"`
	ErrCode  wire.Int  `json:"errcode"`
	Endpoint wire.Text `json:"endpoint"`
}

// answerError returns the AnswerError for an unexpected answer. what describes
// the request to the token server.
func (s *settings) answerError(status int, body []byte, what string) error {
	e := &AnswerError{HTTPStatus: status, cause: &wxphone.ResponseError{Endpoint: s.path, HTTPStatus: status}}
	var told failureAnswer
	decode(body, &told)
	switch {
	case status == http.StatusUnauthorized:
		e.problem, e.cause = "the token server refuses the key", ErrKeyRefused
	case status == http.StatusNotImplemented && told.Error == codeUnsupported:
		e.problem, e.cause = "the token server's source takes no report of a refused token", errors.ErrUnsupported
	case status >= http.StatusInternalServerError && told.Error == codeNoToken:
		e.problem = "the token server could not " + what
		if refusal := told.refusal(); refusal != nil {
			e.cause = refusal
		}
	case status >= http.StatusMultipleChoices && status < http.StatusBadRequest:
		e.problem = "the token server's URL answers with a redirect, which is not followed"
	case status >= http.StatusInternalServerError:
		e.problem = "the token server, or a proxy before it, fails"
	default:
		e.problem = "the answer is not what a token server answers; is the URL right?"
	}
	return e
}

// refusal returns WeChat's answer to the token server, or nil if there was
// none.
func (f *failureAnswer) refusal() *wxphone.APIError {
	code := f.ErrCode.Value
	if code == 0 || code != int64(int32(code)) { //nolint:gosec // this is the check of the range
		return nil
	}
	refusal := &wxphone.APIError{Code: int(code)}
	if isEndpoint(string(f.Endpoint)) {
		refusal.Endpoint = string(f.Endpoint)
	}
	return refusal
}

// isEndpoint reports whether s can be the path of one of WeChat's token APIs.
// They contain no digits, but keys and tokens do. Any other text is not passed
// on.
func isEndpoint(s string) bool {
	const longest = 64
	if s == "" || s[0] != '/' || len(s) > longest {
		return false
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && c != '/' && c != '_' && c != '-' {
			return false
		}
	}
	return true
}
