package desk

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
)

// maxBody is far more than any operation needs.
const maxBody = 1 << 20

// decode reads a JSON object into a struct. It takes the names of the fields
// exactly, since who misspells one would otherwise wait for its effect. An error
// names the field.
//
// No body is an object without fields, so that a plain POST is enough where all
// fields are optional.
func decode(body io.Reader, into any) error {
	text, err := io.ReadAll(io.LimitReader(body, maxBody+1))
	switch {
	case err != nil:
		return errors.New("the body broke off")
	case len(text) > maxBody:
		return fmt.Errorf("the body is larger than %d bytes", maxBody)
	}
	given := make(map[string]json.RawMessage)
	if text = bytes.TrimSpace(text); len(text) > 0 {
		if err := json.Unmarshal(text, &given); err != nil || given == nil {
			return errors.New("the body is not a JSON object" + hint(text))
		}
	}
	target := reflect.ValueOf(into).Elem()
	names := fieldNames(target.Type())
	for i, name := range names {
		raw, ok := given[name]
		if !ok {
			continue
		}
		field := target.Field(i)
		if string(raw) == "null" || json.Unmarshal(raw, field.Addr().Interface()) != nil {
			return fmt.Errorf("%s must be %s", name, kindOf(field.Type()))
		}
		delete(given, name)
	}
	for name := range given {
		return fmt.Errorf("unknown field %s; %s", quote(name), known(names))
	}
	return nil
}

// hint names a mistake that is easily made with curl.
func hint(text []byte) string {
	if bytes.Contains(text, []byte("=")) && !bytes.ContainsAny(text, "{[\"") {
		return "; it looks like a form"
	}
	return ""
}

func known(names []string) string {
	if len(names) == 0 {
		return "this takes none"
	}
	return "the fields are " + strings.Join(names, ", ")
}

// fieldNames returns the names that the fields of a struct have in JSON.
func fieldNames(t reflect.Type) []string {
	names := make([]string, t.NumField())
	for i := range names {
		names[i], _, _ = strings.Cut(t.Field(i).Tag.Get("json"), ",")
	}
	return names
}

func kindOf(t reflect.Type) string {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() == reflect.Int {
		return "a whole number"
	}
	return "a string"
}
