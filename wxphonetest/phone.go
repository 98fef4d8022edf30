package wxphonetest

import (
	"encoding/hex"
	"strings"
	"time"

	"github.com/wxphone/wxphone"
)

const pathPhoneNumber = "/wxa/business/getuserphonenumber"

// codeLifetime is the lifetime of codes, js_codes and cloudIDs.
const codeLifetime = 5 * time.Minute

// wirePhone is a phone number in WeChat's JSON format, with the fields in
// WeChat's order.
type wirePhone struct {
	PhoneNumber     string        `json:"phoneNumber"`
	PurePhoneNumber string        `json:"purePhoneNumber"`
	CountryCode     string        `json:"countryCode"`
	Watermark       wireWatermark `json:"watermark"`
}

type wireWatermark struct {
	Timestamp int64  `json:"timestamp"`
	AppID     string `json:"appid"`
}

// wirePhone returns p in WeChat's format. If p has no watermark, it gets the
// server's appid and the time now.
func (s *Server) wirePhone(p wxphone.PhoneInfo, now time.Time) wirePhone {
	if p.Watermark == (wxphone.Watermark{}) {
		p.Watermark = wxphone.Watermark{AppID: s.appID, Timestamp: now.Unix()}
	}
	return wirePhone{
		PhoneNumber:     p.PhoneNumber,
		PurePhoneNumber: p.PurePhoneNumber,
		CountryCode:     p.CountryCode,
		Watermark:       wireWatermark{p.Watermark.Timestamp, p.Watermark.AppID},
	}
}

// ticket makes a code work once and for a limited time.
type ticket struct {
	expiresAt time.Time
	usedAt    time.Time // zero if it was not used
}

func newTicket(now time.Time) ticket { return ticket{expiresAt: now.Add(codeLifetime)} }

func (t *ticket) isUsed() bool { return !t.usedAt.IsZero() }

func (t *ticket) isExpired(now time.Time) bool { return !now.Before(t.expiresAt) }

// whyDead describes why a used or expired code no longer works.
func (t *ticket) whyDead(now time.Time) string {
	if t.isUsed() {
		return "this code was redeemed " + ago(now, t.usedAt) + "; a code works once"
	}
	return "this code expired " + ago(now, t.expiresAt) + "; a code lives for 5 minutes"
}

// phoneCode is the code of a tap on the phone number button.
type phoneCode struct {
	ticket
	appID  string
	phone  wirePhone
	openID string
}

// CodeOption configures a code of [Server.IssueCode].
type CodeOption func(*phoneCode)

// ForOpenID sets the user who tapped. The server then rejects a request with
// another openid, but not one without an openid.
func ForOpenID(openid string) CodeOption {
	return func(c *phoneCode) { c.openID = openid }
}

// IssueCode returns the code that the mini-program gets when the user taps the
// button and agrees to share p. It works once, for five minutes.
//
// The answer contains p unchanged, so that a test can also use a missing number
// or another app's watermark. If p has no watermark at all, it gets the
// appid of the server, or of [ForApp], and the current time.
func (s *Server) IssueCode(p wxphone.PhoneInfo, opts ...CodeOption) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	issued := &phoneCode{ticket: newTicket(now), appID: s.appID, phone: s.wirePhone(p, now)}
	for _, opt := range opts {
		opt(issued)
	}
	if p.Watermark == (wxphone.Watermark{}) {
		issued.phone.Watermark.AppID = issued.appID
	}
	raw := make([]byte, 32)
	random(raw)
	code := hex.EncodeToString(raw)
	s.phoneCodes[code] = issued
	return code
}

func (s *Server) servePhoneNumber(c *call) any {
	var body struct {
		Code   string `json:"code"`
		OpenID string `json:"openid"`
	}
	if refusal := c.decode(&body); refusal != nil {
		return refusal
	}
	if c.query.Has("code") {
		return c.reject(40029, "the code is in the query; it belongs in the JSON body")
	}
	if body.Code == "" {
		return c.reject(40029, "the body has no code")
	}
	issued, ok := s.phoneCodes[body.Code]
	switch {
	case !ok:
		return c.fail(40029, "%s", s.whyNoPhoneCode(body.Code))
	case issued.isExpired(c.now):
		return c.fail(40029, "%s", issued.whyDead(c.now))
	case issued.appID != c.appID:
		return c.fail(40013, "this code was made in the mini-program %s; the access_token is for %s", issued.appID, c.appID)
	case issued.isUsed():
		// Only login codes are answered with 40163.
		return c.fail(40029, "%s", issued.whyDead(c.now))
	case issued.openID != "" && body.OpenID != "" && body.OpenID != issued.openID:
		// WeChat does not document the errcode for another user's openid, or
		// whether it consumes the code. Here the code is rejected like an
		// unknown one and kept.
		return c.fail(40029, "this code is of the openid %q, not of %q", issued.openID, body.OpenID)
	}
	issued.usedAt = c.now
	return struct {
		outcome
		PhoneInfo wirePhone `json:"phone_info"`
	}{success, issued.phone}
}

// whyNoPhoneCode describes a code that is not from the phone number button.
func (s *Server) whyNoPhoneCode(code string) string {
	if s.loginCodes[code] != nil {
		return "this is a login code, from wx.login; this API takes the code of the phone number button"
	}
	if bare := strings.Trim(code, "\"' {}\r\n\t"); s.phoneCodes[bare] != nil {
		return "this code has quotes, braces or spaces around it; this API takes it bare"
	}
	return "the server has issued no such code since it started or was reset"
}
