package apisec

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// remoteKey is a key that signs elsewhere, as a key management service does.
type remoteKey struct {
	public crypto.PublicKey
	sign   func(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error)
}

func (k *remoteKey) Public() crypto.PublicKey { return k.public }

func (k *remoteKey) Sign(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return k.sign(random, digest, opts)
}

// oddCipher is an AEAD by its sizes only.
type oddCipher struct{ nonce, tag int }

func (c oddCipher) NonceSize() int                                { return c.nonce }
func (c oddCipher) Overhead() int                                 { return c.tag }
func (oddCipher) Seal(_, _, _, _ []byte) []byte                   { panic("not called") }
func (oddCipher) Open(_, _, _, _ []byte) (opened []byte, e error) { panic("not called") }

func TestKeysThatCannotBeRightAreRefused(t *testing.T) {
	t.Parallel()
	const (
		symmetricKey  = "has a SymmetricKey that is not base64 of 32 bytes"
		brokenKey     = "has a PrivateKey that is empty or broken"
		weakKey       = "has a PrivateKey that is not RSA of 2048 bits or more"
		noCertificate = "has no Certificates; download WeChat's from the console"
		weak          = "has a certificate whose key is not RSA of 2048 bits or more"
		cipherSizes   = "has a Cipher without nonces of 12 and tags of 16 bytes"
		sn            = "SymmetricKeySN"
		number        = "the number of a certificate"
	)
	s := readSample(t)
	private := developerKey(t)
	elliptical, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	short := &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 1023), E: 65537}
	almost := &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 2046), E: 65537} // 2047 bits, in 256 bytes
	broken := *private
	broken.D = new(big.Int).Add(private.D, big.NewInt(2))

	symmetricKeySN := func(sn string) func(*Config) { return func(c *Config) { c.SymmetricKeySN = sn } }
	key := func(key string) func(*Config) { return func(c *Config) { c.SymmetricKey = key } }
	privateKey := func(key crypto.Signer) func(*Config) { return func(c *Config) { c.PrivateKey = key } }
	certificate := func(serial string, certificate *x509.Certificate) func(*Config) {
		return func(c *Config) { c.Certificates[serial] = certificate }
	}
	ofKey := func(key crypto.PublicKey) func(*Config) {
		return certificate("0123", &x509.Certificate{PublicKey: key})
	}
	for name, tt := range map[string]struct {
		spoil         func(*Config)
		part, problem string
	}{
		"nothing":                   {func(c *Config) { *c = Config{} }, sn, "is empty"},
		"no number":                 {symmetricKeySN(""), sn, "is empty"},
		"number with white space":   {symmetricKeySN(s.SymmetricKeySN + "\n"), sn, "has white space around it"},
		"no key":                    {key(""), "", symmetricKey},
		"key is no base64":          {key(strings.Repeat("*", 44)), "", symmetricKey},
		"key in hex":                {key(strings.Repeat("0f", 32)), "", symmetricKey},
		"key of 16 bytes":           {key("AAECAwQFBgcICQoLDA0ODw=="), "", symmetricKey},
		"key of 33 bytes":           {key(strings.Repeat("AAAA", 11)), "", symmetricKey},
		"key unpadded":              {key(strings.TrimRight(s.SymmetricKey, "=")), "", symmetricKey},
		"no private key":            {privateKey(nil), "", "has no PrivateKey"},
		"nil private key":           {privateKey((*rsa.PrivateKey)(nil)), "", brokenKey},
		"empty private key":         {privateKey(new(rsa.PrivateKey)), "", brokenKey},
		"private key without D":     {privateKey(&rsa.PrivateKey{PublicKey: private.PublicKey}), "", brokenKey},
		"broken private key":        {privateKey(&broken), "", brokenKey},
		"EC private key":            {privateKey(elliptical), "", weakKey},
		"private key of 1024 bits":  {privateKey(&remoteKey{public: short}), "", weakKey},
		"private key of 2047 bits":  {privateKey(&remoteKey{public: almost}), "", weakKey},
		"KMS without a public key":  {privateKey(&remoteKey{}), "", weakKey},
		"KMS with a nil public key": {privateKey(&remoteKey{public: (*rsa.PublicKey)(nil)}), "", weakKey},
		"KMS with an empty key":     {privateKey(&remoteKey{public: new(rsa.PublicKey)}), "", weakKey},
		"no certificates":           {func(c *Config) { c.Certificates = nil }, "", noCertificate},
		"empty certificates":        {func(c *Config) { clear(c.Certificates) }, "", noCertificate},
		"nil certificate":           {certificate("0123", nil), "", "has the number of a certificate without the certificate"},
		"certificate unnumbered":    {certificate("", s.certificate), number, "is empty"},
		"number with a space":       {certificate(" 0123", s.certificate), number, "has white space around it"},
		"empty certificate":         {certificate("0123", new(x509.Certificate)), "", weak},
		"certificate of an EC key":  {ofKey(&elliptical.PublicKey), "", weak},
		"certificate of 1024 bits":  {ofKey(short), "", weak},
		"certificate of 2047 bits":  {ofKey(almost), "", weak},
		"certificate of a nil key":  {ofKey((*rsa.PublicKey)(nil)), "", weak},
		"cipher with other nonces":  {func(c *Config) { c.Cipher = oddCipher{16, 16} }, "", cipherSizes},
		"cipher with other tags":    {func(c *Config) { c.Cipher = oddCipher{12, 12} }, "", cipherSizes},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config := s.config(t, s.Response.Serial) // a good one, beside which a bad one is added
			tt.spoil(&config)
			scheme, err := New(config)
			assert.Nil(t, scheme)
			var problem *ConfigError
			require.ErrorAs(t, err, &problem)
			assert.Equal(t, ConfigError{tt.part, tt.problem}, *problem)
			assert.ErrorContains(t, err, tt.problem)
			assert.ErrorContains(t, err, tt.part)
			require.NotErrorIs(t, err, ErrFailed)
		})
	}
}

func TestCipherAndSignerOfOnesOwnNeedNoKeys(t *testing.T) {
	t.Parallel()
	s := readSample(t)
	config := s.config(t, s.Response.Serial)
	for name, config := range map[string]Config{
		"cipher": {SymmetricKeySN: "1", Cipher: glass{}, PrivateKey: config.PrivateKey, Certificates: config.Certificates},
		"signer": {SymmetricKeySN: "1", SymmetricKey: config.SymmetricKey, Signer: gullible{}},
		"both":   {SymmetricKeySN: "1", Cipher: glass{}, Signer: gullible{}},
	} {
		_, err := New(config)
		assert.NoError(t, err, name)
	}
}

func TestKeyInAKMSSignsADigestAsPSS(t *testing.T) {
	t.Parallel()
	s := readSample(t)
	config := s.config(t, s.Response.Serial)
	calls := 0
	config.PrivateKey = &remoteKey{public: config.PrivateKey.Public(), sign: func(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
		calls++
		assert.Len(t, digest, sha256.Size)
		assert.Equal(t, &rsa.PSSOptions{SaltLength: 32, Hash: crypto.SHA256}, opts)
		return []byte("signature"), nil
	}}
	_, header, err := mustNew(t, config).Seal(s.AppID, s.URLPath, []byte(`{}`))
	require.NoError(t, err)
	assert.Equal(t, "signature", string(fromBase64(t, header.Get("Wechatmp-Signature"))))
	assert.Equal(t, 1, calls)
}

func TestRequestThatIsNotSignedIsNotSealed(t *testing.T) {
	t.Parallel()
	down := errors.New("the KMS is down")
	s := readSample(t)
	config := s.config(t, s.Response.Serial)
	for cause, says := range map[error]string{
		down: "wxphone: API security: the request was not signed: the KMS is down",
		nil:  "wxphone: API security: the request was not signed: the signature is empty",
	} {
		config.PrivateKey = &remoteKey{public: config.PrivateKey.Public(), sign: func(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
			return nil, cause
		}}
		sealed, header, err := mustNew(t, config).Seal(s.AppID, s.URLPath, []byte(`{"code":"c"}`))
		require.EqualError(t, err, says)
		require.ErrorIs(t, err, ErrFailed)
		if cause != nil {
			require.ErrorIs(t, err, cause)
		}
		assert.Nil(t, sealed)
		assert.Nil(t, header)
	}
}

func TestOnlyPSSWithASaltOf32BytesIsASignature(t *testing.T) {
	t.Parallel()
	s := readSample(t)
	private, scheme := developerKey(t), s.mirror(t)
	pss := func(salt int) crypto.SignerOpts { return &rsa.PSSOptions{SaltLength: salt, Hash: crypto.SHA256} }
	for name, tt := range map[string]struct {
		opts crypto.SignerOpts
		fits bool
	}{
		"salt of 32":   {pss(32), true},
		"salt of 20":   {pss(20), false},
		"longest salt": {pss(rsa.PSSSaltLengthAuto), false},
		"PKCS#1 v1.5":  {crypto.SHA256, false},
	} {
		message := []byte("message")
		digest := sha256.Sum256(message)
		signature, err := private.Sign(rand.Reader, digest[:], tt.opts)
		require.NoError(t, err)
		assert.Equal(t, tt.fits, scheme.signer.Verify("own", message, signature) == nil, name)
		require.ErrorIs(t, scheme.signer.Verify("another", message, signature), errUnknownSerial)
	}
}

func TestMapOfCertificatesMayChangeAfterNew(t *testing.T) {
	t.Parallel()
	s := readSample(t)
	config := s.config(t, s.Response.Serial)
	scheme := mustNew(t, config)
	clear(config.Certificates)
	_, err := s.answer(t).open(scheme)
	assert.NoError(t, err)
}

// fussy is a signer of one's own that refuses every answer.
type fussy struct{ gullible }

var errFussy = errors.New("not on a Sunday")

func (fussy) Verify(string, []byte, []byte) error { return errFussy }

func TestWhyASignerRefusesIsTold(t *testing.T) {
	t.Parallel()
	s := readSample(t)
	config := s.config(t, s.Response.Serial)
	config.Signer = fussy{}
	_, err := s.answer(t).open(mustNew(t, config))
	require.EqualError(t, err, "wxphone: API security: the answer's signature is not WeChat's: not on a Sunday")
	require.ErrorIs(t, err, errFussy)
	require.ErrorIs(t, err, ErrFailed)
}

func TestSignerIsAskedOnlyAboutASignatureWithItsNumber(t *testing.T) {
	t.Parallel()
	s := readSample(t)
	config := s.config(t, s.Response.Serial)
	config.Signer = gullible{}
	scheme := mustNew(t, config)
	_, err := s.answer(t).open(scheme)
	require.NoError(t, err)
	for _, tt := range []struct{ header, value string }{
		{"Wechatmp-Serial", ""}, {"Wechatmp-Signature", ""}, {"Wechatmp-Signature", "*"},
	} {
		a := s.answer(t)
		a.header.Set(tt.header, tt.value)
		a.header.Set(tt.header+"-Deprecated", tt.value)
		plaintext, err := a.open(scheme)
		require.ErrorIs(t, err, ErrFailed, "%v", tt)
		assert.Nil(t, plaintext)
	}
}
