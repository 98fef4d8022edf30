package tokencache

import (
	"math/rand/v2"
	"time"
)

const (
	// The early refresh starts between these times before expiry: WeChat
	// renews a stable token in its last 5 minutes, and in those the old and
	// the new one both work.
	latestRefresh   = 2 * time.Minute
	earliestRefresh = 4 * time.Minute
	// shortLife is the life of a token too short to be refreshed early.
	shortLife = 2 * time.Second

	firstPause = time.Second
	maxPause   = time.Minute
	// lookInterval is how often the store is looked into during a pause:
	// another process may have a token by now.
	lookInterval = time.Second

	// bearWith is how long refusals are ignored of a token that the source
	// insists on: fetching it again for every call would not make it better.
	bearWith = 30 * time.Second

	// WeChat allows an account 20 forced refreshes a day, 30 seconds apart. A
	// cache takes a quarter of them at most: others of the account may need
	// theirs, and a token that dies this often has another cause.
	forcesPerDay  = 5
	firstForceGap = 30 * time.Second
	day           = 24 * time.Hour

	// A source whose tokens retire each other can be drawn into a fight with
	// another program, in which each fetch causes the next. From the second on
	// they have gaps, until no token was lost for a while.
	firstFightGap = 5 * time.Second
	maxFightGap   = 2 * time.Minute
	fightIsOver   = 30 * time.Minute
)

// state is all that a cache knows. See the package's comment.
type state struct {
	shared    bool // there is a store, where another process's token may turn up
	exclusive bool // each token retires the one before

	token     Token     // served until it expires; the zero Token if there is none
	refreshAt time.Time // when token is due for a refresh, at the latest when it expires

	handed   string // the access_token that arrived last, kept or not
	handedAt time.Time
	newest   time.Time // the latest expiry of a token so far

	refused   string    // the access_token that WeChat refused last
	bearUntil time.Time // until when further refusals of it are ignored
	forces    []time.Time

	failures int // flights failed in a row
	cause    error
	retryAt  time.Time // when the source may be asked again
	lookAt   time.Time // when the store may be looked into before that

	lost   int       // tokens of an exclusive source lost in a fight so far
	lostAt time.Time // the last of them
}

// step is what a caller does who met no fresh token.
type step int

const (
	take    step = iota // use the token, which is valid still
	refresh             // use it, and start a flight for the next one
	join                // wait for the flight under way
	fetch               // start a flight and wait for it
	look                // the same, but to the store only
	pause               // wait or do without: the source failed a moment ago
)

// ask says what a caller does. flying tells whether a flight is under way.
func (s *state) ask(now time.Time, flying bool) step {
	switch {
	case now.Before(s.token.ExpiresAt):
		if flying || now.Before(s.refreshAt) {
			return take
		}
		// Until the flight has landed, nobody else is sent.
		s.refreshAt = earlier(now.Add(flightLimit), s.token.ExpiresAt)
		return refresh
	case flying:
		return join
	case !now.Before(s.retryAt):
		return fetch
	case s.shared && !now.Before(s.lookAt):
		s.lookAt = now.Add(lookInterval)
		return look
	default:
		return pause
	}
}

// nextTry says when a caller who met a pause may ask again.
func (s *state) nextTry() time.Time {
	if s.shared {
		return earlier(s.retryAt, s.lookAt)
	}
	return s.retryAt
}

// arrived takes a token that a flight brought. Its expiry is kept as wall time,
// which goes on while the machine is suspended.
func (s *state) arrived(now time.Time, token Token) {
	token.ExpiresAt = token.ExpiresAt.Round(0)
	s.failures, s.cause, s.retryAt = 0, nil, time.Time{}
	s.handed, s.handedAt = token.AccessToken, now
	if token.AccessToken == s.refused {
		s.bearUntil = now.Add(bearWith)
	}
	if !token.ExpiresAt.IsZero() {
		s.token, s.refreshAt = token, refreshTime(now, token.ExpiresAt)
		s.newest = token.ExpiresAt
	}
}

// storeFailed makes the next flight wait until the store may be back. That is
// no failure of the source.
func (s *state) storeFailed(now time.Time, cause error) { s.wait(now, firstPause, cause) }

// lose counts a token that was fetched in vain, and keeps the next fetch back.
func (s *state) lose(now time.Time) {
	if now.Sub(s.lostAt) >= fightIsOver {
		s.lost = 0
	}
	gap := time.Duration(0)
	if s.lost > 0 {
		gap = min(firstFightGap<<min(s.lost-1, 8), maxFightGap)
	}
	s.lost, s.lostAt = s.lost+1, now
	s.retryAt = now.Add(gap)
}

// failed makes the next flight wait, twice as long as the one before.
func (s *state) failed(now time.Time, cause error) {
	wait := maxPause
	if s.failures < 6 {
		wait = min(firstPause<<s.failures, maxPause)
	}
	s.failures++
	s.wait(now, wait, cause)
}

// wait begins a pause.
func (s *state) wait(now time.Time, d time.Duration, cause error) {
	s.cause = cause
	s.retryAt = now.Add(d)
	if expires := s.token.ExpiresAt; now.Before(expires) {
		// Without a token there is more to lose than a request.
		s.retryAt = earlier(s.retryAt, expires)
		s.refreshAt = s.retryAt
	}
}

// refuse drops the token if it is the one that WeChat refused, and ends a
// pause: without a token there is more to lose than a request. It reports
// whether there is anybody to tell.
func (s *state) refuse(now time.Time, refused string, cause error) bool {
	kept := refused == s.token.AccessToken
	switch {
	case refused == "":
		return false
	case refused != s.handed && !kept:
		return false // it was replaced already
	case refused == s.refused && now.Before(s.bearUntil):
		return false
	}
	s.refused = refused
	if refused == s.handed {
		s.handed = ""
	}
	if kept {
		s.token, s.refreshAt = Token{}, time.Time{}
	}
	s.failures, s.cause, s.retryAt = 0, cause, time.Time{}
	if s.exclusive {
		s.lose(now)
	}
	return true
}

// outdated reports whether token was refused after the flight that brought it
// had asked; told is the refusal that the flight knew of.
func (s *state) outdated(token Token, told string) bool {
	return token.AccessToken == s.refused && token.AccessToken != told
}

// force uses up one forced refresh, or reports that none is left now. The gap
// after each doubles.
func (s *state) force(now time.Time) bool {
	for len(s.forces) > 0 && now.Sub(s.forces[0]) >= day {
		s.forces = s.forces[1:]
	}
	n := len(s.forces)
	if n >= forcesPerDay || n > 0 && now.Sub(s.forces[n-1]) < firstForceGap<<(n-1) {
		return false
	}
	s.forces = append(s.forces, now)
	return true
}

// unforce takes the last forced refresh back: it was never sent.
func (s *state) unforce() { s.forces = s.forces[:len(s.forces)-1] }

// usable reports whether a token from the store is better than a fetch: it is
// not refused, not expired, not the one whose successor is looked for, and not
// an older one, as a replica of the store may have.
func (s *state) usable(now time.Time, token Token) bool {
	return token.AccessToken != s.refused && token.AccessToken != s.token.AccessToken &&
		now.Before(token.ExpiresAt) && !token.ExpiresAt.Before(s.newest)
}

// refreshTime is jittered, so that the processes that share a token do not
// refresh it together.
func refreshTime(now, expires time.Time) time.Time {
	life := expires.Sub(now)
	if life < shortLife {
		return expires
	}
	lead := latestRefresh + rand.N(earliestRefresh-latestRefresh) //nolint:gosec // spreads load, guards nothing
	return expires.Add(-min(lead, life/2))
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
