package wire

import "encoding/json"

// Nested is a JSON value that may arrive either as itself or as a string that
// contains it. Any other value leaves Value unchanged.
type Nested[T any] struct{ Value T }

// UnmarshalJSON implements [json.Unmarshaler]. It never fails.
func (n *Nested[T]) UnmarshalJSON(b []byte) error {
	var value T
	var text string
	if json.Unmarshal(b, &text) == nil {
		b = []byte(text)
	}
	if json.Unmarshal(b, &value) == nil {
		n.Value = value
	}
	return nil
}

// Bool is a boolean that may arrive as a string or as 0 or 1.
type Bool struct {
	Value bool
	// Present is false when the field was absent or null.
	Present bool
}

// UnmarshalJSON implements [json.Unmarshaler]. It never fails: any value that
// does not mean true is false.
func (v *Bool) UnmarshalJSON(b []byte) error {
	switch string(b) {
	case "null":
		return nil
	case "true", `"true"`, "1", `"1"`:
		v.Value = true
	default:
		v.Value = false
	}
	v.Present = true
	return nil
}
