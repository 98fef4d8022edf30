//go:build go1.25

package simulation_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
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

// badStore is a token store with faults.
type badStore struct {
	wxphonetest.MemoryStore
	down     atomic.Bool // every call fails
	unsaving atomic.Bool // only Save does
	hanging  atomic.Bool // Load ignores its context and does not return
	replica  atomic.Pointer[wxphone.Token]
	release  chan struct{}
}

var errDown = errors.New("store is down")

func (s *badStore) Load(ctx context.Context, key string) (wxphone.Token, error) {
	if s.hanging.Load() {
		<-s.release
	}
	if s.down.Load() {
		return wxphone.Token{}, errDown
	}
	if stale := s.replica.Load(); stale != nil {
		return *stale, nil
	}
	return s.MemoryStore.Load(ctx, key)
}

func (s *badStore) Save(ctx context.Context, key string, token wxphone.Token) error {
	if s.down.Load() || s.unsaving.Load() {
		return errDown
	}
	return s.MemoryStore.Save(ctx, key, token)
}

func (s *badStore) TryLock(ctx context.Context, key string, ttl time.Duration) (func(context.Context) error, bool, error) {
	if s.down.Load() {
		return nil, false, errDown
	}
	return s.MemoryStore.TryLock(ctx, key, ttl)
}

// callsFor makes a call a second and returns how many failed.
func callsFor(t *testing.T, server *wxphonetest.Server, d time.Duration, limit time.Duration, clients ...*wxphone.Client) (failed int) {
	t.Helper()
	for range d / time.Second {
		for _, client := range clients {
			ctx, cancel := t.Context(), context.CancelFunc(func() {})
			if limit > 0 {
				ctx, cancel = context.WithTimeout(ctx, limit)
			}
			if _, err := client.GetPhoneNumber(ctx, server.IssueCode(somebody)); err != nil {
				failed++
			}
			cancel()
		}
		time.Sleep(time.Second)
	}
	return failed
}

func TestTwoRevocationsInARowLoseNoCall(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t)
		both := processes(server, 2, wxphone.WithTokenStore(new(wxphonetest.MemoryStore)))
		require.Zero(t, callAll(t, server, both))
		server.RevokeToken()
		require.Zero(t, callAll(t, server, both[:1]))
		server.RevokeToken()
		// The other process's token was retired, and so was the store's.
		_, err := both[1].GetPhoneNumber(t.Context(), server.IssueCode(somebody))
		assert.NoError(t, err)
	})
}

// A refresh ahead of time has failed for half a minute when the token dies.
func TestRefusalDuringThePauseAfterAFailedRefresh(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t)
		client := server.NewClient()
		require.Zero(t, callsFor(t, server, time.Second, 0, client))
		time.Sleep(116*time.Minute + 30*time.Second)
		server.FailNext(stablePath, 45009, "", -1)
		require.Zero(t, callsFor(t, server, 70*time.Second, 0, client))
		server.FailNext(stablePath, 45009, "", 0) // no more
		server.RevokeToken()
		failed := callsFor(t, server, time.Minute, 0, client)
		t.Logf("%d of 60 calls failed", failed)
		assert.Zero(t, failed)
	})
}

// WeChat does not answer for a second when a process starts.
func TestCallersWithTimeWaitForTheEndOfAShortPause(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t)
		client := server.NewClient()
		server.FailNext(stablePath, 45011, "", 1)
		_, err := client.AccessToken(t.Context())
		require.Error(t, err)
		begin := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		_, err = client.GetPhoneNumber(ctx, server.IssueCode(somebody))
		t.Logf("after %v: %v", time.Since(begin), err)
		require.NoError(t, err)
		assert.Equal(t, time.Second, time.Since(begin))

		server.RevokeToken()
		server.FailNext(stablePath, 45011, "", 1)
		_, err = client.GetPhoneNumber(t.Context(), "code")
		require.Error(t, err)
		ctx, cancel = context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		begin = time.Now()
		_, err = client.GetPhoneNumber(ctx, "code")
		require.ErrorContains(t, err, "next try in")
		assert.Zero(t, time.Since(begin), "the pause outlasts its deadline")
	})
}

// unsent fails to connect with requests that force a refresh.
type unsent struct {
	http.RoundTripper
	broken atomic.Bool
	forces atomic.Int32
}

func (u *unsent) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Path == stablePath {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return nil, err
		}
		if strings.Contains(string(body), "force_refresh") && u.broken.Load() {
			u.forces.Add(1)
			return nil, &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("no route to host")}
		}
		req.Body = io.NopCloser(strings.NewReader(string(body)))
	}
	return u.RoundTripper.RoundTrip(req)
}

// WeChat hands a dead token out until it is forced, and for ten minutes no
// forced refresh can be sent.
func TestForcedRefreshesThatWereNeverSentDoNotCount(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t)
		network := &unsent{RoundTripper: server.HTTPClient().Transport}
		client := server.NewClient(wxphone.WithHTTPClient(&http.Client{Transport: network}))
		require.Zero(t, callsFor(t, server, time.Second, 0, client))
		network.broken.Store(true)
		server.RevokeTokenUntilForced()
		callsFor(t, server, 10*time.Minute, 0, client)
		network.broken.Store(false)
		begin := time.Now()
		for callsFor(t, server, time.Second, 0, client) > 0 && time.Since(begin) < 3*time.Hour {
			continue
		}
		t.Logf("%v of failures after the network was back, %d forced refreshes were never sent", time.Since(begin), network.forces.Load())
		assert.Less(t, time.Since(begin), time.Minute)
	})
}

// Three processes with classic tokens and no store that works retire each
// other's token for ever. That must not use up the day's 2,000 requests.
func TestFightForAClassicTokenLeavesTheDaysQuota(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string]func() []wxphone.Option{
		"no store": func() []wxphone.Option { return nil },
		"a store that saves nothing": func() []wxphone.Option {
			store := new(badStore)
			store.unsaving.Store(true)
			return []wxphone.Option{wxphone.WithTokenStore(store)}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server := wxphonetest.NewServer(t)
				clients := processes(server, 3, append(opts(), wxphone.WithClassicToken())...)
				failed := callsFor(t, server, time.Hour, 0, clients...)
				t.Logf("%d token requests in an hour, %d of 10800 calls failed", server.TokenFetches(), failed)
				assert.Less(t, server.TokenFetches(), 200)
			})
		})
	}
}

// A fight that has ended is forgotten.
func TestOneRevocationOfAClassicTokenCostsNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t)
		client := server.NewClient(wxphone.WithClassicToken())
		for range 20 {
			require.Zero(t, callsFor(t, server, 3*time.Second, 0, client))
			server.RevokeToken()
			time.Sleep(31 * time.Minute)
		}
	})
}

// The store is down when a classic token expires.
func TestCallsGoOnAsSoonAsTheStoreIsBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t)
		store := new(badStore)
		client := server.NewClient(wxphone.WithClassicToken(), wxphone.WithTokenStore(store))
		require.Zero(t, callsFor(t, server, time.Second, 0, client))
		time.Sleep(119 * time.Minute)
		store.down.Store(true)
		callsFor(t, server, 10*time.Minute, 0, client)
		store.down.Store(false)
		begin := time.Now()
		for callsFor(t, server, time.Second, 0, client) > 0 && time.Since(begin) < time.Hour {
			continue
		}
		t.Logf("calls failed for %v after the store was back", time.Since(begin)-time.Second)
		assert.LessOrEqual(t, time.Since(begin)-time.Second, 2*time.Second)
	})
}

func TestOlderTokenOfAStaleReplicaReplacesNoNewerOne(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t)
		store := new(badStore)
		client := server.NewClient(wxphone.WithTokenStore(store))
		newest, err := client.AccessToken(t.Context())
		require.NoError(t, err)
		time.Sleep(118*time.Minute + 30*time.Second) // a refresh is due
		store.replica.Store(&wxphone.Token{AccessToken: "an older one of the replica", ExpiresAt: newest.ExpiresAt.Add(-time.Second)})
		for range 5 {
			token, err := client.AccessToken(t.Context())
			require.NoError(t, err)
			assert.NotEqual(t, "an older one of the replica", token.AccessToken)
			time.Sleep(time.Second)
		}
	})
}

// A store that hangs keeps a goroutine for each call that it does not return
// from.
func TestStoreThatHangsKeepsFewGoroutines(t *testing.T) {
	// Not parallel: it counts the process's goroutines.
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t)
		store := &badStore{release: make(chan struct{})}
		store.hanging.Store(true)
		client := server.NewClient(wxphone.WithTokenStore(store))
		before := runtime.NumGoroutine()
		failed := 0
		for range 180 {
			failed += callsFor(t, server, time.Second, 0, client)
			server.RevokeToken()
			time.Sleep(9 * time.Second)
		}
		kept := runtime.NumGoroutine() - before
		close(store.release)
		synctest.Wait()
		t.Logf("%d goroutines kept after half an hour, %d of 180 calls failed", kept, failed)
		assert.LessOrEqual(t, kept, 32)
		assert.Zero(t, failed)
	})
}

func TestStableTokensDoNotWaitForADeadHolderOfTheLock(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t)
		store := new(wxphonetest.MemoryStore)
		_, ok, err := store.TryLock(t.Context(), "wxphone:stable:"+server.AppID(), 15*time.Second)
		require.NoError(t, err)
		require.True(t, ok)
		begin := time.Now()
		var group sync.WaitGroup
		for _, client := range processes(server, 4, wxphone.WithTokenStore(store)) {
			group.Go(func() {
				_, err := client.GetPhoneNumber(t.Context(), server.IssueCode(somebody))
				assert.NoError(t, err)
			})
		}
		group.Wait()
		t.Logf("the first numbers came after %v", time.Since(begin).Round(100*time.Millisecond))
		assert.Less(t, time.Since(begin), 2500*time.Millisecond)
	})
}
