package wire

import (
	"bytes"
	"encoding/json"
	"strings"
)

// Object returns a JSON object with the given pairs of names and string values,
// in order. It omits names whose value is "".
//
// It writes UTF-8, without \u escapes for "<" and "&", because some WeChat APIs
// do not decode them.
func Object(pairs ...string) []byte {
	size := len("{}")
	for _, s := range pairs {
		size += len(s) + len(`"":`)
	}
	b := append(make([]byte, 0, size), '{')
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] == "" {
			continue
		}
		if len(b) > 1 {
			b = append(b, ',')
		}
		b = append(appendString(b, pairs[i]), ':')
		b = appendString(b, pairs[i+1])
	}
	return append(b, '}')
}

func appendString(b []byte, s string) []byte {
	if !isPlain(s) {
		return append(b, encode(s)...)
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

func encode(s string) string {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(s) // a string always encodes
	return strings.TrimSuffix(b.String(), "\n")
}

// ObjectOfList returns a JSON object whose only member is a list of strings.
func ObjectOfList(name string, values ...string) []byte {
	b := append(appendString([]byte{'{'}, name), ":["...)
	for i, value := range values {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(b, value)
	}
	return append(b, "]}"...)
}
