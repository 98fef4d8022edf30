// Package redact removes secrets and phone numbers from texts and errors.
package redact

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"strings"
	"syscall"
	"unicode"
	"unicode/utf8"
)

// Mark replaces a secret.
const Mark = "[REDACTED]"

const (
	// shortest is the length below which a "secret" is too common a text to
	// replace, as in tests. WeChat's secrets have at least 24 characters.
	shortest = 8
	// numberDigits is the number of consecutive digits that may be a phone
	// number.
	numberDigits = 7
	// opaqueLength is the length of a session_key, the shortest of WeChat's
	// secrets.
	opaqueLength = 24
	snippetBytes = 200
)

// Text returns s, a text from the other side, as one line. It removes the
// secrets, plain or URL-escaped, runs of digits that may be a phone number, and
// words that may be a secret of another request.
func Text(s string, secrets []string) string {
	return maskOpaque(maskNumbers(Hide(oneLine(s), secrets)))
}

// Snippet returns the start of a body that is not WeChat's JSON: at most 200
// bytes, up to the first "{", because JSON may contain a token or number that
// is not listed as a secret.
func Snippet(body []byte, secrets []string) string {
	text, _, _ := strings.Cut(string(body), "{")
	// The text is cut last, because a secret that is cut in two would not be
	// found.
	text = strings.TrimSpace(Text(text, secrets))
	if len(text) > snippetBytes {
		text = text[:snippetBytes]
		for !utf8.ValidString(text) {
			text = text[:len(text)-1]
		}
	}
	return text
}

// Hide replaces every secret in s, in each way a URL or JSON may encode it.
func Hide(s string, secrets []string) string {
	for _, secret := range secrets {
		if len(secret) < shortest {
			continue
		}
		// A code that was sent with quotes around it is returned without them.
		bare := strings.Trim(secret, "\"'{} \t\r\n")
		for _, form := range []string{secret, url.QueryEscape(secret), url.PathEscape(secret), quoted(secret), bare} {
			if len(form) >= shortest {
				s = strings.ReplaceAll(s, form, Mark)
			}
		}
	}
	return s
}

// quoted returns s as it appears inside a JSON string.
func quoted(s string) string {
	text, err := json.Marshal(s)
	if err != nil {
		return s
	}
	return string(text[1 : len(text)-1])
}

func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
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

// maskOpaque masks long words of letters and digits: tokens, codes and keys
// that are not listed as secrets. Long words in WeChat's own messages have no
// digits.
func maskOpaque(s string) string {
	var out strings.Builder
	for len(s) > 0 {
		end := strings.IndexFunc(s, func(r rune) bool { return !isOpaque(r) })
		if end < 0 {
			end = len(s)
		}
		if word := s[:end]; len(word) >= opaqueLength && strings.ContainsAny(word, "0123456789") {
			out.WriteString(Mark)
		} else {
			out.WriteString(word)
		}
		s = s[end:]
		if s != "" {
			_, size := utf8.DecodeRuneInString(s)
			out.WriteString(s[:size])
			s = s[size:]
		}
	}
	return out.String()
}

func isOpaque(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("_-+/=", r)
}

// safe lists errors whose texts contain no secrets.
var safe = []error{
	context.Canceled, context.DeadlineExceeded, os.ErrDeadlineExceeded,
	io.EOF, io.ErrUnexpectedEOF, net.ErrClosed,
	syscall.ECONNRESET, syscall.ECONNREFUSED, syscall.EPIPE,
}

// Error returns err unchanged if no error in its tree contains a secret.
// Otherwise it returns an error with the same text without the secrets, which
// still matches the timeouts, context errors and connection errors that err
// matched.
func Error(err error, secrets []string) error {
	return scrub(err, secrets, func(text string) bool { return Hide(text, secrets) != text })
}

// NetworkError is [Error] for errors of a transport. net/http quotes bytes that
// it cannot parse, and on a connection that is out of sync they may belong to
// another request's answer.
func NetworkError(err error, secrets []string) error {
	err = scrub(err, secrets, func(text string) bool {
		return Hide(text, secrets) != text || maskNumbers(text) != text || quoteStart(text) < len(text)
	})
	if text := oneLine(err.Error()); text != err.Error() {
		return &flattened{err, text}
	}
	return err
}

// flattened is an error whose text is one line.
type flattened struct {
	error
	text string
}

func (e *flattened) Error() string { return e.text }
func (e *flattened) Unwrap() error { return e.error }

func scrub(err error, secrets []string, bad func(text string) bool) error {
	if !tells(err, secrets, bad) {
		return err
	}
	text := err.Error()
	clean := &scrubbed{text: strings.TrimRight(Text(text[:quoteStart(text)], secrets), ": ")}
	var timeout interface{ Timeout() bool }
	clean.timeout = errors.As(err, &timeout) && timeout.Timeout()
	for _, known := range safe {
		if errors.Is(err, known) {
			clean.is = append(clean.is, known)
		}
	}
	return clean
}

// tells reports whether an error in err's tree has a bad text or prints a
// secret with another verb.
func tells(err error, secrets []string, bad func(text string) bool) bool {
	if bad(err.Error()) {
		return true
	}
	if all := fmt.Sprintf("%+v %#v", err, err); Hide(all, secrets) != all {
		return true
	}
	switch wrapper := err.(type) { //nolint:errorlint // this walks the tree
	case interface{ Unwrap() error }:
		inner := wrapper.Unwrap()
		return inner != nil && tells(inner, secrets, bad)
	case interface{ Unwrap() []error }:
		for _, inner := range wrapper.Unwrap() {
			if inner != nil && tells(inner, secrets, bad) {
				return true
			}
		}
	}
	return false
}

// quoteStart returns the index at which text starts to quote an unexpected
// answer, which may contain a token or number that is not listed.
func quoteStart(text string) int {
	for _, start := range []string{"malformed ", "{"} {
		if at := strings.Index(text, start); at >= 0 {
			text = text[:at]
		}
	}
	return len(text)
}

// scrubbed does not wrap the original error, which still contains the secret.
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
		if known == target {
			return true
		}
	}
	return false
}
