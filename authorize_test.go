package wxphone_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/wxphonetest"
)

const (
	someRedirect = "https://platform.example.com/authorized?shop=1&x=a%26b"
	someAuthCode = "queryauthcode@@@bN7yQ2mXk9VtLr4JzWc8HdPf6Sg3AeUoKi1Tx5Rw0vE"
)

func TestFromALinkToANumber(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	server := wxphonetest.NewServer(t)
	platform, tokens := server.NewComponent(), &refreshTokens{tokens: map[string]string{}}
	var pushed []string
	server.PushTo("/", server.NewPushReader().Handler(func(_ context.Context, push *wxphone.Push) error {
		pushed = append(pushed, push.AuthorizationCode)
		return nil
	}))
	for _, appLink := range []wxphone.AuthorizationLink{
		{RedirectURI: someRedirect},
		{RedirectURI: "http://platform.example.com", ForPhone: true},
		{RedirectURI: someRedirect, AppID: server.AppID()},
		{RedirectURI: someRedirect, AppID: server.AppID(), ForPhone: true},
	} {
		link, err := platform.AuthorizationURL(ctx, appLink)
		require.NoError(t, err)
		redirect, err := server.AuthorizeByURL(link, server.AppID())
		require.NoError(t, err)
		back, err := url.Parse(redirect)
		require.NoError(t, err)
		assert.Equal(t, pushed[len(pushed)-1], back.Query().Get("auth_code"))

		authorization, err := platform.QueryAuthorization(ctx, back.Query().Get("auth_code"))
		require.NoError(t, err)
		assert.Equal(t, server.AppID(), authorization.AppID)
		assert.Equal(t, []int{17, 18, 30}, authorization.PermissionSets)
		assert.True(t, authorization.CanGetPhoneNumbers())
		assert.NotEmpty(t, authorization.Token.AccessToken)
		assert.InDelta(t, 2*time.Hour, time.Until(authorization.Token.ExpiresAt), float64(time.Minute))
		require.NoError(t, tokens.SaveRefreshToken(ctx, authorization.AppID, authorization.RefreshToken))
		_, err = clientOf(t, platform, server.AppID(), tokens).GetPhoneNumber(ctx, server.IssueCode(aPhone))
		require.NoError(t, err)
	}
	assert.Equal(t, 4, server.Requests(preAuthCodeAPI), "each link has a pre_auth_code of its own")
	assert.Equal(t, 1, server.Requests(componentTokenAPI))
}

func TestLinksHaveTheParametersOfWeChatsPages(t *testing.T) {
	t.Parallel()
	const code = "preauthcode@@@someone"
	platform := componentAgainst(t, preAuthCodeAPI, func(w http.ResponseWriter, _ string) {
		_, _ = io.WriteString(w, `{"pre_auth_code":"`+code+`","expires_in":600}`)
	})
	const common = "component_appid=" + someComponentID + "&pre_auth_code=preauthcode%40%40%40someone" +
		"&redirect_uri=https%3A%2F%2Fplatform.example.com%2Fauthorized%3Fshop%3D1%26x%3Da%2526b&"
	for _, tt := range []struct {
		link wxphone.AuthorizationLink
		want string
	}{
		{wxphone.AuthorizationLink{}, "https://mp.weixin.qq.com/cgi-bin/componentloginpage?" + common + "auth_type=2"},
		{wxphone.AuthorizationLink{AppID: someAppID}, "https://mp.weixin.qq.com/cgi-bin/componentloginpage?" + common + "biz_appid=" + someAppID},
		{
			wxphone.AuthorizationLink{ForPhone: true},
			"https://open.weixin.qq.com/wxaopen/safe/bindcomponent?action=bindcomponent&no_scan=1&" + common + "auth_type=2#wechat_redirect",
		},
		{
			wxphone.AuthorizationLink{ForPhone: true, AppID: someAppID},
			"https://open.weixin.qq.com/wxaopen/safe/bindcomponent?action=bindcomponent&no_scan=1&" + common + "biz_appid=" + someAppID + "#wechat_redirect",
		},
	} {
		tt.link.RedirectURI = someRedirect
		got, err := platform.AuthorizationURL(context.Background(), tt.link)
		require.NoError(t, err)
		assert.Equal(t, tt.want, got)
	}
}

// authorizeCalls has a call of each API, by its path. The last takes no token.
var authorizeCalls = map[string]func(context.Context, *wxphone.Component) error{
	preAuthCodeAPI: func(ctx context.Context, c *wxphone.Component) error {
		_, err := c.AuthorizationURL(ctx, wxphone.AuthorizationLink{RedirectURI: someRedirect})
		return err
	},
	queryAuthAPI: func(ctx context.Context, c *wxphone.Component) error {
		_, err := c.QueryAuthorization(ctx, someAuthCode)
		return err
	},
	authorizerListAPI: func(ctx context.Context, c *wxphone.Component) error {
		for _, err := range c.Authorizers(ctx) {
			if err != nil {
				return err
			}
		}
		return nil
	},
	startTicketPushAPI: func(ctx context.Context, c *wxphone.Component) error { return c.StartTicketPush(ctx) },
}

func TestAuthorizeRefusesArgumentsThatCannotBeRight(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	server := wxphonetest.NewServer(t)
	platform := server.NewComponent()
	for _, redirect := range []string{
		"", " https://a.test", "https://a.test\n", "a.test/path", "/path", "//a.test", "ftp://a.test", "https:a.test", "https://", "https://:80", "javascript:alert(1)", "https://a b",
	} {
		link, err := platform.AuthorizationURL(ctx, wxphone.AuthorizationLink{RedirectURI: redirect})
		assert.Empty(t, link)
		assertInvalid(t, err, "RedirectURI")
	}
	_, err := platform.AuthorizationURL(ctx, wxphone.AuthorizationLink{RedirectURI: someRedirect, AppID: " wx"})
	assertInvalid(t, err, "AppID")
	for _, code := range []string{"", " \n"} {
		authorization, err := platform.QueryAuthorization(ctx, code)
		assert.Nil(t, authorization)
		assertInvalid(t, err, "authorizationCode")
	}
	assertInvalid(t, platform.InvalidateAccessToken(ctx, ""), "rejected")
	calls := map[string]func(context.Context, *wxphone.Component) error{
		preAuthCodeAPI: authorizeCalls[preAuthCodeAPI], queryAuthAPI: authorizeCalls[queryAuthAPI],
		authorizerListAPI: authorizeCalls[authorizerListAPI], startTicketPushAPI: authorizeCalls[startTicketPushAPI],
		"AccessToken": func(ctx context.Context, c *wxphone.Component) error { _, err := c.AccessToken(ctx); return err },
		"Invalidate":  func(ctx context.Context, c *wxphone.Component) error { return c.InvalidateAccessToken(ctx, someToken) },
	}
	for _, call := range calls {
		assertInvalid(t, call(ctx, nil), "NewComponent")
		assertInvalid(t, call(ctx, new(wxphone.Component)), "NewComponent")
		assertInvalid(t, call(nil, platform), "ctx")
	}
	assert.Empty(t, server.Exchanges(), "nothing was sent")
}

func TestRefusedComponentTokenIsReplacedInEveryAPI(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	for api, call := range authorizeCalls {
		if api == startTicketPushAPI {
			continue
		}
		for _, errcode := range []int{40001, 40014, 42001, 40094} {
			server := wxphonetest.NewServer(t)
			platform := server.NewComponent(wxphone.WithMaxRetries(0))
			_, err := platform.AccessToken(ctx)
			require.NoError(t, err)
			server.RevokeComponentToken()
			server.FailNext(api, errcode, "", 1)
			if err := call(ctx, platform); api == queryAuthAPI {
				assertCode(t, err, queryAuthAPI, 61010) // of the repeat; the code is made up
			} else {
				require.NoError(t, err, "%d at %s", errcode, api)
			}
			assert.Equal(t, 2, server.Requests(api))
			assert.Equal(t, 2, server.Requests(componentTokenAPI))
		}
	}
}

func assertCode(t *testing.T, err error, endpoint string, code int) {
	t.Helper()
	var refusal *wxphone.APIError
	require.ErrorAs(t, err, &refusal)
	assert.Equal(t, code, refusal.Code)
	assert.Equal(t, endpoint, refusal.Endpoint)
}

func TestComponentsTokenIsForItsOwnersCallsToo(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	server := wxphonetest.NewServer(t)
	platform := server.NewComponent()
	first, err := platform.AccessToken(ctx)
	require.NoError(t, err)
	again, err := platform.AccessToken(ctx)
	require.NoError(t, err)
	assert.Equal(t, first, again)
	require.NoError(t, platform.InvalidateAccessToken(ctx, "86_another"))
	require.NoError(t, platform.InvalidateAccessToken(ctx, first.AccessToken))
	next, err := platform.AccessToken(ctx)
	require.NoError(t, err)
	assert.NotEqual(t, first.AccessToken, next.AccessToken)
	assert.Equal(t, 2, server.Requests(componentTokenAPI))
}

func TestAuthorizationCodeWorksOnce(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	server := wxphonetest.NewServer(t)
	platform := server.NewComponent()
	code := server.IssueAuthorizationCode(server.AppID())
	_, err := platform.QueryAuthorization(ctx, code)
	require.NoError(t, err)
	authorization, err := platform.QueryAuthorization(ctx, code)
	assert.Nil(t, authorization)
	assertCode(t, err, queryAuthAPI, 61010)
	var refusal *wxphone.APIError
	require.ErrorAs(t, err, &refusal)
	assert.Equal(t, wxphone.KindPlatform, refusal.Kind())
	assert.False(t, refusal.Retryable())
	assert.Equal(t, 500, wxphone.HTTPStatus(err))
	assert.Contains(t, err.Error(), "let the owner authorise again")
	assert.NotErrorIs(t, err, wxphone.ErrCodeMaybeUsed)
	assertTellsNone(t, err.Error(), []string{code}, "the error")
	assert.Equal(t, 2, server.Requests(queryAuthAPI))
}

func TestAuthorizationWhoseAnswerIsLostIsListed(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	server := wxphonetest.NewServer(t)
	platform := server.NewComponent()
	server.LoseNext(queryAuthAPI, 1)
	_, err := platform.QueryAuthorization(ctx, server.IssueAuthorizationCode(server.AppID()))
	assertCode(t, err, queryAuthAPI, 61010)
	require.ErrorIs(t, err, wxphone.ErrCodeMaybeUsed)
	for authorizer, err := range platform.Authorizers(ctx) {
		require.NoError(t, err)
		assert.Equal(t, server.AppID(), authorizer.AppID)
		client := clientOf(t, platform, authorizer.AppID, &refreshTokens{tokens: map[string]string{authorizer.AppID: authorizer.RefreshToken}})
		_, err = client.GetPhoneNumber(ctx, server.IssueCode(aPhone))
		require.NoError(t, err)
	}
}

func TestAuthorizationWithoutSet18(t *testing.T) {
	t.Parallel()
	server := wxphonetest.NewServer(t)
	server.Authorize()
	var code string
	server.PushTo("/", server.NewPushReader().Handler(func(_ context.Context, push *wxphone.Push) error {
		code = push.AuthorizationCode
		return nil
	}))
	server.WithdrawPermission(server.AppID())
	authorization, err := server.NewComponent().QueryAuthorization(context.Background(), code)
	require.NoError(t, err)
	assert.False(t, authorization.CanGetPhoneNumbers())
	assert.False(t, wxphone.Authorization{}.CanGetPhoneNumbers())
	assert.True(t, wxphone.Authorization{PermissionSets: []int{18}}.CanGetPhoneNumbers())
}

func TestAuthorizeAnswersWithoutTheirPointAreNoAnswers(t *testing.T) {
	t.Parallel()
	for api, bodies := range map[string][]string{
		preAuthCodeAPI: {`{}`, `{"errcode":0}`, `{"pre_auth_code":""}`, `{"pre_auth_code":["a"],"expires_in":600}`, `<html>`, ``},
		queryAuthAPI: {
			`{}`, `{"authorization_info":{}}`, `{"authorization_info":null}`, `{"authorization_info":[]}`,
			`{"authorization_info":{"authorizer_appid":"wx"}}`, `{"authorization_info":{"authorizer_refresh_token":"r"}}`,
			`{"authorizer_appid":"wx","authorizer_refresh_token":"r"}`, `<html>`,
		},
		authorizerListAPI:  {`{}`, `{"errcode":0}`, `{"total_count":1}`, `{"total_count":1,"list":null}`, `{"list":{}}`, `[]`, `<html>`},
		startTicketPushAPI: {`{}`, `{"errmsg":"ok"}`, `{"errcode":null}`, `<html>`, ``},
	} {
		for _, body := range bodies {
			platform := componentAgainst(t, api, func(w http.ResponseWriter, _ string) { _, _ = io.WriteString(w, body) })
			err := authorizeCalls[api](context.Background(), platform)
			var response *wxphone.ResponseError
			require.ErrorAs(t, err, &response, "%s: %s", api, body)
			assert.Equal(t, api, response.Endpoint)
			assert.Equal(t, http.StatusBadGateway, wxphone.HTTPStatus(err))
		}
	}
}

func TestAuthorizationsAreReadLeniently(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]wxphone.Authorization{
		`{"authorization_info":{"authorizer_appid":"wx","authorizer_refresh_token":"r"}}`:                              {AppID: "wx", RefreshToken: "r"},
		`{"authorization_info":{"authorizer_appid":"wx","authorizer_refresh_token":"r","func_info":null}}`:             {AppID: "wx", RefreshToken: "r"},
		`{"authorization_info":{"authorizer_appid":"wx","authorizer_refresh_token":"r","func_info":{}},"errcode":"0"}`: {AppID: "wx", RefreshToken: "r"},
		`{"authorization_info":{"func_info":[{"funcscope_category":{"id":"18"},"confirm_info":{}},{},{"funcscope_category":{"id":null}},` +
			`{"funcscope_category":{"id":49}}],"authorizer_appid":"wx","authorizer_refresh_token":"r","authorizer_access_token":"a"}}`: {
			AppID: "wx", RefreshToken: "r", PermissionSets: []int{18, 49}, Token: wxphone.Token{AccessToken: "a"},
		},
	} {
		platform := componentAgainst(t, queryAuthAPI, func(w http.ResponseWriter, _ string) { _, _ = io.WriteString(w, body) })
		got, err := platform.QueryAuthorization(context.Background(), someAuthCode)
		require.NoError(t, err, body)
		assert.Equal(t, want, *got)
	}
}

func TestAuthorizersAreReadInPages(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	for n, requests := range map[int]int{0: 1, 1: 1, 499: 1, 500: 2, 501: 2, 1200: 3} {
		server := wxphonetest.NewServer(t)
		want := make(map[string]string)
		for i := range n {
			appID := fmt.Sprintf("wx%016d", i)
			want[appID] = server.AuthorizeApp(appID)
		}
		got := make(map[string]string)
		authorizers := server.NewComponent().Authorizers(ctx)
		for a, err := range authorizers {
			require.NoError(t, err)
			got[a.AppID] = a.RefreshToken
			assert.WithinDuration(t, time.Now(), a.AuthorizedAt, time.Minute)
		}
		assert.Equal(t, want, got)
		assert.Equal(t, requests, server.Requests(authorizerListAPI), "%d mini-programs", n)
		left := 3
		for _, err := range authorizers {
			require.NoError(t, err)
			if left--; left == 0 {
				break
			}
		}
		assert.Equal(t, requests+1, server.Requests(authorizerListAPI), "it begins anew, and a break ends it")
	}
}

// lister is a platform at a WeChat whose list is as page says. It counts the
// pages that were asked for.
func lister(t *testing.T, page func(offset int) string) (platform *wxphone.Component, pages *int) {
	t.Helper()
	pages = new(int)
	client := &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		if r.URL.Path != authorizerListAPI {
			return answerTo(r, honestPlatform[r.URL.Path]), nil
		}
		var body struct {
			AppID  string `json:"component_appid"`
			Offset int    `json:"offset"`
			Count  int    `json:"count"`
		}
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil || body.AppID != someComponentID || body.Count != 500 {
			return nil, fmt.Errorf("an odd request: %+v: %w", body, err)
		}
		*pages++
		if *pages > 50 {
			return nil, errors.New("the iteration does not end")
		}
		return answerTo(r, page(body.Offset)), nil
	})}
	platform, err := wxphone.NewComponent(someComponentID, someComponentSecret, latestTicket,
		wxphone.WithHTTPClient(client), wxphone.WithMaxRetries(0))
	require.NoError(t, err)
	return platform, pages
}

// listPage is the page with n of all mini-programs from offset on.
func listPage(total, offset, n, all int) string {
	entries := make([]string, 0, n)
	for i := offset; i < min(offset+n, all); i++ {
		entries = append(entries, `{"authorizer_appid":"wx`+strconv.Itoa(i)+`","refresh_token":"r","auth_time":1700000000}`)
	}
	return fmt.Sprintf(`{"total_count":%d,"list":[%s]}`, total, strings.Join(entries, ","))
}

func TestListsThatLieEnd(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		page        func(offset int) string
		want, pages int
	}{
		"empty page though there should be more": {func(int) string { return `{"total_count":9,"list":[]}` }, 0, 1},
		"no list and none to come":               {func(int) string { return `{"total_count":0}` }, 0, 1},
		"no total":                               {func(int) string { return `{"list":[{"authorizer_appid":"wx1"}]}` }, 1, 1},
		"odd total":                              {func(int) string { return `{"total_count":"many","list":[{"authorizer_appid":"wx1"}]}` }, 1, 1},
		"total too high":                         {func(o int) string { return listPage(1e6, o, 500, 700) }, 700, 3},
		"total too low":                          {func(o int) string { return listPage(1, o, 500, 1100) }, 1100, 3},
		"total of no meaning":                    {func(o int) string { return listPage(-5, o, 500, 700) }, 700, 2},
		"short pages":                            {func(o int) string { return listPage(250, o, 100, 250) }, 250, 3},
		"the same page again":                    {func(int) string { return listPage(1e6, 0, 500, 500) }, 500, 2},
		"two pages in turn":                      {func(o int) string { return listPage(1e6, o%1000, 500, 1000) }, 1000, 3},
		"pages that overlap":                     {func(o int) string { return listPage(900, max(o-50, 0), 500, 900) }, 900, 2},
		"entries without an appid":               {func(int) string { return `{"total_count":2,"list":[{},{"authorizer_appid":"wx1"}]}` }, 1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			platform, pages := lister(t, tt.page)
			got := make(map[string]bool)
			for a, err := range platform.Authorizers(context.Background()) {
				require.NoError(t, err)
				assert.False(t, got[a.AppID], "%s comes twice", a.AppID)
				got[a.AppID] = true
			}
			assert.Len(t, got, tt.want)
			assert.Equal(t, tt.pages, *pages)
		})
	}
}

func TestListIsLeftWhenTheContextEnds(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	platform, pages := lister(t, func(o int) string { return listPage(1e6, o, 500, 5000) })
	n, errs := 0, []error{}
	for a, err := range platform.Authorizers(ctx) {
		if err != nil {
			assert.Empty(t, a)
			errs = append(errs, err)
			continue
		}
		if n++; n == 700 {
			cancel()
		}
	}
	assert.Equal(t, 1000, n, "what has come is handed out")
	assert.Equal(t, 2, *pages)
	require.Len(t, errs, 1)
	require.ErrorIs(t, errs[0], context.Canceled)
	assert.Contains(t, errs[0].Error(), authorizerListAPI)
}

func TestListThatFailsOnTheWayEndsWithTheError(t *testing.T) {
	t.Parallel()
	platform, pages := lister(t, func(o int) string {
		if o > 0 {
			return `{"errcode":45009,"errmsg":"reach max api daily quota limit"}`
		}
		return listPage(700, 0, 500, 700)
	})
	n, errs := 0, []error{}
	for _, err := range platform.Authorizers(context.Background()) {
		if err != nil {
			errs = append(errs, err)
		} else {
			n++
		}
	}
	assert.Equal(t, 500, n)
	assert.Equal(t, 2, *pages)
	require.Len(t, errs, 1)
	require.ErrorIs(t, errs[0], wxphone.ErrQuotaExhausted)
}

func TestTicketPushIsStarted(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	server := wxphonetest.NewServer(t)
	noTicket := func(context.Context) (string, error) { return "", errDatabase }
	platform, err := wxphone.NewComponent(server.ComponentAppID(), server.ComponentSecret(), noTicket, wxphone.WithHTTPClient(server.HTTPClient()))
	require.NoError(t, err)
	require.NoError(t, platform.StartTicketPush(ctx), "in a normal state")
	server.StopTicketPush()
	require.NoError(t, platform.StartTicketPush(ctx), "ok")
	assert.Zero(t, server.Requests(componentTokenAPI))
	for _, errcode := range []int{40125, 40001} {
		server.FailNext(startTicketPushAPI, errcode, "", 1)
		require.ErrorIs(t, platform.StartTicketPush(ctx), wxphone.ErrSecretInvalid)
	}
}

func TestAuthorizationsStayInside(t *testing.T) {
	t.Parallel()
	authorization := wxphone.Authorization{
		AppID: someAppID, RefreshToken: someRefreshToken, Token: wxphone.Token{AccessToken: someToken}, PermissionSets: []int{17, 18},
	}
	authorizer := wxphone.Authorizer{AppID: someAppID, RefreshToken: someRefreshToken, AuthorizedAt: time.Unix(1700000000, 0)}
	secrets := []string{someRefreshToken, someToken}
	assertPrintsWithout(t, authorization, secrets...)
	assertPrintsWithout(t, authorizer, secrets...)
	assert.Equal(t, "wxphone.Authorization("+someAppID+" [17 18])", fmt.Sprintf("%+v", authorization))
	assert.Equal(t, "wxphone.Authorizer("+someAppID+" 2023-11-14T22:13:20Z)", fmt.Sprint(&authorizer))
	assert.Equal(t, "wxphone.Authorizer("+someAppID+")", fmt.Sprint(wxphone.Authorizer{AppID: someAppID}))
	for _, v := range []any{
		authorization, &authorization, []wxphone.Authorization{authorization}, struct{ A any }{authorization},
		authorizer, &authorizer, []wxphone.Authorizer{authorizer}, map[string]any{"a": authorizer},
	} {
		text, err := json.Marshal(v)
		require.Error(t, err, "%s", text)
		assertTellsNone(t, err.Error(), secrets, "the refusal")
	}
}

// Every API repeats what it was sent, and errors, logs and observers are
// checked.
func TestAuthorizeDoesNotQuoteWhatItSends(t *testing.T) {
	t.Parallel()
	secrets := []string{someComponentSecret, someTicket, someToken, someAuthCode, someNumber}
	for name, answer := range indiscretions {
		for api, call := range authorizeCalls {
			t.Run(name+api, func(t *testing.T) {
				t.Parallel()
				w := &witness{t: t, secrets: secrets}
				err := call(context.Background(), componentAgainst(t, api, answer, w.options()...))
				require.Error(t, err)
				w.checkError(err)
				w.checkLog()
			})
		}
	}
}
