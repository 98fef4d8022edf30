package wxphonetest_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/wxphonetest"
)

func TestMemoryStoreKeepsTheContract(t *testing.T) {
	t.Parallel()
	wxphonetest.TestTokenStore(t, func(*testing.T) wxphone.TokenStore { return new(wxphonetest.MemoryStore) })
}

func TestMemoryStoreOfDuplicatesKeepsTheContract(t *testing.T) {
	t.Parallel()
	wxphonetest.TestDuplicateStore(t, func(*testing.T) wxphone.DuplicateStore { return new(wxphonetest.MemoryStore) })
}

func TestMemoryStoreThatIsDownFails(t *testing.T) {
	t.Parallel()
	store, ctx, down := new(wxphonetest.MemoryStore), context.Background(), errors.New("down")
	unlock, ok, err := store.TryLock(ctx, "key", time.Minute)
	require.NoError(t, err)
	require.True(t, ok)
	store.SetDown(down)
	_, err = store.Load(ctx, "key")
	require.ErrorIs(t, err, down)
	require.ErrorIs(t, store.Save(ctx, "key", wxphone.Token{}), down)
	require.ErrorIs(t, store.DeleteIf(ctx, "key", "x"), down)
	_, err = store.LoadResult(ctx, "key")
	require.ErrorIs(t, err, down)
	require.ErrorIs(t, store.SaveResult(ctx, "key", []byte("x"), time.Minute), down)
	_, _, err = store.TryLock(ctx, "key", time.Minute)
	require.ErrorIs(t, err, down)
	require.ErrorIs(t, unlock(ctx), down)
	store.SetDown(nil)
	_, err = store.Load(ctx, "key")
	assert.ErrorIs(t, err, wxphone.ErrTokenNotFound)
}
