package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/redisstore"
)

// workerEnv tells a process that it is one of the fleet. It is no flag, so that
// a test binary can be one as well.
const workerEnv = "WXPHONE_FLEET_WORKER"

// callTimeout is longer than the lease of a dead process's lock. A handler
// with a shorter one answers 504 meanwhile.
const callTimeout = 60 * time.Second

// workerConfig is the first thing a worker reads.
type workerConfig struct {
	BaseURL  string
	AppID    string
	Secret   string
	Classic  bool
	RedisURL string // "" for none
}

// order asks a worker to redeem codes, all at once or spread over a time.
type order struct {
	Codes []string
	Over  time.Duration
}

// report is what became of an order. The zero report says that the worker is
// ready.
type report struct {
	Failed     int
	FirstError string
	First      time.Time     // when the first number came; zero if none did
	Slowest    time.Duration // of all calls
}

// workerMain is a process of the fleet. It ends when its stdin does, and so
// with the program that started it.
func workerMain() int {
	if err := work(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func work(stdin io.Reader, stdout io.Writer) error {
	in, out := json.NewDecoder(stdin), json.NewEncoder(stdout)
	var cfg workerConfig
	if err := in.Decode(&cfg); err != nil {
		return err
	}
	client, err := newClient(cfg)
	if err != nil {
		return err
	}
	if err := out.Encode(report{}); err != nil {
		return err
	}
	for {
		var o order
		err := in.Decode(&o)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := out.Encode(redeem(client, o)); err != nil {
			return err
		}
	}
}

// newClient is all that a process of a fleet does differently from a single
// one.
func newClient(cfg workerConfig) (*wxphone.Client, error) {
	opts := []wxphone.Option{wxphone.WithBaseURL(cfg.BaseURL)}
	if cfg.Classic {
		opts = append(opts, wxphone.WithClassicToken())
	}
	if cfg.RedisURL != "" {
		redisOptions, err := redis.ParseURL(cfg.RedisURL)
		if err != nil {
			return nil, err
		}
		redisOptions.ContextTimeoutEnabled = true
		store, err := redisstore.New(redis.NewClient(redisOptions))
		if err != nil {
			return nil, err
		}
		opts = append(opts, wxphone.WithTokenStore(store))
	}
	return wxphone.New(cfg.AppID, cfg.Secret, opts...)
}

func redeem(client *wxphone.Client, o order) report {
	var r report
	var mu sync.Mutex // guards r
	var calls sync.WaitGroup
	for i, code := range o.Codes {
		calls.Add(1)
		go func() {
			defer calls.Done()
			time.Sleep(o.Over * time.Duration(i) / time.Duration(len(o.Codes)))
			ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
			defer cancel()
			begin := time.Now()
			_, err := client.GetPhoneNumber(ctx, code)
			mu.Lock()
			defer mu.Unlock()
			r.Slowest = max(r.Slowest, time.Since(begin))
			switch {
			case err == nil && r.First.IsZero():
				r.First = time.Now()
			case err != nil:
				r.Failed++
				r.FirstError = err.Error()
			}
		}()
	}
	calls.Wait()
	return r
}
