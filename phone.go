package wxphone

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/wxphone/wxphone/internal/transport"
	"github.com/wxphone/wxphone/internal/wire"
)

// PhoneInfo is a user's phone number as WeChat returns it.
//
// With every fmt verb and in log/slog it prints masked, as "+86 138****0000".
// The exception is an unexported field of another struct: fmt does not call
// methods on it and prints the full number. The fields and the JSON encoding
// contain the full number.
type PhoneInfo struct {
	// PhoneNumber is the number as WeChat displays it. It includes the area
	// code for users outside mainland China.
	PhoneNumber string `json:"phoneNumber"`
	// PurePhoneNumber is the number without the area code.
	PurePhoneNumber string `json:"purePhoneNumber"`
	// CountryCode is the area code without "+", such as "86".
	CountryCode string `json:"countryCode"`
	// Watermark identifies the app and the time of this answer.
	Watermark Watermark `json:"watermark"`
}

// Watermark records for which mini-program and when WeChat created a piece of
// data.
//
// It is not a signature: in the legacy flow, anyone who has the session_key can
// write any watermark.
type Watermark struct {
	AppID string `json:"appid"`
	// Timestamp is the time of the user's tap in Unix seconds.
	Timestamp int64 `json:"timestamp"`
}

// Time returns the watermark's timestamp, or the zero time if it has none.
func (w Watermark) Time() time.Time {
	if w.Timestamp == 0 {
		return time.Time{}
	}
	return time.Unix(w.Timestamp, 0)
}

// E164 returns the number in E.164 format, such as "+8613800000000". It returns
// "" unless both CountryCode and PurePhoneNumber consist of digits.
func (p PhoneInfo) E164() string {
	if !isDigits(p.CountryCode) || !isDigits(p.PurePhoneNumber) {
		return ""
	}
	return "+" + p.CountryCode + p.PurePhoneNumber
}

// String returns the masked number, such as "+86 138****0000".
func (p PhoneInfo) String() string {
	number := p.PurePhoneNumber
	if number == "" {
		number = p.PhoneNumber
	}
	if number == "" {
		return "(no phone number)"
	}
	if isDigits(p.CountryCode) && len(p.CountryCode) <= 4 {
		return "+" + p.CountryCode + " " + mask(number)
	}
	return mask(number)
}

// Format implements [fmt.Formatter]. Every verb prints the masked number.
func (p PhoneInfo) Format(f fmt.State, _ rune) {
	_, _ = io.WriteString(f, p.String())
}

// LogValue implements [slog.LogValuer]. It returns the masked number.
func (p PhoneInfo) LogValue() slog.Value { return slog.StringValue(p.String()) }

// UnmarshalJSON implements [json.Unmarshaler]. It accepts countryCode and
// timestamp as numbers or as strings, because WeChat has sent both.
func (p *PhoneInfo) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		return nil
	}
	var w wire.Phone
	if err := json.Unmarshal(b, &w); err != nil {
		return err
	}
	*p = phoneInfo(&w)
	return nil
}

func phoneInfo(w *wire.Phone) PhoneInfo {
	return PhoneInfo{
		PhoneNumber:     string(w.PhoneNumber),
		PurePhoneNumber: string(w.PurePhoneNumber),
		CountryCode:     string(w.CountryCode),
		Watermark:       Watermark{AppID: string(w.Watermark.AppID), Timestamp: w.Watermark.Timestamp.Value},
	}
}

// mask keeps so few characters of a number that it identifies nobody: the first
// three and last four of eleven or more, a quarter at each end of shorter ones.
// The number of stars does not depend on the length.
func mask(number string) string {
	r := []rune(number)
	head, tail := len(r)/4, len(r)/4
	if len(r) >= 11 {
		head, tail = 3, 4
	}
	return string(r[:head]) + "****" + string(r[len(r)-tail:])
}

func isDigits(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

// PhoneOption configures one call of [Client.GetPhoneNumber].
type PhoneOption func(*phoneOptions) error

type phoneOptions struct {
	openID string
}

func newPhoneOptions(opts []PhoneOption) (phoneOptions, error) {
	if len(opts) == 0 {
		return phoneOptions{}, nil
	}
	var o phoneOptions
	for _, opt := range opts {
		if opt == nil {
			return o, invalid("PhoneOption", "is nil")
		}
		if err := opt(&o); err != nil {
			return o, err
		}
	}
	return o, nil
}

// WithOpenID makes WeChat check that the code was created for the user openid,
// so that a user cannot submit another user's code. WeChat does not document the
// errcode for a code that does not belong to openid; the text of an error that
// may mean that says so.
func WithOpenID(openid string) PhoneOption {
	return func(o *phoneOptions) error {
		if openid == "" {
			return invalid("openid", "is empty")
		}
		o.openID = openid
		return nil
	}
}

// GetPhoneNumber redeems the code of a <button open-type="getPhoneNumber"> or
// "getRealtimePhoneNumber", its e.detail.code, for the user's phone number.
//
// A code works once, for 5 minutes. GetPhoneNumber therefore retries, as set by
// [WithMaxRetries] and until ctx is done, when WeChat is busy or an answer is
// lost, and replaces an access_token that WeChat rejects. If WeChat then
// reports that the code was used, the error also wraps the first failure,
// because the first attempt may have consumed the code. Such an error matches
// [ErrCodeMaybeUsed].
//
// Calls with the same code (and the same openid) at the same time are one
// redemption: one call asks WeChat, and the others wait, each on its own ctx,
// and return the same result. If the first call stops because its ctx is done,
// the next one takes over. [WithDuplicateWindow] extends this to later calls,
// and [WithDuplicateStore] to other processes. Code2Session and
// GetPhoneNumberByCloudID are not merged.
//
// The error matches [ErrCodeInvalid] if the user must tap again,
// [ErrNoPhoneNumber] if WeChat's answer contains no number, [ErrWatermark] if
// it is for another appid, and [ErrInvalidArgument] if an argument is not valid
// and no request was made. Any other error is an [APIError], a [ResponseError]
// or a network error. [HTTPStatus] and [NextStep] say what a handler answers.
//
// See https://developers.weixin.qq.com/miniprogram/dev/OpenApiDoc/user-info/phone-number/getPhoneNumber.html
func (c *Client) GetPhoneNumber(ctx context.Context, code string, opts ...PhoneOption) (*PhoneInfo, error) {
	key, err := c.redemptionKey(ctx, code, opts)
	if err != nil {
		return nil, err
	}
	return c.redeemOnce(ctx, key)
}

// redemptionKey checks the arguments of GetPhoneNumber.
func (c *Client) redemptionKey(ctx context.Context, code string, opts []PhoneOption) (redemptionKey, error) {
	if err := c.check(ctx); err != nil {
		return redemptionKey{}, err
	}
	if strings.TrimSpace(code) == "" {
		return redemptionKey{}, invalid("code", "is empty")
	}
	o, err := newPhoneOptions(opts)
	return redemptionKey{code: code, openID: o.openID}, err
}

// redeem asks WeChat for the number that a code stands for.
func (c *Client) redeem(ctx context.Context, key redemptionKey) (*PhoneInfo, error) {
	answer, err := c.api.call(ctx, &transport.Request{
		Method:    http.MethodPost,
		Path:      pathGetUserPhoneNumber,
		Body:      wire.Object("code", key.code, "openid", key.openID),
		OneTime:   key.code,
		Bound:     key.openID != "",
		Effect:    consumedCode,
		Secured:   true,
		NewAnswer: func() wire.Answer { return new(wire.PhoneAnswer) },
	})
	if err != nil {
		return nil, err
	}
	return c.ownPhoneInfo(pathGetUserPhoneNumber, &answer.(*wire.PhoneAnswer).PhoneInfo)
}

// ownPhoneInfo rejects an answer without a number or for another app. The
// watermark may be absent, because the answer came from WeChat itself.
func (c *Client) ownPhoneInfo(path string, w *wire.Phone) (*PhoneInfo, error) {
	if w.PhoneNumber == "" {
		return nil, fmt.Errorf("%w (%s)", ErrNoPhoneNumber, path)
	}
	p := phoneInfo(w)
	if p.Watermark.AppID != "" && p.Watermark.AppID != c.appID {
		return nil, fmt.Errorf("%w (%s): does the access_token belong to another account?", ErrWatermark, path)
	}
	return &p, nil
}
