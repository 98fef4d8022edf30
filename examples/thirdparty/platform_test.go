package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/wxphonetest"
)

const (
	queryAuth      = "/cgi-bin/component/api_query_auth"
	authorizerList = "/cgi-bin/component/api_get_authorizer_list"
	authorizeToken = "/cgi-bin/component/api_authorizer_token"
)

// fixture is a platform whose URL WeChat knows.
type fixture struct {
	t      *testing.T
	wechat *wxphonetest.Server
	path   string
	rows   *store
	*platform
	router http.Handler
	logged bytes.Buffer
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{t: t, wechat: wxphonetest.NewServer(t), path: databaseFile(t)}
	f.rows = newStore(t, f.path)
	var err error
	f.platform, err = newPlatform(f.wechat.ComponentAppID(), f.wechat.ComponentSecret(), f.rows,
		slog.New(slog.NewTextHandler(&f.logged, nil)), wxphone.WithHTTPClient(f.wechat.HTTPClient()))
	must(t, err)
	f.router = newRouter(f.platform, f.wechat.NewPushReader(), "https://platform.example.com")
	f.wechat.PushTo("/wechat/events", f.router)
	f.wechat.PushTicket()
	return f
}

// answered returns the reason why WeChat was not content with the last push.
func (f *fixture) answered() string {
	f.t.Helper()
	all := f.wechat.Exchanges()
	for i := len(all) - 1; i >= 0; i-- {
		if strings.HasPrefix(all[i].Endpoint, "push ") {
			return all[i].Reason
		}
	}
	f.t.Fatal("nothing was pushed")
	return ""
}

func (f *fixture) wantNumber(want error) {
	f.t.Helper()
	code := f.wechat.IssueCode(wxphone.PhoneInfo{PhoneNumber: "13800000000", PurePhoneNumber: "13800000000", CountryCode: "86"},
		wxphonetest.ForApp(someAppID))
	if _, err := f.phone(context.Background(), someAppID, code); !errors.Is(err, want) {
		f.t.Errorf("got %v, want %v", err, want)
	}
}

func (f *fixture) stored() string {
	f.t.Helper()
	token, err := f.rows.LoadRefreshToken(context.Background(), someAppID)
	must(f.t, err)
	return token
}

func TestPushThatComesTwiceIsHandledOnce(t *testing.T) {
	f := newFixture(t)
	f.wechat.IssueAuthorizationCode(someAppID)
	before := f.stored()
	f.wechat.RepeatPush()
	if reason := f.answered(); reason != "" || f.stored() != before || before == "" {
		t.Errorf("%q; the refresh token is there: %v, unchanged: %v", reason, before != "", f.stored() == before)
	}
	if n := f.wechat.Requests(authorizerList); n != 0 {
		t.Errorf("%d requests of the list", n)
	}
	f.wantNumber(nil)
}

// WeChat took the code, but its answer did not arrive.
func TestAuthorizationWhoseAnswerIsLostIsRestored(t *testing.T) {
	f := newFixture(t)
	f.wechat.LoseNext(queryAuth, 1)
	f.wechat.IssueAuthorizationCode(someAppID)
	if reason := f.answered(); reason != "" {
		t.Error(reason)
	}
	f.wantNumber(nil)
	if n := f.wechat.Requests(authorizerList); n != 1 {
		t.Errorf("%d requests of the list", n)
	}
}

func TestPushThatCannotBeHandledComesAgain(t *testing.T) {
	f := newFixture(t)
	f.wechat.FailNext(queryAuth, -1, "", -1)
	f.wechat.IssueAuthorizationCode(someAppID)
	if !strings.Contains(f.answered(), "status 500") {
		t.Errorf("answered %q", f.answered())
	}
	f.wantNumber(errNotAuthorized)
	f.wechat.FailNext(queryAuth, -1, "", 0)
	f.wechat.RepeatPush()
	f.wantNumber(nil)
	if logged := f.logged.String(); !strings.Contains(logged, "wxphone.Push(authorized "+someAppID) || strings.Contains(logged, "queryauthcode") {
		t.Errorf("logged %q", logged)
	}
}

func TestOwnerWhoWithdrawsIsForgotten(t *testing.T) {
	f := newFixture(t)
	f.wechat.IssueAuthorizationCode(someAppID)
	f.wantNumber(nil)
	f.wechat.Deauthorize(someAppID)
	f.wantNumber(errNotAuthorized)
	f.wechat.IssueAuthorizationCode(someAppID)
	f.wantNumber(nil)
	if n := len(f.clients); n != 1 {
		t.Errorf("%d Clients", n)
	}
}

// The code of a push that was recorded is spent, and WeChat lists the mini-program
// no longer.
func TestOldPushDoesNotBringAnOwnerBack(t *testing.T) {
	f := newFixture(t)
	f.wechat.IssueAuthorizationCode(someAppID)
	f.wechat.PushTo("", nil)
	f.wechat.Deauthorize(someAppID)
	if _, err := f.rows.deleteAuthorization(context.Background(), someAppID, time.Now()); err != nil {
		t.Fatal(err)
	}
	err := f.onPush(context.Background(), &wxphone.Push{
		InfoType: wxphone.PushAuthorized, AuthorizerAppID: someAppID, AuthorizationCode: "queryauthcode@@@old", CreatedAt: time.Now(),
	})
	if err != nil || f.stored() != "" {
		t.Errorf("%v; the refresh token is there: %v", err, f.stored() != "")
	}
}

func TestLessPermissionIsLogged(t *testing.T) {
	f := newFixture(t)
	f.wechat.IssueAuthorizationCode(someAppID)
	f.wechat.WithdrawPermission(someAppID)
	if !strings.Contains(f.logged.String(), "authorised without permission set 18") {
		t.Errorf("logged %q", f.logged.String())
	}
	f.wantNumber(wxphone.ErrUnauthorized)
}

func TestDeadRefreshTokenIsReplacedInTheDatabase(t *testing.T) {
	f := newFixture(t)
	f.wechat.IssueAuthorizationCode(someAppID)
	f.wantNumber(nil)
	listed := f.wechat.RevokeRefreshToken(someAppID)
	f.wechat.RevokeToken()
	f.wantNumber(nil)
	wantToken(t, f.path, someAppID, listed)
	if n := f.wechat.Requests(authorizeToken); n != 3 {
		t.Errorf("%d requests for tokens, want 3", n)
	}
}

func TestDatabaseThatIsDownIsNoSuccess(t *testing.T) {
	f := newFixture(t)
	f.rows.close()
	f.wechat.PushTicket()
	if !strings.Contains(f.answered(), "status 500") {
		t.Errorf("answered %q", f.answered())
	}
	if _, err := f.phone(context.Background(), someAppID, "code"); err == nil || errors.Is(err, errNotAuthorized) {
		t.Errorf("got %v", err)
	}
}

func TestRoutes(t *testing.T) {
	f := newFixture(t)
	f.wechat.IssueAuthorizationCode(someAppID)
	code := f.wechat.IssueCode(wxphone.PhoneInfo{PhoneNumber: "13800000000", PurePhoneNumber: "13800000000", CountryCode: "86"}, wxphonetest.ForApp(someAppID))
	for _, tt := range []struct {
		method, path, body string
		status             int
		answer             string
	}{
		{"POST", "/phone", `{"appid":"` + someAppID + `","code":"` + code + `"}`, 200, `{"phone":"+86 138****0000"}`},
		{"POST", "/phone", `{"appid":"` + someAppID + `","code":"` + code + `"}`, 400, "failed"},
		{"POST", "/phone", `{"appid":"wx0","code":"1"}`, 404, "failed"},
		{"POST", "/phone", `code=1`, 400, "failed"},
		{"GET", "/authorize", "", 303, ""},
		{"GET", "/authorized?auth_code=1&expires_in=600", "", 200, "Thank you. Your mini-program is connected in a moment."},
		{"POST", "/wechat/events", "<xml></xml>", 400, "refused"},
	} {
		answer := httptest.NewRecorder()
		f.router.ServeHTTP(answer, httptest.NewRequest(tt.method, tt.path, strings.NewReader(tt.body)))
		if got := strings.TrimSpace(answer.Body.String()); answer.Code != tt.status || tt.answer != "" && got != tt.answer {
			t.Errorf("%s %s: got %d %q, want %d %q", tt.method, tt.path, answer.Code, got, tt.status, tt.answer)
		}
	}
	f.wechat.FailNext("/cgi-bin/component/api_create_preauthcode", 48001, "", 1)
	answer := httptest.NewRecorder()
	f.router.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/authorize", http.NoBody))
	if answer.Code != 500 {
		t.Errorf("without a pre_auth_code: got %d", answer.Code)
	}
	for _, secret := range []string{code, "13800000000", f.stored()} {
		if strings.Contains(f.logged.String(), secret) {
			t.Errorf("the log holds %q", secret)
		}
	}
}

func TestAdviceForEveryPlatformError(t *testing.T) {
	seen := make(map[string]int)
	for _, code := range []int{61003, 61007, 61023, 61005, 61006, 61011, 40029} {
		seen[advise(&wxphone.APIError{Code: code})]++
	}
	if len(seen) != 4 {
		t.Errorf("got %v", seen)
	}
	if got := advise(errors.New("another")); !strings.Contains(got, "not an error of the platform") {
		t.Errorf("got %q", got)
	}
}
