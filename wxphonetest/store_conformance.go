package wxphonetest

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wxphone/wxphone"
)

// TestTokenStore tests that a [wxphone.TokenStore] works as the Client
// requires, and its [wxphone.TokenLocker] too if it implements one. newStore
// returns a store that shares no data with the stores of other tests. All
// stores that it returns within one test must share their data, as those of two
// processes do.
//
//	func TestStore(t *testing.T) {
//		wxphonetest.TestTokenStore(t, func(t *testing.T) wxphone.TokenStore {
//			return etcdstore.New(client, etcdstore.WithPrefix(t.Name()))
//		})
//	}
//
// It takes about three seconds, because it waits for tokens and locks to
// expire.
func TestTokenStore(t *testing.T, newStore func(t *testing.T) wxphone.TokenStore) {
	tests := []struct {
		name string
		test func(*testing.T, wxphone.TokenStore)
	}{
		{"MissIsErrTokenNotFound", testMiss},
		{"SavedTokenIsLoaded", testSaveLoad},
		{"LaterSaveReplaces", testReplace},
		{"KeysAreApart", testKeys},
		{"TokenEndsWhenItExpires", testExpiry},
		{"ExpiredTokenIsNotKept", testExpiredSave},
		{"DeleteIfDeletesOnlyItsToken", testDeleteIf},
		{"EndedContextIsAnError", testContext},
		{"ConcurrentUse", testConcurrent},
		{"LockHasOneHolder", withLocker(onlyLocks(testLock))},
		{"LockEndsByItself", withLocker(onlyLocks(testLockExpiry))},
		{"LateUnlockEndsNobodyElsesLock", withLocker(onlyLocks(testLateUnlock))},
		{"LocksAndTokensDoNotCollide", withLocker(testLockBesideToken)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { tt.test(t, newStore(t)) })
	}
}

// withLocker skips stores that do not lock, because locking is optional.
func withLocker(test func(*testing.T, wxphone.TokenStore, wxphone.TokenLocker)) func(*testing.T, wxphone.TokenStore) {
	return func(t *testing.T, store wxphone.TokenStore) {
		locker, ok := store.(wxphone.TokenLocker)
		if !ok {
			t.Skip("the store is no TokenLocker")
		}
		test(t, store, locker)
	}
}

// onlyLocks is for tests of the lock alone.
func onlyLocks(test func(*testing.T, wxphone.TokenLocker)) func(*testing.T, wxphone.TokenStore, wxphone.TokenLocker) {
	return func(t *testing.T, _ wxphone.TokenStore, locker wxphone.TokenLocker) { test(t, locker) }
}

const storeKey = "wxphone:stable:wx0123456789abcdef"

func freshToken(name string) wxphone.Token {
	return wxphone.Token{AccessToken: name, ExpiresAt: time.Now().Add(time.Hour)}
}

func wantToken(t *testing.T, store wxphone.TokenStore, key string, want wxphone.Token) {
	t.Helper()
	got, err := store.Load(context.Background(), key)
	if err != nil {
		t.Fatalf("Load: %v", err)
	}
	if got.AccessToken != want.AccessToken {
		t.Errorf("Load returned another token than was saved last")
	}
	if d := got.ExpiresAt.Sub(want.ExpiresAt); d > time.Millisecond || d < -time.Second {
		t.Errorf("Load returned an expiry that is off by %v", d)
	}
}

func wantMiss(t *testing.T, store wxphone.TokenStore, key string) {
	t.Helper()
	if token, err := store.Load(context.Background(), key); !errors.Is(err, wxphone.ErrTokenNotFound) {
		t.Errorf("Load returned %v, %v; want ErrTokenNotFound", token, err)
	}
}

func save(t *testing.T, store wxphone.TokenStore, key string, token wxphone.Token) {
	t.Helper()
	if err := store.Save(context.Background(), key, token); err != nil {
		t.Fatalf("Save: %v", err)
	}
}

func testMiss(t *testing.T, store wxphone.TokenStore) { wantMiss(t, store, storeKey) }

func testSaveLoad(t *testing.T, store wxphone.TokenStore) {
	for _, name := range []string{
		"token",
		strings.Repeat("long_", 200),
		`quotes " and \ and 汉字 and ` + "\x00\n",
		"61_" + strings.Repeat("aB3-_", 100),
	} {
		token := freshToken(name)
		save(t, store, storeKey, token)
		wantToken(t, store, storeKey, token)
	}
}

func testReplace(t *testing.T, store wxphone.TokenStore) {
	save(t, store, storeKey, freshToken("first"))
	second := wxphone.Token{AccessToken: "second", ExpiresAt: time.Now().Add(2 * time.Hour)}
	save(t, store, storeKey, second)
	wantToken(t, store, storeKey, second)
}

func testKeys(t *testing.T, store wxphone.TokenStore) {
	one, two := freshToken("one"), freshToken("two")
	save(t, store, storeKey, one)
	wantMiss(t, store, "wxphone:classic:wx0123456789abcdef")
	save(t, store, "wxphone:classic:wx0123456789abcdef", two)
	wantToken(t, store, storeKey, one)
	wantToken(t, store, "wxphone:classic:wx0123456789abcdef", two)
}

func testExpiry(t *testing.T, store wxphone.TokenStore) {
	token := wxphone.Token{AccessToken: "short", ExpiresAt: time.Now().Add(1200 * time.Millisecond)}
	save(t, store, storeKey, token)
	wantToken(t, store, storeKey, token)
	time.Sleep(time.Until(token.ExpiresAt) + 50*time.Millisecond)
	wantMiss(t, store, storeKey)
}

// An expired token may be rejected or ignored, and the previous token may be
// deleted, but the expired token must not be returned.
func testExpiredSave(t *testing.T, store wxphone.TokenStore) {
	for _, age := range []time.Duration{0, time.Millisecond, time.Hour} {
		_ = store.Save(context.Background(), storeKey, wxphone.Token{AccessToken: "old", ExpiresAt: time.Now().Add(-age)})
		if token, err := store.Load(context.Background(), storeKey); err == nil {
			t.Errorf("Load returned %v, which expired before it was saved", token)
		}
	}
}

func testDeleteIf(t *testing.T, store wxphone.TokenStore) {
	ctx := context.Background()
	if err := store.DeleteIf(ctx, storeKey, "absent"); err != nil {
		t.Errorf("DeleteIf of an absent key: %v", err)
	}
	token := freshToken("current")
	save(t, store, storeKey, token)
	if err := store.DeleteIf(ctx, storeKey, "former"); err != nil {
		t.Errorf("DeleteIf of another token: %v", err)
	}
	wantToken(t, store, storeKey, token)
	if err := store.DeleteIf(ctx, storeKey, "current"); err != nil {
		t.Errorf("DeleteIf: %v", err)
	}
	wantMiss(t, store, storeKey)
	save(t, store, storeKey, token)
	wantToken(t, store, storeKey, token)
}

func testContext(t *testing.T, store wxphone.TokenStore) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := store.Load(ctx, storeKey); err == nil || errors.Is(err, wxphone.ErrTokenNotFound) {
		t.Errorf("Load with an ended context returned %v; that is no miss", err)
	}
	if err := store.Save(ctx, storeKey, freshToken("late")); err == nil {
		t.Error("Save with an ended context succeeded")
	}
}

func testConcurrent(t *testing.T, store wxphone.TokenStore) {
	ctx := context.Background()
	var group sync.WaitGroup
	for i := range 8 {
		group.Add(1)
		go func() {
			defer group.Done()
			name := "token-" + strconv.Itoa(i)
			for range 20 {
				if err := store.Save(ctx, storeKey, freshToken(name)); err != nil {
					t.Errorf("Save: %v", err)
				}
				if token, err := store.Load(ctx, storeKey); err == nil && !strings.HasPrefix(token.AccessToken, "token-") {
					t.Error("Load returned a token that nobody saved")
				} else if err != nil && !errors.Is(err, wxphone.ErrTokenNotFound) {
					t.Errorf("Load: %v", err)
				}
				if err := store.DeleteIf(ctx, storeKey, name); err != nil {
					t.Errorf("DeleteIf: %v", err)
				}
			}
		}()
	}
	group.Wait()
	wantMiss(t, store, storeKey) // each goroutine's last step deleted its token, if it was still there
}

func tryLock(t *testing.T, locker wxphone.TokenLocker, ttl time.Duration) (unlock func(context.Context) error, ok bool) {
	t.Helper()
	unlock, ok, err := locker.TryLock(context.Background(), storeKey, ttl)
	if err != nil {
		t.Fatalf("TryLock: %v", err)
	}
	if ok && unlock == nil {
		t.Fatal("TryLock returned no unlock")
	}
	return unlock, ok
}

func testLock(t *testing.T, locker wxphone.TokenLocker) {
	var holders atomic.Int32
	var unlock atomic.Pointer[func(context.Context) error]
	var group sync.WaitGroup
	for range 16 {
		group.Add(1)
		go func() {
			defer group.Done()
			release, ok, err := locker.TryLock(context.Background(), storeKey, time.Minute)
			if err != nil {
				t.Errorf("TryLock: %v", err)
			}
			if ok {
				holders.Add(1)
				unlock.Store(&release)
			}
		}()
	}
	group.Wait()
	if n := holders.Load(); n != 1 {
		t.Fatalf("%d callers of 16 got the lock, want 1", n)
	}
	if err := (*unlock.Load())(context.Background()); err != nil {
		t.Errorf("unlock: %v", err)
	}
	if _, ok := tryLock(t, locker, time.Minute); !ok {
		t.Error("the lock was not free after unlock")
	}
	if _, ok, err := locker.TryLock(context.Background(), storeKey+"2", time.Minute); err != nil || !ok {
		t.Errorf("another key's lock: %v, %v", ok, err)
	}
}

func testLockExpiry(t *testing.T, locker wxphone.TokenLocker) {
	if _, ok := tryLock(t, locker, 500*time.Millisecond); !ok {
		t.Fatal("the lock was not free")
	}
	if _, ok := tryLock(t, locker, time.Minute); ok {
		t.Fatal("the lock had two holders")
	}
	time.Sleep(600 * time.Millisecond)
	if _, ok := tryLock(t, locker, time.Minute); !ok {
		t.Error("the lock of a holder that died did not end")
	}
}

func testLateUnlock(t *testing.T, locker wxphone.TokenLocker) {
	late, ok := tryLock(t, locker, 500*time.Millisecond)
	if !ok {
		t.Fatal("the lock was not free")
	}
	time.Sleep(600 * time.Millisecond)
	if _, ok := tryLock(t, locker, time.Minute); !ok {
		t.Fatal("the lock did not end")
	}
	_ = late(context.Background()) // may report that the lock was lost
	if _, ok := tryLock(t, locker, time.Minute); ok {
		t.Error("a late unlock ended the next holder's lock")
	}
}

func testLockBesideToken(t *testing.T, store wxphone.TokenStore, locker wxphone.TokenLocker) {
	token := freshToken("beside")
	save(t, store, storeKey, token)
	unlock, ok := tryLock(t, locker, time.Minute)
	if !ok {
		t.Fatal("a saved token counts as a lock")
	}
	wantToken(t, store, storeKey, token)
	if err := unlock(context.Background()); err != nil {
		t.Errorf("unlock: %v", err)
	}
	wantToken(t, store, storeKey, token)
}
