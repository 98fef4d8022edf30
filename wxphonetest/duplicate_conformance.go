package wxphonetest

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/wxphone/wxphone"
)

// TestDuplicateStore tests that a [wxphone.DuplicateStore] keeps the contract
// that the Client relies on. newStore returns a store that shares nothing with
// another test's.
//
// It takes about three seconds, since it waits for results and locks to end.
func TestDuplicateStore(t *testing.T, newStore func(t *testing.T) wxphone.DuplicateStore) {
	tests := []struct {
		name string
		test func(*testing.T, wxphone.DuplicateStore)
	}{
		{"MissIsNil", testNoResult},
		{"SavedResultIsLoaded", testSaveLoadResult},
		{"LaterSaveReplaces", testReplaceResult},
		{"KeysAreApart", testResultKeys},
		{"ResultEndsWithItsTime", testResultExpiry},
		{"LoadedResultIsTheCallers", testResultIsCopied},
		{"EndedContextIsAnError", testResultContext},
		{"ConcurrentUse", testConcurrentResults},
		{"LockHasOneHolder", func(t *testing.T, store wxphone.DuplicateStore) { testLock(t, store) }},
		{"LockEndsByItself", func(t *testing.T, store wxphone.DuplicateStore) { testLockExpiry(t, store) }},
		{"LateUnlockEndsNobodyElsesLock", func(t *testing.T, store wxphone.DuplicateStore) { testLateUnlock(t, store) }},
		{"LocksAndResultsDoNotCollide", testLockBesideResult},
		{"TokensAndResultsDoNotCollide", testTokenBesideResult},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { tt.test(t, newStore(t)) })
	}
}

const resultKey = "wxphone:duplicate:wx0123456789abcdef:5d41402abc4b2a76b9719d911017c592"

func wantResult(t *testing.T, store wxphone.DuplicateStore, key string, want []byte) {
	t.Helper()
	got, err := store.LoadResult(context.Background(), key)
	if err != nil {
		t.Fatalf("LoadResult: %v", err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("LoadResult returned %d bytes that are not the %d that were saved last", len(got), len(want))
	}
}

func wantNoResult(t *testing.T, store wxphone.DuplicateStore, key string) {
	t.Helper()
	if got, err := store.LoadResult(context.Background(), key); got != nil || err != nil {
		t.Errorf("LoadResult returned %d bytes, %v; want nil, nil", len(got), err)
	}
}

func saveResult(t *testing.T, store wxphone.DuplicateStore, key string, sealed []byte, ttl time.Duration) {
	t.Helper()
	if err := store.SaveResult(context.Background(), key, sealed, ttl); err != nil {
		t.Fatalf("SaveResult: %v", err)
	}
}

func testNoResult(t *testing.T, store wxphone.DuplicateStore) { wantNoResult(t, store, resultKey) }

func testSaveLoadResult(t *testing.T, store wxphone.DuplicateStore) {
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	for _, sealed := range [][]byte{{0}, every, []byte("line\r\nline\n"), bytes.Repeat(every, 16)} {
		saveResult(t, store, resultKey, sealed, time.Minute)
		wantResult(t, store, resultKey, sealed)
		wantResult(t, store, resultKey, sealed) // loading takes nothing away
	}
}

func testReplaceResult(t *testing.T, store wxphone.DuplicateStore) {
	saveResult(t, store, resultKey, []byte("first"), 500*time.Millisecond)
	saveResult(t, store, resultKey, []byte("second"), time.Minute)
	wantResult(t, store, resultKey, []byte("second"))
	time.Sleep(600 * time.Millisecond)
	wantResult(t, store, resultKey, []byte("second")) // with the second's time
}

func testResultKeys(t *testing.T, store wxphone.DuplicateStore) {
	saveResult(t, store, resultKey, []byte("one"), time.Minute)
	wantNoResult(t, store, resultKey+"2")
	saveResult(t, store, resultKey+"2", []byte("two"), time.Minute)
	wantResult(t, store, resultKey, []byte("one"))
	wantResult(t, store, resultKey+"2", []byte("two"))
}

func testResultExpiry(t *testing.T, store wxphone.DuplicateStore) {
	saveResult(t, store, resultKey, []byte("short"), 500*time.Millisecond)
	wantResult(t, store, resultKey, []byte("short"))
	time.Sleep(600 * time.Millisecond)
	wantNoResult(t, store, resultKey)
}

func testResultIsCopied(t *testing.T, store wxphone.DuplicateStore) {
	sealed := []byte("result")
	saveResult(t, store, resultKey, sealed, time.Minute)
	sealed[0] = 'R'
	loaded, err := store.LoadResult(context.Background(), resultKey)
	if err != nil || len(loaded) == 0 {
		t.Fatalf("LoadResult: %d bytes, %v", len(loaded), err)
	}
	loaded[1] = 'E'
	wantResult(t, store, resultKey, []byte("result"))
}

func testResultContext(t *testing.T, store wxphone.DuplicateStore) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := store.LoadResult(ctx, resultKey); err == nil {
		t.Error("LoadResult with an ended context is no miss, but returned no error")
	}
	if err := store.SaveResult(ctx, resultKey, []byte("late"), time.Minute); err == nil {
		t.Error("SaveResult with an ended context succeeded")
	}
}

func testConcurrentResults(t *testing.T, store wxphone.DuplicateStore) {
	ctx := context.Background()
	var group sync.WaitGroup
	for i := range 8 {
		group.Add(1)
		go func() {
			defer group.Done()
			key := fmt.Sprint(resultKey, i)
			for j := range 20 {
				sealed := []byte(fmt.Sprint("result ", i, " ", j))
				if err := store.SaveResult(ctx, key, sealed, time.Minute); err != nil {
					t.Errorf("SaveResult: %v", err)
				}
				if got, err := store.LoadResult(ctx, key); err != nil || !bytes.Equal(got, sealed) {
					t.Errorf("LoadResult: %d bytes, %v", len(got), err)
				}
			}
		}()
	}
	group.Wait()
}

func testLockBesideResult(t *testing.T, store wxphone.DuplicateStore) {
	ctx := context.Background()
	saveResult(t, store, resultKey, []byte("beside"), time.Minute)
	unlock, ok, err := store.TryLock(ctx, resultKey, time.Minute)
	if err != nil || !ok {
		t.Fatalf("TryLock beside a result: %v, %v", ok, err)
	}
	wantResult(t, store, resultKey, []byte("beside"))
	if err := unlock(ctx); err != nil {
		t.Errorf("unlock: %v", err)
	}
	wantResult(t, store, resultKey, []byte("beside"))
}

func testTokenBesideResult(t *testing.T, store wxphone.DuplicateStore) {
	tokens, ok := store.(wxphone.TokenStore)
	if !ok {
		t.Skip("the store is no TokenStore")
	}
	token := freshToken("beside")
	saveResult(t, store, resultKey, []byte("result"), time.Minute)
	wantMiss(t, tokens, resultKey)
	save(t, tokens, resultKey, token)
	wantResult(t, store, resultKey, []byte("result"))
	wantToken(t, tokens, resultKey, token)
	if err := tokens.DeleteIf(context.Background(), resultKey, token.AccessToken); err != nil {
		t.Errorf("DeleteIf: %v", err)
	}
	wantResult(t, store, resultKey, []byte("result"))
}
