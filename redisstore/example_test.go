package redisstore_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"log"
	"strings"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/redisstore"
	"github.com/wxphone/wxphone/wxphonetest"
)

// Two processes with a Redis between them make one token request. The examples
// talk to a fake WeChat and to miniredis.
func ExampleNew() {
	wechat, err := wxphonetest.Start()
	if err != nil {
		log.Fatal(err)
	}
	defer wechat.Close()
	server, err := miniredis.Run()
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()

	for range 2 {
		rdb := redis.NewClient(&redis.Options{
			Addr:                  server.Addr(),
			ContextTimeoutEnabled: true, // a Redis that hangs is given up in time
		})
		defer rdb.Close()
		store, err := redisstore.New(rdb)
		if err != nil {
			log.Fatal(err)
		}
		client := wechat.NewClient(wxphone.WithTokenStore(store)) // wxphone.New(appID, secret, wxphone.WithTokenStore(store))

		if _, err := client.AccessToken(context.Background()); err != nil {
			log.Fatal(err)
		}
		fmt.Println("token requests:", wechat.TokenFetches())
	}
	// Output:
	// token requests: 1
	// token requests: 1
}

func ExampleWithEncryptionKey() {
	server, err := miniredis.Run()
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	rdb := redis.NewClient(&redis.Options{Addr: server.Addr()})
	defer rdb.Close()

	// From a secret manager in earnest; made by `openssl rand -base64 32`.
	key, err := base64.StdEncoding.DecodeString("q4Nd2WUCNgcM8CXs2jVRGcL8mSIoqaRLcJn3QhyX0Uo=")
	if err != nil {
		log.Fatal(err)
	}
	store, err := redisstore.New(rdb, redisstore.WithEncryptionKey(key), redisstore.WithKeyPrefix("shop:"))
	if err != nil {
		log.Fatal(err)
	}

	ctx := context.Background()
	token := wxphone.Token{AccessToken: "an access_token", ExpiresAt: time.Now().Add(2 * time.Hour)}
	if err := store.Save(ctx, "wxphone:stable:wx0123456789abcdef", token); err != nil {
		log.Fatal(err)
	}
	inRedis := rdb.Get(ctx, "shop:wxphone:stable:wx0123456789abcdef").Val()
	fmt.Println(inRedis[:13], strings.Contains(inRedis, token.AccessToken))
	loaded, err := store.Load(ctx, "wxphone:stable:wx0123456789abcdef")
	fmt.Println(loaded.AccessToken, err)
	// Output:
	// v1.aes256gcm. false
	// an access_token <nil>
}

// A new key is first one that everybody reads, then the one that is written.
func ExampleWithPreviousEncryptionKeys() {
	oldKey, newKey := make([]byte, 32), []byte("32 bytes, and better random ones")
	rdb := redis.NewClient(&redis.Options{Addr: "localhost:6379"})
	defer rdb.Close()

	for _, deployment := range [][]redisstore.Option{
		{redisstore.WithEncryptionKey(oldKey), redisstore.WithPreviousEncryptionKeys(newKey)},
		{redisstore.WithEncryptionKey(newKey), redisstore.WithPreviousEncryptionKeys(oldKey)},
		{redisstore.WithEncryptionKey(newKey)},
	} {
		_, err := redisstore.New(rdb, deployment...)
		fmt.Println(err)
	}
	// Output:
	// <nil>
	// <nil>
	// <nil>
}

// sharedClient shares its access_token through Redis. Add WithClassicToken only
// if every program that fetches classic tokens shares this store.
func sharedClient(rdb redis.UniversalClient, appID, secret string, encryptionKey []byte) (*wxphone.Client, error) {
	store, err := redisstore.New(rdb,
		redisstore.WithEncryptionKey(encryptionKey)) // 32 bytes; decide before the first deployment
	if err != nil {
		return nil, err
	}
	return wxphone.New(appID, secret, wxphone.WithTokenStore(store))
}

// A Client is made without asking WeChat or Redis.
func Example_sharedClient() {
	rdb := redis.NewClient(&redis.Options{
		Addr:                  "127.0.0.1:6379",
		ContextTimeoutEnabled: true, // a Redis that hangs is given up in time
	})
	defer rdb.Close()
	client, err := sharedClient(rdb, "wx0123456789abcdef", "secret", make([]byte, 32))
	fmt.Println(client, err)
	// Output: wxphone.Client(wx0123456789abcdef) <nil>
}

// mergingClient answers a code that comes in again within five minutes, at
// whichever process, without asking WeChat. One store keeps tokens and results.
func mergingClient(rdb redis.UniversalClient, appID, secret string, encryptionKey []byte) (*wxphone.Client, error) {
	store, err := redisstore.New(rdb, redisstore.WithEncryptionKey(encryptionKey)) // 32 bytes
	if err != nil {
		return nil, err
	}
	return wxphone.New(appID, secret,
		wxphone.WithTokenStore(store),
		wxphone.WithDuplicateWindow(5*time.Minute),
		wxphone.WithDuplicateStore(store))
}

// A Client is made without asking WeChat or Redis.
func Example_mergingClient() {
	rdb := redis.NewClient(&redis.Options{
		Addr:                  "127.0.0.1:6379",
		ContextTimeoutEnabled: true, // a Redis that hangs is given up in time
	})
	defer rdb.Close()
	client, err := mergingClient(rdb, "wx0123456789abcdef", "secret", make([]byte, 32))
	fmt.Println(client, err)
	// Output: wxphone.Client(wx0123456789abcdef) <nil>
}
