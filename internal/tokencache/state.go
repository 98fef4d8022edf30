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
)

// state is all that a cache knows. See the package's comment.
type state struct {
	shared bool // there is a store, where another process's token may turn up

	token     Token     // served until it expires; the zero Token if there is none
	refreshAt time.Time // when token is due for a refresh, at the latest when it expires

	handed   string // the access_token that arrived last, kept or not
	handedAt time.Time

	refused   string    // the access_token that WeChat refused last
	bearUntil time.Time // until when further refusals of it are ignored
	forces    []time.Time

	failures int // flights failed in a row
	cause    error
	retryAt  time.Time // when the source may be asked again
	lookAt   time.Time // when the store may be looked into before that
}

// step is what a caller does who met no fresh token.
type step int

const (
	take    step = iota // use the token, which is valid still
	refresh             // use it, and start a flight for the next one
	join                // wait for the flight under way
	fetch               // start a flight and wait for it
	look                // the same, but to the store only
	pause               // do without: the source failed a moment ago
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

// arrived takes a token that a flight brought.
func (s *state) arrived(now time.Time, token Token) {
	s.failures, s.cause, s.retryAt = 0, nil, time.Time{}
	s.handed, s.handedAt = token.AccessToken, now
	if token.AccessToken == s.refused {
		s.bearUntil = now.Add(bearWith)
	}
	if !token.ExpiresAt.IsZero() {
		s.token, s.refreshAt = token, refreshTime(now, token.ExpiresAt)
	}
}

// failed makes the next flight wait, twice as long as the one before.
func (s *state) failed(now time.Time, cause error) {
	wait := maxPause
	if s.failures < 6 {
		wait = min(firstPause<<s.failures, maxPause)
	}
	s.failures++
	s.cause = cause
	s.retryAt = now.Add(wait)
	if expires := s.token.ExpiresAt; now.Before(expires) {
		// Without a token there is more to lose than a request.
		s.retryAt = earlier(s.retryAt, expires)
		s.refreshAt = s.retryAt
	}
}

// refuse drops the token if it is the one that WeChat refused. It reports
// whether there is anybody to tell.
func (s *state) refuse(now time.Time, refused string) bool {
	switch {
	case refused == "":
		return false
	case refused != s.handed && refused != s.token.AccessToken:
		return false // it was replaced already
	case refused == s.refused && now.Before(s.bearUntil):
		return false
	}
	s.refused, s.handed = refused, ""
	s.token, s.refreshAt = Token{}, time.Time{}
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

// usable reports whether a token from the store is better than a fetch: it is
// not refused, not expired, and not the one whose successor is looked for.
func (s *state) usable(now time.Time, token Token) bool {
	return token.AccessToken != s.refused && token.AccessToken != s.token.AccessToken && now.Before(token.ExpiresAt)
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
