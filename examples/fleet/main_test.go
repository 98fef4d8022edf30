package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// The processes of the fleet are this test's binary.
func TestMain(m *testing.M) {
	if os.Getenv(workerEnv) != "" {
		os.Exit(workerMain())
	}
	os.Exit(m.Run())
}

// requireRedis skips a test where no Redis can be started, unless it must be.
func requireRedis(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err == nil {
		return
	}
	if os.Getenv("WXPHONE_REQUIRE_REDIS") == "1" {
		t.Fatal("WXPHONE_REQUIRE_REDIS=1, but there is no redis-server on PATH")
	}
	t.Skip("there is no redis-server on PATH")
}

func TestSmallFleetMeetsEveryGoal(t *testing.T) {
	for _, s := range scenarios {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			if s.redis {
				requireRedis(t)
			}
			var stdout bytes.Buffer
			err := run(context.Background(), []string{"-processes=3", "-goroutines=20", "-scenario=" + s.name}, &stdout)
			if err != nil {
				t.Error(err)
			}
			if !strings.Contains(stdout.String(), s.title) {
				t.Errorf("no row for %q", s.title)
			}
			t.Log(stdout.String())
		})
	}
}

func TestNamedRedisIsUsedAndNotKilled(t *testing.T) {
	t.Parallel()
	requireRedis(t)
	ctx := context.Background()
	named, err := newRedis(ctx, "")
	if err != nil {
		t.Fatal(err)
	}
	defer named.stop()
	var stdout bytes.Buffer
	args := []string{"-processes=2", "-goroutines=5", "-redis=" + named.url, "-scenario=stable,redis-dies"}
	if err := run(ctx, args, &stdout); err != nil {
		t.Error(err)
	}
	if !strings.Contains(stdout.String(), "left out, because") {
		t.Errorf("nothing left out:\n%s", stdout.String())
	}
	if err := ping(ctx, named.url); err != nil {
		t.Errorf("the named Redis is gone: %v", err)
	}
}

func TestWithoutRedisTheProgramSaysWhatToDo(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	err := run(context.Background(), []string{"-scenario=classic"}, new(bytes.Buffer))
	if err == nil || !strings.Contains(err.Error(), noRedis) {
		t.Errorf("got %v", err)
	}
}

func TestMissedGoalsAreNamed(t *testing.T) {
	t.Parallel()
	met := result{calls: 10, fetches: 1, maxFetches: 1, slowest: time.Second, maxSlowest: time.Second}
	if missed := met.missed(); len(missed) > 0 {
		t.Errorf("met, but %q", missed)
	}
	for want, r := range map[string]result{
		"2 of 10 calls failed, one with: no token": {calls: 10, failed: 2, firstError: "no token"},
		"3 token requests instead of at most 2":    {fetches: 3, maxFetches: 2},
		"a call took 2s instead of at most 1s":     {slowest: 2 * time.Second, maxSlowest: time.Second},
	} {
		if missed := r.missed(); len(missed) != 1 || !strings.Contains(missed[0], want) {
			t.Errorf("got %q, want %q", missed, want)
		}
	}
}

func TestFlagsThatMakeNoFleetAreRefused(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{"stray"}, {"-unknown"}, {"-processes=1"}, {"-goroutines=0"}, {"-scenario=none"}, {"-redis=not a URL", "-scenario=stable"},
	} {
		if err := run(context.Background(), args, new(bytes.Buffer)); err == nil {
			t.Errorf("%q: no error", args)
		}
	}
	var help bytes.Buffer
	if err := run(context.Background(), []string{"-help"}, &help); !errors.Is(err, flag.ErrHelp) {
		t.Errorf("got %v, want flag.ErrHelp", err)
	}
	if !strings.Contains(help.String(), "-scenario") || !strings.Contains(help.String(), "holder-dies") {
		t.Errorf("the help is %q", help.String())
	}
}

// A process that cannot start must not leave the program waiting.
func TestProcessThatEndsIsAnError(t *testing.T) {
	t.Parallel()
	w := new(worker)
	err := w.start(context.Background(), workerConfig{BaseURL: "not a URL", AppID: "wx1", Secret: "s"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.await(); err == nil || !strings.Contains(err.Error(), "base URL") {
		t.Errorf("got %v, want what the process said last", err)
	}
}
