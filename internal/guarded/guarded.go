// Package guarded calls code written by the user of wxphone (token sources and
// token stores) in goroutines that other callers depend on. Such code may hang,
// ignore its context, panic or exit its goroutine; [Call] returns even so.
package guarded

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"time"
)

// Code is code written by the user.
type Code struct {
	// Name describes the code in errors, such as "the token store".
	Name string
	// Limit is the longest duration of one call. If it is zero, only the
	// context limits a call.
	Limit time.Duration

	mu      sync.Mutex
	hanging int       // calls that are no longer waited for
	letInAt time.Time // when one more call is allowed although maxHanging hang
}

const (
	// maxHanging is how many calls may hang at a time. Each keeps a goroutine
	// until it returns.
	maxHanging = 16
	// letInInterval is how often one more call is allowed when maxHanging hang,
	// to find out whether the code works again.
	letInInterval = 5 * time.Minute
)

// enter reports whether a call may be made, and if not, how many calls hang.
func (c *Code) enter(now time.Time) (hanging int, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.hanging < maxHanging {
		c.letInAt = now.Add(letInInterval)
		return 0, true
	}
	if now.Before(c.letInAt) {
		return c.hanging, false
	}
	c.letInAt = now.Add(letInInterval)
	return 0, true
}

// call is one call of the code. Its fields are guarded by the code's mutex.
type call struct{ returned, givenUp bool }

// giveUp counts one as hanging, unless it has returned in the meantime.
func (c *Code) giveUp(one *call) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !one.returned {
		one.givenUp = true
		c.hanging++
	}
}

func (c *Code) returned(one *call) {
	c.mu.Lock()
	defer c.mu.Unlock()
	one.returned = true
	if one.givenUp {
		c.hanging--
	}
}

// Call returns the results of f. It returns an error if f panics, exits its
// goroutine, or does not return before the code's limit or the end of ctx. A
// call that continues after that does not affect the caller, but if too many
// calls hang, further ones return an error without calling f.
func Call[T any](ctx context.Context, code *Code, f func(context.Context) (T, error)) (T, error) {
	if code.Limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, code.Limit)
		defer cancel()
	}
	var none T
	if hanging, ok := code.enter(time.Now()); !ok {
		return none, fmt.Errorf("wxphone: %s does not answer: %d calls have not returned", code.Name, hanging)
	}
	type result struct {
		value T
		err   error
	}
	var one call
	done := make(chan result, 1)
	go func() {
		var r result
		returned := false
		defer func() {
			if v := recover(); v != nil {
				r.err = fmt.Errorf("wxphone: %s panicked: %s", code.Name, describe(v))
			} else if !returned {
				r.err = fmt.Errorf("wxphone: %s ended its goroutine", code.Name)
			}
			code.returned(&one)
			done <- r
		}()
		r.value, r.err = f(ctx)
		returned = true
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
		code.giveUp(&one)
		return none, fmt.Errorf("wxphone: %s does not answer: %w", code.Name, ctx.Err())
	}
}

// Do is [Call] for code that returns only an error.
func Do(ctx context.Context, code *Code, f func(context.Context) error) error {
	_, err := Call(ctx, code, func(ctx context.Context) (struct{}, error) { return struct{}{}, f(ctx) })
	return err
}

// describe returns the text of a runtime error and only the type of any other
// value, which may contain a secret.
func describe(v any) string {
	if fault, ok := v.(runtime.Error); ok {
		return fault.Error()
	}
	return fmt.Sprintf("with a value of type %T", v)
}
