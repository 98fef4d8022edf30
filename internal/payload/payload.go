// Package payload reads decrypted WeChat payloads strictly.
//
// The ciphertext around a payload has no MAC, so whoever sends it can garble
// single blocks of plaintext and watch whether the rest still passes. A
// lenient reader passes a lot: encoding/json repairs invalid UTF-8 and lone
// surrogates, matches keys in any case, and lets the last duplicate win. This
// one takes only what encoding/json would read in the same way without repair.
//
// Reading takes as long as it takes, which tells where it failed. So a payload
// is read only once [IsPhone] or [IsData] has taken it, and these always take
// the same time. Neither allocates anything.
package payload

import "bytes"

// Watermark is the watermark of a payload. AppID is a view of the input.
type Watermark struct {
	AppID     []byte
	Timestamp int64 // Unix seconds; 0 if there was none
}

// Phone is the payload of the phone number button. The numbers are views of
// the input.
type Phone struct {
	Number      []byte
	PureNumber  []byte
	CountryCode []byte
	Watermark   Watermark
}

// ReadPhone reads b as a phone payload: one JSON object with phoneNumber,
// purePhoneNumber, countryCode and watermark, each once and spelled exactly,
// where the three numbers look like numbers and the first ends with the digits
// of the second. Unknown keys are skipped, for WeChat may add some.
func ReadPhone(b []byte) (Phone, bool) {
	r := reader{buf: b}
	if r.usualPhone() {
		return r.phone, true
	}
	r = reader{buf: b}
	ok := r.document(requiredOfPhone)
	return r.phone, ok
}

// usualPhone reads the whole input as a phone payload in the order in which
// WeChat writes it today, with white space at the end only. That takes half as
// long.
func (r *reader) usualPhone() bool {
	ok := r.word(`{"phoneNumber":`) && r.number(&r.phone.Number) &&
		r.word(`,"purePhoneNumber":`) && r.number(&r.phone.PureNumber) &&
		r.word(`,"countryCode":`) && r.number(&r.phone.CountryCode) &&
		r.word(`,"watermark":{"timestamp":`) && r.timestamp() &&
		r.word(`,"appid":`) && r.plainString(&r.phone.Watermark.AppID) && r.word(`}}`)
	if !ok {
		return false
	}
	r.space()
	return r.pos == len(r.buf) && endsWithDigits(r.phone.Number, r.phone.PureNumber)
}

// ReadWatermark reads b as any payload: one JSON object with a watermark, once
// and spelled exactly. The rest is only checked to be strict JSON. But what has
// one of the other keys of a phone payload must be one: whoever can alter a part
// of a payload must not make a phone number of something else.
func ReadWatermark(b []byte) (Watermark, bool) {
	r := reader{buf: b}
	ok := r.document(requiredOfData)
	return r.phone.Watermark, ok
}

const (
	keysOfPhone     = keyPhoneNumber | keyPurePhoneNumber | keyCountryCode
	requiredOfData  = keyWatermark | keyAppID
	requiredOfPhone = requiredOfData | keysOfPhone
)

// document reads the whole input as one object with nothing but white space
// around it, and with the required keys.
func (r *reader) document(required key) bool {
	r.space()
	if !r.object(inPayload, 0) {
		return false
	}
	r.space()
	if r.pos < len(r.buf) {
		return false
	}
	if r.seen&keysOfPhone != 0 {
		required = requiredOfPhone
	}
	return r.seen&required == required && endsWithDigits(r.phone.Number, r.phone.PureNumber)
}

// member reads the value of a key that is at the given place.
func (r *reader) member(in place, name []byte, depth int) bool {
	k := lookup(in, name)
	if k == keyUnknown {
		return r.value(depth)
	}
	if k == keyRefused || r.seen&k != 0 {
		return false
	}
	r.seen |= k
	switch k {
	case keyPhoneNumber:
		return r.number(&r.phone.Number)
	case keyPurePhoneNumber:
		return r.number(&r.phone.PureNumber)
	case keyCountryCode:
		return r.number(&r.phone.CountryCode)
	case keyAppID:
		return r.plainString(&r.phone.Watermark.AppID)
	case keyTimestamp:
		return r.timestamp()
	default:
		return r.object(inWatermark, depth+1)
	}
}

// number reads a telephone number or a part of one, which WeChat sends as a
// string and has sent as a JSON number.
func (r *reader) number(into *[]byte) bool {
	if !r.take('"') {
		return r.digits(into)
	}
	text, digits := r.buf[r.pos:], 0
	for i, c := range text {
		switch {
		case isDigit(c):
			digits++
		case c == '+', c == '-', c == ' ', c == '(', c == ')':
		default:
			*into = text[:i]
			r.pos += i
			return digits > 0 && r.take('"')
		}
	}
	return false
}

// timestamp reads Unix seconds as a number or as a string of digits.
func (r *reader) timestamp() bool {
	quoted := r.take('"')
	start := r.pos
	if ok := quoted && r.digitRun() || !quoted && r.integer(); !ok {
		return false
	}
	text := r.buf[start:r.pos]
	// Up to 18 digits fit an int64 whatever they are.
	if len(text) > 18 || quoted && !r.take('"') {
		return false
	}
	var seconds int64
	for _, c := range text {
		seconds = seconds*10 + int64(c-'0')
	}
	r.phone.Watermark.Timestamp = seconds
	return true
}

// digits reads a JSON number that is a non-negative integer.
func (r *reader) digits(into *[]byte) bool {
	start := r.pos
	ok := r.integer()
	*into = r.buf[start:r.pos]
	return ok
}

// plainString reads a string that is written without escapes. No field that is
// read here needs one, and WeChat writes none.
func (r *reader) plainString(into *[]byte) bool {
	text, escaped, ok := r.str()
	*into = text
	return ok && !escaped
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// endsWithDigits reports whether the digits of full end with those of tail.
func endsWithDigits(full, tail []byte) bool {
	if bytes.HasSuffix(full, tail) {
		return true
	}
	i := len(full) - 1
	for j := len(tail) - 1; j >= 0; j-- {
		if !isDigit(tail[j]) {
			continue
		}
		for i >= 0 && !isDigit(full[i]) {
			i--
		}
		if i < 0 || full[i] != tail[j] {
			return false
		}
		i--
	}
	return true
}
