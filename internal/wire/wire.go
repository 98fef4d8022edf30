// Package wire defines WeChat's JSON answers.
//
// WeChat does not use types consistently: errcode and countryCode have been
// sent as numbers and as strings. The scalar types here accept both and never
// fail, so that an unexpected field does not lose an answer that consumed a
// one-time code.
package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math"
	"strconv"
)

// Int is an integer that may arrive as a number or as a string that contains
// one.
type Int struct {
	Value int64
	// Present is false when the field was absent or null.
	Present bool
	// Invalid is true when the field was not an integer.
	Invalid bool
}

// UnmarshalJSON implements [json.Unmarshaler]. It never fails.
func (n *Int) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		return nil
	}
	n.Present = true
	text := bytes.TrimSpace(bytes.Trim(b, `"`))
	if v, ok := shortInt(text); ok {
		n.Value = v
		return nil
	}
	if v, err := strconv.ParseInt(string(text), 10, 64); err == nil {
		n.Value = v
		return nil
	}
	// A whole number may also be written as 7200.0 or 7.2e3.
	if f, err := strconv.ParseFloat(string(text), 64); err == nil && json.Valid(text) && f == math.Trunc(f) && math.Abs(f) < 1<<53 {
		n.Value = int64(f)
		return nil
	}
	n.Invalid = true
	return nil
}

// shortInt parses the usual form of errcodes and timestamps, without allocating
// the string that strconv needs.
func shortInt(text []byte) (int64, bool) {
	if len(text) == 0 || len(text) > 18 {
		return 0, false
	}
	var v int64
	for _, c := range text {
		if c < '0' || c > '9' {
			return 0, false
		}
		v = 10*v + int64(c-'0')
	}
	return v, true
}

// Text is a string that may arrive as a number.
type Text string

// UnmarshalJSON implements [json.Unmarshaler]. It never fails: anything but a
// string or a number leaves the text empty.
func (t *Text) UnmarshalJSON(b []byte) error {
	switch {
	case len(b) == 0:
	case b[0] == '"':
		if plain := b[1 : len(b)-1]; isPlain(plain) {
			*t = Text(plain)
			return nil
		}
		var s string
		if err := json.Unmarshal(b, &s); err == nil {
			*t = Text(s)
		}
	case b[0] == '-' || '0' <= b[0] && b[0] <= '9':
		*t = Text(b)
	}
	return nil
}

// isPlain reports whether the content of a quoted JSON string needs no
// decoding.
func isPlain[S string | []byte](s S) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c < ' ' || c == '\\' || c == '"' || c >= 0x80 {
			return false
		}
	}
	return true
}

// Status is the part that all answers have in common.
type Status struct {
	ErrCode Int  `json:"errcode"`
	ErrMsg  Text `json:"errmsg"`
}

// Outcome returns s. A type that embeds Status implements [Answer].
func (s *Status) Outcome() *Status { return s }

// Complete returns true. Answers that need other fields override it.
func (s *Status) Complete() bool { return true }

// Answer is a decoded answer of any endpoint.
type Answer interface {
	Outcome() *Status
	// Complete reports whether an answer that reports success has all the
	// fields it needs.
	Complete() bool
}

// ErrNotAnswer is returned by [Decode] when a body is not a JSON answer in
// WeChat's format.
var ErrNotAnswer = errors.New("not a WeChat JSON answer")

// Decode decodes body into answer, which must be new. It returns [ErrNotAnswer]
// unless body is one JSON object whose errcode is an integer or absent.
func Decode(body []byte, answer Answer) error {
	if plain, ok := answer.(plainReader); ok && plain.readPlain(body) {
		return nil
	}
	trimmed := bytes.TrimLeft(bytes.TrimPrefix(body, []byte(byteOrderMark)), " \t\r\n")
	if len(trimmed) == 0 || trimmed[0] != '{' {
		return ErrNotAnswer
	}
	err := json.Unmarshal(trimmed, answer)
	status := answer.Outcome()
	if status.ErrCode.Invalid {
		return ErrNotAnswer
	}
	if err == nil {
		return nil
	}
	// A field of the wrong type stays empty. Complete decides whether it is
	// needed.
	var odd *json.UnmarshalTypeError
	if !errors.As(err, &odd) {
		return ErrNotAnswer
	}
	return nil
}

// CutShort reports whether body is empty or a truncated JSON object.
func CutShort(body []byte) bool {
	trimmed := bytes.TrimLeft(bytes.TrimPrefix(body, []byte(byteOrderMark)), " \t\r\n")
	if len(trimmed) > 0 && trimmed[0] != '{' {
		return false
	}
	var object json.RawMessage
	err := json.NewDecoder(bytes.NewReader(trimmed)).Decode(&object)
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// byteOrderMark is added by some gateways at the start of UTF-8 text.
const byteOrderMark = "\ufeff"

// Phone is the phone_info of an answer and the plaintext of a legacy
// encryptedData.
type Phone struct {
	PhoneNumber     Text      `json:"phoneNumber"`
	PurePhoneNumber Text      `json:"purePhoneNumber"`
	CountryCode     Text      `json:"countryCode"`
	Watermark       Watermark `json:"watermark"`
}

// Watermark records for which app and when WeChat created a payload.
type Watermark struct {
	AppID     Text `json:"appid"`
	Timestamp Int  `json:"timestamp"`
}
