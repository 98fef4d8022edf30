package wxphonetest_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/wxphonetest"
)

func TestCodeBuysAPhoneNumberOnce(t *testing.T) {
	t.Parallel()
	s := wxphonetest.NewServer(t)
	code := s.IssueCode(somePhone)
	assert.Regexp(t, `^[0-9a-f]{64}$`, code)

	a := redeem(t, s, code)
	var got struct {
		ErrCode   *int   `json:"errcode"`
		ErrMsg    string `json:"errmsg"`
		PhoneInfo struct {
			PhoneNumber     string `json:"phoneNumber"`
			PurePhoneNumber string `json:"purePhoneNumber"`
			CountryCode     string `json:"countryCode"`
			Watermark       struct {
				Timestamp int64  `json:"timestamp"`
				AppID     string `json:"appid"`
			} `json:"watermark"`
		} `json:"phone_info"`
	}
	require.NoError(t, json.Unmarshal([]byte(a.raw), &got))
	require.NotNil(t, got.ErrCode)
	assert.Zero(t, *got.ErrCode)
	assert.Equal(t, "ok", got.ErrMsg)
	assert.Equal(t, "13800000000", got.PhoneInfo.PhoneNumber)
	assert.Equal(t, "13800000000", got.PhoneInfo.PurePhoneNumber)
	assert.Equal(t, "86", got.PhoneInfo.CountryCode)
	assert.Equal(t, s.AppID(), got.PhoneInfo.Watermark.AppID)
	assert.WithinDuration(t, time.Now(), time.Unix(got.PhoneInfo.Watermark.Timestamp, 0), 10*time.Second)

	again := redeem(t, s, code)
	assert.Equal(t, 40029, again.ErrCode)
	assert.Regexp(t, `^invalid code hint: \[\w+-\w+\] rid: [0-9a-f]{8}-[0-9a-f]{8}-[0-9a-f]{8}$`, again.ErrMsg)
}

func TestCodeAnswersExactlyWhatItWasIssuedFor(t *testing.T) {
	t.Parallel()
	s := wxphonetest.NewServer(t)
	for name, tc := range map[string]struct {
		phone wxphone.PhoneInfo
		want  string
	}{
		"no number": {
			wxphone.PhoneInfo{Watermark: wxphone.Watermark{AppID: "wx1", Timestamp: 1700000000}},
			`{"phoneNumber":"","purePhoneNumber":"","countryCode":"","watermark":{"timestamp":1700000000,"appid":"wx1"}}`,
		},
		"another app": {
			wxphone.PhoneInfo{PhoneNumber: "+85251234567", PurePhoneNumber: "51234567", CountryCode: "852", Watermark: wxphone.Watermark{AppID: "wxother"}},
			`{"phoneNumber":"+85251234567","purePhoneNumber":"51234567","countryCode":"852","watermark":{"timestamp":0,"appid":"wxother"}}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := redeem(t, s, s.IssueCode(tc.phone))
			assert.Equal(t, `{"errcode":0,"errmsg":"ok","phone_info":`+tc.want+`}`, a.raw)
		})
	}
}

func TestCodeAndOpenIDMustBelongTogether(t *testing.T) {
	t.Parallel()
	s := wxphonetest.NewServer(t)
	ask := func(code, openid string) int {
		return post(t, s, phoneNumber, withToken(s), map[string]string{"code": code, "openid": openid}).ErrCode
	}
	code := s.IssueCode(somePhone, wxphonetest.ForOpenID("mine"))
	assert.Equal(t, 40029, ask(code, "theirs"))
	assert.Zero(t, ask(code, "mine"))

	assert.Zero(t, redeem(t, s, s.IssueCode(somePhone, wxphonetest.ForOpenID("mine"))).ErrCode)
	assert.Zero(t, ask(s.IssueCode(somePhone), "anybody"))
}

func TestKindsOfCodeAreNotInterchangeable(t *testing.T) {
	t.Parallel()
	s := wxphonetest.NewServer(t)
	jsCode, code := s.IssueLoginCode("o"), s.IssueCode(somePhone)
	assert.Equal(t, 40029, redeem(t, s, jsCode).ErrCode)
	assert.Equal(t, 40029, logIn(t, s, code).ErrCode)
	assert.Zero(t, redeem(t, s, code).ErrCode, "the mistake cost nothing")
	assert.Zero(t, logIn(t, s, jsCode).ErrCode)
}
