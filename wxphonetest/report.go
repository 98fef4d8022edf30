package wxphonetest

import (
	"fmt"
	"sync"
)

// TB is the part of [testing.TB] that a [Server] uses. *testing.T, *testing.B
// and *testing.F have it.
type TB interface {
	Helper()
	Cleanup(func())
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Logf(format string, args ...any)
}

// reporter tells a test about mistakes, for as long as the test runs: a TB
// panics when it is used later.
type reporter struct {
	// mu is held while the TB is called, so that stop waits for a report that
	// is under way. It is not the Server's, because a TB may call back.
	mu sync.Mutex
	tb TB
}

func (r *reporter) errorf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.tb == nil {
		return
	}
	r.tb.Helper()
	r.tb.Errorf(format, args...)
}

// fatalf ends the test, or panics where there is none to end.
func (r *reporter) fatalf(format string, args ...any) {
	r.mu.Lock()
	tb := r.tb
	r.mu.Unlock()
	if tb == nil {
		panic(fmt.Sprintf(format, args...))
	}
	tb.Helper()
	tb.Fatalf(format, args...)
}

func (r *reporter) stop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tb = nil
}
