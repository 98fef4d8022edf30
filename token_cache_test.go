//go:build go1.25

package wxphone_test

import (
	"context"
	"errors"
	"runtime"
	"strconv"
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

func (s *countingSource) Token(ctx context.Context) (wxphone.Token, error) {
	n := s.fetches.Add(1)
	if s.delay > 0 {
		select {
		case <-time.After(s.delay):
		case <-ctx.Done():
			return wxphone.Token{}, ctx.Err()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return wxphone.Token{}, s.err
	}
	token := wxphone.Token{AccessToken: "token-" + strconv.Itoa(int(n)), ExpiresAt: time.Now().Add(s.life)}
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

func TestFreshTokenIsFetchedOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source := &countingSource{life: 2 * time.Hour}
		tokens := wxphone.CacheTokens(source)
		for range 100 {
			assert.Equal(t, "token-1", accessToken(t, tokens))
			time.Sleep(time.Minute) // 100 minutes in all: before any early refresh
		}
		assert.EqualValues(t, 1, source.fetches.Load())
	})
}

func TestTenThousandColdCallersShareOneFetch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t)
		server.SetLatency(stableTokenAPI, 200*time.Millisecond)
		client := server.NewClient()
		var group sync.WaitGroup
		var served atomic.Int32
		for range 10_000 {
			group.Go(func() {
				token, err := client.AccessToken(t.Context())
				if err == nil && token.AccessToken == server.Token() {
					served.Add(1)
				}
			})
		}
		group.Wait()
		assert.EqualValues(t, 10_000, served.Load())
		assert.Equal(t, 1, server.TokenFetches())
	})
}

func TestEarlyRefreshDelaysNobody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source := &countingSource{life: 2 * time.Hour}
		tokens := wxphone.CacheTokens(source)
		require.Equal(t, "token-1", accessToken(t, tokens))
		source.delay = 5 * time.Second
		time.Sleep(2*time.Hour - 2*time.Minute) // the latest time for the refresh to be due

		begin := time.Now()
		for range 1000 {
			require.Equal(t, "token-1", accessToken(t, tokens))
		}
		assert.Zero(t, time.Since(begin), "a caller waited for the refresh")
		time.Sleep(6 * time.Second)
		assert.Equal(t, "token-2", accessToken(t, tokens))
		assert.EqualValues(t, 2, source.fetches.Load())
	})
}

func TestEarlyRefreshStartsBetweenFourAndTwoMinutesBeforeExpiry(t *testing.T) {
	t.Parallel()
	for range 50 { // the time is jittered
		synctest.Test(t, func(t *testing.T) {
			source := &countingSource{life: 2 * time.Hour}
			tokens := wxphone.CacheTokens(source)
			accessToken(t, tokens)
			time.Sleep(2*time.Hour - 4*time.Minute - time.Second)
			accessToken(t, tokens)
			synctest.Wait()
			require.EqualValues(t, 1, source.fetches.Load(), "refreshed too early")
			time.Sleep(2*time.Minute + time.Second)
			accessToken(t, tokens)
			synctest.Wait()
			require.EqualValues(t, 2, source.fetches.Load(), "refreshed too late")
		})
	}
}

func TestFailedEarlyRefreshKeepsTheTokenUntilItExpires(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source := &countingSource{life: 10 * time.Minute}
		tokens := wxphone.CacheTokens(source)
		require.Equal(t, "token-1", accessToken(t, tokens))
		down := errors.New("down")
		source.set(down, "")
		for range 599 {
			time.Sleep(time.Second)
			require.Equal(t, "token-1", accessToken(t, tokens))
		}
		// 1+2+4+8+16+32+60+60+… seconds apart over at most 4 minutes.
		assert.LessOrEqual(t, source.fetches.Load(), int32(1+10))
		time.Sleep(time.Second)
		_, err := tokens.Token(t.Context())
		require.ErrorIs(t, err, down, "an expired token was served")
		source.set(nil, "")
		time.Sleep(time.Minute)
		assert.NotEqual(t, "token-1", accessToken(t, tokens))
	})
}

func TestFailuresBackOffFromASecondToAMinute(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		down := errors.New("down")
		source := &countingSource{life: time.Hour, err: down}
		tokens := wxphone.CacheTokens(source)
		for attempt, pause := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60} {
			_, err := tokens.Token(t.Context())
			require.ErrorIs(t, err, down)
			require.EqualValues(t, attempt+1, source.fetches.Load())
			time.Sleep(pause*time.Second - time.Millisecond)
			_, err = tokens.Token(t.Context())
			require.ErrorIs(t, err, down)
			require.EqualValues(t, attempt+1, source.fetches.Load(), "asked again during the pause")
			time.Sleep(time.Millisecond)
		}
		source.set(nil, "")
		accessToken(t, tokens)
	})
}

func TestSourceThatIgnoresItsContextDoesNotBlockForEver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		hang := make(chan struct{})
		var calls atomic.Int32
		tokens := wxphone.CacheTokens(wxphone.TokenSourceFunc(func(context.Context) (wxphone.Token, error) {
			if calls.Add(1) == 1 {
				<-hang
			}
			return wxphone.Token{AccessToken: "late", ExpiresAt: time.Now().Add(time.Hour)}, nil
		}))
		_, err := tokens.Token(t.Context())
		require.ErrorIs(t, err, context.DeadlineExceeded)
		time.Sleep(time.Second)
		assert.Equal(t, "late", accessToken(t, tokens))
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
			tokens := wxphone.CacheTokens(wxphone.TokenSourceFunc(func(context.Context) (wxphone.Token, error) {
				end()
				return wxphone.Token{AccessToken: "x", ExpiresAt: time.Now().Add(time.Hour)}, nil
			}))
			_, err := tokens.Token(t.Context())
			require.ErrorContains(t, err, "token source")
			assert.NotContains(t, err.Error(), "secret inside")
		})
	}
}

func TestTokenWithoutExpiryServesAllThatWaitForIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t)
		server.SetLatency(stableTokenAPI, time.Second)
		server.RespondNext(stableTokenAPI, 200, `{"access_token":"once","expires_in":0}`, -1)
		client := server.NewClient()
		var group sync.WaitGroup
		for range 50 {
			group.Go(func() {
				token, err := client.AccessToken(t.Context())
				assert.NoError(t, err)
				assert.Equal(t, "once", token.AccessToken)
			})
		}
		group.Wait()
		assert.Equal(t, 1, server.TokenFetches())
	})
}

func TestShortLivedTokensDoNotFloodTheSource(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source := &countingSource{life: 5 * time.Second}
		tokens := wxphone.CacheTokens(source)
		for range 60_000 {
			accessToken(t, tokens)
			time.Sleep(time.Millisecond)
		}
		assert.LessOrEqual(t, source.fetches.Load(), int32(60/2.5)+1)
	})
}

func TestExpiredTokenFromTheSourceIsAnError(t *testing.T) {
	t.Parallel()
	tokens := wxphone.CacheTokens(wxphone.TokenSourceFunc(func(context.Context) (wxphone.Token, error) {
		return wxphone.Token{AccessToken: "old", ExpiresAt: time.Now().Add(-time.Minute)}, nil
	}))
	_, err := tokens.Token(t.Context())
	require.ErrorContains(t, err, "expired 1m0s ago")
}
