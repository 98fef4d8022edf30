package payload

import "unicode/utf8"

// place is where in a payload an object stands, which decides what its keys
// mean.
type place uint8

const (
	inPayload   place = iota // the top level
	inWatermark              // the watermark
	inUnknown                // anywhere below an unknown key
)

// key is a bit for each known key.
type key uint8

const (
	keyPhoneNumber key = 1 << iota
	keyPurePhoneNumber
	keyCountryCode
	keyWatermark
	keyAppID
	keyTimestamp

	// keyRefused is another spelling of a known key: with escapes, or in
	// another case. encoding/json would take it for that key, and a later
	// reader of the same payload must not see another number than this one.
	keyRefused

	keyUnknown key = 0
)

// lookup returns the key that name, as written between its quotes, stands for
// at the given place.
func lookup(in place, name []byte) key {
	if in == inUnknown {
		return keyUnknown
	}
	if k := exact(in, name); k != keyUnknown {
		return k
	}
	if foldsToKnown(in, name) {
		return keyRefused
	}
	return keyUnknown
}

func exact(in place, name []byte) key {
	if in == inWatermark {
		switch string(name) {
		case "appid":
			return keyAppID
		case "timestamp":
			return keyTimestamp
		}
		return keyUnknown
	}
	switch string(name) {
	case "watermark":
		return keyWatermark
	case "phoneNumber":
		return keyPhoneNumber
	case "purePhoneNumber":
		return keyPurePhoneNumber
	case "countryCode":
		return keyCountryCode
	}
	return keyUnknown
}

// maxName is the length of the longest known key, purePhoneNumber.
const maxName = 15

// foldsToKnown reports whether encoding/json could take name for a key that is
// known at the given place.
func foldsToKnown(in place, name []byte) bool {
	var folded [maxName]byte
	n := 0
	for len(name) > 0 {
		r, size := firstRune(name)
		c, ok := foldToASCII(r)
		if !ok || n == maxName {
			return false
		}
		folded[n] = c
		n++
		name = name[size:]
	}
	switch string(folded[:n]) {
	case "appid", "timestamp":
		return in == inWatermark
	case "watermark", "phonenumber", "purephonenumber", "countrycode":
		return in == inPayload
	}
	return false
}

// firstRune decodes the first character of a name that the reader has checked,
// and the length it is written with. Of escapes only \u can stand for a
// letter; the others yield their backslash, which no known key has.
func firstRune(name []byte) (r rune, size int) {
	if name[0] != '\\' {
		return utf8.DecodeRune(name)
	}
	if name[1] != 'u' {
		return '\\', 2
	}
	r, _ = hex4(name[2:])
	return r, 6
}

// foldToASCII returns the lower-case ASCII letter that case folding takes r
// for. Beside A to Z these are the two that Unicode folds into ASCII: the
// Kelvin sign and the long s.
func foldToASCII(r rune) (byte, bool) {
	switch {
	case 'a' <= r && r <= 'z':
		return byte(r), true
	case 'A' <= r && r <= 'Z':
		return byte(r) + 'a' - 'A', true
	case r == '\u212A':
		return 'k', true
	case r == '\u017F':
		return 's', true
	}
	return 0, false
}
