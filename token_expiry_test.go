//go:build go1.25

package wxphone_test

import (
	"context"
	"errors"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/wxphonetest"
)

// unlimitedSource hands out tokens without expiry.
type unlimitedSource struct{ rotatingSource }

func (s *unlimitedSource) Token(ctx context.Context) (wxphone.Token, error) {
	token, err := s.rotatingSource.Token(ctx)
	token.ExpiresAt = time.Time{}
	return token, err
}

func TestRefusalOfATokenWithoutExpiryReachesTheSource(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source := new(unlimitedSource)
		tokens := wxphone.CacheTokens(source)
		refused := accessToken(t, tokens)
		invalidate(t, tokens, refused)
		assert.Equal(t, []string{refused}, source.wasTold())
		assertNeverServed(t, tokens, refused)
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

// assertFiveForcedRefreshesADay has calls refused for two days, but for a rest
// after the first.
func assertFiveForcedRefreshesADay(t *testing.T, rest time.Duration) {
	t.Helper()
	const step = 10 * time.Second // between two calls
	server := wxphonetest.NewServer(t)
	// Every token is refused, and WeChat hands the same one out for ever.
	server.FailNext(phoneAPI, 40001, "", -1)
	server.RespondNext(stableTokenAPI, 200, `{"access_token":"dead","expires_in":7200}`, -1)
	client, seen := watchForcing(server, nil)
	begin := time.Now()
	for next := begin; next.Sub(begin) < 50*time.Hour; next = next.Add(step) {
		time.Sleep(time.Until(next))
		_, err := client.GetPhoneNumber(t.Context(), "code")
		require.ErrorIs(t, err, wxphone.ErrAccessToken)
		if next.Equal(begin) {
			next = next.Add(rest)
		}
	}
	forced := seen.forced()
	require.GreaterOrEqual(t, len(forced), 10)
	// How late a refresh may be: a refusal is looked at every 30 seconds.
	const late = 30*time.Second + 2*step
	for i, want := range []time.Duration{max(rest, 30*time.Second), time.Minute, 2 * time.Minute, 4 * time.Minute} {
		gap := forced[i+1].Sub(forced[i])
		assert.GreaterOrEqual(t, gap, want, "after refresh %d", i+1)
		assert.LessOrEqual(t, gap, want+late, "after refresh %d", i+1)
	}
	for i := range len(forced) - 5 {
		assert.GreaterOrEqual(t, forced[i+5].Sub(forced[i]), 24*time.Hour, "six within a day, from refresh %d", i+1)
	}
	assert.LessOrEqual(t, forced[5].Sub(forced[0]), 24*time.Hour+late, "the oldest no longer counts")
}

// fadingSource hands out a token that lives an hour, and after it tokens
// without expiry.
type fadingSource struct{ fetches atomic.Int32 }

func (s *fadingSource) Token(context.Context) (wxphone.Token, error) {
	time.Sleep(time.Second)
	n := s.fetches.Add(1)
	token := wxphone.Token{AccessToken: "token-" + strconv.Itoa(int(n))}
	if n == 1 {
		token.ExpiresAt = time.Now().Add(time.Hour)
	}
	return token, nil
}

func TestTokenWithoutExpiryDoesNotReplaceOneThatIsStillValid(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source := new(fadingSource)
		tokens := wxphone.CacheTokens(source)
		old := accessToken(t, tokens)
		time.Sleep(58 * time.Minute)
		accessToken(t, tokens) // starts the early refresh
		time.Sleep(2 * time.Second)
		require.EqualValues(t, 2, source.fetches.Load())
		begin := time.Now()
		for range 100 { // with less than 2 minutes to go
			require.Equal(t, old, accessToken(t, tokens))
			time.Sleep(time.Second)
		}
		assert.Equal(t, 100*time.Second, time.Since(begin), "a caller waited")
		time.Sleep(time.Minute)
		assert.NotEqual(t, old, accessToken(t, tokens), "an expired token was served")
	})
}

func TestRefusalOfATokenThatOutlivedItsRefreshIsHeard(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tokens := wxphone.CacheTokens(new(fadingSource))
		old := accessToken(t, tokens)
		time.Sleep(58 * time.Minute)
		accessToken(t, tokens) // starts the early refresh
		time.Sleep(2 * time.Second)
		require.Equal(t, old, accessToken(t, tokens))
		invalidate(t, tokens, old)
		assert.NotEqual(t, old, accessToken(t, tokens))
	})
}

// failingAfterFirst hands out one token and then fails, noting when.
type failingAfterFirst struct {
	life  time.Duration
	times []time.Time
}

func (s *failingAfterFirst) Token(context.Context) (wxphone.Token, error) {
	s.times = append(s.times, time.Now())
	if len(s.times) > 1 {
		return wxphone.Token{}, errors.New("down")
	}
	return wxphone.Token{AccessToken: "token", ExpiresAt: time.Now().Add(s.life)}, nil
}

// The pause after a failed early refresh is no shorter than the rule, or a
// source that is down is flooded, and no longer, or the token runs out.
func TestFailedEarlyRefreshIsTriedAgainAfterASecondThenTwo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const step = 50 * time.Millisecond
		source := &failingAfterFirst{life: 2 * time.Hour}
		tokens := wxphone.CacheTokens(source)
		accessToken(t, tokens)
		time.Sleep(2*time.Hour - 2*time.Minute)
		begin := time.Now()
		for time.Since(begin) < 119*time.Second {
			require.Equal(t, "token", accessToken(t, tokens))
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

func TestSuccessForgetsEarlierFailures(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		down := errors.New("down")
		source := &countingSource{life: time.Hour, err: down}
		tokens := wxphone.CacheTokens(source)
		fail := func(pauses ...time.Duration) {
			for _, pause := range pauses {
				before := source.fetches.Load()
				_, err := tokens.Token(t.Context())
				require.ErrorIs(t, err, down)
				require.Equal(t, before+1, source.fetches.Load(), "the pause is too long")
				time.Sleep(pause*time.Second - time.Millisecond)
				_, err = tokens.Token(t.Context())
				require.ErrorIs(t, err, down)
				require.Equal(t, before+1, source.fetches.Load(), "the pause is too short")
				time.Sleep(time.Millisecond)
			}
		}
		fail(1, 2, 4, 8)
		source.set(nil, "")
		accessToken(t, tokens)
		time.Sleep(time.Hour)
		source.set(down, "")
		fail(1, 2, 4)
	})
}
