package wxphonetest_test

import (
	"context"
	"encoding/json"
	"net/url"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/wxphonetest"
)

const (
	getQuota     = "/cgi-bin/openapi/quota/get"
	clearOne     = "/cgi-bin/openapi/quota/clear"
	clearQuota   = "/cgi-bin/clear_quota"
	clearQuotaV2 = "/cgi-bin/clear_quota/v2"
)

// quotaAnswer is what quota/get answers.
type quotaAnswer struct {
	ErrCode int `json:"errcode"`
	Quota   struct {
		Limit  int `json:"daily_limit"`
		Used   int `json:"used"`
		Remain int `json:"remain"`
	} `json:"quota"`
	Rate struct {
		Count  int `json:"call_count"`
		Second int `json:"refresh_second"`
	} `json:"rate_limit"`
}

func quotaWith(t *testing.T, s *wxphonetest.Server, token, path string) (q quotaAnswer) {
	t.Helper()
	a := post(t, s, getQuota, values("access_token", token), map[string]string{"cgi_path": path})
	require.NoError(t, json.Unmarshal([]byte(a.raw), &q))
	return q
}

func quotaOf(t *testing.T, s *wxphonetest.Server, path string) quotaAnswer {
	t.Helper()
	return quotaWith(t, s, s.Token(), path)
}

// callsOf returns limit, used and remain.
func callsOf(q quotaAnswer) [3]int { return [3]int{q.Quota.Limit, q.Quota.Used, q.Quota.Remain} }

func TestQuotaCountsCalls(t *testing.T) {
	t.Parallel()
	s := wxphonetest.NewServer(t)
	assert.Equal(t, [3]int{10_000_000, 0, 10_000_000}, callsOf(quotaOf(t, s, phoneNumber)))
	redeem(t, s, s.IssueCode(somePhone))
	redeem(t, s, "unknown")
	use(t, s, "a token that is refused")
	s.FailNext(phoneNumber, -1, "", 1)
	redeem(t, s, "1")
	assert.Equal(t, [3]int{10_000_000, 2, 9_999_998}, callsOf(quotaOf(t, s, phoneNumber)))

	fetchClassic(t, s)
	assert.Equal(t, [3]int{2000, 1, 1999}, callsOf(quotaOf(t, s, classicToken)))
	stable := quotaOf(t, s, stableToken)
	assert.Equal(t, 500_000, stable.Quota.Limit)
	assert.Equal(t, 10_000, stable.Rate.Count)
	assert.Equal(t, 60, stable.Rate.Second)
}

func TestQuotaPathIsChecked(t *testing.T) {
	t.Parallel()
	s := wxphonetest.NewServer(t)
	component := fetchComponent(t, s)
	for _, tc := range []struct {
		token, path string
		errcode     int
	}{
		{s.Token(), phoneNumber, 0},
		{s.Token(), "", 76021},
		{s.Token(), "wxa/business/getuserphonenumber", 76021},
		{s.Token(), host + phoneNumber, 76021},
		{s.Token(), phoneNumber + "?access_token=1", 76021},
		{s.Token(), "/wxa/unknown", 76021},
		{s.Token(), code2Session, 76022},
		{s.Token(), componentToken, 76022},
		{component, componentToken, 0},
		{component, phoneNumber, 76022},
		{"unknown", phoneNumber, 40001},
	} {
		assert.Equal(t, tc.errcode, quotaWith(t, s, tc.token, tc.path).ErrCode, "quota/get of %s", tc.path)
		one := post(t, s, clearOne, values("access_token", tc.token), map[string]string{"cgi_path": tc.path})
		assert.Equal(t, tc.errcode, one.ErrCode, "quota/clear of %s", tc.path)
	}
}

func TestQuotasAreOfOneAccount(t *testing.T) {
	t.Parallel()
	s := wxphonetest.NewServer(t)
	a := platformCall(t, s, "POST", authorizerToken, url.Values{"component_access_token": {fetchComponent(t, s)}},
		authorizerBody(s, otherApp, s.AuthorizeApp(otherApp)))
	use(t, s, a.AuthorizerToken)
	assert.Equal(t, 1, quotaWith(t, s, a.AuthorizerToken, phoneNumber).Quota.Used)
	assert.Zero(t, quotaOf(t, s, phoneNumber).Quota.Used)
	assert.Equal(t, 40013, post(t, s, clearQuota, withToken(s), map[string]string{"appid": otherApp}).ErrCode)
	assert.Zero(t, post(t, s, clearQuota, withToken(s), map[string]string{"appid": s.AppID()}).ErrCode)
	assert.Equal(t, 1, quotaWith(t, s, a.AuthorizerToken, phoneNumber).Quota.Used)
}

func TestUsedUpQuotaIsRefusedUntilItIsCleared(t *testing.T) {
	t.Parallel()
	for name, clearIt := range map[string]func(*testing.T, *wxphonetest.Server) answer{
		"clear_quota": func(t *testing.T, s *wxphonetest.Server) answer {
			return post(t, s, clearQuota, withToken(s), map[string]string{"appid": s.AppID()})
		},
		"clear_quota/v2": func(t *testing.T, s *wxphonetest.Server) answer {
			return post(t, s, clearQuotaV2, nil, map[string]string{"appid": s.AppID(), "appsecret": s.Secret()})
		},
		"quota/clear": func(t *testing.T, s *wxphonetest.Server) answer {
			return post(t, s, clearOne, withToken(s), map[string]string{"cgi_path": phoneNumber})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := wxphonetest.NewServer(t)
			client := s.NewClient()
			s.SetDailyLimit(phoneNumber, 1)
			_, err := client.GetPhoneNumber(context.Background(), s.IssueCode(somePhone))
			require.NoError(t, err)
			code := s.IssueCode(somePhone)
			_, err = client.GetPhoneNumber(context.Background(), code)
			require.ErrorIs(t, err, wxphone.ErrQuotaExhausted)
			assert.Equal(t, "the limit of 1 a day is used up; the next day begins at midnight in China", last(t, s).Reason)
			assert.Equal(t, [3]int{1, 1, 0}, callsOf(quotaOf(t, s, phoneNumber)))

			assert.Equal(t, `{"errcode":0,"errmsg":"ok"}`, clearIt(t, s).raw)
			assert.Equal(t, [3]int{1, 0, 1}, callsOf(quotaOf(t, s, phoneNumber)))
			_, err = client.GetPhoneNumber(context.Background(), code)
			require.NoError(t, err, "the refusal left the code unused")
		})
	}
}

func TestQuotasAreClearedTenTimesAMonth(t *testing.T) {
	t.Parallel()
	s := wxphonetest.NewServer(t)
	both := []func() answer{
		func() answer { return post(t, s, clearQuota, withToken(s), map[string]string{"appid": s.AppID()}) },
		func() answer {
			return post(t, s, clearQuotaV2, nil, map[string]string{"appid": s.AppID(), "appsecret": s.Secret()})
		},
	}
	for i := range 10 {
		assert.Zero(t, both[i%2]().ErrCode)
	}
	for _, ask := range both {
		assert.Equal(t, 48006, ask().ErrCode)
	}
	one := func() answer {
		return post(t, s, clearOne, withToken(s), map[string]string{"cgi_path": phoneNumber})
	}
	for range 50 {
		assert.Zero(t, one().ErrCode)
	}
	assert.Equal(t, 48006, one().ErrCode)
}

func TestClearQuotaChecksItsArguments(t *testing.T) {
	t.Parallel()
	s := wxphonetest.NewServer(t, wxphonetest.AllowMalformed())
	v2 := func(appID, secret string) int {
		return post(t, s, clearQuotaV2, nil, map[string]string{"appid": appID, "appsecret": secret}).ErrCode
	}
	assert.Equal(t, 41002, v2("", s.Secret()))
	assert.Equal(t, 41004, v2(s.AppID(), ""))
	assert.Equal(t, 40013, v2("wx0", s.Secret()))
	assert.Equal(t, 40125, v2(s.AppID(), "wrong"))
	assert.Equal(t, 41002, post(t, s, clearQuota, withToken(s), `{}`).ErrCode)
	assert.Equal(t, 41001, post(t, s, clearQuota, nil, `{}`).ErrCode)
	assert.Panics(t, func() { s.SetDailyLimit(phoneNumber, -1) })
	assert.Panics(t, func() { s.SetDailyLimit("getuserphonenumber", 1) })
}

func TestQuotaAPIsTakePlainAndSealedCalls(t *testing.T) {
	t.Parallel()
	s := wxphonetest.NewServer(t, wxphonetest.WithAPISecurity())
	assert.Zero(t, quotaOf(t, s, phoneNumber).ErrCode)
	call := goodCall(s)
	call.endpoint, call.urlpath, call.params = getQuota, host+getQuota, `"cgi_path":"`+phoneNumber+`"`
	a, signed := call.send(t, s)
	assert.Zero(t, a.ErrCode)
	assert.True(t, signed)
}
