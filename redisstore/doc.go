// Package redisstore stores wxphone's access_tokens in Redis, for several
// processes that share one token.
//
// [New] takes a go-redis client of any kind and returns a [wxphone.TokenStore]
// that is also a [wxphone.TokenLocker]:
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
// With stable tokens, the default, Redis saves requests and is not a single
// point of failure. With [wxphone.WithClassicToken], it prevents processes from
// invalidating each other's tokens.
//
// # The go-redis client
//
// The Store never closes the client. Set ContextTimeoutEnabled: otherwise
// go-redis ignores the context and waits for a server that hangs until its
// ReadTimeout. The wxphone Client continues after a second in either case, but
// the goroutine of the command remains until then.
//
// # What is stored
//
// The Redis key of a token is the prefix of [WithKeyPrefix] followed by the key
// that the Client uses, such as wxphone:stable:<appid>. Redis deletes the token
// when it expires. The key of its lock ends in ":lock". Every command and
// script uses a single key, so a cluster needs no hash tags. A prefix with a
// hash tag, such as "{myapp}:", places tokens and locks in one slot.
//
// # Security
//
// Anyone who has an access_token can call WeChat as the mini-program, from any
// address on its IP whitelist. Without [WithEncryptionKey], anyone who can read
// Redis, a backup or a replica has the token. With it, they have AES-256-GCM
// ciphertext bound to its Redis key, and an HMAC with which the server compares
// tokens without knowing them. Anyone who can write to Redis can still delete a
// value or restore an older value of the same key. Neither reveals a token, and
// the Client replaces a token that WeChat rejects.
//
// [Store.Load] returns an error that wraps [wxphone.ErrTokenNotFound] if a
// value cannot be read: it is damaged, was encrypted with another key, was
// moved from another Redis key, or is not encrypted although it should be. The
// Client logs the error, fetches a token and overwrites the value.
//
// The errors of this package contain no tokens, no key material, and no command
// arguments that a server quotes.
package redisstore
