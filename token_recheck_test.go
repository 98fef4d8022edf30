package wxphone

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A caller may find the token due for a refresh and get the lock only when
// another caller's refresh is over already.
func TestCallerWhoComesLateToARefreshStartsNoOther(t *testing.T) {
	t.Parallel()
	for name, life := range map[string]time.Duration{"refreshed early": time.Hour, "too short for that": shortLife - time.Second/2} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fetches := make(chan struct{}, 10)
			cache := newTokenCache(TokenSourceFunc(func(context.Context) (Token, error) {
				fetches <- struct{}{}
				return Token{AccessToken: "token", ExpiresAt: time.Now().Add(life)}, nil
			}))
			first, err := cache.Token(context.Background())
			require.NoError(t, err)

			second, err := cache.stale(context.Background())
			require.NoError(t, err)
			assert.Equal(t, first, second)
			assert.Nil(t, cache.flight)
			assert.Len(t, fetches, 1)
		})
	}
}
