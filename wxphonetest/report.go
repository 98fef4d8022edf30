package wxphonetest

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
)

// TB is the part of [testing.TB] that a [Server] uses. *testing.T, *testing.B
// and *testing.F implement it.
type TB interface {
	Helper()
	Cleanup(func())
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Logf(format string, args ...any)
}

// reporter reports mistakes to a test while it runs, because a TB panics when
// it is used later. It also reports them to a logger.
type reporter struct {
	log *slog.Logger // or nil

	// mu is held while the TB is called, so that stop waits for a report in
	// progress. It is not the Server's mutex, because a TB may call the Server.
	mu sync.Mutex
	tb TB
}

// warn logs a mistake that errorf then reports to the test.
func (r *reporter) warn(message string, attrs ...slog.Attr) {
	if r.log != nil {
		r.log.LogAttrs(context.Background(), slog.LevelWarn, message, attrs...) //nolint:sloglint // the callers' messages are constants
	}
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

// logf logs what the test itself must judge.
func (r *reporter) logf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.tb != nil {
		r.tb.Helper()
		r.tb.Logf(format, args...)
	}
}

// fatalf ends the test, or panics if there is none.
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

// reportMalformed reports a request that no working program would send.
func (s *Server) reportMalformed(c *call) {
	if s.allowMalformed {
		return
	}
	s.reporter.warn("wxphonetest: malformed request",
		slog.String("method", c.method), slog.String("endpoint", c.endpoint), slog.String("reason", c.reason))
	s.reporter.errorf("wxphonetest: malformed request: %s %s: %s", c.method, c.endpoint, c.reason)
}
