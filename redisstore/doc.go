// Package redisstore keeps wxphone's access_tokens in Redis, for fleets of
// processes that share one.
//
// [New] takes your go-redis client, of any kind, and returns a
// [wxphone.TokenStore] that is also a [wxphone.TokenLocker]:
//
//	rdb := redis.NewClient(&redis.Options{
//		Addr:                  "redis.internal:6379",
//		ContextTimeoutEnabled: true,
//	})
//	store, err := redisstore.New(rdb, redisstore.WithEncryptionKey(key))
//	if err != nil {
//		return err
//	}
//	client, err := wxphone.New(appID, secret, wxphone.WithTokenStore(store))
//
// With stable tokens, the default, Redis saves requests and is never a single
// point of failure. With [wxphone.WithClassicToken] it is what keeps processes
// from retiring each other's token.
//
// # The go-redis client
//
// It stays yours: the Store never closes it. Set ContextTimeoutEnabled, since
// go-redis otherwise waits for a server that hangs until its ReadTimeout,
// whatever the context says. The wxphone Client goes on after a second either
// way, but the goroutine that asked stays until then.
//
// # What is stored
//
// A token is stored under the key that the Client gives it, such as
// wxphone:stable:<appid>, behind the prefix of [WithKeyPrefix]. Redis deletes
// it when it expires. Its lock has the same name with ":lock" at the end.
// Every command and script touches a single key, so a cluster needs no hash
// tags. A prefix with one, as in "{myapp}:", places tokens and locks in one
// slot.
//
// # Security
//
// Whoever has an access_token can call WeChat as the mini-program, from any
// address that its IP allow list admits. Without [WithEncryptionKey] everyone
// who can read Redis, a backup or a replica of it has the token. With it they
// have AES-256-GCM ciphertext that is bound to its Redis key, and an HMAC that
// lets the server compare tokens without knowing them. Who can write to Redis
// can still delete a value or put an older one of the same key back; neither
// yields a token, and the Client replaces one that WeChat refuses.
//
// A value that cannot be read (damaged, encrypted with another key, moved
// from another Redis key, or not encrypted although it should be) is an error
// that wraps [wxphone.ErrTokenNotFound]: the Client logs it, fetches a token
// and overwrites the value.
//
// No error of this package contains a token, key material or what a server
// quotes of a command's arguments.
package redisstore
