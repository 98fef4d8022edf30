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
