package payload

import (
	"unicode/utf16"
	"unicode/utf8"
)

// maxDepth bounds the recursion. WeChat's payloads are at most three deep.
const maxDepth = 32

// reader is a cursor over one JSON text. Its methods report whether what they
// are named for stood at the cursor, and move past it; after a failure the
// cursor is where the first wrong byte was noticed.
type reader struct {
	buf   []byte
	pos   int
	seen  key
	phone Phone
}

// What a byte means inside a string.
const (
	plain    = iota
	quote    // ends the string
	escape   // starts an escape
	control  // must not stand there unescaped
	nonASCII // starts a longer UTF-8 sequence, or is wrong
)

var class = func() (table [256]uint8) {
	for c := range table {
		switch {
		case c == '"':
			table[c] = quote
		case c == '\\':
			table[c] = escape
		case c < ' ':
			table[c] = control
		case c >= utf8.RuneSelf:
			table[c] = nonASCII
		}
	}
	return table
}()

// peek returns the byte at the cursor, or 0, which no JSON text contains.
func (r *reader) peek() byte {
	if r.pos < len(r.buf) {
		return r.buf[r.pos]
	}
	return 0
}

func (r *reader) take(c byte) bool {
	if r.pos < len(r.buf) && r.buf[r.pos] == c {
		r.pos++
		return true
	}
	return false
}

// space skips white space. WeChat writes none, so that the usual case is worth
// inlining.
func (r *reader) space() {
	if r.pos < len(r.buf) && r.buf[r.pos] <= ' ' {
		r.spaceRun()
	}
}

func (r *reader) spaceRun() {
	for r.pos < len(r.buf) {
		switch r.buf[r.pos] {
		case ' ', '\t', '\n', '\r':
			r.pos++
		default:
			return
		}
	}
}

// object reads an object that lies depth levels below the top.
func (r *reader) object(in place, depth int) bool {
	if depth > maxDepth || !r.take('{') {
		return false
	}
	r.space()
	if r.take('}') {
		return true
	}
	for {
		name, _, ok := r.str()
		if !ok {
			return false
		}
		r.space()
		if !r.take(':') {
			return false
		}
		r.space()
		if !r.member(in, name, depth) {
			return false
		}
		r.space()
		if r.take('}') {
			return true
		}
		if !r.take(',') {
			return false
		}
		r.space()
	}
}

func (r *reader) array(depth int) bool {
	if depth > maxDepth || !r.take('[') {
		return false
	}
	r.space()
	if r.take(']') {
		return true
	}
	for {
		if !r.value(depth) {
			return false
		}
		r.space()
		if r.take(']') {
			return true
		}
		if !r.take(',') {
			return false
		}
		r.space()
	}
}

// value skips any value, inside an object or array that lies depth levels
// below the top.
func (r *reader) value(depth int) bool {
	switch r.peek() {
	case '"':
		_, _, ok := r.str()
		return ok
	case '{':
		return r.object(inUnknown, depth+1)
	case '[':
		return r.array(depth + 1)
	case 't':
		return r.word("true")
	case 'f':
		return r.word("false")
	case 'n':
		return r.word("null")
	default:
		return r.numeral()
	}
}

func (r *reader) word(w string) bool {
	if len(r.buf)-r.pos < len(w) || string(r.buf[r.pos:r.pos+len(w)]) != w {
		return false
	}
	r.pos += len(w)
	return true
}

// str reads a string and returns what is between its quotes, as written.
func (r *reader) str() (text []byte, escaped, ok bool) {
	if !r.take('"') {
		return nil, false, false
	}
	start := r.pos
	for {
		r.pos += plainRun(r.buf[r.pos:])
		if r.pos == len(r.buf) {
			return nil, false, false
		}
		switch class[r.buf[r.pos]] {
		case quote:
			text = r.buf[start:r.pos]
			r.pos++
			return text, escaped, true
		case escape:
			escaped = true
			if !r.escapeSequence() {
				return nil, false, false
			}
		case nonASCII:
			_, size := utf8.DecodeRune(r.buf[r.pos:])
			if size == 1 {
				return nil, false, false
			}
			r.pos += size
		default:
			return nil, false, false
		}
	}
}

// plainRun returns how many bytes at the start of b stand for themselves.
func plainRun(b []byte) int {
	for i, c := range b {
		if class[c] != plain {
			return i
		}
	}
	return len(b)
}

// escapeSequence reads a backslash and what it escapes. A surrogate must be
// followed by its other half, also escaped.
func (r *reader) escapeSequence() bool {
	rest := r.buf[r.pos+1:]
	if len(rest) == 0 {
		return false
	}
	switch rest[0] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		r.pos += 2
		return true
	case 'u':
	default:
		return false
	}
	first, ok := hex4(rest[1:])
	if !ok {
		return false
	}
	if !utf16.IsSurrogate(first) {
		r.pos += 6
		return true
	}
	if len(rest) < 11 || rest[5] != '\\' || rest[6] != 'u' {
		return false
	}
	second, ok := hex4(rest[7:])
	if !ok || utf16.DecodeRune(first, second) == utf8.RuneError {
		return false
	}
	r.pos += 12
	return true
}

// hex4 decodes the four hexadecimal digits that b starts with.
func hex4(b []byte) (rune, bool) {
	if len(b) < 4 {
		return 0, false
	}
	var r rune
	for _, c := range b[:4] {
		switch {
		case isDigit(c):
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// numeral reads a JSON number.
func (r *reader) numeral() bool {
	r.take('-')
	if !r.integer() {
		return false
	}
	if r.take('.') && !r.digitRun() {
		return false
	}
	if r.take('e') || r.take('E') {
		if !r.take('+') {
			r.take('-')
		}
		return r.digitRun()
	}
	return true
}

// integer reads an integer without sign and without leading zeros. Whatever
// else a longer number has, its reader finds in the place of a delimiter.
func (r *reader) integer() bool { return r.take('0') || r.digitRun() }

// digitRun reads one or more digits.
func (r *reader) digitRun() bool {
	start := r.pos
	for r.pos < len(r.buf) && isDigit(r.buf[r.pos]) {
		r.pos++
	}
	return r.pos > start
}
