//go:build go1.25

package apisec

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// securitySample is what WeChat published: one request and its answer.
type securitySample struct {
	URLPath        string `json:"urlpath"`
	AppID          string `json:"appid"`
	SymmetricKeySN string `json:"symmetric_key_sn"`
	SymmetricKey   string `json:"symmetric_key"`
	Request        sampleMessage
	Response       sampleMessage

	certificate *x509.Certificate
}

type sampleMessage struct {
	Timestamp, Plaintext string
	IV, Data, AuthTag    string
	BodyLength           int    `json:"body_length"`
	SignedSHA256         string `json:"signed_sha256"`
	Serial, Signature    string
	SerialDeprecated     string `json:"serial_deprecated"`
	SignatureDeprecated  string `json:"signature_deprecated"`
}

// body is the message as it was sent, the fields in their order.
func (m *sampleMessage) body() []byte {
	return []byte(`{"iv":"` + m.IV + `","data":"` + m.Data + `","authtag":"` + m.AuthTag + `"}`)
}

func (m *sampleMessage) header(appID string) http.Header {
	header := make(http.Header)
	header.Set("Wechatmp-Appid", appID)
	header.Set("Wechatmp-TimeStamp", m.Timestamp)
	header.Set("Wechatmp-Serial", m.Serial)
	header.Set("Wechatmp-Signature", m.Signature)
	header.Set("Wechatmp-Serial-Deprecated", m.SerialDeprecated)
	header.Set("Wechatmp-Signature-Deprecated", m.SignatureDeprecated)
	return header
}

func readSecuritySample(tb testing.TB) *securitySample {
	tb.Helper()
	text, err := os.ReadFile("../../testdata/api_security_sample.json")
	require.NoError(tb, err)
	sample := new(securitySample)
	require.NoError(tb, json.Unmarshal(text, sample))
	text, err = os.ReadFile("../../testdata/api_security_sample.pem")
	require.NoError(tb, err)
	block, _ := pem.Decode(text)
	require.NotNil(tb, block)
	sample.certificate, err = x509.ParseCertificate(block.Bytes)
	require.NoError(tb, err)
	return sample
}

// A private key in a repository alarms secret scanners, so there is none.
var sampleDeveloperKey = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

// security returns the sample's keys, with certificate under each of serials.
func (s *securitySample) security(tb testing.TB, certificate *x509.Certificate, serials ...string) *Scheme {
	tb.Helper()
	private, err := sampleDeveloperKey()
	require.NoError(tb, err)
	config := Config{
		SymmetricKeySN: s.SymmetricKeySN,
		SymmetricKey:   s.SymmetricKey,
		PrivateKey:     private,
		Certificates:   map[string]*x509.Certificate{},
	}
	for _, serial := range serials {
		config.Certificates[serial] = certificate
	}
	security, err := New(config)
	require.NoError(tb, err)
	return security
}

func sleepUntil(tb testing.TB, timestamp string, offset time.Duration) {
	tb.Helper()
	seconds, err := strconv.ParseInt(timestamp, 10, 64)
	require.NoError(tb, err)
	time.Sleep(time.Until(time.Unix(seconds, 0).Add(offset)))
}

func fromBase64(tb testing.TB, text string) []byte {
	tb.Helper()
	raw, err := base64.StdEncoding.DecodeString(text)
	require.NoError(tb, err)
	return raw
}

func TestPublishedRequestDecryptsToItsPlaintext(t *testing.T) {
	t.Parallel()
	sample := readSecuritySample(t)
	request := &sample.Request
	require.Len(t, request.body(), request.BodyLength)
	security := sample.security(t, sample.certificate, sample.Response.Serial)
	plaintext, err := security.cipher.Open(nil, fromBase64(t, request.IV),
		append(fromBase64(t, request.Data), fromBase64(t, request.AuthTag)...),
		origin{sample.URLPath, sample.AppID, request.Timestamp}.additionalData(security.sn))
	require.NoError(t, err)
	assert.Equal(t, request.Plaintext, string(plaintext))
}

func TestSealedRequestHasTheShapeOfThePublishedOne(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sample := readSecuritySample(t)
		request := &sample.Request
		sleepUntil(t, request.Timestamp, 0)
		security := sample.security(t, sample.certificate, sample.Response.Serial)
		nonce := regexp.MustCompile(`^\{"_n":"[^"]+",`)
		own := regexp.MustCompile(`^\{"_n":[^,]*,"_appid":[^,]*,"_timestamp":[0-9]+,`)
		params := own.ReplaceAllString(request.Plaintext, "{")

		body, header, err := security.Seal(sample.AppID, sample.URLPath, []byte(params))
		require.NoError(t, err)
		require.Regexp(t, `^\{"iv":"[0-9A-Za-z+/]{16}","data":"[0-9A-Za-z+/]+=*","authtag":"[0-9A-Za-z+/]{22}=="\}$`, string(body))
		assert.Len(t, header, 3)
		assert.Equal(t, sample.AppID, header.Get("Wechatmp-Appid"))
		assert.Equal(t, request.Timestamp, header.Get("Wechatmp-TimeStamp"))

		var sealed envelope
		require.NoError(t, json.Unmarshal(body, &sealed))
		plaintext, err := security.cipher.Open(nil, sealed.IV, append(sealed.Data, sealed.AuthTag...),
			origin{sample.URLPath, sample.AppID, request.Timestamp}.additionalData(security.sn))
		require.NoError(t, err)
		assert.Equal(t, nonce.ReplaceAllString(request.Plaintext, ""), nonce.ReplaceAllString(string(plaintext), ""))

		private, err := sampleDeveloperKey()
		require.NoError(t, err)
		digest := sha256.Sum256([]byte(sample.URLPath + "\n" + sample.AppID + "\n" + request.Timestamp + "\n" + string(body)))
		assert.NoError(t, rsa.VerifyPSS(&private.PublicKey, crypto.SHA256, digest[:], fromBase64(t, header.Get("Wechatmp-Signature")),
			&rsa.PSSOptions{SaltLength: 32, Hash: crypto.SHA256}))
	})
}

func TestEmptyBodyIsSealedAsAnObjectToo(t *testing.T) {
	t.Parallel()
	assert.Equal(t, `{"_n":"bm9uY2U=","_appid":"wx","_timestamp":1}`, string(bindPlaintext([]byte(`{}`), origin{"", "wx", "1"}, "bm9uY2U=")))
	assert.Equal(t, `{"_n":"bm9uY2U=","_appid":"wx","_timestamp":1,"code":"c"}`,
		string(bindPlaintext([]byte(`{"code":"c"}`), origin{"", "wx", "1"}, "bm9uY2U=")))
}

func TestPublishedAnswerVerifiesAndDecrypts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sample := readSecuritySample(t)
		response := &sample.Response
		require.Len(t, response.body(), response.BodyLength)
		digest := sha256.Sum256(origin{sample.URLPath, sample.AppID, response.Timestamp}.signedText(response.body()))
		require.Equal(t, response.SignedSHA256, hex.EncodeToString(digest[:]))
		security := sample.security(t, sample.certificate, response.Serial)

		for _, at := range []struct {
			offset time.Duration
			fits   bool
		}{
			{-10*time.Minute - time.Second, false},
			{-10 * time.Minute, true},
			{0, true},
			{10 * time.Minute, true},
			{10*time.Minute + time.Second, false},
		} {
			sleepUntil(t, response.Timestamp, at.offset)
			plaintext, err := security.Open(sample.AppID, sample.URLPath, response.header(sample.AppID), response.body())
			if at.fits {
				require.NoError(t, err, "%v", at.offset)
				assert.Equal(t, response.Plaintext, string(plaintext))
				continue
			}
			require.ErrorIs(t, err, ErrFailed, "%v", at.offset)
			assert.Nil(t, plaintext)
			assert.ErrorContains(t, err, "clock")
			assert.ErrorContains(t, err, "NTP")
		}
	})
}

func TestPublishedAnswerVerifiesByTheDeprecatedPairToo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sample := readSecuritySample(t)
		response := &sample.Response
		sleepUntil(t, response.Timestamp, 0)
		// WeChat has moved on, and the certificate at hand is the former one.
		header := response.header(sample.AppID)
		header.Set("Wechatmp-Serial", "00000000000000000000000000000000")
		header.Set("Wechatmp-Signature", response.SignatureDeprecated)
		header.Set("Wechatmp-Serial-Deprecated", response.Serial)
		header.Set("Wechatmp-Signature-Deprecated", response.Signature)
		security := sample.security(t, sample.certificate, response.Serial)
		plaintext, err := security.Open(sample.AppID, sample.URLPath, header, response.body())
		require.NoError(t, err)
		assert.Equal(t, response.Plaintext, string(plaintext))

		header.Del("Wechatmp-Serial")
		header.Del("Wechatmp-Signature")
		assert.True(t, IsSigned(header))
		_, err = security.Open(sample.AppID, sample.URLPath, header, response.body())
		require.NoError(t, err)

		// The certificate of the published -Deprecated pair is not published.
		security = sample.security(t, sample.certificate, response.SerialDeprecated)
		_, err = security.Open(sample.AppID, sample.URLPath, response.header(sample.AppID), response.body())
		require.ErrorIs(t, err, ErrFailed)
		assert.ErrorContains(t, err, "not WeChat's")
	})
}

// flip changes one character of a text to another of base64's alphabet.
func flip(text string, at int) string {
	other := "A"
	if text[at] == 'A' {
		other = "B"
	}
	return text[:at] + other + text[at+1:]
}

func TestAnyAlterationOfThePublishedAnswerIsRefused(t *testing.T) {
	t.Parallel()
	type answer struct {
		appID, urlpath string
		header         http.Header
		body           []byte
	}
	set := func(name, value string) func(*answer) { return func(a *answer) { a.header.Set(name, value) } }
	sample := readSecuritySample(t)
	response := &sample.Response
	alterations := map[string]struct {
		alter func(*answer)
		says  string
	}{
		"timestamp":           {set("Wechatmp-TimeStamp", "1635927957"), "not WeChat's"},
		"timestamp missing":   {set("Wechatmp-TimeStamp", ""), "Wechatmp-Timestamp"},
		"timestamp spelt +":   {set("Wechatmp-TimeStamp", "+1635927956"), "not WeChat's"},
		"timestamp spelt 0":   {set("Wechatmp-TimeStamp", "01635927956"), "not WeChat's"},
		"timestamp no number": {set("Wechatmp-TimeStamp", "now"), "Wechatmp-Timestamp"},
		"timestamp too large": {set("Wechatmp-TimeStamp", "9223372036854775807"), "clock"},
		"timestamp too small": {set("Wechatmp-TimeStamp", "-9223372036854775808"), "clock"},
		"appid in the header": {set("Wechatmp-Appid", "wx0000000000000000"), "another appid"},
		"appid missing":       {set("Wechatmp-Appid", ""), "another appid"},
		"own appid":           {func(a *answer) { a.appID = "wx0000000000000000" }, "another appid"},
		"both appids": {func(a *answer) {
			a.appID = "wx0000000000000000"
			a.header.Set("Wechatmp-Appid", a.appID)
		}, "not WeChat's"},
		"another API":             {func(a *answer) { a.urlpath += "s" }, "not WeChat's"},
		"another host":            {func(a *answer) { a.urlpath = strings.Replace(a.urlpath, "api.", "api2.", 1) }, "not WeChat's"},
		"another scheme":          {func(a *answer) { a.urlpath = strings.Replace(a.urlpath, "https", "http", 1) }, "not WeChat's"},
		"serial":                  {set("Wechatmp-Serial", flip(response.Serial, 0)), "not configured"},
		"serial missing":          {set("Wechatmp-Serial", ""), "not configured"},
		"signature missing":       {set("Wechatmp-Signature", ""), "not configured"},
		"signature not base64":    {set("Wechatmp-Signature", "*"), "not WeChat's"},
		"signature cut":           {set("Wechatmp-Signature", response.Signature[:len(response.Signature)-4]), "not WeChat's"},
		"signature of deprecated": {set("Wechatmp-Signature", response.SignatureDeprecated), "not WeChat's"},
		"body with a space":       {func(a *answer) { a.body = append(a.body, ' ') }, "not WeChat's"},
		"body empty":              {func(a *answer) { a.body = nil }, "not WeChat's"},
		"request for answer":      {func(a *answer) { a.body = sample.Request.body() }, "not WeChat's"},
	}
	synctest.Test(t, func(t *testing.T) {
		sleepUntil(t, response.Timestamp, 0)
		security := sample.security(t, sample.certificate, response.Serial)
		refuse := func(name, says string, alter func(*answer)) {
			a := &answer{sample.AppID, sample.URLPath, response.header(sample.AppID), response.body()}
			alter(a)
			plaintext, err := security.Open(a.appID, a.urlpath, a.header, a.body)
			require.ErrorIs(t, err, ErrFailed, name)
			require.ErrorContains(t, err, says, name)
			assert.Nil(t, plaintext, name)
			assert.NotContains(t, err.Error(), sample.SymmetricKey)
		}
		for name, tt := range alterations {
			refuse(name, tt.says, tt.alter)
		}
		for i := range response.body() {
			refuse("body byte "+strconv.Itoa(i), "not WeChat's", func(a *answer) { a.body[i] ^= 1 })
		}
		for i := range len(response.Signature) - 3 {
			refuse("signature character "+strconv.Itoa(i), "not WeChat's",
				func(a *answer) { a.header.Set("Wechatmp-Signature", flip(response.Signature, i)) })
		}
	})
}

func TestPublishedAnswerNeedsItsKeys(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sample := readSecuritySample(t)
		response := &sample.Response
		sleepUntil(t, response.Timestamp, 0)
		for name, spoil := range map[string]func(*securitySample){
			"key":    func(s *securitySample) { s.SymmetricKey = flip(s.SymmetricKey, 0) },
			"number": func(s *securitySample) { s.SymmetricKeySN = flip(s.SymmetricKeySN, 0) },
		} {
			spoilt := *sample
			spoil(&spoilt)
			security := spoilt.security(t, sample.certificate, response.Serial)
			_, err := security.Open(sample.AppID, sample.URLPath, response.header(sample.AppID), response.body())
			require.ErrorIs(t, err, ErrFailed, name)
			assert.ErrorContains(t, err, "SymmetricKeySN", name)
		}
	})
}

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
