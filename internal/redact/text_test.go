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
		{"two runs", "123456-1234567", "123456-***"},
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
