package main

import (
	"context"
	"fmt"
	"time"
)

// lease is how long the lock of a process that died stays, and slack is for the
// fetch after it.
const (
	lease = 15 * time.Second
	slack = 3 * time.Second
)

// scenario is something that happens to a fleet of its own.
type scenario struct {
	name, title string
	classic     bool
	redis       bool // whether the processes share one
	killsRedis  bool
	run         func(f *fleet, goroutines int) ([]result, error)
}

var scenarios = []scenario{
	{name: "classic", title: "classic tokens, Redis", classic: true, redis: true, run: coldThenRevoked},
	{name: "holder-dies", title: "classic tokens, Redis", classic: true, redis: true, run: holderDies},
	{name: "stable", title: "stable tokens, Redis", redis: true, run: coldThenRevoked},
	{name: "redis-dies", title: "stable tokens, Redis", redis: true, killsRedis: true, run: redisDies},
	{name: "stable-alone", title: "stable tokens, no Redis", run: coldThenRevoked},
}

func scenarioNames() []string {
	names := make([]string, len(scenarios))
	for i, s := range scenarios {
		names[i] = s.name
	}
	return names
}

// measure runs one scenario.
func measure(ctx context.Context, cfg config, s scenario) ([]result, error) {
	var shared *redisServer
	if s.redis {
		if s.killsRedis && cfg.redisURL != "" {
			return nil, errNotOurRedis
		}
		var err error
		if shared, err = newRedis(ctx, cfg.redisURL); err != nil {
			return nil, err
		}
		defer shared.stop()
	}
	f, err := startFleet(ctx, cfg.processes, s.classic, shared)
	if err != nil {
		return nil, err
	}
	defer f.stop()
	results, err := s.run(f, cfg.goroutines)
	for i := range results {
		results[i].title = s.title + ": " + results[i].title
	}
	return results, err
}

// coldThenRevoked has all processes start at once, and later has WeChat revoke
// the token while calls are under way.
func coldThenRevoked(f *fleet, goroutines int) ([]result, error) {
	atStart, atRevocation := 1, 2
	if f.redis == nil { // each for itself
		atStart, atRevocation = len(f.workers), len(f.workers)
	}
	cold, err := f.callAndWait("cold start", goroutines, atStart)
	if err != nil {
		return nil, err
	}

	c, err := f.call(goroutines, 2*time.Second)
	if err != nil {
		return nil, err
	}
	time.Sleep(time.Second)
	f.wechat.RevokeToken()
	revoked, err := c.wait("token revoked amid calls", atRevocation, nil)
	return []result{cold, revoked}, err
}

// redisDies kills Redis amid calls and then has the token revoked, so that all
// processes need another one.
func redisDies(f *fleet, goroutines int) ([]result, error) {
	if _, err := f.callAndWait("cold start", goroutines, 1); err != nil {
		return nil, err
	}
	c, err := f.call(goroutines, 3*time.Second)
	if err != nil {
		return nil, err
	}
	time.Sleep(time.Second)
	if err := f.redis.kill(); err != nil {
		return nil, err
	}
	time.Sleep(time.Second)
	f.wechat.RevokeToken()
	killed, err := c.wait("Redis killed amid calls, then token revoked", len(f.workers), nil)
	return []result{killed}, err
}

// holderDies kills the process whose token request is under way: it holds the
// lock that all the others wait for.
func holderDies(f *fleet, goroutines int) ([]result, error) {
	f.wechat.SetLatency(f.tokenPath, 5*time.Second)
	c, err := f.call(goroutines, 0)
	if err != nil {
		return nil, err
	}
	var holder int
	select {
	case holder = <-f.fetching:
	case <-time.After(lease):
		return nil, fmt.Errorf("no process asked for a token within %v", lease)
	}
	f.wechat.SetLatency(f.tokenPath, tokenLatency)
	f.workers[holder].kill()
	// The dead process's request counts too.
	others, err := c.wait("holder of the lock killed", 2, f.workers[holder])
	others.maxSlowest = lease + slack
	return []result{others}, err
}

// callAndWait has every process make n calls at once.
func (f *fleet) callAndWait(title string, n, maxFetches int) (result, error) {
	c, err := f.call(n, 0)
	if err != nil {
		return result{}, err
	}
	return c.wait(title, maxFetches, nil)
}
