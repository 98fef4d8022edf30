package wxphonetest_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/wxphonetest"
)

const (
	preAuthCode     = "/cgi-bin/component/api_create_preauthcode"
	queryAuth       = "/cgi-bin/component/api_query_auth"
	authorizerList  = "/cgi-bin/component/api_get_authorizer_list"
	startTicketPush = "/cgi-bin/component/api_start_push_ticket"
)

// authorizeAnswer is what the APIs about authorisations answer.
type authorizeAnswer struct {
	ErrCode     int    `json:"errcode"`
	ErrMsg      string `json:"errmsg"`
	PreAuthCode string `json:"pre_auth_code"`
	ExpiresIn   int    `json:"expires_in"`
	Info        struct {
		AppID string `json:"authorizer_appid"`
		platformAnswer
		Permissions []struct {
			Category struct {
				ID int `json:"id"`
			} `json:"funcscope_category"`
		} `json:"func_info"`
	} `json:"authorization_info"`
	Total int `json:"total_count"`
	List  []struct {
		AppID        string `json:"authorizer_appid"`
		RefreshToken string `json:"refresh_token"`
		AuthTime     int64  `json:"auth_time"`
	} `json:"list"`
}

// permissions returns the ids of func_info.
func (a *authorizeAnswer) permissions() []int {
	var ids []int
	for _, p := range a.Info.Permissions {
		ids = append(ids, p.Category.ID)
	}
	return ids
}

func authorizeCall(t *testing.T, s *wxphonetest.Server, endpoint, token string, body map[string]any) authorizeAnswer {
	t.Helper()
	b, err := json.Marshal(body)
	require.NoError(t, err)
	resp, err := s.HTTPClient().Post(host+endpoint+"?"+url.Values{"component_access_token": {token}}.Encode(), "application/json", bytes.NewReader(b))
	require.NoError(t, err)
	defer resp.Body.Close()
	var a authorizeAnswer
	require.NoError(t, json.NewDecoder(resp.Body).Decode(&a))
	return a
}

func exchangeCode(t *testing.T, s *wxphonetest.Server, token, code string) authorizeAnswer {
	t.Helper()
	return authorizeCall(t, s, queryAuth, token, map[string]any{"component_appid": s.ComponentAppID(), "authorization_code": code})
}

func list(t *testing.T, s *wxphonetest.Server, token string, offset, count int) authorizeAnswer {
	t.Helper()
	return authorizeCall(t, s, authorizerList, token, map[string]any{"component_appid": s.ComponentAppID(), "offset": offset, "count": count})
}

func newPreAuthCode(t *testing.T, s *wxphonetest.Server, token string) string {
	t.Helper()
	a := authorizeCall(t, s, preAuthCode, token, map[string]any{"component_appid": s.ComponentAppID()})
	require.NotEmpty(t, a.PreAuthCode)
	assert.Equal(t, 1800, a.ExpiresIn)
	return a.PreAuthCode
}

func TestAuthorizationCodeIsExchangedOnce(t *testing.T) {
	t.Parallel()
	s := wxphonetest.NewServer(t)
	token := fetchComponent(t, s)
	code := s.IssueAuthorizationCode(otherApp)
	require.Len(t, list(t, s, token, 0, 500).List, 1)
	assert.Empty(t, list(t, s, token, 0, 500).List[0].RefreshToken, "the code was not exchanged yet")

	a := exchangeCode(t, s, token, code)
	assert.Equal(t, otherApp, a.Info.AppID)
	assert.Equal(t, 7200, a.Info.ExpiresIn)
	assert.Equal(t, []int{17, 18, 30}, a.permissions())
	assert.Equal(t, a.Info.RefreshToken, list(t, s, token, 0, 500).List[0].RefreshToken)
	refreshed := platformCall(t, s, http.MethodPost, authorizerToken, values("component_access_token", token),
		authorizerBody(s, otherApp, a.Info.RefreshToken))
	assert.Nil(t, refreshed.ErrCode)
	redeemed := post(t, s, phoneNumber, values("access_token", a.Info.AuthorizerToken),
		map[string]string{"code": s.IssueCode(somePhone, wxphonetest.ForApp(otherApp))})
	assert.Zero(t, redeemed.ErrCode, "the token that came with the authorisation")

	again := exchangeCode(t, s, token, code)
	assert.Equal(t, 61010, again.ErrCode)
	assert.Contains(t, again.ErrMsg, "code is expired")
}

func TestListHasThePagesThatAreAskedFor(t *testing.T) {
	t.Parallel()
	s := wxphonetest.NewServer(t, wxphonetest.AllowMalformed())
	token := fetchComponent(t, s)
	assert.Empty(t, list(t, s, token, 0, 500).List)
	var appIDs []string
	for i := range 5 {
		appIDs = append(appIDs, fmt.Sprintf("wx%016d", i))
		s.AuthorizeApp(appIDs[i])
	}
	s.Deauthorize(appIDs[1])
	standing := []string{appIDs[0], appIDs[2], appIDs[3], appIDs[4]}
	for _, tt := range []struct {
		offset, count int
		want          []string
	}{
		{0, 500, standing}, {0, 2, standing[:2]}, {2, 2, standing[2:]}, {3, 2, standing[3:]}, {4, 2, nil}, {9, 1, nil},
	} {
		a := list(t, s, token, tt.offset, tt.count)
		var got []string
		for _, entry := range a.List {
			got = append(got, entry.AppID)
			assert.NotEmpty(t, entry.RefreshToken)
			assert.NotZero(t, entry.AuthTime)
		}
		assert.Equal(t, tt.want, got, "%v", tt)
		assert.Equal(t, 4, a.Total)
	}
	for _, wrong := range [][2]int{{0, 0}, {0, 501}, {-1, 1}} {
		assert.Equal(t, 40097, list(t, s, token, wrong[0], wrong[1]).ErrCode, "%v", wrong)
	}
}

func TestAuthorizationAPIsCheckTheirRequests(t *testing.T) {
	t.Parallel()
	s := wxphonetest.NewServer(t, wxphonetest.AllowMalformed())
	for _, endpoint := range []string{preAuthCode, queryAuth, authorizerList} {
		for token, want := range map[string]int{"": 41001, "unknown": 40001, s.Token(): 48001} {
			assert.Equal(t, want, authorizeCall(t, s, endpoint, token, map[string]any{"component_appid": s.ComponentAppID()}).ErrCode, endpoint)
		}
		for appID, want := range map[string]int{"": 41018, otherApp: 40013} {
			assert.Equal(t, want, authorizeCall(t, s, endpoint, fetchComponent(t, s), map[string]any{"component_appid": appID}).ErrCode, endpoint)
		}
		s.SetDailyLimit(endpoint, 0)
	}
	token := fetchComponent(t, s)
	assert.Equal(t, 41008, exchangeCode(t, s, token, "").ErrCode)
	assert.Equal(t, 45009, exchangeCode(t, s, token, s.IssueAuthorizationCode(otherApp)).ErrCode)
	assert.Equal(t, 45009, list(t, s, token, 0, 1).ErrCode)
	assert.Equal(t, 45009, authorizeCall(t, s, preAuthCode, token, map[string]any{"component_appid": s.ComponentAppID()}).ErrCode)

	for _, tt := range []struct {
		appID, secret string
		want          int
	}{
		{"", s.ComponentSecret(), 41018},
		{s.ComponentAppID(), "", 41004},
		{otherApp, s.ComponentSecret(), 40013},
		{s.ComponentAppID(), "wrong", 40125},
	} {
		a := authorizeCall(t, s, startTicketPush, "", map[string]any{"component_appid": tt.appID, "component_secret": tt.secret})
		assert.Equal(t, tt.want, a.ErrCode)
	}
}

// link is an authorisation link with some parameters changed; those that are
// "" are left out.
func link(page string, base, changes map[string]string) string {
	query := make(url.Values)
	for _, params := range []map[string]string{base, changes} {
		for name, value := range params {
			query.Set(name, value)
			if value == "" {
				query.Del(name)
			}
		}
	}
	return page + "?" + query.Encode()
}

func TestOwnerAuthorizesByALink(t *testing.T) {
	t.Parallel()
	const computers, phones = "https://mp.weixin.qq.com/cgi-bin/componentloginpage", "https://open.weixin.qq.com/wxaopen/safe/bindcomponent"
	s := wxphonetest.NewServer(t)
	token := fetchComponent(t, s)
	base := func() map[string]string {
		return map[string]string{
			"component_appid": s.ComponentAppID(), "pre_auth_code": newPreAuthCode(t, s, token), "auth_type": "2",
			"redirect_uri": "https://platform.example.com/authorized?shop=1",
		}
	}
	for _, good := range []string{
		link(computers, base(), nil),
		link(phones, base(), map[string]string{"action": "bindcomponent", "no_scan": "1"}) + "#wechat_redirect",
		link(computers, base(), map[string]string{"auth_type": "", "biz_appid": otherApp}),
	} {
		redirect, err := s.AuthorizeByURL(good, otherApp)
		require.NoError(t, err)
		u, err := url.Parse(redirect)
		require.NoError(t, err)
		assert.Equal(t, "platform.example.com/authorized", u.Host+u.Path)
		assert.Equal(t, "1", u.Query().Get("shop"))
		assert.Equal(t, "600", u.Query().Get("expires_in"))
		assert.Equal(t, http.StatusFound, last(t, s).Status)
		assert.Equal(t, otherApp, exchangeCode(t, s, token, u.Query().Get("auth_code")).Info.AppID)
	}
	used := base()
	_, err := s.AuthorizeByURL(link(computers, used, nil), otherApp)
	require.NoError(t, err)
	for reason, bad := range map[string]string{
		"it works once":                 link(computers, used, nil),
		"no such pre_auth_code":         link(computers, base(), map[string]string{"pre_auth_code": "preauthcode@@@another"}),
		"no page for authorisations":    link("https://mp.weixin.qq.com/", base(), nil),
		"action=bindcomponent":          link(phones, base(), nil),
		"the server's platform":         link(computers, base(), map[string]string{"component_appid": "wx0"}),
		"no absolute URL":               link(computers, base(), map[string]string{"redirect_uri": "/authorized"}),
		"either biz_appid or auth_type": link(computers, base(), map[string]string{"biz_appid": otherApp}),
		"for wx0 only":                  link(computers, base(), map[string]string{"biz_appid": "wx0", "auth_type": ""}),
	} {
		redirect, err := s.AuthorizeByURL(bad, otherApp)
		assert.Empty(t, redirect)
		require.ErrorContains(t, err, reason)
		assert.Contains(t, last(t, s).Reason, reason)
	}
	_, err = s.AuthorizeByURL("://", otherApp)
	require.Error(t, err)
}

// arrivals keeps what is pushed, and answers as it is told to.
type arrivals struct {
	reader *wxphone.PushReader
	answer func(http.ResponseWriter, *http.Request)
	pushes []wxphone.Push
	paths  []string
}

func (a *arrivals) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	push, err := a.reader.Read(r.URL.Query(), body)
	if err != nil {
		http.Error(w, err.Error(), wxphone.HTTPStatus(err))
		return
	}
	a.pushes, a.paths = append(a.pushes, *push), append(a.paths, r.URL.Path)
	a.answer(w, r)
}

func answerSuccess(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "success") }

func (a *arrivals) last(t *testing.T) wxphone.Push {
	t.Helper()
	require.NotEmpty(t, a.pushes)
	return a.pushes[len(a.pushes)-1]
}
