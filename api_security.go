package wxphone

import (
	"crypto"
	"crypto/cipher"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/wxphone/wxphone/internal/apisec"
)

// APISecurity holds the keys of WeChat's API security (API安全), with which the
// account encrypts and signs requests and WeChat its answers. The keys are in
// the mini-program console under 开发管理, 开发设置, API安全.
//
// If Cipher and Signer are nil, the scheme is AES256_GCM with RSAwithSHA256.
//
// It prints without its keys with every fmt verb and in log/slog, and cannot be
// encoded as text or JSON.
//
// See https://developers.weixin.qq.com/miniprogram/dev/server/getting_started/api_signature.html
type APISecurity struct {
	// SymmetricKeySN is the number of the symmetric key.
	SymmetricKeySN string
	// SymmetricKey is the AES key as the console displays it: base64 of 32
	// bytes.
	SymmetricKey string
	// PrivateKey is the RSA key that signs requests. It may be kept in a KMS.
	// Sign is called once for every attempt, by multiple goroutines
	// concurrently, with a SHA-256 digest and *rsa.PSSOptions with a salt of 32
	// bytes. Sign receives no context, so it must limit its own duration.
	PrivateKey crypto.Signer
	// Certificates are WeChat's certificates, with RSA keys, by their number in
	// the console. There are two while WeChat replaces its certificate.
	Certificates map[string]*x509.Certificate

	// Cipher replaces SymmetricKey, for SM4_GCM. It is an AEAD with 12-byte
	// nonces and 16-byte tags.
	Cipher cipher.AEAD
	// Signer replaces PrivateKey and Certificates, for SM2withSM3.
	Signer MessageSigner
}

// MessageSigner signs requests to WeChat and verifies its answers, for schemes
// that the standard library does not implement. See [APISecurity]. Its methods
// are called by multiple goroutines concurrently.
type MessageSigner interface {
	// Sign returns the signature of message made with the account's private
	// key.
	Sign(message []byte) (signature []byte, err error)
	// Verify returns nil if signature is WeChat's signature of message, made
	// with the certificate that has this number in the console.
	Verify(serial string, message, signature []byte) error
}

// Format implements [fmt.Formatter]. Every verb prints the number of the
// symmetric key and no key.
func (s APISecurity) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.describe()) }

// LogValue implements [slog.LogValuer].
func (s APISecurity) LogValue() slog.Value { return slog.StringValue(s.describe()) }

// MarshalText implements [encoding.TextMarshaler]. It always returns an error,
// so that the keys do not appear in a dump of a program's configuration.
func (s APISecurity) MarshalText() ([]byte, error) {
	return nil, errors.New("wxphone: an APISecurity cannot be encoded, because it contains keys")
}

func (s APISecurity) describe() string { return "wxphone.APISecurity(" + s.SymmetricKeySN + ")" }

// WithAPISecurity encrypts and signs the calls of getuserphonenumber and
// checkencryptedmsg, and accepts only answers signed by WeChat. It is for
// accounts that have API security enabled; WeChat rejects their unsigned calls.
// Token requests, logins, checksession and getopendata remain plain, as WeChat
// requires.
//
// The signature covers the URL including its host. A [WithBaseURL] must
// therefore name one of WeChat's hosts; WeChat rejects requests through a relay
// with another name with 40234.
//
// Failures match [ErrAPISecurity], both WeChat's (40230 to 40240) and this
// package's.
func WithAPISecurity(s APISecurity) Option {
	return func(o *options) error {
		var err error
		o.security, err = s.scheme()
		return err
	}
}

// scheme validates s and returns its Scheme.
func (s APISecurity) scheme() (*apisec.Scheme, error) {
	const name = "WithAPISecurity"
	scheme, err := apisec.New(apisec.Config{
		SymmetricKeySN: s.SymmetricKeySN,
		SymmetricKey:   s.SymmetricKey,
		PrivateKey:     s.PrivateKey,
		Certificates:   s.Certificates,
		Cipher:         s.Cipher,
		Signer:         s.Signer,
	})
	var problem *apisec.ConfigError
	switch {
	case err == nil:
		return scheme, nil
	case !errors.As(err, &problem):
		return nil, fmt.Errorf("%w: %s: %w", ErrInvalidArgument, name, err)
	case problem.Part == "":
		return nil, invalid(name, problem.Problem)
	default:
		return nil, invalid(name+": "+problem.Part, problem.Problem)
	}
}
