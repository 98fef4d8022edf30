package redisstore_test

import (
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/redisstore"
)

const secretToken = "61_secret-access-token-that-nobody-must-read"

// unreadable asserts that a value is a miss that says why, and without any of
// the value; and that the store still works.
func unreadable(t *testing.T, store *redisstore.Store, why string) {
	t.Helper()
	_, err := store.Load(t.Context(), storeKey)
	require.ErrorIs(t, err, wxphone.ErrTokenNotFound)
	assert.ErrorContains(t, err, why)
	assert.NotContains(t, err.Error(), secretToken[:10])
	assert.NotContains(t, err.Error(), "v1.")
	require.NoError(t, store.DeleteIf(t.Context(), storeKey, "another"))
	require.NoError(t, store.Save(t.Context(), storeKey, fresh("next")))
	token, err := store.Load(t.Context(), storeKey)
	require.NoError(t, err)
	assert.Equal(t, "next", token.AccessToken)
}

func TestCorruptValues(t *testing.T) {
	t.Parallel()
	onEachServer(t, func(t *testing.T, server *redis.Options) {
		ctx, client := t.Context(), newClient(t, server)
		prefix := newPrefix(t, server)
		name := prefix + storeKey
		stores := map[string]*redisstore.Store{
			"plain":     newStore(t, client, redisstore.WithKeyPrefix(prefix)),
			"encrypted": newStore(t, client, redisstore.WithKeyPrefix(prefix), redisstore.WithEncryptionKey(key('k'))),
		}
		for scheme, store := range stores {
			require.NoError(t, store.Save(ctx, storeKey, fresh(secretToken)))
			sound := client.Get(ctx, name).Val()
			fields := strings.SplitN(sound, ".", 4)
			require.Len(t, fields, 4)
			for what, value := range map[string]string{
				"empty":               "",
				"another program's":   `{"access_token":"` + secretToken + `"}`,
				"no fields":           secretToken,
				"later version":       "v2" + strings.TrimPrefix(sound, "v1"),
				"unknown scheme":      "v1.rot13." + fields[2] + "." + fields[3],
				"cut short":           sound[:len(sound)-3],
				"cut in the middle":   sound[:len(sound)/2],
				"no payload":          "v1." + fields[1] + "." + fields[2] + ".",
				"no fingerprint":      "v1." + fields[1] + ".." + fields[3],
				"another fingerprint": "v1." + fields[1] + "." + strings.Repeat("A", 43) + "." + fields[3],
				"longer":              sound + "AAAA",
				"not base64, no JSON": "v1." + fields[1] + "." + fields[2] + ".\x00\xff!",
				"null":                "v1." + fields[1] + "." + fields[2] + ".null",
			} {
				require.NoError(t, client.Set(ctx, name, value, time.Minute).Err())
				_, err := store.Load(ctx, storeKey)
				require.ErrorIs(t, err, wxphone.ErrTokenNotFound, "%s, %s", scheme, what)
				require.False(t, err == wxphone.ErrTokenNotFound, "%s, %s: nobody would hear of it", scheme, what) //nolint:errorlint // that is the point
				unreadable(t, store, "redisstore: the value of ")
			}
			// One bit of the token, say.
			for i := len(sound) - len(fields[3]); i < len(sound); i += 5 {
				flipped := []byte(sound)
				flipped[i] ^= 1
				require.NoError(t, client.Set(ctx, name, flipped, time.Minute).Err())
				if token, err := store.Load(ctx, storeKey); err == nil {
					// What the checksum does not cover in plain: the expiry, and case in the JSON's names.
					require.Equal(t, "plain", scheme)
					require.Equal(t, secretToken, token.AccessToken)
				} else {
					require.ErrorIs(t, err, wxphone.ErrTokenNotFound)
				}
			}

			require.NoError(t, client.Del(ctx, name).Err())
			require.NoError(t, client.HSet(ctx, name, "token", secretToken).Err())
			require.NoError(t, store.DeleteIf(ctx, storeKey, secretToken), "a hash is another value")
			unreadable(t, store, "is not a string")
		}
	})
}

func TestEncryptedTokensCannotBeReadInRedis(t *testing.T) {
	t.Parallel()
	onEachServer(t, func(t *testing.T, server *redis.Options) {
		ctx, client := t.Context(), newClient(t, server)
		prefix := newPrefix(t, server)
		raw := func(name string, opts ...redisstore.Option) string {
			store := newStore(t, client, append(opts, redisstore.WithKeyPrefix(prefix))...)
			require.NoError(t, store.Save(ctx, name, fresh(secretToken)))
			value := client.Get(ctx, prefix+name).Val()
			require.NotEmpty(t, value)
			return value
		}
		fingerprint := func(value string) string { return strings.Split(value, ".")[2] }
		first, second := raw("one", variants["encrypted"]...), raw("one", variants["encrypted"]...)
		assert.NotContains(t, first, secretToken[3:12])
		assert.NotContains(t, first, "access_token")
		assert.NotEqual(t, first, second, "the nonce is random")
		assert.Equal(t, fingerprint(first), fingerprint(second), "DeleteIf compares it")
		assert.NotEqual(t, fingerprint(first), fingerprint(raw("two", variants["encrypted"]...)),
			"it does not tell that two keys hold the same token")
		assert.NotEqual(t, fingerprint(first), fingerprint(raw("one", redisstore.WithEncryptionKey(key('j')))))
		assert.NotEqual(t, fingerprint(first), fingerprint(raw("one")), "a guess at the token cannot be verified without the key")
	})
}

func TestKeysThatDoNotFit(t *testing.T) {
	t.Parallel()
	onEachServer(t, func(t *testing.T, server *redis.Options) {
		ctx, client := t.Context(), newClient(t, server)
		prefix := redisstore.WithKeyPrefix(newPrefix(t, server))
		store := newStore(t, client, prefix, redisstore.WithEncryptionKey(key('k')))
		other := newStore(t, client, prefix, redisstore.WithEncryptionKey(key('x')))
		plain := newStore(t, client, prefix)

		require.NoError(t, store.Save(ctx, storeKey, fresh(secretToken)))
		require.NoError(t, other.DeleteIf(ctx, storeKey, secretToken), "it cannot tell whether this is the token")
		require.NoError(t, plain.DeleteIf(ctx, storeKey, secretToken))
		_, err := store.Load(ctx, storeKey)
		require.NoError(t, err)

		unreadable(t, other, "cannot be decrypted")
		require.NoError(t, store.Save(ctx, storeKey, fresh(secretToken)))
		unreadable(t, plain, "is encrypted, and this store has no key")
		require.NoError(t, plain.Save(ctx, storeKey, fresh(secretToken)))
		unreadable(t, store, "is not encrypted")
	})
}

func TestValuesCannotBeSwappedBetweenKeys(t *testing.T) {
	t.Parallel()
	for name, opts := range variants {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			onEachServer(t, func(t *testing.T, server *redis.Options) {
				ctx, client := t.Context(), newClient(t, server)
				prefix := newPrefix(t, server)
				store := newStore(t, client, append(opts[:len(opts):len(opts)], redisstore.WithKeyPrefix(prefix))...)
				const another = "wxphone:stable:wxfedcba9876543210"
				require.NoError(t, store.Save(ctx, another, fresh(secretToken)))
				require.NoError(t, client.Rename(ctx, prefix+another, prefix+storeKey).Err())
				unreadable(t, store, "damaged")
			})
		})
	}
}

func TestEncryptionKeyIsChangedInThreeDeployments(t *testing.T) {
	t.Parallel()
	onEachServer(t, func(t *testing.T, server *redis.Options) {
		ctx, client := t.Context(), newClient(t, server)
		prefix := redisstore.WithKeyPrefix(newPrefix(t, server))
		before, after := redisstore.WithEncryptionKey(key('b')), redisstore.WithEncryptionKey(key('a'))
		deployments := []*redisstore.Store{
			newStore(t, client, prefix, before),
			newStore(t, client, prefix, before, redisstore.WithPreviousEncryptionKeys(key('a'))),
			newStore(t, client, prefix, after, redisstore.WithPreviousEncryptionKeys(key('z'), key('b'))),
			newStore(t, client, prefix, after),
		}
		for i := range len(deployments) - 1 {
			for _, pair := range [][2]*redisstore.Store{{deployments[i], deployments[i+1]}, {deployments[i+1], deployments[i]}} {
				require.NoError(t, pair[0].Save(ctx, storeKey, fresh(secretToken)))
				token, err := pair[1].Load(ctx, storeKey)
				require.NoError(t, err, "deployments %d and %d", i, i+1)
				require.Equal(t, secretToken, token.AccessToken)
				require.NoError(t, pair[1].DeleteIf(ctx, storeKey, secretToken))
				_, err = pair[0].Load(ctx, storeKey)
				require.ErrorIs(t, err, wxphone.ErrTokenNotFound, "a token of the other key is deleted too")
			}
		}
	})
}

func TestKeyMayBeWipedAfterNew(t *testing.T) {
	t.Parallel()
	onEachServer(t, func(t *testing.T, server *redis.Options) {
		client, prefix := newClient(t, server), redisstore.WithKeyPrefix(newPrefix(t, server))
		secret := key('k')
		store := newStore(t, client, prefix, redisstore.WithEncryptionKey(secret))
		clear(secret)
		require.NoError(t, store.Save(t.Context(), storeKey, fresh(secretToken)))
		_, err := newStore(t, client, prefix, redisstore.WithEncryptionKey(key('k'))).Load(t.Context(), storeKey)
		assert.NoError(t, err)
	})
}
