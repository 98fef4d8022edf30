//go:build go1.25

package apisec

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// answerBy returns plaintext as an answer signed just now, in the given way.
func (s *securitySample) answerBy(tb testing.TB, security *Scheme, plaintext string, sign func(digest []byte) ([]byte, error)) (http.Header, []byte) {
	tb.Helper()
	timestamp := strconv.FormatInt(time.Now().Unix(), 10)
	nonce := make([]byte, nonceSize)
	sealed := security.cipher.Seal(nil, nonce, []byte(strings.ReplaceAll(plaintext, "NOW", timestamp)),
		origin{s.URLPath, s.AppID, timestamp}.additionalData(security.sn))
	cut := len(sealed) - tagSize
	body, err := json.Marshal(envelope{nonce, sealed[:cut], sealed[cut:]})
	require.NoError(tb, err)
	return s.headerBy(tb, timestamp, body, sign), body
}

func (s *securitySample) headerBy(tb testing.TB, timestamp string, body []byte, sign func(digest []byte) ([]byte, error)) http.Header {
	tb.Helper()
	digest := sha256.Sum256(origin{s.URLPath, s.AppID, timestamp}.signedText(body))
	signature, err := sign(digest[:])
	require.NoError(tb, err)
	message := sampleMessage{Timestamp: timestamp, Serial: "own", Signature: base64.StdEncoding.EncodeToString(signature)}
	return message.header(s.AppID)
}

func TestOnlyPSSWithASaltOf32BytesIsASignature(t *testing.T) {
	t.Parallel()
	sample := readSecuritySample(t)
	private, err := sampleDeveloperKey()
	require.NoError(t, err)
	security := sample.security(t, &x509.Certificate{PublicKey: &private.PublicKey}, "own")
	for name, tt := range map[string]struct {
		fits bool
		sign func(digest []byte) ([]byte, error)
	}{
		"salt of 32": {true, func(digest []byte) ([]byte, error) {
			return rsa.SignPSS(rand.Reader, private, crypto.SHA256, digest, &rsa.PSSOptions{SaltLength: 32})
		}},
		"salt of 20": {false, func(digest []byte) ([]byte, error) {
			return rsa.SignPSS(rand.Reader, private, crypto.SHA256, digest, &rsa.PSSOptions{SaltLength: 20})
		}},
		"longest salt": {false, func(digest []byte) ([]byte, error) {
			return rsa.SignPSS(rand.Reader, private, crypto.SHA256, digest, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthAuto})
		}},
		"PKCS#1 v1.5": {false, func(digest []byte) ([]byte, error) {
			return rsa.SignPKCS1v15(rand.Reader, private, crypto.SHA256, digest)
		}},
	} {
		header, body := sample.answerBy(t, security, `{"_n":"n","_appid":"`+sample.AppID+`","_timestamp":NOW,"errcode":0}`, tt.sign)
		plaintext, err := security.Open(sample.AppID, sample.URLPath, header, body)
		if tt.fits {
			require.NoError(t, err, name)
			require.Contains(t, string(plaintext), `"errcode":0`)
			continue
		}
		require.ErrorIs(t, err, ErrFailed, name)
	}
}

func TestSignedAnswerMustBeAnEnvelopeForThisAppAndTime(t *testing.T) {
	t.Parallel()
	sample := readSecuritySample(t)
	private, err := sampleDeveloperKey()
	require.NoError(t, err)
	security := sample.security(t, &x509.Certificate{PublicKey: &private.PublicKey}, "own")
	sign := func(digest []byte) ([]byte, error) {
		return rsa.SignPSS(rand.Reader, private, crypto.SHA256, digest, pssOptions)
	}
	for _, plaintext := range []string{
		``, `null`, `[]`, `{}`, `{"errcode":0}`, `{"_appid":"` + sample.AppID + `","_timestamp":1}`, `{"_appid":"` + sample.AppID + `"}`,
		`{"_appid":"wx0000000000000000","_timestamp":NOW}`, `{"_timestamp":NOW}`, `{"_appid":["` + sample.AppID + `"],"_timestamp":NOW}`,
	} {
		header, body := sample.answerBy(t, security, plaintext, sign)
		got, err := security.Open(sample.AppID, sample.URLPath, header, body)
		require.ErrorIs(t, err, ErrFailed, plaintext)
		require.ErrorContains(t, err, "decrypted answer", plaintext)
		assert.Nil(t, got)
	}
	timestamp := strconv.FormatInt(time.Now().Unix(), 10)
	for _, body := range []string{
		``, `null`, `[]`, `{}`, `{"errcode":0}`, `{"errcode":40029,"errmsg":"invalid code"}`, `{"iv":"AAAA","data":"AAAA","authtag":"AAAA"}`,
		`{"iv":"fmW/zNxXlytUZBgj","data":"AAAA","authtag":"AAAA"}`, `{"iv":"AAAA","data":"AAAA","authtag":"5qeM/2vZv+6KtScN94IpMg=="}`,
		`{"iv":"fmW/zNxXlytUZBgj","data":7,"authtag":"5qeM/2vZv+6KtScN94IpMg=="}`, string(sample.Request.body()) + "x",
	} {
		header := sample.headerBy(t, timestamp, []byte(body), sign)
		_, err := security.Open(sample.AppID, sample.URLPath, header, []byte(body))
		require.ErrorIs(t, err, ErrFailed, body)
		require.ErrorContains(t, err, "envelope", body)
	}
	header := sample.headerBy(t, timestamp, []byte(`{"iv":"fmW/zNxXlytUZBgj","authtag":"5qeM/2vZv+6KtScN94IpMg=="}`), sign)
	_, err = security.Open(sample.AppID, sample.URLPath, header, []byte(`{"iv":"fmW/zNxXlytUZBgj","authtag":"5qeM/2vZv+6KtScN94IpMg=="}`))
	require.ErrorIs(t, err, ErrFailed, "an envelope without data does not decrypt")
}

// gullible believes every signature.
type gullible struct{}

func (gullible) Sign([]byte) ([]byte, error)         { return []byte{1}, nil }
func (gullible) Verify(string, []byte, []byte) error { return nil }

// glass is a cipher that encrypts nothing and authenticates nothing.
type glass struct{}

func (glass) NonceSize() int { return nonceSize }
func (glass) Overhead() int  { return tagSize }
func (glass) Seal(dst, _, plaintext, _ []byte) []byte {
	return append(append(dst, plaintext...), make([]byte, tagSize)...)
}
func (glass) Open(dst, _, sealed, _ []byte) ([]byte, error) {
	return append(dst, sealed[:len(sealed)-tagSize]...), nil
}

// FuzzOpen looks for an answer that panics or is believed: as it is,
// where the signature is taken for granted, and where the encryption is too.
func FuzzOpen(f *testing.F) {
	sample := readSecuritySample(f)
	response := &sample.Response
	strict := sample.security(f, sample.certificate, response.Serial)
	unsigned := &Scheme{sn: strict.sn, cipher: strict.cipher, signer: gullible{}}
	open := &Scheme{sn: strict.sn, cipher: glass{}, signer: gullible{}}

	plain, err := json.Marshal(envelope{make([]byte, nonceSize), []byte(response.Plaintext), make([]byte, tagSize)})
	require.NoError(f, err)
	for _, body := range [][]byte{response.body(), sample.Request.body(), plain, []byte(`{}`), []byte(`null`), nil} {
		f.Add(response.Timestamp, sample.AppID, response.Serial, response.Signature, body)
		f.Add("", sample.AppID, response.Serial, response.Signature, body)
	}
	f.Add("-1", "", "", "", []byte(`{"iv":"AAAA"}`))
	f.Fuzz(func(t *testing.T, timestamp, appID, serial, signature string, body []byte) {
		if timestamp == "" { // an empty one stands for now, or nothing would get past the clock
			timestamp = strconv.FormatInt(time.Now().Unix(), 10)
		}
		message := sampleMessage{Timestamp: timestamp, Serial: serial, Signature: signature, SerialDeprecated: serial, SignatureDeprecated: signature}
		header := message.header(appID)
		for _, keys := range []*Scheme{strict, unsigned} {
			plaintext, err := keys.Open(sample.AppID, sample.URLPath, header, body)
			require.ErrorIs(t, err, ErrFailed)
			require.Nil(t, plaintext)
		}
		plaintext, err := open.Open(sample.AppID, sample.URLPath, header, body)
		if err != nil {
			require.ErrorIs(t, err, ErrFailed)
			require.Nil(t, plaintext)
			return
		}
		var inner struct {
			AppID string `json:"_appid"`
		}
		require.NoError(t, json.Unmarshal(plaintext, &inner))
		require.Equal(t, sample.AppID, inner.AppID)
	})
}
