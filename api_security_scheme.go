package wxphone

import (
	"bytes"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

const (
	nonceSize  = 12
	tagSize    = 16
	aesKeySize = 32
	pssSalt    = 32
	minRSABits = 2048

	// clockWindow is how far from now WeChat may have signed an answer.
	clockWindow = 10 * time.Minute
)

// security is an APISecurity whose keys are known to be sound.
type security struct {
	sn     string
	cipher cipher.AEAD
	signer MessageSigner
}

func newSecurity(s APISecurity) (*security, error) {
	const name = "WithAPISecurity"
	if err := checkCredential(name+": SymmetricKeySN", s.SymmetricKeySN); err != nil {
		return nil, err
	}
	aead := s.Cipher
	if aead == nil {
		key, err := base64.StdEncoding.DecodeString(s.SymmetricKey)
		if err != nil || len(key) != aesKeySize {
			return nil, invalid(name, "has a SymmetricKey that is not base64 of 32 bytes")
		}
		block, err := aes.NewCipher(key)
		if err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ErrInvalidArgument, name, err)
		}
		if aead, err = cipher.NewGCM(block); err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ErrInvalidArgument, name, err)
		}
	}
	if aead.NonceSize() != nonceSize || aead.Overhead() != tagSize {
		return nil, invalid(name, "has a Cipher without nonces of 12 and tags of 16 bytes")
	}
	signer := s.Signer
	if signer == nil {
		own, err := newPSSSigner(name, s)
		if err != nil {
			return nil, err
		}
		signer = own
	}
	return &security{sn: s.SymmetricKeySN, cipher: aead, signer: signer}, nil
}

// pssSigner is RSAwithSHA256, which at WeChat means RSA-PSS.
type pssSigner struct {
	private crypto.Signer
	public  map[string]*rsa.PublicKey
}

func newPSSSigner(name string, s APISecurity) (*pssSigner, error) {
	if s.PrivateKey == nil {
		return nil, invalid(name, "has no PrivateKey")
	}
	// A key that was not read may be a nil pointer or an empty struct, on which
	// the methods of crypto/rsa panic.
	if own, ok := s.PrivateKey.(*rsa.PrivateKey); ok && (own == nil || own.N == nil || own.D == nil || own.Validate() != nil) {
		return nil, invalid(name, "has a PrivateKey that is empty or broken")
	}
	if !isStrongRSA(s.PrivateKey.Public()) {
		return nil, invalid(name, "has a PrivateKey that is not RSA of 2048 bits or more")
	}
	if len(s.Certificates) == 0 {
		return nil, invalid(name, "has no Certificates; download WeChat's from the console")
	}
	signer := &pssSigner{s.PrivateKey, make(map[string]*rsa.PublicKey, len(s.Certificates))}
	for serial, certificate := range s.Certificates {
		if err := checkCredential(name+": the number of a certificate", serial); err != nil {
			return nil, err
		}
		if certificate == nil {
			return nil, invalid(name, "has the number of a certificate without the certificate")
		}
		if !isStrongRSA(certificate.PublicKey) {
			return nil, invalid(name, "has a certificate whose key is not RSA of 2048 bits or more")
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

// seal encrypts and signs body, a JSON object, for one attempt at one URL
// (without its query) and returns the new body and its headers.
func (s *security) seal(appID, urlpath string, body []byte) ([]byte, http.Header, error) {
	var random [nonceSize + 16]byte
	if _, err := rand.Read(random[:]); err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrAPISecurity, err)
	}
	nonce := random[:nonceSize]
	timestamp := strconv.FormatInt(time.Now().Unix(), 10)
	plaintext := secured(body, appID, timestamp, base64.StdEncoding.EncodeToString(random[nonceSize:]))
	sealed := s.cipher.Seal(nil, nonce, plaintext, s.additionalData(appID, urlpath, timestamp))
	data, tag := sealed[:len(sealed)-tagSize], sealed[len(sealed)-tagSize:]
	text, err := json.Marshal(envelope{IV: nonce, Data: data, AuthTag: tag})
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrAPISecurity, err)
	}
	signature, err := s.signer.Sign(signedText(urlpath, appID, timestamp, text))
	if err != nil {
		return nil, nil, fmt.Errorf("%w: the request was not signed: %w", ErrAPISecurity, err)
	}
	if len(signature) == 0 {
		return nil, nil, fmt.Errorf("%w: the request was not signed: the signature is empty", ErrAPISecurity)
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

func (s *security) additionalData(appID, urlpath, timestamp string) []byte {
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

// isSigned reports whether an answer claims to be WeChat's. Errors that arise
// before WeChat has looked into the envelope come unsigned.
func isSigned(header http.Header) bool {
	return header.Get(headerSignature) != "" || header.Get(headerSignature+deprecated) != ""
}

// open verifies and decrypts an answer and returns its plaintext.
func (s *security) open(appID, urlpath string, header http.Header, body []byte) ([]byte, error) {
	timestamp := header.Get(headerTimestamp)
	if header.Get(headerAppID) != appID {
		return nil, fmt.Errorf("%w: the answer is signed for another appid", ErrAPISecurity)
	}
	if err := checkClock(timestamp); err != nil {
		return nil, err
	}
	if err := s.verify(header, signedText(urlpath, appID, timestamp, body)); err != nil {
		return nil, err
	}
	var sealed envelope
	if err := json.Unmarshal(body, &sealed); err != nil || len(sealed.IV) != nonceSize || len(sealed.AuthTag) != tagSize {
		return nil, fmt.Errorf("%w: the signed answer is no envelope", ErrAPISecurity)
	}
	plaintext, err := s.cipher.Open(nil, sealed.IV, append(sealed.Data, sealed.AuthTag...), s.additionalData(appID, urlpath, timestamp))
	if err != nil {
		return nil, fmt.Errorf("%w: the answer does not decrypt; are SymmetricKey and SymmetricKeySN a pair?", ErrAPISecurity)
	}
	var inner struct {
		AppID     string      `json:"_appid"`
		Timestamp json.Number `json:"_timestamp"`
	}
	if err := json.Unmarshal(plaintext, &inner); err != nil || inner.AppID != appID || inner.Timestamp.String() != timestamp {
		return nil, fmt.Errorf("%w: the decrypted answer is for another appid or time", ErrAPISecurity)
	}
	return plaintext, nil
}

func checkClock(timestamp string) error {
	seconds, err := strconv.ParseInt(timestamp, 10, 64)
	if err != nil {
		return fmt.Errorf("%w: the answer has no %s", ErrAPISecurity, headerTimestamp)
	}
	if off := time.Since(time.Unix(seconds, 0)); off > clockWindow || off < -clockWindow {
		return fmt.Errorf("%w: the answer was signed %v from this machine's time; set the clock by NTP", ErrAPISecurity, off.Abs().Round(time.Second))
	}
	return nil
}

// verify takes either signature: while WeChat changes its certificate, answers
// carry one of the new and one of the old.
func (s *security) verify(header http.Header, message []byte) error {
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
			ErrAPISecurity)
	}
	return fmt.Errorf("%w: the answer's signature is not WeChat's: %w", ErrAPISecurity, reason)
}
