//go:build go1.25

package wxphone_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/internal/sealed"
	"github.com/wxphone/wxphone/wxphonetest"
)

// spiedStore notes all that was put into a store.
type spiedStore struct {
	*wxphonetest.MemoryStore
	mu    sync.Mutex
	keys  []string
	saved map[string][]byte
}

func newSpiedStore() *spiedStore {
	return &spiedStore{MemoryStore: new(wxphonetest.MemoryStore), saved: make(map[string][]byte)}
}

func (s *spiedStore) TryLock(ctx context.Context, key string, ttl time.Duration) (func(context.Context) error, bool, error) {
	s.mu.Lock()
	s.keys = append(s.keys, key)
	s.mu.Unlock()
	return s.MemoryStore.TryLock(ctx, key, ttl)
}

func (s *spiedStore) SaveResult(ctx context.Context, key string, sealed []byte, ttl time.Duration) error {
	s.mu.Lock()
	s.keys = append(s.keys, key)
	s.saved[key] = bytes.Clone(sealed)
	s.mu.Unlock()
	return s.MemoryStore.SaveResult(ctx, key, sealed, ttl)
}

// used returns the keys of locks and results, in order.
func (s *spiedStore) used() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.keys)
}

// only returns the one result that there is.
func (s *spiedStore) only(t *testing.T) (key string, sealed []byte) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	require.Len(t, s.saved, 1)
	for key, sealed = range s.saved {
	}
	return key, sealed
}

// sharing returns n processes that share store.
func sharing(server *wxphonetest.Server, n int, store wxphone.DuplicateStore, opts ...wxphone.Option) []*wxphone.Client {
	return processes(server, n, append(opts, wxphone.WithDuplicateWindow(time.Minute), wxphone.WithDuplicateStore(store))...)
}

func TestProcessesThatShareAStoreRedeemOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t)
		server.SetLatency(phoneAPI, time.Second)
		clients, code := sharing(server, 2, newSpiedStore()), server.IssueCode(aPhone)
		wantSomebody(t, redeemAtOnce(t.Context(), 10, code, clients...)...)
		time.Sleep(50 * time.Second)
		wantSomebody(t, redeemAtOnce(t.Context(), 2, code, clients...)...)
		assert.Equal(t, 1, server.Requests(phoneAPI))

		time.Sleep(10 * time.Second)
		for _, client := range clients {
			_, err := client.GetPhoneNumber(t.Context(), code)
			require.ErrorIs(t, err, wxphone.ErrCodeInvalid, "the store does not prolong the window")
		}
	})
}

func TestLateProcessDoesNotProlongTheWindow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t)
		clients, code := sharing(server, 2, newSpiedStore()), server.IssueCode(aPhone)
		wantSomebody(t, redeemAtOnce(t.Context(), 1, code, clients[0])...)
		time.Sleep(59 * time.Second)
		wantSomebody(t, redeemAtOnce(t.Context(), 1, code, clients[1])...)
		time.Sleep(time.Second)
		_, err := clients[1].GetPhoneNumber(t.Context(), code)
		require.ErrorIs(t, err, wxphone.ErrCodeInvalid)
	})
}

func TestResultFromTheStoreIsWhole(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t)
		clients := sharing(server, 2, newSpiedStore())
		code := server.IssueCode(wxphone.PhoneInfo{PhoneNumber: "+85261234567", PurePhoneNumber: "61234567", CountryCode: "852"})
		own := redeemAtOnce(t.Context(), 1, code, clients[0])[0]
		read := redeemAtOnce(t.Context(), 1, code, clients[1])[0]
		require.NoError(t, own.err)
		require.NoError(t, read.err)
		assert.Equal(t, *own.phone, *read.phone)
		assert.NotZero(t, read.phone.Watermark.Timestamp)
	})
}

func TestStoreLearnsNeitherCodesNorNumbers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server, store := wxphonetest.NewServer(t), newSpiedStore()
		code := server.IssueCode(aPhone, wxphonetest.ForOpenID("o-alice"))
		_, err := sharing(server, 1, store)[0].GetPhoneNumber(t.Context(), code, wxphone.WithOpenID("o-alice"))
		require.NoError(t, err)
		key, sealed := store.only(t)
		secrets := []string{code, code[:12], someNumber, "o-alice", server.Secret()}
		assertTellsNone(t, string(sealed), secrets, "the value")
		assertTellsNone(t, strings.Join(store.used(), " "), secrets, "the keys")
		assert.Contains(t, key, server.AppID(), "whose it is may be seen")
	})
}

func TestGarbageInTheStoreIsAMiss(t *testing.T) {
	t.Parallel()
	for name, garble := range map[string]func(sealed, others []byte) []byte{
		"nothing":               func(_, _ []byte) []byte { return []byte{} },
		"text":                  func(_, _ []byte) []byte { return []byte("garbage") },
		"plain JSON":            func(_, _ []byte) []byte { return []byte(`{"phone":{"phoneNumber":"13800000000"}}`) },
		"cut":                   func(sealed, _ []byte) []byte { return sealed[:len(sealed)-1] },
		"another code's result": func(_, others []byte) []byte { return others },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server, store := wxphonetest.NewServer(t), newSpiedStore()
				clients, code := sharing(server, 2, store), server.IssueCode(aPhone)
				elsewhere := newSpiedStore()
				wantSomebody(t, redeemAtOnce(t.Context(), 1, server.IssueCode(aPhone), sharing(server, 1, elsewhere)...)...)
				_, others := elsewhere.only(t)
				wantSomebody(t, redeemAtOnce(t.Context(), 1, code, clients[0])...)
				key, sealed := store.only(t)
				require.NoError(t, store.MemoryStore.SaveResult(t.Context(), key, garble(sealed, others), time.Hour))
				_, err := clients[1].GetPhoneNumber(t.Context(), code)
				require.ErrorIs(t, err, wxphone.ErrCodeInvalid, "WeChat was asked")
				assert.Equal(t, 3, server.Requests(phoneAPI))
			})
		})
	}
}

// A store that forgets the time of what it keeps, or a replay of an old value.
func TestResultOlderThanTheWindowIsAMiss(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server, store := wxphonetest.NewServer(t), newSpiedStore()
		clients, code := sharing(server, 2, store), server.IssueCode(aPhone)
		wantSomebody(t, redeemAtOnce(t.Context(), 1, code, clients[0])...)
		key, sealed := store.only(t)
		time.Sleep(time.Minute)
		require.NoError(t, store.MemoryStore.SaveResult(t.Context(), key, sealed, time.Hour))
		_, err := clients[1].GetPhoneNumber(t.Context(), code)
		require.ErrorIs(t, err, wxphone.ErrCodeInvalid)
	})
}

// The window of a process whose clock is ahead begins when the result is found.
func TestResultOfAClockThatIsAheadIsNotRememberedLonger(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		ahead time.Duration
		found bool
	}{"a little": {4 * time.Minute, true}, "too much": {6 * time.Minute, false}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server, store := wxphonetest.NewServer(t), new(wxphonetest.MemoryStore)
				client := sharing(server, 1, store)[0]
				box := sealed.NewBox(server.AppID(), "", "unknown")
				value, err := box.Seal(fmt.Appendf(nil, `{"phone":{"phoneNumber":"13800000000"},"redeemed_at":%q}`,
					time.Now().Add(tt.ahead).Format(time.RFC3339)))
				require.NoError(t, err)
				require.NoError(t, store.SaveResult(t.Context(), box.Name, value, 30*time.Second))
				_, err = client.GetPhoneNumber(t.Context(), "unknown")
				assert.Equal(t, tt.found, err == nil, "%v", err)
				time.Sleep(time.Minute)
				_, err = client.GetPhoneNumber(t.Context(), "unknown")
				assert.ErrorIs(t, err, wxphone.ErrCodeInvalid)
			})
		})
	}
}

func TestFailureOfOneProcessLetsTheNextOneTry(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t)
		server.SetLatency(phoneAPI, 100*time.Millisecond)
		server.FailNext(phoneAPI, 45011, "", 1)
		clients, code := sharing(server, 2, newSpiedStore()), server.IssueCode(aPhone)
		begun := time.Now()
		results := redeemAtOnce(t.Context(), 2, code, clients...)
		if results[0].err == nil {
			results[0], results[1] = results[1], results[0]
		}
		require.ErrorIs(t, results[0].err, wxphone.ErrRateLimited)
		wantSomebody(t, results[1])
		assert.Less(t, time.Since(begun), time.Second)
	})
}

func TestGivingUpFreesTheCodeForOtherProcesses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t)
		server.SetLatency(stableTokenAPI, 2*time.Second) // so that the code is not sent yet
		clients, code := sharing(server, 2, newSpiedStore()), server.IssueCode(aPhone)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		go func() { _, _ = clients[0].GetPhoneNumber(ctx, code) }()
		synctest.Wait()
		begun := time.Now()
		wantSomebody(t, redeemAtOnce(t.Context(), 1, code, clients[1])...)
		assert.Less(t, time.Since(begun), 5*time.Second)
		assert.Equal(t, 1, server.Requests(phoneAPI))
	})
}

func TestProcessThatDiesBlocksTheOthersForAWhileOnly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server, store := wxphonetest.NewServer(t), newSpiedStore()
		clients := sharing(server, 2, store)
		code := server.IssueCode(aPhone)
		_, ok, err := store.TryLock(t.Context(), lockKeyOf(t, server, code), 15*time.Second)
		require.NoError(t, err)
		require.True(t, ok)

		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begun := time.Now()
		_, err = clients[0].GetPhoneNumber(short, code)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, time.Second, time.Since(begun), "nobody waits longer than its own context")
		assert.Zero(t, server.Requests(phoneAPI))

		wantSomebody(t, redeemAtOnce(t.Context(), 4, code, clients...)...)
		assert.InDelta(t, 15.5, time.Since(begun).Seconds(), 1)
		assert.Equal(t, 1, server.Requests(phoneAPI))
	})
}

// lockKeyOf finds out under which key a code is locked.
func lockKeyOf(t *testing.T, server *wxphonetest.Server, code string) string {
	t.Helper()
	spy := newSpiedStore()
	spy.SetDown(errors.New("only the key is wanted"))
	client := server.NewClient(wxphone.WithDuplicateWindow(time.Minute), wxphone.WithDuplicateStore(spy),
		wxphone.WithTokenSource(wxphone.TokenSourceFunc(func(context.Context) (wxphone.Token, error) {
			return wxphone.Token{}, errDatabase // so that nothing is sent
		})))
	_, err := client.GetPhoneNumber(t.Context(), code)
	require.ErrorIs(t, err, errDatabase)
	require.NotEmpty(t, spy.used())
	return spy.used()[0]
}

func TestLockThatNeverEndsIsNotWaitedForForEver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server, store := wxphonetest.NewServer(t), newSpiedStore()
		code := server.IssueCode(aPhone)
		_, _, err := store.TryLock(t.Context(), lockKeyOf(t, server, code), time.Hour)
		require.NoError(t, err)
		begun := time.Now()
		wantSomebody(t, redeemAtOnce(t.Context(), 1, code, sharing(server, 1, store)...)...)
		assert.InDelta(t, 16, time.Since(begun).Seconds(), 1)
	})
}

func TestStoreOfDuplicatesThatIsDownIsDoneWithout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server, store := wxphonetest.NewServer(t), newSpiedStore()
		var log bytes.Buffer
		client := sharing(server, 1, store, wxphone.WithLogger(slog.New(slog.NewTextHandler(&log, nil))))[0]
		store.SetDown(errors.New("connection refused"))
		code := server.IssueCode(aPhone)
		begun := time.Now()
		wantSomebody(t, redeemAtOnce(t.Context(), 1, code, client)...)
		wantSomebody(t, redeemAtOnce(t.Context(), 1, code, client)...) // its own memory works
		assert.Zero(t, time.Since(begun))
		assert.Contains(t, log.String(), "connection refused")
		assert.Len(t, store.used(), 1, "it is left alone for a second")

		time.Sleep(time.Second)
		store.SetDown(nil)
		wantSomebody(t, redeemAtOnce(t.Context(), 1, server.IssueCode(aPhone), client)...)
		store.only(t)
	})
}

// hangingStore ignores its context until the end.
type hangingStore struct {
	calls atomic.Int32
	end   chan struct{}
}

func (s *hangingStore) hang() { s.calls.Add(1); <-s.end }
func (s *hangingStore) LoadResult(context.Context, string) ([]byte, error) {
	s.hang()
	return nil, nil
}

func (s *hangingStore) SaveResult(context.Context, string, []byte, time.Duration) error {
	s.hang()
	return nil
}

func (s *hangingStore) TryLock(context.Context, string, time.Duration) (func(context.Context) error, bool, error) {
	s.hang()
	return nil, false, nil
}

func TestStoreThatHangsCostsLittle(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server, store := wxphonetest.NewServer(t), &hangingStore{end: make(chan struct{})}
		defer close(store.end)
		client := sharing(server, 1, store)[0]
		begun := time.Now()
		for range 20 {
			wantSomebody(t, redeemAtOnce(t.Context(), 1, server.IssueCode(aPhone), client)...)
		}
		assert.Equal(t, time.Second, time.Since(begun), "the first call waited")
		time.Sleep(time.Minute)
		wantSomebody(t, redeemAtOnce(t.Context(), 1, server.IssueCode(aPhone), client)...)
		assert.Equal(t, int32(1), store.calls.Load(), "one that never returns is not asked again")
	})
}

func TestStoreTakesAThirdOfAShortCallAtMost(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server, store := wxphonetest.NewServer(t), slowStore{newSpiedStore(), 2 * time.Second}
		client := sharing(server, 1, store)[0]
		ctx, cancel := context.WithTimeout(t.Context(), 600*time.Millisecond)
		defer cancel()
		begun := time.Now()
		wantSomebody(t, redeemAtOnce(ctx, 1, server.IssueCode(aPhone), client)...)
		assert.Less(t, time.Since(begun), 5*time.Second)
		require.NoError(t, ctx.Err(), "the call's number came in time")
	})
}

func TestStoreThatIsTooSlowForAShortCallIsNotDown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server, store := wxphonetest.NewServer(t), slowStore{newSpiedStore(), 300 * time.Millisecond}
		client := sharing(server, 1, store)[0]
		ctx, cancel := context.WithTimeout(t.Context(), 600*time.Millisecond)
		defer cancel()
		wantSomebody(t, redeemAtOnce(ctx, 1, server.IssueCode(aPhone), client)...)
		assert.Len(t, store.used(), 1, "the lock came too late, and the result was saved")
	})
}

// slowStore takes its time, within its context.
type slowStore struct {
	*spiedStore
	delay time.Duration
}

func (s slowStore) TryLock(ctx context.Context, key string, ttl time.Duration) (func(context.Context) error, bool, error) {
	select {
	case <-time.After(s.delay):
		return s.spiedStore.TryLock(ctx, key, ttl)
	case <-ctx.Done():
		return nil, false, ctx.Err()
	}
}

// A lock that is taken too late for its caller is given back at once.
func TestLateLockIsGivenBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server, store := wxphonetest.NewServer(t), lateLock{newSpiedStore()}
		code := server.IssueCode(aPhone)
		wantSomebody(t, redeemAtOnce(t.Context(), 1, code, sharing(server, 1, store)...)...)
		time.Sleep(time.Second)
		_, ok, err := store.MemoryStore.TryLock(t.Context(), store.used()[0], time.Minute)
		require.NoError(t, err)
		assert.True(t, ok)
	})
}

// lateLock answers after its caller has gone.
type lateLock struct{ *spiedStore }

func (s lateLock) TryLock(ctx context.Context, key string, ttl time.Duration) (func(context.Context) error, bool, error) {
	unlock, ok, err := s.spiedStore.TryLock(ctx, key, ttl)
	time.Sleep(1500 * time.Millisecond)
	return unlock, ok, err
}
