package wxphone

import (
	"bytes"
	"crypto/aes"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"time"

	"github.com/wxphone/wxphone/internal/payload"
)

// maxEncryptedData is the longest encryptedData, in characters of base64, that
// is worth decrypting. WeChat's are below 4 KiB.
const maxEncryptedData = 64 << 10

// Of base64 only the canonical spelling is taken. WeChat's checkencryptedmsg
// knows a message by the hash of its text, so one message has one text.
var strictBase64 = base64.StdEncoding.Strict()

// errDecrypt is what every failed decryption returns, the same value whatever
// failed. The usual cause is nobody's attack, so the text tells that one.
var errDecrypt = fmt.Errorf("%w: most often it was made under another session_key, because wx.login ran after the tap: "+
	"let the user tap again, after a new wx.login if CheckSessionKey finds session_key stale; never call wx.login in the button's callback", ErrDecrypt)

// DecryptPhoneNumber decrypts the encryptedData and iv that the phone number
// button handed to the mini-program. Both come from the client as base64; a
// '+' that a form decoder turned into a space is restored. key is the
// session_key of the login that was current at the tap.
//
// The payload must name appID in its watermark, hold all the fields of
// [PhoneInfo], and agree with itself. Anything else is one [ErrDecrypt], whose
// text does not tell what was wrong. Nor does its duration for data of one
// length: nothing is read before all of it is known to be right, and finding
// that out takes the same time whatever is wrong. Keep it so towards the
// client: the data has no signature, and an answer that tells causes apart lets
// its sender forge a number. Only data that is right but for one place, such as
// numbers that disagree, is refused no earlier than it would be taken.
//
// That it was accepted, or not, remains an answer. Whoever may try millions of
// messages under one session_key learns something from it, so limit how often
// one user may fail. Whoever has the session_key can write any number.
// [Client.VerifyPhoneNumber] closes both.
//
// An empty appID is [ErrInvalidArgument]. How old the data is, is not checked:
// see [Watermark.Time] and [Client.DecryptPhoneNumber].
//
// WeChat's description:
// https://developers.weixin.qq.com/miniprogram/dev/framework/open-ability/signature.html
func DecryptPhoneNumber(appID string, key SessionKey, encryptedData, iv string) (*PhoneInfo, error) {
	if appID == "" {
		return nil, invalid("appID", "is empty")
	}
	w := newWorkspace()
	defer w.release()
	plaintext, padded, ok := w.decryptCBC(key, encryptedData, iv, payload.ShortestPhone(appID))
	if !ok {
		return nil, errDecrypt
	}
	// Both are known before either counts.
	if padded&payload.IsPhone(plaintext, appID) != 1 {
		return nil, errDecrypt
	}
	phone, ok := payload.ReadPhone(plaintext)
	if !ok || string(phone.Watermark.AppID) != appID {
		return nil, errDecrypt
	}
	return phoneFromPayload(&phone, appID), nil
}

// DecryptData decrypts any other encryptedData with a watermark, such as the
// one of wx.getUserInfo or wx.getWeRunData, into the value v points to, as
// [json.Unmarshal] does. Arguments are those of [DecryptPhoneNumber].
//
// Believe nothing in v that matters. Whoever sends the iv chooses the first 16
// bytes of the payload, and nobody can tell: they may hold the beginning of
// another openId, or another key for the first value. Take the openid from the
// [Session], and a phone number from DecryptPhoneNumber only. A payload that has
// one of the keys phoneNumber, purePhoneNumber and countryCode is taken only if
// DecryptPhoneNumber takes it too, so that the sender cannot make a phone number
// of a nickname.
//
// The value is decoded afresh, so that nothing of the old one remains in it,
// and it stays untouched on failure. No age limit applies. The payload must be
// strict JSON with valid UTF-8 throughout and name appID in its watermark.
// Anything else, including a payload that does not fit v, is the same
// [ErrDecrypt] as there. An empty appID, and a v that is not a pointer or is
// nil, is [ErrInvalidArgument].
//
// WeChat's description:
// https://developers.weixin.qq.com/miniprogram/dev/framework/open-ability/signature.html
func DecryptData(appID string, key SessionKey, encryptedData, iv string, v any) error {
	if appID == "" {
		return invalid("appID", "is empty")
	}
	target := reflect.ValueOf(v)
	if target.Kind() != reflect.Pointer || target.IsNil() {
		return invalid("v", "is not a pointer to decode into, or is nil")
	}
	w := newWorkspace()
	defer w.release()
	plaintext, padded, ok := w.decryptCBC(key, encryptedData, iv, payload.ShortestData(appID))
	if !ok {
		return errDecrypt
	}
	if padded&payload.IsData(plaintext, appID) != 1 {
		return errDecrypt
	}
	watermark, ok := payload.ReadWatermark(plaintext)
	if !ok || string(watermark.AppID) != appID {
		return errDecrypt
	}
	// What comes here has passed every check and can fail only because it does
	// not fit v. The time that takes tells no more than a success would.
	fresh := reflect.New(target.Type().Elem())
	// It gets a copy because v's UnmarshalJSON may keep what it is given.
	if err := json.Unmarshal(bytes.Clone(plaintext), fresh.Interface()); err != nil {
		return errDecrypt
	}
	target.Elem().Set(fresh.Elem())
	return nil
}

// workspace is the memory of one decryption, used again for the next. It is
// wiped in between, so that no decryption finds another's session_key or
// plaintext. Copies elsewhere, as in the key schedule of crypto/aes, remain until
// they are collected.
type workspace struct {
	small     [2 << 10]byte // enough for a phone number or a user's profile
	plaintext []byte
	key       []byte
	chain     []byte // the iv, then the data
}

const encodedBlock = 24 // base64 of 16 bytes

var workspaces = sync.Pool{New: func() any { return new(workspace) }}

// newWorkspace returns one for its caller to release, after which the plaintext
// is gone.
func newWorkspace() *workspace { return workspaces.Get().(*workspace) }

func (w *workspace) release() {
	clear(w.plaintext)
	clear(w.key)
	clear(w.chain)
	w.plaintext, w.key, w.chain = nil, nil, nil
	workspaces.Put(w)
}

// reserve makes room for n bytes of data. The plaintext comes first because it
// is read faster where it is aligned.
func (w *workspace) reserve(n int) {
	buf := w.small[:]
	if room := n + 2*encodedBlock + n; room > len(buf) {
		buf = make([]byte, room)
	}
	w.plaintext, buf = buf[:n:n], buf[n:]
	w.key, buf = buf[:encodedBlock:encodedBlock], buf[encodedBlock:]
	w.chain = buf[:encodedBlock+n]
}

// decryptCBC returns the plaintext with its padding blanked, and 1 if that
// padding was right or 0 if it was not. What ok tells, and the time until
// here, follow from the lengths and the spelling of iv and encryptedData, which
// their sender knows anyway, and from whether key is a session_key at all.
func (w *workspace) decryptCBC(key SessionKey, encryptedData, iv string, shortest int) (plaintext []byte, padded int, ok bool) {
	rawKey, chain, ok := w.decode(key, encryptedData, iv, shortest)
	if !ok {
		return nil, 0, false
	}
	block, err := aes.NewCipher(rawKey)
	if err != nil {
		return nil, 0, false
	}
	// What crypto/cipher has for CBC takes an allocation of half a kilobyte.
	data := chain[aes.BlockSize:]
	plaintext = w.plaintext[:len(data)]
	for i := 0; i < len(data); i += aes.BlockSize {
		block.Decrypt(plaintext[i:], data[i:])
	}
	subtle.XORBytes(plaintext, plaintext, chain)
	return plaintext, blankPKCS7(plaintext), true
}

// decode decodes all three from base64; chain is the iv and then the data. It
// fails on lengths and alphabets that none of them has, and on data whose
// plaintext would be shorter than shortest, as no payload is: what is never
// decrypted tells nothing.
func (w *workspace) decode(key SessionKey, encryptedData, iv string, shortest int) (rawKey, chain []byte, ok bool) {
	if len(key) != encodedBlock || len(iv) != encodedBlock || len(encryptedData) > maxEncryptedData {
		return nil, nil, false
	}
	w.reserve(strictBase64.DecodedLen(len(encryptedData)))
	rawKey = decodeBase64(w.key, string(key))
	rawIV := decodeRepaired(w.chain, iv)
	if len(rawKey) != aes.BlockSize || len(rawIV) != aes.BlockSize {
		return nil, nil, false
	}
	data := decodeRepaired(w.chain[aes.BlockSize:], encryptedData)
	ok = len(data) > shortest && len(data)%aes.BlockSize == 0
	return rawKey, w.chain[:aes.BlockSize+len(data)], ok
}

// repairBase64 restores the '+' that form decoding turns into a space. The
// hash for checkencryptedmsg is taken over the repaired text.
func repairBase64(text string) string { return strings.ReplaceAll(text, " ", "+") }

// decodeRepaired is decodeBase64 for a text that may need repairBase64.
func decodeRepaired(dst []byte, text string) []byte {
	if b := decodeBase64(dst, text); b != nil {
		return b
	}
	return decodeBase64(dst, repairBase64(text))
}

// decodeBase64 decodes text into dst, which has room for it, and returns the
// bytes, or nil if text is not canonical base64 without line breaks.
func decodeBase64(dst []byte, text string) []byte {
	n, err := strictBase64.Decode(dst, []byte(text))
	if err != nil || strictBase64.EncodedLen(n) != len(text) {
		return nil
	}
	return dst[:n]
}

// phoneFromPayload copies p out of the plaintext. One short string backs all
// three numbers, and appID, which the payload repeats, is the caller's own.
func phoneFromPayload(p *payload.Phone, appID string) *PhoneInfo {
	all := append(make([]byte, 0, 64), p.Number...)
	all = append(all, p.PureNumber...)
	all = append(all, p.CountryCode...)
	text := string(all)
	pure := len(p.Number)
	country := pure + len(p.PureNumber)
	return &PhoneInfo{
		PhoneNumber:     text[:pure],
		PurePhoneNumber: text[pure:country],
		CountryCode:     text[country:],
		Watermark:       Watermark{AppID: appID, Timestamp: p.Watermark.Timestamp},
	}
}

// DecryptPhoneNumber is the function [DecryptPhoneNumber] for the Client's own
// appid, with the age limit of [WithWatermarkMaxAge] if there is one: older
// data is [ErrWatermarkExpired].
//
// It sends nothing, and so it believes whoever has the session_key. Use
// [Client.VerifyPhoneNumber] where a forged number would do harm.
func (c *Client) DecryptPhoneNumber(key SessionKey, encryptedData, iv string) (*PhoneInfo, error) {
	if c == nil || c.api == nil {
		return nil, invalid("Client", "was not made by New")
	}
	info, err := DecryptPhoneNumber(c.appID, key, encryptedData, iv)
	if err != nil {
		return nil, err
	}
	if err := c.checkAge(info.Watermark); err != nil {
		return nil, err
	}
	return info, nil
}

// clockTolerance is how far a watermark may be ahead of this machine's clock.
const clockTolerance = 5 * time.Minute

func (c *Client) checkAge(w Watermark) error {
	if c.watermarkMaxAge == 0 {
		return nil
	}
	if w.Timestamp == 0 {
		return fmt.Errorf("%w: it has no timestamp", ErrWatermarkExpired)
	}
	now := time.Now()
	if age := now.Sub(w.Time()); age > c.watermarkMaxAge {
		return fmt.Errorf("%w: the data is %v old, at most %v are allowed", ErrWatermarkExpired, age.Round(time.Second), c.watermarkMaxAge)
	}
	if ahead := w.Time().Sub(now); ahead > clockTolerance {
		return fmt.Errorf("%w: it is %v in the future; is this machine's clock right?", ErrWatermarkExpired, ahead.Round(time.Second))
	}
	return nil
}
