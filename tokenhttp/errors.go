package tokenhttp

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/internal/wire"
)

// ErrKeyRefused is returned when the token server answers 401: its handler has
// another key. Trying again does not help.
var ErrKeyRefused = errors.New("tokenhttp: the token server refuses the key")

// AnswerError is an answer of the token server's, or of a proxy before it, that
// is not the one asked for. It is matched with [errors.As], and its cause with
// [errors.Is] or [errors.As]:
//
//   - [ErrKeyRefused] for a 401.
//   - [errors.ErrUnsupported] for the report of a refused token, if the server's
//     source takes none.
//   - [*wxphone.APIError] if WeChat refused the token server. It has the
//     errcode and the endpoint, so it matches [wxphone.ErrIPNotAllowed] and the
//     other errors of wxphone as it does in the token server.
//   - [*wxphone.ResponseError] for everything else.
//
// A token server that does not answer at all is no AnswerError but a
// [*net/url.Error].
type AnswerError struct {
	// HTTPStatus is the status of the answer.
	HTTPStatus int

	problem string
	cause   error
}

// Error returns one line with the problem and the HTTP status. It quotes
// nothing of the answer.
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

// failureAnswer is a failure as a Source reads it.
type failureAnswer struct {
	Error    wire.Text `json:"error"`
	ErrCode  wire.Int  `json:"errcode"`
	Endpoint wire.Text `json:"endpoint"`
}

// answerError is the AnswerError for an answer that is not the one asked for.
// what says what the token server was asked to do.
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

// refusal is WeChat's answer to the token server, or nil if it was none.
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

// isEndpoint reports whether s can be the path of one of WeChat's token APIs,
// which have no digits, as keys and tokens do. Anything else is not passed on.
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
