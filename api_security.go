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

// APISecurity holds the keys of WeChat's API security (API安全): the account
// encrypts and signs what it sends, and WeChat what it answers. All of them
// are in the mini-program console under 开发管理, 开发设置, API安全.
//
// Without Cipher and Signer, the scheme is AES256_GCM with RSAwithSHA256.
//
// It prints without its keys under every fmt verb and in log/slog, and refuses
// to be encoded as text or JSON.
//
// See https://developers.weixin.qq.com/miniprogram/dev/server/getting_started/api_signature.html
type APISecurity struct {
	// SymmetricKeySN is the number of the symmetric key.
	SymmetricKeySN string
	// SymmetricKey is the AES key as the console shows it: base64 of 32 bytes.
	SymmetricKey string
	// PrivateKey signs requests. It is RSA, and may be in a KMS: Sign is called
	// with a SHA-256 digest and *rsa.PSSOptions with a salt of 32 bytes, once
	// for every attempt, from many goroutines. It gets no context, so it must
	// bound its time itself.
	PrivateKey crypto.Signer
	// Certificates are WeChat's, with RSA keys, by their number in the console.
	// While WeChat changes its certificate there are two.
	Certificates map[string]*x509.Certificate

	// Cipher replaces SymmetricKey, for SM4_GCM: an AEAD with nonces of 12 and
	// tags of 16 bytes.
	Cipher cipher.AEAD
	// Signer replaces PrivateKey and Certificates, for SM2withSM3.
	Signer MessageSigner
}

// MessageSigner signs requests to WeChat and verifies its answers, for schemes
// that the standard library lacks. See [APISecurity]. Its methods are called
// from many goroutines at once.
type MessageSigner interface {
	// Sign returns the signature of message by the account's private key.
	Sign(message []byte) (signature []byte, err error)
	// Verify returns nil if signature is WeChat's of message, made with the
	// certificate of this number in the console.
	Verify(serial string, message, signature []byte) error
}

// Format implements [fmt.Formatter]: every verb prints the number of the
// symmetric key and no key.
func (s APISecurity) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.describe()) }

// LogValue implements [slog.LogValuer].
func (s APISecurity) LogValue() slog.Value { return slog.StringValue(s.describe()) }

// MarshalText implements [encoding.TextMarshaler] and always fails, so that
// the keys do not end up in a dump of a program's configuration.
func (s APISecurity) MarshalText() ([]byte, error) {
	return nil, errors.New("wxphone: an APISecurity is not encoded, because it holds keys")
}

func (s APISecurity) describe() string { return "wxphone.APISecurity(" + s.SymmetricKeySN + ")" }

// WithAPISecurity encrypts and signs the calls of getuserphonenumber and
// checkencryptedmsg, and believes only answers that WeChat signed. It is for
// accounts that have API security switched on; WeChat refuses their plain
// calls. Tokens, logins, checksession and getopendata stay plain, as WeChat
// wants it.
//
// The signature covers the URL with its host. So a [WithBaseURL] must name a
// host of WeChat's own; requests that go through a relay with another name are
// refused with 40234.
//
// Failures match [ErrAPISecurity], WeChat's (40230 to 40240) and this
// package's alike.
func WithAPISecurity(s APISecurity) Option {
	return func(o *options) error {
		var err error
		o.security, err = s.scheme()
		return err
	}
}

// scheme checks the keys of s.
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
