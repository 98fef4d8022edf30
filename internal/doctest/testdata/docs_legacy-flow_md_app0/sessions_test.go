package app

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/wxphonetest"
)

// brokenSessions is Sessions whose database is down, or knows nobody.
type brokenSessions struct{ err error }

func (s brokenSessions) Save(context.Context, string, string) (string, error) { return "", s.err }

func (s brokenSessions) Load(context.Context, string) (openid, sessionKey string, ok bool, err error) {
	return "", "", false, s.err
}

func TestDatabaseThatIsDownIsNoExpiredSession(t *testing.T) {
	down := brokenSessions{errors.New("the database is down")}
	wechat := wxphonetest.NewServer(t)
	client := wechat.NewClient()
	login := `{"code":"` + wechat.IssueLoginCode("openid-of-alice") + `"}`
	for name, tt := range map[string]struct {
		handler http.HandlerFunc
		body    string
		status  int
		step    wxphone.Step
	}{
		"login, database down":  {LoginHandler(client, down), login, 503, wxphone.StepLogIn},
		"number, database down": {LegacyPhoneHandler(client, down), `{}`, 503, wxphone.StepSendAgain},
		"number, no session":    {LegacyPhoneHandler(client, brokenSessions{}), `{}`, 401, wxphone.StepLogIn},
	} {
		w := httptest.NewRecorder()
		tt.handler(w, httptest.NewRequest("POST", "/", strings.NewReader(tt.body)))
		if want := `{"step":"` + string(tt.step) + `"}`; w.Code != tt.status || strings.TrimSpace(w.Body.String()) != want {
			t.Errorf("%s: got %d %s, want %d %s", name, w.Code, w.Body, tt.status, want)
		}
	}
}
