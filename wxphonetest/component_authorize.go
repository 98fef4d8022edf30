package wxphonetest

import (
	"cmp"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/wxphone/wxphone"
)

const (
	pathPreAuthCode     = "/cgi-bin/component/api_create_preauthcode"
	pathQueryAuth       = "/cgi-bin/component/api_query_auth"
	pathAuthorizerList  = "/cgi-bin/component/api_get_authorizer_list"
	pathStartTicketPush = "/cgi-bin/component/api_start_push_ticket"
)

// The pages on which an owner agrees, without their scheme.
const (
	pageForComputers = "mp.weixin.qq.com/cgi-bin/componentloginpage"
	pageForPhones    = "open.weixin.qq.com/wxaopen/safe/bindcomponent"
)

const (
	preAuthCodeLifetime       = 30 * time.Minute
	authorizationCodeLifetime = 10 * time.Minute
	// authorizersPerPage is the most that one call of the list may ask for.
	authorizersPerPage = 500
)

// phonePermission is the permission set with the phone number.
const phonePermission = 18

// preAuthCode is what an authorisation link is made with.
type preAuthCode struct {
	issued time.Time
	used   time.Time // zero if it was not
}

// authorizationCode is what a platform exchanges for a refresh token.
type authorizationCode struct {
	grant  *grant
	issued time.Time
	used   time.Time // zero if it was not
}

// IssueAuthorizationCode has the owner of the mini-program appID authorise the
// platform, as [Server.AuthorizeApp] does, and returns the authorization_code
// that the browser and the push bring. It works once, within 10 minutes.
//
// Until it is exchanged with api_query_auth, the list of authorised
// mini-programs has no refresh token of this one.
func (s *Server) IssueAuthorizationCode(appID string) (authorizationCode string) {
	s.mu.Lock()
	now := time.Now()
	code := s.issueAuthorizationCode(s.authorize(appID, now), now)
	p := s.newAuthorizationPush(wxphone.PushAuthorized, appID, code, "", now)
	s.mu.Unlock()
	s.deliver(p)
	return code
}

// AuthorizeByURL has the owner of the mini-program appID open link, which is
// [wxphone.Component.AuthorizationURL]'s, and agree to everything. It returns
// where WeChat sends the browser: the redirect_uri with auth_code and
// expires_in. What WeChat's page would show instead, as for a link that was
// used before, is an error and in the journal.
func (s *Server) AuthorizeByURL(link, appID string) (redirect string, err error) {
	u, err := url.Parse(link)
	if err != nil {
		return "", errors.New("wxphonetest: the link is no URL")
	}
	now := time.Now()
	c := &call{method: http.MethodGet, endpoint: u.Path, rawQuery: u.RawQuery, query: u.Query(), arrived: now, now: now}
	s.mu.Lock()
	if c.reason = s.whyNoPage(c, u.Host+u.Path, appID); c.reason != "" {
		s.mu.Unlock()
		s.record(c, http.StatusOK, nil, c.reason)
		return "", errors.New("wxphonetest: " + c.reason)
	}
	preAuth := c.query.Get("pre_auth_code")
	s.platform.preAuthCodes[preAuth].used = now
	code := s.issueAuthorizationCode(s.authorize(appID, now), now)
	p := s.newAuthorizationPush(wxphone.PushAuthorized, appID, code, preAuth, now)
	s.mu.Unlock()

	redirect = withQuery(c.query.Get("redirect_uri"), url.Values{
		"auth_code": {code}, "expires_in": {strconv.Itoa(int(authorizationCodeLifetime / time.Second))},
	})
	s.record(c, http.StatusFound, []byte(redirect), "")
	s.deliver(p)
	return redirect, nil
}

// whyNoPage says why WeChat would not let the owner of appID agree on the page
// at address, or is empty.
func (s *Server) whyNoPage(c *call, address, appID string) string {
	preAuth := s.platform.preAuthCodes[c.query.Get("pre_auth_code")]
	only := c.query.Get("biz_appid")
	redirect, err := url.Parse(c.query.Get("redirect_uri"))
	switch {
	case address != pageForComputers && address != pageForPhones:
		return "the link leads to " + address + ", which is no page for authorisations"
	case address == pageForPhones && (c.query.Get("action") != "bindcomponent" || c.query.Get("no_scan") != "1"):
		return "the page for phones needs action=bindcomponent and no_scan=1"
	case c.query.Get("component_appid") != componentAppID:
		return "component_appid is " + strconv.Quote(c.query.Get("component_appid")) + "; the server's platform is " + componentAppID
	case err != nil || redirect.Host == "":
		return "redirect_uri is no absolute URL"
	case (only == "") == (c.query.Get("auth_type") == ""):
		return "the link needs either biz_appid or auth_type"
	case only != "" && only != appID:
		return "the link is for " + only + " only, and not for " + appID
	case preAuth == nil:
		return "the server has issued no such pre_auth_code since it started or was reset"
	case !preAuth.used.IsZero():
		return "this pre_auth_code was used " + ago(c.now, preAuth.used) + "; it works once"
	case c.now.Sub(preAuth.issued) >= preAuthCodeLifetime:
		return "this pre_auth_code expired " + ago(c.now, preAuth.issued.Add(preAuthCodeLifetime)) + "; it lives for 30 minutes"
	default:
		return ""
	}
}

// withQuery returns the URL with more in its query.
func withQuery(address string, more url.Values) string {
	u, err := url.Parse(address)
	if err != nil {
		panic("wxphonetest: " + strconv.Quote(address) + " is no URL")
	}
	query := u.Query()
	for name, values := range more {
		query[name] = values
	}
	u.RawQuery = query.Encode()
	return u.String()
}

// authorize makes a new authorisation, and ends what was handed out under the
// one before.
func (s *Server) authorize(appID string, now time.Time) *grant {
	for value, former := range s.platform.owners {
		if former.appID == appID {
			s.tokens.all[value].retire(now, "was ended by a new authorisation")
		}
	}
	g := &grant{appID: appID, refreshToken: newRefreshToken(), former: make(map[string]time.Time), authorizedAt: now}
	s.platform.grants[appID] = g
	return g
}

func (s *Server) issueAuthorizationCode(g *grant, now time.Time) string {
	code := "queryauthcode@@@" + opaque(48)
	s.platform.authorizationCodes[code] = &authorizationCode{grant: g, issued: now}
	return code
}

func (s *Server) servePreAuthCode(c *call) any {
	var body struct {
		ComponentID string `json:"component_appid"`
	}
	if refusal := c.decode(&body); refusal != nil {
		return refusal
	}
	if refusal := s.checkComponentToken(c, body.ComponentID, 40001); refusal != nil {
		return refusal
	}
	if refusal := s.takeCall(c); refusal != nil {
		return refusal
	}
	code := "preauthcode@@@" + opaque(48)
	s.platform.preAuthCodes[code] = &preAuthCode{issued: c.now}
	return struct {
		Code      string `json:"pre_auth_code"`
		ExpiresIn int64  `json:"expires_in"`
	}{code, int64(preAuthCodeLifetime / time.Second)}
}

// permission is an element of func_info.
type permission struct {
	Category struct {
		ID int `json:"id"`
	} `json:"funcscope_category"`
}

func newPermission(id int) (p permission) {
	p.Category.ID = id
	return p
}

// permissions returns what the owner granted: beside set 18 those that such
// mini-programs mostly grant, account management and basic information.
func (g *grant) permissions() []permission {
	granted := []permission{newPermission(17), newPermission(30)}
	if g.unpermitted.IsZero() {
		granted = slices.Insert(granted, 1, newPermission(phonePermission))
	}
	return granted
}

func (s *Server) serveQueryAuth(c *call) any {
	var body struct {
		ComponentID string `json:"component_appid"`
		Code        string `json:"authorization_code"`
	}
	if refusal := c.decode(&body); refusal != nil {
		return refusal
	}
	if refusal := s.checkComponentToken(c, body.ComponentID, 40001); refusal != nil {
		return refusal
	}
	if body.Code == "" {
		return c.reject(41008, "authorization_code is missing")
	}
	code := s.platform.authorizationCodes[body.Code]
	if refusal := s.checkAuthorizationCode(c, code); refusal != nil {
		return refusal
	}
	if refusal := code.grant.checkStands(c, code.grant.appID); refusal != nil {
		return refusal
	}
	if refusal := s.takeCall(c); refusal != nil {
		return refusal
	}
	code.used, code.grant.queried = c.now, true
	type info struct {
		AppID string `json:"authorizer_appid"`
		authorizerTokens
		Permissions []permission `json:"func_info"`
	}
	return struct {
		Info info `json:"authorization_info"`
	}{info{code.grant.appID, s.issueAuthorizerToken(code.grant, c.now), code.grant.permissions()}}
}

// checkAuthorizationCode returns the refusal of a code, or nil.
func (s *Server) checkAuthorizationCode(c *call, code *authorizationCode) any {
	switch {
	case code == nil:
		return c.fail(61010, "the server has issued no such authorization_code since it started or was reset")
	case !code.used.IsZero():
		return c.fail(61010, "this authorization_code was exchanged %s; it works once", ago(c.now, code.used))
	case c.now.Sub(code.issued) >= authorizationCodeLifetime:
		return c.fail(61010, "this authorization_code expired %s; it lives for 10 minutes",
			ago(c.now, code.issued.Add(authorizationCodeLifetime)))
	case s.platform.grants[code.grant.appID] != code.grant:
		return c.fail(61010, "this authorization_code is of an earlier authorisation of %s", code.grant.appID)
	default:
		return nil
	}
}

func (s *Server) serveAuthorizerList(c *call) any {
	var body struct {
		ComponentID string `json:"component_appid"`
		Offset      int    `json:"offset"`
		Count       int    `json:"count"`
	}
	if refusal := c.decode(&body); refusal != nil {
		return refusal
	}
	if refusal := s.checkComponentToken(c, body.ComponentID, 40001); refusal != nil {
		return refusal
	}
	if body.Offset < 0 || body.Count < 1 || body.Count > authorizersPerPage {
		return c.reject(40097, "offset is %d and count is %d; a page begins at 0 or later and has 1 to %d entries",
			body.Offset, body.Count, authorizersPerPage)
	}
	if refusal := s.takeCall(c); refusal != nil {
		return refusal
	}
	type authorizer struct {
		AppID        string `json:"authorizer_appid"`
		RefreshToken string `json:"refresh_token,omitempty"`
		AuthTime     int64  `json:"auth_time"`
	}
	all := s.platform.standing()
	page := all[min(body.Offset, len(all)):min(body.Offset+body.Count, len(all))]
	list := make([]authorizer, 0, len(page))
	for _, g := range page {
		a := authorizer{AppID: g.appID, AuthTime: g.authorizedAt.Unix()}
		if g.queried {
			a.RefreshToken = g.refreshToken
		}
		list = append(list, a)
	}
	return struct {
		Total int          `json:"total_count"`
		List  []authorizer `json:"list"`
	}{len(all), list}
}

// standing returns the authorisations that were not withdrawn, the oldest
// first.
func (p *platform) standing() []*grant {
	var all []*grant
	for _, g := range p.grants {
		if g.withdrawn.IsZero() {
			all = append(all, g)
		}
	}
	slices.SortFunc(all, func(a, b *grant) int {
		return cmp.Or(a.authorizedAt.Compare(b.authorizedAt), cmp.Compare(a.appID, b.appID))
	})
	return all
}

// StopTicketPush makes WeChat push no more tickets, as it does after too many
// failures, until the platform calls api_start_push_ticket. [Server.PushTicket]
// still makes tickets.
func (s *Server) StopTicketPush() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.platform.ticketsStopped = true
}

func (s *Server) serveStartTicketPush(c *call) any {
	var body struct {
		AppID  string `json:"component_appid"`
		Secret string `json:"component_secret"`
	}
	if refusal := c.decode(&body); refusal != nil {
		return refusal
	}
	switch {
	case body.AppID == "":
		return c.reject(41018, "component_appid is missing")
	case body.Secret == "":
		return c.reject(41004, "component_secret is missing")
	}
	if refusal := checkComponentSecret(c, body.AppID, body.Secret); refusal != nil {
		return refusal
	}
	c.appID = componentAppID
	if refusal := s.takeCall(c); refusal != nil {
		return refusal
	}
	if !s.platform.ticketsStopped {
		return outcome{ErrMsg: "in a normal state"}
	}
	s.platform.ticketsStopped = false
	return success
}

// checkComponentSecret returns the refusal of a platform's credentials, or nil.
func checkComponentSecret(c *call, appID, secret string) any {
	switch {
	case appID != componentAppID:
		return c.fail(40013, "component_appid is %q; the server's platform is %s", appID, componentAppID)
	case secret != componentSecret:
		return c.fail(40125, "this is not the AppSecret of the platform %s", componentAppID)
	default:
		return nil
	}
}
