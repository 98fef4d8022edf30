package guarded_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wxphone/wxphone/internal/guarded"
)

// unlimited is code that only the context ends, limited is code that is soon
// given up.
var (
	unlimited = &guarded.Code{Name: "the token store"}
	limited   = &guarded.Code{Name: "the token store", Limit: 5 * time.Millisecond}
)

var errFull = errors.New("disk full")

func TestCallReturnsWhatTheCodeReturns(t *testing.T) {
	t.Parallel()
	for _, code := range []*guarded.Code{unlimited, {Name: "the token store", Limit: time.Minute}} {
		value, err := guarded.Call(context.Background(), code, func(context.Context) (int, error) { return 7, nil })
		require.NoError(t, err)
		assert.Equal(t, 7, value)

		value, err = guarded.Call(context.Background(), code, func(context.Context) (int, error) { return 8, errFull })
		require.Equal(t, errFull, err, "as it is, not wrapped")
		assert.Equal(t, 8, value)

		require.NoError(t, guarded.Do(context.Background(), code, func(context.Context) error { return nil }))
		require.Equal(t, errFull, guarded.Do(context.Background(), code, func(context.Context) error { return errFull }))
	}
}

func TestCodeThatEndsBadlyIsAnErrorThatNamesIt(t *testing.T) {
	t.Parallel()
	var none map[string]int
	tests := map[string]struct {
		end  func()
		want string
	}{
		"runtime's panic": {
			func() { none["key"] = 1 },
			"wxphone: the token store panicked: assignment to entry in nil map",
		},
		"panic with a string": {
			func() { panic("secret inside") },
			"wxphone: the token store panicked: with a value of type string",
		},
		"panic with an error": {
			func() { panic(fmt.Errorf("secret inside: %w", errFull)) },
			"wxphone: the token store panicked: with a value of type *fmt.wrapError",
		},
		"panic with an error of the runtime inside": {
			func() {
				defer func() { panic(fmt.Errorf("secret inside: %w", recover().(error))) }()
				none["key"] = 1
			},
			"wxphone: the token store panicked: with a value of type *fmt.wrapError",
		},
		"Goexit": {
			runtime.Goexit,
			"wxphone: the token store ended its goroutine",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, code := range []*guarded.Code{unlimited, {Name: "the token store", Limit: time.Minute}} {
				value, err := guarded.Call(context.Background(), code, func(context.Context) (string, error) {
					tt.end()
					return "value", nil
				})
				require.EqualError(t, err, tt.want)
				assert.Empty(t, value)
				require.EqualError(t, guarded.Do(context.Background(), code, func(context.Context) error {
					tt.end()
					return nil
				}), tt.want)
			}
		})
	}
}

// A panic with nil is a *runtime.PanicNilError, unless GODEBUG says otherwise.
func TestPanicWithNilIsAnError(t *testing.T) {
	t.Parallel()
	err := guarded.Do(context.Background(), unlimited, func(context.Context) error {
		panic(nil) //nolint:govet // the mistake under test
	})
	require.ErrorContains(t, err, "the token store panicked: panic called with nil argument")
}

func TestCodeThatHangsIsLeftAtItsLimit(t *testing.T) {
	t.Parallel()
	end := make(chan struct{})
	defer close(end)
	value, err := guarded.Call(context.Background(), limited, func(context.Context) (string, error) {
		<-end
		return "late", nil
	})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.EqualError(t, err, "wxphone: the token store does not answer: context deadline exceeded")
	assert.Empty(t, value)
}

func TestCodeThatHeedsItsContextIsEndedByItsLimit(t *testing.T) {
	t.Parallel()
	err := guarded.Do(context.Background(), limited, func(ctx context.Context) error {
		<-ctx.Done()
		return ctx.Err()
	})
	require.ErrorIs(t, err, context.DeadlineExceeded, "whoever of the two says so")
}

func TestCodeThatHangsIsLeftWhenTheContextEnds(t *testing.T) {
	t.Parallel()
	for name, code := range map[string]*guarded.Code{"no limit": unlimited, "limit": {Name: "the token store", Limit: time.Minute}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			end := make(chan struct{})
			defer close(end)
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			err := guarded.Do(ctx, code, func(context.Context) error {
				cancel()
				<-end
				return nil
			})
			require.ErrorIs(t, err, context.Canceled)
			require.EqualError(t, err, "wxphone: the token store does not answer: context canceled")
		})
	}
}

func TestCodeIsToldOfItsLimitAndItsCallersValues(t *testing.T) {
	t.Parallel()
	type key struct{}
	caller, cancel := context.WithTimeout(context.WithValue(context.Background(), key{}, "kept"), time.Hour)
	defer cancel()
	callers, _ := caller.Deadline()
	for limit, sooner := range map[time.Duration]bool{0: false, time.Minute: true, 2 * time.Hour: false} {
		code := &guarded.Code{Name: "the token store", Limit: limit}
		var given context.Context
		require.NoError(t, guarded.Do(caller, code, func(ctx context.Context) error {
			given = ctx //nolint:fatcontext // looked at below
			return ctx.Err()
		}))
		deadline, ok := given.Deadline()
		require.True(t, ok)
		assert.Equal(t, sooner, deadline.Before(callers), "limit %v", limit)
		assert.False(t, deadline.After(callers), "limit %v", limit)
		assert.Equal(t, "kept", given.Value(key{}))
		if limit > 0 {
			require.ErrorIs(t, given.Err(), context.Canceled, "what goes on after its return has no context to go on with")
		}
	}
}

// The result of a call that was given up is written, or not, after the caller
// has gone on: the race detector would see if it shared anything with it.
func TestLateEndHasNoEffect(t *testing.T) {
	t.Parallel()
	for name, late := range map[string]func() ([]int, error){
		"value":  func() ([]int, error) { return []int{1}, nil },
		"error":  func() ([]int, error) { return nil, errFull },
		"panic":  func() ([]int, error) { panic("secret inside") },
		"Goexit": func() ([]int, error) { runtime.Goexit(); return nil, nil },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			end, ended := make(chan struct{}), make(chan struct{})
			value, err := guarded.Call(context.Background(), limited, func(context.Context) ([]int, error) {
				defer close(ended)
				<-end
				return late()
			})
			require.ErrorIs(t, err, context.DeadlineExceeded)
			close(end)
			<-ended
			runtime.Gosched()
			assert.Nil(t, value)
			require.EqualError(t, err, "wxphone: the token store does not answer: context deadline exceeded")

			value, err = guarded.Call(context.Background(), unlimited, func(context.Context) ([]int, error) { return []int{2}, nil })
			require.NoError(t, err, "the next call is a new one")
			assert.Equal(t, []int{2}, value)
		})
	}
}

func TestErrorsNameTheCodeThatWasCalled(t *testing.T) {
	t.Parallel()
	end := make(chan struct{})
	defer close(end)
	for _, name := range []string{"the token source", "RefreshTokens"} {
		err := guarded.Do(context.Background(), &guarded.Code{Name: name}, func(context.Context) error { panic(1) })
		require.EqualError(t, err, "wxphone: "+name+" panicked: with a value of type int")
		err = guarded.Do(context.Background(), &guarded.Code{Name: name}, func(context.Context) error { runtime.Goexit(); return nil })
		require.EqualError(t, err, "wxphone: "+name+" ended its goroutine")
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		err = guarded.Do(ctx, &guarded.Code{Name: name}, func(context.Context) error { <-end; return nil })
		require.EqualError(t, err, "wxphone: "+name+" does not answer: context canceled")
	}
}

// A call that hangs keeps its goroutine. When sixteen do, no more are made.
func TestCodeOfWhichManyCallsHangIsNotCalled(t *testing.T) {
	t.Parallel()
	code := &guarded.Code{Name: "the token store", Limit: time.Millisecond}
	release := make(chan struct{})
	var calls, returned atomic.Int32
	hang := func(context.Context) error {
		calls.Add(1)
		<-release
		returned.Add(1)
		return nil
	}
	for range 16 {
		require.ErrorIs(t, guarded.Do(context.Background(), code, hang), context.DeadlineExceeded)
	}
	require.EqualError(t, guarded.Do(context.Background(), code, hang), "wxphone: the token store does not answer: 16 calls have not returned")
	assert.EqualValues(t, 16, calls.Load())

	close(release)
	require.Eventually(t, func() bool {
		return guarded.Do(context.Background(), code, func(context.Context) error { return nil }) == nil
	}, 5*time.Second, time.Millisecond, "it answers again")
	assert.EqualValues(t, 16, calls.Load())
}

// An error of code inside is passed on as it is.
func TestErrorOfNestedCodeIsReturnedAsItIs(t *testing.T) {
	t.Parallel()
	var inner error
	err := guarded.Do(context.Background(), &guarded.Code{Name: "the outer"}, func(ctx context.Context) error {
		inner = guarded.Do(ctx, &guarded.Code{Name: "the inner"}, func(context.Context) error { runtime.Goexit(); return nil })
		return inner
	})
	require.Error(t, err)
	assert.Equal(t, inner, err)
}
