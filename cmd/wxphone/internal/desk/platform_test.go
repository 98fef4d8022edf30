package desk_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/cmd/wxphone/internal/desk"
)

// TestAPlatformFindsItsWay pushes a ticket and an authorisation to a platform,
// which redeems a code with them.
func TestAPlatformFindsItsWay(t *testing.T) {
	t.Parallel()
	s := start(t, desk.Config{})
	component := s.must(http.MethodGet, "info", "")["component"].(map[string]any)
	text := func(name string) string { return component[name].(string) }
	reader, err := wxphone.NewPushReader(text("appid"), text("pushToken"), text("encodingAESKey"))
	require.NoError(t, err)
	pushes := make(chan *wxphone.Push, 2)
	events := httptest.NewServer(reader.Handler(func(_ context.Context, p *wxphone.Push) error {
		pushes <- p
		return nil
	}))
	t.Cleanup(events.Close)

	ticket := s.must(http.MethodPost, "platform/tickets", `{"url":"`+events.URL+`"}`)["ticket"]
	pushed := <-pushes
	assert.Equal(t, ticket, pushed.Ticket)
	granted := s.must(http.MethodPost, "platform/authorizations", "{}")
	assert.Equal(t, granted["authorizationCode"], (<-pushes).AuthorizationCode)

	platform, err := wxphone.NewComponent(text("appid"), text("secret"),
		func(context.Context) (string, error) { return pushed.Ticket, nil }, wxphone.WithBaseURL(s.url))
	require.NoError(t, err)
	authorization, err := platform.QueryAuthorization(context.Background(), granted["authorizationCode"].(string))
	require.NoError(t, err)
	assert.Equal(t, granted["appid"], authorization.AppID)
	assert.True(t, authorization.CanGetPhoneNumbers())

	requests := s.must(http.MethodGet, "requests", "")["requests"].([]any)
	assert.Equal(t, "push component_verify_ticket", requests[0].(map[string]any)["endpoint"])
}

// TestTapsInOtherMiniPrograms has users tap in a mini-program that is not the
// fake's own but has authorised the platform.
func TestTapsInOtherMiniPrograms(t *testing.T) {
	t.Parallel()
	const other = "wx00000000000000a1"
	s := start(t, desk.Config{})
	authorizer := s.authorizer(other)
	phone := `"phoneNumber":"13800000000","openid":"alice","appid":"` + other + `"`

	code := s.must(http.MethodPost, "codes", `{`+phone+`}`)["code"].(string)
	info, err := authorizer.GetPhoneNumber(context.Background(), code)
	require.NoError(t, err)
	assert.Equal(t, other, info.Watermark.AppID)

	login := s.must(http.MethodPost, "login-codes", `{"openid":"alice","appid":"`+other+`"}`)["code"].(string)
	session, err := authorizer.Code2Session(context.Background(), login)
	require.NoError(t, err)
	sealed := s.must(http.MethodPost, "encrypted", `{`+phone+`}`)
	info, err = authorizer.DecryptPhoneNumber(session.SessionKey, sealed["encryptedData"].(string), sealed["iv"].(string))
	require.NoError(t, err)
	assert.Equal(t, other, info.Watermark.AppID)

	id := s.must(http.MethodPost, "cloud-ids", `{`+phone+`}`)["cloudID"].(string)
	info, err = authorizer.GetPhoneNumberByCloudID(context.Background(), "alice", id)
	require.NoError(t, err)
	assert.Equal(t, other, info.Watermark.AppID)

	// The fake's own needs no authorisation.
	own := `"appid":"` + s.must(http.MethodGet, "info", "")["appid"].(string) + `"`
	code = s.must(http.MethodPost, "codes", `{"phoneNumber":"13800000000",`+own+`}`)["code"].(string)
	_, err = s.client.GetPhoneNumber(context.Background(), code)
	require.NoError(t, err)

	s.must(http.MethodPost, "reset", "")
	for path, body := range map[string]string{
		"codes": `{` + phone + `}`, "encrypted": `{` + phone + `}`, "cloud-ids": `{` + phone + `}`,
		"login-codes": `{"openid":"alice","appid":"` + other + `"}`,
	} {
		status, answer := s.ask(http.MethodPost, path, body)
		assert.Equal(t, http.StatusBadRequest, status, path)
		assert.Contains(t, answer["error"], `appid "`+other+`" has not authorised the platform; POST /_fake/platform/authorizations does that`)
	}
}

// authorizer has the mini-program appID authorise a platform, and returns the
// platform's client for it.
func (s server) authorizer(appID string) *wxphone.Client {
	s.t.Helper()
	component := s.must(http.MethodGet, "info", "")["component"].(map[string]any)
	ticket := s.must(http.MethodPost, "platform/tickets", `{"url":"http://127.0.0.1:1/"}`)["ticket"].(string)
	platform, err := wxphone.NewComponent(component["appid"].(string), component["secret"].(string),
		func(context.Context) (string, error) { return ticket, nil }, wxphone.WithBaseURL(s.url))
	require.NoError(s.t, err)
	granted := s.must(http.MethodPost, "platform/authorizations", `{"appid":"`+appID+`"}`)
	authorization, err := platform.QueryAuthorization(context.Background(), granted["authorizationCode"].(string))
	require.NoError(s.t, err)
	client, err := platform.Client(appID, oneToken(authorization.RefreshToken))
	require.NoError(s.t, err)
	return client
}

// oneToken is a refresh token that does not change.
type oneToken string

func (r oneToken) LoadRefreshToken(context.Context, string) (string, error) { return string(r), nil }

func (oneToken) SaveRefreshToken(context.Context, string, string) error { return nil }

func TestAPlatformTapsWhileItTakesAPush(t *testing.T) {
	t.Parallel()
	const other = "wx00000000000000a1"
	s := start(t, desk.Config{})
	status := make(chan int, 1)
	events := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		tapped, _ := s.ask(http.MethodPost, "codes", `{"phoneNumber":"13800000000","appid":"`+other+`"}`)
		status <- tapped
		_, _ = w.Write([]byte("success"))
	}))
	t.Cleanup(events.Close)
	answer := s.must(http.MethodPost, "platform/authorizations", `{"appid":"`+other+`","url":"`+events.URL+`"}`)
	assert.Equal(t, map[string]any{"status": 200.0, "reason": ""}, answer["push"])
	assert.Equal(t, http.StatusOK, <-status)
}

// TestAnAuthorisationGoesWrong plays what WeChat and owners do to one.
func TestAnAuthorisationGoesWrong(t *testing.T) {
	t.Parallel()
	const other = "wx00000000000000a1"
	s := start(t, desk.Config{})
	status, answer := s.ask(http.MethodPost, "platform/pushes/repeat", "")
	assert.Equal(t, http.StatusBadRequest, status)
	assert.Contains(t, answer["error"], "no push yet")
	for _, path := range []string{"platform/withdrawals", "platform/refresh-tokens/revoke"} {
		for _, body := range []string{"", `{"appid":"` + other + `"}`} {
			status, answer := s.ask(http.MethodPost, path, body)
			assert.Equal(t, http.StatusBadRequest, status)
			assert.Contains(t, answer["error"], "has not authorised the platform")
		}
	}
	client := s.authorizer(other)
	redeem := func() error {
		code := s.must(http.MethodPost, "codes", `{"phoneNumber":"13800000000","appid":"`+other+`"}`)["code"].(string)
		_, err := client.GetPhoneNumber(context.Background(), code)
		return err
	}
	require.NoError(t, redeem())
	s.must(http.MethodPost, "platform/refresh-tokens/revoke", `{"appid":"`+other+`"}`)
	s.must(http.MethodPost, "tokens/revoke", "")
	require.NoError(t, redeem(), "the Client finds the new refresh token in the list")

	withdrawn := s.must(http.MethodPost, "platform/withdrawals", `{"appid":"`+other+`"}`)
	assert.Contains(t, withdrawn["push"].(map[string]any)["reason"], "could not be reached")
	assert.Contains(t, s.must(http.MethodPost, "platform/pushes/repeat", ""), "push")
	require.ErrorIs(t, redeem(), wxphone.ErrUnauthorized)
	requests := s.must(http.MethodGet, "requests", "")["requests"].([]any)
	var pushed int
	for _, request := range requests {
		if request.(map[string]any)["endpoint"] == "push unauthorized" {
			pushed++
		}
	}
	assert.Equal(t, 2, pushed)
}

func TestThePushIsInTheAnswer(t *testing.T) {
	t.Parallel()
	s := start(t, desk.Config{})
	var status int
	events := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = w.Write([]byte("success"))
	}))
	t.Cleanup(events.Close)
	assert.NotContains(t, s.must(http.MethodPost, "platform/authorizations", ""), "push", "there is no URL yet")

	status = http.StatusOK
	answer := s.must(http.MethodPost, "platform/tickets", `{"url":"`+events.URL+`"}`)
	assert.Equal(t, map[string]any{"status": 200.0, "reason": ""}, answer["push"])
	status = http.StatusTeapot
	push := s.must(http.MethodPost, "platform/authorizations", "")["push"].(map[string]any)
	assert.EqualValues(t, http.StatusTeapot, push["status"])
	assert.Contains(t, push["reason"], "WeChat wants 200")

	events.Close()
	push = s.must(http.MethodPost, "platform/tickets", `{"url":"`+events.URL+`"}`)["push"].(map[string]any)
	assert.Zero(t, push["status"])
	assert.Contains(t, push["reason"], "could not be reached")

	s.must(http.MethodPost, "reset", "")
	assert.NotContains(t, s.must(http.MethodPost, "platform/authorizations", ""), "push", "the URL is forgotten")
}

func TestAPushThatIsRefusedIsInTheJournal(t *testing.T) {
	t.Parallel()
	s := start(t, desk.Config{})
	events := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(events.Close)
	s.must(http.MethodPost, "platform/tickets", `{"url":"`+events.URL+`"}`)
	requests := s.must(http.MethodGet, "requests", "")["requests"].([]any)
	assert.Contains(t, requests[0].(map[string]any)["reason"], "status 404")
	s.must(http.MethodPost, "reset", "")
	s.must(http.MethodPost, "platform/authorizations", "")
	assert.Empty(t, s.must(http.MethodGet, "requests", "")["requests"], "a reset forgets the URL")
}

func TestMistakesAboutAPlatformAreNamed(t *testing.T) {
	t.Parallel()
	s := start(t, desk.Config{})
	for _, tc := range []struct{ path, body, want string }{
		{"platform/tickets", `{}`, "url is missing"},
		{"platform/tickets", `{"url":"127.0.0.1:8080"}`, "url must be a whole one"},
		{"platform/tickets", `{"url":"ftp://127.0.0.1"}`, "url must be a whole one"},
		{"platform/authorizations", `{"url":"x"}`, "url must be a whole one"},
		{"platform/authorizations", `{"appid":"wx1"}`, "appid must be wx"},
		{"platform/authorizations", `{"appId":"wx1"}`, `unknown field "appId"`},
	} {
		status, answer := s.ask(http.MethodPost, tc.path, tc.body)
		assert.Equal(t, http.StatusBadRequest, status, tc.body)
		assert.Contains(t, answer["error"], tc.want)
	}
}
