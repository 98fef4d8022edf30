// Package redact keeps secrets and phone numbers out of texts and errors.
package redact

import (
	"context"
	"errors"
	"io"
	"net"
	"net/url"
	"os"
	"strings"
	"syscall"
	"unicode"
	"unicode/utf8"
)

// Mark is what a secret prints as.
const Mark = "[REDACTED]"

const (
	// shortest is the length below which a "secret" is too common a piece of
	// text to be worth hiding; WeChat's own have at least 24 characters.
	shortest = 4
	// numberDigits is the length of a run of digits that may be a phone number.
	numberDigits = 7
	snippetBytes = 200
)

// Text returns s as one line without the secrets, written plainly or
// URL-escaped, and without runs of digits that may be a phone number.
func Text(s string, secrets []string) string {
	return maskNumbers(oneLine(Hide(s, secrets)))
}

// Snippet returns the start of a body that is not WeChat's JSON: 200 bytes at
// most, and nothing from the first "{" on, since JSON may hold a token or a
// number that is not known as a secret.
func Snippet(body []byte, secrets []string) string {
	// A secret across the cut would be hidden no more, so the cut comes last;
	// the margin only keeps an oversized body from being scrubbed whole.
	const margin = 16 * snippetBytes
	text := string(body[:min(len(body), margin)])
	text, _, _ = strings.Cut(text, "{")
	text = strings.TrimSpace(Text(text, secrets))
	if len(text) > snippetBytes {
		text = text[:snippetBytes]
		for !utf8.ValidString(text) {
			text = text[:len(text)-1]
		}
	}
	return text
}

// Hide replaces every secret in s, in all the ways a URL may spell it.
func Hide(s string, secrets []string) string {
	for _, secret := range secrets {
		if len(secret) < shortest {
			continue
		}
		for _, form := range []string{secret, url.QueryEscape(secret), url.PathEscape(secret)} {
			s = strings.ReplaceAll(s, form, Mark)
		}
	}
	return s
}

func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r == utf8.RuneError || unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, " "))
}

func maskNumbers(s string) string {
	var out strings.Builder
	for i := 0; i < len(s); {
		end := i
		for end < len(s) && '0' <= s[end] && s[end] <= '9' {
			end++
		}
		switch {
		case end-i >= numberDigits:
			out.WriteString("***")
			i = end
		case end > i:
			out.WriteString(s[i:end])
			i = end
		default:
			out.WriteByte(s[i])
			i++
		}
	}
	return out.String()
}

// safe are the errors that carry no text of their own to hide.
var safe = []error{
	context.Canceled, context.DeadlineExceeded, os.ErrDeadlineExceeded,
	io.EOF, io.ErrUnexpectedEOF, net.ErrClosed,
	syscall.ECONNRESET, syscall.ECONNREFUSED, syscall.EPIPE,
}

// Error returns err itself if no error in its tree tells a secret. Otherwise
// it returns one that says the same with the secrets hidden, and still matches
// the timeouts, context errors and connection errors that err matched.
func Error(err error, secrets []string) error {
	if !tells(err, secrets) {
		return err
	}
	clean := &scrubbed{text: Text(err.Error(), secrets)}
	var timeout interface{ Timeout() bool }
	clean.timeout = errors.As(err, &timeout) && timeout.Timeout()
	for _, known := range safe {
		if errors.Is(err, known) {
			clean.is = append(clean.is, known)
		}
	}
	return clean
}

func tells(err error, secrets []string) bool {
	if text := err.Error(); Hide(text, secrets) != text {
		return true
	}
	switch wrapper := err.(type) { //nolint:errorlint // this walks the tree
	case interface{ Unwrap() error }:
		inner := wrapper.Unwrap()
		return inner != nil && tells(inner, secrets)
	case interface{ Unwrap() []error }:
		for _, inner := range wrapper.Unwrap() {
			if inner != nil && tells(inner, secrets) {
				return true
			}
		}
	}
	return false
}

// scrubbed does not wrap the error it stands for: whoever unwrapped it would
// read the secret.
type scrubbed struct {
	text    string
	timeout bool
	is      []error
}

func (e *scrubbed) Error() string   { return e.text }
func (e *scrubbed) Timeout() bool   { return e.timeout }
func (e *scrubbed) Temporary() bool { return e.timeout }

func (e *scrubbed) Is(target error) bool {
	for _, known := range e.is {
		if known == target { //nolint:errorlint // errors.Is calls this
			return true
		}
	}
	return false
}
