package wxphonetest_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wxphone/wxphone/wxphonetest"
)

const (
	componentToken  = "/cgi-bin/component/api_component_token"
	authorizerToken = "/cgi-bin/component/api_authorizer_token"
	componentLogin  = "/sns/component/jscode2session"
	otherApp        = "wxfedcba9876543210"
)

// platformAnswer is what a platform's APIs answer.
type platformAnswer struct {
	ErrCode         any    `json:"errcode"`
	ComponentToken  string `json:"component_access_token"`
	AuthorizerToken string `json:"authorizer_access_token"`
	RefreshToken    string `json:"authorizer_refresh_token"`
	ExpiresIn       int    `json:"expires_in"`
	OpenID          string `json:"openid"`
	SessionKey      string `json:"session_key"`
}

func platformCall(t *testing.T, s *wxphonetest.Server, method, endpoint string, query url.Values, body map[string]string) platformAnswer {
	t.Helper()
	var payload io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		require.NoError(t, err)
		payload = bytes.NewReader(b)
	}
	req, err := http.NewRequest(method, host+endpoint+"?"+query.Encode(), payload)
	require.NoError(t, err)
	resp, err := s.HTTPClient().Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	var a platformAnswer
	require.NoError(t, json.NewDecoder(resp.Body).Decode(&a))
	return a
}

func with(base map[string]string, name, value string) map[string]string {
	changed := make(map[string]string)
	for k, v := range base {
		changed[k] = v
	}
	changed[name] = value
	return changed
}

func componentBody(s *wxphonetest.Server) map[string]string {
	return map[string]string{
		"component_appid": s.ComponentAppID(), "component_appsecret": s.ComponentSecret(), "component_verify_ticket": s.Ticket(),
	}
}

func fetchComponent(t *testing.T, s *wxphonetest.Server) string {
	t.Helper()
	a := platformCall(t, s, http.MethodPost, componentToken, nil, componentBody(s))
	require.Nil(t, a.ErrCode)
	require.NotEmpty(t, a.ComponentToken)
	assert.Equal(t, 7200, a.ExpiresIn)
	return a.ComponentToken
}

func authorizerBody(s *wxphonetest.Server, appID, refreshToken string) map[string]string {
	return map[string]string{"component_appid": s.ComponentAppID(), "authorizer_appid": appID, "authorizer_refresh_token": refreshToken}
}

func TestComponentTokenChecksItsRequest(t *testing.T) {
	t.Parallel()
	s := wxphonetest.NewServer(t, wxphonetest.AllowMalformed())
	good := componentBody(s)
	for _, tt := range []struct {
		name, value string
		want        float64
	}{
		{"component_appid", "", 41018},
		{"component_appid", "wx0000000000000000", 40013},
		{"component_appsecret", "", 41004},
		{"component_appsecret", "wrong", 40125},
		{"component_verify_ticket", "", 61006},
		{"component_verify_ticket", "ticket@@@unknown", 61006},
	} {
		a := platformCall(t, s, http.MethodPost, componentToken, nil, with(good, tt.name, tt.value))
		assert.Equal(t, any(tt.want), a.ErrCode, "%s=%q", tt.name, tt.value)
	}
	old := s.Ticket()
	require.NotEqual(t, old, s.PushTicket())
	assert.NotEqual(t, old, s.Ticket())
	a := platformCall(t, s, http.MethodPost, componentToken, nil, with(good, "component_verify_ticket", old))
	assert.Nil(t, a.ErrCode, "a former ticket is good for 12 hours")
}

func TestAuthorizerTokenChecksItsRequest(t *testing.T) {
	t.Parallel()
	s := wxphonetest.NewServer(t, wxphonetest.AllowMalformed())
	token := fetchComponent(t, s)
	good := authorizerBody(s, s.AppID(), s.Authorize())
	for _, name := range []string{"access_token", "component_access_token"} {
		a := platformCall(t, s, http.MethodPost, authorizerToken, values(name, token), good)
		assert.Nil(t, a.ErrCode, name)
		assert.Equal(t, good["authorizer_refresh_token"], a.RefreshToken)
		assert.Equal(t, 7200, a.ExpiresIn)
		assert.Equal(t, works, use(t, s, a.AuthorizerToken))
	}
	for _, tt := range []struct {
		name, value string
		want        float64
	}{
		{"component_appid", "", 41018},
		{"component_appid", "wx0000000000000000", 40013},
		{"authorizer_appid", "", 40013},
		{"authorizer_appid", otherApp, 61003},
		{"authorizer_refresh_token", "", 61023},
		{"authorizer_refresh_token", "refreshtoken@@@unknown", 61023},
	} {
		a := platformCall(t, s, http.MethodPost, authorizerToken, values("access_token", token), with(good, tt.name, tt.value))
		assert.Equal(t, any(tt.want), a.ErrCode, "%s=%q", tt.name, tt.value)
	}
	for query, want := range map[string]float64{"": 41001, "unknown": 40001, s.Token(): 48001} {
		a := platformCall(t, s, http.MethodPost, authorizerToken, values("access_token", query), good)
		assert.Equal(t, any(want), a.ErrCode)
	}
	s.RevokeComponentToken()
	a := platformCall(t, s, http.MethodPost, authorizerToken, values("access_token", token), good)
	assert.Equal(t, any(40001.0), a.ErrCode)
	assert.Equal(t, 40001, use(t, s, token), "a component_access_token is no access_token")
}

func TestRefreshTokensRotateAndEnd(t *testing.T) {
	t.Parallel()
	s := wxphonetest.NewServer(t)
	query := values("component_access_token", fetchComponent(t, s))
	first := s.Authorize()
	refresh := func(refreshToken string) platformAnswer {
		return platformCall(t, s, http.MethodPost, authorizerToken, query, authorizerBody(s, s.AppID(), refreshToken))
	}
	s.RotateRefreshToken(s.AppID())
	second := refresh(first).RefreshToken
	assert.NotEqual(t, first, second)
	assert.Equal(t, second, refresh(first).RefreshToken, "for five minutes more")

	third := s.RevokeRefreshToken(s.AppID())
	for _, ended := range []string{first, second} {
		assert.Equal(t, any(61023.0), refresh(ended).ErrCode)
	}
	a := refresh(third)
	require.Nil(t, a.ErrCode)

	s.WithdrawPermission(s.AppID())
	assert.Equal(t, 61007, use(t, s, a.AuthorizerToken))
	assert.Nil(t, refresh(third).ErrCode)
	s.Deauthorize(s.AppID())
	assert.Equal(t, 61003, use(t, s, a.AuthorizerToken))
	assert.Equal(t, any(61003.0), refresh(third).ErrCode)

	fresh := s.Authorize()
	assert.Equal(t, any(61023.0), refresh(third).ErrCode)
	assert.Equal(t, works, use(t, s, refresh(fresh).AuthorizerToken))
	assert.Equal(t, 40001, use(t, s, a.AuthorizerToken), "of the former authorisation")
	a = refresh(fresh)
	s.RevokeToken()
	assert.Equal(t, 40001, use(t, s, a.AuthorizerToken))
	s.Deauthorize("an app that never authorised anybody")
	assert.Panics(t, func() { s.RotateRefreshToken(otherApp) })
}

func TestCodesBelongToTheirMiniProgram(t *testing.T) {
	t.Parallel()
	s := wxphonetest.NewServer(t)
	token := platformCall(t, s, http.MethodPost, authorizerToken, values("access_token", fetchComponent(t, s)),
		authorizerBody(s, otherApp, s.AuthorizeApp(otherApp))).AuthorizerToken
	code := s.IssueCode(somePhone, wxphonetest.ForApp(otherApp))
	assert.Equal(t, 40013, redeem(t, s, code).ErrCode, "with the token of the server's own mini-program")
	a := post(t, s, phoneNumber, values("access_token", token), map[string]string{"code": s.IssueCode(somePhone)})
	assert.Equal(t, 40013, a.ErrCode)
	a = post(t, s, phoneNumber, values("access_token", token), map[string]string{"code": code})
	assert.Zero(t, a.ErrCode)
	assert.Contains(t, a.raw, `"appid":"`+otherApp+`"`)
}

func TestComponentLogin(t *testing.T) {
	t.Parallel()
	s := wxphonetest.NewServer(t, wxphonetest.AllowMalformed())
	token := fetchComponent(t, s)
	s.AuthorizeApp(otherApp)
	good := map[string]string{
		"component_access_token": token, "component_appid": s.ComponentAppID(), "appid": otherApp, "grant_type": "authorization_code",
	}
	login := func(name, value, code string) platformAnswer {
		query := values("js_code", code)
		for k, v := range with(good, name, value) {
			query.Set(k, v)
		}
		return platformCall(t, s, http.MethodGet, componentLogin, query, nil)
	}
	code := s.IssueLoginCodeForApp(otherApp, "openid")
	for _, tt := range []struct{ name, value, want string }{
		{"component_access_token", "", "41001"},
		{"component_access_token", "unknown", "40094"},
		{"component_access_token", s.Token(), "48001"},
		{"component_appid", "", "41018"},
		{"component_appid", "wx0000000000000000", "40013"},
		{"appid", "", "41002"},
		{"appid", s.AppID(), "61003"},
		{"grant_type", "client_credential", "40002"},
	} {
		assert.Equal(t, any(tt.want), login(tt.name, tt.value, code).ErrCode, "%s=%q", tt.name, tt.value)
	}
	assert.Equal(t, any("41008"), login("", "", "").ErrCode)
	assert.Equal(t, any("40029"), login("", "", s.IssueLoginCode("openid")).ErrCode, "a code of the server's own mini-program")

	a := login("", "", code)
	assert.Equal(t, platformAnswer{OpenID: "openid", SessionKey: string(s.SessionKey("openid"))}, a)
	assert.Equal(t, any("40163"), login("", "", code).ErrCode)
	own := get(t, s, code2Session, values("appid", s.AppID(), "secret", s.Secret(), "grant_type", "authorization_code",
		"js_code", s.IssueLoginCodeForApp(otherApp, "openid")))
	assert.Equal(t, 40029, own.ErrCode)

	s.WithdrawPermission(otherApp)
	assert.Equal(t, any("61007"), login("", "", code).ErrCode)
}

func TestMalformedPlatformCallsFailTheTest(t *testing.T) {
	t.Parallel()
	watching := &spy{}
	s := wxphonetest.NewServer(watching)
	platformCall(t, s, http.MethodPost, componentToken, nil, with(componentBody(s), "component_appid", ""))
	platformCall(t, s, http.MethodPost, authorizerToken, nil, authorizerBody(s, s.AppID(), s.Authorize()))
	assert.Len(t, watching.reports(), 2)
	platformCall(t, s, http.MethodPost, componentToken, nil, with(componentBody(s), "component_verify_ticket", "unknown"))
	assert.Len(t, watching.reports(), 2, "a refused ticket is for the test to judge")
	watching.end()
}
