package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/wxphonetest"
)

// withTokens are the contenders that have a token cache. The bare one would
// measure only how it was written.
var withTokens = []string{nameWxphone, nameSilenceper}

const none = "–"

// herdDelay is what the token endpoint takes to answer a herd: long enough for
// all of it to come before the answer.
const herdDelay = 50 * time.Millisecond

func herdRows(p plan) ([]row, error) {
	good := row{
		work:    "Cold herd: " + count(int64(p.herd)) + " goroutines, no token yet",
		measure: "token requests",
	}
	busy := row{work: "The same, WeChat answers −1", measure: "token requests"}
	for _, name := range withTokens {
		tokens, err := herd(name, &inMemory{tokenDelay: herdDelay}, p.herd)
		if err != nil {
			return nil, err
		}
		good.cells = append(good.cells, count(tokens))
		// Without a delay, since a contender may make its requests one by one.
		if tokens, err = herd(name, &inMemory{busy: true}, p.herd); err != nil {
			return nil, err
		}
		busy.cells = append(busy.cells, count(tokens))
	}
	good.cells, busy.cells = append(good.cells, none), append(busy.cells, none)
	return []row{good, busy}, nil
}

// herd has callers ask for a phone number at once, none of whom finds a token,
// and returns how many requests for one they made. All of them must succeed,
// or fail if WeChat gives them no token.
func herd(name string, wechat *inMemory, callers int) (tokens int64, err error) {
	c, err := newContender(name, wechat.network())
	if err != nil {
		return 0, err
	}
	errs := make([]error, callers)
	begin := make(chan struct{})
	var group sync.WaitGroup
	for i := range callers {
		group.Add(1)
		go func() {
			defer group.Done()
			<-begin
			errs[i] = phoneOnce(c)
		}()
	}
	close(begin)
	group.Wait()
	for _, err := range errs {
		switch {
		case wechat.busy && err == nil:
			return 0, fmt.Errorf("%s: succeeded without a token", name)
		case !wechat.busy && err != nil:
			return 0, err
		}
	}
	return wechat.tokens.Load(), nil
}

func revokedRows(p plan) ([]row, error) {
	failures := row{
		work:    "Token revoked by another program, then " + count(int64(p.after)) + " calls",
		measure: "calls failed",
	}
	requests := row{measure: "requests made"}
	for _, name := range withTokens {
		result, err := revoke(name, p.after)
		if err != nil {
			return nil, err
		}
		failures.cells = append(failures.cells, count(result.failed))
		requests.cells = append(requests.cells, count(result.requests))
	}
	failures.cells, requests.cells = append(failures.cells, none), append(requests.cells, none)
	return []row{failures, requests}, nil
}

type healing struct {
	failed   int64 // calls
	requests int64 // for tokens and for numbers
}

// revoke makes calls, one after the other, with a token that was revoked after
// it was cached.
func revoke(name string, calls int) (healing, error) {
	wechat, err := wxphonetest.Start(wxphonetest.WithCredentials(appID, appSecret))
	if err != nil {
		return healing{}, err
	}
	defer wechat.Close()
	c, err := newContender(name, network{client: wechat.HTTPClient()})
	if err != nil {
		return healing{}, err
	}
	call := func() error {
		code := wechat.IssueCode(wxphone.PhoneInfo{PhoneNumber: number, PurePhoneNumber: number, CountryCode: "86"})
		got, err := c.phone(context.Background(), code)
		return check(c, got, err)
	}
	if err := call(); err != nil {
		return healing{}, err
	}
	made := func() int64 { return int64(wechat.Requests(phonePath) + wechat.TokenFetches()) }
	before := made()
	wechat.RevokeToken()
	var result healing
	for range calls {
		if call() != nil {
			result.failed++
		}
	}
	result.requests = made() - before
	return result, nil
}

func waiterRows(p plan) ([]row, error) {
	work := "Caller with a context of " + spell(p.limit) + ", token endpoint takes " + spell(p.slow)
	alone := row{work: work, measure: "returned after, alone"}
	behind := row{measure: "returned after, behind another caller"}
	for _, name := range withTokens {
		for _, r := range []struct {
			row    *row
			behind bool
		}{{&alone, false}, {&behind, true}} {
			waited, err := wait(name, p.slow, p.limit, r.behind)
			if err != nil {
				return nil, err
			}
			r.row.cells = append(r.row.cells, millis(float64(waited.Nanoseconds())))
		}
	}
	alone.cells, behind.cells = append(alone.cells, none), append(behind.cells, none)
	return []row{alone, behind}, nil
}

// wait returns after how long a call returned whose context ends before the
// token it needs has come: one that it fetches, or one that another call,
// without a limit, fetches already.
func wait(name string, slow, limit time.Duration, behind bool) (time.Duration, error) {
	wechat := &inMemory{tokenDelay: slow}
	c, err := newContender(name, wechat.network())
	if err != nil {
		return 0, err
	}
	finish := func() error { return nil }
	if behind {
		first := make(chan error, 1)
		go func() { first <- redeemOnce(c, strings.Repeat("0", 64)) }()
		for wechat.tokens.Load() == 0 {
			time.Sleep(time.Millisecond)
		}
		finish = func() error { return <-first }
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	start := time.Now()
	_, err = c.phone(ctx, phoneCode)
	waited := time.Since(start)
	if !errors.Is(err, context.DeadlineExceeded) {
		return 0, fmt.Errorf("%s: returned %w instead of the end of its context", name, err)
	}
	return waited, finish()
}
