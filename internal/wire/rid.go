package wire

import "strings"

// SplitRID splits an errmsg into WeChat's message and the id of the request, or
// "" if there is none. The id has one of four forms:
//
//	invalid code rid: 61a2b3c4-0f1e2d3c-4b5a6978
//	invalid code, rid: 61a2b3c4-0f1e2d3c-4b5a6978
//	invalid code hint: [Xy12_a] rid: 61a2b3c4-0f1e2d3c-4b5a6978
//	invalid code, hints: [ req_id: Xy12a ]
//
// An id with a dot, such as "req_id: ZT.I300234116", is an older one that
// cannot be looked up. It is removed from the message and not returned.
func SplitRID(errmsg string) (message, rid string) {
	if at := lastLabel(errmsg, "rid:"); at >= 0 {
		id, rest := leadingID(errmsg[at+len("rid:"):])
		if IsRID(id) {
			return tidy(errmsg[:at] + rest), id
		}
	}
	if at := lastLabel(errmsg, "req_id:"); at >= 0 {
		id, rest := leadingID(errmsg[at+len("req_id:"):])
		if strings.HasPrefix(rest, ".") {
			for rest != "" && (rest[0] == '.' || isIDByte(rest[0])) {
				rest = rest[1:]
			}
			id = ""
		}
		before := strings.TrimRight(errmsg[:at], " [")
		before = strings.TrimSuffix(strings.TrimSuffix(before, "hints:"), "hint:")
		return tidy(before + strings.TrimLeft(rest, " ]")), id
	}
	return tidy(errmsg), ""
}

// IsRID reports whether id has the form of a rid: three groups of eight hex
// digits.
func IsRID(id string) bool {
	groups := strings.Split(id, "-")
	for _, group := range groups {
		if len(group) != 8 || strings.Trim(group, "0123456789abcdef") != "" {
			return false
		}
	}
	return len(groups) == 3
}

// lastLabel returns the index of the last occurrence of label as a separate
// word, or -1.
func lastLabel(s, label string) int {
	at := strings.LastIndex(s, label)
	if at > 0 && isIDByte(s[at-1]) {
		return -1
	}
	return at
}

func leadingID(s string) (id, rest string) {
	s = strings.TrimLeft(s, " ")
	end := 0
	for end < len(s) && isIDByte(s[end]) {
		end++
	}
	return s[:end], s[end:]
}

func isIDByte(c byte) bool {
	return c == '-' || c == '_' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

func tidy(message string) string { return strings.TrimRight(message, " ,") }
