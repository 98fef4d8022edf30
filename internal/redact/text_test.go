package redact_test

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"

	"github.com/wxphone/wxphone/internal/redact"
)

const (
	secret = "5f2d8c1a0b9e4d7786f3a1c2e4b6d8aa"
	// odd has characters that a URL spells in more than one way.
	odd = "a+b/c==d e&f"
)

var (
	secrets   = []string{secret, odd, "", "abc"}
	sevenPlus = regexp.MustCompile(`[0-9]{7}`)
)

func TestText(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, text, want string
	}{
		{"nothing to hide", "invalid code", "invalid code"},
		{"empty", "", ""},
		{"a secret", "secret=" + secret + "!", "secret=" + redact.Mark + "!"},
		{"twice", secret + secret, redact.Mark + redact.Mark},
		{"a phone number", "for 13800000000.", "for ***."},
		{"seven digits", "1234567", "***"},
		{"six digits stay", "errcode 123456", "errcode 123456"},
		{"digits at both ends", "13800000000 and 13900000000", "*** and ***"},
		{"two runs", "123456-1234567", "***"},
		{"one line", "a\r\nb\tc\vd\fe\x00f\u0085g", "a  b c d e f g"},
		{"line separators", "a\u2028b\u2029c", "a b c"},
		{"broken UTF-8", "a\xff\xfeb", "a b"},
		{"Chinese", "系统繁忙 <b>&", "系统繁忙 <b>&"},
		{"short and empty secrets hide nothing", "abc abcabc", "abc abcabc"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			assert.Equal(t, tt.want, redact.Text(tt.text, secrets))
		})
	}
}

func TestSecretsOfEightBytesAreHidden(t *testing.T) {
	t.Parallel()
	assert.Equal(t, redact.Mark+" one-two", redact.Text("one-twos one-two", []string{"one-twos", "one-two"}))
}

func TestOpaqueWordsOfASessionKeysLengthAreMasked(t *testing.T) {
	t.Parallel()
	sessionKey := "aAzZ09x-QmLvRwYhNpCd_/=="
	assert.Equal(t, redact.Mark+" "+sessionKey[1:], redact.Text(sessionKey+" "+sessionKey[1:], nil))
	letters := strings.Repeat("unauthorized", 2)
	assert.Equal(t, letters, redact.Text(letters, nil), "without a digit it is a word")
	rid := "6b08539a-1f2e3d4c-5b6a7988"
	assert.Equal(t, rid, redact.Text(rid, nil))
}

func TestNumbersAreMaskedHoweverTheyAreWritten(t *testing.T) {
	t.Parallel()
	for _, number := range []string{
		"13800138000", "138-0013-8000", "138 0013 8000", "138.0013.8000", "138 00138000", "13800 138000",
		"86 138 0013 8000", "86-13800138000", "1 (415) 555-2671", "415)555-2671", "138 - 0013 - 8000",
		"138\u00a00013\u00a08000", "138\u20110013\u20118000", "138\u20130013\u20138000", "１３８００１３８０００", "138-001-3800",
		"9123 4567", "0171-1234567", "1.380.013.8000", "13.8001 38000", "13 80 01 38 00 0", "2024-01-02345", "20-8888-8888",
		"138.001.380.000", "300.300.300.300", "138.00138000", "10.0.0.1.5551", "1380-2024-01-02",
	} {
		for _, around := range [][2]string{
			{"", ""}, {"sent to ", "."}, {"(", ")"}, {"+", "; "}, {`phone "`, `"`}, {"号码", "不对"}, {"10.0.0.1 and ", " at 2026-11-26 14:08"},
			{"user ", " (rid 6b0476f6-2c099d96-7fa6429e)"}, {"after 1.5s: ", ", 2.5s"},
		} {
			assert.Equal(t, around[0]+"***"+around[1], redact.Text(around[0]+number+around[1], nil), number)
		}
	}
}

func TestOtherDigitsAreNotMasked(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"2026-11-26", "2026-11-26 14:08:44", "2026/11/26 14:08:44", "2026.11.26", "2026-11-26T14:08:44Z", "2026-11-26T14:08:44.123456Z",
		"Thu, 26 Nov 2026 14:08:44 GMT", "26/Nov/2026:14:08:44 +0800", "14:08:44.123456789",
		"203.0.113.7", "192.168.100.200", "dial tcp 203.0.113.70:443: connect: connection refused",
		"read tcp 127.0.0.1:53412->127.0.0.1:45623: i/o timeout", "lookup h on 100.100.2.136:53: no such host",
		"dial tcp [2408:8756:1234:5678::1]:443", "invalid ip 203.0.113.7 ipv6 ::ffff:203.0.113.7, not in whitelist",
		"proxy 192.168.100.200 or 192.168.100.201", "10.0.0.0/24", "from 192.168.100.200. Then", "503 at 192.168.100.200",
		"6b0476f6-2c099d96-7fa6429e", "61021234-01234567-12345678", "(rid 61021234-01234567-12345678)",
		"1.5s", "took 1.234567s", "1m2.345678901s", "12.345678ms", "0.123456", "99.999999",
		"errcode 40029", "HTTP 412", "HTTP/1.1 502 Bad Gateway", "nginx/1.24.0", "-601005", "at most 5000 calls in 60 s",
		"1-2-3", "v1.26.8", "x509: certificate has expired or is not yet valid: current time 2026-11-26T14:08:44Z is after 2025-01-01T00:00:00Z",
	} {
		assert.Equal(t, text, redact.Text(text, nil))
	}
}

func TestMaskedNumberLeavesNoPieceOfATokenAround(t *testing.T) {
	t.Parallel()
	assert.Equal(t, "token "+redact.Mark+".", redact.Text("token 86_kZ5nXUJ8oq1234567bR7dLhVtMgC2.", nil))
}

func TestHideKnowsEveryWayToEscape(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"lower case":      strings.ToLower(url.QueryEscape(odd)),
		"mixed case":      "a%2Bb%2fc%3D%3dd%20e%26f",
		"some characters": "a+b%2fc=%3dd e%26f",
		"all characters":  "%61%2b%62%2f%63%3d%3d%64%20%65%26%66",
		"twice":           url.QueryEscape(url.QueryEscape(odd)),
		"twice, lower":    strings.ToLower(url.QueryEscape(url.QueryEscape(odd))),
		"JSON":            `a+b/c==d e\u0026f`,
		"JSON, slash":     `a\u002Bb\/c==d e\u0026f`,
		"Go":              `a\x2bb/c==d e&f`,
		"read as a form":  "a b/c==d e&f",
		"a form":          "a%2bb%2fc%3d%3dd+e%26f",
	} {
		hidden := redact.Hide("x"+text+"y", secrets)
		assert.Equal(t, "x"+redact.Mark+"y", hidden, name)
	}
	quoted := `say "hi" to` + "\tall\u00e9"
	for _, text := range []string{fmt.Sprintf("%q", quoted), fmt.Sprintf("%+q", quoted), quoted} {
		assert.Equal(t, redact.Mark, strings.Trim(redact.Hide(text, []string{quoted}), `"`), text)
	}
}

func TestHideReadsBrokenEscapes(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"a%", "a%2", "a%2g", "a%25", "a%2525", `a\`, `a\u`, `a\u00`, `a\uzzzz`, `a\x`, `a\xz0`, `a\`} {
		assert.Equal(t, text, redact.Hide(text, secrets))
		assert.Equal(t, redact.Mark+text, redact.Hide(odd+text, secrets))
	}
}

func TestHideKnowsTheSpellingsOfAURL(t *testing.T) {
	t.Parallel()
	spellings := map[string]string{
		"plain":         odd,
		"query":         url.QueryEscape(odd),
		"path":          url.PathEscape(odd),
		"a whole query": url.Values{"access_token": {odd}}.Encode(),
		"a whole URL":   (&url.URL{Scheme: "https", Host: "h", RawQuery: "t=" + url.QueryEscape(odd)}).String(),
	}
	for name, text := range spellings {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			hidden := redact.Hide("before "+text+" after", secrets)
			assert.Contains(t, hidden, redact.Mark)
			assert.NotContains(t, hidden, text)
			// No way of unescaping brings it back.
			for _, unescape := range []func(string) (string, error){url.QueryUnescape, url.PathUnescape} {
				plain, err := unescape(hidden)
				assert.NoError(t, err)
				assert.NotContains(t, plain, odd)
			}
			assert.True(t, strings.HasPrefix(hidden, "before ") && strings.HasSuffix(hidden, " after"), hidden)
		})
	}
}

func TestHideLeavesOtherTextAlone(t *testing.T) {
	t.Parallel()
	// Digits and line ends are Text's business.
	text := "13800000000\nsecret=" + secret[1:]
	assert.Equal(t, text, redact.Hide(text, secrets))
	assert.Equal(t, text, redact.Hide(text, nil))
}

func TestSnippet(t *testing.T) {
	t.Parallel()
	html := "<html><head><title>502 Bad Gateway</title></head></html>"
	tests := []struct {
		name, body, want string
	}{
		{"HTML", html, html},
		{"empty", "", ""},
		{"JSON", `{"access_token":"86_x"}`, ""},
		{"text before JSON", "  HTTP/1.1 200 OK\r\n {\"access_token\":\"86_x\"}", "HTTP/1.1 200 OK"},
		{"a JSON array", `["13800000000",{"phoneNumber":"1"}]`, `["***",`},
		{"a secret", "unknown token " + secret, "unknown token " + redact.Mark},
		{"a number", "sent to 13800000000", "sent to ***"},
		{"line ends", "a\nb", "a b"},
		{"200 bytes", strings.Repeat("a.", 100), strings.Repeat("a.", 100)},
		{"201 bytes", strings.Repeat("a.", 100) + "a", strings.Repeat("a.", 100)},
		// 3 bytes each: the 67th would end at 201.
		{"no rune is cut", strings.Repeat("微", 100), strings.Repeat("微", 66)},
		{"binary", "\x1f\x8b\x08\x00\xff\xfe", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := redact.Snippet([]byte(tt.body), secrets)
			if tt.name == "binary" {
				assert.True(t, utf8.ValidString(got))
				assert.NotContains(t, got, "\x08")
				return
			}
			assert.Equal(t, tt.want, got)
		})
	}
}

// A secret must not survive because the snippet, or the part of the body that
// is looked at, ends in its middle.
func TestSnippetHidesSecretsAcrossEveryCut(t *testing.T) {
	t.Parallel()
	for name, filler := range map[string]string{"letters": "a.", "digits": "1", "spaces": " ", "runes": "微"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// Any cut tells 8 bytes or more at several of these places.
			for before := 0; before < 4096; before += 7 {
				body := strings.Repeat(filler, before/len(filler)) + secret + " tail"
				got := redact.Snippet([]byte(body), secrets)
				if piece := pieceOf(got, secret, 8); piece != "" {
					t.Fatalf("after %d bytes the snippet tells %q of the secret: %q", before, piece, got)
				}
			}
		})
	}
}

func TestSnippetDoesNotChangeTheBody(t *testing.T) {
	t.Parallel()
	body := []byte("\xff 13800000000 " + secret)
	kept := string(body)
	redact.Snippet(body, secrets)
	assert.Equal(t, kept, string(body))
}

func FuzzSnippet(f *testing.F) {
	for _, body := range []string{
		"", "<html><body>502 Bad Gateway</body></html>", `{"errcode":0}`, "\xff\xfe13800000000\x00",
		"微信 13800000000 {", strings.Repeat(" ", 3300), strings.Repeat("7", 3190), strings.Repeat("微7", 80),
	} {
		for _, at := range []uint16{0, 7, 190, 3180} {
			f.Add([]byte(body), at)
		}
	}
	f.Fuzz(func(t *testing.T, body []byte, at uint16) {
		if pieceOf(string(body), secret, 8) != "" {
			t.Skip("the fuzzer has copied the secret")
		}
		cut := min(int(at), len(body))
		hostile := fmt.Sprintf("%s%s%s", body[:cut], secret, body[cut:])
		got := redact.Snippet([]byte(hostile), secrets)
		assert.LessOrEqual(t, len(got), 200)
		assert.True(t, utf8.ValidString(got), "%q", got)
		assert.Empty(t, pieceOf(got, secret, 8), "%q", got)
		assert.NotRegexp(t, sevenPlus, got)
		assert.NotContains(t, got, "{")
		assert.Equal(t, -1, strings.IndexFunc(got, unicode.IsControl), "%q", got)
	})
}

// pieceOf returns a piece of secret with at least n bytes that text holds.
func pieceOf(text, secret string, n int) string {
	for i := 0; i+n <= len(secret); i++ {
		if piece := secret[i : i+n]; strings.Contains(text, piece) {
			return piece
		}
	}
	return ""
}
