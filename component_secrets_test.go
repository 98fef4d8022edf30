package wxphone_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/wxphonetest"
)

func TestPlatformsAnswersWithoutTheirTokenAreNoAnswers(t *testing.T) {
	t.Parallel()
	for api, bodies := range map[string][]string{
		componentTokenAPI: {
			`{}`, `{"errcode":0}`, `{"expires_in":7200}`, `{"component_access_token":"","expires_in":7200}`,
			`{"component_access_token":null}`, `{"component_access_token":["a"]}`, `{"access_token":"of another API","expires_in":7200}`,
			`null`, `[]`, ``, `<html>`, `{"component_access_token":"`,
		},
		authorizerTokenAPI: {
			`{}`, `{"errcode":"0"}`, `{"expires_in":7200,"authorizer_refresh_token":"refreshtoken@@@x"}`,
			`{"authorizer_access_token":{},"expires_in":7200}`, `{"access_token":"of another API","expires_in":7200}`, `<html>`,
		},
		componentLoginAPI: {`{}`, `{"openid":"openid"}`, `{"session_key":"tiihtNczf5v6AKRyjwEUhQ=="}`, `{"errcode":"0"}`, `<html>`},
	} {
		for _, body := range bodies {
			client := platformAgainst(t, api, func(w http.ResponseWriter, _ string) { _, _ = io.WriteString(w, body) })
			err := callAt(client, api)
			var response *wxphone.ResponseError
			require.ErrorAs(t, err, &response, "%s: %s", api, body)
			assert.Equal(t, api, response.Endpoint)
			assert.Equal(t, http.StatusBadGateway, wxphone.HTTPStatus(err))
		}
	}
}

func TestPlatformsAnswersAreReadLeniently(t *testing.T) {
	t.Parallel()
	for api, bodies := range map[string][]string{
		componentTokenAPI: {
			`{"component_access_token":"a","expires_in":"7200"}`, `{"component_access_token":"a"}`, `{"component_access_token":12345678,"expires_in":7200}`,
			`{"errcode":"0","component_access_token":"a","expires_in":99999999999}`,
		},
		authorizerTokenAPI: {
			`{"authorizer_access_token":"a","expires_in":7200}`, `{"authorizer_access_token":"a","expires_in":"7200","authorizer_refresh_token":null}`,
			`{"authorizer_access_token":"a","expires_in":-1,"authorizer_refresh_token":{}}`,
		},
	} {
		for _, body := range bodies {
			client := platformAgainst(t, api, func(w http.ResponseWriter, _ string) { _, _ = io.WriteString(w, body) })
			require.NoError(t, callAt(client, api), body)
		}
	}
}

func TestComponentPrintsNoSecret(t *testing.T) {
	t.Parallel()
	secrets := []string{someComponentSecret, someTicket, someRefreshToken}
	ticket := func(context.Context) (string, error) { return someTicket, nil }
	platform, err := wxphone.NewComponent(someComponentID, someComponentSecret, ticket)
	require.NoError(t, err)
	tokens := &refreshTokens{tokens: map[string]string{someAppID: someRefreshToken}}
	assertPrintsWithout(t, *platform, secrets...)
	assertPrintsWithout(t, *clientOf(t, platform, someAppID, tokens), secrets...)
	assert.Equal(t, "wxphone.Component("+someComponentID+")", fmt.Sprintf("%+v", platform))
	assert.Equal(t, "wxphone.Component()", fmt.Sprint(new(wxphone.Component)))
	assert.Equal(t, "wxphone.Client("+someAppID+")", fmt.Sprintf("%#v", clientOf(t, platform, someAppID, tokens)))
}

// TestPlatformDoesNotQuoteWhatItSends has every API of a platform repeat what
// it was sent, and checks errors, logs and observers.
func TestPlatformDoesNotQuoteWhatItSends(t *testing.T) {
	t.Parallel()
	secrets := append([]string{someComponentSecret, someTicket, someRefreshToken, nextRefreshToken, someJSCode}, allSecrets...)
	for name, answer := range indiscretions {
		for api := range honestPlatform {
			if name == "another app" && api != phoneAPI {
				continue
			}
			t.Run(name+api, func(t *testing.T) {
				t.Parallel()
				w := &witness{t: t, secrets: secrets}
				err := callAt(platformAgainst(t, api, answer, w.options()...), api)
				require.Error(t, err)
				w.checkError(err)
				w.checkLog()
			})
		}
	}
}

// What a database says of a failed query may hold its arguments.
func TestTalkativeDatabaseIsCutShort(t *testing.T) {
	t.Parallel()
	server := wxphonetest.NewServer(t)
	w := &witness{t: t, secrets: []string{someTicket, server.Ticket(), server.ComponentSecret()}}
	tokens := authorized(server, server.AppID())
	refreshToken, _ := tokens.stored(server.AppID())
	w.secrets = append(w.secrets, refreshToken)
	platform := server.NewComponent(w.options()...)
	tokens.fail(nil, fmt.Errorf("UPDATE SET token=%q: %w", refreshToken, errDatabase))
	_, err := clientOf(t, platform, server.AppID(), tokens).AccessToken(context.Background())
	require.NoError(t, err)
	tokens.fail(fmt.Errorf("SELECT %q: %w", refreshToken, errDatabase), nil)
	_, err = clientOf(t, platform, server.AppID(), tokens).AccessToken(context.Background())
	require.Error(t, err)
	w.checkError(err)

	tokens.fail(nil, nil)
	tokens.set(someAppID, someRefreshToken)
	talking := func(context.Context) (string, error) {
		return someTicket, fmt.Errorf("GET %q: %w", someTicket, errDatabase)
	}
	broken, err := wxphone.NewComponent(someComponentID, someComponentSecret, talking, w.options()...)
	require.NoError(t, err)
	_, err = clientOf(t, broken, someAppID, tokens).AccessToken(context.Background())
	require.Error(t, err)
	w.checkError(err)
	w.checkLog()
}
