// Package apisec implements the signatures and encryption of WeChat's API
// security (API安全).
//
// # The envelope
//
// Three fields are added in front of a body, {"code":"c"}, which bind it to one
// account and time:
//
//	{"_n":"<random>","_appid":"<appid>","_timestamp":<Unix seconds>,"code":"c"}
//
// This plaintext is encrypted with AES-256-GCM and sent as an envelope of
// base64 strings. The nonce, iv, has 12 bytes and the tag has 16:
//
//	{"iv":"…","data":"…","authtag":"…"}
//
// The access_token is in neither. It stays in the query of the URL.
//
// # What is covered
//
// The additional data of the encryption is
//
//	urlpath|appid|timestamp|number of the symmetric key
//
// The signature is RSA-PSS with SHA-256 and a salt of 32 bytes, over
//
//	urlpath\nappid\ntimestamp\nenvelope
//
// where urlpath is the URL with its scheme and host and without its query, and
// timestamp is that of the header. The number of the key is not part of the
// signed text, although one of WeChat's pages says so: the published sample
// verifies only without it.
//
// A request has the appid, the timestamp and the signature in its headers. An
// answer also has the number of the certificate that it is signed with. While
// WeChat replaces its certificate, headers that end in -Deprecated have a
// second signature made with the previous certificate.
//
// # What is accepted
//
// [Scheme.Open] returns a plaintext only if all of these conditions hold:
//
//   - The header has the appid of the request.
//   - The answer was signed within 10 minutes of the current time.
//   - One of its signatures, current or deprecated, is valid.
//   - The signed body is an envelope that can be decrypted.
//   - The fields in the plaintext have the same appid and timestamp as the
//     header.
//   - The Scheme has opened no answer with the same _n before.
//
// An answer does not identify the request it belongs to. Within 10 minutes,
// WeChat's answer to another request of the same API, account and host is
// therefore accepted once, if this Scheme has not opened it: because it was held
// back, or was sent to another process.
//
// WeChat does not sign or encrypt answers about failures that occur before it
// has decrypted a request. [IsSigned] distinguishes such answers. They may be
// accepted as errors, but not as a success.
package apisec

import (
	"bytes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// ErrFailed is matched by every error of [Scheme.Seal] and [Scheme.Open].
var ErrFailed = errors.New("wxphone: API security")

const (
	nonceSize  = 12
	tagSize    = 16
	randomSize = 16 // size of _n

	// clockWindow is the accepted difference between the current time and the
	// time at which WeChat signed an answer.
	clockWindow = 10 * time.Minute
)

const (
	headerAppID = "Wechatmp-Appid"
	// Clients in other languages look for this exact spelling, which is not
	// Go's canonical one.
	headerTimestamp = "Wechatmp-TimeStamp"
	headerSerial    = "Wechatmp-Serial"
	headerSignature = "Wechatmp-Signature"
	deprecated      = "-Deprecated"
)

// Scheme seals requests and opens answers with the keys of one account. It is
// safe for concurrent use by multiple goroutines.
type Scheme struct {
	sn     string
	cipher cipher.AEAD
	signer Signer
	seen   *seen
}

// envelope is an encrypted body. The order of the fields is that of WeChat's
// sample.
type envelope struct {
	IV      []byte `json:"iv"`
	Data    []byte `json:"data"`
	AuthTag []byte `json:"authtag"`
}

// origin is what the encryption and the signature cover besides the body.
type origin struct{ urlpath, appID, timestamp string }

func (o origin) additionalData(sn string) []byte {
	return []byte(o.urlpath + "|" + o.appID + "|" + o.timestamp + "|" + sn)
}

func (o origin) signedText(body []byte) []byte {
	return append([]byte(o.urlpath+"\n"+o.appID+"\n"+o.timestamp+"\n"), body...)
}

// Seal encrypts and signs body, a JSON object, for one attempt at one URL
// without its query. It returns the new body and its headers.
func (s *Scheme) Seal(appID, urlpath string, body []byte) (sealed []byte, header http.Header, err error) {
	o := origin{urlpath, appID, strconv.FormatInt(time.Now().Unix(), 10)}
	sealed, err = s.encrypt(o, body)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrFailed, err)
	}
	signature, err := s.signer.Sign(o.signedText(sealed))
	if err != nil {
		return nil, nil, fmt.Errorf("%w: the request was not signed: %w", ErrFailed, err)
	}
	if len(signature) == 0 {
		return nil, nil, fmt.Errorf("%w: the request was not signed: the signature is empty", ErrFailed)
	}
	header = make(http.Header, 3)
	header.Set(headerAppID, appID)
	header[headerTimestamp] = []string{o.timestamp} // Set would change the spelling
	header.Set(headerSignature, base64.StdEncoding.EncodeToString(signature))
	return sealed, header, nil
}

func (s *Scheme) encrypt(o origin, body []byte) ([]byte, error) {
	var random [nonceSize + randomSize]byte
	if _, err := rand.Read(random[:]); err != nil {
		return nil, err
	}
	nonce := random[:nonceSize]
	plaintext := bindPlaintext(body, o, base64.StdEncoding.EncodeToString(random[nonceSize:]))
	sealed := s.cipher.Seal(nil, nonce, plaintext, o.additionalData(s.sn))
	cut := len(sealed) - tagSize
	return json.Marshal(envelope{IV: nonce, Data: sealed[:cut], AuthTag: sealed[cut:]})
}

// bindPlaintext adds the fields that bind body, a JSON object, to one account
// and time.
func bindPlaintext(body []byte, o origin, random string) []byte {
	bound, _ := json.Marshal(struct {
		Random    string      `json:"_n"`
		AppID     string      `json:"_appid"`
		Timestamp json.Number `json:"_timestamp"`
	}{random, o.appID, json.Number(o.timestamp)})
	if rest := bytes.TrimPrefix(body, []byte{'{'}); !bytes.Equal(rest, []byte{'}'}) {
		return append(append(bound[:len(bound)-1], ','), rest...)
	}
	return bound
}

// boundTo reports whether plaintext is a JSON object for the account and
// moment of o, and returns its _n, which is nil if it has none.
func boundTo(plaintext []byte, o origin) (random []byte, ok bool) {
	var bound struct {
		Random    json.RawMessage `json:"_n"`
		AppID     string          `json:"_appid"`
		Timestamp json.Number     `json:"_timestamp"`
	}
	err := json.Unmarshal(plaintext, &bound)
	return bound.Random, err == nil && bound.AppID == o.appID && bound.Timestamp.String() == o.timestamp
}

// IsSigned reports whether an answer has a signature. Errors that occur before
// WeChat has decrypted the request are not signed.
func IsSigned(header http.Header) bool {
	return header.Get(headerSignature) != "" || header.Get(headerSignature+deprecated) != ""
}

// Open verifies and decrypts WeChat's answer to a request that was sealed with
// the same appID and urlpath. It returns the plaintext.
func (s *Scheme) Open(appID, urlpath string, header http.Header, body []byte) (plaintext []byte, err error) {
	return s.openAt(time.Now(), appID, urlpath, header, body)
}

func (s *Scheme) openAt(now time.Time, appID, urlpath string, header http.Header, body []byte) ([]byte, error) {
	o := origin{urlpath, appID, timestampOf(header)}
	if header.Get(headerAppID) != appID {
		return nil, fmt.Errorf("%w: the answer is signed for another appid", ErrFailed)
	}
	signed, err := checkClock(now, o.timestamp)
	if err != nil {
		return nil, err
	}
	if err := s.verify(header, o.signedText(body)); err != nil {
		return nil, err
	}
	plaintext, err := s.decrypt(o, body)
	if err != nil {
		return nil, err
	}
	random, ok := boundTo(plaintext, o)
	if !ok {
		return nil, fmt.Errorf("%w: the decrypted answer is for another appid or time", ErrFailed)
	}
	if len(random) == 0 {
		random = body // no two envelopes are the same either
	}
	if err := s.seen.note(now, signed, random); err != nil {
		return nil, err
	}
	return plaintext, nil
}

// timestampOf returns the timestamp of an answer. A connection delivers Go's
// canonical spelling; a custom transport may deliver WeChat's.
func timestampOf(header http.Header) string {
	if values := header[headerTimestamp]; len(values) > 0 {
		return values[0]
	}
	return header.Get(headerTimestamp)
}

// checkClock returns when the answer was signed, in Unix seconds.
func checkClock(now time.Time, timestamp string) (signed int64, err error) {
	signed, err = strconv.ParseInt(timestamp, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%w: the answer has no %s", ErrFailed, headerTimestamp)
	}
	if off := now.Sub(time.Unix(signed, 0)); off > clockWindow || off < -clockWindow {
		return 0, fmt.Errorf("%w: the answer was signed %v from this machine's time; set the clock by NTP", ErrFailed, off.Abs().Round(time.Second))
	}
	return signed, nil
}

// verify accepts either signature: while WeChat replaces its certificate,
// answers have one made with the new certificate and one made with the old one.
func (s *Scheme) verify(header http.Header, message []byte) error {
	reason := errUnknownSerial
	for _, suffix := range []string{"", deprecated} {
		serial, text := header.Get(headerSerial+suffix), header.Get(headerSignature+suffix)
		if serial == "" || text == "" {
			continue
		}
		signature, err := base64.StdEncoding.DecodeString(text)
		if err == nil {
			err = s.signer.Verify(serial, message, signature)
		}
		if err == nil {
			return nil
		}
		if !errors.Is(err, errUnknownSerial) {
			reason = err
		}
	}
	if errors.Is(reason, errUnknownSerial) {
		return fmt.Errorf("%w: the answer is signed with a certificate that is not configured; download WeChat's current one and add it to Certificates",
			ErrFailed)
	}
	return fmt.Errorf("%w: the answer's signature is not WeChat's: %w", ErrFailed, reason)
}

// decrypt opens the envelope of an answer whose signature is valid.
func (s *Scheme) decrypt(o origin, body []byte) ([]byte, error) {
	var sealed envelope
	if err := json.Unmarshal(body, &sealed); err != nil || len(sealed.IV) != nonceSize || len(sealed.AuthTag) != tagSize {
		return nil, fmt.Errorf("%w: the signed answer contains no envelope", ErrFailed)
	}
	plaintext, err := s.cipher.Open(nil, sealed.IV, append(sealed.Data, sealed.AuthTag...), o.additionalData(s.sn))
	if err != nil {
		return nil, fmt.Errorf("%w: the answer does not decrypt; are SymmetricKey and SymmetricKeySN a pair?", ErrFailed)
	}
	return plaintext, nil
}
