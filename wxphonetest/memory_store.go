package wxphonetest

import (
	"bytes"
	"context"
	"sync"
	"time"

	"github.com/wxphone/wxphone"
)

// MemoryStore is an in-memory [wxphone.TokenStore], [wxphone.DuplicateStore] and
// [wxphone.TokenLocker] for tests of several Clients that share a token or the
// results of codes. The zero value is ready to use. It is safe for concurrent
// use by multiple goroutines.
type MemoryStore struct {
	mu      sync.Mutex
	tokens  map[string]wxphone.Token
	results map[string]memoryResult
	locks   map[string]*memoryLock
	down    error
}

// memoryResult is a sealed result and when it ends.
type memoryResult struct {
	sealed []byte
	until  time.Time
}

// memoryLock is one acquisition of a lock, identified by its address.
type memoryLock struct{ until time.Time }

// SetDown makes every method return err from now on. A nil err makes them work
// again.
func (s *MemoryStore) SetDown(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = err
}

// Load implements [wxphone.TokenStore].
func (s *MemoryStore) Load(ctx context.Context, key string) (wxphone.Token, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.unavailable(ctx); err != nil {
		return wxphone.Token{}, err
	}
	token, ok := s.tokens[key]
	if !ok || !time.Now().Before(token.ExpiresAt) {
		return wxphone.Token{}, wxphone.ErrTokenNotFound
	}
	return token, nil
}

// Save implements [wxphone.TokenStore].
func (s *MemoryStore) Save(ctx context.Context, key string, token wxphone.Token) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.unavailable(ctx); err != nil {
		return err
	}
	if s.tokens == nil {
		s.tokens = make(map[string]wxphone.Token)
	}
	s.tokens[key] = token
	return nil
}

// DeleteIf implements [wxphone.TokenStore].
func (s *MemoryStore) DeleteIf(ctx context.Context, key, accessToken string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.unavailable(ctx); err != nil {
		return err
	}
	if s.tokens[key].AccessToken == accessToken {
		delete(s.tokens, key)
	}
	return nil
}

// LoadResult implements [wxphone.DuplicateStore].
func (s *MemoryStore) LoadResult(ctx context.Context, key string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.unavailable(ctx); err != nil {
		return nil, err
	}
	result, ok := s.results[key]
	if !ok || !time.Now().Before(result.until) {
		return nil, nil
	}
	return bytes.Clone(result.sealed), nil
}

// SaveResult implements [wxphone.DuplicateStore].
func (s *MemoryStore) SaveResult(ctx context.Context, key string, sealed []byte, ttl time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.unavailable(ctx); err != nil {
		return err
	}
	if s.results == nil {
		s.results = make(map[string]memoryResult)
	}
	s.results[key] = memoryResult{sealed: bytes.Clone(sealed), until: time.Now().Add(ttl)}
	return nil
}

// TryLock implements [wxphone.TokenLocker].
func (s *MemoryStore) TryLock(ctx context.Context, key string, ttl time.Duration) (unlock func(context.Context) error, ok bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.unavailable(ctx); err != nil {
		return nil, false, err
	}
	if held := s.locks[key]; held != nil && time.Now().Before(held.until) {
		return nil, false, nil
	}
	if s.locks == nil {
		s.locks = make(map[string]*memoryLock)
	}
	mine := &memoryLock{until: time.Now().Add(ttl)}
	s.locks[key] = mine
	return func(ctx context.Context) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		if err := s.unavailable(ctx); err != nil {
			return err
		}
		if s.locks[key] == mine {
			delete(s.locks, key)
		}
		return nil
	}, true, nil
}

// unavailable returns the error of a call that must fail, or nil. The caller
// must hold mu.
func (s *MemoryStore) unavailable(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return s.down
}
