//go:build go1.25

package wxphone_test

import (
	"context"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wxphone/wxphone"
)

// rotatingSource hands out the same token until it is told that this one was
// refused.
type rotatingSource struct {
	reading time.Duration // how long an answer takes after it was made up
	telling time.Duration // how long it takes to be told of a refusal

	mu      sync.Mutex
	current int
	told    []string
}

func (s *rotatingSource) Token(context.Context) (wxphone.Token, error) {
	s.mu.Lock()
	value, reading := "token-"+strconv.Itoa(s.current), s.reading
	s.mu.Unlock()
	time.Sleep(reading)
	return wxphone.Token{AccessToken: value, ExpiresAt: time.Now().Add(time.Hour)}, nil
}

func (s *rotatingSource) InvalidateToken(ctx context.Context, rejected string) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	time.Sleep(s.telling)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.told = append(s.told, rejected)
	if rejected == "token-"+strconv.Itoa(s.current) {
		s.current++
	}
	return nil
}

func (s *rotatingSource) wasTold() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.told
}

// assertNeverServed asks for 40 seconds, which is longer than a token that the
// source insists on is put up with.
func assertNeverServed(t *testing.T, tokens wxphone.TokenSource, refused string) {
	t.Helper()
	for second := range 40 {
		require.NotEqual(t, refused, accessToken(t, tokens), "served again %d s after it was refused", second)
		time.Sleep(time.Second)
	}
}

func TestRefusedTokenIsNotFetchedWhileTheSourceIsBeingTold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source := &rotatingSource{telling: 20 * time.Millisecond}
		tokens := wxphone.CacheTokens(source)
		refused := accessToken(t, tokens)
		var group sync.WaitGroup
		group.Go(func() { // the source does not know yet, and would say the same again
			time.Sleep(5 * time.Millisecond)
			assert.NotEqual(t, refused, accessToken(t, tokens))
		})
		invalidate(t, tokens, refused)
		assertNeverServed(t, tokens, refused)
		group.Wait()
		assert.Equal(t, []string{refused}, source.wasTold())
	})
}

func TestRefreshThatReadTheTokenBeforeItsRefusalDoesNotBringItBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source := &rotatingSource{}
		tokens := wxphone.CacheTokens(source)
		refused := accessToken(t, tokens)
		time.Sleep(58*time.Minute + time.Second)
		source.reading = 100 * time.Millisecond
		require.Equal(t, refused, accessToken(t, tokens), "an early refresh begins")
		synctest.Wait()
		invalidate(t, tokens, refused)
		assertNeverServed(t, tokens, refused)
	})
}

func TestReporterWhoseContextEndsReturnsAndTheSourceIsToldAllTheSame(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source := &rotatingSource{telling: 2 * time.Second}
		tokens := wxphone.CacheTokens(source)
		for name, end := range map[string]time.Duration{"before": 0, "meanwhile": time.Second} {
			refused := accessToken(t, tokens)
			ctx, cancel := context.WithTimeout(t.Context(), end)
			begin := time.Now()
			err := tokens.(wxphone.TokenInvalidator).InvalidateToken(ctx, refused)
			cancel()
			require.ErrorIs(t, err, context.DeadlineExceeded, name)
			require.Equal(t, end, time.Since(begin), name)
			assertNeverServed(t, tokens, refused)
			require.Contains(t, source.wasTold(), refused, name)
		}
	})
}

// deafSource does not take a refusal as it should.
type deafSource struct {
	countingSource
	refusal func() error
}

func (s *deafSource) InvalidateToken(context.Context, string) error { return s.refusal() }

func TestSourceThatHangsWhenToldOfARefusalHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		tokens := wxphone.CacheTokens(&deafSource{
			countingSource: countingSource{life: time.Hour},
			refusal:        func() error { <-release; return nil },
		})
		refused := accessToken(t, tokens)
		begin := time.Now()
		go func() { _ = tokens.(wxphone.TokenInvalidator).InvalidateToken(t.Context(), refused) }()
		synctest.Wait()
		assert.NotEqual(t, refused, accessToken(t, tokens))
		assert.LessOrEqual(t, time.Since(begin), 5*time.Second)
		assertNeverServed(t, tokens, refused)
		close(release)
	})
}

func TestReporterDoesNotWaitForEverForASourceThatHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		tokens := wxphone.CacheTokens(&deafSource{
			countingSource: countingSource{life: time.Hour},
			refusal:        func() error { <-release; return nil },
		})
		refused := accessToken(t, tokens)
		returned := make(chan struct{})
		go func() { // whose context never ends
			defer close(returned)
			_ = tokens.(wxphone.TokenInvalidator).InvalidateToken(t.Context(), refused)
		}()
		select {
		case <-returned:
		case <-time.After(time.Minute):
			t.Error("the reporter still waits after a minute")
		}
		close(release)
		<-returned
	})
}

func TestSourceThatPanicsWhenToldOfARefusalIsAnError(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tokens := wxphone.CacheTokens(&deafSource{
			countingSource: countingSource{life: time.Hour},
			refusal:        func() error { panic("secret inside") },
		})
		refused := accessToken(t, tokens)
		err := tokens.(wxphone.TokenInvalidator).InvalidateToken(t.Context(), refused)
		require.ErrorContains(t, err, "panicked")
		assert.NotContains(t, err.Error(), "secret inside")
		assertNeverServed(t, tokens, refused)
	})
}

func TestFlightHasNoneOfItsCallersValues(t *testing.T) {
	t.Parallel()
	var inherited any
	tokens := wxphone.CacheTokens(wxphone.TokenSourceFunc(func(ctx context.Context) (wxphone.Token, error) {
		inherited = ctx.Value(contextKey{})
		return wxphone.Token{AccessToken: "token", ExpiresAt: time.Now().Add(time.Hour)}, nil
	}))
	_, err := tokens.Token(context.WithValue(t.Context(), contextKey{}, "a request that the framework recycles"))
	require.NoError(t, err)
	assert.Nil(t, inherited)
}
