package wxphone_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/wxphonetest"
)

func TestTokenPrintsRedacted(t *testing.T) {
	t.Parallel()
	token := wxphone.Token{AccessToken: someToken, ExpiresAt: time.Date(2025, 1, 2, 3, 4, 5, 0, time.UTC)}
	assertPrintsWithout(t, token, someToken)
	assertPrintsWithout(t, wxphone.Token{AccessToken: someToken}, someToken)
	assert.Equal(t, "[REDACTED] until 2025-01-02T03:04:05Z", fmt.Sprintf("%#v", token))

	// Stores need the token in its JSON.
	text, err := json.Marshal(token)
	require.NoError(t, err)
	assert.JSONEq(t, `{"access_token":"`+someToken+`","expires_at":"2025-01-02T03:04:05Z"}`, string(text))
	var back wxphone.Token
	require.NoError(t, json.Unmarshal(text, &back))
	assert.Equal(t, token, back)
}

func TestTokenAnswerWithoutATokenIsResponseError(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"empty object": `{}`, "only a life": `{"expires_in":7200}`, "empty token": `{"access_token":"","expires_in":7200}`,
		"errcode 0": `{"errcode":0,"errmsg":"ok"}`, "page": "<html>",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := wxphonetest.NewServer(t)
			server.RespondNext(stableTokenAPI, http.StatusOK, body, -1)
			_, err := server.NewClient(wxphone.WithMaxRetries(0)).GetPhoneNumber(context.Background(), someCode)
			var response *wxphone.ResponseError
			require.ErrorAs(t, err, &response)
			assert.Equal(t, stableTokenAPI, response.Endpoint)
			assert.Zero(t, server.Requests(phoneAPI), "the code must not be sent without a token")
		})
	}
}

func TestWrongSecretIsNotRetried(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string][]wxphone.Option{"stable": nil, "classic": {wxphone.WithClassicToken()}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := wxphonetest.NewServer(t)
			client, err := wxphone.New(server.AppID(), "00000000000000000000000000000000",
				append(opts, wxphone.WithHTTPClient(server.HTTPClient()))...)
			require.NoError(t, err)
			_, err = client.GetPhoneNumber(context.Background(), server.IssueCode(aPhone))
			require.ErrorIs(t, err, wxphone.ErrSecretInvalid)
			assert.NotErrorIs(t, err, wxphone.ErrAccessToken)
			assert.Equal(t, http.StatusInternalServerError, wxphone.HTTPStatus(err))
			assert.Equal(t, 1, server.TokenFetches())
			assert.Zero(t, server.Requests(phoneAPI))
		})
	}
}

func TestTokenSourceWithoutATokenSendsNothing(t *testing.T) {
	t.Parallel()
	server := wxphonetest.NewServer(t)
	client := server.NewClient(wxphone.WithTokenSource(fixedToken("")))
	_, err := client.GetPhoneNumber(context.Background(), someCode)
	require.Error(t, err)
	assert.Contains(t, err.Error(), phoneAPI)
	assert.Zero(t, server.Requests(phoneAPI))
}
