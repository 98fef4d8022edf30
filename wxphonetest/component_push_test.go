package wxphonetest_test

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/wxphonetest"
)

const (
	otherPushToken = "pushtoken9f8e7d6c5b"
	otherPushKey   = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"
)

func TestWhatHappensIsPushed(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string][]wxphonetest.Option{
		"own keys":   nil,
		"given keys": {wxphonetest.WithPushKeys(otherPushToken, otherPushKey)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := wxphonetest.NewServer(t, opts...)
			s.RepeatPush()
			first := s.PushTicket() // to nobody
			got := &arrivals{reader: s.NewPushReader(), answer: answerSuccess}
			s.PushTo("/wechat/events?id=1", got)
			assert.Empty(t, got.pushes)
			s.RepeatPush()
			assert.Equal(t, first, got.last(t).Ticket)
			token := fetchComponent(t, s)

			ticket := s.PushTicket()
			assert.Equal(t, wxphone.PushTicket, got.last(t).InfoType)
			assert.Equal(t, ticket, got.last(t).Ticket)
			assert.Equal(t, "/wechat/events", got.paths[0])
			assert.Equal(t, "push component_verify_ticket", last(t, s).Endpoint)
			assert.Contains(t, last(t, s).Body, ticket)
			assert.Empty(t, last(t, s).Reason)

			refreshToken := s.AuthorizeApp(otherApp)
			push := got.last(t)
			assert.Equal(t, wxphone.PushAuthorized, push.InfoType)
			assert.Equal(t, otherApp, push.AuthorizerAppID)
			assert.Equal(t, 10*time.Minute, push.AuthorizationCodeExpiresAt.Sub(push.CreatedAt))
			assert.Equal(t, refreshToken, exchangeCode(t, s, token, push.AuthorizationCode).Info.RefreshToken)

			s.WithdrawPermission(otherApp)
			push = got.last(t)
			assert.Equal(t, wxphone.PushUpdated, push.InfoType)
			a := exchangeCode(t, s, token, push.AuthorizationCode)
			assert.Equal(t, []int{17, 30}, a.permissions())

			s.Deauthorize(otherApp)
			assert.Equal(t, wxphone.PushUnauthorized, got.last(t).InfoType)
			assert.Equal(t, otherApp, got.last(t).AuthorizerAppID)
			n := len(got.pushes)
			s.Deauthorize(otherApp)
			s.Deauthorize("wx0")
			assert.Len(t, got.pushes, n, "nothing happened")
			s.RepeatPush()
			assert.Equal(t, got.pushes[n-1], got.last(t))
			assert.Len(t, got.pushes, n+1)

			code := s.IssueAuthorizationCode(otherApp)
			assert.Equal(t, code, got.last(t).AuthorizationCode)
			preAuth := newPreAuthCode(t, s, token)
			_, err := s.AuthorizeByURL("https://mp.weixin.qq.com/cgi-bin/componentloginpage?auth_type=2&redirect_uri=http%3A%2F%2Fa.test&pre_auth_code="+
				preAuth+"&component_appid="+s.ComponentAppID(), otherApp)
			require.NoError(t, err)
			assert.Equal(t, preAuth, got.last(t).PreAuthCode)
			assert.Equal(t, 61010, exchangeCode(t, s, token, code).ErrCode, "of the authorisation before")

			s.PushTo("", nil)
			n = len(got.pushes)
			s.PushTicket()
			assert.Len(t, got.pushes, n)
			s.PushTo("/wechat/events?id=1", got)
			s.Reset()
			s.PushTicket()
			assert.Equal(t, wxphone.PushTicket, got.last(t).InfoType, "the URL outlives a reset")
		})
	}
}

func TestPushesGoOverTheNetworkWithoutAHandler(t *testing.T) {
	t.Parallel()
	s := wxphonetest.NewServer(t)
	tickets := make(chan string, 1)
	platform := httptest.NewServer(s.NewPushReader().Handler(func(_ context.Context, push *wxphone.Push) error {
		tickets <- push.Ticket
		return nil
	}))
	s.PushTo(platform.URL+"/events", nil)
	assert.Equal(t, s.PushTicket(), <-tickets)
	assert.Empty(t, last(t, s).Reason)
	assert.Equal(t, "success", last(t, s).Answer)

	platform.Close()
	s.PushTicket()
	assert.Contains(t, last(t, s).Reason, "could not be reached")
	assert.Zero(t, last(t, s).Status)
}

func TestAnswersThatAreNoSuccessAreReported(t *testing.T) {
	t.Parallel()
	var log strings.Builder
	s := wxphonetest.NewServer(t, wxphonetest.WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
	got := &arrivals{reader: s.NewPushReader()}
	s.PushTo("/", got)
	for name, answer := range map[string]func(http.ResponseWriter, *http.Request){
		"status 201":      func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusCreated); answerSuccess(w, r) },
		"and \"\\n":       func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "\nsuccess") },
		"and \"success\\": func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "success\n") },
		"status 500":      func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "failed", http.StatusInternalServerError) },
		"and \"\";":       func(http.ResponseWriter, *http.Request) {},
	} {
		got.answer = answer
		s.PushTicket()
		assert.Contains(t, last(t, s).Reason, name)
		assert.Contains(t, last(t, s).Reason, `WeChat wants 200 and exactly "success"`)
	}
	assert.Contains(t, log.String(), "push refused")
}

func TestStoppedTicketsComeBackOnRequest(t *testing.T) {
	t.Parallel()
	s := wxphonetest.NewServer(t)
	got := &arrivals{reader: s.NewPushReader(), answer: answerSuccess}
	s.PushTo("/", got)
	start := func() string {
		a := authorizeCall(t, s, startTicketPush, "", map[string]any{"component_appid": s.ComponentAppID(), "component_secret": s.ComponentSecret()})
		require.Zero(t, a.ErrCode)
		return a.ErrMsg
	}
	assert.Equal(t, "in a normal state", start())
	s.StopTicketPush()
	s.PushTicket()
	assert.Empty(t, got.pushes)
	assert.Equal(t, "ok", start())
	assert.Equal(t, s.PushTicket(), got.last(t).Ticket)
}

func TestPushKeysThatCannotBeRight(t *testing.T) {
	t.Parallel()
	for _, keys := range [][2]string{{"", otherPushKey}, {otherPushToken, ""}, {otherPushToken, "short"}} {
		_, err := wxphonetest.Start(wxphonetest.WithPushKeys(keys[0], keys[1]))
		require.ErrorIs(t, err, wxphone.ErrInvalidArgument)
	}
	s := wxphonetest.NewServer(t, wxphonetest.WithPushKeys(otherPushToken, otherPushKey))
	assert.Equal(t, otherPushToken, s.PushToken())
	assert.Equal(t, otherPushKey, s.EncodingAESKey())
}
