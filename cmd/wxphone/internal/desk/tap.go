package desk

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/wxphonetest"
)

// What a user of the mini-program does: taps, logs in.

// tap is a user who shares a phone number.
type tap struct {
	PhoneNumber     string  `json:"phoneNumber"`
	PurePhoneNumber *string `json:"purePhoneNumber"`
	CountryCode     *string `json:"countryCode"`
	OpenID          string  `json:"openid"`
	AppID           string  `json:"appid"`
}

var (
	numberShape  = regexp.MustCompile(`^\+?[0-9][0-9 ()-]{2,30}$`)
	countryShape = regexp.MustCompile(`^\+?[0-9]{1,4}$`)
)

// phone returns the number that is shared. Without purePhoneNumber and
// countryCode it is one of mainland China, where phoneNumber is both.
func (t tap) phone() (wxphone.PhoneInfo, error) {
	p := wxphone.PhoneInfo{PhoneNumber: t.PhoneNumber, PurePhoneNumber: t.PhoneNumber, CountryCode: "86"}
	if t.PurePhoneNumber != nil {
		p.PurePhoneNumber = *t.PurePhoneNumber
	}
	if t.CountryCode != nil {
		p.CountryCode = *t.CountryCode
	}
	switch {
	case t.PhoneNumber == "":
		return p, errors.New(`phoneNumber is missing; write it like "13800000000"`)
	case !numberShape.MatchString(t.PhoneNumber):
		return p, errors.New("phoneNumber must be digits, with + in front and spaces, hyphens and parentheses at most")
	case !numberShape.MatchString(p.PurePhoneNumber):
		return p, errors.New("purePhoneNumber must be digits, with spaces, hyphens and parentheses at most")
	case !countryShape.MatchString(p.CountryCode):
		return p, errors.New(`countryCode must be up to four digits, like "86"`)
	default:
		return p, nil
	}
}

// maxOpenID is far longer than any openid; WeChat's have 28 characters.
const maxOpenID = 128

func checkOpenID(openid string) error {
	switch {
	case openid == "":
		return errors.New("openid is missing; any name of a user will do")
	case len(openid) > maxOpenID || strings.ContainsFunc(openid, func(c rune) bool { return c <= ' ' || c == 0x7f }):
		return fmt.Errorf("openid must be at most %d bytes without white space", maxOpenID)
	default:
		return nil
	}
}

// login is a user who calls wx.login.
type login struct {
	OpenID string `json:"openid"`
	AppID  string `json:"appid"`
}

// user is somebody by openid.
type user struct {
	OpenID string `json:"openid"`
}

// nothing is the body where there is nothing to say.
type nothing struct{}

type codeAnswer struct {
	Code string `json:"code"`
}

// issueCode taps the button of the phone number.
func (d *Desk) issueCode(t tap) (codeAnswer, error) {
	phone, err := t.phone()
	if err != nil {
		return codeAnswer{}, err
	}
	appID, err := d.miniProgram(t.AppID)
	if err != nil {
		return codeAnswer{}, err
	}
	opts := []wxphonetest.CodeOption{wxphonetest.ForApp(appID)}
	if t.OpenID != "" {
		if err := checkOpenID(t.OpenID); err != nil {
			return codeAnswer{}, err
		}
		opts = append(opts, wxphonetest.ForOpenID(t.OpenID))
	}
	return codeAnswer{d.wechat.IssueCode(phone, opts...)}, nil
}

// issueLoginCode calls wx.login.
func (d *Desk) issueLoginCode(l login) (codeAnswer, error) {
	if err := checkOpenID(l.OpenID); err != nil {
		return codeAnswer{}, err
	}
	appID, err := d.miniProgram(l.AppID)
	if err != nil {
		return codeAnswer{}, err
	}
	return codeAnswer{d.wechat.IssueLoginCodeForApp(appID, l.OpenID)}, nil
}

type encryptedAnswer struct {
	EncryptedData string `json:"encryptedData"`
	IV            string `json:"iv"`
}

// encrypt taps the button in a mini-program of the legacy flow.
func (d *Desk) encrypt(t tap) (encryptedAnswer, error) {
	phone, err := d.known(t)
	if err != nil {
		return encryptedAnswer{}, err
	}
	data, iv := d.wechat.Encrypt(t.OpenID, phone)
	return encryptedAnswer{data, iv}, nil
}

type cloudIDAnswer struct {
	CloudID string `json:"cloudID"`
}

// issueCloudID taps the button in a mini-program that uses cloudIDs.
func (d *Desk) issueCloudID(t tap) (cloudIDAnswer, error) {
	phone, err := d.known(t)
	if err != nil {
		return cloudIDAnswer{}, err
	}
	return cloudIDAnswer{d.wechat.IssueCloudID(t.OpenID, phone)}, nil
}

// known is phone, with a watermark, for a tap that has to tell whose it is.
func (d *Desk) known(t tap) (wxphone.PhoneInfo, error) {
	phone, err := t.phone()
	if err != nil {
		return phone, err
	}
	if err := checkOpenID(t.OpenID); err != nil {
		return phone, err
	}
	appID, err := d.miniProgram(t.AppID)
	phone.Watermark = wxphone.Watermark{AppID: appID, Timestamp: time.Now().Unix()}
	return phone, err
}

// miniProgram returns the mini-program that a request is about: the fake's own
// if it names none. Another one must have authorised the platform, since nobody
// else could do anything with what it is handed.
func (d *Desk) miniProgram(appID string) (string, error) {
	if appID == "" || appID == d.wechat.AppID() {
		return d.wechat.AppID(), nil
	}
	return d.authorizer(authorizer{appID})
}

// rotateSessionKey is a wx.login that replaces the session_key.
func (d *Desk) rotateSessionKey(u user) (nothing, error) {
	if err := checkOpenID(u.OpenID); err != nil {
		return nothing{}, err
	}
	d.wechat.RotateSessionKey(u.OpenID)
	return nothing{}, nil
}
