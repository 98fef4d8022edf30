//go:build go1.25

package wxphone_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
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

var errDown = errors.New("connection refused")

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
		require.ErrorContains(t, err, "invalidate")
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

func TestSharedStoreWithACustomSource(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := new(wxphonetest.MemoryStore)
		source := new(numberedTokens)
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

func TestStoreAndLogOfACacheHearOfARefusal(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		store := new(wxphonetest.MemoryStore)
		tokens := wxphone.CacheTokens(new(numberedTokens), wxphone.WithCacheStore(store, "mine"),
			wxphone.WithCacheLogger(slog.New(slog.NewTextHandler(&log, nil))))
		first := accessToken(t, tokens)
		stored, err := store.Load(t.Context(), "mine")
		require.NoError(t, err)
		require.Equal(t, first, stored.AccessToken)
		invalidate(t, tokens, first)
		_, err = store.Load(t.Context(), "mine")
		require.ErrorIs(t, err, wxphone.ErrTokenNotFound)
		assert.Contains(t, log.String(), "WeChat refused the access_token")
		assert.NotContains(t, log.String(), first)
	})
}

func TestStoreOptionsThatCannotBe(t *testing.T) {
	t.Parallel()
	_, err := wxphone.New("wx1", "s", wxphone.WithTokenStore(nil))
	require.ErrorIs(t, err, wxphone.ErrInvalidArgument)
	_, err = wxphone.New("wx1", "s", wxphone.WithTokenStore(new(wxphonetest.MemoryStore)), wxphone.WithTokenSource(new(numberedTokens)))
	require.ErrorIs(t, err, wxphone.ErrInvalidArgument)
}

// numberedTokens is a source whose tokens are all different.
type numberedTokens struct{ fetches atomic.Int32 }

func (s *numberedTokens) Token(context.Context) (wxphone.Token, error) {
	return wxphone.Token{AccessToken: fmt.Sprint("token-", s.fetches.Add(1)), ExpiresAt: time.Now().Add(time.Hour)}, nil
}

func accessToken(t *testing.T, tokens wxphone.TokenSource) string {
	t.Helper()
	token, err := tokens.Token(t.Context())
	require.NoError(t, err)
	return token.AccessToken
}

func invalidate(t *testing.T, tokens wxphone.TokenSource, rejected string) {
	t.Helper()
	require.NoError(t, tokens.(wxphone.TokenInvalidator).InvalidateToken(t.Context(), rejected))
}

func TestCacheTokensReportsItsMisuse(t *testing.T) {
	t.Parallel()
	source := new(numberedTokens)
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

func TestCacheTokensPrintsNoToken(t *testing.T) {
	t.Parallel()
	tokens := wxphone.CacheTokens(fixedToken(someToken))
	require.Equal(t, someToken, accessToken(t, tokens))
	for _, verb := range verbs {
		assertTellsNone(t, fmt.Sprintf(verb, tokens), []string{someToken}, "CacheTokens under %s", verb)
	}
	assert.Equal(t, "wxphone.CacheTokens", fmt.Sprintf("%+v", tokens))
}

func TestNilContextIsRefusedAndDoesNotLockTheCache(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tokens := wxphone.CacheTokens(new(numberedTokens))
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
	numberedTokens
	told atomic.Pointer[string]
}

func (s *invalidatedSource) InvalidateToken(_ context.Context, rejected string) error {
	s.told.Store(&rejected)
	return errors.New("noted")
}

func TestWrappedSourceIsToldOfTheRejectedToken(t *testing.T) {
	t.Parallel()
	source := new(invalidatedSource)
	tokens := wxphone.CacheTokens(source)
	invalidate(t, tokens, "unknown")
	require.Nil(t, source.told.Load())
	first := accessToken(t, tokens)
	err := tokens.(wxphone.TokenInvalidator).InvalidateToken(t.Context(), first)
	require.EqualError(t, err, "noted")
	assert.Equal(t, first, *source.told.Load())
}

// keyStore notes the keys that it is asked for.
type keyStore struct {
	wxphonetest.MemoryStore
	mu   sync.Mutex
	keys map[string]bool
}

func (s *keyStore) Load(ctx context.Context, key string) (wxphone.Token, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys[key] = true
	return s.MemoryStore.Load(ctx, key)
}

// Stores name a lock after its token, as redisstore does with ":lock".
func TestEveryTokenHasAKeyOfItsOwnThatIsNoLocks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var keys []string
		nobody := wxphone.WithHTTPClient(&http.Client{Transport: roundTrip(func(*http.Request) (*http.Response, error) {
			return nil, errors.New("no network")
		})})
		keyOf := func(tokenOf func(context.Context) (wxphone.Token, error), store *keyStore) {
			_, err := tokenOf(context.Background())
			require.Error(t, err)
			store.mu.Lock()
			defer store.mu.Unlock()
			for key := range store.keys {
				keys = append(keys, key)
			}
			clear(store.keys)
		}
		appIDs := []string{"a", "b", "a-b", "a_b", "lock", "stable", "classic", "component", "authorizer", "wxphone"}
		store := &keyStore{keys: make(map[string]bool)}
		opts := []wxphone.Option{wxphone.WithTokenStore(store), nobody, wxphone.WithMaxRetries(0)}
		for _, appID := range appIDs {
			stable, err := wxphone.New(appID, someSecret, opts...)
			require.NoError(t, err)
			keyOf(stable.AccessToken, store)
			classic, err := wxphone.New(appID, someSecret, append(opts, wxphone.WithClassicToken())...)
			require.NoError(t, err)
			keyOf(classic.AccessToken, store)
			platform, err := wxphone.NewComponent(appID, someSecret, latestTicket, opts...)
			require.NoError(t, err)
			for _, authorizer := range appIDs {
				client, err := platform.Client(authorizer, &refreshTokens{tokens: map[string]string{authorizer: "refresh"}}, opts...)
				require.NoError(t, err)
				keyOf(client.AccessToken, store)
			}
		}
		slices.Sort(keys)
		keys = slices.Compact(keys)
		assert.Len(t, keys, len(appIDs)*3+len(appIDs)*len(appIDs), "stable, classic and component, and a key for each pair")
		for _, key := range keys {
			assert.NotContains(t, keys, key+":lock")
		}
	})
}
