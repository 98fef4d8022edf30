// Package apisec signs, encrypts, verifies and decrypts as WeChat's API
// security (API安全) has it.
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

// ErrFailed is matched by every error of Seal and Open.
var ErrFailed = errors.New("wxphone: API security")

const (
	nonceSize  = 12
	tagSize    = 16
	aesKeySize = 32
	pssSalt    = 32
	minRSABits = 2048

	// clockWindow is how far from now WeChat may have signed an answer.
	clockWindow = 10 * time.Minute
)

// Scheme is a Config whose keys are known to be sound.
type Scheme struct {
	sn     string
	cipher cipher.AEAD
	signer Signer
}

// envelope is an encrypted body. WeChat's sample has its fields in this order.
type envelope struct {
	IV      []byte `json:"iv"`
	Data    []byte `json:"data"`
	AuthTag []byte `json:"authtag"`
}

// Seal encrypts and signs body, a JSON object, for one attempt at one URL
// (without its query) and returns the new body and its headers.
func (s *Scheme) Seal(appID, urlpath string, body []byte) ([]byte, http.Header, error) {
	var random [nonceSize + 16]byte
	if _, err := rand.Read(random[:]); err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrFailed, err)
	}
	nonce := random[:nonceSize]
	timestamp := strconv.FormatInt(time.Now().Unix(), 10)
	plaintext := secured(body, appID, timestamp, base64.StdEncoding.EncodeToString(random[nonceSize:]))
	sealed := s.cipher.Seal(nil, nonce, plaintext, s.additionalData(appID, urlpath, timestamp))
	data, tag := sealed[:len(sealed)-tagSize], sealed[len(sealed)-tagSize:]
	text, err := json.Marshal(envelope{IV: nonce, Data: data, AuthTag: tag})
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrFailed, err)
	}
	signature, err := s.signer.Sign(signedText(urlpath, appID, timestamp, text))
	if err != nil {
		return nil, nil, fmt.Errorf("%w: the request was not signed: %w", ErrFailed, err)
	}
	if len(signature) == 0 {
		return nil, nil, fmt.Errorf("%w: the request was not signed: the signature is empty", ErrFailed)
	}
	header := make(http.Header, 3)
	header.Set(headerAppID, appID)
	header.Set(headerTimestamp, timestamp)
	header.Set(headerSignature, base64.StdEncoding.EncodeToString(signature))
	return text, header, nil
}

// secured adds to body what ties it to this account and moment.
func secured(body []byte, appID, timestamp, random string) []byte {
	own, _ := json.Marshal(struct {
		Random    string      `json:"_n"`
		AppID     string      `json:"_appid"`
		Timestamp json.Number `json:"_timestamp"`
	}{random, appID, json.Number(timestamp)})
	if rest := bytes.TrimPrefix(body, []byte{'{'}); !bytes.Equal(rest, []byte{'}'}) {
		return append(append(own[:len(own)-1], ','), rest...)
	}
	return own
}

func (s *Scheme) additionalData(appID, urlpath, timestamp string) []byte {
	return []byte(urlpath + "|" + appID + "|" + timestamp + "|" + s.sn)
}

// signedText has no number of the key in it, although one of WeChat's pages
// says so: the published sample verifies only without.
func signedText(urlpath, appID, timestamp string, body []byte) []byte {
	return append([]byte(urlpath+"\n"+appID+"\n"+timestamp+"\n"), body...)
}

const (
	headerAppID     = "Wechatmp-Appid"
	headerTimestamp = "Wechatmp-Timestamp"
	headerSerial    = "Wechatmp-Serial"
	headerSignature = "Wechatmp-Signature"
	deprecated      = "-Deprecated"
)

// IsSigned reports whether an answer claims to be WeChat's. Errors that arise
// before WeChat has looked into the envelope come unsigned.
func IsSigned(header http.Header) bool {
	return header.Get(headerSignature) != "" || header.Get(headerSignature+deprecated) != ""
}

// Open verifies and decrypts an answer and returns its plaintext.
func (s *Scheme) Open(appID, urlpath string, header http.Header, body []byte) ([]byte, error) {
	timestamp := header.Get(headerTimestamp)
	if header.Get(headerAppID) != appID {
		return nil, fmt.Errorf("%w: the answer is signed for another appid", ErrFailed)
	}
	if err := checkClock(timestamp); err != nil {
		return nil, err
	}
	if err := s.verify(header, signedText(urlpath, appID, timestamp, body)); err != nil {
		return nil, err
	}
	var sealed envelope
	if err := json.Unmarshal(body, &sealed); err != nil || len(sealed.IV) != nonceSize || len(sealed.AuthTag) != tagSize {
		return nil, fmt.Errorf("%w: the signed answer is no envelope", ErrFailed)
	}
	plaintext, err := s.cipher.Open(nil, sealed.IV, append(sealed.Data, sealed.AuthTag...), s.additionalData(appID, urlpath, timestamp))
	if err != nil {
		return nil, fmt.Errorf("%w: the answer does not decrypt; are SymmetricKey and SymmetricKeySN a pair?", ErrFailed)
	}
	var inner struct {
		AppID     string      `json:"_appid"`
		Timestamp json.Number `json:"_timestamp"`
	}
	if err := json.Unmarshal(plaintext, &inner); err != nil || inner.AppID != appID || inner.Timestamp.String() != timestamp {
		return nil, fmt.Errorf("%w: the decrypted answer is for another appid or time", ErrFailed)
	}
	return plaintext, nil
}

func checkClock(timestamp string) error {
	seconds, err := strconv.ParseInt(timestamp, 10, 64)
	if err != nil {
		return fmt.Errorf("%w: the answer has no %s", ErrFailed, headerTimestamp)
	}
	if off := time.Since(time.Unix(seconds, 0)); off > clockWindow || off < -clockWindow {
		return fmt.Errorf("%w: the answer was signed %v from this machine's time; set the clock by NTP", ErrFailed, off.Abs().Round(time.Second))
	}
	return nil
}

// verify takes either signature: while WeChat changes its certificate, answers
// carry one of the new and one of the old.
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
