package redisstore_test

import (
	"bufio"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/redisstore"
)

// everyError returns the errors of all methods on a server that is no good.
func everyError(t *testing.T, store *redisstore.Store) map[string]error {
	t.Helper()
	ctx := t.Context()
	_, load := store.Load(ctx, storeKey)
	_, _, lock := store.TryLock(ctx, storeKey, time.Minute)
	return map[string]error{
		"load": load, "lock": lock,
		"save":         store.Save(ctx, storeKey, fresh(secretToken)),
		"save expired": store.Save(ctx, storeKey, wxphone.Token{AccessToken: secretToken, ExpiresAt: time.Unix(1, 0)}),
		"delete":       store.DeleteIf(ctx, storeKey, secretToken),
	}
}

// silent asserts that no error along the chain tells a secret.
func silent(t *testing.T, what string, err error) {
	t.Helper()
	require.Error(t, err, what)
	assert.NotErrorIs(t, err, wxphone.ErrTokenNotFound, what)
	for ; err != nil; err = errors.Unwrap(err) {
		for _, secret := range []string{secretToken[:10], "redis-password", "v1.", "://"} {
			assert.NotContains(t, err.Error(), secret, what)
		}
	}
}

// Servers quote what they were sent; this one says it about every command.
func TestErrorsDoNotRepeatWhatTheServerQuotes(t *testing.T) {
	t.Parallel()
	server := startMiniredis(t)
	server.SetError("ERR unknown command 'SET', with args beginning with: 'v1.plain' '" + secretToken + "' 'redis-password'")
	store := newStore(t, newClient(t, &redis.Options{Addr: server.Addr(), Password: "redis-password", MaxRetries: -1}))
	for what, err := range everyError(t, store) {
		silent(t, what, err)
		assert.ErrorContains(t, err, "unknown command", what)
		assert.True(t, redis.HasErrorPrefix(err, "unknown command"), what)
	}
}

func TestErrorsOfARealServerThatForbidsTheCommands(t *testing.T) {
	t.Parallel()
	var args []string
	for _, command := range []string{"GET", "SET", "DEL", "EVAL", "EVALSHA"} {
		args = append(args, "--rename-command", command, "")
	}
	process := startRedis(t, args...)
	store := newStore(t, newClient(t, &redis.Options{Addr: process.addr}))
	for what, err := range everyError(t, store) {
		silent(t, what, err)
		assert.ErrorContains(t, err, "ERR unknown command", what)
	}
}

func TestErrorsOfARealServerWithAnotherPassword(t *testing.T) {
	t.Parallel()
	process := startRedis(t)
	admin := newClient(t, &redis.Options{Addr: process.addr})
	require.NoError(t, admin.ConfigSet(t.Context(), "requirepass", "another").Err())
	store := newStore(t, newClient(t, &redis.Options{Addr: process.addr, Password: "redis-password"}))
	for what, err := range everyError(t, store) {
		silent(t, what, err)
		assert.True(t, redis.HasErrorPrefix(err, "WRONGPASS"), "%s: %v", what, err)
	}
}

func TestErrorsDoNotRepeatAnswersThatAreNotRedis(t *testing.T) {
	t.Parallel()
	for _, answer := range []string{"HTTP/1.1 400 " + secretToken, "$" + secretToken, "*" + secretToken, "!" + secretToken, "=" + secretToken} {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		var conns sync.WaitGroup
		conns.Add(1)
		go func() {
			defer conns.Done()
			for {
				conn, err := listener.Accept()
				if err != nil {
					return
				}
				conns.Add(1)
				go func() {
					defer conns.Done()
					defer conn.Close()
					// Garbage is the answer to the commands alone: go-redis
					// passes over a HELLO that fails.
					for lines := bufio.NewScanner(conn); lines.Scan(); {
						switch lines.Text() {
						case "hello", "client", "CLIENT", "HELLO":
							_, _ = conn.Write([]byte("-ERR unknown command\r\n"))
						case "get", "set", "del", "evalsha":
							_, _ = conn.Write([]byte(answer + "\r\n"))
						}
					}
				}()
			}
		}()
		client := newClient(t, &redis.Options{Addr: listener.Addr().String(), MaxRetries: -1, DisableIdentity: true, ReadTimeout: 2 * time.Second})
		for what, err := range everyError(t, newStore(t, client)) {
			silent(t, answer[:1]+" "+what, err)
		}
		require.NoError(t, client.Close())
		require.NoError(t, listener.Close())
		conns.Wait()
	}
}

func TestNetworkErrorsKeepTheirCause(t *testing.T) {
	t.Parallel()
	client := newClient(t, &redis.Options{Addr: "127.0.0.1:1", Password: "redis-password", MaxRetries: -1})
	for what, err := range everyError(t, newStore(t, client)) {
		silent(t, what, err)
		var network net.Error
		assert.ErrorAs(t, err, &network, what)
	}
	require.NoError(t, client.Close())
	for what, err := range everyError(t, newStore(t, client)) {
		silent(t, what, err)
		assert.ErrorIs(t, err, redis.ErrClosed, what)
	}
}
