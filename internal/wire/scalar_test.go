package wire_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wxphone/wxphone/internal/wire"
)

func TestIntTakesNumbersAndStrings(t *testing.T) {
	t.Parallel()
	invalid := wire.Int{Present: true, Invalid: true}
	tests := []struct {
		json string
		want wire.Int
	}{
		{`0`, wire.Int{Present: true}},
		{`-1`, wire.Int{Value: -1, Present: true}},
		{`40029`, wire.Int{Value: 40029, Present: true}},
		{`"40029"`, wire.Int{Value: 40029, Present: true}},
		{`"-601005"`, wire.Int{Value: -601005, Present: true}},
		{`" 7200 "`, wire.Int{Value: 7200, Present: true}},
		{`"0"`, wire.Int{Present: true}},
		{`7200.0`, wire.Int{Value: 7200, Present: true}},
		{`7.2e3`, wire.Int{Value: 7200, Present: true}},
		{`-0`, wire.Int{Present: true}},
		// 18 digits take the short way, 19 the long one.
		{`999999999999999999`, wire.Int{Value: 999999999999999999, Present: true}},
		{`9223372036854775807`, wire.Int{Value: 9223372036854775807, Present: true}},
		{`-9223372036854775808`, wire.Int{Value: -9223372036854775808, Present: true}},
		{`9223372036854775808`, invalid},
		{`1e30`, invalid},
		{`1e999`, invalid},
		{`1.5`, invalid},
		{`"1.5"`, invalid},
		{`"abc"`, invalid},
		{`"40029x"`, invalid},
		{`""`, invalid},
		{`"NaN"`, invalid},
		{`"Inf"`, invalid},
		{`"0x10p0"`, invalid},
		{`true`, invalid},
		{`false`, invalid},
		{`[1]`, invalid},
		{`{"a":1}`, invalid},
		{`null`, wire.Int{}},
	}
	for _, tt := range tests {
		t.Run(tt.json, func(t *testing.T) {
			t.Parallel()
			var got struct{ N wire.Int }
			require.NoError(t, json.Unmarshal([]byte(`{"N":`+tt.json+`}`), &got), "one odd field must not cost the answer")
			if tt.want.Invalid {
				// What Value an unreadable number has does not matter.
				got.N.Value = 0
			}
			assert.Equal(t, tt.want, got.N)
		})
	}
}

func TestAbsentIntIsNotPresent(t *testing.T) {
	t.Parallel()
	var got struct{ N wire.Int }
	require.NoError(t, json.Unmarshal([]byte(`{}`), &got))
	assert.Equal(t, wire.Int{}, got.N)
}

func TestTextTakesStringsAndNumbers(t *testing.T) {
	t.Parallel()
	tests := []struct {
		json string
		want wire.Text
	}{
		{`"86"`, "86"},
		{`86`, "86"},
		{`-1`, "-1"},
		{`0`, "0"},
		{`13800000000`, "13800000000"},
		{`""`, ""},
		{`"+852 5123"`, "+852 5123"},
		{`"系统繁忙"`, "系统繁忙"},
		{`"a\"b\\c\/d\n\u00e9\u7cfb"`, "a\"b\\c/d\né系"},
		{`"\ud83d\ude00"`, "😀"},
		{`"\ud800"`, "\ufffd"},
		{`null`, ""},
		{`true`, ""},
		{`false`, ""},
		{`["86"]`, ""},
		{`{"a":"86"}`, ""},
	}
	for _, tt := range tests {
		t.Run(tt.json, func(t *testing.T) {
			t.Parallel()
			var got struct{ S wire.Text }
			require.NoError(t, json.Unmarshal([]byte(`{"S":`+tt.json+`}`), &got), "one odd field must not cost the answer")
			assert.Equal(t, tt.want, got.S)
		})
	}
}

func TestPhoneTakesWhatWeChatHasSent(t *testing.T) {
	t.Parallel()
	want := wire.Phone{
		PhoneNumber:     "13800000000",
		PurePhoneNumber: "13800000000",
		CountryCode:     "86",
		Watermark: wire.Watermark{
			AppID:     "wx0123456789abcdef",
			Timestamp: wire.Int{Value: 1700000000, Present: true},
		},
	}
	for name, text := range map[string]string{
		"strings": `{"phoneNumber":"13800000000","purePhoneNumber":"13800000000","countryCode":"86",
			"watermark":{"timestamp":1700000000,"appid":"wx0123456789abcdef"}}`,
		"numbers": `{"watermark":{"appid":"wx0123456789abcdef","timestamp":"1700000000"},
			"countryCode":86,"purePhoneNumber":13800000000,"phoneNumber":13800000000}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got wire.Phone
			require.NoError(t, json.Unmarshal([]byte(text), &got))
			assert.Equal(t, want, got)
		})
	}
}
