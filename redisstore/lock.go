package redisstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/bsm/redislock"
)

// lockSuffix is appended to a token's Redis key to form the key of its lock. It
// is at the end, so that patterns for the prefix, for example in an ACL, and a
// hash tag in the prefix apply to both.
const lockSuffix = ":lock"

// TryLock implements [wxphone.TokenLocker] with one SET NX PX. unlock returns
// an error if the lock has already expired.
//
// Redis replicates asynchronously, so a failover can lose a lock. Two processes
// may then fetch a token at the same time.
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
