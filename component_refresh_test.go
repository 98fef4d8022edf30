//go:build go1.25

package wxphone_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/wxphonetest"
)

// refreshing is a platform with one mini-program whose refresh token WeChat
// rotates at every refresh.
type refreshing struct {
	t        *testing.T
	server   *wxphonetest.Server
	platform *wxphone.Component
	tokens   *refreshTokens
	client   *wxphone.Client
	log      *witness
}

func newRefreshing(t *testing.T) *refreshing {
	t.Helper()
	r := &refreshing{t: t, server: wxphonetest.NewServer(t), log: &witness{t: t}}
	r.tokens = authorized(r.server, r.server.AppID())
	r.platform = r.server.NewComponent(wxphone.WithLogger(slog.New(slog.NewTextHandler(r.log, nil))))
	r.client = clientOf(t, r.platform, r.server.AppID(), r.tokens)
	return r
}

// refresh has WeChat rotate the refresh token, and the Client fetch another
// access_token.
func (r *refreshing) refresh() error {
	r.t.Helper()
	r.server.RotateRefreshToken(r.server.AppID())
	time.Sleep(2 * time.Hour)
	token, err := r.client.AccessToken(r.t.Context())
	assert.Equal(r.t, err == nil, token.AccessToken != "")
	return err
}

// logged returns the log when the goroutines that write it have come to rest.
func (r *refreshing) logged() string {
	synctest.Wait()
	r.log.mu.Lock()
	defer r.log.mu.Unlock()
	return r.log.log.String()
}

func (r *refreshing) stored() string {
	token, saves := r.tokens.stored(r.server.AppID())
	r.log.secrets = append(r.log.secrets, token)
	r.tokens.mu.Lock()
	r.tokens.saves -= saves
	r.tokens.mu.Unlock()
	return token
}

func TestRotatedRefreshTokenIsUsedNext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRefreshing(t)
		seen := map[string]bool{r.stored(): true}
		for range 5 {
			require.NoError(t, r.refresh())
			seen[r.stored()] = true
		}
		assert.Len(t, seen, 6)
		r.log.checkLog()
	})
}

func TestRefreshTokenIsSavedThoughItDidNotChange(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRefreshing(t)
		before := r.stored()
		_, err := r.client.AccessToken(t.Context())
		require.NoError(t, err)
		after, saves := r.tokens.stored(r.server.AppID())
		assert.Equal(t, before, after)
		assert.Equal(t, 1, saves)
	})
}

func TestRefreshTokenThatIsNotSavedWaitsInMemory(t *testing.T) {
	t.Parallel()
	for name, loads := range map[string]error{"database is read-only": nil, "database is down": errDatabase} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRefreshing(t)
				require.NoError(t, r.refresh())
				old := r.stored()

				r.tokens.fail(nil, errDatabase)
				require.NoError(t, r.refresh(), "the access_token is good all the same")
				_, saves := r.tokens.stored(r.server.AppID())
				assert.Equal(t, 3, saves, "tried again before giving up")
				assert.Contains(t, r.logged(), "level=ERROR")
				assert.Contains(t, r.logged(), "not saved")
				assert.Contains(t, r.logged(), "authorizer="+r.server.AppID())
				assert.Contains(t, r.logged(), errDatabase.Error())

				r.tokens.fail(loads, errDatabase)
				require.NoError(t, r.refresh(), "with the token in memory")
				require.Equal(t, old, r.stored())

				r.tokens.fail(nil, nil)
				require.NoError(t, r.refresh(), "with the token in memory")
				require.NotEqual(t, old, r.stored())

				r.tokens.fail(nil, nil)
				require.NoError(t, r.refresh(), "with the token in the database again")
				r.log.checkLog()
			})
		})
	}
}

func TestUnchangedRefreshTokenThatIsNotSavedIsNoAlarm(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRefreshing(t)
		r.tokens.fail(nil, errDatabase)
		_, err := r.client.AccessToken(t.Context())
		require.NoError(t, err)
		assert.Contains(t, r.logged(), "level=WARN")
		assert.NotContains(t, r.logged(), "level=ERROR")

		// The database had the same token all along, and now fails to tell it.
		r.tokens.fail(errDatabase, errDatabase)
		time.Sleep(2 * time.Hour)
		_, err = r.client.AccessToken(t.Context())
		require.NoError(t, err)
		r.log.checkLog()
	})
}

// The owner withdraws and authorises again, and the platform stores the new
// refresh token, while this process holds one that it could not save.
func TestStoredRefreshTokenThatChangedIsNewer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRefreshing(t)
		r.tokens.fail(nil, errDatabase)
		require.NoError(t, r.refresh())
		r.tokens.fail(nil, nil)
		r.tokens.set(r.server.AppID(), r.server.Authorize())
		require.NoError(t, r.refresh())
		r.log.checkLog()
	})
}

// The platform deletes what it has of a mini-program that withdrew, while this
// process holds a token that it could not save.
func TestDeletedRefreshTokenStaysDeleted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRefreshing(t)
		r.tokens.fail(nil, errDatabase)
		require.NoError(t, r.refresh())
		r.tokens.fail(nil, nil)
		r.tokens.set(r.server.AppID(), "")
		before := r.server.Requests(authorizerTokenAPI)
		assertPlatformError(t, r.refresh(), authorizerTokenAPI, 61023, "api_get_authorizer_list")
		assert.Equal(t, before, r.server.Requests(authorizerTokenAPI))
	})
}

// The unsaved token is refused, and the one that was stored all along works:
// say it was mended by hand to what it was. WeChat need not be asked for it.
func TestRefusedUnsavedRefreshTokenGivesWayToTheStoredOne(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRefreshing(t)
		mended := r.server.RevokeRefreshToken(r.server.AppID())
		r.tokens.set(r.server.AppID(), mended)
		r.tokens.fail(nil, errDatabase)
		r.server.RespondNext(authorizerTokenAPI, 200,
			`{"authorizer_access_token":"`+laterToken+`","expires_in":7200,"authorizer_refresh_token":"`+nextRefreshToken+`"}`, 1)
		_, err := r.client.AccessToken(t.Context())
		require.NoError(t, err)

		time.Sleep(2 * time.Hour)
		_, err = r.client.AccessToken(t.Context())
		require.NoError(t, err)
		assert.Zero(t, r.server.Requests(authorizerListAPI))
	})
}

// saving is RefreshTokens whose Save does as it likes.
type saving struct {
	*refreshTokens
	save func(ctx context.Context) error
}

func (s saving) SaveRefreshToken(ctx context.Context, appID, token string) error {
	if err := s.save(ctx); err != nil {
		return err
	}
	return s.refreshTokens.SaveRefreshToken(ctx, appID, token)
}

func TestSaveThatMisbehavesDoesNotCostTheToken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		hang := make(chan struct{})
		defer close(hang)
		for name, save := range map[string]func(context.Context) error{
			"panics":       func(context.Context) error { panic(someRefreshToken) },
			"hangs":        func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() },
			"ignores ctx":  func(context.Context) error { <-hang; return errDatabase },
			"fails":        func(context.Context) error { return errDatabase },
			"fails slowly": func(context.Context) error { time.Sleep(900 * time.Millisecond); return errDatabase },
		} {
			r := newRefreshing(t)
			r.log.secrets = []string{someRefreshToken}
			r.server.RotateRefreshToken(r.server.AppID())
			client := clientOf(t, r.platform, r.server.AppID(), saving{r.tokens, save})
			begin := time.Now()
			token, err := client.AccessToken(t.Context())
			require.NoError(t, err, name)
			assert.NotEmpty(t, token.AccessToken, name)
			assert.Less(t, time.Since(begin), 5*time.Second, name)
			assert.Contains(t, r.logged(), "level=ERROR", name)
			r.log.checkLog()
		}
	})
}

// WeChat's answer comes when the fetch is about to be given up; the refresh
// token in it is kept for the next one.
func TestSaveOutlivesTheFetch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRefreshing(t)
		before := r.stored()
		r.server.RotateRefreshToken(r.server.AppID())
		r.server.SetLatency(authorizerTokenAPI, 29*time.Second+900*time.Millisecond)
		slow := saving{r.tokens, func(ctx context.Context) error {
			time.Sleep(500 * time.Millisecond)
			return ctx.Err()
		}}
		client := clientOf(t, r.platform, r.server.AppID(), slow)
		_, err := client.AccessToken(t.Context())
		require.ErrorIs(t, err, context.DeadlineExceeded)
		time.Sleep(time.Second)
		assert.NotEqual(t, before, r.stored())
		r.server.SetLatency(authorizerTokenAPI, 0)
		_, err = client.AccessToken(t.Context())
		require.NoError(t, err)
	})
}

func TestRefreshTokenThatCannotBeHad(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		token string
		err   error
	}{
		"none":    {"", nil},
		"failing": {someRefreshToken, errDatabase},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRefreshing(t)
				sound, _ := r.tokens.stored(r.server.AppID())
				r.tokens.set(r.server.AppID(), tt.token)
				r.tokens.fail(tt.err, nil)
				err := phoneOfApp(t, r.server, r.client, r.server.AppID())
				assertPlatformError(t, err, authorizerTokenAPI, 61023, "api_get_authorizer_list")
				assert.Equal(t, name == "failing", errors.Is(err, errDatabase))
				assert.Zero(t, r.server.Requests(authorizerTokenAPI), "nothing was sent")

				r.tokens.set(r.server.AppID(), sound)
				r.tokens.fail(nil, nil)
				time.Sleep(2 * time.Second)
				require.NoError(t, phoneOfApp(t, r.server, r.client, r.server.AppID()))
			})
		})
	}
}

// loading is RefreshTokens whose Load does as it likes.
type loading struct {
	*refreshTokens
	load func(ctx context.Context) (string, error)
}

func (l loading) LoadRefreshToken(ctx context.Context, _ string) (string, error) { return l.load(ctx) }

func TestLoadThatMisbehavesIsAnError(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		hang := make(chan struct{})
		defer close(hang)
		for name, load := range map[string]func(context.Context) (string, error){
			"panics":      func(context.Context) (string, error) { panic(someRefreshToken) },
			"hangs":       func(ctx context.Context) (string, error) { <-ctx.Done(); return "", ctx.Err() },
			"ignores ctx": func(context.Context) (string, error) { <-hang; return "", nil },
		} {
			r := newRefreshing(t)
			client := clientOf(t, r.platform, r.server.AppID(), loading{r.tokens, load})
			begin := time.Now()
			err := phoneOfApp(t, r.server, client, r.server.AppID())
			assertPlatformError(t, err, authorizerTokenAPI, 61023, "api_get_authorizer_list")
			assert.False(t, strings.Contains(err.Error(), someRefreshToken), name)
			assert.Less(t, time.Since(begin), 2*time.Second, name)
		}
	})
}

func TestLogsNameTheMiniProgram(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRefreshing(t)
		require.NoError(t, r.refresh())
		assert.Equal(t, 2, strings.Count(r.logged(), "access_token fetched"))
		assert.Equal(t, 1, strings.Count(r.logged(), "authorizer="+r.server.AppID()), "the platform's own token is of none")
	})
}
