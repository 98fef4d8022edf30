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
