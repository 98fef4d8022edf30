package redisstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/bsm/redislock"
)

// lockSuffix makes a lock's Redis key of a token's. It comes last, so that
// patterns for the prefix, in an ACL say, cover both, and so that a hash tag
// in the prefix counts for both.
const lockSuffix = ":lock"

// TryLock implements [wxphone.TokenLocker] with one SET NX PX. unlock returns
// an error if the lock had ended before.
//
// Redis replicates asynchronously: a failover can lose a lock, and then two
// processes fetch a token at the same time.
func (s *Store) TryLock(ctx context.Context, key string, ttl time.Duration) (unlock func(context.Context) error, ok bool, err error) {
	if ttl <= 0 {
		return nil, false, invalid("TryLock needs a positive ttl")
	}
	lock, err := s.locks.Obtain(ctx, s.prefix+key+lockSuffix, wholeMillis(ttl), nil)
	switch {
	case errors.Is(err, redislock.ErrNotObtained):
		return nil, false, nil
	case err != nil:
		return nil, false, failed("lock", err)
	}
	return func(ctx context.Context) error {
		err := lock.Release(ctx)
		switch {
		case errors.Is(err, redislock.ErrLockNotHeld):
			return fmt.Errorf("redisstore: unlock: the lock had ended before: %w", err)
		case err != nil:
			return failed("unlock", err)
		}
		return nil
	}, true, nil
}
