package redisstore_test

import (
	"context"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/redisstore"
	"github.com/wxphone/wxphone/wxphonetest"
)

func TestLockOfAHolderThatDied(t *testing.T) {
	t.Parallel()
	onEachServer(t, func(t *testing.T, server *redis.Options) {
		prefix, ctx := redisstore.WithKeyPrefix(newPrefix(t, server)), t.Context()
		dead := redis.NewClient(server)
		_, ok, err := newStore(t, dead, prefix).TryLock(ctx, storeKey, 700*time.Millisecond)
		require.NoError(t, err)
		require.True(t, ok)
		require.NoError(t, dead.Close()) // its process is gone, and never unlocks

		store := newStore(t, newClient(t, server), prefix)
		begin := time.Now()
		_, ok, err = store.TryLock(ctx, storeKey, time.Minute)
		require.NoError(t, err)
		require.False(t, ok)
		assert.Less(t, time.Since(begin), 300*time.Millisecond, "TryLock waited")
		require.Eventually(t, func() bool {
			_, ok, err := store.TryLock(ctx, storeKey, time.Minute)
			return err == nil && ok
		}, 5*time.Second, 20*time.Millisecond)
	})
}

func TestUnlockTellsThatTheLockHadEnded(t *testing.T) {
	t.Parallel()
	onEachServer(t, func(t *testing.T, server *redis.Options) {
		client, prefix := newClient(t, server), newPrefix(t, server)
		store := newStore(t, client, redisstore.WithKeyPrefix(prefix))
		// With a fraction of the milliseconds that Redis counts in.
		unlock, ok, err := store.TryLock(t.Context(), storeKey, 300*time.Millisecond+time.Microsecond)
		require.NoError(t, err)
		require.True(t, ok)
		time.Sleep(350 * time.Millisecond)
		require.ErrorContains(t, unlock(t.Context()), "had ended")

		unlock, ok, err = store.TryLock(t.Context(), storeKey, time.Minute)
		require.NoError(t, err)
		require.True(t, ok)
		require.NoError(t, unlock(t.Context()))
		require.ErrorContains(t, unlock(t.Context()), "had ended", "twice")
	})
}

func TestClientsWaitForALockWhoseHolderDied(t *testing.T) {
	t.Parallel()
	onEachServer(t, func(t *testing.T, server *redis.Options) {
		wechat := wxphonetest.NewServer(t)
		prefix := redisstore.WithKeyPrefix(newPrefix(t, server))
		store := newStore(t, newClient(t, server), prefix)
		_, ok, err := store.TryLock(t.Context(), "wxphone:classic:"+wechat.AppID(), time.Second)
		require.NoError(t, err)
		require.True(t, ok)

		client := wechat.NewClient(wxphone.WithTokenStore(store), wxphone.WithClassicToken())
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		_, err = client.AccessToken(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Zero(t, wechat.TokenFetches())
		_, err = client.AccessToken(t.Context())
		require.NoError(t, err)
		require.Equal(t, 1, wechat.TokenFetches())
	})
}
