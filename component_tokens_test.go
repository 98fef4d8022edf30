//go:build go1.25

package wxphone_test

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/wxphonetest"
)

// phoneOfApp redeems a fresh code of the mini-program appID.
func phoneOfApp(t *testing.T, server *wxphonetest.Server, client *wxphone.Client, appID string) error {
	t.Helper()
	_, err := client.GetPhoneNumber(t.Context(), server.IssueCode(aPhone, wxphonetest.ForApp(appID)))
	return err
}

// miniPrograms are n appids that have authorised the server's platform, and
// where their refresh tokens are.
func miniPrograms(server *wxphonetest.Server, n int) ([]string, *refreshTokens) {
	appIDs := manyAppIDs[:n]
	return appIDs, authorized(server, appIDs...)
}

func TestColdPlatformFetchesItsTokenOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t)
		server.SetLatency(componentTokenAPI, 300*time.Millisecond)
		server.SetLatency(authorizerTokenAPI, 300*time.Millisecond)
		platform := server.NewComponent()
		appIDs, tokens := miniPrograms(server, 200)
		var group sync.WaitGroup
		for _, appID := range appIDs {
			client := clientOf(t, platform, appID, tokens)
			for range 3 {
				group.Go(func() { assert.NoError(t, phoneOfApp(t, server, client, appID)) })
			}
			group.Go(func() {
				_, err := client.Code2Session(t.Context(), server.IssueLoginCodeForApp(appID, "openid"))
				assert.NoError(t, err)
			})
		}
		group.Wait()
		assert.Equal(t, 1, server.Requests(componentTokenAPI))
		assert.Equal(t, len(appIDs), server.Requests(authorizerTokenAPI))

		server.RevokeComponentToken()
		for _, appID := range appIDs[:20] {
			client := clientOf(t, platform, appID, tokens)
			group.Go(func() { assert.NoError(t, phoneOfApp(t, server, client, appID)) })
		}
		group.Wait()
		assert.Equal(t, 2, server.Requests(componentTokenAPI), "one replacement for all that were refused")
	})
}

func TestAuthorizerTokenIsRefreshedBeforeItExpires(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t)
		tokens := authorized(server, server.AppID())
		client := clientOf(t, server.NewComponent(), server.AppID(), tokens)
		require.NoError(t, phoneOfApp(t, server, client, server.AppID()))
		server.SetLatency(componentTokenAPI, time.Second)
		server.SetLatency(authorizerTokenAPI, time.Second)
		server.RotateRefreshToken(server.AppID())
		for range 24 * 60 {
			begin := time.Now()
			require.NoError(t, phoneOfApp(t, server, client, server.AppID()))
			require.Zero(t, time.Since(begin), "a call waited for a token")
			time.Sleep(time.Minute)
			server.RotateRefreshToken(server.AppID())
		}
		fetches := server.Requests(authorizerTokenAPI)
		assert.InDelta(t, 13, fetches, 1, "24 hours of tokens that live for two")
		assert.LessOrEqual(t, server.Requests(componentTokenAPI), fetches)
		_, saves := tokens.stored(server.AppID())
		assert.Equal(t, fetches, saves, "saved each time, and each the token that the next refresh needs")
	})
}

// A Component and its Client, warm, whose component_access_token is then
// refused in every way that WeChat has.
func TestRefusedComponentTokenIsReplacedOnce(t *testing.T) {
	t.Parallel()
	for _, errcode := range []int{40001, 40014, 42001, 40094, 41001} {
		for _, api := range []string{authorizerTokenAPI, componentLoginAPI} {
			synctest.Test(t, func(t *testing.T) {
				server := wxphonetest.NewServer(t)
				platform := server.NewComponent(wxphone.WithMaxRetries(0))
				tokens := authorized(server, server.AppID())
				_, err := clientOf(t, platform, server.AppID(), tokens).AccessToken(t.Context())
				require.NoError(t, err)
				client := clientOf(t, platform, server.AppID(), tokens)
				before := server.Requests(api)
				call := func() error {
					if api == componentLoginAPI {
						_, err := client.Code2Session(t.Context(), server.IssueLoginCode("openid"))
						return err
					}
					return phoneOfApp(t, server, client, server.AppID())
				}

				server.RevokeComponentToken()
				server.FailNext(api, errcode, "", 1)
				require.NoError(t, call(), "%d at %s", errcode, api)
				assert.Equal(t, 2, server.Requests(api)-before)
				assert.Equal(t, 2, server.Requests(componentTokenAPI))

				// A token that is refused whenever it is sent is not replaced forever.
				client = clientOf(t, platform, server.AppID(), tokens)
				server.FailNext(api, errcode, "", 9)
				err = call()
				var refusal *wxphone.APIError
				require.ErrorAs(t, err, &refusal)
				assert.Equal(t, errcode, refusal.Code)
				assert.Equal(t, api, refusal.Endpoint)
				assert.Equal(t, 4, server.Requests(api)-before)
				assert.Equal(t, 3, server.Requests(componentTokenAPI))
			})
		}
	}
}

func TestRefusedAuthorizerTokenIsReplacedOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t)
		tokens := authorized(server, server.AppID())
		client := clientOf(t, server.NewComponent(wxphone.WithMaxRetries(0)), server.AppID(), tokens)
		require.NoError(t, phoneOfApp(t, server, client, server.AppID()))
		server.RevokeToken()
		require.NoError(t, phoneOfApp(t, server, client, server.AppID()))
		assert.Equal(t, 2, server.Requests(authorizerTokenAPI))
		assert.Equal(t, 3, server.Requests(phoneAPI))
		assert.Equal(t, 1, server.Requests(componentTokenAPI))
	})
}

// assertPlatformError asserts that err says what is to be mended between a
// mini-program and its platform.
func assertPlatformError(t *testing.T, err error, endpoint string, code int, advice string) {
	t.Helper()
	var refusal *wxphone.APIError
	require.ErrorAs(t, err, &refusal)
	assert.Equal(t, endpoint, refusal.Endpoint)
	assert.Equal(t, code, refusal.Code)
	assert.Equal(t, wxphone.KindPlatform, refusal.Kind())
	assert.False(t, refusal.Retryable())
	assert.Equal(t, http.StatusInternalServerError, wxphone.HTTPStatus(err))
	assert.Contains(t, err.Error(), advice)
	assert.NotContains(t, err.Error(), "\n")
}

func TestMissingAuthorisationIsNotRetried(t *testing.T) {
	t.Parallel()
	const again = "authorise the platform again"
	for name, tt := range map[string]struct {
		mend     func(*wxphonetest.Server)
		endpoint string
		code     int
		advice   string
		login    bool
	}{
		"withdrawn, no token":      {func(s *wxphonetest.Server) { s.Deauthorize(s.AppID()); s.RevokeToken() }, authorizerTokenAPI, 61003, again, false},
		"withdrawn, with a token":  {func(s *wxphonetest.Server) { s.Deauthorize(s.AppID()) }, phoneAPI, 61003, again, false},
		"withdrawn, login":         {func(s *wxphonetest.Server) { s.Deauthorize(s.AppID()) }, componentLoginAPI, 61003, again, true},
		"no permission set":        {func(s *wxphonetest.Server) { s.WithdrawPermission(s.AppID()) }, phoneAPI, 61007, again, false},
		"no permission set, login": {func(s *wxphonetest.Server) { s.WithdrawPermission(s.AppID()) }, componentLoginAPI, 61007, again, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server := wxphonetest.NewServer(t)
				tokens := authorized(server, server.AppID())
				client := clientOf(t, server.NewComponent(), server.AppID(), tokens)
				require.NoError(t, phoneOfApp(t, server, client, server.AppID()))

				tt.mend(server)
				before := server.Requests(tt.endpoint)
				var err error
				if tt.login {
					_, err = client.Code2Session(t.Context(), server.IssueLoginCode("openid"))
				} else {
					err = phoneOfApp(t, server, client, server.AppID())
				}
				assertPlatformError(t, err, tt.endpoint, tt.code, tt.advice)
				assert.Equal(t, 1, server.Requests(tt.endpoint)-before)
				require.ErrorIs(t, err, wxphone.ErrUnauthorized)

				tokens.set(server.AppID(), server.Authorize())
				time.Sleep(2 * time.Second)
				_, err = client.Code2Session(t.Context(), server.IssueLoginCode("openid"))
				require.NoError(t, err, "authorised again")
				require.NoError(t, phoneOfApp(t, server, client, server.AppID()), "authorised again")
			})
		})
	}
}

func TestTicketThatCannotBeHad(t *testing.T) {
	t.Parallel()
	const advice = "wait for WeChat's next push of component_verify_ticket"
	hang := make(chan struct{})
	t.Cleanup(func() { close(hang) })
	for name, tt := range map[string]struct {
		ticket func(context.Context, *wxphonetest.Server, string) (string, error)
		code   int
		sent   int
	}{
		"none yet": {func(context.Context, *wxphonetest.Server, string) (string, error) { return "", nil }, 61005, 0},
		"blank":    {func(context.Context, *wxphonetest.Server, string) (string, error) { return " \n", nil }, 61005, 0},
		"failing":  {func(context.Context, *wxphonetest.Server, string) (string, error) { return "", errDatabase }, 61005, 0},
		"unknown":  {func(context.Context, *wxphonetest.Server, string) (string, error) { return someTicket, nil }, 61006, 1},
		"expired":  {func(_ context.Context, _ *wxphonetest.Server, old string) (string, error) { return old, nil }, 61005, 1},
		"timed out": {func(ctx context.Context, _ *wxphonetest.Server, _ string) (string, error) {
			<-ctx.Done()
			return "", ctx.Err()
		}, 61005, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server := wxphonetest.NewServer(t)
				old := server.Ticket()
				time.Sleep(12 * time.Hour)
				platform, err := wxphone.NewComponent(server.ComponentAppID(), server.ComponentSecret(),
					func(ctx context.Context) (string, error) { return tt.ticket(ctx, server, old) }, wxphone.WithHTTPClient(server.HTTPClient()))
				require.NoError(t, err)
				client := clientOf(t, platform, server.AppID(), authorized(server, server.AppID()))
				err = phoneOfApp(t, server, client, server.AppID())
				if name == "timed out" { // the flight of the mini-program's token ends at the same time
					assert.ErrorIs(t, err, context.DeadlineExceeded)
					return
				}
				assertPlatformError(t, err, componentTokenAPI, tt.code, advice)
				assert.Equal(t, tt.sent, server.Requests(componentTokenAPI))
				assert.Equal(t, name == "failing", errors.Is(err, errDatabase))
				_, err = client.Code2Session(t.Context(), server.IssueLoginCode("openid"))
				assertPlatformError(t, err, componentTokenAPI, tt.code, advice)
			})
		})
	}
}

// Whoever waits for the first push must not wait longer because somebody
// already called.
func TestFirstTicketAndRefreshTokenAreUsedAsSoonAsTheyAreStored(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t)
		var ticket string
		platform, err := wxphone.NewComponent(server.ComponentAppID(), server.ComponentSecret(),
			func(context.Context) (string, error) { return ticket, nil }, wxphone.WithHTTPClient(server.HTTPClient()))
		require.NoError(t, err)
		tokens := &refreshTokens{tokens: map[string]string{}}
		client := clientOf(t, platform, server.AppID(), tokens)
		for range 60 {
			require.Error(t, phoneOfApp(t, server, client, server.AppID()))
			time.Sleep(10 * time.Second)
		}
		require.Error(t, phoneOfApp(t, server, client, server.AppID()))
		tokens.set(server.AppID(), server.Authorize())
		ticket = server.Ticket()
		time.Sleep(200 * time.Millisecond)
		require.NoError(t, phoneOfApp(t, server, client, server.AppID()))
	})
}

func TestTicketOfTheLatestPushIsUsed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t)
		var ticket string // nothing was pushed before the platform started
		platform, err := wxphone.NewComponent(server.ComponentAppID(), server.ComponentSecret(),
			func(context.Context) (string, error) { return ticket, nil }, wxphone.WithHTTPClient(server.HTTPClient()))
		require.NoError(t, err)
		client := clientOf(t, platform, server.AppID(), authorized(server, server.AppID()))
		require.Error(t, phoneOfApp(t, server, client, server.AppID()))
		ticket = server.PushTicket() + "\n"
		require.Error(t, phoneOfApp(t, server, client, server.AppID()), "the ticket is asked for again after a second")
		time.Sleep(2 * time.Second)
		require.NoError(t, phoneOfApp(t, server, client, server.AppID()))
		assert.Equal(t, 1, server.Requests(componentTokenAPI))
	})
}

func TestPlatformProcessesShareTheirTokens(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t)
		server.SetLatency(componentTokenAPI, 300*time.Millisecond)
		server.SetLatency(authorizerTokenAPI, 300*time.Millisecond)
		store := new(wxphonetest.MemoryStore)
		tokens := authorized(server, server.AppID())
		var group sync.WaitGroup
		for range 2 {
			client := clientOf(t, server.NewComponent(wxphone.WithTokenStore(store)), server.AppID(), tokens)
			group.Go(func() { assert.NoError(t, phoneOfApp(t, server, client, server.AppID())) })
		}
		group.Wait()
		assert.Equal(t, 1, server.Requests(componentTokenAPI))
		assert.Equal(t, 1, server.Requests(authorizerTokenAPI))
		_, saves := tokens.stored(server.AppID())
		assert.Equal(t, 1, saves)
		for _, key := range []string{
			"wxphone:component:" + server.ComponentAppID(),
			"wxphone:authorizer:" + server.ComponentAppID() + ":" + server.AppID(),
		} {
			token, err := store.Load(t.Context(), key)
			require.NoError(t, err, key)
			assert.InDelta(t, 2*time.Hour, time.Until(token.ExpiresAt), float64(time.Minute), key)
		}
	})
}
