package desk

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"regexp"

	"github.com/wxphone/wxphone/wxphonetest"
)

// What WeChat and the owners of mini-programs do to a third-party platform.

// authorization is an owner who authorises the platform.
type authorization struct {
	AppID string `json:"appid"`
	URL   string `json:"url"`
}

type authorizationAnswer struct {
	AppID             string    `json:"appid"`
	AuthorizationCode string    `json:"authorizationCode"`
	Push              *pushInfo `json:"push,omitempty"`
}

// pushInfo is what became of a push. Status is 0 if no answer came. Without a
// URL there is no push.
type pushInfo struct {
	Status int    `json:"status"`
	Reason string `json:"reason"`
}

var appIDShape = regexp.MustCompile(`^wx[0-9a-f]{16}$`)

// authorize has an owner authorise the platform with permission set 18. The
// event is pushed to the URL, or to the one before if there is none.
func (d *Desk) authorize(a authorization) (authorizationAnswer, error) {
	if a.AppID == "" {
		a.AppID = d.wechat.AppID()
	}
	switch {
	case a.AppID != d.wechat.AppID() && !appIDShape.MatchString(a.AppID):
		return authorizationAnswer{}, errors.New("appid must be wx and 16 digits of hex; without it it is the fake's own")
	case a.URL != "":
		if err := checkEventURL(a.URL); err != nil {
			return authorizationAnswer{}, err
		}
	}
	d.authorizers.Store(a.AppID, true)
	answer := authorizationAnswer{AppID: a.AppID}
	answer.Push = d.push(a.URL, func() { answer.AuthorizationCode = d.wechat.IssueAuthorizationCode(a.AppID) })
	return answer, nil
}

// push has an event happen that WeChat pushes to the URL, or to the one before
// if there is none. It returns what became of the push, or nil if there was
// none.
func (d *Desk) push(to string, event func()) *pushInfo {
	d.pushes.Lock()
	defer d.pushes.Unlock()
	if to != "" {
		d.wechat.PushTo(to, nil)
	}
	d.pushed = nil
	event()
	return d.pushed
}

// eventURL is where a platform takes pushes (授权事件接收URL).
type eventURL struct {
	URL string `json:"url"`
}

type ticketAnswer struct {
	Ticket string    `json:"ticket"`
	Push   *pushInfo `json:"push,omitempty"`
}

// pushTicket pushes a component_verify_ticket.
func (d *Desk) pushTicket(e eventURL) (ticketAnswer, error) {
	if err := checkEventURL(e.URL); err != nil {
		return ticketAnswer{}, err
	}
	var answer ticketAnswer
	answer.Push = d.push(e.URL, func() { answer.Ticket = d.wechat.PushTicket() })
	return answer, nil
}

// authorizer is a mini-program that authorised the platform.
type authorizer struct {
	AppID string `json:"appid"`
}

// authorizer takes the fake's own mini-program if a names none.
func (d *Desk) authorizer(a authorizer) (appID string, err error) {
	appID = cmp.Or(a.AppID, d.wechat.AppID())
	if _, ok := d.authorizers.Load(appID); !ok {
		return "", notAuthorized(appID)
	}
	return appID, nil
}

func notAuthorized(appID string) error {
	return fmt.Errorf("appid %s has not authorised the platform; POST %splatform/authorizations does that", quote(appID), Prefix)
}

type pushAnswer struct {
	Push *pushInfo `json:"push,omitempty"`
}

// withdraw has an owner end the authorisation. Users can still tap, so that the
// platform sees what WeChat then answers.
func (d *Desk) withdraw(a authorizer) (pushAnswer, error) {
	appID, err := d.authorizer(a)
	if err != nil {
		return pushAnswer{}, err
	}
	return pushAnswer{d.push("", func() { d.wechat.Deauthorize(appID) })}, nil
}

// repeatPush pushes the last push once more.
func (d *Desk) repeatPush(nothing) (pushAnswer, error) {
	repeated := d.push("", d.wechat.RepeatPush)
	if repeated == nil {
		return pushAnswer{}, errors.New("there was no push yet, or there is no URL")
	}
	return pushAnswer{repeated}, nil
}

// revokeRefreshTokens makes the refresh tokens of a mini-program answer 61023.
// WeChat's list has the new one.
func (d *Desk) revokeRefreshTokens(a authorizer) (nothing, error) {
	appID, err := d.authorizer(a)
	if err != nil {
		return nothing{}, err
	}
	d.wechat.RevokeRefreshToken(appID)
	return nothing{}, nil
}

func checkEventURL(text string) error {
	u, err := url.Parse(text)
	switch {
	case text == "":
		return errors.New("url is missing; it is where the platform takes WeChat's pushes")
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		return errors.New(`url must be a whole one, like "http://127.0.0.1:8080/wechat/events"`)
	default:
		return nil
	}
}

// componentInfo is what a platform is set up with.
type componentInfo struct {
	AppID          string `json:"appid"`
	Secret         string `json:"secret"`
	PushToken      string `json:"pushToken"`
	EncodingAESKey string `json:"encodingAESKey"`
}

func newComponentInfo(s *wxphonetest.Server) componentInfo {
	return componentInfo{s.ComponentAppID(), s.ComponentSecret(), s.PushToken(), s.EncodingAESKey()}
}
