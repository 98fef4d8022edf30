package wxphonetest

import (
	"encoding/base64"
	"time"
)

const (
	pathClassicToken = "/cgi-bin/token"
	pathStableToken  = "/cgi-bin/stable_token"
)

// WeChat's rules for access_tokens.
const (
	// tokenOverlap is how long a token and its successor both work.
	tokenOverlap = 5 * time.Minute
	forcedGap    = 30 * time.Second

	classicPerDay   = 2000
	stablePerMinute = 10_000
	stablePerDay    = 500_000
	forcedPerDay    = 20
)

// token is an issued access_token.
type token struct {
	value     string
	expiresAt time.Time
	// retiredAt is when it was invalidated before its expiry, or zero.
	retiredAt time.Time
	// retiredBy describes why it was invalidated, such as "was revoked".
	retiredBy string
}

func (t *token) retire(at time.Time, by string) {
	if t.retiredAt.IsZero() || at.Before(t.retiredAt) {
		t.retiredAt, t.retiredBy = at, by
	}
}

// Reasons why a token is invalidated.
const (
	byRevocation = "was revoked"
	byForce      = "was replaced by a forced refresh"
	bySuccessor  = "was replaced, and stopped working"
	bySuccessors = "was replaced twice, the last time"
)

// whyRetired describes why the server no longer accepts the token, which is
// called name.
func (t *token) whyRetired(name string, now time.Time) string {
	return "the " + name + " " + t.retiredBy + " " + ago(now, t.retiredAt)
}

func (t *token) whyExpired(name string, now time.Time) string {
	return "the " + name + " expired " + ago(now, t.expiresAt)
}

func (t *token) isRetired(now time.Time) bool {
	return !t.retiredAt.IsZero() && !now.Before(t.retiredAt)
}

func (t *token) isExpired(now time.Time) bool { return !now.Before(t.expiresAt) }

// tokenBook holds the tokens of one appid. The two kinds of tokens are
// independent.
type tokenBook struct {
	all     map[string]*token
	classic []*token
	stable  []*token

	// current is the token that stable_token returns, even if it was
	// invalidated.
	current  *token
	forcedAt time.Time

	stableMinute, forcedToday quota
}

func newTokenBook() tokenBook { return tokenBook{all: make(map[string]*token)} }

func (b *tokenBook) issue(now time.Time, lifetime time.Duration) *token {
	raw := make([]byte, 108)
	random(raw)
	t := &token{value: "86_" + base64.RawURLEncoding.EncodeToString(raw), expiresAt: now.Add(lifetime)}
	b.all[t.value] = t
	return t
}

// nextStable returns the current stable token. It renews the token in its last
// minutes; the old one then works until its expiry.
func (b *tokenBook) nextStable(now time.Time, lifetime time.Duration) *token {
	if b.current == nil || b.current.expiresAt.Sub(now) <= tokenOverlap {
		b.current = b.issue(now, lifetime)
		b.stable = append(b.stable, b.current)
	}
	return b.current
}

// forceStable replaces the stable token at once.
func (b *tokenBook) forceStable(now time.Time, lifetime time.Duration) *token {
	for _, t := range b.stable {
		t.retire(now, byForce)
	}
	b.forcedAt = now
	b.current = b.issue(now, lifetime)
	b.stable = []*token{b.current}
	return b.current
}

// nextClassic returns a new classic token. The previous one works for a few
// more minutes.
func (b *tokenBook) nextClassic(now time.Time, lifetime time.Duration) *token {
	for i, t := range b.classic {
		if i == len(b.classic)-1 {
			t.retire(now.Add(tokenOverlap), bySuccessor)
			b.classic = b.classic[i:]
			break
		}
		t.retire(now, bySuccessors)
	}
	fresh := b.issue(now, lifetime)
	b.classic = append(b.classic, fresh)
	return fresh
}

// Token returns the current access_token of stable_token, and issues one if
// there is none. It does not count as a request.
func (s *Server) Token() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tokens.nextStable(time.Now(), s.tokenLifetime).value
}

// RevokeToken invalidates every access_token issued so far, of both kinds.
// Calls with one are answered with 40001, as after a refresh by another
// program. The next call of stable_token returns a new token.
func (s *Server) RevokeToken() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.revoke()
	s.tokens.current = nil
}

// RevokeTokenUntilForced is like [Server.RevokeToken], but stable_token
// continues to return the invalid token until a call with force_refresh, or
// until the token's last five minutes.
func (s *Server) RevokeTokenUntilForced() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.revoke()
}

func (s *Server) revoke() {
	now := time.Now()
	for _, t := range s.tokens.all {
		t.retire(now, byRevocation)
	}
}

// checkTokenOf returns nil if a call has a valid token of the given kind, and
// otherwise the answer.
func (s *Server) checkTokenOf(c *call, kind tokenKind) any {
	switch {
	case kind == noToken:
		return nil
	case kind == anyToken && s.platform.tokens[c.query.Get("access_token")] != nil:
		return s.checkComponentToken(c, componentAppID, 40001)
	default:
		return s.checkToken(c)
	}
}

// checkToken returns nil if a call has a valid access_token, and otherwise the
// answer.
func (s *Server) checkToken(c *call) any {
	value := c.query.Get("access_token")
	if value == "" {
		if s.cloudHosting {
			c.appID = s.appID
			return nil
		}
		return c.reject(41001, "the query has no access_token")
	}
	t, known := s.tokens.all[value]
	if known {
		c.appID = s.ownerOf(value)
	}
	switch {
	case !known && s.platform.tokens[value] != nil:
		return c.fail(40001, "this is the platform's component_access_token; the API takes a mini-program's access_token")
	case !known:
		return c.fail(40001, "the server has handed out no such access_token since it started or was reset")
	case t.isExpired(c.now):
		return c.fail(42001, "%s", t.whyExpired("access_token", c.now))
	case t.isRetired(c.now):
		return c.fail(40001, "%s", t.whyRetired("access_token", c.now))
	default:
		return s.checkGrant(c, value)
	}
}

type tokenAnswer struct {
	AccessToken string `json:"access_token"`
	ExpiresIn   int64  `json:"expires_in"`
}

func answerToken(t *token, now time.Time) tokenAnswer {
	return tokenAnswer{t.value, int64(t.expiresAt.Sub(now) / time.Second)}
}

func (s *Server) serveClassicToken(c *call) any {
	if refusal := s.checkCredentials(c, credentials{
		GrantType: c.query.Get("grant_type"),
		AppID:     c.query.Get("appid"),
		Secret:    c.query.Get("secret"),
	}, "client_credential"); refusal != nil {
		return refusal
	}
	if refusal := s.takeCall(c); refusal != nil {
		return refusal
	}
	return answerToken(s.tokens.nextClassic(c.now, s.tokenLifetime), c.now)
}

func (s *Server) serveStableToken(c *call) any {
	var body struct {
		credentials
		ForceRefresh bool `json:"force_refresh"`
	}
	if refusal := c.decode(&body); refusal != nil {
		return refusal
	}
	if refusal := s.checkCredentials(c, body.credentials, "client_credential"); refusal != nil {
		return refusal
	}
	book := &s.tokens
	if !book.stableMinute.take(minuteOf(c.now), stablePerMinute) {
		return c.fail(45011, "all %d calls of this minute are used up", stablePerMinute)
	}
	if refusal := s.takeCall(c); refusal != nil {
		return refusal
	}
	if !body.ForceRefresh || c.now.Sub(book.forcedAt) < forcedGap {
		return answerToken(book.nextStable(c.now, s.tokenLifetime), c.now)
	}
	// WeChat does not document the answer to the 21st call of a day. This is
	// the errcode of the API's other daily quota.
	if !book.forcedToday.take(dayOf(c.now), forcedPerDay) {
		return c.fail(45009, "all %d forced refreshes of this day in China are used up", forcedPerDay)
	}
	return answerToken(book.forceStable(c.now, s.tokenLifetime), c.now)
}

// credentials are required by every API without an access_token.
type credentials struct {
	GrantType string `json:"grant_type"`
	AppID     string `json:"appid"`
	Secret    string `json:"secret"`
}

// checkCredentials returns nil if the credentials are valid, and otherwise the
// answer. WeChat also documents 40001 for a wrong secret, but it has not been
// observed.
func (s *Server) checkCredentials(c *call, got credentials, grantType string) any {
	if got.AppID != "" && got.Secret != "" && got.GrantType != grantType {
		return c.reject(40002, "grant_type must be %q", grantType)
	}
	return s.checkAppSecret(c, got.AppID, got.Secret)
}

// checkAppSecret returns nil if an appid and its secret are valid, and
// otherwise the answer.
func (s *Server) checkAppSecret(c *call, appID, secret string) any {
	switch {
	case appID == "":
		return c.reject(41002, "appid is missing")
	case secret == "":
		return c.reject(41004, "the AppSecret is missing")
	case appID != s.appID:
		return c.fail(40013, "the appid is %q; the server's mini-program is %s", appID, s.appID)
	}
	c.appID = appID
	if secret != s.secret {
		return c.fail(40125, "this is not the AppSecret of %s", appID)
	}
	return nil
}
