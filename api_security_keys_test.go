package wxphone_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"math/big"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/wxphonetest"
)

// kms is a key that signs elsewhere, as a key management service does.
type kms struct {
	public crypto.PublicKey
	sign   func(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error)
	calls  atomic.Int32
}

func (k *kms) Public() crypto.PublicKey { return k.public }

func (k *kms) Sign(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	k.calls.Add(1)
	return k.sign(random, digest, opts)
}

func newSecuredServer(tb testing.TB) *wxphonetest.Server {
	tb.Helper()
	return wxphonetest.NewServer(tb, wxphonetest.WithAPISecurity())
}

func TestKeysThatCannotBeRightAreRefused(t *testing.T) {
	t.Parallel()
	server := newSecuredServer(t)
	good := server.APISecurity()
	private := good.PrivateKey.(*rsa.PrivateKey)
	elliptical, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	short := &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 1023), E: 65537}
	almost := &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 2046), E: 65537} // 2047 bits, in 256 bytes
	broken := *private
	broken.D = new(big.Int).Add(private.D, big.NewInt(2))
	certificates := func(key string, certificate *x509.Certificate) func(*wxphone.APISecurity) {
		return func(s *wxphone.APISecurity) { s.Certificates = map[string]*x509.Certificate{key: certificate} }
	}
	ofKey := func(key crypto.PublicKey) func(*wxphone.APISecurity) {
		return certificates("0123", &x509.Certificate{PublicKey: key})
	}
	privateKey := func(key crypto.Signer) func(*wxphone.APISecurity) {
		return func(s *wxphone.APISecurity) { s.PrivateKey = key }
	}
	for name, tt := range map[string]struct {
		spoil func(*wxphone.APISecurity)
		says  string
	}{
		"nothing":                   {func(s *wxphone.APISecurity) { *s = wxphone.APISecurity{} }, "SymmetricKeySN"},
		"no number":                 {func(s *wxphone.APISecurity) { s.SymmetricKeySN = "" }, "SymmetricKeySN"},
		"number with white space":   {func(s *wxphone.APISecurity) { s.SymmetricKeySN += "\n" }, "SymmetricKeySN"},
		"no key":                    {func(s *wxphone.APISecurity) { s.SymmetricKey = "" }, "SymmetricKey"},
		"key is no base64":          {func(s *wxphone.APISecurity) { s.SymmetricKey = strings.Repeat("*", 44) }, "SymmetricKey"},
		"key in hex":                {func(s *wxphone.APISecurity) { s.SymmetricKey = strings.Repeat("0f", 32) }, "SymmetricKey"},
		"key of 16 bytes":           {func(s *wxphone.APISecurity) { s.SymmetricKey = "AAECAwQFBgcICQoLDA0ODw==" }, "SymmetricKey"},
		"key of 33 bytes":           {func(s *wxphone.APISecurity) { s.SymmetricKey = strings.Repeat("AAAA", 11) }, "SymmetricKey"},
		"key unpadded":              {func(s *wxphone.APISecurity) { s.SymmetricKey = strings.TrimRight(s.SymmetricKey, "=") }, "SymmetricKey"},
		"no private key":            {privateKey(nil), "PrivateKey"},
		"nil private key":           {privateKey((*rsa.PrivateKey)(nil)), "PrivateKey"},
		"empty private key":         {privateKey(new(rsa.PrivateKey)), "PrivateKey"},
		"private key without D":     {privateKey(&rsa.PrivateKey{PublicKey: private.PublicKey}), "PrivateKey"},
		"broken private key":        {privateKey(&broken), "PrivateKey"},
		"EC private key":            {privateKey(elliptical), "PrivateKey"},
		"private key of 1024 bits":  {privateKey(&kms{public: short}), "PrivateKey"},
		"private key of 2047 bits":  {privateKey(&kms{public: almost}), "PrivateKey"},
		"KMS without a public key":  {privateKey(&kms{}), "PrivateKey"},
		"KMS with a nil public key": {privateKey(&kms{public: (*rsa.PublicKey)(nil)}), "PrivateKey"},
		"KMS with an empty key":     {privateKey(&kms{public: new(rsa.PublicKey)}), "PrivateKey"},
		"no certificates":           {func(s *wxphone.APISecurity) { s.Certificates = nil }, "Certificates"},
		"empty certificates":        {func(s *wxphone.APISecurity) { clear(s.Certificates) }, "Certificates"},
		"nil certificate":           {certificates("0123", nil), "certificate"},
		"certificate unnumbered":    {certificates("", &x509.Certificate{PublicKey: &private.PublicKey}), "certificate"},
		"number with a space":       {certificates(" 0123", &x509.Certificate{PublicKey: &private.PublicKey}), "certificate"},
		"empty certificate":         {certificates("0123", new(x509.Certificate)), "certificate"},
		"certificate of an EC key":  {ofKey(&elliptical.PublicKey), "certificate"},
		"certificate of 1024 bits":  {ofKey(short), "certificate"},
		"certificate of 2047 bits":  {ofKey(almost), "certificate"},
		"certificate of a nil key":  {ofKey((*rsa.PublicKey)(nil)), "certificate"},
		"one good, one bad": {func(s *wxphone.APISecurity) {
			s.Certificates["0123"] = &x509.Certificate{PublicKey: short}
		}, "certificate"},
		"cipher with other nonces": {func(s *wxphone.APISecurity) { s.Cipher = oddCipher{16, 16} }, "Cipher"},
		"cipher with other tags":   {func(s *wxphone.APISecurity) { s.Cipher = oddCipher{12, 12} }, "Cipher"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bad := good
			bad.Certificates = maps.Clone(good.Certificates)
			tt.spoil(&bad)
			client, err := wxphone.New(someAppID, someSecret, wxphone.WithAPISecurity(bad))
			assert.Nil(t, client)
			assertInvalid(t, err, "WithAPISecurity")
			assert.ErrorContains(t, err, tt.says)
			assert.NotContains(t, err.Error(), good.SymmetricKey)
		})
	}
}

// oddCipher is an AEAD by its sizes only.
type oddCipher struct{ nonce, tag int }

func (c oddCipher) NonceSize() int                                { return c.nonce }
func (c oddCipher) Overhead() int                                 { return c.tag }
func (oddCipher) Seal(_, _, _, _ []byte) []byte                   { panic("not called") }
func (oddCipher) Open(_, _, _, _ []byte) (opened []byte, e error) { panic("not called") }

func TestKeysMayChangeHandsAfterNew(t *testing.T) {
	t.Parallel()
	server := newSecuredServer(t)
	config := server.APISecurity()
	client := server.NewClient(wxphone.WithAPISecurity(config))
	clear(config.Certificates)
	_, err := client.GetPhoneNumber(context.Background(), server.IssueCode(aPhone))
	assert.NoError(t, err)
}

func TestKeyInAKMSSigns(t *testing.T) {
	t.Parallel()
	server := newSecuredServer(t)
	config := server.APISecurity()
	key := &kms{public: config.PrivateKey.Public(), sign: func(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
		assert.Len(t, digest, sha256.Size)
		assert.Equal(t, crypto.SHA256, opts.HashFunc())
		if assert.IsType(t, new(rsa.PSSOptions), opts) {
			assert.Equal(t, 32, opts.(*rsa.PSSOptions).SaltLength)
		}
		return server.APISecurity().PrivateKey.Sign(random, digest, opts)
	}}
	config.PrivateKey = key
	client := server.NewClient(wxphone.WithAPISecurity(config))
	for range 3 {
		_, err := client.GetPhoneNumber(context.Background(), server.IssueCode(aPhone))
		require.NoError(t, err)
	}
	assert.EqualValues(t, 3, key.calls.Load(), "once for every request that is secured")
}

func TestKMSThatFailsSendsNothing(t *testing.T) {
	t.Parallel()
	down := errors.New("the KMS is down")
	for name, signature := range map[string]func() ([]byte, error){
		"error": func() ([]byte, error) { return nil, down },
		"empty": func() ([]byte, error) { return nil, nil },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := newSecuredServer(t)
			config := server.APISecurity()
			config.PrivateKey = &kms{public: config.PrivateKey.Public(), sign: func(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
				return signature()
			}}
			code := server.IssueCode(aPhone)
			_, err := server.NewClient(wxphone.WithAPISecurity(config)).GetPhoneNumber(context.Background(), code)
			require.ErrorIs(t, err, wxphone.ErrAPISecurity)
			assert.ErrorContains(t, err, "not signed")
			assert.Equal(t, http.StatusInternalServerError, wxphone.HTTPStatus(err))
			assert.Zero(t, server.Requests(phoneAPI))
			if name == "error" {
				assert.ErrorIs(t, err, down)
			}
			_, err = server.NewClient().GetPhoneNumber(context.Background(), code)
			assert.NoError(t, err, "the code is unspent")
		})
	}
}

func TestNothingIsSignedForACallerWhoHasGone(t *testing.T) {
	t.Parallel()
	server := newSecuredServer(t)
	config := server.APISecurity()
	key := &kms{public: config.PrivateKey.Public()}
	config.PrivateKey = key
	client := server.NewClient(wxphone.WithAPISecurity(config))
	_, err := client.AccessToken(context.Background())
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = client.GetPhoneNumber(ctx, server.IssueCode(aPhone))
	require.ErrorIs(t, err, context.Canceled)
	assert.Equal(t, http.StatusServiceUnavailable, wxphone.HTTPStatus(err))
	assert.Zero(t, key.calls.Load())
	assert.Zero(t, server.Requests(phoneAPI))
}

func TestWrongKeysAreRefusedByWeChatAsAPISecurity(t *testing.T) {
	t.Parallel()
	another, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	for name, tt := range map[string]struct {
		spoil func(*wxphone.APISecurity)
		code  int
	}{
		"private key":   {func(s *wxphone.APISecurity) { s.PrivateKey = another }, 40234},
		"symmetric key": {func(s *wxphone.APISecurity) { s.SymmetricKey = strings.Repeat("A", 43) + "=" }, 40235},
		"its number":    {func(s *wxphone.APISecurity) { s.SymmetricKeySN = "0123" }, 40235},
		"PKCS#1 v1.5": {func(s *wxphone.APISecurity) {
			key := s.PrivateKey
			s.PrivateKey = &kms{public: key.Public(), sign: func(random io.Reader, digest []byte, _ crypto.SignerOpts) ([]byte, error) {
				return key.Sign(random, digest, crypto.SHA256)
			}}
		}, 40234},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := newSecuredServer(t)
			config := server.APISecurity()
			tt.spoil(&config)
			_, err := server.NewClient(wxphone.WithAPISecurity(config)).GetPhoneNumber(context.Background(), server.IssueCode(aPhone))
			var refusal *wxphone.APIError
			require.ErrorAs(t, err, &refusal)
			assert.Equal(t, tt.code, refusal.Code)
			require.ErrorIs(t, err, wxphone.ErrAPISecurity)
			assert.ErrorContains(t, err, "console")
		})
	}
}

func TestAPISecurityPrintsNoKey(t *testing.T) {
	t.Parallel()
	server := newSecuredServer(t)
	config := server.APISecurity()
	private := config.PrivateKey.(*rsa.PrivateKey)
	secrets := []string{config.SymmetricKey, private.D.String(), private.Primes[0].String(), private.D.Text(16)}
	assertPrintsWithout(t, config, secrets...)
	for name, v := range map[string]any{"value": config, "pointer": &config, "inside": struct{ Security wxphone.APISecurity }{config}} {
		text, err := json.Marshal(v)
		require.Error(t, err, name)
		assert.Empty(t, text)
		assertTellsNone(t, err.Error(), secrets, "the error of json.Marshal")
	}
	client := server.NewClient()
	assertPrintsWithout(t, client, secrets...)
	assertPrintsWithout(t, *client, secrets...)
	assertPrintsWithout(t, wxphone.WithAPISecurity(config), secrets...)

	secrets = append(secrets, server.Secret(), server.Token())
	w := &witness{t: t, secrets: secrets}
	server.RespondNext(phoneAPI, http.StatusOK, success, 1)
	_, err := server.NewClient(w.options()...).GetPhoneNumber(context.Background(), someCode)
	require.ErrorIs(t, err, wxphone.ErrAPISecurity)
	w.checkError(err)
	w.checkLog()
}

// refreshTokenOfTest is the refresh token of every mini-program of a test.
type refreshTokenOfTest string

func (r refreshTokenOfTest) LoadRefreshToken(context.Context, string) (string, error) {
	return string(r), nil
}

func (refreshTokenOfTest) SaveRefreshToken(context.Context, string, string) error { return nil }

func TestClientsOfAPlatformInheritAPISecurity(t *testing.T) {
	t.Parallel()
	server := newSecuredServer(t)
	ticket := func(context.Context) (string, error) { return server.Ticket(), nil }
	platform, err := wxphone.NewComponent(server.ComponentAppID(), server.ComponentSecret(), ticket,
		wxphone.WithHTTPClient(server.HTTPClient()), wxphone.WithAPISecurity(server.APISecurity()))
	require.NoError(t, err)
	const another = "wx00000000000000aa"
	for appID, refreshToken := range map[string]string{server.AppID(): server.Authorize(), another: server.AuthorizeApp(another)} {
		client, err := platform.Client(appID, refreshTokenOfTest(refreshToken))
		require.NoError(t, err)
		info, err := client.GetPhoneNumber(context.Background(), server.IssueCode(aPhone, wxphonetest.ForApp(appID)))
		require.NoError(t, err)
		assert.Equal(t, appID, info.Watermark.AppID, "signed and encrypted for the mini-program, not the platform")
	}
}
