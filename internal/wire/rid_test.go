package wire_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/wxphone/wxphone/internal/wire"
)

const rid = "61a2b3c4-0f1e2d3c-4b5a6978"

func TestSplitRID(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, errmsg, message, rid string
	}{
		{"plain", "invalid code rid: " + rid, "invalid code", rid},
		{"after a comma", "invalid code, rid: " + rid, "invalid code", rid},
		{"without a space", "invalid code rid:" + rid, "invalid code", rid},
		{"after a hint", "data format error hint: [Xy12_a-Bc3] rid: " + rid, "data format error hint: [Xy12_a-Bc3]", rid},
		{"alone", "rid: " + rid, "", rid},
		{"text after it", "invalid code rid: " + rid + ", try again", "invalid code , try again", rid},
		{"the last of two", "rid: 1-2-3 is not yours rid: " + rid, "rid: 1-2-3 is not yours", rid},
		{"req_id", "invalid code, hints: [ req_id: Xy12a ]", "invalid code", "Xy12a"},
		{"req_id after hint", "invalid code hint: [ req_id: Xy12a ]", "invalid code", "Xy12a"},
		{"req_id alone", "invalid code req_id: Xy12a", "invalid code", "Xy12a"},
		{"older req_id", "invalid code, hints: [ req_id: ZT.I300234116 ]", "invalid code", ""},
		{"older req_id with a hyphen", "invalid code hint: [ req_id: 5.OFZRLnRa-CJ6sWa ]", "invalid code", ""},
		{"hint without an id", "invalid signature hint: [r5yjra0949!]", "invalid signature hint: [r5yjra0949!]", ""},
		{"a rid that is none", "invalid code rid: unknown", "invalid code rid: unknown", ""},
		{"an empty rid", "invalid code rid: ", "invalid code rid:", ""},
		{"a word that ends in rid", "invalid grid: " + rid, "invalid grid: " + rid, ""},
		{"none", "system error", "system error", ""},
		{"Chinese", "系统繁忙，请稍候再试 rid: " + rid, "系统繁忙，请稍候再试", rid},
		{"empty", "", "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			message, id := wire.SplitRID(tt.errmsg)
			assert.Equal(t, tt.message, message)
			assert.Equal(t, tt.rid, id)
		})
	}
}

func FuzzSplitRID(f *testing.F) {
	for _, errmsg := range []string{
		"", "ok", "invalid code", "invalid code rid: " + rid, "invalid code, rid: " + rid + " rid:",
		"invalid code, hints: [ req_id: Xy12a ]", "hints: [ req_id:", "req_id:", "rid:", "grid: 1-2-3",
		"data format error hint: [Xy12_a-Bc3] rid: " + rid, "系统繁忙 rid:  1--2", "\xff rid: \xff-\xff-\xff",
	} {
		f.Add(errmsg)
	}
	f.Fuzz(func(t *testing.T, errmsg string) {
		message, id := wire.SplitRID(errmsg)
		assert.Contains(t, errmsg, id)
		assert.NotRegexp(t, `[^-0-9A-Za-z_]`, id, "an id that could hold anything would have to be scrubbed")
		assert.LessOrEqual(t, len(message)+len(id), len(errmsg))
		if id == "" && !strings.Contains(errmsg, "req_id:") {
			assert.Equal(t, strings.TrimRight(errmsg, " ,"), message, "nothing was found, so nothing is to be lost")
		}

		// Whatever WeChat says, the rid that it adds at the end is found.
		message, id = wire.SplitRID(errmsg + " rid: " + rid)
		assert.Equal(t, rid, id)
		assert.Equal(t, strings.TrimRight(errmsg, " ,"), message)
	})
}
