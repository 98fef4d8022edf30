//go:build go1.25

package wxphone_test

import (
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
