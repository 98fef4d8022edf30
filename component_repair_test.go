//go:build go1.25

package wxphone_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/wxphonetest"
)

// die has the refresh token of the mini-program die without notice, and with it
// every access_token. It returns the one that WeChat lists from now on.
func (r *refreshing) die() (listed string) {
	r.t.Helper()
	dead, _ := r.tokens.stored(r.server.AppID())
	listed = r.server.RevokeRefreshToken(r.server.AppID())
	r.server.RevokeToken()
	r.log.secrets = append(r.log.secrets, dead, listed)
	return listed
}

func TestDeadRefreshTokenIsRepairedOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRefreshing(t)
		r.server.SetLatency(authorizerListAPI, 300*time.Millisecond)
		require.NoError(t, phoneOfApp(t, r.server, r.client, r.server.AppID()))
		listed := r.die()
		var group sync.WaitGroup
		for range 50 {
			group.Go(func() { assert.NoError(t, phoneOfApp(t, r.server, r.client, r.server.AppID())) })
		}
		group.Wait()
		assert.Equal(t, 1, r.server.Requests(authorizerListAPI))
		assert.Equal(t, 3, r.server.Requests(authorizerTokenAPI), "the first, the refused one, the repeated one")
		stored, _ := r.tokens.stored(r.server.AppID())
		assert.Equal(t, listed, stored)
		assert.Contains(t, r.logged(), "replacing the dead authorizer_refresh_token")
		assert.Contains(t, r.logged(), "authorizer="+r.server.AppID())
		r.log.checkLog()

		// It can die again at once.
		listed = r.die()
		require.NoError(t, phoneOfApp(t, r.server, r.client, r.server.AppID()))
		stored, _ = r.tokens.stored(r.server.AppID())
		assert.Equal(t, listed, stored)
		assert.Equal(t, 2, r.server.Requests(authorizerListAPI))
	})
}

func TestRepairReadsTheListInPages(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRefreshing(t)
		for i := range 1100 {
			r.server.AuthorizeApp(fmt.Sprintf("wx%016d", i))
		}
		time.Sleep(time.Second)
		r.tokens.set(r.server.AppID(), r.server.Authorize())
		r.die()
		require.NoError(t, phoneOfApp(t, r.server, r.client, r.server.AppID()))
		assert.Equal(t, 3, r.server.Requests(authorizerListAPI))
		assert.Equal(t, 2, r.server.Requests(authorizerTokenAPI))
	})
}

func TestRepairThatCannotHelpIsNotTriedForTenMinutes(t *testing.T) {
	t.Parallel()
	type server = *wxphonetest.Server
	dead := func(s server) { s.FailNext(authorizerTokenAPI, 61023, "", -1) }
	for name, tt := range map[string]struct {
		arrange func(s server)
		says    string
		lists   int // requests of one look-up
		fetches int
	}{
		"no entry": {func(s server) { dead(s); s.Deauthorize(s.AppID()) }, "its authorisation is gone", 1, 1},
		"same":     {dead, "WeChat lists the same refresh token", 1, 1},
		"no refresh token": {func(s server) { dead(s); s.IssueAuthorizationCode(s.AppID()) },
			"WeChat lists the mini-program without a refresh token", 1, 1},
		"refused": {func(s server) { dead(s); s.FailNext(authorizerListAPI, 48001, "", -1) }, "looking it up failed", 1, 1},
		"busy":    {func(s server) { dead(s); s.FailNext(authorizerListAPI, -1, "", -1) }, "looking it up failed", 3, 1},
		"no JSON": {func(s server) { dead(s); s.RespondNext(authorizerListAPI, 200, "<html>", -1) }, "looking it up failed", 1, 1},
		"no list": {func(s server) { dead(s); s.RespondNext(authorizerListAPI, 200, `{"total_count":1}`, -1) }, "looking it up failed", 1, 1},
		"slow":    {func(s server) { dead(s); s.SetLatency(authorizerListAPI, 10*time.Second) }, "looking it up failed", 1, 1},
		"listed one is dead": {func(s server) { dead(s); s.RevokeRefreshToken(s.AppID()) },
			"it is the one that WeChat lists", 1, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRefreshing(t)
				tt.arrange(r.server)
				call := func(says string) error {
					_, err := r.client.AccessToken(t.Context())
					assertPlatformError(t, err, authorizerTokenAPI, 61023, says)
					return err
				}
				begin := time.Now()
				r.log.checkError(call(tt.says))
				assert.Less(t, time.Since(begin), 8*time.Second)
				assert.Equal(t, tt.lists, r.server.Requests(authorizerListAPI))
				assert.Equal(t, tt.fetches, r.server.Requests(authorizerTokenAPI))
				for range 4 {
					time.Sleep(2 * time.Minute)
					require.Error(t, call(tt.says))
				}
				assert.Equal(t, tt.lists, r.server.Requests(authorizerListAPI))
				assert.Equal(t, tt.fetches+4, r.server.Requests(authorizerTokenAPI))
				assert.Equal(t, 1, strings.Count(r.logged(), "could not be replaced"))

				time.Sleep(2 * time.Minute)
				require.Error(t, call("")) // the listed one was stored, and is the same now
				assert.Equal(t, 2*tt.lists, r.server.Requests(authorizerListAPI))
				r.log.checkLog()

				// A new authorisation is not kept waiting.
				r.server.FailNext(authorizerTokenAPI, 0, "", 0)
				r.tokens.set(r.server.AppID(), r.server.Authorize())
				time.Sleep(time.Minute)
				require.NoError(t, phoneOfApp(t, r.server, r.client, r.server.AppID()))

				// What helped before may help again.
				r.server.FailNext(authorizerListAPI, 0, "", 0)
				r.server.SetLatency(authorizerListAPI, 0)
				r.die()
				require.NoError(t, phoneOfApp(t, r.server, r.client, r.server.AppID()))
			})
		})
	}
}

// A platform with more mini-programs than a repair reads.
func TestRepairReadsTenThousandMiniPrograms(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server, pages := wxphonetest.NewServer(t), 0
		endless := &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			if r.URL.Path != authorizerListAPI {
				return server.HTTPClient().Transport.RoundTrip(r)
			}
			var entries []string
			for i := range 500 {
				entries = append(entries, fmt.Sprintf(`{"authorizer_appid":"wx%d-%d","refresh_token":"r","auth_time":1}`, pages, i))
			}
			pages++
			return answerTo(r, `{"total_count":1000000,"list":[`+strings.Join(entries, ",")+`]}`), nil
		})}
		tokens := authorized(server, server.AppID())
		server.RevokeRefreshToken(server.AppID())
		client := clientOf(t, server.NewComponent(wxphone.WithHTTPClient(endless)), server.AppID(), tokens)
		_, err := client.AccessToken(t.Context())
		assertPlatformError(t, err, authorizerTokenAPI, 61023, "not among the first 10000")
		assert.Equal(t, 20, pages)
	})
}

func TestProcessesShareARepair(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server, store := wxphonetest.NewServer(t), new(wxphonetest.MemoryStore)
		tokens := authorized(server, server.AppID())
		server.RevokeRefreshToken(server.AppID())
		var group sync.WaitGroup
		for range 5 {
			client := clientOf(t, server.NewComponent(wxphone.WithTokenStore(store)), server.AppID(), tokens)
			group.Go(func() { assert.NoError(t, phoneOfApp(t, server, client, server.AppID())) })
		}
		group.Wait()
		assert.Equal(t, 1, server.Requests(authorizerListAPI))
		assert.Equal(t, 2, server.Requests(authorizerTokenAPI))
	})
}

// Another process stores a token between this one's look and WeChat's refusal.
func TestRefreshTokenThatWasStoredMeanwhileIsTriedFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRefreshing(t)
		dead := r.stored()
		r.tokens.set(r.server.AppID(), r.server.RevokeRefreshToken(r.server.AppID()))
		loads := 0
		client := clientOf(t, r.platform, r.server.AppID(), loading{r.tokens, func(ctx context.Context) (string, error) {
			if loads++; loads == 1 {
				return dead, nil
			}
			return r.tokens.LoadRefreshToken(ctx, r.server.AppID())
		}})
		require.NoError(t, phoneOfApp(t, r.server, client, r.server.AppID()))
		assert.Zero(t, r.server.Requests(authorizerListAPI))
		assert.Equal(t, 2, r.server.Requests(authorizerTokenAPI))
	})
}

func TestRepairWorksWhileTheDatabaseIsReadOnly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRefreshing(t)
		r.tokens.fail(nil, errDatabase)
		listed := r.die()
		require.NoError(t, phoneOfApp(t, r.server, r.client, r.server.AppID()))
		assert.Contains(t, r.logged(), "level=ERROR")
		assert.NotEqual(t, listed, r.stored())

		r.tokens.fail(nil, nil)
		r.server.RevokeToken()
		require.NoError(t, phoneOfApp(t, r.server, r.client, r.server.AppID()))
		assert.Equal(t, listed, r.stored())
		assert.Equal(t, 1, r.server.Requests(authorizerListAPI))
		r.log.checkLog()
	})
}

// The token in memory dies, and the one in the database is still older.
func TestRepairComesAfterEveryTokenThatThereIs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRefreshing(t)
		r.tokens.fail(nil, errDatabase)
		require.NoError(t, r.refresh())
		r.tokens.fail(nil, nil)
		listed := r.die()
		before := r.server.Requests(authorizerTokenAPI)
		require.NoError(t, phoneOfApp(t, r.server, r.client, r.server.AppID()))
		assert.Equal(t, 3, r.server.Requests(authorizerTokenAPI)-before)
		assert.Equal(t, 1, r.server.Requests(authorizerListAPI))
		assert.Equal(t, listed, r.stored())
		r.log.checkLog()
	})
}

func TestListedRefreshTokenIsSavedBeforeItIsTried(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRefreshing(t)
		listed := r.die()
		r.server.FailNext(authorizerTokenAPI, 61023, "", 1)
		r.server.FailNext(authorizerTokenAPI, 45009, "", 1)
		_, err := r.client.AccessToken(t.Context())
		require.ErrorIs(t, err, wxphone.ErrQuotaExhausted)
		assert.Equal(t, listed, r.stored())
	})
}

// A list that repeats what it was told, behind a dead refresh token.
func TestRepairQuotesNothing(t *testing.T) {
	t.Parallel()
	secrets := []string{someComponentSecret, someTicket, someRefreshToken, nextRefreshToken, someToken, laterToken, someNumber}
	for name, answer := range indiscretions {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := &witness{t: t, secrets: secrets}
			listener := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				switch r.URL.Path {
				case authorizerTokenAPI:
					refuse(61023, "", "")(rw, someRefreshToken)
				case authorizerListAPI:
					answer(rw, someNumber+" "+r.URL.String()+" "+r.URL.Query().Get("access_token")+" "+nextRefreshToken)
				default:
					_, _ = io.WriteString(rw, honestPlatform[r.URL.Path])
				}
			}))
			t.Cleanup(listener.Close)
			platform, err := wxphone.NewComponent(someComponentID, someComponentSecret, latestTicket,
				append(w.options(), wxphone.WithBaseURL(listener.URL), wxphone.WithMaxRetries(0))...)
			require.NoError(t, err)
			client := clientOf(t, platform, someAppID, &refreshTokens{tokens: map[string]string{someAppID: someRefreshToken}})
			_, err = client.GetPhoneNumber(context.Background(), someCode)
			assertPlatformError(t, err, authorizerTokenAPI, 61023, "looking it up failed")
			w.checkError(err)
			w.checkLog()
		})
	}
}
