package wxphonetest

import (
	"context"
	"encoding/base64"
	"strconv"
	"time"

	"github.com/wxphone/wxphone"
)

const (
	pathComponentToken        = "/cgi-bin/component/api_component_token"
	pathAuthorizerToken       = "/cgi-bin/component/api_authorizer_token"
	pathComponentCode2Session = "/sns/component/jscode2session"
)

const (
	componentAppID  = "wx9e8d7c6b5a403f21"
	componentSecret = "c4b1e7f09a2d4c63b85e1f7a0d9c3b26"

	ticketEvery    = 10 * time.Minute
	ticketLifetime = 12 * time.Hour
)

// platform is what WeChat remembers of a third-party platform.
type platform struct {
	tickets    map[string]time.Time // when each was pushed
	lastTicket string

	tokens  map[string]*token // component_access_tokens
	current *token

	grants map[string]*grant // by the mini-program's appid
	// owners has the mini-program of each authorizer_access_token.
	owners map[string]*grant

	preAuthCodes       map[string]*preAuthCode
	authorizationCodes map[string]*authorizationCode

	lastPush       *push
	ticketsStopped bool
}

// grant is the authorisation of one mini-program.
type grant struct {
	appID        string
	refreshToken string
	authorizedAt time.Time
	// queried is whether the platform was ever told the refresh token.
	queried bool
	// former are earlier refresh tokens, and until when each works or worked.
	former map[string]time.Time
	// rotates is whether the next refresh hands out another refresh token.
	rotates bool
	// withdrawn is when the owner ended it, and unpermitted when permission set
	// 18 was taken out; zero if not.
	withdrawn, unpermitted time.Time
	current                *token
}

func newPlatform() platform {
	return platform{
		tickets: make(map[string]time.Time),
		tokens:  make(map[string]*token),
		grants:  make(map[string]*grant),
		owners:  make(map[string]*grant),

		preAuthCodes:       make(map[string]*preAuthCode),
		authorizationCodes: make(map[string]*authorizationCode),
	}
}

// ComponentAppID returns the appid of the third-party platform that the server
// knows.
func (s *Server) ComponentAppID() string { return componentAppID }

// ComponentSecret returns the AppSecret of the third-party platform.
func (s *Server) ComponentSecret() string { return componentSecret }

// NewComponent returns the third-party platform as a client of this server,
// with the latest ticket whenever it asks. opts come after the server's own
// [wxphone.WithHTTPClient] and can override it.
func (s *Server) NewComponent(opts ...wxphone.Option) *wxphone.Component {
	own := []wxphone.Option{wxphone.WithHTTPClient(s.HTTPClient())}
	ticket := func(context.Context) (string, error) { return s.Ticket(), nil }
	c, err := wxphone.NewComponent(componentAppID, componentSecret, ticket, append(own, opts...)...)
	if err != nil {
		s.reporter.fatalf("wxphonetest: NewComponent: %v", err)
		return nil
	}
	return c
}

// Ticket returns the component_verify_ticket that WeChat pushed last. There is
// another one every 10 minutes, and each works for 12 hours.
func (s *Server) Ticket() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if pushed, ok := s.platform.tickets[s.platform.lastTicket]; !ok || now.Sub(pushed) >= ticketEvery {
		s.pushTicket(now)
	}
	return s.platform.lastTicket
}

// PushTicket makes WeChat push a ticket now, to the URL of [Server.PushTo] if
// there is one, and returns it.
func (s *Server) PushTicket() string {
	s.mu.Lock()
	now := time.Now()
	ticket := s.pushTicket(now)
	var p *push
	if !s.platform.ticketsStopped {
		p = newPush(wxphone.PushTicket, now, "ComponentVerifyTicket", ticket)
	}
	s.mu.Unlock()
	s.deliver(p)
	return ticket
}

func (s *Server) pushTicket(now time.Time) string {
	s.platform.lastTicket = "ticket@@@" + opaque(64)
	s.platform.tickets[s.platform.lastTicket] = now
	return s.platform.lastTicket
}

// RevokeComponentToken makes every component_access_token handed out so far
// answer 40001, or 40094 at the login, from now on. [Server.RevokeToken] does
// the like to the tokens of the mini-programs.
func (s *Server) RevokeComponentToken() {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	for _, t := range s.platform.tokens {
		t.retire(now, byRevocation)
	}
}

// Authorize has the owner of the server's mini-program authorise the platform.
// See [Server.AuthorizeApp].
func (s *Server) Authorize() (refreshToken string) { return s.AuthorizeApp(s.appID) }

// AuthorizeApp has the owner of the mini-program appID authorise the platform,
// with permission set 18. It returns the authorizer_refresh_token, as if the
// platform had got it from api_query_auth; [Server.AuthorizeByURL] and
// [Server.IssueAuthorizationCode] leave that to the platform. What was handed
// out under an earlier authorisation no longer works.
//
// A server has one mini-program of its own. Codes of the others are made with
// [ForApp] and [Server.IssueLoginCodeForApp]; everything else, such as users'
// sessions, is one for all of them.
func (s *Server) AuthorizeApp(appID string) (refreshToken string) {
	s.mu.Lock()
	now := time.Now()
	g := s.authorize(appID, now)
	g.queried = true
	refreshToken = g.refreshToken
	p := s.newAuthorizationPush(wxphone.PushAuthorized, appID, s.issueAuthorizationCode(g, now), "", now)
	s.mu.Unlock()
	s.deliver(p)
	return refreshToken
}

// Deauthorize has the owner of the mini-program appID withdraw the
// authorisation: the platform's calls for it answer 61003.
func (s *Server) Deauthorize(appID string) {
	s.mu.Lock()
	now := time.Now()
	var p *push
	if g := s.platform.grants[appID]; g != nil && g.withdrawn.IsZero() {
		g.withdrawn = now
		p = newPush(wxphone.PushUnauthorized, now, "AuthorizerAppid", appID)
	}
	s.mu.Unlock()
	s.deliver(p)
}

// WithdrawPermission takes permission set 18 out of the authorisation of the
// mini-program appID: the platform still gets its token, but calls with it
// answer 61007.
func (s *Server) WithdrawPermission(appID string) {
	s.mu.Lock()
	now := time.Now()
	g := s.mustGrant(appID)
	g.unpermitted = now
	p := s.newAuthorizationPush(wxphone.PushUpdated, appID, s.issueAuthorizationCode(g, now), "", now)
	s.mu.Unlock()
	s.deliver(p)
}

// RotateRefreshToken makes the next refresh of the mini-program appID hand out
// another refresh token. The one that it was made with works for five minutes
// more.
func (s *Server) RotateRefreshToken(appID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mustGrant(appID).rotates = true
}

// RevokeRefreshToken makes every refresh token of the mini-program appID answer
// 61023, as one does that the platform failed to keep. It returns the new one,
// which a platform gets from api_get_authorizer_list.
func (s *Server) RevokeRefreshToken(appID string) (refreshToken string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.mustGrant(appID)
	now := time.Now()
	for value, until := range g.former {
		if now.Before(until) {
			g.former[value] = now
		}
	}
	g.former[g.refreshToken] = now
	g.refreshToken = newRefreshToken()
	return g.refreshToken
}

// mustGrant stops a test that would otherwise wait in vain for an effect.
func (s *Server) mustGrant(appID string) *grant {
	g := s.platform.grants[appID]
	if g == nil {
		panic("wxphonetest: " + strconv.Quote(appID) + " has not authorised the platform; call AuthorizeApp first")
	}
	return g
}

// ForApp says in which mini-program the user tapped, if it is not the server's
// own. The watermark is that mini-program's, unless the number has one.
func ForApp(appID string) CodeOption {
	return func(c *phoneCode) { c.appID = appID }
}

// IssueLoginCodeForApp is [Server.IssueLoginCode] for a user of the
// mini-program appID.
func (s *Server) IssueLoginCodeForApp(appID, openid string) (jsCode string) {
	jsCode = s.IssueLoginCode(openid)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.loginCodes[jsCode].appID = appID
	return jsCode
}

func (s *Server) serveComponentToken(c *call) any {
	var body struct {
		AppID  string `json:"component_appid"`
		Secret string `json:"component_appsecret"`
		Ticket string `json:"component_verify_ticket"`
	}
	if refusal := c.decode(&body); refusal != nil {
		return refusal
	}
	pushed, known := s.platform.tickets[body.Ticket]
	switch {
	case body.AppID == "":
		return c.reject(41018, "component_appid is missing")
	case body.Secret == "":
		return c.reject(41004, "component_appsecret is missing")
	case body.Ticket == "":
		return c.reject(61006, "component_verify_ticket is missing")
	}
	if refusal := checkComponentSecret(c, body.AppID, body.Secret); refusal != nil {
		return refusal
	}
	switch {
	case !known:
		return c.fail(61006, "the server has pushed no such ticket since it started or was reset")
	case c.now.Sub(pushed) >= ticketLifetime:
		return c.fail(61005, "this ticket was pushed %s; a ticket works for 12 hours", ago(c.now, pushed))
	}
	c.appID = componentAppID
	if refusal := s.takeCall(c); refusal != nil {
		return refusal
	}
	// Whether the former token lives on is not documented; as the classic one
	// it does for some minutes.
	if s.platform.current != nil {
		s.platform.current.retire(c.now.Add(tokenOverlap), bySuccessor)
	}
	t := &token{value: "86_" + opaque(108), expiresAt: c.now.Add(s.tokenLifetime)}
	s.platform.tokens[t.value], s.platform.current = t, t
	return struct {
		Token     string `json:"component_access_token"`
		ExpiresIn int64  `json:"expires_in"`
	}{t.value, answerToken(t, c.now).ExpiresIn}
}

// checkComponentToken returns the refusal of a component_access_token, or nil.
// APIs differ in the errcode of an invalid one. WeChat takes both names.
func (s *Server) checkComponentToken(c *call, componentID string, invalid int) any {
	value := c.query.Get("component_access_token")
	if value == "" {
		value = c.query.Get("access_token")
	}
	t := s.platform.tokens[value]
	switch {
	case value == "":
		return c.reject(41001, "the query has no component_access_token")
	case t == nil && s.tokens.all[value] != nil:
		return c.reject(48001, "the token is a mini-program's; this API takes the platform's component_access_token")
	case t == nil:
		return c.fail(invalid, "the server has handed out no such component_access_token since it started or was reset")
	case t.isExpired(c.now):
		return c.fail(42001, "%s", t.whyExpired("component_access_token", c.now))
	case t.isRetired(c.now):
		return c.fail(invalid, "%s", t.whyRetired("component_access_token", c.now))
	case componentID == "":
		return c.reject(41018, "component_appid is missing")
	case componentID != componentAppID:
		return c.fail(40013, "component_appid is %q; the server's platform is %s", componentID, componentAppID)
	default:
		c.appID = componentAppID
		return nil
	}
}

func (s *Server) serveAuthorizerToken(c *call) any {
	var body struct {
		ComponentID  string `json:"component_appid"`
		AppID        string `json:"authorizer_appid"`
		RefreshToken string `json:"authorizer_refresh_token"`
	}
	if refusal := c.decode(&body); refusal != nil {
		return refusal
	}
	if refusal := s.checkComponentToken(c, body.ComponentID, 40001); refusal != nil {
		return refusal
	}
	if body.AppID == "" {
		return c.reject(40013, "authorizer_appid is missing")
	}
	if body.RefreshToken == "" {
		return c.reject(61023, "authorizer_refresh_token is missing")
	}
	g := s.platform.grants[body.AppID]
	if refusal := g.checkStands(c, body.AppID); refusal != nil {
		return refusal
	}
	if refusal := g.checkRefreshToken(c, body.RefreshToken); refusal != nil {
		return refusal
	}
	if refusal := s.takeCall(c); refusal != nil {
		return refusal
	}
	if g.rotates {
		g.former[g.refreshToken] = c.now.Add(tokenOverlap)
		g.refreshToken, g.rotates = newRefreshToken(), false
	}
	return s.issueAuthorizerToken(g, c.now)
}

// authorizerTokens is what a platform gets of a mini-program's tokens.
type authorizerTokens struct {
	Token        string `json:"authorizer_access_token"`
	ExpiresIn    int64  `json:"expires_in"`
	RefreshToken string `json:"authorizer_refresh_token"`
}

// issueAuthorizerToken makes a token, which the one before survives by some
// minutes.
func (s *Server) issueAuthorizerToken(g *grant, now time.Time) authorizerTokens {
	if g.current != nil {
		g.current.retire(now.Add(tokenOverlap), bySuccessor)
	}
	g.current = s.tokens.issue(now, s.tokenLifetime)
	s.platform.owners[g.current.value] = g
	return authorizerTokens{g.current.value, answerToken(g.current, now).ExpiresIn, g.refreshToken}
}

// ownerOf returns the mini-program that an access_token is for.
func (s *Server) ownerOf(accessToken string) (appID string) {
	if g := s.platform.owners[accessToken]; g != nil {
		return g.appID
	}
	return s.appID
}

// checkGrant returns the refusal of a sound access_token that a platform may
// not call with, or nil.
func (s *Server) checkGrant(c *call, accessToken string) any {
	if g := s.platform.owners[accessToken]; g != nil {
		return g.check(c, g.appID)
	}
	return nil
}

// check returns the refusal of a platform that may not call for the
// mini-program appID, or nil.
func (g *grant) check(c *call, appID string) any {
	if refusal := g.checkStands(c, appID); refusal != nil {
		return refusal
	}
	if !g.unpermitted.IsZero() {
		return c.fail(61007, "the authorisation of %s lost permission set 18 %s", appID, ago(c.now, g.unpermitted))
	}
	return nil
}

// checkStands returns the refusal of a platform that has no authorisation of
// the mini-program appID, or nil.
func (g *grant) checkStands(c *call, appID string) any {
	switch {
	case g == nil:
		return c.fail(61003, "the mini-program %q has not authorised the platform", appID)
	case !g.withdrawn.IsZero():
		return c.fail(61003, "the mini-program %s withdrew its authorisation %s", appID, ago(c.now, g.withdrawn))
	default:
		return nil
	}
}

// checkRefreshToken returns the refusal of a refresh token, or nil.
func (g *grant) checkRefreshToken(c *call, value string) any {
	until, known := g.former[value]
	switch {
	case value == g.refreshToken || c.now.Before(until):
		return nil
	case known:
		return c.fail(61023, "this authorizer_refresh_token of %s stopped working %s", g.appID, ago(c.now, until))
	default:
		return c.fail(61023, "this is no authorizer_refresh_token of %s since it authorised the platform last", g.appID)
	}
}

// serveComponentCode2Session writes errcodes as strings, as WeChat's
// documentation of this API does.
func (s *Server) serveComponentCode2Session(c *call) any {
	answer := s.componentLogin(c)
	refusal, refused := answer.(outcome)
	if !refused {
		return answer
	}
	return struct {
		ErrCode string `json:"errcode"`
		ErrMsg  string `json:"errmsg"`
	}{strconv.Itoa(refusal.ErrCode), refusal.ErrMsg}
}

func (s *Server) componentLogin(c *call) any {
	if refusal := s.checkComponentToken(c, c.query.Get("component_appid"), 40094); refusal != nil {
		return refusal
	}
	appID := c.query.Get("appid")
	if appID == "" {
		return c.reject(41002, "appid is missing")
	}
	if c.query.Get("grant_type") != "authorization_code" {
		return c.reject(40002, `grant_type must be "authorization_code"`)
	}
	if refusal := s.platform.grants[appID].check(c, appID); refusal != nil {
		return refusal
	}
	return s.redeemLoginCode(c, appID)
}

func newRefreshToken() string { return "refreshtoken@@@" + opaque(32) }

func opaque(n int) string {
	raw := make([]byte, n)
	random(raw)
	return base64.RawURLEncoding.EncodeToString(raw)
}
