package payload

import (
	"bytes"
	"math/rand"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// model is what checker takes, found a token after the other. It is slower and
// looks at what it has found, but it is easier to believe.
type model struct {
	depth       int
	inObject    bool // on the second level, not in an array
	inWatermark bool // and that is the watermark
	last        lastToken
	key         string // the last one
	keyDepth    int
	seen        map[string]bool // of the known keys
	name        []byte          // the appid
	started     bool
}

// lastToken is what the next token may stand behind.
type lastToken int

const (
	nothing lastToken = iota
	openObject
	openArray
	aKey
	aColon
	aValue
	aKeyOrValue // three levels deep, where nobody knows
	memberComma
	valueComma
	anyComma
)

func (l lastToken) beforeMember() bool { return l == openObject || l == memberComma || l == anyComma }

func (l lastToken) beforeValue() bool {
	return l == openArray || l == aColon || l == valueComma || l == anyComma
}

func (l lastToken) isValue() bool { return l == aValue || l == aKeyOrValue }

func (l lastToken) isKey() bool { return l == aKey || l == aKeyOrValue }

// modelOf returns what IsPhone and IsData should.
func modelOf(b []byte, appID string) (phone, data int) {
	m := model{seen: map[string]bool{}}
	if !utf8.Valid(b) || !m.read(string(b)) {
		return 0, 0
	}
	if !m.seen["watermark"] || !m.seen["appid"] || len(m.name) != len(appID) ||
		!bytes.Equal(m.name[:min(64, len(m.name))], []byte(appID)[:min(64, len(appID))]) {
		return 0, 0
	}
	switch number, pure, country := m.seen["phoneNumber"], m.seen["purePhoneNumber"], m.seen["countryCode"]; {
	case number && pure && country:
		return 1, 1
	case !number && !pure && !country:
		return 0, 1
	}
	return 0, 0
}

func (m *model) read(text string) bool {
	for text != "" {
		switch c := text[0]; {
		case strings.IndexByte(" \t\r\n", c) >= 0:
			text = text[1:]
		case c == '"':
			r := reader{buf: []byte(text)} // takes the same strings
			if _, _, ok := r.str(); !ok || !m.str(text[:r.pos]) {
				return false
			}
			text = text[r.pos:]
		case strings.IndexByte("{}[]:,", c) >= 0:
			if !m.sign(c) {
				return false
			}
			text = text[1:]
		default:
			n := len(text) - len(strings.TrimLeft(text, "0123456789+-.eEtrufalsn"))
			if n == 0 || m.depth == 0 || !m.last.beforeValue() || !m.value(text[:n]) {
				return false
			}
			m.last = aValue
			text = text[n:]
		}
	}
	return m.started && m.depth == 0
}

// str takes a string, quotes included.
func (m *model) str(s string) bool {
	if m.depth == 0 {
		return false
	}
	switch {
	case m.last.beforeMember():
		m.last = aKey
		if m.depth > 2 {
			m.last = aKeyOrValue
		}
		m.key, m.keyDepth = s[1:len(s)-1], m.depth
		m.note()
		return true
	case m.last.beforeValue():
		ok := m.value(s)
		m.last = aValue
		return ok
	}
	return false
}

// known returns the known key whose value comes next, or nothing.
func (m *model) known() string {
	switch {
	case m.last != aColon:
	case m.keyDepth == 1 && m.depth == 1 && slices.Contains([]string{"watermark", "phoneNumber", "purePhoneNumber", "countryCode"}, m.key):
		return m.key
	case m.keyDepth == 2 && m.depth == 2 && m.inWatermark && (m.key == "appid" || m.key == "timestamp"):
		return m.key
	}
	return ""
}

// note remembers that a known key was seen, as soon as it is closed.
func (m *model) note() {
	last := m.last
	m.last = aColon
	if key := m.known(); key != "" {
		m.seen[key] = true
	}
	m.last = last
}

// value takes a string or a number or word.
func (m *model) value(s string) bool {
	switch m.known() {
	case "watermark":
		return false
	case "appid":
		if s[0] != '"' || m.name != nil {
			return false
		}
		m.name = []byte(s[1 : len(s)-1])
	case "phoneNumber", "purePhoneNumber", "countryCode", "timestamp":
		if s[0] != '"' {
			return strings.Trim(s, "0123456789") == ""
		}
		rest := strings.TrimLeft(s[1:len(s)-1], "+- ()")
		return rest != "" && isDigit(rest[0]) && strings.Trim(rest, "0123456789+- ()") == ""
	}
	return true
}

// sign takes a sign outside strings: one of {}[]: and the comma.
func (m *model) sign(c byte) bool {
	last := m.last
	switch c {
	case '{', '[':
		key := m.known()
		if m.depth > 0 && !last.beforeValue() || m.depth == 0 && c != '{' {
			return false
		}
		if key != "" && (key != "watermark" || c != '{') {
			return false
		}
		m.depth++
		m.started = true
		if m.depth == 2 {
			m.inObject, m.inWatermark = c == '{', key == "watermark"
		}
		m.last = openArray
		if c == '{' {
			m.last = openObject
		}
		return m.depth < 64
	case '}', ']':
		fits := last.isValue() || c == '}' && last.beforeMember() || c == ']' && last.beforeValue()
		m.depth--
		if m.depth < 0 || !fits || m.depth == 0 && c != '}' || m.depth == 1 && m.inObject != (c == '}') {
			return false
		}
		m.last = aValue
		return true
	case ':':
		m.last = aColon
		return m.depth > 0 && last.isKey()
	default:
		m.last = anyComma
		if m.depth == 1 || m.depth == 2 && m.inObject {
			m.last = memberComma
		} else if m.depth == 2 {
			m.last = valueComma
		}
		return m.depth > 0 && last.isValue()
	}
}

// seams are pieces of text at which a payload may be cut and patched.
var seams = []string{
	`{`, `}`, `[`, `]`, `:`, `,`, ` `, `"`, `""`, `{}`, `[]`, `}{`, `,}`, `,]`, `"a"`, `"a":`, `:"a"`, `,"a"`, `1`, `:1`, `,1`,
	`"a":1,`, `,"a":1`, `[1,"a"]`, `{"a":1}`, `{"a":"b"}`, `[[{"a":1,"b"}]]`, `{"a":{"b":[1,{"c":2}]}}`, `[{"a":[1]},{}]`,
	`"appid":"wx"`, `,"appid":"wx"`, `"watermark":{`, `"watermark":`, `"watermark":[`, `"timestamp":`, `"phoneNumber":1,`,
	`"countryCode":"+",`, `"purePhoneNumber":" 1"`, `true`, `null`, `-`, `e`, `x`, `\`, `\"`, `\\`, `\u00e9`, `\u12`, `\ud83d\ude00`, `\ud83d`, `\ude00`,
	"\x00", "\x1f", "\t", "\n", "\x7f", "\x80", "\xc3\xa9", "\xc0\x80", "\xe4\xb8\xad", "\xe0\x80\x80", "\xed\xa0\x80", "\xf0\x9f\x98\x80", "\xf0\x80\x80\x80", "\xf4\x90\x80\x80", "\xf5",
	strings.Repeat(`[`, 61), strings.Repeat(`]`, 61), strings.Repeat(`{"a":`, 62), strings.Repeat(`\`, 63),
}

// patched returns a payload with up to three pieces put in, taken out, doubled
// or overwritten.
func patched(rng *rand.Rand) []byte {
	b := []byte(corpus[rng.Intn(len(corpus))])
	for n := rng.Intn(4); n > 0; n-- {
		at := rng.Intn(len(b) + 1)
		if rng.Intn(2) == 0 { // where one token ends
			if next := bytes.IndexAny(b[at:], `{}[]:,"`); next >= 0 {
				at += next
			}
		}
		to := min(len(b), at+rng.Intn(12))
		piece := seams[rng.Intn(len(seams))]
		switch rng.Intn(4) {
		case 0:
			to = at
		case 1:
			piece = ""
		case 2:
			piece = string(b[at:to]) + string(b[at:to])
		}
		b = append(b[:at:at], append([]byte(piece), b[to:]...)...)
	}
	return append(bytes.Repeat([]byte{' '}, rng.Intn(64)), b...)
}

func TestCheckIsAsTheModel(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewSource(3))
	var took [2]int
	for i := 0; i < rounds(100_000); i++ {
		b := patched(rng)
		if i%2 == 0 {
			b = altered(rng)
		}
		phone, data := modelOf(b, testAppID)
		require.Equal(t, []int{phone, data}, []int{IsPhone(b, testAppID), IsData(b, testAppID)}, "%q", b)
		took[phone|data]++
	}
	require.Greater(t, took[0], rounds(100_000)/5)
	require.Greater(t, took[1], rounds(100_000)/5)
}

func TestNearMissesAreRefusedBeforeTheyAreRead(t *testing.T) {
	t.Parallel()
	elsewhere := strings.Replace(whole, `"watermark":{`, `"watermark":{},"x":{`, 1)
	for name, text := range map[string]string{
		"an array":                      "[1," + whole[1:],
		"closed twice and opened again": whole + "}{",
		"63 levels too deep":            with(`"a":` + strings.Repeat("[", 63) + strings.Repeat("]", 63)),
		"never closed":                  whole[:len(whole)-1],
		"appid behind the watermark":    elsewhere,
		"appid before the watermark":    strings.NewReplacer(`"watermark":{},"x"`, `"x"`, `}}`, `},"watermark":{}}`).Replace(elsewhere),
		"appid in two pieces":           strings.Replace(whole, `"appid":"wx0123456789`, `"appid":"wx0123456789","appid":"`, 1),
		"appid in two distant pieces":   strings.Replace(whole, `"appid":"wx0123456789`, `"appid":"wx0123456789","a":"`+strings.Repeat("x", 64)+`","appid":"`, 1),
		"appid deeper":                  strings.NewReplacer(`"watermark":{`, `"watermark":{"a":{`, `}}`, `}}}`).Replace(whole),
		"beyond Unicode":                with("\"a\":\"\xf5\x80\x80\x80\""),
		"beyond Unicode by a bit":       with("\"a\":\"\xf4\x90\x80\x80\""),
		"five bytes":                    with("\"a\":\"\xf6\x80\x80\x80\""),
	} {
		for shift := 0; shift < 64; shift++ {
			b := []byte(strings.Repeat(" ", shift) + text)
			require.Zero(t, IsPhone(b, testAppID), "%s: %q", name, b)
			phone, _ := modelOf(b, testAppID)
			require.Zero(t, phone, "the model, %s: %q", name, b)
		}
	}
}
