package tokencache

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// noon is when all of these tests begin.
var noon = time.Date(2025, 1, 2, 12, 0, 0, 0, time.UTC)

var errSource = errors.New("the source is down")

// dated returns a token that lives so long from noon on.
func dated(accessToken string, life time.Duration) Token {
	return Token{AccessToken: accessToken, ExpiresAt: noon.Add(life)}
}

func TestAsk(t *testing.T) {
	t.Parallel()
	hour := dated("token", time.Hour)
	fresh := state{token: hour, refreshAt: noon.Add(time.Minute)}
	due := state{token: hour, refreshAt: noon}
	expired := state{token: dated("token", 0), refreshAt: noon}
	paused := state{failures: 1, cause: errSource, retryAt: noon.Add(time.Nanosecond)}
	pausedBesideAStore := paused
	pausedBesideAStore.shared = true
	looked := pausedBesideAStore
	looked.lookAt = noon.Add(time.Nanosecond)
	over := paused
	over.retryAt = noon
	overBesideAStore := over
	overBesideAStore.shared = true
	expiredAndPaused := expired
	expiredAndPaused.retryAt = paused.retryAt
	for name, tt := range map[string]struct {
		state        state
		idle, flying step
	}{
		"empty":                            {state{}, fetch, join},
		"empty, beside a store":            {state{shared: true}, fetch, join},
		"fresh":                            {fresh, take, take},
		"due for a refresh":                {due, refresh, take},
		"expired":                          {expired, fetch, join},
		"expired, in a pause":              {expiredAndPaused, pause, join},
		"in a pause":                       {paused, pause, join},
		"after a pause":                    {over, fetch, join},
		"in a pause, beside a store":       {pausedBesideAStore, look, join},
		"just after a look into the store": {looked, pause, join},
		"after a pause, beside a store":    {overBesideAStore, fetch, join},
	} {
		for flying, want := range map[bool]step{false: tt.idle, true: tt.flying} {
			s := tt.state
			assert.Equal(t, want, s.ask(noon, flying), "%s, flying: %t", name, flying)
			assert.Equal(t, tt.state.token, s.token, name)
		}
	}
}

func TestOnlyOneCallerIsSentForARefresh(t *testing.T) {
	t.Parallel()
	for life, want := range map[time.Duration]time.Duration{time.Hour: flightLimit, time.Second: time.Second} {
		s := state{token: dated("token", life), refreshAt: noon}
		require.Equal(t, refresh, s.ask(noon, false))
		assert.Equal(t, noon.Add(want), s.refreshAt, "until the flight must be over, or the token is")
		assert.Equal(t, take, s.ask(noon.Add(want-1), false))
	}
}

func TestOnlyOneCallerASecondLooksIntoTheStore(t *testing.T) {
	t.Parallel()
	s := state{shared: true, retryAt: noon.Add(time.Minute)}
	for second := range 60 {
		now := noon.Add(time.Duration(second) * time.Second)
		require.Equal(t, look, s.ask(now, false))
		require.Equal(t, pause, s.ask(now, false))
		require.Equal(t, pause, s.ask(now.Add(lookInterval-1), false))
	}
	assert.Equal(t, fetch, s.ask(noon.Add(time.Minute), false))
}

func TestArrived(t *testing.T) {
	t.Parallel()
	old, next, undated := dated("old", time.Hour), dated("next", 2*time.Hour), Token{AccessToken: "undated"}
	for name, tt := range map[string]struct {
		before   state
		token    Token
		kept     Token
		bearWith bool
	}{
		"first":                            {state{}, next, next, false},
		"after failures":                   {state{failures: 3, cause: errSource, retryAt: noon.Add(time.Second)}, next, next, false},
		"in place of another":              {state{token: old}, next, next, false},
		"after a refusal":                  {state{refused: "old"}, next, next, false},
		"refused":                          {state{refused: "next"}, next, next, true},
		"without expiry":                   {state{}, undated, Token{}, false},
		"without expiry, beside another":   {state{token: old}, undated, old, false},
		"without expiry, refused":          {state{refused: "undated"}, undated, Token{}, true},
		"without expiry, after a failure":  {state{failures: 1, retryAt: noon.Add(time.Second)}, undated, Token{}, false},
		"refused long ago, and borne with": {state{refused: "old", bearUntil: noon.Add(-time.Hour)}, next, next, false},
	} {
		s := tt.before
		s.arrived(noon, tt.token)
		assert.Equal(t, tt.kept, s.token, name)
		assert.Equal(t, tt.token.AccessToken, s.handed, name)
		assert.Equal(t, noon, s.handedAt, name)
		assert.Zero(t, s.failures, name)
		assert.NoError(t, s.cause, name)
		assert.Zero(t, s.retryAt, name)
		if tt.bearWith {
			assert.Equal(t, noon.Add(bearWith), s.bearUntil, name)
		} else {
			assert.Equal(t, tt.before.bearUntil, s.bearUntil, name)
		}
		if tt.kept == tt.token {
			assert.True(t, s.refreshAt.After(noon) && s.refreshAt.Before(s.token.ExpiresAt), name)
		} else {
			assert.Equal(t, tt.before.refreshAt, s.refreshAt, name)
		}
	}
}

func TestPausesDoubleFromASecondToAMinute(t *testing.T) {
	t.Parallel()
	s := state{}
	pauses := []time.Duration{1, 2, 4, 8, 16, 32, 60, 60, 60, 60}
	for i, pause := range pauses {
		s.failed(noon, errSource)
		assert.Equal(t, noon.Add(pause*time.Second), s.retryAt)
		assert.Equal(t, i+1, s.failures)
		assert.Equal(t, errSource, s.cause)
	}
	for range 1000 { // in which a shift would overflow
		s.failed(noon, errSource)
		require.Equal(t, noon.Add(maxPause), s.retryAt)
	}
	s.arrived(noon, dated("token", time.Hour))
	s.token = Token{}
	s.failed(noon, errSource)
	assert.Equal(t, noon.Add(firstPause), s.retryAt, "a success forgets earlier failures")
}

func TestFailedRefreshIsTriedAgainAtTheLatestWhenTheTokenExpires(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		life, want time.Duration
	}{
		"in time":          {time.Hour, 8 * time.Second},
		"before the pause": {5 * time.Second, 5 * time.Second},
	} {
		s := state{token: dated("token", tt.life), refreshAt: noon, failures: 3}
		s.failed(noon, errSource)
		assert.Equal(t, noon.Add(tt.want), s.retryAt, name)
		assert.Equal(t, s.retryAt, s.refreshAt, name)
		assert.Equal(t, take, s.ask(s.retryAt.Add(-1), false), name)
		again := map[bool]step{true: fetch, false: refresh}[tt.life == tt.want]
		assert.Equal(t, again, s.ask(s.retryAt, false), name)
	}
	s := state{token: dated("token", -time.Minute), failures: 3}
	s.failed(noon, errSource)
	assert.Equal(t, noon.Add(8*time.Second), s.retryAt, "an expired token shortens no pause")
	assert.Equal(t, pause, s.ask(noon, false))
}

func TestRefuse(t *testing.T) {
	t.Parallel()
	has := state{token: dated("token", time.Hour), refreshAt: noon.Add(time.Minute), handed: "token", handedAt: noon}
	handedUndated := state{token: dated("token", time.Hour), handed: "undated", handedAt: noon}
	bornWith := has
	bornWith.refused, bornWith.bearUntil = "token", noon.Add(time.Nanosecond)
	noLonger := bornWith
	noLonger.bearUntil = noon
	another := bornWith
	another.refused = "another"
	for name, tt := range map[string]struct {
		before  state
		refused string
		want    bool
	}{
		"nothing":                              {has, "", false},
		"nothing, of an empty cache":           {state{}, "", false},
		"a token that it never had":            {has, "unknown", false},
		"the token":                            {has, "token", true},
		"a token without expiry":               {handedUndated, "undated", true},
		"the token that was served on":         {handedUndated, "token", true},
		"one that the source insists on":       {bornWith, "token", false},
		"one that it insisted on for too long": {noLonger, "token", true},
		"one while another is borne with":      {another, "token", true},
	} {
		s := tt.before
		assert.Equal(t, tt.want, s.refuse(noon, tt.refused, errSource), name)
		if !tt.want {
			assert.Equal(t, tt.before, s, name)
			continue
		}
		assert.Equal(t, tt.refused, s.refused, name)
		assert.NotEqual(t, tt.refused, s.handed, name)
		assert.Equal(t, tt.before.handedAt, s.handedAt, "%s: when it came is still told", name)
		if tt.refused == tt.before.token.AccessToken {
			assert.Zero(t, s.token, name)
			assert.Zero(t, s.refreshAt, name)
			assert.Equal(t, fetch, s.ask(noon, false), name)
		} else {
			assert.Equal(t, tt.before.token, s.token, "%s: the valid one stays", name)
		}
		assert.False(t, s.refuse(noon, tt.refused, errSource), "%s: told once", name)
	}
}

func TestOutdated(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		refused, token, told string
		want                 bool
	}{
		{"", "token", "", false},
		{"token", "token", "", true},
		{"token", "token", "another", true},
		{"token", "token", "token", false},
		{"token", "next", "", false},
		{"token", "next", "token", false},
	} {
		s := state{refused: tt.refused}
		assert.Equal(t, tt.want, s.outdated(dated(tt.token, time.Hour), tt.told), "%+v", tt)
	}
}

func TestUsable(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		state state
		token Token
		want  bool
	}{
		"new":                       {state{}, dated("token", time.Nanosecond), true},
		"newer":                     {state{token: dated("old", time.Hour), refused: "older"}, dated("token", time.Hour), true},
		"expired":                   {state{}, dated("token", 0), false},
		"refused":                   {state{refused: "token"}, dated("token", time.Hour), false},
		"due for a refresh":         {state{token: dated("token", time.Hour)}, dated("token", time.Hour), false},
		"older than the newest":     {state{newest: noon.Add(time.Hour)}, dated("token", time.Hour-1), false},
		"as old as the newest":      {state{newest: noon.Add(time.Hour)}, dated("token", time.Hour), true},
		"without a token or expiry": {state{}, Token{}, false},
	} {
		assert.Equal(t, tt.want, tt.state.usable(noon, tt.token), name)
	}
}

func TestForce(t *testing.T) {
	t.Parallel()
	s := state{}
	at := noon
	require.True(t, s.force(at), "the first")
	for i, gap := range []time.Duration{30 * time.Second, time.Minute, 2 * time.Minute, 4 * time.Minute} {
		require.False(t, s.force(at.Add(gap-1)), "too soon after refresh %d", i+1)
		at = at.Add(gap)
		require.True(t, s.force(at), "after refresh %d", i+1)
	}
	require.False(t, s.force(at.Add(12*time.Hour)), "the sixth of a day")
	require.False(t, s.force(noon.Add(day-1)))
	require.True(t, s.force(noon.Add(day)), "the first no longer counts")
	require.False(t, s.force(noon.Add(day+30*time.Second)), "the second does not either, but the gap is that after four")
	require.True(t, s.force(noon.Add(day+4*time.Minute)))
	require.True(t, s.force(noon.Add(10*day)))
	assert.Len(t, s.forces, 1, "all others are forgotten")
	assert.True(t, s.force(noon.Add(10*day+30*time.Second)), "the gaps begin anew")
}

func TestForcedRefreshThatWasNeverSentIsTakenBack(t *testing.T) {
	t.Parallel()
	s := state{}
	for range 2 * forcesPerDay {
		require.True(t, s.force(noon))
		s.unforce()
	}
	require.True(t, s.force(noon))
	assert.False(t, s.force(noon), "the gap after one that was sent")
}

// The wall clock goes on while a machine is suspended, the monotonic one does
// not: a token that expired in the meantime must not look fresh.
func TestExpiryIsKeptAsWallTime(t *testing.T) {
	t.Parallel()
	now := time.Now()
	s := state{}
	s.arrived(now, Token{AccessToken: "token", ExpiresAt: now.Add(time.Hour)})
	for name, at := range map[string]time.Time{"expiry": s.token.ExpiresAt, "refresh": s.refreshAt, "newest": s.newest} {
		assert.NotContains(t, at.String(), "m=", name)
	}
	assert.Equal(t, fetch, s.ask(now.Round(0).Add(2*time.Hour), false))
}

func TestFailuresOfTheStoreDoNotLengthenThePause(t *testing.T) {
	t.Parallel()
	s := state{}
	at := noon
	for range 10 {
		s.storeFailed(at, errSource)
		assert.Equal(t, at.Add(firstPause), s.retryAt)
		at = at.Add(firstPause)
		require.Equal(t, fetch, s.ask(at, false))
	}
	s.failed(at, errSource)
	assert.Equal(t, at.Add(firstPause), s.retryAt, "the source's first failure")
}

func TestRefusalEndsAPauseButForTokensThatFightEachOther(t *testing.T) {
	t.Parallel()
	at := noon
	harmless := state{token: dated("token", time.Hour), failures: 5, retryAt: noon.Add(time.Minute)}
	require.True(t, harmless.refuse(at, "token", errSource))
	assert.Equal(t, fetch, harmless.ask(at, false))

	fighting := state{exclusive: true}
	for i, gap := range []time.Duration{0, 5 * time.Second, 10 * time.Second, 20 * time.Second, 40 * time.Second, 80 * time.Second, 2 * time.Minute, 2 * time.Minute} {
		token := fmt.Sprint("token-", i)
		fighting.arrived(at, Token{token, at.Add(time.Hour)})
		require.True(t, fighting.refuse(at, token, errSource))
		assert.Equal(t, at.Add(gap), fighting.retryAt, "refusal %d", i+1)
		assert.Equal(t, gap == 0, fighting.ask(at, false) == fetch)
		at = at.Add(gap)
	}
	at = at.Add(fightIsOver)
	fighting.arrived(at, Token{"token", at.Add(time.Hour)})
	require.True(t, fighting.refuse(at, "token", errSource))
	assert.Equal(t, fetch, fighting.ask(at, false), "the fight is over")
}

func TestRefreshTime(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		life             time.Duration
		earliest, latest time.Duration // before expiry
	}{
		"two hours":                 {2 * time.Hour, earliestRefresh, latestRefresh},
		"twice the earliest":        {2 * earliestRefresh, earliestRefresh, latestRefresh},
		"six minutes":               {6 * time.Minute, 3 * time.Minute, latestRefresh},
		"two minutes":               {2 * time.Minute, time.Minute, time.Minute},
		"shortest with a refresh":   {shortLife, shortLife / 2, shortLife / 2},
		"too short for one":         {shortLife - 1, 0, 0},
		"a moment":                  {1, 0, 0},
		"the longest in the stores": {maxLife, earliestRefresh, latestRefresh},
	} {
		seen := map[time.Time]bool{}
		for range 1000 {
			expires := noon.Add(tt.life)
			got := refreshTime(noon, expires)
			require.False(t, got.Before(expires.Add(-tt.earliest)), "%s: %v before expiry", name, expires.Sub(got))
			require.False(t, got.After(expires.Add(-tt.latest)), "%s: %v before expiry", name, expires.Sub(got))
			seen[got] = true
		}
		assert.Equal(t, tt.earliest != tt.latest, len(seen) > 1, "%s: jittered", name)
	}
}

var seedFlag = flag.Uint64("seed", 0, "run TestAnyHistoryOfEvents with this seed only")

// TestAnyHistoryOfEvents drives states with random events and checks what must
// hold after each. With the seed of a failure it takes the same events again;
// only the jitter of early refreshes differs.
func TestAnyHistoryOfEvents(t *testing.T) {
	t.Parallel()
	seeds := []uint64{1, 2, 3, 4, 5, 6, 7, rand.Uint64()}
	if *seedFlag != 0 {
		seeds = []uint64{*seedFlag}
	}
	events, steps := map[string]int{}, map[step]int{}
	for _, seed := range seeds {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			h := &history{
				t:      t,
				random: rand.New(rand.NewPCG(seed, 0)),
				state:  state{shared: seed%2 == 0, exclusive: seed%3 == 0},
				now:    noon,
				steps:  steps,
			}
			for range 10_000 {
				event := h.happen()
				events[event]++
				h.check(event)
				if t.Failed() {
					t.Fatalf("at %v, after %q; again with: -run TestAnyHistoryOfEvents -seed=%d", h.now.Sub(noon), event, seed)
				}
			}
		})
	}
	if *seedFlag == 0 {
		assertVariety(t, events, steps)
	}
}

// assertVariety sees to it that the events were of all kinds.
func assertVariety(t *testing.T, events map[string]int, steps map[step]int) {
	t.Helper()
	for got := take; got <= pause; got++ {
		assert.NotZero(t, steps[got], "no caller met step %d", got)
	}
	for _, event := range []string{
		"arrived", "failed", "outdated", "refused", "refusal ignored", "forced", "not forced",
		"store without a token", "source with an expired token",
	} {
		assert.NotZero(t, events[event], event)
	}
}

// history is what has happened to a state, written down apart from it.
type history struct {
	t      *testing.T
	random *rand.Rand
	now    time.Time

	state  state
	flying bool
	told   string // the refusal that the flight knows of

	tokens   int    // how many were made up
	refused  string // what WeChat refused last
	insisted bool   // the source handed it out although it knew that

	forces []time.Time
	steps  map[step]int // how many callers met each, over all histories
}

// happen lets one event happen and returns its name.
func (h *history) happen() string {
	switch n := h.random.IntN(22); {
	case n < 6:
		return h.passTime()
	case n < 12:
		return h.ask()
	case h.flying && n < 16:
		return h.land()
	case h.flying && n == 16:
		h.flying = false
		h.state.failed(h.now, errSource)
		return "failed"
	case n >= 17 && n < 20:
		return h.refuse()
	case n == 20:
		return h.force()
	}
	return "nothing"
}

// passTime moves the clock, often to just before, or onto, a time that counts.
func (h *history) passTime() string {
	s := &h.state
	counts := []time.Time{s.refreshAt, s.token.ExpiresAt, s.retryAt, s.lookAt, s.bearUntil}
	to := counts[h.random.IntN(len(counts))].Add(time.Duration(h.random.IntN(3)-1) * time.Nanosecond)
	if h.random.IntN(2) == 0 || !to.After(h.now) {
		span := []time.Duration{time.Millisecond, time.Second, time.Minute, time.Hour}[h.random.IntN(4)]
		to = h.now.Add(time.Duration(h.random.Int64N(int64(span))))
	}
	h.now = to
	return "time passes"
}

func (h *history) ask() string {
	s := &h.state
	valid := s.token.AccessToken != "" && h.now.Before(s.token.ExpiresAt)
	got := s.ask(h.now, h.flying)
	h.steps[got]++
	switch got {
	case take, refresh:
		assert.True(h.t, valid, "an expired token is taken")
		assert.True(h.t, s.token.AccessToken != h.refused || h.insisted, "a refused token is taken")
	case join:
		assert.True(h.t, h.flying && !valid)
	case fetch:
		assert.False(h.t, valid || h.now.Before(s.retryAt), "a fetch during a pause or beside a token")
	case look, pause:
		assert.False(h.t, valid, "a valid token is held back")
		assert.True(h.t, h.now.Before(s.retryAt), "a pause that is over")
		assert.Error(h.t, s.cause)
		assert.True(h.t, got == pause || s.shared, "a look into a store that is not there")
	}
	if got == refresh || got == fetch || got == look {
		assert.False(h.t, h.flying, "a second flight")
		h.flying, h.told = true, h.refused
	}
	return "ask"
}

// land has the flight bring a token, of the store or of the source.
func (h *history) land() string {
	token := h.token()
	if h.random.IntN(3) == 0 {
		if !h.state.usable(h.now, token) {
			return "store without a token"
		}
		assert.NotEqual(h.t, h.refused, token.AccessToken, "a refused token from the store")
		assert.True(h.t, h.now.Before(token.ExpiresAt), "an expired token from the store")
	} else if !token.ExpiresAt.IsZero() && !h.now.Before(token.ExpiresAt) {
		return "source with an expired token" // which the shell makes a failure
	}
	if h.state.outdated(token, h.told) {
		h.told = h.refused // the flight starts over
		return "outdated"
	}
	if token.AccessToken == h.refused {
		assert.Equal(h.t, h.refused, h.told, "a refused token arrives without the source's knowledge")
		h.insisted = true
	}
	h.flying = false
	h.state.arrived(h.now, token)
	return "arrived"
}

// token returns a new token or one that is known, with any expiry or none.
func (h *history) token() Token {
	h.tokens++
	token := Token{AccessToken: fmt.Sprint("token-", h.tokens)}
	if known := []string{"", h.refused, h.state.token.AccessToken}[h.random.IntN(3)]; known != "" {
		token.AccessToken = known
	}
	if life := []time.Duration{0, time.Second, 3 * time.Second, 5 * time.Minute, 2 * time.Hour}[h.random.IntN(5)]; life > 0 {
		token.ExpiresAt = h.now.Add(life - time.Duration(h.random.IntN(2))*life)
	}
	return token
}

func (h *history) refuse() string {
	s := &h.state
	refused := []string{"", "unknown", s.handed, s.token.AccessToken, h.refused}[h.random.IntN(5)]
	if !s.refuse(h.now, refused, errSource) {
		return "refusal ignored"
	}
	assert.NotEmpty(h.t, refused)
	assert.NotEqual(h.t, refused, s.token.AccessToken)
	assert.NotEqual(h.t, refused, s.handed)
	assert.True(h.t, s.exclusive || !h.now.Before(s.retryAt), "a refusal ends a pause")
	h.refused, h.insisted = refused, false
	return "refused"
}

func (h *history) force() string {
	if !h.state.force(h.now) {
		return "not forced"
	}
	h.forces = append(h.forces, h.now)
	return "forced"
}

// check looks at what holds whatever happened.
func (h *history) check(event string) {
	s := &h.state
	assert.False(h.t, s.refreshAt.After(s.token.ExpiresAt), "%s: the refresh is due after the token expires", event)
	longest := maxPause
	if s.exclusive {
		longest = maxFightGap
	}
	assert.LessOrEqual(h.t, s.retryAt.Sub(h.now), longest, "%s: the pause is too long", event)
	if event == "failed" && !s.retryAt.Equal(s.token.ExpiresAt) {
		assert.GreaterOrEqual(h.t, s.retryAt.Sub(h.now), firstPause, "the pause is too short")
	}
	assert.LessOrEqual(h.t, s.lookAt.Sub(h.now), lookInterval, event)
	assert.LessOrEqual(h.t, s.bearUntil.Sub(h.now), bearWith, event)
	if n := len(h.forces); event == "forced" && n > 1 {
		assert.GreaterOrEqual(h.t, h.forces[n-1].Sub(h.forces[n-2]), firstForceGap)
		if n > forcesPerDay {
			assert.GreaterOrEqual(h.t, h.forces[n-1].Sub(h.forces[n-1-forcesPerDay]), day, "six forced refreshes in a day")
		}
	}
}
