package tokencache

import (
	"math/rand/v2"
	"time"
)

const (
	// The early refresh starts between these times before expiry. WeChat renews
	// a stable token in its last 5 minutes, during which both the old and the
	// new token work.
	latestRefresh   = 2 * time.Minute
	earliestRefresh = 4 * time.Minute
	// shortLife is the lifetime below which a token is not refreshed early.
	shortLife = 2 * time.Second

	firstPause = time.Second
	maxPause   = time.Minute
	// unaskedPause is the pause after a failure before anything was asked.
	unaskedPause = 100 * time.Millisecond
	// lookInterval is how often the store is asked during a pause, because
	// another process may have saved a token.
	lookInterval = time.Second

	// bearWith is how long refusals of a token are ignored if the source
	// returns it again. Fetching it again for every call would not help.
	bearWith = 30 * time.Second

	// WeChat allows an account 20 forced refreshes per day, 30 seconds apart. A
	// cache uses at most a quarter of them: other programs of the account may
	// need theirs, and a token that is invalidated this often has another
	// cause.
	forcesPerDay  = 5
	firstForceGap = 30 * time.Second
	day           = 24 * time.Hour

	// If another program fetches from an exclusive source too, each fetch can
	// cause the next one. From the second on, fetches are delayed until no
	// token was lost for a while.
	firstFightGap = 5 * time.Second
	maxFightGap   = 2 * time.Minute
	fightIsOver   = 30 * time.Minute
)

// state holds everything a cache knows. See the package comment.
type state struct {
	shared    bool // there is a store, which may have another process's token
	exclusive bool // each token invalidates the previous one

	token     Token     // used until it expires; the zero Token if there is none
	refreshAt time.Time // when to refresh token, at the latest when it expires

	handed   string // the access_token that arrived last, even if it was not cached
	handedAt time.Time
	newest   time.Time // the latest expiry of a token so far

	refused   string    // the access_token that WeChat rejected last
	bearUntil time.Time // until when further refusals of it are ignored
	forces    []time.Time

	failures int // consecutive failed flights
	cause    error
	retryAt  time.Time // when the source may be called again
	lookAt   time.Time // when the store may be asked before that

	lost   int       // consecutive tokens of an exclusive source that were rejected
	lostAt time.Time // when the last of them was rejected
}

// step is what a caller does if there is no fresh token.
type step int

const (
	take    step = iota // use the token, which is still valid
	refresh             // use it, and start a flight for the next one
	join                // wait for the current flight
	fetch               // start a flight and wait for it
	look                // the same, but ask only the store
	pause               // wait or fail: the source failed a moment ago
)

// ask returns what a caller does. flying reports whether there is a flight.
func (s *state) ask(now time.Time, flying bool) step {
	switch {
	case now.Before(s.token.ExpiresAt):
		if flying || now.Before(s.refreshAt) {
			return take
		}
		// Only this caller starts a flight until it has landed.
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

// nextTry returns when a caller may ask again during a pause.
func (s *state) nextTry() time.Time {
	if s.shared {
		return earlier(s.retryAt, s.lookAt)
	}
	return s.retryAt
}

// arrived records a token that a flight fetched and returns it as it is kept:
// with its expiry as wall time, which continues while the machine is suspended.
func (s *state) arrived(now time.Time, token Token) Token {
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
	return token
}

// storeFailed delays the next flight after a failure of the store. It does not
// count as a failure of the source.
func (s *state) storeFailed(now time.Time, cause error) { s.wait(now, firstPause, cause) }

// unasked delays the next flight only so long that callers do not read what is
// missing all the time.
func (s *state) unasked(now time.Time, cause error) { s.wait(now, unaskedPause, cause) }

// lose counts a token that was rejected, and delays the next fetch.
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

// failed delays the next flight, each time twice as long as before.
func (s *state) failed(now time.Time, cause error) {
	wait := maxPause
	if s.failures < 6 {
		wait = min(firstPause<<s.failures, maxPause)
	}
	s.failures++
	s.wait(now, wait, cause)
}

// wait starts a pause.
func (s *state) wait(now time.Time, d time.Duration, cause error) {
	s.cause = cause
	s.retryAt = now.Add(d)
	if expires := s.token.ExpiresAt; now.Before(expires) {
		// The pause ends with the token, because calls then fail without a request.
		s.retryAt = earlier(s.retryAt, expires)
		s.refreshAt = s.retryAt
	}
}

// refuse removes the token if it is the one that WeChat rejected, and ends a
// pause, because without a token calls fail. It reports whether there is a
// refusal to report.
func (s *state) refuse(now time.Time, refused string, cause error) bool {
	kept := refused == s.token.AccessToken
	switch {
	case refused == "":
		return false
	case refused != s.handed && !kept:
		return false // it was already replaced
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

// outdated reports whether token was rejected after the flight that fetched it
// had started. told is the rejected token that the flight knew of.
func (s *state) outdated(token Token, told string) bool {
	return token.AccessToken == s.refused && token.AccessToken != told
}

// force counts a forced refresh and reports whether it is allowed now. The
// interval doubles after each.
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

// unforce removes the last forced refresh, which was not sent.
func (s *state) unforce() { s.forces = s.forces[:len(s.forces)-1] }

// usable reports whether a token from the store can be used: it is not
// rejected, not expired, not the one to be replaced, and not an older one, as a
// replica of the store may return.
func (s *state) usable(now time.Time, token Token) bool {
	return token.AccessToken != s.refused && token.AccessToken != s.token.AccessToken &&
		now.Before(token.ExpiresAt) && !token.ExpiresAt.Before(s.newest)
}

// refreshTime returns when to refresh a token, at random, so that the processes
// that share it do not all do so at once.
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
