package redisstore_test

import (
	"bytes"
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/redisstore"
)

const storeKey = "wxphone:stable:wx0123456789abcdef"

func fresh(name string) wxphone.Token {
	return wxphone.Token{AccessToken: name, ExpiresAt: time.Now().Add(time.Hour)}
}

func TestArgumentsThatAreOfNoUse(t *testing.T) {
	t.Parallel()
	client := newClient(t, &redis.Options{Addr: "127.0.0.1:1"})
	var none *redis.Client
	for name, open := range map[string]func() (*redisstore.Store, error){
		"nil client":  func() (*redisstore.Store, error) { return redisstore.New(nil) },
		"nil *Client": func() (*redisstore.Store, error) { return redisstore.New(none) },
		"nil option":  func() (*redisstore.Store, error) { return redisstore.New(client, nil) },
		"nil key":     func() (*redisstore.Store, error) { return redisstore.New(client, redisstore.WithEncryptionKey(nil)) },
		"short key": func() (*redisstore.Store, error) {
			return redisstore.New(client, redisstore.WithEncryptionKey(key('k')[:31]))
		},
		"long key": func() (*redisstore.Store, error) {
			return redisstore.New(client, redisstore.WithEncryptionKey(append(key('k'), 'k')))
		},
		"previous key": func() (*redisstore.Store, error) {
			return redisstore.New(client, redisstore.WithPreviousEncryptionKeys(key('k')))
		},
		"short previous": func() (*redisstore.Store, error) {
			return redisstore.New(client, redisstore.WithEncryptionKey(key('k')), redisstore.WithPreviousEncryptionKeys(key('j')[:16]))
		},
	} {
		store, err := open()
		assert.Nil(t, store, name)
		assert.ErrorIs(t, err, wxphone.ErrInvalidArgument, name)
		assert.NotContains(t, err.Error(), "kkk", name)
	}

	store, ctx := newStore(t, client), t.Context()
	assert.ErrorIs(t, store.Save(ctx, storeKey, wxphone.Token{AccessToken: "undated"}), wxphone.ErrInvalidArgument)
	assert.ErrorIs(t, store.Save(ctx, storeKey, fresh("")), wxphone.ErrInvalidArgument)
	_, _, err := store.TryLock(ctx, storeKey, 0)
	assert.ErrorIs(t, err, wxphone.ErrInvalidArgument)
}

func TestMissIsTheSentinelItself(t *testing.T) {
	t.Parallel()
	onEachServer(t, func(t *testing.T, server *redis.Options) {
		client, prefix := newClient(t, server), newPrefix(t, server)
		store := newStore(t, client, redisstore.WithKeyPrefix(prefix))
		_, err := store.Load(t.Context(), storeKey)
		assert.True(t, err == wxphone.ErrTokenNotFound, "a bare miss is not logged, but got %v", err) //nolint:errorlint // that is the point

		require.NoError(t, store.Save(t.Context(), storeKey, fresh("token")))
		require.NoError(t, client.Persist(t.Context(), prefix+storeKey).Err())
		require.NoError(t, store.Save(t.Context(), storeKey, wxphone.Token{AccessToken: "token", ExpiresAt: time.Now()}))
		assert.Zero(t, client.Exists(t.Context(), prefix+storeKey).Val(), "an expired token replaces the one before")
	})
}

func TestRedisForgetsTheTokenWhenItExpires(t *testing.T) {
	t.Parallel()
	onEachServer(t, func(t *testing.T, server *redis.Options) {
		client, prefix := newClient(t, server), newPrefix(t, server)
		store := newStore(t, client, redisstore.WithKeyPrefix(prefix))
		require.NoError(t, store.Save(t.Context(), storeKey, fresh("token")))
		assert.InDelta(t, time.Hour, client.PTTL(t.Context(), prefix+storeKey).Val(), float64(10*time.Second))

		// A server that does not expire it, because a replica's link or its
		// clock is broken, does not bring it back.
		require.NoError(t, store.Save(t.Context(), storeKey, wxphone.Token{AccessToken: "short", ExpiresAt: time.Now().Add(200 * time.Millisecond)}))
		require.NoError(t, client.Persist(t.Context(), prefix+storeKey).Err())
		time.Sleep(250 * time.Millisecond)
		_, err := store.Load(t.Context(), storeKey)
		assert.ErrorIs(t, err, wxphone.ErrTokenNotFound)
	})
}

// Each save is one token's; the goroutine that deletes it must never take the
// next one with it.
func TestDeleteIfSparesTheNextToken(t *testing.T) {
	t.Parallel()
	for name, opts := range variants {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			onEachServer(t, func(t *testing.T, server *redis.Options) {
				opts := append(opts[:len(opts):len(opts)], redisstore.WithKeyPrefix(newPrefix(t, server)))
				saver, deleter := newStore(t, newClient(t, server), opts...), newStore(t, newClient(t, server), opts...)
				ctx := t.Context()
				for i := range 300 {
					refused, next := "refused-"+strconv.Itoa(i), "next-"+strconv.Itoa(i)
					require.NoError(t, saver.Save(ctx, storeKey, fresh(refused)))
					var group sync.WaitGroup
					for range 3 {
						group.Add(1)
						go func() {
							defer group.Done()
							assert.NoError(t, deleter.DeleteIf(ctx, storeKey, refused))
						}()
					}
					require.NoError(t, saver.Save(ctx, storeKey, fresh(next)))
					group.Wait()
					token, err := deleter.Load(ctx, storeKey)
					require.NoError(t, err)
					require.Equal(t, next, token.AccessToken)
				}
			})
		})
	}
}

func TestPrefixesKeepStoresApart(t *testing.T) {
	t.Parallel()
	onEachServer(t, func(t *testing.T, server *redis.Options) {
		client, prefix := newClient(t, server), newPrefix(t, server)
		one := newStore(t, client, redisstore.WithKeyPrefix(prefix+"one:"))
		two := newStore(t, client, redisstore.WithKeyPrefix(prefix+"two:"))
		ctx := t.Context()
		require.NoError(t, one.Save(ctx, storeKey, fresh("one")))
		_, err := two.Load(ctx, storeKey)
		require.ErrorIs(t, err, wxphone.ErrTokenNotFound)
		_, ok, err := one.TryLock(ctx, storeKey, time.Minute)
		require.NoError(t, err)
		require.True(t, ok)
		_, ok, err = two.TryLock(ctx, storeKey, time.Minute)
		require.NoError(t, err)
		require.True(t, ok)

		keys, err := client.Keys(ctx, prefix+"one:*").Result()
		require.NoError(t, err)
		assert.ElementsMatch(t, []string{prefix + "one:" + storeKey, prefix + "one:" + storeKey + ":lock"}, keys,
			"the lock begins with the prefix too")
	})
}

func TestClientStaysOpen(t *testing.T) {
	t.Parallel()
	onEachServer(t, func(t *testing.T, server *redis.Options) {
		client := newClient(t, server)
		store := newStore(t, client, redisstore.WithKeyPrefix(newPrefix(t, server)))
		unlock, ok, err := store.TryLock(t.Context(), storeKey, time.Minute)
		require.NoError(t, err)
		require.True(t, ok)
		require.NoError(t, unlock(t.Context()))
		assert.NoError(t, client.Ping(t.Context()).Err())
	})
}

func TestStorePrintsNothingOfWhatIsInIt(t *testing.T) {
	t.Parallel()
	client := newClient(t, &redis.Options{Addr: "127.0.0.1:1", Password: "redis-password"})
	store := newStore(t, client, redisstore.WithEncryptionKey(key('k')))
	var text bytes.Buffer
	slog.New(slog.NewTextHandler(&text, nil)).Info("", "store", store)
	slog.New(slog.NewJSONHandler(&text, nil)).Info("", "store", store)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d", "%x", "%q"} {
		fmt.Fprintf(&text, verb+"\n", store)
		fmt.Fprintf(&text, verb+"\n", struct{ Store *redisstore.Store }{store})
	}
	for _, secret := range []string{"redis-password", "kkkk", "107 107", "6b6b", "fingerprint", "aead"} {
		assert.NotContains(t, text.String(), secret)
	}
}

// fmt calls no Format in an unexported field. There the keys that are derived
// from the encryption key would print as numbers.
func TestStoreInAnUnexportedFieldPrintsNoKey(t *testing.T) {
	t.Parallel()
	client := newClient(t, &redis.Options{Addr: "127.0.0.1:1", Password: "redis-password"})
	store := newStore(t, client, redisstore.WithEncryptionKey(key('k')), redisstore.WithPreviousEncryptionKeys(key('j')))
	secrets := []string{"redis-password"}
	for _, own := range [][]byte{key('k'), key('j')} {
		for _, use := range []string{"encryption", "fingerprint"} {
			derived, err := hkdf.Key(sha256.New, own, nil, "wxphone/redisstore v1 "+use, 32)
			require.NoError(t, err)
			secrets = append(secrets, strings.Trim(fmt.Sprintf("%d", derived), "[]"), hex.EncodeToString(derived))
			for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
				words := []uint32{order.Uint32(derived), order.Uint32(derived[4:]), order.Uint32(derived[8:])}
				secrets = append(secrets, strings.Trim(fmt.Sprint(words), "[]"))
			}
		}
	}
	type holder struct {
		pointer *redisstore.Store
		copied  redisstore.Store
		any     any
		list    []redisstore.Store
	}
	held := holder{store, *store, *store, []redisstore.Store{*store}}
	for letter := 'A'; letter <= 'z'; letter++ {
		for _, flags := range []string{"", "+", "#", " ", ".9"} {
			for _, v := range []any{held, &held, []holder{held}, *store} {
				text := fmt.Sprintf("%"+flags+string(letter), v)
				for _, secret := range secrets {
					require.NotContains(t, text, secret, "%%%s%c of %T", flags, letter, v)
				}
			}
		}
	}
}

func TestEndedContextsAreHonoured(t *testing.T) {
	t.Parallel()
	onEachServer(t, func(t *testing.T, server *redis.Options) {
		store := newStore(t, newClient(t, server), redisstore.WithKeyPrefix(newPrefix(t, server)))
		unlock, ok, err := store.TryLock(t.Context(), storeKey, time.Minute)
		require.NoError(t, err)
		require.True(t, ok)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, loaded := store.Load(ctx, storeKey)
		_, _, locked := store.TryLock(ctx, storeKey+"2", time.Minute)
		for name, err := range map[string]error{
			"load": loaded, "lock": locked, "unlock": unlock(ctx),
			"save": store.Save(ctx, storeKey, fresh("token")), "delete": store.DeleteIf(ctx, storeKey, "token"),
		} {
			assert.ErrorIs(t, err, context.Canceled, name)
			assert.True(t, strings.HasPrefix(err.Error(), "redisstore: "+name+": "), err.Error())
			assert.False(t, errors.Is(err, wxphone.ErrTokenNotFound), name)
		}
	})
}
