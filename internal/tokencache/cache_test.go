//go:build go1.25

package tokencache

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// countingSource hands out numbered tokens and can be made to fail, to wait or
// to repeat itself.
type countingSource struct {
	life  time.Duration
	delay time.Duration

	fetches atomic.Int32
	mu      sync.Mutex
	err     error
	insist  string // handed out instead of a new token
}

func (s *countingSource) Token(ctx context.Context) (Token, error) {
	n := s.fetches.Add(1)
	if s.delay > 0 {
		select {
		case <-time.After(s.delay):
		case <-ctx.Done():
			return Token{}, ctx.Err()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return Token{}, s.err
	}
	token := Token{AccessToken: "token-" + strconv.Itoa(int(n)), ExpiresAt: time.Now().Add(s.life)}
	if s.insist != "" {
		token.AccessToken = s.insist
	}
	return token, nil
}

func (s *countingSource) set(err error, insist string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err, s.insist = err, insist
}

// rotatingSource hands out the same token until it is told that this one was
// refused.
type rotatingSource struct {
	reading time.Duration // how long an answer takes after it was made up
	telling time.Duration // how long it takes to be told of a refusal
	undated bool          // its tokens have no expiry

	mu      sync.Mutex
	current int
	told    []string
}

func (s *rotatingSource) Token(context.Context) (Token, error) {
	s.mu.Lock()
	value, reading := "token-"+strconv.Itoa(s.current), s.reading
	s.mu.Unlock()
	time.Sleep(reading)
	if s.undated {
		return Token{AccessToken: value}, nil
	}
	return Token{AccessToken: value, ExpiresAt: time.Now().Add(time.Hour)}, nil
}

func (s *rotatingSource) Refused(ctx context.Context, accessToken string) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	time.Sleep(s.telling)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.told = append(s.told, accessToken)
	if accessToken == "token-"+strconv.Itoa(s.current) {
		s.current++
	}
	return nil
}

func (s *rotatingSource) wasTold() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.told
}

func (s *rotatingSource) cache() *Cache {
	return cacheOf(Source{Token: s.Token, Refused: s.Refused})
}

var quiet = slog.New(slog.DiscardHandler)

// cacheOf returns a cache without a store.
func cacheOf(source Source) *Cache { return New(Config{Source: source, Log: quiet}) }

// counting returns a cache before a source that tells nothing of refusals.
func counting(source *countingSource) *Cache { return cacheOf(Source{Token: source.Token}) }

func accessToken(t *testing.T, c *Cache) string {
	t.Helper()
	token, err := c.Token(t.Context())
	require.NoError(t, err)
	return token.AccessToken
}

func refuse(t *testing.T, c *Cache, accessToken string) {
	t.Helper()
	require.NoError(t, c.Refused(t.Context(), accessToken))
}

// assertNeverServed asks for 40 seconds, which is longer than a token that the
// source insists on is put up with.
func assertNeverServed(t *testing.T, c *Cache, refused string) {
	t.Helper()
	for second := range 40 {
		require.NotEqual(t, refused, accessToken(t, c), "served again %d s after it was refused", second)
		time.Sleep(time.Second)
	}
}

func TestFreshTokenIsFetchedOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source := &countingSource{life: 2 * time.Hour}
		cache := counting(source)
		for range 100 {
			assert.Equal(t, "token-1", accessToken(t, cache))
			time.Sleep(time.Minute) // 100 minutes in all: before any early refresh
		}
		assert.EqualValues(t, 1, source.fetches.Load())
	})
}

func TestTenThousandColdCallersShareOneFetch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source := &countingSource{life: 2 * time.Hour, delay: 200 * time.Millisecond}
		cache := counting(source)
		var group sync.WaitGroup
		var served atomic.Int32
		for range 10_000 {
			group.Go(func() {
				token, err := cache.Token(t.Context())
				if err == nil && token.AccessToken == "token-1" {
					served.Add(1)
				}
			})
		}
		group.Wait()
		assert.EqualValues(t, 10_000, served.Load())
		assert.EqualValues(t, 1, source.fetches.Load())
	})
}

func TestWaitersEndOnTheirOwnContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source := &countingSource{life: time.Hour, delay: 2 * time.Second}
		cache := counting(source)
		begin := time.Now()
		var group sync.WaitGroup
		group.Go(func() { // also the caller that starts the fetch
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			_, err := cache.Token(ctx)
			assert.ErrorIs(t, err, context.DeadlineExceeded)
			assert.Equal(t, 50*time.Millisecond, time.Since(begin))
		})
		synctest.Wait()
		group.Go(func() {
			token, err := cache.Token(t.Context())
			assert.NoError(t, err)
			assert.Equal(t, "token-1", token.AccessToken)
			assert.Equal(t, 2*time.Second, time.Since(begin))
		})
		group.Wait()
		assert.EqualValues(t, 1, source.fetches.Load())
	})
}

func TestFlightHasNoneOfItsCallersValues(t *testing.T) {
	t.Parallel()
	type key struct{}
	var inherited any
	cache := cacheOf(Source{Token: func(ctx context.Context) (Token, error) {
		inherited = ctx.Value(key{})
		return Token{AccessToken: "token", ExpiresAt: time.Now().Add(time.Hour)}, nil
	}})
	_, err := cache.Token(context.WithValue(t.Context(), key{}, "a request that the framework recycles"))
	require.NoError(t, err)
	assert.Nil(t, inherited)
}

func TestEarlyRefreshDelaysNobody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source := &countingSource{life: 2 * time.Hour}
		cache := counting(source)
		require.Equal(t, "token-1", accessToken(t, cache))
		source.delay = 5 * time.Second
		time.Sleep(2*time.Hour - 2*time.Minute) // the latest time for the refresh to be due

		begin := time.Now()
		for range 1000 {
			require.Equal(t, "token-1", accessToken(t, cache))
		}
		assert.Zero(t, time.Since(begin), "a caller waited for the refresh")
		time.Sleep(6 * time.Second)
		assert.Equal(t, "token-2", accessToken(t, cache))
		assert.EqualValues(t, 2, source.fetches.Load())
	})
}

func TestEarlyRefreshStartsBetweenFourAndTwoMinutesBeforeExpiry(t *testing.T) {
	t.Parallel()
	for range 50 { // the time is jittered
		synctest.Test(t, func(t *testing.T) {
			source := &countingSource{life: 2 * time.Hour}
			cache := counting(source)
			accessToken(t, cache)
			time.Sleep(2*time.Hour - 4*time.Minute - time.Second)
			accessToken(t, cache)
			synctest.Wait()
			require.EqualValues(t, 1, source.fetches.Load(), "refreshed too early")
			time.Sleep(2*time.Minute + time.Second)
			accessToken(t, cache)
			synctest.Wait()
			require.EqualValues(t, 2, source.fetches.Load(), "refreshed too late")
		})
	}
}

// A caller may find the token due for a refresh and get the lock only when
// another caller's refresh is over already.
func TestCallerWhoComesLateToARefreshStartsNoOther(t *testing.T) {
	t.Parallel()
	for name, life := range map[string]time.Duration{"refreshed early": time.Hour, "too short for that": shortLife - time.Second/2} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				source := &countingSource{life: life}
				cache := counting(source)
				first := accessToken(t, cache)

				next, token, flight := cache.ask() // without a look at the token that is fresh by now
				assert.Equal(t, take, next)
				assert.Equal(t, first, token.AccessToken)
				assert.Nil(t, flight)
				assert.Nil(t, cache.flight)
				assert.EqualValues(t, 1, source.fetches.Load())
			})
		})
	}
}

func TestFailedEarlyRefreshKeepsTheTokenUntilItExpires(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source := &countingSource{life: 10 * time.Minute}
		cache := counting(source)
		require.Equal(t, "token-1", accessToken(t, cache))
		source.set(errDown, "")
		for range 599 {
			time.Sleep(time.Second)
			require.Equal(t, "token-1", accessToken(t, cache))
		}
		// 1+2+4+8+16+32+60+60+… seconds apart over at most 4 minutes.
		assert.LessOrEqual(t, source.fetches.Load(), int32(1+10))
		time.Sleep(time.Second)
		_, err := cache.Token(t.Context())
		require.ErrorIs(t, err, errDown, "an expired token was served")
		source.set(nil, "")
		time.Sleep(time.Minute)
		assert.NotEqual(t, "token-1", accessToken(t, cache))
	})
}

// failingAfterFirst hands out one token and then fails, noting when.
type failingAfterFirst struct {
	life  time.Duration
	times []time.Time
}

func (s *failingAfterFirst) Token(context.Context) (Token, error) {
	s.times = append(s.times, time.Now())
	if len(s.times) > 1 {
		return Token{}, errDown
	}
	return Token{AccessToken: "token", ExpiresAt: time.Now().Add(s.life)}, nil
}

// The pause after a failed early refresh is no shorter than the rule, or a
// source that is down is flooded, and no longer, or the token runs out.
func TestFailedEarlyRefreshIsTriedAgainAfterASecondThenTwo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const step = 50 * time.Millisecond
		source := &failingAfterFirst{life: 2 * time.Hour}
		cache := cacheOf(Source{Token: source.Token})
		accessToken(t, cache)
		time.Sleep(2*time.Hour - 2*time.Minute)
		begin := time.Now()
		for time.Since(begin) < 119*time.Second {
			require.Equal(t, "token", accessToken(t, cache))
			synctest.Wait()
			time.Sleep(step)
		}
		tries := source.times[1:]
		require.Len(t, tries, 7)
		for i, pause := range []time.Duration{1, 2, 4, 8, 16, 32} {
			got := tries[i+1].Sub(tries[i])
			assert.GreaterOrEqual(t, got, pause*time.Second)
			assert.LessOrEqual(t, got, pause*time.Second+step)
		}
	})
}

// assertPauses has the source fail once for each pause, in seconds, and asserts
// that it is left alone for so long and no longer.
func assertPauses(t *testing.T, cache *Cache, source *countingSource, pauses ...time.Duration) {
	t.Helper()
	for _, pause := range pauses {
		before := source.fetches.Load()
		_, err := cache.Token(t.Context())
		require.ErrorIs(t, err, errDown)
		require.Equal(t, before+1, source.fetches.Load(), "the pause before one of %d s is too long", pause)
		time.Sleep(pause*time.Second - time.Millisecond)
		_, err = cache.Token(t.Context())
		require.ErrorIs(t, err, errDown)
		require.ErrorContains(t, err, "next try in 1ms")
		require.Equal(t, before+1, source.fetches.Load(), "asked again during the pause of %d s", pause)
		time.Sleep(time.Millisecond)
	}
}

func TestFailuresBackOffFromASecondToAMinute(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source := &countingSource{life: time.Hour, err: errDown}
		cache := counting(source)
		assertPauses(t, cache, source, 1, 2, 4, 8, 16, 32, 60, 60)
		source.set(nil, "")
		accessToken(t, cache)
	})
}

func TestSuccessForgetsEarlierFailures(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source := &countingSource{life: time.Hour, err: errDown}
		cache := counting(source)
		assertPauses(t, cache, source, 1, 2, 4, 8)
		source.set(nil, "")
		accessToken(t, cache)
		time.Sleep(time.Hour)
		source.set(errDown, "")
		assertPauses(t, cache, source, 1, 2, 4)
	})
}

func TestSourceThatIgnoresItsContextDoesNotBlockForEver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		hang := make(chan struct{})
		var calls atomic.Int32
		cache := cacheOf(Source{Token: func(context.Context) (Token, error) {
			if calls.Add(1) == 1 {
				<-hang
			}
			return Token{AccessToken: "late", ExpiresAt: time.Now().Add(time.Hour)}, nil
		}})
		_, err := cache.Token(t.Context())
		require.ErrorIs(t, err, context.DeadlineExceeded)
		time.Sleep(time.Second)
		assert.Equal(t, "late", accessToken(t, cache))
		close(hang)
	})
}

func TestSourceThatPanicsIsAnError(t *testing.T) {
	t.Parallel()
	tests := map[string]func(){
		"value":  func() { panic("secret inside") },
		"nil":    func() { _ = []int{}[len(t.Name())] },
		"goexit": runtime.Goexit,
	}
	for name, end := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cache := cacheOf(Source{Token: func(context.Context) (Token, error) {
				end()
				return Token{AccessToken: "x", ExpiresAt: time.Now().Add(time.Hour)}, nil
			}})
			_, err := cache.Token(t.Context())
			require.ErrorContains(t, err, "token source")
			assert.NotContains(t, err.Error(), "secret inside")
		})
	}
}

func TestTokenThatCannotBeOneIsAnError(t *testing.T) {
	t.Parallel()
	for want, life := range map[string]time.Duration{"expired 1m0s ago": -time.Minute, "expired 0s ago": 0, "empty access_token": time.Hour} {
		t.Run(want, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				source := &countingSource{}
				store := new(memoryStore)
				cache := New(Config{Store: store.store(), Log: quiet, Source: Source{
					Token: func(context.Context) (Token, error) {
						token := Token{AccessToken: "old", ExpiresAt: time.Now().Add(life)}
						if life > 0 {
							token.AccessToken = ""
						}
						source.fetches.Add(1)
						return token, nil
					},
					Force: func(context.Context) (Token, bool, error) {
						t.Error("forced, though none was refused")
						return Token{}, true, errDown
					},
				}})
				for range 2 {
					_, err := cache.Token(t.Context())
					require.ErrorContains(t, err, want)
				}
				assert.EqualValues(t, 1, source.fetches.Load(), "a source that errs is left alone too")
				assert.Zero(t, store.stored())
			})
		})
	}
}

func TestTokenWithoutExpiryServesAllThatWaitForItAndIsNotKept(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source := &rotatingSource{undated: true, reading: time.Second}
		cache := source.cache()
		begin := time.Now()
		var group sync.WaitGroup
		for range 50 {
			group.Go(func() {
				token, err := cache.Token(t.Context())
				assert.NoError(t, err)
				assert.Equal(t, "token-0", token.AccessToken)
			})
		}
		group.Wait()
		require.Equal(t, time.Second, time.Since(begin))
		accessToken(t, cache)
		assert.Equal(t, 2*time.Second, time.Since(begin), "the next caller waits for a fetch")
	})
}

// fadingSource hands out a token that lives an hour, and after it tokens
// without expiry.
type fadingSource struct{ fetches atomic.Int32 }

func (s *fadingSource) Token(context.Context) (Token, error) {
	time.Sleep(time.Second)
	n := s.fetches.Add(1)
	token := Token{AccessToken: "token-" + strconv.Itoa(int(n))}
	if n == 1 {
		token.ExpiresAt = time.Now().Add(time.Hour)
	}
	return token, nil
}

func TestTokenWithoutExpiryDoesNotReplaceOneThatIsStillValid(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source := new(fadingSource)
		cache := cacheOf(Source{Token: source.Token})
		old := accessToken(t, cache)
		time.Sleep(58 * time.Minute)
		accessToken(t, cache) // starts the early refresh
		time.Sleep(2 * time.Second)
		require.EqualValues(t, 2, source.fetches.Load())
		begin := time.Now()
		for range 100 { // with less than 2 minutes to go
			require.Equal(t, old, accessToken(t, cache))
			time.Sleep(time.Second)
		}
		assert.Equal(t, 100*time.Second, time.Since(begin), "a caller waited")
		time.Sleep(time.Minute)
		assert.NotEqual(t, old, accessToken(t, cache), "an expired token was served")
	})
}

func TestShortLivedTokensDoNotFloodTheSource(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source := &countingSource{life: 5 * time.Second}
		cache := counting(source)
		for range 60_000 {
			accessToken(t, cache)
			time.Sleep(time.Millisecond)
		}
		assert.LessOrEqual(t, source.fetches.Load(), int32(60/2.5)+1)
	})
}

func TestWaitersFindTheFlightInTheLog(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		source := &countingSource{life: time.Hour, err: errDown}
		cache := New(Config{Source: Source{Token: source.Token}, Log: slog.New(slog.NewTextHandler(&log, nil))})
		_, err := cache.Token(t.Context())
		require.ErrorIs(t, err, errDown)
		assert.Contains(t, log.String(), "access_token not fetched")
		source.set(nil, "")
		time.Sleep(time.Second)
		token := accessToken(t, cache)
		assert.Contains(t, log.String(), "access_token fetched")
		source.set(nil, token)
		refuse(t, cache, token)
		accessToken(t, cache)
		assert.Contains(t, log.String(), "WeChat refused the access_token")
		assert.Contains(t, log.String(), "insists on the access_token")
		assert.NotContains(t, log.String(), token)
	})
}

func TestOnlyTheRejectedTokenIsDropped(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source := &countingSource{life: time.Hour}
		cache := counting(source)
		first := accessToken(t, cache)
		refuse(t, cache, "another")
		refuse(t, cache, "")
		require.Equal(t, first, accessToken(t, cache))
		refuse(t, cache, first)
		second := accessToken(t, cache)
		require.NotEqual(t, first, second)
		refuse(t, cache, first) // a late report of the old one
		require.Equal(t, second, accessToken(t, cache))
		assert.EqualValues(t, 2, source.fetches.Load())
	})
}

func TestRefusalAloneFetchesNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		counting := &countingSource{life: time.Hour}
		var told []string
		cache := cacheOf(Source{Token: counting.Token, Refused: func(_ context.Context, accessToken string) error {
			told = append(told, accessToken)
			return errors.New("noted")
		}})
		refuse(t, cache, "unknown")
		require.Empty(t, told)
		first := accessToken(t, cache)
		require.EqualError(t, cache.Refused(t.Context(), first), "noted", "the source's answer")
		synctest.Wait()
		assert.Equal(t, []string{first}, told)
		assert.EqualValues(t, 1, counting.fetches.Load())
		assert.NotEqual(t, first, accessToken(t, cache))
	})
}

func TestTokenThatTheSourceInsistsOnIsServedFor30Seconds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source := &countingSource{life: time.Hour, insist: "stubborn"}
		cache := counting(source)
		for range 100 {
			refuse(t, cache, accessToken(t, cache))
		}
		require.EqualValues(t, 2, source.fetches.Load(), "the first, and one after the first rejection")
		time.Sleep(30 * time.Second)
		refuse(t, cache, accessToken(t, cache))
		accessToken(t, cache)
		assert.EqualValues(t, 3, source.fetches.Load())
	})
}

func TestRefusalOfATokenWithoutExpiryReachesTheSource(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source := &rotatingSource{undated: true}
		cache := source.cache()
		refused := accessToken(t, cache)
		refuse(t, cache, refused)
		assert.Equal(t, []string{refused}, source.wasTold())
		assertNeverServed(t, cache, refused)
	})
}

func TestRefusalOfATokenThatOutlivedItsRefreshIsHeard(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source := new(fadingSource)
		cache := cacheOf(Source{Token: source.Token})
		old := accessToken(t, cache)
		time.Sleep(58 * time.Minute)
		accessToken(t, cache) // starts the early refresh
		time.Sleep(2 * time.Second)
		require.Equal(t, old, accessToken(t, cache))
		refuse(t, cache, old)
		assert.NotEqual(t, old, accessToken(t, cache))
	})
}

func TestRevocationDuringAnEarlyRefreshIsNotForgotten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source := &countingSource{life: time.Hour}
		cache := counting(source)
		first := accessToken(t, cache)
		time.Sleep(58*time.Minute + time.Second)
		source.delay = time.Second
		source.set(nil, first) // the refresh under way brings the old token back
		require.Equal(t, first, accessToken(t, cache))
		synctest.Wait()
		refuse(t, cache, first)
		go func() {
			time.Sleep(500 * time.Millisecond)
			source.set(nil, "")
		}()
		assert.NotEqual(t, first, accessToken(t, cache), "callers wait for the flight")
	})
}

func TestRefusalDuringAFlightThatBringsAnotherTokenIsToldAfterIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source := &countingSource{life: time.Hour}
		var told []string
		cache := cacheOf(Source{Token: source.Token, Refused: func(_ context.Context, accessToken string) error {
			told = append(told, accessToken)
			return nil
		}})
		first := accessToken(t, cache)
		time.Sleep(58*time.Minute + time.Second)
		source.delay = time.Second
		require.Equal(t, first, accessToken(t, cache), "an early refresh begins")
		synctest.Wait()
		begin := time.Now()
		refuse(t, cache, first)
		assert.Equal(t, time.Second, time.Since(begin))
		assert.Equal(t, []string{first}, told)
		assert.Equal(t, "token-2", accessToken(t, cache))
		assert.EqualValues(t, 2, source.fetches.Load())
	})
}

func TestRefusedTokenIsNotFetchedWhileTheSourceIsBeingTold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source := &rotatingSource{telling: 20 * time.Millisecond}
		cache := source.cache()
		refused := accessToken(t, cache)
		var group sync.WaitGroup
		group.Go(func() { // the source does not know yet, and would say the same again
			time.Sleep(5 * time.Millisecond)
			assert.NotEqual(t, refused, accessToken(t, cache))
		})
		refuse(t, cache, refused)
		assertNeverServed(t, cache, refused)
		group.Wait()
		assert.Equal(t, []string{refused}, source.wasTold())
	})
}

func TestRefreshThatReadTheTokenBeforeItsRefusalDoesNotBringItBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source := &rotatingSource{}
		cache := source.cache()
		refused := accessToken(t, cache)
		time.Sleep(58*time.Minute + time.Second)
		source.reading = 100 * time.Millisecond
		require.Equal(t, refused, accessToken(t, cache), "an early refresh begins")
		synctest.Wait()
		refuse(t, cache, refused)
		assertNeverServed(t, cache, refused)
	})
}

func TestReporterWhoseContextEndsReturnsAndTheSourceIsToldAllTheSame(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source := &rotatingSource{telling: 2 * time.Second}
		cache := source.cache()
		for name, end := range map[string]time.Duration{"before": 0, "meanwhile": time.Second} {
			refused := accessToken(t, cache)
			ctx, cancel := context.WithTimeout(t.Context(), end)
			begin := time.Now()
			err := cache.Refused(ctx, refused)
			cancel()
			require.ErrorIs(t, err, context.DeadlineExceeded, name)
			require.Equal(t, end, time.Since(begin), name)
			assertNeverServed(t, cache, refused)
			require.Contains(t, source.wasTold(), refused, name)
		}
	})
}

// deaf returns a cache before a source that does not take a refusal as it
// should.
func deaf(refused func() error) *Cache {
	source := &countingSource{life: time.Hour}
	return cacheOf(Source{Token: source.Token, Refused: func(context.Context, string) error { return refused() }})
}

func TestSourceThatHangsWhenToldOfARefusalHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		cache := deaf(func() error { <-release; return nil })
		refused := accessToken(t, cache)
		begin := time.Now()
		go func() { _ = cache.Refused(t.Context(), refused) }()
		synctest.Wait()
		assert.NotEqual(t, refused, accessToken(t, cache))
		assert.LessOrEqual(t, time.Since(begin), 5*time.Second)
		assertNeverServed(t, cache, refused)
		close(release)
	})
}

func TestReporterDoesNotWaitForEverForASourceThatHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		cache := deaf(func() error { <-release; return nil })
		refused := accessToken(t, cache)
		returned := make(chan struct{})
		go func() { // whose context never ends
			defer close(returned)
			_ = cache.Refused(t.Context(), refused)
		}()
		select {
		case <-returned:
		case <-time.After(time.Minute):
			t.Error("the reporter still waits after a minute")
		}
		close(release)
		<-returned
	})
}

func TestReporterDoesNotWaitForALongFlight(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source := &rotatingSource{}
		cache := source.cache()
		refused := accessToken(t, cache)
		time.Sleep(58*time.Minute + time.Second)
		source.reading = 8 * time.Second
		require.Equal(t, refused, accessToken(t, cache), "an early refresh begins")
		synctest.Wait()
		begin := time.Now()
		refuse(t, cache, refused)
		assert.Equal(t, 6*time.Second, time.Since(begin))
		assert.Empty(t, source.wasTold())
		assert.NotEqual(t, refused, accessToken(t, cache))
		assert.Equal(t, []string{refused}, source.wasTold(), "the flight tells it afterwards")
	})
}

func TestSourceThatPanicsWhenToldOfARefusalIsAnError(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		cache := deaf(func() error { panic("secret inside") })
		refused := accessToken(t, cache)
		err := cache.Refused(t.Context(), refused)
		require.ErrorContains(t, err, "panicked")
		assert.NotContains(t, err.Error(), "secret inside")
		assertNeverServed(t, cache, refused)
	})
}

func TestFlightThatStartsOverHasTimeForIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source := &rotatingSource{}
		cache := source.cache()
		refused := accessToken(t, cache)
		time.Sleep(58*time.Minute + time.Second)
		source.reading = 16 * time.Second
		require.Equal(t, refused, accessToken(t, cache))
		synctest.Wait()
		refuse(t, cache, refused)
		_, err := cache.Token(t.Context())
		assert.NoError(t, err)
		time.Sleep(time.Minute)
	})
}

// A caller says by its deadline how long it can wait.
func TestOnlyACallerWithTimeSitsOutAPause(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		limit time.Duration // 0 for none
		want  time.Duration // how long the caller waits
		fails bool
	}{
		"no deadline":          {0, 0, true},
		"the pause is longer":  {time.Second, 0, true},
		"the pause is shorter": {time.Second + 1, time.Second, false},
		"much time":            {time.Hour, time.Second, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				source := &countingSource{life: time.Hour, err: errDown}
				cache := counting(source)
				_, err := cache.Token(t.Context())
				require.ErrorIs(t, err, errDown)
				source.set(nil, "")
				ctx, cancel := t.Context(), context.CancelFunc(func() {})
				if tt.limit > 0 {
					ctx, cancel = context.WithTimeout(ctx, tt.limit)
				}
				defer cancel()
				begin := time.Now()
				_, err = cache.Token(ctx)
				assert.Equal(t, tt.fails, err != nil, "%v", err)
				assert.Equal(t, tt.want, time.Since(begin))
			})
		})
	}
}

func TestCallerWhoGivesUpDuringAPauseReturnsAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		cache := counting(&countingSource{life: time.Hour, err: errDown})
		_, err := cache.Token(t.Context())
		require.ErrorIs(t, err, errDown)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		time.AfterFunc(300*time.Millisecond, cancel)
		begin := time.Now()
		_, err = cache.Token(ctx)
		require.ErrorIs(t, err, context.Canceled)
		require.ErrorIs(t, err, errDown, "why it waited")
		assert.Equal(t, 300*time.Millisecond, time.Since(begin))
	})
}
