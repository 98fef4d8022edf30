//go:build go1.25

package wxphone_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
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

// forcing stands between a Client and the fake WeChat and sees the forced
// refreshes, which it may answer itself.
type forcing struct {
	next   http.RoundTripper
	answer func() (*http.Response, error) // instead of WeChat, or nil

	mu    sync.Mutex
	times []time.Time
}

func (f *forcing) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Path != stableTokenAPI {
		return f.next.RoundTrip(req)
	}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	req.Body = io.NopCloser(bytes.NewReader(body))
	if !bytes.Contains(body, []byte(`"force_refresh":true`)) {
		return f.next.RoundTrip(req)
	}
	f.mu.Lock()
	f.times = append(f.times, time.Now())
	f.mu.Unlock()
	if f.answer != nil {
		return f.answer()
	}
	return f.next.RoundTrip(req)
}

func (f *forcing) forced() []time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.times
}

// watchForcing returns a client whose forced refreshes are seen.
func watchForcing(server *wxphonetest.Server, answer func() (*http.Response, error)) (*wxphone.Client, *forcing) {
	seen := &forcing{next: server.HTTPClient().Transport, answer: answer}
	return server.NewClient(wxphone.WithHTTPClient(&http.Client{Transport: seen})), seen
}

func TestRefusedTokenWithoutExpiryLeadsToAForcedRefresh(t *testing.T) {
	t.Parallel()
	for _, expiresIn := range []string{`0`, `null`, `-1`} {
		t.Run(expiresIn, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server := wxphonetest.NewServer(t)
				dead := server.Token()
				server.RevokeTokenUntilForced()
				// The first fetch, and the one after the refusal.
				server.RespondNext(stableTokenAPI, 200, `{"access_token":"`+dead+`","expires_in":`+expiresIn+`}`, 2)
				client, seen := watchForcing(server, nil)
				_, err := client.GetPhoneNumber(t.Context(), server.IssueCode(aPhone))
				require.NoError(t, err)
				assert.Len(t, seen.forced(), 1)
			})
		})
	}
}

// A forced refresh counts against WeChat's quota whether its answer arrives or
// not.
func TestForcedRefreshIsOneRequestEvenIfItFails(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]func() (*http.Response, error){
		"busy": func() (*http.Response, error) {
			return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(bytes.NewReader([]byte(`{"errcode":-1}`)))}, nil
		},
		"failed gateway": func() (*http.Response, error) {
			return &http.Response{StatusCode: http.StatusBadGateway, Body: http.NoBody}, nil
		},
		"answer lost": func() (*http.Response, error) { return nil, io.ErrUnexpectedEOF },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server := wxphonetest.NewServer(t)
				client, seen := watchForcing(server, answer)
				_, err := client.AccessToken(t.Context())
				require.NoError(t, err)
				server.RevokeTokenUntilForced()
				_, err = client.GetPhoneNumber(t.Context(), server.IssueCode(aPhone))
				require.ErrorIs(t, err, wxphone.ErrAccessToken)
				assert.Len(t, seen.forced(), 1)
			})
		})
	}
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

func TestTokenThatIsOlderThanItLivesServesTheCallersAndIsNotKept(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t)
		server.SetLatency(stableTokenAPI, 6*time.Second)
		server.RespondNext(stableTokenAPI, 200, `{"access_token":"brief","expires_in":5}`, -1)
		client := server.NewClient()
		var group sync.WaitGroup
		for range 20 {
			group.Go(func() {
				token, err := client.AccessToken(t.Context())
				assert.NoError(t, err)
				assert.Equal(t, "brief", token.AccessToken)
			})
		}
		group.Wait()
		assert.Equal(t, 1, server.TokenFetches())
		_, err := client.AccessToken(t.Context())
		require.NoError(t, err)
		assert.Equal(t, 2, server.TokenFetches())
	})
}

func TestTokensLifeIsCountedFromTheRequestThatGotIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t)
		server.SetLatency(stableTokenAPI, 2*time.Second)
		server.FailNext(stableTokenAPI, -1, "", 2) // 4 seconds and two pauses, in which there was no token yet
		server.RespondNext(stableTokenAPI, 200, `{"access_token":"brief","expires_in":5}`, -1)
		client := server.NewClient()
		token, err := client.AccessToken(t.Context())
		require.NoError(t, err)
		require.Equal(t, 3, server.TokenFetches())
		assert.Equal(t, 5*time.Second-2*time.Second, time.Until(token.ExpiresAt), "its answer took 2 seconds")
		_, err = client.AccessToken(t.Context())
		require.NoError(t, err)
		assert.Equal(t, 3, server.TokenFetches(), "it is kept")
	})
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
