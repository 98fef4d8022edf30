//go:build go1.25

package simulation_test

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/wxphonetest"
)

// What WeChat allows an account at stable_token.
const (
	stablePerMinute = 10_000
	stablePerDay    = 500_000
	forcedPerDay    = 20
)

// A fleet of processes with stable tokens, with and without a shared store. By
// default it is small; the whole week of 1,000 processes, for the table in
// docs/many-processes.md, takes minutes:
//
//	WXPHONE_FLEET_WEEK=1 go test -count=1 -v -timeout 20m -run TestFleetWeek ./internal/simulation
func TestFleetWeek(t *testing.T) {
	t.Parallel()
	processes, days := 50, 2
	if os.Getenv("WXPHONE_FLEET_WEEK") == "1" {
		processes, days = 1000, 7
	}
	t.Run("without a store", func(t *testing.T) {
		t.Parallel()
		week := simulate(t, processes, days)
		for i, day := range week.days {
			// Thirteen lives of a token, a restart, and what the events cost.
			assert.LessOrEqual(t, day.fetches-day.fetchesInOutage, processes*(13+1+3), "token requests on day %d", i+1)
		}
		assert.LessOrEqual(t, week.wechatDown.failedFor, time.Minute, "the longest pause after a failed fetch")
		assert.Zero(t, week.tokensDown.failedFor, "WeChat was back before the token expired")
	})
	t.Run("with a store", func(t *testing.T) {
		t.Parallel()
		week := simulate(t, processes, days, wxphone.WithTokenStore(new(wxphonetest.MemoryStore)))
		for i, day := range week.days {
			assert.LessOrEqual(t, day.fetches-day.fetchesInOutage, 13+4, "token requests on day %d", i+1)
			assert.LessOrEqual(t, day.forced, 1, "one dead token, one force_refresh")
		}
		assert.LessOrEqual(t, week.wechatDown.failedFor, 5*time.Second, "one process has put a token into the store")
		assert.Zero(t, week.tokensDown.failedFor, "WeChat was back before the token expired")
		assert.Zero(t, week.tokensDown.failed, "the token in the store was good all the time")
	})
}

// fleetDay is what was counted on one day.
type fleetDay struct {
	events                   []string
	calls                    int
	failed                   int // apart from outages
	fetches, fetchesInOutage int
	peak                     int // token requests in one minute
	forced                   int // of them, with force_refresh
}

// fleetOutage is a time in which calls may fail, and what came of it.
type fleetOutage struct {
	from, to    time.Time
	failed      int           // calls that met it
	failedAfter int           // calls that began in the minutes after it
	failedFor   time.Duration // after it, until the last of these began
	slowest     time.Duration // of the calls that failed
}

// meets reports whether something that began at from and ends now met the
// outage.
func (o *fleetOutage) meets(from time.Time) bool {
	return !o.from.IsZero() && !time.Now().Before(o.from) && from.Before(o.to)
}

// follows reports whether at is so soon after the outage that its traces may
// be left.
func (o *fleetOutage) follows(at time.Time) bool {
	return !o.from.IsZero() && !at.Before(o.to) && at.Before(o.to.Add(5*time.Minute))
}

// fleetWeek counts what a fleet does. Days begin at midnight in China, where
// WeChat's quotas do.
type fleetWeek struct {
	begin      time.Time
	mu         sync.Mutex // guards all that follows
	days       []fleetDay
	minute     int // since begin, the latest with a token request
	inMinute   int
	expires    time.Time   // of the newest token seen
	wechatDown fleetOutage // all of WeChat, while the token expires
	tokensDown fleetOutage // stable_token only, until shortly before the token expires
	errors     []string
}

func (w *fleetWeek) today() *fleetDay {
	day := int(time.Since(w.begin) / (24 * time.Hour))
	return &w.days[min(day, len(w.days)-1)]
}

func (w *fleetWeek) outages() []*fleetOutage { return []*fleetOutage{&w.wechatDown, &w.tokensDown} }

// called counts a call that began at from.
func (w *fleetWeek) called(from time.Time, token wxphone.Token, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	day := w.today()
	day.calls++
	if err == nil {
		if token.ExpiresAt.After(w.expires) {
			w.expires = token.ExpiresAt
		}
		return
	}
	for _, o := range w.outages() {
		switch {
		case o.meets(from):
			o.failed++
			o.slowest = max(o.slowest, time.Since(from))
			return
		case o.follows(from):
			o.failedAfter++
			o.failedFor = max(o.failedFor, from.Sub(o.to))
			return
		}
	}
	day.failed++
	if len(w.errors) < 5 {
		w.errors = append(w.errors, fmt.Sprintf("%v: %v", time.Since(w.begin), err))
	}
}

// fetched counts a token request.
func (w *fleetWeek) fetched(forced bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	day := w.today()
	day.fetches++
	for _, o := range w.outages() {
		if o.meets(time.Now()) {
			day.fetchesInOutage++
		}
	}
	if forced {
		day.forced++
	}
	if minute := int(time.Since(w.begin) / time.Minute); minute != w.minute {
		w.minute, w.inMinute = minute, 0
	}
	w.inMinute++
	day.peak = max(day.peak, w.inMinute)
}

// note puts an event into the table.
func (w *fleetWeek) note(event string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	day := w.today()
	day.events = append(day.events, event)
}

// fetchCounter counts the token requests that pass through it.
type fetchCounter struct {
	http.RoundTripper
	week *fleetWeek
}

func (c fetchCounter) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Path == stablePath {
		forced, err := isForced(req)
		if err != nil {
			return nil, err
		}
		c.week.fetched(forced)
	}
	return c.RoundTripper.RoundTrip(req)
}

// isForced reports whether a token request asks for a forced refresh.
func isForced(req *http.Request) (bool, error) {
	body, err := req.GetBody()
	if err != nil {
		return false, err
	}
	content, err := io.ReadAll(body)
	return bytes.Contains(content, []byte(`"force_refresh":true`)), err
}

// simulate lets a fleet live for some virtual days. Two tokens are revoked,
// and a third one that WeChat insists on; WeChat is down for ten minutes, and
// stable_token alone for five.
func simulate(t *testing.T, processes, days int, opts ...wxphone.Option) *fleetWeek {
	t.Helper()
	week := &fleetWeek{days: make([]fleetDay, days)}
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t)
		server.SetLatency(stablePath, 200*time.Millisecond)
		server.SetLatency(phonePath, 50*time.Millisecond)
		counted := server.HTTPClient()
		counted.Transport = fetchCounter{counted.Transport, week}
		opts := append([]wxphone.Option{wxphone.WithHTTPClient(counted)}, opts...)

		time.Sleep(16 * time.Hour) // the bubble's clock starts at 8 in China
		week.begin = time.Now()
		var fleet sync.WaitGroup
		for i := range processes {
			fleet.Go(func() { week.live(t, server, uint64(i), opts) })
		}
		week.happen(server)
		fleet.Wait()
	})
	t.Logf("%d processes, %d days\n%s", processes, days, week)
	for i, day := range week.days {
		assert.Zero(t, day.failed, "failed calls on day %d apart from outages: %s", i+1, strings.Join(week.errors, "\n"))
		assert.LessOrEqual(t, day.peak, stablePerMinute)
		assert.LessOrEqual(t, day.fetches, stablePerDay)
		assert.LessOrEqual(t, day.forced, forcedPerDay)
	}
	return week
}

// live is one process: a call a minute or so and a restart a day. Most calls
// only ask for the token, as those of other WeChat APIs do, because a code
// redeemed costs the fake memory.
func (w *fleetWeek) live(t *testing.T, server *wxphonetest.Server, seed uint64, opts []wxphone.Option) {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, 0))
	client := server.NewClient(opts...)
	restart := w.begin.Add(time.Duration(random.Int64N(int64(24 * time.Hour))))
	end := w.begin.Add(time.Duration(len(w.days)) * 24 * time.Hour)
	for {
		time.Sleep(45*time.Second + time.Duration(random.Int64N(int64(30*time.Second))))
		now := time.Now()
		if !now.Before(end) {
			return
		}
		if !now.Before(restart) {
			client = server.NewClient(opts...)
			restart = restart.Add(24 * time.Hour)
		}
		var token wxphone.Token
		var err error
		if random.IntN(20) == 0 {
			_, err = client.GetPhoneNumber(t.Context(), server.IssueCode(somebody))
		} else {
			token, err = client.AccessToken(t.Context())
		}
		w.called(now, token, err)
	}
}

// happen makes the events of the week, each at its share of the time.
func (w *fleetWeek) happen(server *wxphonetest.Server) {
	wait := func(share float64) {
		time.Sleep(time.Until(w.begin.Add(time.Duration(share * float64(len(w.days)) * float64(24*time.Hour)))))
	}
	wait(0.2)
	w.note("token revoked")
	server.RevokeToken()

	wait(0.4)
	w.note("WeChat down for 10 min")
	// All refresh early in vain, and for four minutes there is no token.
	w.takeDown(server, &w.wechatDown, 6*time.Minute, 10*time.Minute, stablePath, phonePath)

	wait(0.6)
	w.note("stable_token down for 5 min")
	// Ten seconds are left in which the token still works.
	w.takeDown(server, &w.tokensDown, 5*time.Minute+10*time.Second, 5*time.Minute, stablePath)

	wait(0.75)
	w.note("dead token handed out until forced")
	server.RevokeTokenUntilForced()

	wait(0.9)
	w.note("token revoked")
	server.RevokeToken()
}

// takeDown makes endpoints fail for a time that begins shortly before the
// present token expires.
func (w *fleetWeek) takeDown(server *wxphonetest.Server, o *fleetOutage, beforeExpiry, length time.Duration, endpoints ...string) {
	w.mu.Lock()
	from := w.expires.Add(-beforeExpiry)
	w.mu.Unlock()
	time.Sleep(time.Until(from))
	w.mu.Lock()
	o.from, o.to = time.Now(), time.Now().Add(length)
	w.mu.Unlock()
	for _, endpoint := range endpoints {
		server.RespondNext(endpoint, http.StatusBadGateway, badGateway, -1)
	}
	time.Sleep(length)
	for _, endpoint := range endpoints {
		server.RespondNext(endpoint, http.StatusBadGateway, "", 0)
	}
}

// String is a Markdown table, and what it does not show.
func (w *fleetWeek) String() string {
	var b strings.Builder
	b.WriteString("| Day | Token requests | Most in a minute | force_refresh | Calls | Failed, apart from outages | Events |\n")
	b.WriteString("|---|---:|---:|---:|---:|---:|---|\n")
	for i, day := range w.days {
		fmt.Fprintf(&b, "| %d | %d | %d | %d | %d | %d | %s |\n", i+1, day.fetches, day.peak, day.forced,
			day.calls, day.failed, strings.Join(day.events, ", "))
	}
	fmt.Fprintf(&b, "| WeChat allows | %d | %d | %d | | | |\n", stablePerDay, stablePerMinute, forcedPerDay)
	for name, o := range map[string]*fleetOutage{"WeChat": &w.wechatDown, "stable_token": &w.tokensDown} {
		fmt.Fprintf(&b, "%s down from %v to %v: %d calls failed after up to %v, then %d more until %v after the end\n", name,
			o.from.Sub(w.begin).Round(time.Second), o.to.Sub(w.begin).Round(time.Second), o.failed, o.slowest.Round(time.Millisecond),
			o.failedAfter, o.failedFor.Round(time.Millisecond))
	}
	return b.String()
}

// strictQuota is a WeChat that counts every forced refresh against the day's
// quota, those within the 30 seconds too. Its documentation leaves that open.
type strictQuota struct {
	http.RoundTripper
	forced atomic.Int32
}

func (q *strictQuota) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Path != stablePath {
		return q.RoundTripper.RoundTrip(req)
	}
	forced, err := isForced(req)
	if err != nil {
		return nil, err
	}
	if !forced || q.forced.Add(1) <= forcedPerDay {
		return q.RoundTripper.RoundTrip(req)
	}
	time.Sleep(200 * time.Millisecond) // no faster than any other answer
	const refusal = `{"errcode":45009,"errmsg":"reach max api daily quota limit"}`
	return &http.Response{
		StatusCode:    http.StatusOK,
		ContentLength: int64(len(refusal)),
		Body:          io.NopCloser(strings.NewReader(refusal)),
		Request:       req,
	}, nil
}

// Hundreds of processes without a store meet a dead token that WeChat insists
// on, all at once. Only some get their forced refresh, but one is enough for
// all.
func TestOneForcedRefreshServesTheWholeFleet(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t)
		server.SetLatency(stablePath, 200*time.Millisecond)
		wechat := &strictQuota{RoundTripper: server.HTTPClient().Transport}
		clients := processes(server, 300, wxphone.WithHTTPClient(&http.Client{Transport: wechat}))
		require.Zero(t, callAll(t, server, clients))

		server.RevokeTokenUntilForced()
		assert.Zero(t, callAll(t, server, clients))
		t.Logf("%d processes asked for a forced refresh", wechat.forced.Load())
		time.Sleep(10 * time.Second)
		assert.Zero(t, callAll(t, server, clients))
	})
}

// Busy processes fail to refresh early until ten seconds before the token
// expires. Then WeChat is back, and no call need ever notice.
func TestTokenOutageThatEndsBeforeTheExpiryCostsNoCall(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t)
		clients := processes(server, 20)
		require.Zero(t, callAll(t, server, clients))
		token, err := clients[0].AccessToken(t.Context())
		require.NoError(t, err)

		time.Sleep(time.Until(token.ExpiresAt.Add(-5 * time.Minute)))
		server.RespondNext(stablePath, http.StatusBadGateway, badGateway, -1)
		failed := 0
		for time.Now().Before(token.ExpiresAt.Add(2 * time.Minute)) {
			if time.Until(token.ExpiresAt) < 10*time.Second {
				server.RespondNext(stablePath, http.StatusBadGateway, "", 0)
			}
			for _, client := range clients {
				if _, err := client.AccessToken(t.Context()); err != nil {
					failed++
				}
			}
			time.Sleep(time.Second)
		}
		assert.Zero(t, failed)
	})
}
