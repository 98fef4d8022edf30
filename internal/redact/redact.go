// Package redact removes secrets and phone numbers from texts and errors.
package redact

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"strings"
	"syscall"
	"unicode"
	"unicode/utf8"

	"github.com/wxphone/wxphone/internal/wire"
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

// Text returns s, a text of the other side's, as one line without the secrets,
// written plainly or escaped, without what may be a phone number, and without
// what looks like a secret of some other request.
func Text(s string, secrets []string) string {
	// Opaque words come first: a number masked inside one would leave pieces that
	// are too short to be seen.
	return maskNumbers(maskOpaque(Hide(oneLine(s), secrets)))
}

// Snippet returns the start of a body that is not WeChat's JSON: at most 200
// bytes, up to the first "{", because JSON may contain a token or number that
// is not listed as a secret.
func Snippet(body []byte, secrets []string) string {
	text, _, _ := strings.Cut(string(body), "{")
	// The text is cut last, because a secret that is cut in two would not be
	// found.
	text = strings.TrimSpace(Text(text, secrets))
	return Cut(text, snippetBytes)
}

// Cut returns at most so many bytes of s, and no part of a character. It is
// for what is clean already: a secret across the cut would not be found.
func Cut(s string, most int) string {
	if len(s) <= most {
		return s
	}
	for most > 0 && !utf8.RuneStart(s[most]) {
		most--
	}
	return s[:most]
}

func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, " "))
}

// maskOpaque masks long words of letters and digits: tokens, codes and keys
// that are not listed as secrets. Long words in WeChat's own messages have no
// digits, but for the rid, which its support asks for.
func maskOpaque(s string) string {
	var out strings.Builder
	for len(s) > 0 {
		end := strings.IndexFunc(s, func(r rune) bool { return !isOpaque(r) })
		if end < 0 {
			end = len(s)
		}
		if word := s[:end]; len(word) >= opaqueLength && strings.ContainsAny(word, "0123456789") && !wire.IsRID(word) {
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
// Otherwise it returns an error with the same text, masked as by [Text] and cut
// where an answer begins, which still matches the timeouts, context errors and connection errors that err
// matched.
func Error(err error, secrets []string) error {
	return scrub(err, secrets, beforeAnswer, func(text string) bool { return Hide(text, secrets) != text })
}

// NetworkError is [Error] for what a transport failed with. net/http quotes
// the bytes it could not make sense of, and a connection that is out of step
// has another request's answer there: the text ends where it begins to quote.
func NetworkError(err error, secrets []string) error {
	err = scrub(err, secrets, beforeQuote, func(text string) bool {
		text = withoutPlainURLs(text)
		return beforeQuote(text) != text || Text(text, secrets) != oneLine(text)
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

func scrub(err error, secrets []string, cut func(string) string, bad func(string) bool) error {
	if !tells(err, secrets, bad) {
		return err
	}
	clean := &scrubbed{text: strings.TrimRight(Text(cut(err.Error()), secrets), ": ")}
	if clean.text == "" {
		clean.text = Mark
	}
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

// beforeAnswer returns text as far as it cannot be an answer's that came where
// none was expected: one may hold a token or a number that nobody has listed.
func beforeAnswer(text string) string {
	for _, start := range []string{"malformed ", "{"} {
		text, _, _ = strings.Cut(text, start)
	}
	return text
}

// nestedURL is what a url.Error says before its cause.
var nestedURL = regexp.MustCompile(`\b(Get|Head|Post|Put|Patch|Delete|Connect|Options|Trace) "(?:[^"\\]|\\.)*": `)

// withoutPlainURLs returns text without the quotation marks of the URLs of
// requests inside the request, as far as these have no query or user.
func withoutPlainURLs(text string) string {
	return nestedURL.ReplaceAllStringFunc(text, func(found string) string {
		if strings.ContainsAny(found, "?@\\") {
			return found
		}
		return strings.ReplaceAll(found, `"`, "")
	})
}

// beforeQuote returns text up to its first quotation, but for the URL of a
// request inside the request, which it leaves out.
func beforeQuote(text string) string {
	text = nestedURL.ReplaceAllString(text, "$1: ")
	if at := strings.IndexAny(text, "\"`"); at >= 0 {
		text = text[:at]
	}
	return beforeAnswer(text)
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
