package redisstore

import (
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"
)

// resultSuffix makes a result's Redis key of its name, as lockSuffix makes a
// lock's.
const resultSuffix = ":result"

// LoadResult implements [wxphone.DuplicateStore]. A value that is not a string
// is none, since SaveResult replaces it.
func (s *Store) LoadResult(ctx context.Context, key string) ([]byte, error) {
	value, err := s.client.Get(ctx, s.prefix+key+resultSuffix).Bytes()
	switch {
	case errors.Is(err, redis.Nil), redis.HasErrorPrefix(err, "WRONGTYPE"):
		return nil, nil
	case err != nil:
		return nil, failed("load result", err)
	}
	return value, nil
}

// SaveResult implements [wxphone.DuplicateStore]. The value is stored as it
// is, whatever the store's encryption: it is sealed already.
func (s *Store) SaveResult(ctx context.Context, key string, sealed []byte, ttl time.Duration) error {
	if ttl <= 0 {
		return invalid("SaveResult needs a positive ttl")
	}
	if err := s.client.Set(ctx, s.prefix+key+resultSuffix, sealed, wholeMillis(ttl)).Err(); err != nil {
		return failed("save result", err)
	}
	return nil
}
