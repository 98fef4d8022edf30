//go:build go1.25

package wxphone_test

import (
	"context"
	"errors"
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

func TestOnlyTheRejectedTokenIsDropped(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source := &countingSource{life: time.Hour}
		tokens := wxphone.CacheTokens(source)
		first := accessToken(t, tokens)
		invalidate(t, tokens, "another")
		require.Equal(t, first, accessToken(t, tokens))
		invalidate(t, tokens, first)
		second := accessToken(t, tokens)
		require.NotEqual(t, first, second)
		invalidate(t, tokens, first) // a late report of the old one
		require.Equal(t, second, accessToken(t, tokens))
		assert.EqualValues(t, 2, source.fetches.Load())
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

func TestRejectedTokenIsRefreshedOnce(t *testing.T) {
	t.Parallel()
	for _, errcode := range []int{40001, 40014, 42001, 41001} {
		synctest.Test(t, func(t *testing.T) {
			server := wxphonetest.NewServer(t)
			client := server.NewClient(wxphone.WithMaxRetries(0))
			_, err := client.AccessToken(t.Context())
			require.NoError(t, err)
			server.RevokeToken()
			server.FailNext(phoneAPI, errcode, "", 1)
			info, err := client.GetPhoneNumber(t.Context(), server.IssueCode(aPhone))
			require.NoError(t, err)
			assert.Equal(t, "13800000000", info.PurePhoneNumber)
			assert.Equal(t, 2, server.TokenFetches())
			assert.Equal(t, 2, server.Requests(phoneAPI))
		})
	}
}

func TestCallIsRepeatedOnlyOnceAfterARejectedToken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t)
		client := server.NewClient()
		_, err := client.AccessToken(t.Context())
		require.NoError(t, err)
		server.RevokeToken()
		server.FailNext(phoneAPI, 40001, "", -1)
		_, err = client.GetPhoneNumber(t.Context(), "code")
		require.ErrorIs(t, err, wxphone.ErrAccessToken)
		assert.Equal(t, 503, wxphone.HTTPStatus(err))
		assert.Equal(t, 2, server.Requests(phoneAPI))
	})
}

func TestManyRejectionsCauseOneRefresh(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t)
		client := server.NewClient()
		_, err := client.AccessToken(t.Context())
		require.NoError(t, err)
		server.RevokeToken()
		server.SetLatency(phoneAPI, 20*time.Millisecond)
		server.SetLatency(stableTokenAPI, 100*time.Millisecond)
		var group sync.WaitGroup
		for i := range 500 {
			code := server.IssueCode(aPhone)
			group.Go(func() {
				time.Sleep(time.Duration(i) * time.Millisecond) // rejections before, during and after the refresh
				_, err := client.GetPhoneNumber(t.Context(), code)
				assert.NoError(t, err)
			})
		}
		group.Wait()
		assert.Equal(t, 2, server.TokenFetches())
	})
}

func TestRefreshIsForcedOnlyWhenWeChatHandsTheRejectedTokenBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t)
		client := server.NewClient()
		first, err := client.AccessToken(t.Context())
		require.NoError(t, err)
		server.RevokeTokenUntilForced()
		info, err := client.GetPhoneNumber(t.Context(), server.IssueCode(aPhone))
		require.NoError(t, err)
		assert.Equal(t, aPhone.PhoneNumber, info.PhoneNumber)
		assert.Equal(t, 3, server.TokenFetches(), "first, handed back, forced")
		second, err := client.AccessToken(t.Context())
		require.NoError(t, err)
		assert.NotEqual(t, first.AccessToken, second.AccessToken)
	})
}

func TestForcedRefreshesAreFewAndFurtherAndFurtherApart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t)
		client := server.NewClient()
		// Every token is refused, and WeChat hands the same one out for ever.
		server.FailNext(phoneAPI, 40001, "", -1)
		server.RespondNext(stableTokenAPI, 200, `{"access_token":"dead","expires_in":7200}`, -1)
		begin, before := time.Now(), 0
		var forced []time.Duration
		for time.Since(begin) < 24*time.Hour {
			_, err := client.GetPhoneNumber(t.Context(), "code")
			require.ErrorIs(t, err, wxphone.ErrAccessToken)
			// Where a fetch follows a fetch within one call, the second is forced.
			if fetches := server.TokenFetches(); fetches-before == 2 && before > 0 {
				forced = append(forced, time.Since(begin))
			}
			before = server.TokenFetches()
			time.Sleep(10 * time.Second)
		}
		require.LessOrEqual(t, len(forced), 5)
		require.GreaterOrEqual(t, len(forced), 3)
		for i := 2; i < len(forced); i++ {
			assert.Greater(t, forced[i]-forced[i-1], forced[i-1]-forced[i-2])
		}
		// And no flood: one plain fetch per 30 seconds in which it is refused.
		assert.LessOrEqual(t, server.TokenFetches(), 24*60*2+10)
	})
}

func TestTokenThatTheSourceInsistsOnIsServedFor30Seconds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source := &countingSource{life: time.Hour, insist: "stubborn"}
		tokens := wxphone.CacheTokens(source)
		for range 100 {
			invalidate(t, tokens, accessToken(t, tokens))
		}
		require.EqualValues(t, 2, source.fetches.Load(), "the first, and one after the first rejection")
		time.Sleep(30 * time.Second)
		invalidate(t, tokens, accessToken(t, tokens))
		accessToken(t, tokens)
		assert.EqualValues(t, 3, source.fetches.Load())
	})
}

func TestFailedForcedRefreshDoesNotFailTheFetch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t)
		client := server.NewClient(wxphone.WithMaxRetries(0))
		first, err := client.AccessToken(t.Context())
		require.NoError(t, err)
		server.RespondNext(stableTokenAPI, 200, `{"access_token":"`+first.AccessToken+`","expires_in":3600}`, 1)
		server.RespondNext(stableTokenAPI, 200, `{"errcode":45009,"errmsg":"reach max api daily quota limit"}`, 1)
		require.NoError(t, client.InvalidateAccessToken(t.Context(), first.AccessToken))
		second, err := client.AccessToken(t.Context())
		require.NoError(t, err)
		assert.Equal(t, first.AccessToken, second.AccessToken)
	})
}

func TestRevocationDuringAnEarlyRefreshIsNotForgotten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source := &countingSource{life: time.Hour}
		tokens := wxphone.CacheTokens(source)
		first := accessToken(t, tokens)
		time.Sleep(58*time.Minute + time.Second)
		source.delay = time.Second
		source.set(nil, first) // the refresh under way brings the old token back
		require.Equal(t, first, accessToken(t, tokens))
		synctest.Wait()
		invalidate(t, tokens, first)
		go func() {
			time.Sleep(500 * time.Millisecond)
			source.set(nil, "")
		}()
		assert.NotEqual(t, first, accessToken(t, tokens), "callers wait for the flight")
	})
}

func TestBareTokenSourceIsAskedForEveryCall(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t)
		fake := server.NewClient()
		var asked atomic.Int32
		source := wxphone.TokenSourceFunc(func(ctx context.Context) (wxphone.Token, error) {
			asked.Add(1)
			return fake.AccessToken(ctx)
		})
		client := server.NewClient(wxphone.WithTokenSource(source))
		for range 3 {
			_, err := client.GetPhoneNumber(t.Context(), server.IssueCode(aPhone))
			require.NoError(t, err)
		}
		assert.EqualValues(t, 3, asked.Load())
		assert.Equal(t, 1, server.TokenFetches())
	})
}

func TestBareSourceWithANewTokenIsRepeatedAndWithTheOldOneIsNot(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t)
		good, err := server.NewClient().AccessToken(t.Context())
		require.NoError(t, err)
		answers := []string{"stale", good.AccessToken, "stale", "stale"}
		source := wxphone.TokenSourceFunc(func(context.Context) (wxphone.Token, error) {
			token := wxphone.Token{AccessToken: answers[0]}
			answers = answers[1:]
			return token, nil
		})
		client := server.NewClient(wxphone.WithTokenSource(source))
		_, err = client.GetPhoneNumber(t.Context(), server.IssueCode(aPhone))
		require.NoError(t, err)
		require.Equal(t, 2, server.Requests(phoneAPI))
		_, err = client.GetPhoneNumber(t.Context(), server.IssueCode(aPhone))
		require.ErrorIs(t, err, wxphone.ErrAccessToken)
		assert.Equal(t, 3, server.Requests(phoneAPI), "repeated with the same token")
	})
}

func TestRefreshThatFailsSaysWhyItWasNeeded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t)
		client := server.NewClient()
		_, err := client.AccessToken(t.Context())
		require.NoError(t, err)
		server.RevokeToken()
		server.FailNext(stableTokenAPI, 40125, "", -1)
		_, err = client.GetPhoneNumber(t.Context(), "code")
		require.ErrorIs(t, err, wxphone.ErrSecretInvalid)
		require.ErrorIs(t, err, wxphone.ErrAccessToken)
		assert.Equal(t, 500, wxphone.HTTPStatus(err), "what must be mended counts first")
	})
}

func TestClassicTokensAreCachedToo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t)
		client := server.NewClient(wxphone.WithClassicToken())
		for range 5 {
			_, err := client.GetPhoneNumber(t.Context(), server.IssueCode(aPhone))
			require.NoError(t, err)
		}
		assert.Equal(t, 1, server.Requests(classicTokenAPI))
		assert.Zero(t, server.Requests(stableTokenAPI))
	})
}
