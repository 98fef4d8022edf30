package wxphone_test

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wxphone/wxphone"
)

// hmacSigner stands for a scheme of signatures that the standard library
// lacks. It signs as one and verifies as the other.
type hmacSigner struct{ own, others []byte }

var errForged = errors.New("the HMAC differs")

func (s hmacSigner) Sign(message []byte) ([]byte, error) { return mac(s.own, message), nil }

func (s hmacSigner) Verify(serial string, message, signature []byte) error {
	if serial != "platform" || !hmac.Equal(mac(s.others, message), signature) {
		return errForged
	}
	return nil
}

func mac(key, message []byte) []byte {
	hash := hmac.New(sha256.New, key)
	hash.Write(message)
	return hash.Sum(nil)
}

// invertedGCM stands for a cipher that the standard library lacks: GCM with
// every bit inverted.
type invertedGCM struct{ cipher.AEAD }

func newInvertedGCM(tb testing.TB) invertedGCM {
	tb.Helper()
	block, err := aes.NewCipher(make([]byte, 16))
	require.NoError(tb, err)
	gcm, err := cipher.NewGCM(block)
	require.NoError(tb, err)
	return invertedGCM{gcm}
}

func (c invertedGCM) Seal(dst, nonce, plaintext, data []byte) []byte {
	return append(dst, invert(c.AEAD.Seal(nil, nonce, plaintext, data))...)
}

func (c invertedGCM) Open(dst, nonce, sealed, data []byte) ([]byte, error) {
	return c.AEAD.Open(dst, nonce, invert(bytes.Clone(sealed)), data)
}

func invert(b []byte) []byte {
	for i := range b {
		b[i] ^= 0xff
	}
	return b
}

// schemeServer is WeChat with another scheme than the standard library's.
type schemeServer struct {
	t      *testing.T
	cipher cipher.AEAD
	signer hmacSigner
	codes  []string // that arrived
}

type schemeEnvelope struct {
	IV      []byte `json:"iv"`
	Data    []byte `json:"data"`
	AuthTag []byte `json:"authtag"`
}

func (s *schemeServer) RoundTrip(req *http.Request) (*http.Response, error) {
	const urlpath = "https://" + "api.weixin.qq.com" + phoneAPI
	assert.Equal(s.t, urlpath, "https://"+req.URL.Host+req.URL.Path)
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	signed := func(timestamp string, body []byte) []byte {
		return []byte(urlpath + "\n" + someAppID + "\n" + timestamp + "\n" + string(body))
	}
	data := func(timestamp string) []byte { return []byte(urlpath + "|" + someAppID + "|" + timestamp + "|sm4-1") }

	timestamp := req.Header.Get("Wechatmp-TimeStamp")
	signature, err := base64.StdEncoding.DecodeString(req.Header.Get("Wechatmp-Signature"))
	require.NoError(s.t, err)
	assert.True(s.t, hmac.Equal(signature, mac(s.signer.others, signed(timestamp, body))))
	var sealed schemeEnvelope
	require.NoError(s.t, json.Unmarshal(body, &sealed))
	plaintext, err := s.cipher.Open(nil, sealed.IV, append(sealed.Data, sealed.AuthTag...), data(timestamp))
	require.NoError(s.t, err)
	var sent struct{ Code string }
	require.NoError(s.t, json.Unmarshal(plaintext, &sent))
	s.codes = append(s.codes, sent.Code)

	timestamp = strconv.FormatInt(time.Now().Unix(), 10)
	answer := `{"_n":"ShYZpqdVgY+yQVAxNSWhYg","_appid":"` + someAppID + `","_timestamp":` + timestamp + "," + success[1:]
	raw := s.cipher.Seal(nil, make([]byte, 12), []byte(answer), data(timestamp))
	body, err = json.Marshal(schemeEnvelope{make([]byte, 12), raw[:len(raw)-16], raw[len(raw)-16:]})
	require.NoError(s.t, err)
	signature, _ = s.signer.Sign(signed(timestamp, body))
	header := http.Header{}
	header.Set("Wechatmp-Appid", someAppID)
	header.Set("Wechatmp-TimeStamp", timestamp)
	header.Set("Wechatmp-Serial", "platform")
	header.Set("Wechatmp-Signature", base64.StdEncoding.EncodeToString(signature))
	return &http.Response{
		StatusCode: http.StatusOK, Header: header, ContentLength: int64(len(body)),
		Body: io.NopCloser(bytes.NewReader(body)), Request: req,
	}, nil
}

func TestSchemeOfOnesOwnEncryptsAndSigns(t *testing.T) {
	t.Parallel()
	developer, platform := []byte("the developer's"), []byte("the platform's")
	gcm := newInvertedGCM(t)
	redeem := func(server *schemeServer) error {
		client, err := wxphone.New(someAppID, "", wxphone.WithTokenSource(fixedToken(someToken)),
			wxphone.WithHTTPClient(&http.Client{Transport: server}),
			wxphone.WithAPISecurity(wxphone.APISecurity{SymmetricKeySN: "sm4-1", Cipher: gcm, Signer: hmacSigner{developer, platform}}))
		require.NoError(t, err)
		info, err := client.GetPhoneNumber(context.Background(), someCode)
		assert.Equal(t, []string{someCode}, server.codes)
		if err == nil {
			assert.Equal(t, "+8613800000000", info.E164())
		}
		return err
	}
	require.NoError(t, redeem(&schemeServer{t: t, cipher: gcm, signer: hmacSigner{platform, developer}}))

	err := redeem(&schemeServer{t: t, cipher: gcm, signer: hmacSigner{[]byte("somebody else's"), developer}})
	require.ErrorIs(t, err, wxphone.ErrAPISecurity)
	require.ErrorIs(t, err, errForged, "why a signer of one's own refuses is told")
}
