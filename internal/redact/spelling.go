package redact

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// Hide replaces every secret in s, in all the ways a URL or a JSON string may
// spell it.
func Hide(s string, secrets []string) string {
	for _, secret := range secrets {
		if len(secret) < shortest {
			continue
		}
		s = hideOne(s, secret)
		// A code that was sent with quotes around it comes back without them.
		if bare := strings.Trim(secret, "\"'{} \t\r\n"); bare != secret && len(bare) >= shortest {
			s = hideOne(s, bare)
		}
	}
	return s
}

func hideOne(s, secret string) string {
	var out strings.Builder
	kept := 0
	for at := 0; at < len(s); {
		size := spelled(s[at:], secret)
		if size < 0 {
			at++
			continue
		}
		out.WriteString(s[kept:at])
		out.WriteString(Mark)
		at += size
		kept = at
	}
	if kept == 0 {
		return s
	}
	out.WriteString(s[kept:])
	return out.String()
}

// spelled returns how many bytes of s spell the secret that s begins with, or
// -1. Each character may be plain or escaped, whatever the others are.
func spelled(s, secret string) int {
	at := 0
	for secret != "" {
		taken, size := spelledCharacter(s[at:], secret)
		if size == 0 {
			return -1
		}
		at += size
		secret = secret[taken:]
	}
	return at
}

// spelledCharacter returns how many bytes of secret are spelled by how many of
// s. A form has "+" for a space, and whoever reads a "+" as a form a space.
func spelledCharacter(s, secret string) (taken, size int) {
	switch {
	case s == "":
		return 0, 0
	case s[0] == '%':
		if size := percentEscape(s, secret[0]); size > 0 {
			return 1, size
		}
		if size := percentEscape(s, '+'); size > 0 && secret[0] == ' ' {
			return 1, size
		}
	case s[0] == '\\':
		if taken, size := backslashEscape(s, secret); size > 0 {
			return taken, size
		}
	case s[0] == '+' && secret[0] == ' ', s[0] == ' ' && secret[0] == '+':
		return 1, 1
	}
	if s[0] == secret[0] {
		return 1, 1
	}
	return 0, 0
}

// percentEscape is for "%2B", "%2b", and "%252B" of a URL inside a URL.
func percentEscape(s string, c byte) (size int) {
	for at := 1; at+2 <= len(s); at += 2 {
		if value, err := strconv.ParseUint(s[at:at+2], 16, 8); err == nil && byte(value) == c {
			return at + 2
		}
		if s[at:at+2] != "25" {
			return 0
		}
	}
	return 0
}

// backslashEscape is for the escapes of JSON and of %q.
func backslashEscape(s, secret string) (taken, size int) {
	var digits int
	switch {
	case len(s) < 2:
		return 0, 0
	case s[1] == 'u':
		digits = 4
	case s[1] == 'x':
		digits = 2
	default:
		if plain, err := strconv.Unquote(`"` + s[:2] + `"`); err == nil && strings.HasPrefix(secret, plain) {
			return len(plain), 2
		}
		if s[1] == secret[0] && strings.IndexByte(`/"'`, s[1]) >= 0 {
			return 1, 2
		}
		return 0, 0
	}
	size = 2 + digits
	if len(s) < size {
		return 0, 0
	}
	value, err := strconv.ParseInt(s[2:size], 16, 32)
	if err != nil {
		return 0, 0
	}
	if digits == 2 {
		if value == int64(secret[0]) {
			return 1, size
		}
		return 0, 0
	}
	if r, length := utf8.DecodeRuneInString(secret); int64(r) == value {
		return length, size
	}
	return 0, 0
}
