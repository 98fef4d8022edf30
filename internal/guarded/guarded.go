// Package guarded calls code that the user of wxphone wrote (token sources,
// token stores) from goroutines that other callers depend on. Such code may
// hang, ignore its context, panic or end its goroutine; a call of [Call]
// returns all the same.
package guarded

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"time"
)

// Code is a piece of the user's code.
type Code struct {
	// Name is what errors call it: "the token store".
	Name string
	// Limit bounds one call. Zero leaves that to the context.
	Limit time.Duration

	mu      sync.Mutex
	hanging int       // calls that nobody waits for any more
	letInAt time.Time // when a call is let in although maxHanging hang
}

const (
	// maxHanging is how many calls may hang at a time. Each keeps a goroutine
	// until it returns, if it ever does.
	maxHanging = 16
	// letInInterval is how often one more is let in when so many hang: code
	// that works again must be found out about.
	letInInterval = 5 * time.Minute
)

// enter reports whether a call may be made, and if not, how many hang.
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

// call is one call of the code. Its fields belong to the code's mutex.
type call struct{ returned, givenUp bool }

// giveUp counts one among those that hang, unless it has returned just now.
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

// Call returns what f returns, or an error if f does not return before the
// code's limit or the end of ctx, panics, or ends its goroutine. A call that
// goes on after that has no effect on the caller, but counts: code of which too
// many calls hang is not called.
func Call[T any](ctx context.Context, code *Code, f func(context.Context) (T, error)) (T, error) {
	if code.Limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, code.Limit)
		defer cancel()
	}
	var none T
	if hanging, ok := code.enter(time.Now()); !ok {
		return none, fmt.Errorf("wxphone: %s does not answer: %d calls of it hang", code.Name, hanging)
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

// Do is [Call] for code that returns an error only.
func Do(ctx context.Context, code *Code, f func(context.Context) error) error {
	_, err := Call(ctx, code, func(ctx context.Context) (struct{}, error) { return struct{}{}, f(ctx) })
	return err
}

// describe shows the runtime's own words only: any other value may hold a
// secret.
func describe(v any) string {
	if fault, ok := v.(runtime.Error); ok {
		return fault.Error()
	}
	return fmt.Sprintf("with a value of type %T", v)
}
