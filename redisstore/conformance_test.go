package redisstore_test

import (
	"bytes"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/redisstore"
	"github.com/wxphone/wxphone/wxphonetest"
)

// key returns an encryption key of 32 times b.
func key(b byte) []byte { return bytes.Repeat([]byte{b}, 32) }

// variants are the ways to store a token.
var variants = map[string][]redisstore.Option{
	"plain":     nil,
	"encrypted": {redisstore.WithEncryptionKey(key('k'))},
	"rotating":  {redisstore.WithEncryptionKey(key('k')), redisstore.WithPreviousEncryptionKeys(key('j'))},
}

func TestStoreKeepsTheContract(t *testing.T) {
	t.Parallel()
	for name, opts := range variants {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			onEachServer(t, func(t *testing.T, server *redis.Options) {
				wxphonetest.TestTokenStore(t, func(t *testing.T) wxphone.TokenStore {
					return newStore(t, newClient(t, server),
						append(opts[:len(opts):len(opts)], redisstore.WithKeyPrefix(newPrefix(t, server)))...)
				})
			})
		})
	}
}

func TestStoreOfDuplicatesKeepsTheContract(t *testing.T) {
	t.Parallel()
	onEachServer(t, func(t *testing.T, server *redis.Options) {
		wxphonetest.TestDuplicateStore(t, func(t *testing.T) wxphone.DuplicateStore {
			return newStore(t, newClient(t, server),
				redisstore.WithEncryptionKey(key('k')), redisstore.WithKeyPrefix(newPrefix(t, server)))
		})
	})
}
