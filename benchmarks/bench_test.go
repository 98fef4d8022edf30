package main

import (
	"fmt"
	"sync"
	"testing"
	"time"
)

// These are the rows of the table for benchstat:
//
//	go test -run '^$' -bench . -count 10 -timeout 30m | tee new.txt
//	benchstat -col /sdk new.txt
//
// Here one contender is measured after the other, so load that comes and goes
// does not hit them alike as it does in the table.

func eachContender(b *testing.B, call func(contender) error) {
	b.Helper()
	for _, name := range []string{nameWxphone, nameSilenceper, nameBare} {
		b.Run("sdk="+name, func(b *testing.B) {
			c, err := newContender(name, new(inMemory).network())
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for i := 0; i < b.N; i++ {
				if err := call(c); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkDecrypt(b *testing.B) { eachContender(b, decryptOnce) }

func BenchmarkGetPhoneNumber(b *testing.B) { eachContender(b, phoneOnce) }

// BenchmarkCallers times calls of which as many as there are callers are under
// way at a time.
func BenchmarkCallers(b *testing.B) {
	for _, c := range []crowd{{callers: fullPlan.few}, {callers: fullPlan.many}} {
		for _, name := range []string{nameWxphone, nameSilenceper, nameBare} {
			b.Run(fmt.Sprintf("callers=%d/sdk=%s", c.callers, name), func(b *testing.B) {
				a, err := newArena(name, c)
				if err != nil {
					b.Fatal(err)
				}
				defer a.close()
				benchmarkArena(b, a, c.callers)
			})
		}
	}
}

func benchmarkArena(b *testing.B, a *arena, callers int) {
	b.Helper()
	var (
		group     sync.WaitGroup
		mu        sync.Mutex
		latencies []float64
	)
	// The first calls open connections and are not timed.
	if _, err := a.drive(callers, fullPlan.turn); err != nil {
		b.Fatal(err)
	}
	opened := a.server.connections.Load()
	jobs := make(chan struct{})
	for range callers {
		group.Add(1)
		go func() {
			defer group.Done()
			for range jobs {
				start := time.Now()
				if err := phoneOnce(a.contender); err != nil {
					b.Error(err)
				}
				mu.Lock()
				latencies = append(latencies, float64(time.Since(start).Nanoseconds()))
				mu.Unlock()
			}
		}()
	}
	b.ResetTimer()
	for i := 0; i < b.N; i++ {
		jobs <- struct{}{}
	}
	close(jobs)
	group.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "calls/s")
	b.ReportMetric(float64(a.server.connections.Load()-opened)/float64(b.N), "connections/op")
	b.ReportMetric(percentile(latencies, 50), "p50-ns")
	b.ReportMetric(percentile(latencies, 99), "p99-ns")
}

func eachWithTokens(b *testing.B, measure func(b *testing.B, name string) (unit string, value float64)) {
	b.Helper()
	for _, name := range withTokens {
		b.Run("sdk="+name, func(b *testing.B) {
			for i := 0; i < b.N; i++ {
				unit, value := measure(b, name)
				b.ReportMetric(value, unit)
			}
		})
	}
}

func BenchmarkColdHerd(b *testing.B) {
	eachWithTokens(b, func(b *testing.B, name string) (string, float64) {
		b.Helper()
		tokens, err := herd(name, &inMemory{tokenDelay: herdDelay}, fullPlan.herd)
		if err != nil {
			b.Fatal(err)
		}
		return "token-requests", float64(tokens)
	})
}

func BenchmarkBusyHerd(b *testing.B) {
	eachWithTokens(b, func(b *testing.B, name string) (string, float64) {
		b.Helper()
		tokens, err := herd(name, &inMemory{busy: true}, fullPlan.herd)
		if err != nil {
			b.Fatal(err)
		}
		return "token-requests", float64(tokens)
	})
}

func BenchmarkRevokedToken(b *testing.B) {
	eachWithTokens(b, func(b *testing.B, name string) (string, float64) {
		b.Helper()
		result, err := revoke(name, fullPlan.after)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(result.requests), "requests")
		return "failed-calls", float64(result.failed)
	})
}

// BenchmarkWaiter waits for the other caller's token too, so the metric says
// what the time per operation does not.
func BenchmarkWaiter(b *testing.B) {
	eachWithTokens(b, func(b *testing.B, name string) (string, float64) {
		b.Helper()
		waited, err := wait(name, fullPlan.slow, fullPlan.limit, true)
		if err != nil {
			b.Fatal(err)
		}
		return "returned-after-ms", float64(waited.Milliseconds())
	})
}
