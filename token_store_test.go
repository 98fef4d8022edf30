//go:build go1.25

package wxphone_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/wxphonetest"
)

// processes returns n Clients that share nothing but the store.
func processes(server *wxphonetest.Server, n int, opts ...wxphone.Option) []*wxphone.Client {
	clients := make([]*wxphone.Client, n)
	for i := range clients {
		clients[i] = server.NewClient(opts...)
	}
	return clients
}

// callAll makes calls of every client at once and returns how many failed.
func callAll(t *testing.T, server *wxphonetest.Server, clients []*wxphone.Client, calls int) int {
	t.Helper()
	var group sync.WaitGroup
	var failed atomic.Int32
	for _, client := range clients {
		for range calls {
			code := server.IssueCode(aPhone)
			group.Go(func() {
				if _, err := client.GetPhoneNumber(t.Context(), code); err != nil {
					failed.Add(1)
					t.Log(err)
				}
			})
		}
	}
	group.Wait()
	return int(failed.Load())
}

func TestProcessesThatShareAStoreFetchOnce(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string][]wxphone.Option{
		stableTokenAPI:  nil,
		classicTokenAPI: {wxphone.WithClassicToken()},
	} {
		synctest.Test(t, func(t *testing.T) {
			server := wxphonetest.NewServer(t)
			server.SetLatency(name, 300*time.Millisecond)
			store := new(wxphonetest.MemoryStore)
			clients := processes(server, 8, append(opts, wxphone.WithTokenStore(store))...)
			require.Zero(t, callAll(t, server, clients, 200))
			require.Equal(t, 1, server.TokenFetches(), "cold")

			server.RevokeToken()
			require.Zero(t, callAll(t, server, clients, 200))
			require.LessOrEqual(t, server.TokenFetches(), 2, "revoked")

			time.Sleep(2*time.Hour - 90*time.Second) // every early refresh is due
			require.Zero(t, callAll(t, server, clients, 200))
			synctest.Wait()
			time.Sleep(10 * time.Second)
			require.Zero(t, callAll(t, server, clients, 200))
			require.LessOrEqual(t, server.TokenFetches(), 3, "expiring")
		})
	}
}

func TestKeysTellAppsAndKindsApart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := new(wxphonetest.MemoryStore)
		server := wxphonetest.NewServer(t)
		other := wxphonetest.NewServer(t, wxphonetest.WithCredentials("wxfedcba9876543210", "another-secret"))
		tokens := map[string]bool{}
		for _, client := range []*wxphone.Client{
			server.NewClient(wxphone.WithTokenStore(store)),
			server.NewClient(wxphone.WithTokenStore(store), wxphone.WithClassicToken()),
			other.NewClient(wxphone.WithTokenStore(store)),
		} {
			token, err := client.AccessToken(t.Context())
			require.NoError(t, err)
			tokens[token.AccessToken] = true
		}
		assert.Len(t, tokens, 3)
		for _, key := range []string{"wxphone:stable:" + server.AppID(), "wxphone:classic:" + server.AppID(), "wxphone:stable:wxfedcba9876543210"} {
			_, err := store.Load(t.Context(), key)
			assert.NoError(t, err, key)
		}
	})
}

// brokenStore fails in some way, whatever is asked of it.
type brokenStore struct{ fail func(context.Context) error }

func (s brokenStore) Load(ctx context.Context, _ string) (wxphone.Token, error) {
	return wxphone.Token{}, s.fail(ctx)
}

func (s brokenStore) Save(ctx context.Context, _ string, _ wxphone.Token) error { return s.fail(ctx) }

func (s brokenStore) DeleteIf(ctx context.Context, _, _ string) error { return s.fail(ctx) }

func (s brokenStore) TryLock(ctx context.Context, _ string, _ time.Duration) (func(context.Context) error, bool, error) {
	return nil, false, s.fail(ctx)
}

var errDown = errors.New("connection refused")

func brokenStores(t *testing.T) map[string]brokenStore {
	hang := make(chan struct{})
	t.Cleanup(func() { close(hang) })
	return map[string]brokenStore{
		"down":                 {func(context.Context) error { return errDown }},
		"hanging":              {func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }},
		"hanging, ctx ignored": {func(context.Context) error { <-hang; return nil }},
		"panicking":            {func(context.Context) error { panic("secret inside") }},
	}
}

func TestStoreThatIsDownIsNoOutageWithStableTokens(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"down", "hanging", "hanging, ctx ignored", "panicking"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server := wxphonetest.NewServer(t)
				var log bytes.Buffer
				client := server.NewClient(wxphone.WithTokenStore(brokenStores(t)[name]),
					wxphone.WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
				begin := time.Now()
				_, err := client.GetPhoneNumber(t.Context(), server.IssueCode(aPhone))
				require.NoError(t, err)
				assert.LessOrEqual(t, time.Since(begin), time.Second, "a store that hangs is down")
				server.RevokeToken()
				_, err = client.GetPhoneNumber(t.Context(), server.IssueCode(aPhone))
				require.NoError(t, err)
				synctest.Wait() // the flight logs its end after it has served
				assert.Contains(t, log.String(), "token store")
				assert.NotContains(t, log.String(), "secret inside")
				assert.NotContains(t, log.String(), server.Token())
			})
		})
	}
}

func TestStoreThatIsDownStopsBlindFetchesOfClassicTokens(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t)
		store := new(wxphonetest.MemoryStore)
		client := server.NewClient(wxphone.WithTokenStore(store), wxphone.WithClassicToken())
		_, err := client.AccessToken(t.Context())
		require.NoError(t, err)
		store.SetDown(errDown)
		require.Zero(t, callAll(t, server, []*wxphone.Client{client}, 50), "the local token is still good")

		cold := server.NewClient(wxphone.WithTokenStore(store), wxphone.WithClassicToken())
		_, err = cold.GetPhoneNumber(t.Context(), "code")
		require.ErrorIs(t, err, errDown)
		require.ErrorContains(t, err, "retire")
		assert.Equal(t, 1, server.TokenFetches())

		time.Sleep(2 * time.Hour)
		_, err = client.AccessToken(t.Context())
		require.ErrorIs(t, err, errDown, "an expired token was served")
		store.SetDown(nil)
		time.Sleep(time.Minute)
		_, err = client.AccessToken(t.Context())
		require.NoError(t, err)
	})
}

func TestBadValuesInTheStoreAreReplaced(t *testing.T) {
	t.Parallel()
	for name, value := range map[string]wxphone.Token{
		"no token":          {ExpiresAt: time.Now().Add(time.Hour)},
		"no expiry":         {AccessToken: "undated"},
		"expired":           {AccessToken: "old", ExpiresAt: time.Unix(1, 0)},
		"absurdly long":     {AccessToken: "eternal", ExpiresAt: time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)},
		"beyond all clocks": {AccessToken: "eternal", ExpiresAt: time.Unix(1<<60, 0)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server := wxphonetest.NewServer(t)
				store := &fixedStore{token: value}
				client := server.NewClient(wxphone.WithTokenStore(store))
				token, err := client.AccessToken(t.Context())
				require.NoError(t, err)
				assert.Equal(t, server.Token(), token.AccessToken)
				assert.Equal(t, server.Token(), store.token.AccessToken, "not replaced")
			})
		})
	}
}

// fixedStore hands out what it holds, without looking at it.
type fixedStore struct {
	token wxphone.Token
	err   error
}

func (s *fixedStore) Load(context.Context, string) (wxphone.Token, error) { return s.token, s.err }

func (s *fixedStore) Save(_ context.Context, _ string, token wxphone.Token) error {
	s.token, s.err = token, nil
	return nil
}

func (s *fixedStore) DeleteIf(context.Context, string, string) error { return nil }

func TestUnreadableValueInTheStoreIsAMissAndLogged(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t)
		var log bytes.Buffer
		store := &fixedStore{err: fmt.Errorf("corrupt value: %w", wxphone.ErrTokenNotFound)}
		client := server.NewClient(wxphone.WithTokenStore(store), wxphone.WithClassicToken(),
			wxphone.WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
		_, err := client.AccessToken(t.Context())
		require.NoError(t, err)
		synctest.Wait() // the flight logs its end after it has served
		assert.Contains(t, log.String(), "corrupt value")
		assert.NotEmpty(t, store.token.AccessToken)
	})
}

func TestRefusedTokenIsNotTakenBackFromTheStore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t)
		store := &fixedStore{err: wxphone.ErrTokenNotFound} // does not delete
		client := server.NewClient(wxphone.WithTokenStore(store))
		first, err := client.AccessToken(t.Context())
		require.NoError(t, err)
		server.RevokeToken()
		require.NoError(t, client.InvalidateAccessToken(t.Context(), first.AccessToken))
		second, err := client.AccessToken(t.Context())
		require.NoError(t, err)
		assert.NotEqual(t, first.AccessToken, second.AccessToken)
		assert.Equal(t, second.AccessToken, store.token.AccessToken)
	})
}

func TestForcedTokenIsSharedAndTheRefusedOneIsNot(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t)
		store := new(wxphonetest.MemoryStore)
		clients := processes(server, 8, wxphone.WithTokenStore(store))
		require.Zero(t, callAll(t, server, clients, 10))
		server.RevokeTokenUntilForced()
		require.Zero(t, callAll(t, server, clients, 50))
		assert.LessOrEqual(t, server.TokenFetches(), 3, "first, handed back, forced; once for the whole fleet")
		stored, err := store.Load(t.Context(), "wxphone:stable:"+server.AppID())
		require.NoError(t, err)
		assert.Equal(t, server.Token(), stored.AccessToken)
	})
}

func TestOthersGoOnWhenTheHolderOfTheLockDies(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t)
		store := new(wxphonetest.MemoryStore)
		_, ok, err := store.TryLock(t.Context(), "wxphone:stable:"+server.AppID(), 15*time.Second)
		require.NoError(t, err)
		require.True(t, ok)
		begin := time.Now()
		require.Zero(t, callAll(t, server, processes(server, 4, wxphone.WithTokenStore(store)), 20))
		assert.GreaterOrEqual(t, time.Since(begin), 15*time.Second)
		assert.Less(t, time.Since(begin), 16*time.Second)
		assert.Equal(t, 1, server.TokenFetches())
	})
}

func TestLockThatNeverComesFreeEndsTheFlight(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t)
		store := new(wxphonetest.MemoryStore)
		_, _, err := store.TryLock(t.Context(), "wxphone:stable:"+server.AppID(), time.Hour)
		require.NoError(t, err)
		_, err = server.NewClient(wxphone.WithTokenStore(store)).AccessToken(t.Context())
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, 504, wxphone.HTTPStatus(err))
	})
}

func TestFetchThatOutlastsTheLeaseIsGivenUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t)
		server.SetLatency(classicTokenAPI, 14*time.Second)
		store := new(wxphonetest.MemoryStore)
		client := server.NewClient(wxphone.WithTokenStore(store), wxphone.WithClassicToken())
		begin := time.Now()
		_, err := client.AccessToken(t.Context())
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Less(t, time.Since(begin), 15*time.Second, "the lock had ended, another process could fetch")
	})
}

func TestSharedStoreWithACustomSource(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := new(wxphonetest.MemoryStore)
		source := &countingSource{life: time.Hour}
		first := wxphone.CacheTokens(source, wxphone.WithCacheStore(store, "mine"))
		second := wxphone.CacheTokens(source, wxphone.WithCacheStore(store, "mine"))
		assert.Equal(t, accessToken(t, first), accessToken(t, second))
		assert.EqualValues(t, 1, source.fetches.Load())
		for name, tokens := range map[string]wxphone.TokenSource{
			"nil store": wxphone.CacheTokens(source, wxphone.WithCacheStore(nil, "key")),
			"empty key": wxphone.CacheTokens(source, wxphone.WithCacheStore(store, "")),
		} {
			_, err := tokens.Token(t.Context())
			assert.ErrorIs(t, err, wxphone.ErrInvalidArgument, name)
		}
	})
}

func TestStoreOptionsThatCannotBe(t *testing.T) {
	t.Parallel()
	_, err := wxphone.New("wx1", "s", wxphone.WithTokenStore(nil))
	require.ErrorIs(t, err, wxphone.ErrInvalidArgument)
	_, err = wxphone.New("wx1", "s", wxphone.WithTokenStore(new(wxphonetest.MemoryStore)), wxphone.WithTokenSource(&countingSource{}))
	require.ErrorIs(t, err, wxphone.ErrInvalidArgument)
}

func TestCacheTokensReportsItsMisuse(t *testing.T) {
	t.Parallel()
	source := &countingSource{life: time.Hour}
	for name, tokens := range map[string]wxphone.TokenSource{
		"nil source": wxphone.CacheTokens(nil),
		"nil option": wxphone.CacheTokens(source, nil),
		"nil logger": wxphone.CacheTokens(source, wxphone.WithCacheLogger(nil)),
	} {
		_, err := tokens.Token(t.Context())
		require.ErrorIs(t, err, wxphone.ErrInvalidArgument, name)
		require.ErrorIs(t, tokens.(wxphone.TokenInvalidator).InvalidateToken(t.Context(), "x"), wxphone.ErrInvalidArgument, name)
	}
	assert.Zero(t, source.fetches.Load())
}

func TestNilContextIsRefusedAndDoesNotLockTheCache(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tokens := wxphone.CacheTokens(&countingSource{life: time.Hour})
		_, err := tokens.Token(nil) //nolint:staticcheck // the mistake under test
		require.ErrorIs(t, err, wxphone.ErrInvalidArgument)
		first := accessToken(t, tokens)
		err = tokens.(wxphone.TokenInvalidator).InvalidateToken(nil, first) //nolint:staticcheck // the mistake under test
		require.ErrorIs(t, err, wxphone.ErrInvalidArgument)
		assert.Equal(t, first, accessToken(t, tokens), "a refused report reports nothing")
		invalidate(t, tokens, first)
		assert.NotEqual(t, first, accessToken(t, tokens))
	})
}

// invalidatedSource records what it is told.
type invalidatedSource struct {
	countingSource
	told atomic.Pointer[string]
}

func (s *invalidatedSource) InvalidateToken(_ context.Context, rejected string) error {
	s.told.Store(&rejected)
	return errors.New("noted")
}

func TestWrappedSourceIsToldOfTheRejectedToken(t *testing.T) {
	t.Parallel()
	source := &invalidatedSource{countingSource: countingSource{life: time.Hour}}
	tokens := wxphone.CacheTokens(source)
	invalidate(t, tokens, "unknown")
	require.Nil(t, source.told.Load())
	first := accessToken(t, tokens)
	err := tokens.(wxphone.TokenInvalidator).InvalidateToken(t.Context(), first)
	require.EqualError(t, err, "noted")
	assert.Equal(t, first, *source.told.Load())
}
