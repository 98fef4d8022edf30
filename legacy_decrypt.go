package wxphone

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
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
// text does not tell what was wrong, nor does its duration for data of one
// length: the data has no signature, and an answer that tells causes apart
// lets its sender forge a number. Keep it so towards the client. Whoever has
// the session_key can still forge one; [Client.VerifyPhoneNumber] closes that
// too.
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
	plaintext, padded, ok := decryptCBC(key, encryptedData, iv)
	if !ok {
		return nil, errDecrypt
	}
	phone, ok := payload.ReadPhone(plaintext)
	ok = ok && string(phone.Watermark.AppID) == appID
	// Only here, after all the work, may the padding make a difference.
	if !ok || padded != 1 {
		return nil, errDecrypt
	}
	return phoneFromPayload(&phone, appID), nil
}

// DecryptData decrypts any other encryptedData with a watermark, such as the
// one of wx.getUserInfo or wx.getWeRunData, into the value v points to, as
// [json.Unmarshal] does. Arguments are those of [DecryptPhoneNumber], which is
// stricter and should be preferred for phone numbers.
//
// The value is decoded afresh, so that nothing of the old one remains in it,
// and it stays untouched on failure. No age limit applies. The payload must be strict JSON with
// valid UTF-8 throughout and name appID in its watermark. Anything else,
// including a payload that does not fit v, is the same [ErrDecrypt] as there.
// An empty appID, and a v that is not a pointer or is nil, is
// [ErrInvalidArgument].
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
	plaintext, padded, ok := decryptCBC(key, encryptedData, iv)
	if !ok {
		return errDecrypt
	}
	watermark, ok := payload.ReadWatermark(plaintext)
	ok = ok && string(watermark.AppID) == appID
	if !ok || padded != 1 {
		return errDecrypt
	}
	// What comes here has passed every check and can fail only because it does
	// not fit v. The time that takes tells no more than a success would.
	fresh := reflect.New(target.Type().Elem())
	if err := json.Unmarshal(plaintext, fresh.Interface()); err != nil {
		return errDecrypt
	}
	target.Elem().Set(fresh.Elem())
	return nil
}

// decryptCBC returns the plaintext with its padding blanked, and 1 if that
// padding was right or 0 if it was not. What ok tells, and the time until
// here, follow from the lengths and alphabets of the arguments alone, which
// their sender knows anyway. What comes after must read the plaintext before
// it looks at padded.
func decryptCBC(key SessionKey, encryptedData, iv string) (plaintext []byte, padded int, ok bool) {
	const encodedBlock = 24 // base64 of 16 bytes
	if len(key) != encodedBlock || len(iv) != encodedBlock || len(encryptedData) > maxEncryptedData {
		return nil, 0, false
	}
	var keyBuf [encodedBlock]byte
	rawKey := decodeBase64(keyBuf[:], string(key))
	buf := make([]byte, encodedBlock+strictBase64.DecodedLen(len(encryptedData)))
	rawIV := decodeBase64(buf[:encodedBlock], repairBase64(iv))
	plaintext = decodeBase64(buf[encodedBlock:], repairBase64(encryptedData))
	if len(rawKey) != aes.BlockSize || len(rawIV) != aes.BlockSize ||
		len(plaintext) == 0 || len(plaintext)%aes.BlockSize != 0 {
		return nil, 0, false
	}
	block, err := aes.NewCipher(rawKey)
	if err != nil {
		return nil, 0, false
	}
	cipher.NewCBCDecrypter(block, rawIV).CryptBlocks(plaintext, plaintext)
	length, padded := unpadPKCS7(plaintext, aes.BlockSize)
	blankTail(plaintext, length)
	return plaintext, padded, true
}

// repairBase64 restores the '+' that form decoding turns into a space. The
// hash for checkencryptedmsg is taken over the repaired text.
func repairBase64(text string) string { return strings.ReplaceAll(text, " ", "+") }

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
