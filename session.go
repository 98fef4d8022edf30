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

// SessionKey is the session_key of one user's login: base64 of the 16 bytes
// that key the legacy encryptedData. Who has it can forge such data, so it
// stays on the backend: it prints as "[REDACTED]" under every fmt verb and in
// log/slog (but for an unexported field of another struct, which fmt does not
// ask), and refuses to be encoded as text or JSON.
//
// Convert it to reveal it, say to keep it in a session store: string(key).
type SessionKey string

// Format implements [fmt.Formatter]: every verb prints "[REDACTED]".
func (k SessionKey) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redact.Mark) }

// LogValue implements [slog.LogValuer].
func (k SessionKey) LogValue() slog.Value { return slog.StringValue(redact.Mark) }

// MarshalText implements [encoding.TextMarshaler] and always fails, so that a
// session_key inside a larger value is not sent to a client by accident.
func (k SessionKey) MarshalText() ([]byte, error) {
	return nil, errors.New("wxphone: a SessionKey is not encoded by accident; convert it to a string if it must be")
}

// Session is what wx.login stands for: who the user is and the key of the
// login.
//
// Encoding a Session as JSON leaves SessionKey out, because such JSON tends to
// end up with the client. Keep the key beside it, as string(s.SessionKey), if
// you cache sessions as JSON.
type Session struct {
	OpenID     string     `json:"openid"`
	UnionID    string     `json:"unionid,omitempty"`
	SessionKey SessionKey `json:"-"`
}

// Format implements [fmt.Formatter]: every verb prints the openid and the
// unionid only.
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

// Complete makes an answer that is no session a ResponseError.
func (a *sessionAnswer) Complete() bool { return a.OpenID != "" && a.SessionKey != "" }

func (a *sessionAnswer) session() *Session {
	return &Session{OpenID: string(a.OpenID), UnionID: string(a.UnionID), SessionKey: SessionKey(a.SessionKey)}
}

// Code2Session redeems the code of wx.login for the user's openid, session_key
// and, if the mini-program is bound to an open platform account, unionid.
//
// A jsCode works once, for 5 minutes, and is not the phone button's code. The
// session_key it leads to may replace the user's former one: encryptedData
// that was made under that one no longer decrypts. Hence the order: wx.login
// and Code2Session first, the tap on the phone button after.
//
// The error matches [ErrCodeInvalid] when the mini-program must call wx.login
// again, and [ErrUserBlocked] when WeChat blocks the user. An answer without
// openid or session_key is a [ResponseError].
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
	if c.account.secret == "" {
		return nil, invalid("secret", "is empty; Code2Session needs it")
	}
	return c.api.callWithoutToken(ctx, &transport.Request{
		Method: http.MethodGet,
		Path:   pathCode2Session,
		Query: url.Values{
			"appid":      {c.appID},
			"secret":     {c.account.secret},
			"js_code":    {jsCode},
			"grant_type": {"authorization_code"},
		}.Encode(),
		OneTime:   jsCode,
		Effect:    consumedCode,
		Secrets:   []string{c.account.secret},
		NewAnswer: func() wire.Answer { return new(sessionAnswer) },
	})
}

// CheckSessionKey asks WeChat whether key is still the session_key of the user
// openid. It returns nil if so; the error matches [ErrSessionExpired] if the
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

// checkSessionAnswer says by its errcode alone that a session is valid, so it
// must have one.
type checkSessionAnswer struct{ wire.Status }

// Complete makes an answer without an errcode a ResponseError.
func (a *checkSessionAnswer) Complete() bool { return a.ErrCode.Present }

// ResetUserSessionKey replaces the session_key of the user openid, say after a
// leak. The session it returns has the new key and the old expiry; key no
// longer works. The error matches [ErrSessionExpired] if key was not valid.
//
// If an answer is lost and a retry then finds key invalid, the first attempt
// may have reset it: the error says so, and the mini-program must call
// wx.login.
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

// callSigned sends req as a GET with the user's openid and, in place of the
// session_key, a signature that proves its possession.
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

// sessionSignature is the HMAC-SHA256 of the empty string. WeChat keys it with
// the base64 text of the session_key, not with the bytes that stands for.
func sessionSignature(key SessionKey) string {
	return hex.EncodeToString(hmac.New(sha256.New, []byte(key)).Sum(nil))
}
