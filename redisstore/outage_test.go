//go:build unix

package redisstore_test

import (
	"bytes"
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/wxphonetest"
)

// syncBuffer is a log that several goroutines write.
type syncBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func TestStableTokensSurviveTheDeathOfRedis(t *testing.T) {
	t.Parallel()
	process := startRedis(t)
	server := &redis.Options{Addr: process.addr}
	wechat := wxphonetest.NewServer(t)
	var log syncBuffer
	newProcess := func() *wxphone.Client {
		store := newStore(t, newClient(t, server), variants["encrypted"]...)
		return wechat.NewClient(wxphone.WithTokenStore(store), wxphone.WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
	}
	fleet := []*wxphone.Client{newProcess(), newProcess(), newProcess()}
	require.Zero(t, callAll(t, wechat, fleet, 20))
	require.Equal(t, 1, wechat.TokenFetches())
	secrets := []string{wechat.Token()}

	// Calls go on throughout, and none of them fails.
	var calls, failed atomic.Int32
	stop := make(chan struct{})
	var callers sync.WaitGroup
	for _, client := range fleet {
		callers.Add(1)
		go func() {
			defer callers.Done()
			for {
				select {
				case <-stop:
					return
				case <-time.After(2 * time.Millisecond):
				}
				calls.Add(1)
				if _, err := client.GetPhoneNumber(context.Background(), wechat.IssueCode(somebody)); err != nil {
					failed.Add(1)
					t.Log(err)
				}
			}
		}()
	}
	process.kill()
	assert.Zero(t, callAll(t, wechat, fleet, 20), "with the tokens they have")
	wechat.RevokeToken()
	assert.Zero(t, callAll(t, wechat, fleet, 20), "with a new token")
	assert.Zero(t, callAll(t, wechat, []*wxphone.Client{newProcess()}, 20), "a process that starts now")
	secrets = append(secrets, wechat.Token())

	require.True(t, process.start())
	assert.Zero(t, callAll(t, wechat, fleet, 20))
	assert.Zero(t, callAll(t, wechat, []*wxphone.Client{newProcess()}, 20), "a process that starts after that")
	fetches := wechat.TokenFetches()
	assert.Zero(t, callAll(t, wechat, []*wxphone.Client{newProcess()}, 20))
	assert.Equal(t, fetches, wechat.TokenFetches(), "the token is in Redis again")
	close(stop)
	callers.Wait()
	assert.Zero(t, failed.Load(), "of %d calls", calls.Load())
	t.Logf("%d calls during kill and restart, %d failed", calls.Load(), failed.Load())

	assert.Contains(t, log.String(), "token store is down")
	for _, secret := range secrets {
		assert.NotContains(t, log.String(), secret)
	}
}

func TestClassicTokensAreNotFetchedBlindly(t *testing.T) {
	t.Parallel()
	process := startRedis(t)
	server := &redis.Options{Addr: process.addr}
	wechat := wxphonetest.NewServer(t)
	newProcess := func() *wxphone.Client {
		return wechat.NewClient(wxphone.WithTokenStore(newStore(t, newClient(t, server))), wxphone.WithClassicToken())
	}
	warm := newProcess()
	require.Zero(t, callAll(t, wechat, []*wxphone.Client{warm}, 20))

	process.kill()
	assert.Zero(t, callAll(t, wechat, []*wxphone.Client{warm}, 20), "the local token is still good")
	cold := newProcess()
	_, err := cold.GetPhoneNumber(t.Context(), wechat.IssueCode(somebody))
	require.ErrorContains(t, err, "invalidate")
	assert.Equal(t, 1, wechat.TokenFetches())

	// The restarted Redis is empty. A fetch under its lock is none that is blind.
	require.True(t, process.start())
	require.Eventually(t, func() bool {
		_, err := cold.GetPhoneNumber(t.Context(), wechat.IssueCode(somebody))
		return err == nil
	}, 15*time.Second, 100*time.Millisecond)
	assert.Zero(t, callAll(t, wechat, []*wxphone.Client{warm, cold, newProcess()}, 20))
	assert.Equal(t, 2, wechat.TokenFetches())
}

func TestStoreWorksAgainAfterARestart(t *testing.T) {
	t.Parallel()
	for name, opts := range variants {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			process, ctx := startRedis(t), t.Context()
			store := newStore(t, newClient(t, &redis.Options{Addr: process.addr, MaxRetries: -1}), opts...)
			require.NoError(t, store.Save(ctx, storeKey, fresh(secretToken)))
			require.NoError(t, store.DeleteIf(ctx, storeKey, "another"))
			unlock, ok, err := store.TryLock(ctx, storeKey, time.Minute)
			require.NoError(t, err)
			require.True(t, ok)

			process.kill()
			silent(t, "unlock", unlock(ctx))
			for what, err := range everyError(t, store) {
				silent(t, what, err) // and down is no miss
			}

			// It comes back without its scripts and all else. go-redis looks
			// for it once a second.
			require.True(t, process.start())
			require.Eventually(t, func() bool {
				return store.Save(ctx, storeKey, fresh(secretToken)) == nil
			}, 10*time.Second, 50*time.Millisecond)
			require.NoError(t, store.DeleteIf(ctx, storeKey, secretToken))
			_, err = store.Load(ctx, storeKey)
			require.ErrorIs(t, err, wxphone.ErrTokenNotFound)
			require.ErrorContains(t, unlock(ctx), "had ended")
			_, ok, err = store.TryLock(ctx, storeKey, time.Minute)
			require.NoError(t, err)
			require.True(t, ok)
		})
	}
}

// A server that hangs keeps its connections open and answers nothing.
func TestStableTokensSurviveARedisThatHangs(t *testing.T) {
	t.Parallel()
	process := startRedis(t)
	wechat := wxphonetest.NewServer(t)
	newProcess := func() *wxphone.Client {
		return wechat.NewClient(wxphone.WithTokenStore(newStore(t, newClient(t, &redis.Options{Addr: process.addr}))))
	}
	warm := newProcess()
	require.Zero(t, callAll(t, wechat, []*wxphone.Client{warm}, 20))

	require.NoError(t, process.cmd.Process.Signal(syscall.SIGSTOP))
	begin := time.Now()
	assert.Zero(t, callAll(t, wechat, []*wxphone.Client{warm, newProcess()}, 20))
	assert.Less(t, time.Since(begin), 5*time.Second)
	require.NoError(t, process.cmd.Process.Signal(syscall.SIGCONT))
	assert.Zero(t, callAll(t, wechat, []*wxphone.Client{warm, newProcess()}, 20))
}
