package wxphone

import (
	"errors"
	"fmt"
	"log/slog"
)

// SessionKey is the session_key of one user's login: base64 of the 16 bytes
// that key the legacy encryptedData. Who has it can forge such data, so it
// stays on the backend: it prints as "[REDACTED]" under every fmt verb and in
// log/slog, and refuses to be encoded as text or JSON.
//
// Convert it to reveal it, say to keep it in a session store: string(key).
type SessionKey string

// Format implements [fmt.Formatter]: every verb prints "[REDACTED]".
func (k SessionKey) Format(f fmt.State, _ rune) { writeRedacted(f) }

// LogValue implements [slog.LogValuer].
func (k SessionKey) LogValue() slog.Value { return slog.StringValue(redacted) }

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
