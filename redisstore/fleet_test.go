package redisstore_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/redisstore"
	"github.com/wxphone/wxphone/wxphonetest"
)

var somebody = wxphone.PhoneInfo{PhoneNumber: "13800000000", PurePhoneNumber: "13800000000", CountryCode: "86"}

// callAll makes calls of every client at once and returns how many failed.
func callAll(t *testing.T, wechat *wxphonetest.Server, clients []*wxphone.Client, calls int) int {
	t.Helper()
	var group sync.WaitGroup
	var failed atomic.Int32
	for _, client := range clients {
		for range calls {
			code := wechat.IssueCode(somebody)
			group.Add(1)
			go func() {
				defer group.Done()
				ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
				defer cancel()
				if _, err := client.GetPhoneNumber(ctx, code); err != nil {
					failed.Add(1)
					t.Log(err)
				}
			}()
		}
	}
	group.Wait()
	return int(failed.Load())
}

// Eight processes in miniature: eight Clients that share nothing but Redis.
func TestFleetWithClassicTokensFetchesOnce(t *testing.T) {
	t.Parallel()
	for name, opts := range variants {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			onEachServer(t, func(t *testing.T, server *redis.Options) {
				wechat := wxphonetest.NewServer(t)
				wechat.SetLatency("/cgi-bin/token", 300*time.Millisecond)
				prefix := redisstore.WithKeyPrefix(newPrefix(t, server))
				var fleet []*wxphone.Client
				for range 8 {
					store := newStore(t, newClient(t, server), append(opts[:len(opts):len(opts)], prefix)...)
					fleet = append(fleet, wechat.NewClient(wxphone.WithTokenStore(store), wxphone.WithClassicToken()))
				}
				require.Zero(t, callAll(t, wechat, fleet, 50))
				require.Equal(t, 1, wechat.TokenFetches(), "cold")

				wechat.RevokeToken()
				require.Zero(t, callAll(t, wechat, fleet, 50))
				require.LessOrEqual(t, wechat.TokenFetches(), 2, "revoked")
			})
		})
	}
}

// Two processes in miniature, which are given the same code: by ten requests at
// the same time and two later ones.
func TestFleetRedeemsACodeOnce(t *testing.T) {
	t.Parallel()
	onEachServer(t, func(t *testing.T, server *redis.Options) {
		const endpoint = "/wxa/business/getuserphonenumber"
		wechat := wxphonetest.NewServer(t)
		wechat.SetLatency(endpoint, 300*time.Millisecond)
		prefix := newPrefix(t, server)
		fleet := make([]*wxphone.Client, 2)
		for i := range fleet {
			store := newStore(t, newClient(t, server), redisstore.WithKeyPrefix(prefix))
			fleet[i] = wechat.NewClient(wxphone.WithDuplicateWindow(time.Minute), wxphone.WithDuplicateStore(store))
		}
		code := wechat.IssueCode(somebody)
		redeem := func(calls int) {
			var group sync.WaitGroup
			for i := range calls {
				group.Add(1)
				go func() {
					defer group.Done()
					ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
					defer cancel()
					phone, err := fleet[i%2].GetPhoneNumber(ctx, code)
					if assert.NoError(t, err) {
						assert.Equal(t, "+8613800000000", phone.E164())
					}
				}()
			}
			group.Wait()
		}
		redeem(10)
		redeem(2)
		require.Equal(t, 1, wechat.Requests(endpoint))

		// Whoever reads Redis learns neither the code nor the number.
		ctx, rdb := context.Background(), newClient(t, server)
		keys := rdb.Keys(ctx, prefix+"*").Val()
		require.Len(t, keys, 1, "the lock is gone")
		for _, secret := range []string{code, somebody.PhoneNumber} {
			require.NotContains(t, keys[0], secret)
			require.NotContains(t, rdb.Get(ctx, keys[0]).Val(), secret)
		}
		require.InDelta(t, time.Minute, rdb.PTTL(ctx, keys[0]).Val(), float64(20*time.Second))
	})
}
