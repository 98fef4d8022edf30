package wxphone

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/wxphone/wxphone/internal/payload"
	"github.com/wxphone/wxphone/internal/transport"
	"github.com/wxphone/wxphone/internal/wire"
)

// EncryptedDataCheck is WeChat's word on a piece of encryptedData.
type EncryptedDataCheck struct {
	// Valid is true if WeChat itself made the data for this appid, in the last
	// 3 days.
	Valid bool
	// CreatedAt is when WeChat made it, or the zero time.
	CreatedAt time.Time
}

type encryptedDataAnswer struct {
	wire.Status
	Vaild      wire.Bool `json:"vaild"` // so spelled by WeChat
	Valid      wire.Bool `json:"valid"` // in case that is mended
	CreateTime wire.Int  `json:"create_time"`
}

// Complete makes an answer that does not say whether the data is valid a
// ResponseError.
func (a *encryptedDataAnswer) Complete() bool { return a.Vaild.Present || a.Valid.Present }

func (a *encryptedDataAnswer) check() *EncryptedDataCheck {
	check := &EncryptedDataCheck{
		Valid: (a.Vaild.Value || !a.Vaild.Present) && (a.Valid.Value || !a.Valid.Present),
	}
	if a.CreateTime.Value > 0 {
		check.CreatedAt = time.Unix(a.CreateTime.Value, 0)
	}
	return check
}

// errcodeUnknownData is checkencryptedmsg's answer to data it did not make, or
// made more than 3 days ago or for another appid.
const errcodeUnknownData = 1

// CheckEncryptedData asks WeChat whether it made encryptedData: a phone
// number's, for this appid, in the last 3 days. Only a hash of the data is
// sent. Data that WeChat does not know is no error but not Valid. Data that is
// empty, or longer than 64 KiB, is [ErrInvalidArgument], and nothing is sent.
//
// See https://developers.weixin.qq.com/miniprogram/dev/OpenApiDoc/user-info/basic-info/checkEncryptedData.html
func (c *Client) CheckEncryptedData(ctx context.Context, encryptedData string) (*EncryptedDataCheck, error) {
	if err := c.check(ctx); err != nil {
		return nil, err
	}
	if encryptedData == "" {
		return nil, invalid("encryptedData", "is empty")
	}
	if len(encryptedData) > maxEncryptedData {
		return nil, invalid("encryptedData", "is longer than any that WeChat makes")
	}
	// WeChat hashes the base64 text, not the bytes that stands for.
	hash := sha256.Sum256([]byte(repairBase64(encryptedData)))
	answer, err := c.api.call(ctx, &transport.Request{
		Method:    http.MethodPost,
		Path:      pathCheckEncryptedMsg,
		Body:      wire.Object("encrypted_msg_hash", hex.EncodeToString(hash[:])),
		Secured:   true,
		NewAnswer: func() wire.Answer { return new(encryptedDataAnswer) },
	})
	var refusal *APIError
	if errors.As(err, &refusal) && refusal.Code == errcodeUnknownData {
		return &EncryptedDataCheck{}, nil
	}
	if err != nil {
		return nil, err
	}
	return answer.(*encryptedDataAnswer).check(), nil
}

// VerifyPhoneNumber asks WeChat with [Client.CheckEncryptedData] whether it
// made encryptedData, and only then decrypts it as [Client.DecryptPhoneNumber]
// does. So even a leaked session_key forges no number. Data that WeChat did
// not make is [ErrDecrypt], and nothing is sent for what can be no data, key or
// iv by its length or alphabet. Genuine data is accepted as often as it is sent:
// bound its age with [WithWatermarkMaxAge], and let the time of each user's
// last accepted watermark only grow if a replay would do harm.
//
// ErrDecrypt has two honest causes, which [Client.CheckSessionKey] tells
// apart. If it says that key is stale, the mini-program must log in again; if
// key is current, the data is older than the key and another tap is enough.
//
// It costs one request. The new flow, [Client.GetPhoneNumber], is as safe and
// simpler where the mini-program's base library is 2.21.2 or later.
func (c *Client) VerifyPhoneNumber(ctx context.Context, key SessionKey, encryptedData, iv string) (*PhoneInfo, error) {
	if err := c.check(ctx); err != nil {
		return nil, err
	}
	if key == "" {
		return nil, invalid("key", "is empty")
	}
	if iv == "" {
		return nil, invalid("iv", "is empty")
	}
	if encryptedData == "" {
		return nil, invalid("encryptedData", "is empty")
	}
	w := newWorkspace()
	_, _, ok := w.decode(key, encryptedData, iv, payload.ShortestPhone(c.appID))
	w.release()
	if !ok {
		return nil, errDecrypt
	}
	check, err := c.CheckEncryptedData(ctx, encryptedData)
	if err != nil {
		return nil, err
	}
	if !check.Valid {
		return nil, errDecrypt
	}
	return c.DecryptPhoneNumber(key, encryptedData, iv)
}

// RevealPhoneNumber is [Client.VerifyPhoneNumber] for a session that may be
// over. If the data does not decrypt, it asks WeChat with
// [Client.CheckSessionKey] whose fault that is. If the session_key is stale,
// the error matches [ErrSessionExpired], and the mini-program must log in
// before the next tap. If the key is good, the error is [ErrDecrypt], and
// another tap is enough. If WeChat cannot be asked, the error is why not, and
// wraps ErrDecrypt after it.
//
// It costs one request, and a second one where the data does not decrypt.
func (c *Client) RevealPhoneNumber(ctx context.Context, s *Session, encryptedData, iv string) (*PhoneInfo, error) {
	if err := c.check(ctx); err != nil {
		return nil, err
	}
	switch {
	case s == nil:
		return nil, invalid("session", "is nil")
	case s.OpenID == "":
		return nil, invalid("session", "has no openid")
	case s.SessionKey == "":
		return nil, invalid("session", "has no session_key; a Session that was kept as JSON has lost it")
	}
	phone, err := c.VerifyPhoneNumber(ctx, s.SessionKey, encryptedData, iv)
	if !errors.Is(err, ErrDecrypt) {
		return phone, err
	}
	stale := c.CheckSessionKey(ctx, s.OpenID, s.SessionKey)
	switch {
	case stale == nil:
		return nil, err
	case errors.Is(stale, ErrSessionExpired):
		return nil, stale
	default:
		return nil, fmt.Errorf("%w; it was asked because of: %w", stale, err)
	}
}
