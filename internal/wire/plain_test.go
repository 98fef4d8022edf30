package wire

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var phoneAnswers = []string{
	`{"errcode":0,"errmsg":"ok","phone_info":{"phoneNumber":"13800000000","purePhoneNumber":"13800000000","countryCode":"86","watermark":{"timestamp":1700000000,"appid":"wx0123456789abcdef"}}}`,
	` { "errcode" : 0 , "errmsg" : "ok" , "phone_info" : { "watermark" : { } } } `,
	`{}`,
	`{"errcode":40029,"errmsg":"invalid code hint: [Xy12_a] rid: 61a2b3c4-0f1e2d3c-4b5a6978"}`,
	`{"phone_info":{},"errcode":7}`,
	`{"errcode":1,"errcode":2}`,
}

var unusualPhoneAnswers = []string{
	``, `{`, `}`, `null`, `[]`, `{"errcode":0,}`, `{,}`, `{"errcode"}`, `{"errcode":}`, `{"errcode":0}{}`, `{"errcode":0} x`,
	`{"errcode":-1,"errmsg":"system error"}`, `{"errcode":"0"}`, `{"errcode":0.0}`, `{"errcode":00}`, `{"errcode":1e3}`,
	`{"errcode":12345678901234567890}`, `{"errcode":0,"new":1}`, `{"ErrCode":5}`, `{"errmsg":"a\u0062"}`, `{"errmsg":"微信"}`,
	"{\"errmsg\":\"a\tb\"}", `{"phone_info":null}`, `{"phone_info":"x"}`, `{"phone_info":{"countryCode":86}}`,
	`{"phone_info":{"phoneNumber":"1}}`, `{"phone_info":{"phoneNumber":"1"}`, `{"phone_info":{"watermark":[]}}`,
	"\ufeff{}", `{"errcode":0 "errmsg":"ok"}`, `{"a":{"b":{}}}`, `{"phone_info":{"watermark":{"timestamp":"1"}}}`,
}

// whole is the same answer, read by encoding/json alone.
type whole PhoneAnswer

func readWhole(body []byte) (PhoneAnswer, error) {
	var answer whole
	err := json.Unmarshal(body, &answer)
	return PhoneAnswer(answer), err
}

func TestPlainAnswersAreReadAsEncodingJSONReadsThem(t *testing.T) {
	t.Parallel()
	for _, body := range phoneAnswers {
		var answer PhoneAnswer
		require.True(t, answer.readPlain([]byte(body)), "%s", body)
		want, err := readWhole([]byte(body))
		require.NoError(t, err)
		assert.Equal(t, want, answer, "%s", body)
	}
}

func TestUnusualAnswersAreLeftToEncodingJSON(t *testing.T) {
	t.Parallel()
	for _, body := range unusualPhoneAnswers {
		var answer PhoneAnswer
		assert.False(t, answer.readPlain([]byte(body)), "%s", body)
		assert.Zero(t, answer, "%s", body)
	}
}

func FuzzPlainAnswer(f *testing.F) {
	for _, body := range append(phoneAnswers, unusualPhoneAnswers...) {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var answer PhoneAnswer
		if !answer.readPlain(body) {
			return
		}
		want, err := readWhole(body)
		require.NoError(t, err)
		assert.Equal(t, want, answer)
	})
}
