package main

import (
	"fmt"
	"net/http"
	"sync"
	"time"
)

// crowd is a number of callers who call without a pause, each contender with
// its own default settings unless pool says otherwise.
type crowd struct {
	callers int
	pool    bool // those who use net/http's default transport get a larger one
	http2   bool // the server offers it
}

func (c crowd) String() string {
	work := fmt.Sprintf("%d callers over TLS, %s latency", c.callers, spell(latency))
	switch {
	case c.pool:
		return work + fmt.Sprintf(", the other two set to keep %d connections", c.callers)
	case c.http2:
		return work + ", to a server that offers HTTP/2"
	}
	return work
}

// arena is a contender with a server of its own, so that its connections can
// be counted, and with what it has done so far.
type arena struct {
	contender
	server *tlsServer
	client *http.Client // nil for the contender's own

	turns []turn
}

// turn is what the callers of one contender did before the next one's turn.
type turn struct {
	rate     float64 // calls per second
	p50, p99 float64 // nanoseconds of a call
}

// median is over the turns, so that one which the machine disturbed counts for
// little.
func (a *arena) median(of func(turn) float64) float64 {
	var values []float64
	for _, t := range a.turns {
		values = append(values, of(t))
	}
	return percentile(values, 50)
}

func newArena(name string, c crowd) (*arena, error) {
	server, err := newTLSServer(c.http2)
	if err != nil {
		return nil, err
	}
	a := &arena{server: server}
	if c.pool && name != nameWxphone {
		transport := defaultTransport()
		transport.MaxIdleConns, transport.MaxIdleConnsPerHost = 2*c.callers, c.callers
		a.client = &http.Client{Transport: transport}
	}
	if a.contender, err = newContender(name, network{client: a.client, baseURL: server.URL}); err != nil {
		server.Close()
		return nil, err
	}
	return a, nil
}

func (a *arena) close() {
	if a.client != nil {
		a.client.CloseIdleConnections()
	}
	a.server.Close()
}

// drive has callers call for as long as a turn lasts.
func (a *arena) drive(callers int, length time.Duration) (turn, error) {
	var (
		group     sync.WaitGroup
		mu        sync.Mutex
		latencies []float64
		err       error
	)
	start := time.Now()
	for caller := range callers {
		code := fmt.Sprintf("%064x", caller)
		group.Add(1)
		go func() {
			defer group.Done()
			var own []float64
			var failed error
			for failed == nil && time.Since(start) < length {
				begin := time.Now()
				failed = redeemOnce(a.contender, code)
				own = append(own, float64(time.Since(begin).Nanoseconds()))
			}
			mu.Lock()
			defer mu.Unlock()
			latencies = append(latencies, own...)
			if failed != nil {
				err = failed
			}
		}()
	}
	group.Wait()
	rate := float64(len(latencies)) / time.Since(start).Seconds()
	return turn{rate, percentile(latencies, 50), percentile(latencies, 99)}, err
}

func callerRows(p plan) ([]row, error) {
	var rows []row
	for _, c := range []crowd{
		{callers: p.few},
		{callers: p.many},
		{callers: p.many, pool: true},
		{callers: p.many, http2: true},
	} {
		more, err := crowdRows(c, p)
		if err != nil {
			return nil, fmt.Errorf("%v: %w", c, err)
		}
		rows = append(rows, more...)
	}
	return rows, nil
}

func crowdRows(c crowd, p plan) ([]row, error) {
	var arenas []*arena
	for _, name := range []string{nameWxphone, nameSilenceper, nameBare} {
		a, err := newArena(name, c)
		if err != nil {
			return nil, err
		}
		defer a.close()
		arenas = append(arenas, a)
	}
	// The first turn opens connections and is not timed.
	for n := 0; n <= p.turns; n++ {
		for _, a := range arenas {
			t, err := a.drive(c.callers, p.turn)
			if err != nil {
				return nil, err
			}
			if n > 0 {
				a.turns = append(a.turns, t)
			}
		}
	}
	var rates, halves, slowest []float64
	var connections []string
	for _, a := range arenas {
		rates = append(rates, a.median(func(t turn) float64 { return t.rate }))
		halves = append(halves, a.median(func(t turn) float64 { return t.p50 }))
		slowest = append(slowest, a.median(func(t turn) float64 { return t.p99 }))
		connections = append(connections, count(a.server.connections.Load()))
	}
	return []row{
		{work: c.String(), measure: "calls per second", cells: relative(rates, perSecond)},
		{measure: "connections opened", cells: connections},
		{measure: "time per call, p50", cells: relative(halves, millis)},
		{measure: "time per call, p99", cells: relative(slowest, millis)},
	}, nil
}
