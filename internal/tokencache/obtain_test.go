//go:build go1.25

package tokencache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var errDown = errors.New("connection refused")

// memoryStore keeps one token and one lock, and can be made to fail.
type memoryStore struct {
	mu     sync.Mutex
	token  Token
	locked time.Time               // until when
	deaf   bool                    // it does not delete
	fail   func(call string) error // told of every call, under mu; nil for a store that works
}

func (s *memoryStore) failure(call string) error {
	if s.fail == nil {
		return nil
	}
	return s.fail(call)
}

func (s *memoryStore) Load(context.Context) (Token, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.failure("Load"); err != nil {
		return Token{}, err
	}
	if s.token == (Token{}) {
		return Token{}, ErrNotFound
	}
	return s.token, nil
}

func (s *memoryStore) Save(_ context.Context, token Token) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.failure("Save"); err != nil {
		return err
	}
	s.token = token
	return nil
}

func (s *memoryStore) DeleteIf(_ context.Context, accessToken string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.failure("DeleteIf"); err != nil {
		return err
	}
	if s.token.AccessToken == accessToken && !s.deaf {
		s.token = Token{}
	}
	return nil
}

func (s *memoryStore) TryLock(_ context.Context, ttl time.Duration) (unlock func(context.Context) error, ok bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.failure("TryLock"); err != nil || time.Now().Before(s.locked) {
		return nil, false, err
	}
	s.locked = time.Now().Add(ttl)
	return func(ctx context.Context) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		if err := errors.Join(ctx.Err(), s.failure("unlock")); err != nil {
			return err
		}
		s.locked = time.Time{}
		return nil
	}, true, nil
}

func (s *memoryStore) stored() Token {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.token
}

func (s *memoryStore) set(token Token, fail func(string) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.token, s.fail = token, fail
}

// store is how a cache calls s.
func (s *memoryStore) store() Store {
	return Store{Load: s.Load, Save: s.Save, DeleteIf: s.DeleteIf, TryLock: s.TryLock}
}

// account is WeChat as a source: every process gets the same token, and one
// that is dead is replaced by a forced refresh only.
type account struct {
	asking   time.Duration // how long an answer takes
	forceErr error         // what a forced refresh fails with, or nil
	immortal bool          // a forced refresh brings the same token again

	mu     sync.Mutex
	n      int
	asked  int
	forced []time.Time
}

func (a *account) Token(context.Context) (Token, error) {
	time.Sleep(a.asking)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked++
	return a.token(), nil
}

func (a *account) Force(context.Context) (Token, bool, error) {
	time.Sleep(a.asking)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.forced = append(a.forced, time.Now())
	if a.forceErr != nil {
		return Token{}, true, a.forceErr
	}
	if !a.immortal {
		a.n++
	}
	return a.token(), true, nil
}

// token is called with mu.
func (a *account) token() Token {
	return Token{AccessToken: fmt.Sprint("token-", a.n), ExpiresAt: time.Now().Add(2 * time.Hour)}
}

func (a *account) source() Source { return Source{Token: a.Token, Force: a.Force} }

// callAll has n callers of every cache at once and asserts that all of them get
// want.
func callAll(t *testing.T, caches []*Cache, n int, want string) {
	t.Helper()
	var group sync.WaitGroup
	for _, cache := range caches {
		for range n {
			group.Go(func() {
				token, err := cache.Token(t.Context())
				assert.NoError(t, err)
				assert.Equal(t, want, token.AccessToken)
			})
		}
	}
	group.Wait()
}

// fleet returns caches that share nothing but the source and the store.
func fleet(n int, source Source, store Store) []*Cache {
	caches := make([]*Cache, n)
	for i := range caches {
		caches[i] = New(Config{Source: source, Store: store, Log: quiet})
	}
	return caches
}

func TestFleetFetchesOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source := &countingSource{life: 2 * time.Hour, delay: 300 * time.Millisecond}
		store := new(memoryStore)
		caches := fleet(8, Source{Token: source.Token}, store.store())
		callAll(t, caches, 50, "token-1")
		require.EqualValues(t, 1, source.fetches.Load(), "cold")

		for _, cache := range caches {
			refuse(t, cache, "token-1")
		}
		callAll(t, caches, 50, "token-2")
		require.EqualValues(t, 2, source.fetches.Load(), "refused")

		time.Sleep(2*time.Hour - 90*time.Second) // every early refresh is due
		callAll(t, caches, 50, "token-2")
		time.Sleep(10 * time.Second)
		callAll(t, caches, 50, "token-3")
		assert.EqualValues(t, 3, source.fetches.Load(), "expiring")
	})
}

func TestStoreWithoutALockSharesTokensToo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source := &countingSource{life: time.Hour}
		store := new(memoryStore).store()
		store.TryLock = nil
		caches := fleet(2, Source{Token: source.Token}, store)
		assert.Equal(t, accessToken(t, caches[0]), accessToken(t, caches[1]))
		assert.EqualValues(t, 1, source.fetches.Load())
	})
}

// Between a look into the store and its lock, another process may fetch.
func TestTokenThatAppearsBeforeTheLockIsUsed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source := &countingSource{life: time.Hour}
		store := new(memoryStore)
		store.fail = func(call string) error {
			if call == "TryLock" {
				store.token = Token{"another's", time.Now().Add(time.Hour)}
			}
			return nil
		}
		assert.Equal(t, "another's", accessToken(t, fleet(1, Source{Token: source.Token}, store.store())[0]))
		assert.Zero(t, source.fetches.Load())
		assert.Zero(t, store.locked, "the lock is released")
	})
}

// brokenStore fails in the same way whatever is asked of it.
func brokenStore(fail func(context.Context) error) Store {
	return Store{
		Load:     func(ctx context.Context) (Token, error) { return Token{}, fail(ctx) },
		Save:     func(ctx context.Context, _ Token) error { return fail(ctx) },
		DeleteIf: func(ctx context.Context, _ string) error { return fail(ctx) },
		TryLock: func(ctx context.Context, _ time.Duration) (func(context.Context) error, bool, error) {
			return nil, false, fail(ctx)
		},
	}
}

func TestStoreThatIsDownIsNoOutage(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]func(context.Context, <-chan struct{}) error{
		"down":                 func(context.Context, <-chan struct{}) error { return errDown },
		"hanging":              func(ctx context.Context, _ <-chan struct{}) error { <-ctx.Done(); return ctx.Err() },
		"hanging, ctx ignored": func(_ context.Context, end <-chan struct{}) error { <-end; return nil },
		"panicking":            func(context.Context, <-chan struct{}) error { panic("secret inside") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				end := make(chan struct{})
				defer close(end)
				source := &countingSource{life: time.Hour}
				var log bytes.Buffer
				cache := New(Config{
					Source: Source{Token: source.Token},
					Store:  brokenStore(func(ctx context.Context) error { return fail(ctx, end) }),
					Log:    slog.New(slog.NewTextHandler(&log, nil)),
				})
				begin := time.Now()
				require.Equal(t, "token-1", accessToken(t, cache))
				assert.LessOrEqual(t, time.Since(begin), time.Second, "a store that hangs is down")
				refuse(t, cache, "token-1")
				require.Equal(t, "token-2", accessToken(t, cache))
				assert.Contains(t, log.String(), "token store is down")
				assert.NotContains(t, log.String(), "secret inside")
				assert.NotContains(t, log.String(), "token-1")
			})
		})
	}
}

func TestStoreThatFailsInOneThingIsNoOutage(t *testing.T) {
	t.Parallel()
	for call, logged := range map[string]string{
		"Load":     "token store is down",
		"TryLock":  "token store is down",
		"Save":     "access_token not saved in the token store",
		"DeleteIf": "refused access_token not deleted from the token store",
		"unlock":   "lock of the token store not released",
	} {
		t.Run(call, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				source := &countingSource{life: time.Hour}
				store := &memoryStore{fail: func(called string) error {
					if called == call {
						return errDown
					}
					return nil
				}}
				var log bytes.Buffer
				cache := New(Config{Source: Source{Token: source.Token}, Store: store.store(), Log: slog.New(slog.NewTextHandler(&log, nil))})
				require.Equal(t, "token-1", accessToken(t, cache))
				refuse(t, cache, "token-1")
				require.Equal(t, "token-2", accessToken(t, cache))
				assert.Contains(t, log.String(), logged)
				assert.Contains(t, log.String(), errDown.Error())
			})
		})
	}
}

func TestStoreThatIsDownStopsBlindFetchesOfATokenThatRetiresAnother(t *testing.T) {
	t.Parallel()
	for name, failing := range map[string]map[string]int{ // from which call of its kind on
		"at once":         {"Load": 1, "TryLock": 1},
		"before the lock": {"TryLock": 1},
		"under the lock":  {"Load": 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				source := &countingSource{life: time.Hour}
				called := map[string]int{}
				store := &memoryStore{fail: func(call string) error {
					called[call]++
					if from := failing[call]; from > 0 && called[call] >= from {
						return errDown
					}
					return nil
				}}
				cache := New(Config{Source: Source{Token: source.Token, Exclusive: true}, Store: store.store(), Log: quiet})
				_, err := cache.Token(t.Context())
				require.ErrorIs(t, err, errDown)
				require.ErrorContains(t, err, "invalidate")
				assert.Zero(t, source.fetches.Load())

				store.set(Token{}, nil)
				time.Sleep(time.Minute)
				assert.Equal(t, "token-1", accessToken(t, cache))
			})
		})
	}
}

func TestTokenOfAnotherProcessEndsAPause(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source := &countingSource{life: time.Hour, err: errDown}
		store := new(memoryStore)
		loads := 0
		store.fail = func(call string) error {
			if call == "Load" {
				loads++
			}
			return nil
		}
		var log bytes.Buffer
		cache := New(Config{Source: Source{Token: source.Token}, Store: store.store(), Log: slog.New(slog.NewTextHandler(&log, nil))})
		assertPauses(t, cache, source, 1, 2, 4, 8) // looks into the store count as no failure
		_, err := cache.Token(t.Context())
		require.ErrorIs(t, err, errDown)

		loads = 0
		for range 2_000 { // calls in two seconds of the pause
			_, err := cache.Token(t.Context())
			require.ErrorIs(t, err, errDown)
			require.ErrorContains(t, err, "next try in")
			time.Sleep(time.Millisecond)
		}
		assert.Equal(t, 2, loads, "one look a second")
		assert.Equal(t, 5, strings.Count(log.String(), "not fetched"), "nor are they logged as one")
		store.set(Token{"another's", time.Now().Add(time.Hour)}, nil)
		time.Sleep(time.Second)
		assert.Equal(t, "another's", accessToken(t, cache))
		assert.EqualValues(t, 5, source.fetches.Load())
	})
}

func TestBadValuesInTheStoreAreReplaced(t *testing.T) {
	t.Parallel()
	for name, value := range map[string]Token{
		"no token":          {ExpiresAt: time.Date(2000, 1, 1, 1, 0, 0, 0, time.UTC)}, // an hour after virtual time begins
		"no expiry":         {AccessToken: "undated"},
		"expired":           {AccessToken: "old", ExpiresAt: time.Unix(1, 0)},
		"absurdly long":     {AccessToken: "eternal", ExpiresAt: time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)},
		"beyond all clocks": {AccessToken: "eternal", ExpiresAt: time.Unix(1<<60, 0)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var log bytes.Buffer
				source := &countingSource{life: time.Hour}
				store := &memoryStore{token: value}
				cache := New(Config{Source: Source{Token: source.Token}, Store: store.store(), Log: slog.New(slog.NewTextHandler(&log, nil))})
				assert.Equal(t, "token-1", accessToken(t, cache))
				assert.Equal(t, "token-1", store.stored().AccessToken, "not replaced")
				assert.Equal(t, name != "expired", strings.Contains(log.String(), "passed over a token in the token store"))
			})
		})
	}
}

func TestUnreadableValueInTheStoreIsAMissAndLogged(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		source := &countingSource{life: time.Hour}
		store := &memoryStore{fail: func(call string) error {
			return map[string]error{"Load": fmt.Errorf("corrupt value: %w", ErrNotFound)}[call]
		}}
		// An exclusive source would not be asked if the store were down.
		cache := New(Config{
			Source: Source{Token: source.Token, Exclusive: true}, Store: store.store(), Log: slog.New(slog.NewTextHandler(&log, nil)),
		})
		assert.Equal(t, "token-1", accessToken(t, cache))
		assert.Contains(t, log.String(), "corrupt value")
		assert.Equal(t, "token-1", store.stored().AccessToken)

		log.Reset()
		store.set(Token{}, nil)
		time.Sleep(time.Hour)
		assert.Equal(t, "token-2", accessToken(t, cache))
		assert.NotContains(t, log.String(), "unreadable", "a bare miss says nothing")
	})
}

func TestTokenWithoutExpiryIsNotStored(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source := &rotatingSource{undated: true}
		store := new(memoryStore)
		cache := fleet(1, Source{Token: source.Token}, store.store())[0]
		assert.Equal(t, "token-0", accessToken(t, cache))
		assert.Zero(t, store.stored())
	})
}

func TestRefusedTokenIsNotTakenBackFromTheStore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source := &countingSource{life: time.Hour}
		store := &memoryStore{deaf: true}
		cache := fleet(1, Source{Token: source.Token}, store.store())[0]
		first := accessToken(t, cache)
		refuse(t, cache, first)
		require.Equal(t, first, store.stored().AccessToken)
		second := accessToken(t, cache)
		assert.NotEqual(t, first, second)
		assert.Equal(t, second, store.stored().AccessToken)
	})
}

// Whose fetch does no harm waits two seconds for a dead holder. Classic tokens
// wait for the lease, because a fetch would retire what the holder may have got.
func TestOthersGoOnWhenTheHolderOfTheLockDies(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		exclusive bool
		wait      time.Duration
		fetches   int32
	}{
		"harmless":  {false, lockPatience, 4},
		"exclusive": {true, lockLease, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				source := &countingSource{life: 2 * time.Hour, insist: "token"}
				store := new(memoryStore)
				_, ok, err := store.TryLock(t.Context(), lockLease)
				require.NoError(t, err)
				require.True(t, ok)
				begin := time.Now()
				callAll(t, fleet(4, Source{Token: source.Token, Exclusive: tt.exclusive}, store.store()), 20, "token")
				assert.GreaterOrEqual(t, time.Since(begin), tt.wait)
				assert.Less(t, time.Since(begin), tt.wait+time.Second)
				assert.LessOrEqual(t, source.fetches.Load(), tt.fetches)
				assert.Equal(t, "token", store.stored().AccessToken, "saved for the others")
			})
		})
	}
}

func TestLockThatNeverComesFreeEndsTheFlight(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source := &countingSource{life: time.Hour}
		store := &memoryStore{locked: time.Now().Add(time.Hour)}
		begin := time.Now()
		_, err := fleet(1, Source{Token: source.Token, Exclusive: true}, store.store())[0].Token(t.Context())
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorContains(t, err, "another process holds the lock")
		assert.Equal(t, flightLimit, time.Since(begin))
		assert.Zero(t, source.fetches.Load())
	})
}

func TestFetchThatOutlastsTheLeaseIsGivenUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source := &countingSource{life: time.Hour, delay: 14 * time.Second}
		begin := time.Now()
		_, err := fleet(1, Source{Token: source.Token}, new(memoryStore).store())[0].Token(t.Context())
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Less(t, time.Since(begin), lockLease, "the lock had ended, another process could fetch")
	})
}

func TestLockIsReleasedThoughTheFlightIsOver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const begin = 25 * time.Second // which leaves the fetch less than it may take
		source := &countingSource{life: time.Hour, delay: time.Hour}
		store := &memoryStore{locked: time.Now().Add(begin)}
		_, err := fleet(1, Source{Token: source.Token, Exclusive: true}, store.store())[0].Token(t.Context())
		require.ErrorIs(t, err, context.DeadlineExceeded)
		synctest.Wait()
		assert.EqualValues(t, 1, source.fetches.Load())
		assert.Zero(t, store.locked)
	})
}

func TestNothingIsForcedWhereTheSourceHasAnotherToken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source := &countingSource{life: time.Hour}
		cache := cacheOf(Source{Token: source.Token, Force: func(context.Context) (Token, bool, error) {
			t.Error("forced")
			return Token{}, true, errDown
		}})
		refuse(t, cache, accessToken(t, cache))
		assert.Equal(t, "token-2", accessToken(t, cache))
	})
}

func TestForcedTokenIsSharedAndTheRefusedOneIsNot(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		wechat := &account{asking: 20 * time.Millisecond}
		store := new(memoryStore)
		caches := fleet(8, wechat.source(), store.store())
		callAll(t, caches, 10, "token-0")
		var group sync.WaitGroup
		for _, cache := range caches {
			for range 50 {
				group.Go(func() {
					assert.NoError(t, cache.Refused(t.Context(), "token-0"))
					token, err := cache.Token(t.Context())
					assert.NoError(t, err)
					assert.Equal(t, "token-1", token.AccessToken)
				})
			}
		}
		group.Wait()
		assert.Equal(t, 2, wechat.asked, "first, and handed back")
		assert.Len(t, wechat.forced, 1, "once for the whole fleet")
		assert.Equal(t, "token-1", store.stored().AccessToken)
	})
}

func TestRefusedTokenThatTheSourceInsistsOnIsNotStored(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		wechat := &account{forceErr: errDown}
		store := new(memoryStore)
		cache := fleet(1, wechat.source(), store.store())[0]
		refuse(t, cache, accessToken(t, cache))
		assert.Equal(t, "token-0", accessToken(t, cache))
		assert.Zero(t, store.stored())
	})
}

// The account's quota of forced refreshes may have gone to another process.
func TestFailedForcedRefreshDoesNotFailTheFetch(t *testing.T) {
	t.Parallel()
	down := func() (string, error) { return "", errDown }
	for name, tt := range map[string]struct {
		after func() (string, error) // what the source says a moment after the refresh failed
		want  string
	}{
		"another process forced it":  {func() (string, error) { return "new", nil }, "new"},
		"nobody did":                 {func() (string, error) { return "old", nil }, "old"},
		"the source is down as well": {down, "old"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var forced atomic.Int32
				cache := cacheOf(Source{
					Token: func(context.Context) (Token, error) {
						token, err := "old", error(nil)
						if forced.Load() > 0 {
							token, err = tt.after()
						}
						return Token{token, time.Now().Add(time.Hour)}, err
					},
					Force: func(context.Context) (Token, bool, error) {
						forced.Add(1)
						return Token{}, true, errDown
					},
				})
				refuse(t, cache, accessToken(t, cache))
				begin := time.Now()
				assert.Equal(t, tt.want, accessToken(t, cache))
				assert.Equal(t, forcePause, time.Since(begin))
				assert.EqualValues(t, 1, forced.Load())
			})
		})
	}
}

func TestForcedRefreshThatUsesUpTheFlightLeavesTheRefusedToken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source := &countingSource{life: time.Hour, insist: "old"}
		cache := cacheOf(Source{Token: source.Token, Force: func(context.Context) (Token, bool, error) {
			time.Sleep(flightLimit - forcePause/2)
			return Token{}, true, errDown
		}})
		refuse(t, cache, accessToken(t, cache))
		begin := time.Now()
		assert.Equal(t, "old", accessToken(t, cache))
		assert.Equal(t, flightLimit, time.Since(begin))
		assert.EqualValues(t, 2, source.fetches.Load())
	})
}

func TestForcedRefreshesAreFiveInAny24Hours(t *testing.T) {
	t.Parallel()
	for name, rest := range map[string]time.Duration{"in a row": 0, "half a day after the first": 12 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				assertFiveForcedRefreshesADay(t, rest)
			})
		})
	}
}

// assertFiveForcedRefreshesADay has tokens refused for two days, but for a rest
// after the first.
func assertFiveForcedRefreshesADay(t *testing.T, rest time.Duration) {
	t.Helper()
	const step, length = 10 * time.Second, 50 * time.Hour
	// Every token is refused, and WeChat hands the same one out for ever.
	wechat := &account{immortal: true}
	cache := cacheOf(wechat.source())
	begin := time.Now()
	for next := begin; next.Sub(begin) < length; next = next.Add(step) {
		time.Sleep(time.Until(next))
		refuse(t, cache, accessToken(t, cache))
		accessToken(t, cache)
		if next.Equal(begin) {
			next = next.Add(rest)
		}
	}
	forced := wechat.forced
	require.GreaterOrEqual(t, len(forced), 10)
	// How late a refresh may be: a refusal is looked at every 30 seconds.
	const late = bearWith + 2*step
	for i, want := range []time.Duration{max(rest, 30*time.Second), time.Minute, 2 * time.Minute, 4 * time.Minute} {
		gap := forced[i+1].Sub(forced[i])
		assert.GreaterOrEqual(t, gap, want, "after refresh %d", i+1)
		assert.LessOrEqual(t, gap, want+late, "after refresh %d", i+1)
	}
	for i := range len(forced) - 5 {
		assert.GreaterOrEqual(t, forced[i+5].Sub(forced[i]), 24*time.Hour, "six within a day, from refresh %d", i+1)
	}
	assert.LessOrEqual(t, forced[5].Sub(forced[0]), 24*time.Hour+late, "the oldest no longer counts")
	// And no flood: one plain fetch per 30 seconds in which it is refused.
	assert.LessOrEqual(t, wechat.asked, int(length/bearWith)+10)
}

func TestSaveHasItsSecondThoughTheFetchWasSlow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source := &countingSource{life: time.Hour, delay: 11500 * time.Millisecond}
		memory := new(memoryStore)
		store := memory.store()
		store.Save = func(ctx context.Context, token Token) error {
			select {
			case <-time.After(900 * time.Millisecond):
				return memory.Save(ctx, token)
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		caches := fleet(2, Source{Token: source.Token, Exclusive: true}, store)
		first := accessToken(t, caches[0])
		assert.Equal(t, first, accessToken(t, caches[1]), "the other process retired the token")
	})
}

// The errors of a user's store may quote the token that it was given.
func TestErrorsOfTheStoreAndTheSourceTellNoToken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const secret = "61_a-token-that-nobody-may-read"
		quoting := func(what string) error { return fmt.Errorf("INSERT %q of %s: disk full", what, secret) }
		var log strings.Builder
		cache := New(Config{
			Log: slog.New(slog.NewTextHandler(&log, nil)),
			Source: Source{
				Token: func(context.Context) (Token, error) {
					return Token{AccessToken: secret, ExpiresAt: time.Now().Add(time.Hour)}, nil
				},
				Refused: func(context.Context, string) error { return quoting("refused") },
			},
			Store: Store{
				Load:     func(context.Context) (Token, error) { return Token{}, ErrNotFound },
				Save:     func(context.Context, Token) error { return quoting("save") },
				DeleteIf: func(context.Context, string) error { return quoting("delete") },
			},
		})
		token, err := cache.Token(t.Context())
		require.NoError(t, err)
		err = cache.Refused(t.Context(), token.AccessToken)
		require.ErrorContains(t, err, "disk full")
		assert.NotContains(t, err.Error(), secret)
		assert.Contains(t, log.String(), "disk full")
		assert.NotContains(t, log.String(), secret)
	})
}
