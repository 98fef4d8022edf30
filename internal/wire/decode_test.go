package wire_test

import (
	"encoding/json"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wxphone/wxphone/internal/wire"
)

type phoneAnswer struct {
	wire.Status
	PhoneInfo wire.Phone `json:"phone_info"`
}

func TestDecodeReadsAnswers(t *testing.T) {
	t.Parallel()
	phone := wire.Phone{PhoneNumber: "13800000000"}
	tests := []struct {
		name, body string
		want       phoneAnswer
	}{
		{
			"success", `{"errcode":0,"errmsg":"ok","phone_info":{"phoneNumber":"13800000000"}}`,
			phoneAnswer{wire.Status{ErrCode: wire.Int{Present: true}, ErrMsg: "ok"}, phone},
		},
		{
			"success without errcode", `{"phone_info":{"phoneNumber":"13800000000"}}`,
			phoneAnswer{PhoneInfo: phone},
		},
		{
			"errcode null is no errcode", `{"errcode":null}`, phoneAnswer{},
		},
		{
			"number", `{"errcode":40029,"errmsg":"invalid code"}`,
			phoneAnswer{Status: wire.Status{ErrCode: wire.Int{Value: 40029, Present: true}, ErrMsg: "invalid code"}},
		},
		{
			"string errcode", `{"errcode":"40029"}`,
			phoneAnswer{Status: wire.Status{ErrCode: wire.Int{Value: 40029, Present: true}}},
		},
		{
			"white space around", "\r\n\t {\"errcode\":-1}\n ",
			phoneAnswer{Status: wire.Status{ErrCode: wire.Int{Value: -1, Present: true}}},
		},
		{
			"unknown fields", `{"errcode":0,"new":{"a":[1,{}]},"phone_info":{"phoneNumber":"13800000000","new":1}}`,
			phoneAnswer{wire.Status{ErrCode: wire.Int{Present: true}}, phone},
		},
		{
			// Later fields are read although an earlier one does not fit.
			"misfit before a refusal", `{"phone_info":"none","errcode":40029,"errmsg":"invalid code"}`,
			phoneAnswer{Status: wire.Status{ErrCode: wire.Int{Value: 40029, Present: true}, ErrMsg: "invalid code"}},
		},
		{
			"misfit after a refusal", `{"errcode":"40163","phone_info":[]}`,
			phoneAnswer{Status: wire.Status{ErrCode: wire.Int{Value: 40163, Present: true}}},
		},
		{"misfit beside errcode 0", `{"errcode":0,"phone_info":"none"}`, phoneAnswer{Status: wire.Status{ErrCode: wire.Int{Present: true}}}},
		{"misfit without an errcode", `{"phone_info":[]}`, phoneAnswer{}},
		{"empty object", `{}`, phoneAnswer{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var got phoneAnswer
			require.NoError(t, wire.Decode([]byte(tt.body), &got))
			assert.Equal(t, tt.want, got)
		})
	}
}

func TestDecodeRefusesWhatIsNoAnswer(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"empty":                      "",
		"white space":                " \r\n",
		"null":                       `null`,
		"array":                      `[{"errcode":0}]`,
		"string":                     `"ok"`,
		"number":                     `0`,
		"true":                       `true`,
		"HTML":                       `<html><body>502 Bad Gateway</body></html>`,
		"truncated":                  `{"errcode":0,"errmsg":"ok","phone_info":{"phoneNumber":"138`,
		"truncated refusal":          `{"errcode":40029,"errmsg":"invalid`,
		"trailing garbage":           `{"errcode":0}x`,
		"trailing garbage, refusal":  `{"errcode":40029}<html>`,
		"two objects":                `{"errcode":0}{"errcode":0}`,
		"errcode 1.5":                `{"errcode":1.5}`,
		"errcode abc":                `{"errcode":"abc"}`,
		"errcode empty":              `{"errcode":""}`,
		"errcode true":               `{"errcode":true}`,
		"errcode object":             `{"errcode":{"a":1}}`,
		"errcode beyond 64 bits":     `{"errcode":99999999999999999999}`,
		"misfit beside a bad number": `{"errcode":"abc","phone_info":[]}`,
		"one good errcode, one bad":  `{"errcode":0,"errcode":"abc"}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			assert.ErrorIs(t, wire.Decode([]byte(body), new(phoneAnswer)), wire.ErrNotAnswer)
		})
	}
}

func TestStatusIsACompleteAnswer(t *testing.T) {
	t.Parallel()
	answer := &phoneAnswer{Status: wire.Status{ErrMsg: "ok"}}
	assert.True(t, answer.Complete())
	assert.Same(t, &answer.Status, answer.Outcome())
}

// allErrCodes collects every errcode of an object, in whatever order and
// number encoding/json meets them.
type allErrCodes []string

func (a *allErrCodes) UnmarshalJSON(b []byte) error {
	*a = append(*a, string(b))
	return nil
}

var decimal = regexp.MustCompile(`^[-+]?[0-9]+(\.[0-9]*)?([eE][-+]?[0-9]+)?$`)

// readErrCode is another way to read an errcode: ok is false for what is no
// whole decimal number.
func readErrCode(raw string) (value int64, ok bool) {
	var text string
	if json.Unmarshal([]byte(raw), &text) != nil {
		text = raw
	}
	text = strings.TrimSpace(text)
	if !decimal.MatchString(text) {
		return 0, false
	}
	if v, err := strconv.ParseInt(text, 10, 64); err == nil {
		return v, true
	}
	f, err := strconv.ParseFloat(text, 64)
	return int64(f), err == nil && f == float64(int64(f))
}

func FuzzDecode(f *testing.F) {
	for _, body := range []string{
		`{"errcode":0,"errmsg":"ok","phone_info":{"phoneNumber":"13800000000","purePhoneNumber":"13800000000","countryCode":"86","watermark":{"timestamp":1700000000,"appid":"wx0123456789abcdef"}}}`,
		`{"errcode":0,"errmsg":"ok","phone_info":{"phoneNumber":"+85251234567","purePhoneNumber":"51234567","countryCode":852,"watermark":{"timestamp":"1700000000","appid":"wx0123456789abcdef"}}}`,
		`{"errcode":40029,"errmsg":"invalid code rid: 61a2b3c4-0f1e2d3c-4b5a6978"}`,
		`{"errcode":"40163","errmsg":"code been used","phone_info":null}`,
		`{"errcode":-1,"errmsg":"system error","phone_info":[]}`,
		`{"errcode":1.5}`, `{"errcode":7.2e3}`, `{"errcode":" 5 "}`, `{"errcode":"+5"}`, `{"errcode":"\u0035"}`,
		`{"errcode":5,"errcode":null,"ErrCode":6}`,
		`null`, `[]`, `{`, `<html>`, "\t{}\n",
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var answer phoneAnswer
		if err := wire.Decode(body, &answer); err != nil {
			assert.ErrorIs(t, err, wire.ErrNotAnswer)
			return
		}
		var object map[string]json.RawMessage
		require.NoError(t, json.Unmarshal(body, &object), "accepted what is no JSON object")
		require.NotNil(t, object, "accepted null")

		var reference struct {
			ErrCodes allErrCodes `json:"errcode"`
		}
		require.NoError(t, json.Unmarshal(body, &reference))
		var want wire.Int
		for _, raw := range reference.ErrCodes {
			if raw == "null" {
				continue
			}
			value, ok := readErrCode(raw)
			require.True(t, ok, "accepted the errcode %s", raw)
			want = wire.Int{Value: value, Present: true}
		}
		assert.Equal(t, want, answer.ErrCode)
	})
}
