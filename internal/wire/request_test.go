package wire_test

import (
	"encoding/json"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wxphone/wxphone/internal/wire"
)

func TestObjectIsWrittenAsWeChatReadsIt(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		pairs []string
		want  string
	}{
		{"none", nil, `{}`},
		{"one", []string{"code", "abc"}, `{"code":"abc"}`},
		{"order", []string{"b", "1", "a", "2"}, `{"b":"1","a":"2"}`},
		{"empty values are left out", []string{"a", "", "code", "abc", "openid", ""}, `{"code":"abc"}`},
		{"all empty", []string{"a", ""}, `{}`},
		// Some of WeChat's APIs do not decode \u003c.
		{"no HTML escapes", []string{"code", `<a href="x">&amp;</a>`}, `{"code":"<a href=\"x\">&amp;</a>"}`},
		{"plain UTF-8", []string{"code", "微信😀é"}, `{"code":"微信😀é"}`},
		{"quotes and backslashes", []string{"code", `"a\b"`}, `{"code":"\"a\\b\""}`},
		{"line ends", []string{"code", "a\nb\r\tc"}, `{"code":"a\nb\r\tc"}`},
		{"escaped name", []string{`a"b`, "1"}, `{"a\"b":"1"}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			assert.Equal(t, tt.want, string(wire.Object(tt.pairs...)))
		})
	}
}

func TestObjectMayBeExtended(t *testing.T) {
	t.Parallel()
	// Callers append to what they get, so two objects must not share memory.
	first, second := wire.Object("a", "1"), wire.Object("a", "1")
	_ = append(first[:len(first)-1], `,"force":true}`...)
	assert.Equal(t, `{"a":"1"}`, string(second))
}

func FuzzObject(f *testing.F) {
	f.Add("code", "e31968a7f94cc5ee25fafc2aef2773f0", "openid", "oGZUI0egBJY1zhBYw2KhdUfwVJJE")
	f.Add("code", `{"code":"abc"}`, "openid", "<&>\u2028微信")
	f.Add("a", "\x00\x1f\x7f\\\"/", "b", "\xff\xc0")
	f.Add("a", "", "b", "")
	f.Fuzz(func(t *testing.T, name1, value1, name2, value2 string) {
		body := wire.Object(name1, value1, name2, value2)
		require.True(t, json.Valid(body), "%q", body)
		require.True(t, utf8.Valid(body), "%q", body)
		assert.NotContains(t, string(body), `\u003c`)
		var got map[string]string
		require.NoError(t, json.Unmarshal(body, &got))
		for _, s := range []string{name1, value1, name2, value2} {
			if !utf8.ValidString(s) {
				return
			}
		}
		want := map[string]string{}
		if value1 != "" {
			want[name1] = value1
		}
		if value2 != "" {
			want[name2] = value2
		}
		assert.Equal(t, want, got)
	})
}
