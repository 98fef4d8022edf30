package wxphonetest_test

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wxphone/wxphone/wxphonetest"
)

func TestMalformedRequestsFailTheTestToo(t *testing.T) {
	t.Parallel()
	goodQuery := func(s *wxphonetest.Server) url.Values { return withToken(s) }
	signed := func(pairs ...string) func(*wxphonetest.Server) url.Values {
		return func(s *wxphonetest.Server) url.Values { return withToken(s, pairs...) }
	}
	login := func(pairs ...string) func(*wxphonetest.Server) url.Values {
		return func(s *wxphonetest.Server) url.Values {
			v := values("appid", s.AppID(), "secret", s.Secret(), "js_code", "c", "grant_type", "authorization_code")
			for i := 0; i < len(pairs); i += 2 {
				v.Set(pairs[i], pairs[i+1])
			}
			return v
		}
	}
	noQuery := func(*wxphonetest.Server) url.Values { return nil }

	for name, tc := range map[string]struct {
		method, endpoint string
		query            func(*wxphonetest.Server) url.Values
		body             string
		errcode          int
	}{
		"unknown path":              {"GET", "/wxa/nothing", goodQuery, "", 40066},
		"GET for POST":              {"GET", phoneNumber, goodQuery, "", 43002},
		"GET of stable_token":       {"GET", stableToken, noQuery, "", 43002},
		"POST for GET":              {"POST", code2Session, login(), "{}", 43001},
		"empty body":                {"POST", phoneNumber, goodQuery, "", 44002},
		"form body":                 {"POST", phoneNumber, goodQuery, "code=1", 47001},
		"JSON but no object":        {"POST", phoneNumber, goodQuery, "[]", 47001},
		"body too large":            {"POST", phoneNumber, goodQuery, strings.Repeat(" ", 1<<20) + "{}", 45002},
		"code is a number":          {"POST", phoneNumber, goodQuery, `{"code":1}`, 47001},
		"form body of stable_token": {"POST", stableToken, noQuery, "appid=1&secret=2", 41002},
		"garbage for stable_token":  {"POST", stableToken, noQuery, "garbage", 47001},
		"force_refresh is text":     {"POST", stableToken, noQuery, `{"force_refresh":"yes"}`, 47001},
		"no access_token":           {"POST", phoneNumber, noQuery, `{"code":"1"}`, 41001},
		"code in the query":         {"POST", phoneNumber, signed("code", "1"), `{}`, 40029},
		"no code":                   {"POST", phoneNumber, goodQuery, `{}`, 40029},
		"no appid":                  {"POST", stableToken, noQuery, `{"grant_type":"client_credential","secret":"s"}`, 41002},
		"no secret":                 {"POST", stableToken, noQuery, `{"grant_type":"client_credential","appid":"a"}`, 41004},
		"wrong grant_type":          {"POST", stableToken, noQuery, `{"grant_type":"x","appid":"a","secret":"s"}`, 40002},
		"no classic appid":          {"GET", classicToken, noQuery, "", 41002},
		"login grant_type":          {"GET", code2Session, login("grant_type", "client_credential"), "", 40002},
		"no js_code":                {"GET", code2Session, login("js_code", ""), "", 41008},
		"no openid":                 {"GET", checkSession, goodQuery, "", 40003},
		"wrong sig_method":          {"GET", checkSession, signed("openid", "o", "sig_method", "md5", "signature", "0"), "", 87008},
		"no signature":              {"GET", checkSession, signed("openid", "o", "sig_method", "hmac_sha256"), "", 87009},
		"no hash":                   {"POST", checkEncryptedMsg, goodQuery, `{}`, 40097},
		"hash of the wrong kind":    {"POST", checkEncryptedMsg, goodQuery, `{"encrypted_msg_hash":"da39a3ee5e6b4b0d3255bfef95601890afd80709"}`, 40097},
		"hash in upper case":        {"POST", checkEncryptedMsg, goodQuery, `{"encrypted_msg_hash":"` + strings.Repeat("A", 64) + `"}`, 40097},
		"hash is a number":          {"POST", checkEncryptedMsg, goodQuery, `{"encrypted_msg_hash":1}`, 47001},
		"no cloudIDs":               {"POST", getOpenData, signed("openid", "o"), `{"cloudid_list":[]}`, 40097},
		"cloudIDs without openid":   {"POST", getOpenData, goodQuery, `{"cloudid_list":["1"]}`, 40003},
		"cloudIDs are no list":      {"POST", getOpenData, goodQuery, `{"cloudid_list":"1"}`, 47001},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tb := new(spy)
			s := wxphonetest.NewServer(tb)
			a, err := send(t, s, tc.method, tc.endpoint, tc.query(s), tc.body)
			require.NoError(t, err)
			assert.Equal(t, tc.errcode, a.ErrCode)
			require.Len(t, tb.reports(), 1)
			assert.Contains(t, tb.reports()[0], tc.endpoint)
			assert.NotContains(t, tb.reports()[0], "\n")

			quiet := new(spy)
			s = wxphonetest.NewServer(quiet, wxphonetest.AllowMalformed())
			a, err = send(t, s, tc.method, tc.endpoint, tc.query(s), tc.body)
			require.NoError(t, err)
			assert.Equal(t, tc.errcode, a.ErrCode)
			assert.Empty(t, quiet.reports())
		})
	}
}

func TestOrdinaryRefusalsAreLeftToTheTest(t *testing.T) {
	t.Parallel()
	tb := new(spy)
	s := wxphonetest.NewServer(tb)
	assert.Equal(t, 40029, redeem(t, s, "unknown").ErrCode)
	assert.Equal(t, 40001, use(t, s, "unknown"))
	assert.Equal(t, 40013, get(t, s, classicToken,
		values("grant_type", "client_credential", "appid", "wx0", "secret", s.Secret())).ErrCode)
	assert.Empty(t, tb.reports())
}

func TestAskedForFaultsAreNotReported(t *testing.T) {
	t.Parallel()
	tb := new(spy)
	s := wxphonetest.NewServer(tb)
	s.RespondNext("/not/wechat", http.StatusOK, `{"fine":true}`, 1)
	a := get(t, s, "/not/wechat", nil)
	assert.Equal(t, `{"fine":true}`, a.raw)
	assert.Empty(t, tb.reports())
}

func TestChunkedBodyIsTurnedAway(t *testing.T) {
	t.Parallel()
	tb := new(spy)
	s := wxphonetest.NewServer(tb)
	for name, client := range map[string]struct {
		*http.Client
		base string
	}{
		"in process": {s.HTTPClient(), host},
		"loopback":   {http.DefaultClient, s.URL()},
	} {
		t.Run(name, func(t *testing.T) {
			before := len(tb.reports())
			// Hiding the reader's type hides its length.
			body := io.MultiReader(strings.NewReader(`{"code":"1"}`))
			resp, err := client.Post(client.base+phoneNumber+"?access_token="+s.Token(), "application/json", body)
			require.NoError(t, err)
			defer resp.Body.Close()
			answer, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			assert.Equal(t, http.StatusPreconditionFailed, resp.StatusCode)
			assert.Empty(t, answer)
			assert.Len(t, tb.reports(), before+1)
		})
	}
}

func TestPlainHTTPIsRefusedOutsideCloudHosting(t *testing.T) {
	t.Parallel()
	ask := func(t *testing.T, s *wxphonetest.Server, address string) string {
		t.Helper()
		resp, err := s.HTTPClient().Post(address+phoneNumber, "application/json",
			strings.NewReader(`{"code":"`+s.IssueCode(somePhone)+`"}`))
		require.NoError(t, err)
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return string(body)
	}

	tb := new(spy)
	outside := wxphonetest.NewServer(tb)
	assert.Contains(t, ask(t, outside, "http://api.weixin.qq.com"), `"errcode":43003`)
	assert.Contains(t, ask(t, outside, "http://api.weixin.qq.com:80"), `"errcode":43003`)
	assert.Len(t, tb.reports(), 2)

	inside := wxphonetest.NewServer(t, wxphonetest.WithCloudHosting())
	assert.Contains(t, ask(t, inside, "http://api.weixin.qq.com"), `"phoneNumber":"13800000000"`)
	assert.Equal(t, 40001, use(t, inside, "unknown"), "a token that is sent is checked")
}

func TestContentTypesDifferAsAtWeChat(t *testing.T) {
	t.Parallel()
	s := wxphonetest.NewServer(t)
	assert.Equal(t, "application/json; encoding=utf-8", fetchStable(t, s, false).contentType)
	assert.Equal(t, "application/json; encoding=utf-8", redeem(t, s, s.IssueCode(somePhone)).contentType)
	assert.Equal(t, "text/plain", logIn(t, s, s.IssueLoginCode("o")).contentType)
	assert.Equal(t, "application/json; charset=UTF-8", checkKey(t, s, "o", s.SessionKey("o")).contentType)
}
