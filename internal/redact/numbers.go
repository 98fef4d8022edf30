package redact

import (
	"net/netip"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxGap is how many bytes may part two groups of digits of one number, as in
// "(138) - 1234".
const maxGap = 3

// harmless finds what is written with digits and separators and is no phone
// number: a rid, a date, an IP address, a duration or a decimal number. What
// stands around it decides whether it really is one.
var harmless = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{8}-[0-9a-f]{8}` +
	`|(?:19|20)[0-9]{2}[-/.](?:1[0-2]|0?[1-9])[-/.](?:[12][0-9]|3[01]|0?[1-9])` +
	`|[0-9]{1,3}(?:\.[0-9]{1,3}){3}` +
	`|[0-9]{1,2}:[0-9]{2}:[0-9]{2}\.[0-9]{1,9}` +
	`|[0-9]{1,3}\.[0-9]{1,9}(?:ns|us|µs|ms|s)` +
	`|[0-9]{1,2}\.[0-9]{1,6}`)

// maskNumbers masks what may be a phone number: digits, seven or more, which
// spaces, hyphens, dots and parentheses may part.
func maskNumbers(s string) string {
	if !mayHoldNumber(s) {
		return s
	}
	var out strings.Builder
	for at := 0; at < len(s); {
		start, end := nextHarmless(s, at)
		out.WriteString(maskRuns(s[at:start]))
		out.WriteString(s[start:end])
		at = end
	}
	return out.String()
}

// mayHoldNumber spares most texts the search.
func mayHoldNumber(s string) bool {
	digits := 0
	for _, r := range s {
		if unicode.IsDigit(r) {
			digits++
		}
	}
	return digits >= numberDigits
}

// nextHarmless returns where the next harmless piece of s is from at on, or the
// end of s twice.
func nextHarmless(s string, at int) (start, end int) {
	for at < len(s) {
		found := harmless.FindStringIndex(s[at:])
		if found == nil {
			break
		}
		start, end = at+found[0], at+found[1]
		if standsAlone(s, start, end) && isPlausible(s[start:end]) {
			return start, end
		}
		// A longer piece of digits begins here. What follows in it is a part.
		at = start + 1
		for at < len(s) && isDigit(s[at]) {
			at++
		}
	}
	return len(s), len(s)
}

// standsAlone reports whether s[start:end] is no part of a longer number.
func standsAlone(s string, start, end int) bool {
	before, after := strings.TrimRight(s[:start], ".-"), strings.TrimLeft(s[end:], ".-")
	if isDigitEnd(before) || after != "" && isDigit(after[0]) {
		return false
	}
	if end < len(s) && isLetter(s[end]) && s[end] != 'T' && s[end] != 'Z' || start > 0 && isLetter(s[start-1]) && !isDuration(s[start:end]) {
		return false
	}
	if !isDecimal(s[start:end]) {
		return true
	}
	// "13.8001 38000" is no decimal.
	before, after = strings.TrimRight(s[:start], separators), strings.TrimLeft(s[end:], separators)
	return !isDigitEnd(before) && (after == "" || !isDigit(after[0]))
}

func isPlausible(piece string) bool {
	if strings.Count(piece, ".") != 3 {
		return true
	}
	_, err := netip.ParseAddr(piece)
	return err == nil
}

func isDecimal(piece string) bool {
	return strings.Count(piece, ".") == 1 && !strings.ContainsAny(piece, ":-/s")
}

func isDuration(piece string) bool { return strings.HasSuffix(piece, "s") }

const separators = " -.()\u2010\u2011\u2013"

// maskRuns masks every run of digits and separators that is long enough.
func maskRuns(s string) string {
	var out strings.Builder
	for s != "" {
		start := strings.IndexFunc(s, unicode.IsDigit)
		if start < 0 {
			break
		}
		end, digits := runLength(s[start:])
		out.WriteString(s[:start])
		if digits >= numberDigits {
			out.WriteString("***")
		} else {
			out.WriteString(s[start : start+end])
		}
		s = s[start+end:]
	}
	out.WriteString(s)
	return out.String()
}

// runLength returns how long the run is that s begins with, from its first to
// its last digit, and how many digits it has.
func runLength(s string) (end, digits int) {
	for at := 0; at < len(s); {
		r, size := utf8.DecodeRuneInString(s[at:])
		switch {
		case unicode.IsDigit(r):
			digits++
			at += size
			end = at
		case at-end < maxGap && strings.ContainsRune(separators, r):
			at += size
		default:
			return end, digits
		}
	}
	return end, digits
}

func isDigit(c byte) bool  { return '0' <= c && c <= '9' }
func isLetter(c byte) bool { return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' }

func isDigitEnd(s string) bool { return s != "" && isDigit(s[len(s)-1]) }
