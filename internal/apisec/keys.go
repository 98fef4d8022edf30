package apisec

import (
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"strings"
)

const (
	aesKeySize = 32
	minRSABits = 2048
)

// Config holds the keys of an account. If Cipher and Signer are nil, the scheme
// is AES256_GCM with RSAwithSHA256.
type Config struct {
	// SymmetricKeySN is the number of the symmetric key in the console.
	SymmetricKeySN string
	// SymmetricKey is an AES key: base64 of 32 bytes.
	SymmetricKey string
	// PrivateKey is the RSA key that signs requests. It may be kept in a KMS.
	PrivateKey crypto.Signer
	// Certificates are WeChat's certificates, with RSA keys, by their number in
	// the console.
	Certificates map[string]*x509.Certificate

	// Cipher replaces SymmetricKey. It has 12-byte nonces and 16-byte tags.
	Cipher cipher.AEAD
	// Signer replaces PrivateKey and Certificates.
	Signer Signer
}

// Signer signs requests to WeChat and verifies its answers. Its methods are
// called by multiple goroutines concurrently.
type Signer interface {
	// Sign returns the signature of message made with the account's private
	// key.
	Sign(message []byte) (signature []byte, err error)
	// Verify returns nil if signature is WeChat's signature of message, made
	// with the certificate that has this number in the console.
	Verify(serial string, message, signature []byte) error
}

// ConfigError is returned when a [Config] is not valid. It contains no key.
type ConfigError struct {
	// Part names the part of the Config that Problem is about. It is "" if
	// Problem is about the Config as a whole.
	Part string
	// Problem completes a sentence, such as "has no PrivateKey".
	Problem string
}

// Error returns the part and the problem.
func (e *ConfigError) Error() string {
	if e.Part == "" {
		return "apisec: the Config " + e.Problem
	}
	return "apisec: " + e.Part + " " + e.Problem
}

// New returns the Scheme of config. It keeps no reference to the map in config.
// If config is not valid, the error is a [*ConfigError].
func New(config Config) (*Scheme, error) {
	if err := checkNumber("SymmetricKeySN", config.SymmetricKeySN); err != nil {
		return nil, err
	}
	aead, err := newCipher(config)
	if err != nil {
		return nil, err
	}
	signer, err := newSigner(config)
	if err != nil {
		return nil, err
	}
	return &Scheme{sn: config.SymmetricKeySN, cipher: aead, signer: signer, seen: newSeen(maxSeen)}, nil
}

// checkNumber validates the number of a key or certificate in the console.
func checkNumber(part, number string) error {
	switch {
	case number == "":
		return &ConfigError{part, "is empty"}
	case strings.TrimSpace(number) != number:
		return &ConfigError{part, "has white space around it"}
	}
	return nil
}

func newCipher(config Config) (cipher.AEAD, error) {
	if own := config.Cipher; own != nil {
		if own.NonceSize() != nonceSize || own.Overhead() != tagSize {
			return nil, &ConfigError{Problem: "has a Cipher without nonces of 12 and tags of 16 bytes"}
		}
		return own, nil
	}
	key, err := base64.StdEncoding.DecodeString(config.SymmetricKey)
	if err != nil || len(key) != aesKeySize {
		return nil, &ConfigError{Problem: "has a SymmetricKey that is not base64 of 32 bytes"}
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

func newSigner(config Config) (Signer, error) {
	if config.Signer != nil {
		return config.Signer, nil
	}
	return newPSSSigner(config)
}

var (
	pssOptions = &rsa.PSSOptions{SaltLength: 32, Hash: crypto.SHA256}

	errUnknownSerial = errors.New("no certificate of this number is configured")
)

// pssSigner implements RSAwithSHA256, which for WeChat means RSA-PSS.
type pssSigner struct {
	private crypto.Signer
	public  map[string]*rsa.PublicKey
}

func newPSSSigner(config Config) (Signer, error) {
	if config.PrivateKey == nil {
		return nil, &ConfigError{Problem: "has no PrivateKey"}
	}
	// A key that failed to load may be a nil pointer or an empty struct, on
	// which the methods of crypto/rsa panic.
	if own, ok := config.PrivateKey.(*rsa.PrivateKey); ok && (own == nil || own.N == nil || own.D == nil || own.Validate() != nil) {
		return nil, &ConfigError{Problem: "has a PrivateKey that is empty or broken"}
	}
	if !isStrongRSA(config.PrivateKey.Public()) {
		return nil, &ConfigError{Problem: "has a PrivateKey that is not RSA of 2048 bits or more"}
	}
	if len(config.Certificates) == 0 {
		return nil, &ConfigError{Problem: "has no Certificates; download WeChat's from the console"}
	}
	signer := &pssSigner{config.PrivateKey, make(map[string]*rsa.PublicKey, len(config.Certificates))}
	for serial, certificate := range config.Certificates {
		if err := checkNumber("the number of a certificate", serial); err != nil {
			return nil, err
		}
		if certificate == nil {
			return nil, &ConfigError{Problem: "has the number of a certificate without the certificate"}
		}
		if !isStrongRSA(certificate.PublicKey) {
			return nil, &ConfigError{Problem: "has a certificate whose key is not RSA of 2048 bits or more"}
		}
		signer.public[serial] = certificate.PublicKey.(*rsa.PublicKey)
	}
	return signer, nil
}

func isStrongRSA(key crypto.PublicKey) bool {
	public, ok := key.(*rsa.PublicKey)
	return ok && public != nil && public.N != nil && public.N.BitLen() >= minRSABits
}

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
