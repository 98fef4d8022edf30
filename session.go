package wxphone

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"

	"github.com/wxphone/wxphone/internal/redact"
	"github.com/wxphone/wxphone/internal/transport"
	"github.com/wxphone/wxphone/internal/wire"
)

// SessionKey is the session_key of a user's login: the base64 encoding of the
// 16-byte key of the legacy encryptedData. Anyone who has it can forge such
// data, so it must stay on the backend.
//
// With every fmt verb and in log/slog it prints as "[REDACTED]". The exception
// is an unexported field of another struct: fmt does not call methods on it and
// prints the key. A SessionKey cannot be encoded as text or JSON. To reveal the
// key, for example to keep it in a session store, convert it: string(key).
type SessionKey string

// Format implements [fmt.Formatter]. Every verb prints "[REDACTED]".
func (k SessionKey) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redact.Mark) }

// LogValue implements [slog.LogValuer].
func (k SessionKey) LogValue() slog.Value { return slog.StringValue(redact.Mark) }

// MarshalText implements [encoding.TextMarshaler]. It always returns an error,
// so that a session_key inside a larger value is not sent to a client by
// mistake.
func (k SessionKey) MarshalText() ([]byte, error) {
	return nil, errors.New("wxphone: a SessionKey cannot be encoded; convert it to a string to store it")
}

// Session is the result of a login: the user's ids and the session_key.
//
// The JSON encoding of a Session omits SessionKey, because such JSON is often
// sent to the client. To cache sessions as JSON, store string(s.SessionKey)
// separately.
type Session struct {
	OpenID     string     `json:"openid"`
	UnionID    string     `json:"unionid,omitempty"`
	SessionKey SessionKey `json:"-"`
}

// Format implements [fmt.Formatter]. Every verb prints only the openid and the
// unionid.
func (s Session) Format(f fmt.State, _ rune) {
	_, _ = io.WriteString(f, strings.TrimRight("wxphone.Session("+s.OpenID+" "+s.UnionID, " ")+")")
}

// sessionAnswer is the answer of the login APIs and of resetusersessionkey.
type sessionAnswer struct {
	wire.Status
	OpenID     wire.Text `json:"openid"`
	UnionID    wire.Text `json:"unionid"`
	SessionKey wire.Text `json:"session_key"`
}

// Complete reports whether the answer contains a session. Otherwise the call
// returns a ResponseError.
func (a *sessionAnswer) Complete() bool { return a.OpenID != "" && a.SessionKey != "" }

func (a *sessionAnswer) session() *Session {
	return &Session{OpenID: string(a.OpenID), UnionID: string(a.UnionID), SessionKey: SessionKey(a.SessionKey)}
}

// Code2Session redeems the code of wx.login for the user's openid, session_key
// and, if the mini-program is bound to an open platform account, unionid.
//
// A jsCode works once, for 5 minutes. It is not the code of the phone number
// button. A login may replace the user's session_key, and encryptedData created
// under the previous key can then no longer be decrypted. So call wx.login and
// Code2Session before the user taps the phone number button.
//
// The error matches [ErrCodeInvalid] if the mini-program must call wx.login
// again, and [ErrUserBlocked] if WeChat blocks the user. It is a
// [ResponseError] if the answer lacks the openid or the session_key.
//
// See https://developers.weixin.qq.com/miniprogram/dev/OpenApiDoc/user-login/code2Session.html
func (c *Client) Code2Session(ctx context.Context, jsCode string) (*Session, error) {
	if err := c.check(ctx); err != nil {
		return nil, err
	}
	if strings.TrimSpace(jsCode) == "" {
		return nil, invalid("jsCode", "is empty")
	}
	answer, err := c.code2Session(ctx, jsCode)
	if err != nil {
		return nil, err
	}
	return answer.(*sessionAnswer).session(), nil
}

func (c *Client) code2Session(ctx context.Context, jsCode string) (wire.Answer, error) {
	if c.component != nil {
		return c.component.code2Session(ctx, c.appID, jsCode)
	}
	if c.account.secret.Reveal() == "" {
		return nil, invalid("secret", "is empty; Code2Session needs it")
	}
	return c.api.callWithoutToken(ctx, &transport.Request{
		Method: http.MethodGet,
		Path:   pathCode2Session,
		Query: url.Values{
			"appid":      {c.appID},
			"secret":     {c.account.secret.Reveal()},
			"js_code":    {jsCode},
			"grant_type": {"authorization_code"},
		}.Encode(),
		OneTime:   jsCode,
		Effect:    consumedCode,
		Secrets:   []string{c.account.secret.Reveal()},
		NewAnswer: func() wire.Answer { return new(sessionAnswer) },
	})
}

// CheckSessionKey asks WeChat whether key is still the session_key of the user
// openid. It returns nil if so. The error matches [ErrSessionExpired] if the
// mini-program must call wx.login again.
//
// See https://developers.weixin.qq.com/miniprogram/dev/OpenApiDoc/user-login/checkSessionKey.html
func (c *Client) CheckSessionKey(ctx context.Context, openid string, key SessionKey) error {
	_, err := c.callSigned(ctx, openid, key, &transport.Request{
		Path:      pathCheckSession,
		NewAnswer: func() wire.Answer { return new(checkSessionAnswer) },
	})
	return err
}

// checkSessionAnswer reports by its errcode alone whether a session is valid,
// so the errcode is required.
type checkSessionAnswer struct{ wire.Status }

// Complete reports whether the answer has an errcode. Otherwise the call
// returns a ResponseError.
func (a *checkSessionAnswer) Complete() bool { return a.ErrCode.Present }

// ResetUserSessionKey replaces the session_key of the user openid, for example
// after a leak. The returned session has the new key and the old expiry. The
// old key no longer works. The error matches [ErrSessionExpired] if key was not
// valid.
//
// If an answer is lost and a retry reports that key is not valid, the first
// attempt may have reset it. The error then says so, and the mini-program must
// call wx.login.
//
// See https://developers.weixin.qq.com/miniprogram/dev/OpenApiDoc/user-login/ResetUserSessionKey.html
func (c *Client) ResetUserSessionKey(ctx context.Context, openid string, key SessionKey) (*Session, error) {
	answer, err := c.callSigned(ctx, openid, key, &transport.Request{
		Path:      pathResetUserSessionKey,
		Effect:    &transport.Effect{Done: "reset the session_key"},
		NewAnswer: func() wire.Answer { return new(sessionAnswer) },
	})
	if err != nil {
		return nil, err
	}
	return answer.(*sessionAnswer).session(), nil
}

// callSigned sends req as a GET with the user's openid and a signature made
// with the session_key.
func (c *Client) callSigned(ctx context.Context, openid string, key SessionKey, req *transport.Request) (wire.Answer, error) {
	if err := c.check(ctx); err != nil {
		return nil, err
	}
	if openid == "" {
		return nil, invalid("openid", "is empty")
	}
	if key == "" {
		return nil, invalid("key", "is empty")
	}
	signature := sessionSignature(key)
	req.Method = http.MethodGet
	req.Query = url.Values{
		"openid":     {openid},
		"signature":  {signature},
		"sig_method": {"hmac_sha256"},
	}.Encode()
	req.Secrets = []string{string(key), signature}
	return c.api.call(ctx, req)
}

// sessionSignature returns the HMAC-SHA256 of the empty string. WeChat's key
// for it is the base64 text of the session_key, not the bytes that it encodes.
func sessionSignature(key SessionKey) string {
	return hex.EncodeToString(hmac.New(sha256.New, []byte(key)).Sum(nil))
}
