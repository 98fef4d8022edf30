// Package guarded calls code that the user of wxphone wrote (token sources,
// token stores) from goroutines that other callers depend on. Such code may
// hang, ignore its context, panic or end its goroutine; a call of [Call]
// returns all the same.
package guarded

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"
)

// Code is a piece of the user's code.
type Code struct {
	// Name is what errors call it: "the token store".
	Name string
	// Limit bounds one call. Zero leaves that to the context.
	Limit time.Duration
}

// Call returns what f returns, or an error if f does not return before the
// code's limit or the end of ctx, panics, or ends its goroutine. A call that
// goes on after that has no effect on the caller.
func Call[T any](ctx context.Context, code *Code, f func(context.Context) (T, error)) (T, error) {
	if code.Limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, code.Limit)
		defer cancel()
	}
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		r := result{err: errGoexit}
		defer func() {
			if v := recover(); v != nil {
				r.err = fmt.Errorf("wxphone: %s panicked: %s", code.Name, describe(v))
			} else if errors.Is(r.err, errGoexit) {
				r.err = fmt.Errorf("wxphone: %s %w", code.Name, errGoexit)
			}
			done <- r
		}()
		r.value, r.err = f(ctx)
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
		var none T
		return none, fmt.Errorf("wxphone: %s does not answer: %w", code.Name, ctx.Err())
	}
}

// Do is [Call] for code that returns an error only.
func Do(ctx context.Context, code *Code, f func(context.Context) error) error {
	_, err := Call(ctx, code, func(ctx context.Context) (struct{}, error) { return struct{}{}, f(ctx) })
	return err
}

var errGoexit = errors.New("ended its goroutine")

// describe shows the runtime's own words only: any other value may hold a
// secret.
func describe(v any) string {
	if fault, ok := v.(runtime.Error); ok {
		return fault.Error()
	}
	return fmt.Sprintf("with a value of type %T", v)
}
