package wxphonetest

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"time"

	"github.com/wxphone/wxphone"
)

const (
	pathCode2Session        = "/sns/jscode2session"
	pathCheckSession        = "/wxa/checksession"
	pathResetUserSessionKey = "/wxa/resetusersessionkey"
)

// session is a user's login.
type session struct {
	key     wxphone.SessionKey
	unionID string
	// former are the previous keys and the times at which they were replaced.
	former map[wxphone.SessionKey]time.Time
}

func newSession() *session {
	return &session{key: newSessionKey(), former: make(map[wxphone.SessionKey]time.Time)}
}

// rotate replaces the user's session_key.
func (u *session) rotate(now time.Time) {
	u.former[u.key] = now
	u.key = newSessionKey()
}

// loginCode is the js_code of a wx.login.
type loginCode struct {
	ticket
	appID  string
	openID string
}

// IssueLoginCode returns the js_code that wx.login returns to the mini-program
// of the user openid. It works once, for five minutes. It is not a code for a
// phone number.
func (s *Server) IssueLoginCode(openid string) (jsCode string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	jsCode = alphanumeric(32)
	s.loginCodes[jsCode] = &loginCode{newTicket(time.Now()), s.appID, openid}
	return jsCode
}

// SessionKey returns the session_key of the user openid. It logs the user in if
// there is none.
func (s *Server) SessionKey(openid string) wxphone.SessionKey {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.login(openid).key
}

// RotateSessionKey replaces the user's session_key, as wx.login may do. Earlier
// results of [Server.Encrypt] can no longer be decrypted with the user's key.
func (s *Server) RotateSessionKey(openid string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.login(openid).rotate(time.Now())
}

// SetUnionID sets the unionid that logins of the user return, as for an app
// that is bound to an open platform account.
func (s *Server) SetUnionID(openid, unionid string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.login(openid).unionID = unionid
}

func (s *Server) login(openid string) *session {
	user, ok := s.sessions[openid]
	if !ok {
		user = newSession()
		s.sessions[openid] = user
	}
	return user
}

func newSessionKey() wxphone.SessionKey {
	raw := make([]byte, 16)
	random(raw)
	return wxphone.SessionKey(base64.StdEncoding.EncodeToString(raw))
}

func (s *Server) serveCode2Session(c *call) any {
	if refusal := s.checkCredentials(c, credentials{
		GrantType: c.query.Get("grant_type"),
		AppID:     c.query.Get("appid"),
		Secret:    c.query.Get("secret"),
	}, "authorization_code"); refusal != nil {
		return refusal
	}
	return s.redeemLoginCode(c, s.appID)
}

// redeemLoginCode answers a login for which only the code remains to be
// checked.
func (s *Server) redeemLoginCode(c *call, appID string) any {
	if refusal := s.takeCall(c); refusal != nil {
		return refusal
	}
	jsCode := c.query.Get("js_code")
	if jsCode == "" {
		return c.reject(41008, "js_code is missing")
	}
	issued, ok := s.loginCodes[jsCode]
	switch {
	case !ok:
		return c.fail(40029, "%s", s.whyNoLoginCode(jsCode))
	case issued.appID != appID:
		return c.fail(40029, "this code was made in the mini-program %s; the login is for %s", issued.appID, appID)
	case issued.isExpired(c.now):
		return c.fail(40029, "%s", issued.whyDead(c.now))
	case issued.isUsed():
		return c.fail(40163, "%s", issued.whyDead(c.now))
	}
	issued.usedAt = c.now
	user := s.login(issued.openID)
	// WeChat's answer has no errcode on success.
	return struct {
		SessionKey string `json:"session_key"`
		OpenID     string `json:"openid"`
		UnionID    string `json:"unionid,omitempty"`
	}{string(user.key), issued.openID, user.unionID}
}

// whyNoLoginCode describes a code that is not from wx.login.
func (s *Server) whyNoLoginCode(jsCode string) string {
	if s.phoneCodes[jsCode] != nil {
		return "this is a code of the phone number button; a login takes the one of wx.login"
	}
	return "the server has issued no such code since it started or was reset"
}

func (s *Server) serveCheckSession(c *call) any {
	if refusal := s.checkSignature(c, 87009); refusal != nil {
		return refusal
	}
	return success
}

func (s *Server) serveResetUserSessionKey(c *call) any {
	if refusal := s.checkSignature(c, 87007); refusal != nil {
		return refusal
	}
	openid := c.query.Get("openid")
	user := s.sessions[openid]
	user.rotate(c.now)
	return struct {
		outcome
		OpenID     string `json:"openid"`
		SessionKey string `json:"session_key"`
	}{success, openid, string(user.key)}
}

// checkSignature returns nil if a call is signed with the user's session_key,
// and otherwise the answer. noSession is the errcode for a user without a
// session.
func (s *Server) checkSignature(c *call, noSession int) any {
	openid := c.query.Get("openid")
	signature := c.query.Get("signature")
	if openid == "" {
		return c.reject(40003, "the query has no openid")
	}
	if c.query.Get("sig_method") != "hmac_sha256" {
		return c.reject(87008, "sig_method must be hmac_sha256")
	}
	if signature == "" {
		return c.reject(87009, "the query has no signature")
	}
	user, ok := s.sessions[openid]
	if !ok {
		return c.fail(noSession, "the user %q has no session; a login makes one", openid)
	}
	if signature == sessionSignature(user.key) {
		return nil
	}
	for key, replaced := range user.former {
		if signature == sessionSignature(key) {
			return c.fail(87009, "the signature was made with a session_key that was replaced %s", ago(c.now, replaced))
		}
	}
	return c.fail(87009, "the signature was not made with a session_key of the user %q", openid)
}

// sessionSignature proves the possession of a session_key. WeChat's key for the
// MAC is the base64 text, not the bytes that it encodes.
func sessionSignature(key wxphone.SessionKey) string {
	return hex.EncodeToString(hmac.New(sha256.New, []byte(key)).Sum(nil))
}
