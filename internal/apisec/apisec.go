// Package apisec signs, encrypts, verifies and decrypts as WeChat's API
// security (API安全) has it.
package apisec

import (
	"bytes"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// ErrFailed is matched by every error of Seal and Open.
var ErrFailed = errors.New("wxphone: API security")

// Config holds the keys of an account. Without Cipher and Signer, the scheme is
// AES256_GCM with RSAwithSHA256.
type Config struct {
	SymmetricKeySN string
	SymmetricKey   string                       // base64 of 32 bytes
	PrivateKey     crypto.Signer                // RSA
	Certificates   map[string]*x509.Certificate // WeChat's, by their number in the console

	Cipher cipher.AEAD // replaces SymmetricKey
	Signer Signer      // replaces PrivateKey and Certificates
}

// Signer signs requests to WeChat and verifies its answers.
type Signer interface {
	Sign(message []byte) (signature []byte, err error)
	Verify(serial string, message, signature []byte) error
}

// ConfigError tells what in a Config cannot be right.
type ConfigError struct {
	// Part is the part of the Config that Problem is about. It is empty where
	// Problem is about the Config as a whole.
	Part string
	// Problem completes a sentence: "has no PrivateKey".
	Problem string
}

// Error implements error.
func (e *ConfigError) Error() string {
	if e.Part == "" {
		return "apisec: the Config " + e.Problem
	}
	return "apisec: " + e.Part + " " + e.Problem
}

func invalid(part, problem string) error { return &ConfigError{part, problem} }

func checkNumber(part, number string) error {
	switch {
	case number == "":
		return invalid(part, "is empty")
	case strings.TrimSpace(number) != number:
		return invalid(part, "has white space around it")
	}
	return nil
}

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

// New returns the Scheme of config, or a [*ConfigError].
func New(config Config) (*Scheme, error) {
	if err := checkNumber("SymmetricKeySN", config.SymmetricKeySN); err != nil {
		return nil, err
	}
	aead := config.Cipher
	if aead == nil {
		key, err := base64.StdEncoding.DecodeString(config.SymmetricKey)
		if err != nil || len(key) != aesKeySize {
			return nil, invalid("", "has a SymmetricKey that is not base64 of 32 bytes")
		}
		block, err := aes.NewCipher(key)
		if err != nil {
			return nil, err
		}
		if aead, err = cipher.NewGCM(block); err != nil {
			return nil, err
		}
	}
	if aead.NonceSize() != nonceSize || aead.Overhead() != tagSize {
		return nil, invalid("", "has a Cipher without nonces of 12 and tags of 16 bytes")
	}
	signer := config.Signer
	if signer == nil {
		own, err := newPSSSigner(config)
		if err != nil {
			return nil, err
		}
		signer = own
	}
	return &Scheme{sn: config.SymmetricKeySN, cipher: aead, signer: signer}, nil
}

// pssSigner is RSAwithSHA256, which at WeChat means RSA-PSS.
type pssSigner struct {
	private crypto.Signer
	public  map[string]*rsa.PublicKey
}

func newPSSSigner(config Config) (*pssSigner, error) {
	if config.PrivateKey == nil {
		return nil, invalid("", "has no PrivateKey")
	}
	// A key that was not read may be a nil pointer or an empty struct, on which
	// the methods of crypto/rsa panic.
	if own, ok := config.PrivateKey.(*rsa.PrivateKey); ok && (own == nil || own.N == nil || own.D == nil || own.Validate() != nil) {
		return nil, invalid("", "has a PrivateKey that is empty or broken")
	}
	if !isStrongRSA(config.PrivateKey.Public()) {
		return nil, invalid("", "has a PrivateKey that is not RSA of 2048 bits or more")
	}
	if len(config.Certificates) == 0 {
		return nil, invalid("", "has no Certificates; download WeChat's from the console")
	}
	signer := &pssSigner{config.PrivateKey, make(map[string]*rsa.PublicKey, len(config.Certificates))}
	for serial, certificate := range config.Certificates {
		if err := checkNumber("the number of a certificate", serial); err != nil {
			return nil, err
		}
		if certificate == nil {
			return nil, invalid("", "has the number of a certificate without the certificate")
		}
		if !isStrongRSA(certificate.PublicKey) {
			return nil, invalid("", "has a certificate whose key is not RSA of 2048 bits or more")
		}
		signer.public[serial] = certificate.PublicKey.(*rsa.PublicKey)
	}
	return signer, nil
}

func isStrongRSA(key crypto.PublicKey) bool {
	public, ok := key.(*rsa.PublicKey)
	return ok && public != nil && public.N != nil && public.N.BitLen() >= minRSABits
}

var pssOptions = &rsa.PSSOptions{SaltLength: pssSalt, Hash: crypto.SHA256}

func (s *pssSigner) Sign(message []byte) ([]byte, error) {
	digest := sha256.Sum256(message)
	return s.private.Sign(rand.Reader, digest[:], pssOptions)
}

func (s *pssSigner) Verify(serial string, message, signature []byte) error {
	public := s.public[serial]
	if public == nil {
		return errUnknownSerial
	}
	digest := sha256.Sum256(message)
	return rsa.VerifyPSS(public, crypto.SHA256, digest[:], signature, pssOptions)
}

var errUnknownSerial = errors.New("no certificate of this number is configured")

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
