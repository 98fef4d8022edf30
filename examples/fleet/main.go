// Fleet measures what happens to access_tokens when many processes use one
// mini-program.
//
// It starts copies of itself, real processes, against one fake WeChat on this
// machine and one redis-server, and prints a table: what became of the calls
// and how many token requests it took, when the fleet starts cold, when the
// token is revoked, when Redis dies, and when the process that holds the lock
// is killed. It exits with status 1 if a goal is missed.
//
//	go run .
//
// It starts a redis-server of its own if there is one on PATH. Another Redis
// can be named with -redis; it is not killed, and that scenario left out.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

func main() {
	if os.Getenv(workerEnv) != "" {
		os.Exit(workerMain())
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:], os.Stdout)
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "fleet:", err)
		os.Exit(1) //nolint:gocritic // stop has nothing left to do
	}
}

// config is what the flags say.
type config struct {
	processes, goroutines int
	redisURL              string
	scenario              string
}

func parse(args []string, stdout io.Writer) (config, error) {
	var cfg config
	flags := flag.NewFlagSet("fleet", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // main prints the error
	flags.IntVar(&cfg.processes, "processes", 8, "how many processes to start")
	flags.IntVar(&cfg.goroutines, "goroutines", 500, "how many calls each makes at once")
	flags.StringVar(&cfg.redisURL, "redis", "", "use the Redis at this `URL`, as in redis://127.0.0.1:6379/0")
	flags.StringVar(&cfg.scenario, "scenario", "", "run only these `scenarios`: "+strings.Join(scenarioNames(), ", "))
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(stdout, "Measures a fleet of processes that share an access_token.")
			flags.SetOutput(stdout)
			flags.PrintDefaults()
		}
		return config{}, err
	}
	switch {
	case flags.NArg() > 0:
		return config{}, fmt.Errorf("%d argument(s) without a flag", flags.NArg())
	case cfg.processes < 2 || cfg.goroutines < 1:
		return config{}, errors.New("a fleet has at least two processes with a goroutine each")
	}
	return cfg, nil
}

// run is the program without its process, so that tests can call it.
func run(ctx context.Context, args []string, stdout io.Writer) error {
	cfg, err := parse(args, stdout)
	if err != nil {
		return err
	}
	chosen, err := choose(cfg.scenario)
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "%d processes × %d goroutines\n\n", cfg.processes, cfg.goroutines)
	printHeader(stdout)
	var missed []string
	for _, s := range chosen {
		results, err := measure(ctx, cfg, s)
		if errors.Is(err, errNotOurRedis) {
			fmt.Fprintf(stdout, "| %s: left out, because %v | | | | | | |\n", s.title, err)
			continue
		}
		if err != nil {
			return fmt.Errorf("scenario %s: %w", s.name, err)
		}
		for _, r := range results {
			printRow(stdout, r)
			missed = append(missed, r.missed()...)
		}
	}
	if len(missed) > 0 {
		return fmt.Errorf("goals missed:\n  %s", strings.Join(missed, "\n  "))
	}
	return nil
}

// choose returns the scenarios with the given names, which commas part.
func choose(names string) ([]scenario, error) {
	if names == "" {
		return scenarios, nil
	}
	var chosen []scenario
	for _, name := range strings.Split(names, ",") {
		found := false
		for _, s := range scenarios {
			if s.name == strings.TrimSpace(name) {
				chosen, found = append(chosen, s), true
			}
		}
		if !found {
			return nil, fmt.Errorf("no scenario %q; there are %s", name, strings.Join(scenarioNames(), ", "))
		}
	}
	return chosen, nil
}

// result is a row of the table: what was measured, and what it should be at
// most. No call may fail.
type result struct {
	title               string
	calls, failed       int
	fetches, maxFetches int
	first               time.Duration // until the first number came; 0 if the calls were spread over a time
	slowest, maxSlowest time.Duration // call; no limit if 0
	firstError          string
}

// missed names the goals that were not met.
func (r result) missed() []string {
	var missed []string
	if r.failed > 0 {
		missed = append(missed, fmt.Sprintf("%s: %d of %d calls failed, one with: %s", r.title, r.failed, r.calls, r.firstError))
	}
	if r.fetches > r.maxFetches {
		missed = append(missed, fmt.Sprintf("%s: %d token requests instead of at most %d", r.title, r.fetches, r.maxFetches))
	}
	if r.maxSlowest > 0 && r.slowest > r.maxSlowest {
		missed = append(missed, fmt.Sprintf("%s: a call took %v instead of at most %v", r.title, r.slowest, r.maxSlowest))
	}
	return missed
}

func printHeader(w io.Writer) {
	fmt.Fprintln(w, "| What happens | Calls | Failed | Token requests | Goal | First number after | Slowest call |")
	fmt.Fprintln(w, "|---|---:|---:|---:|---:|---:|---:|")
}

func printRow(w io.Writer, r result) {
	first := ""
	if r.first > 0 {
		first = fmt.Sprintf("%.1f s", r.first.Seconds())
	}
	fmt.Fprintf(w, "| %s | %d | %d | %d | ≤ %d | %s | %.1f s |\n",
		r.title, r.calls, r.failed, r.fetches, r.maxFetches, first, r.slowest.Seconds())
}
