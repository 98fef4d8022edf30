// Command benchmarks measures wxphone beside github.com/silenceper/wechat/v2
// and beside bare net/http and crypto/aes, and prints the table of
// docs/performance.md.
//
// The contenders take turns in short rounds, so that whatever else the machine
// does hits them alike. Every server is in this process or on loopback.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"time"
)

// plan says how much is measured.
type plan struct {
	rounds int           // of the timings in memory
	calls  int           // of each contender in one of them
	turns  int           // of the timings over TLS
	turn   time.Duration // how long one of them takes
	few    int           // callers
	many   int           // callers
	herd   int           // callers that find no token
	after  int           // calls after the token was revoked
	slow   time.Duration // what the token endpoint takes when it is slow
	limit  time.Duration // of the context of a caller who waits for it
}

// fullPlan takes less than a minute on two cores.
var fullPlan = plan{
	rounds: 400, calls: 200,
	turns: 5, turn: 350 * time.Millisecond, few: 64, many: 256,
	herd: 10_000, after: 100,
	slow: 2 * time.Second, limit: 50 * time.Millisecond,
}

// quickPlan shows that everything runs. Its figures mean nothing.
var quickPlan = plan{
	rounds: 3, calls: 2,
	turns: 1, turn: 30 * time.Millisecond, few: 4, many: 8,
	herd: 100, after: 10,
	slow: 300 * time.Millisecond, limit: 20 * time.Millisecond,
}

func main() {
	quick := flag.Bool("quick", false, "make every row in a few seconds, with figures that mean nothing")
	flag.Parse()
	p := fullPlan
	if *quick {
		p = quickPlan
	}
	if err := run(os.Stdout, os.Stderr, p); err != nil {
		fmt.Fprintln(os.Stderr, "benchmarks:", err)
		os.Exit(1)
	}
}

// run measures everything and prints the table to out, and to progress what it
// is at.
func run(out, progress io.Writer, p plan) error {
	var all []row
	for _, part := range []struct {
		name    string
		measure func(plan) ([]row, error)
	}{
		{"decrypting", decryptRows},
		{"calls in memory", phoneRows},
		{"callers over TLS", callerRows},
		{"a cold herd", herdRows},
		{"a revoked token", revokedRows},
		{"a slow token endpoint", waiterRows},
	} {
		fmt.Fprintln(progress, "measuring", part.name)
		rows, err := part.measure(p)
		if err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
		all = append(all, rows...)
	}
	return printTable(out, all)
}
