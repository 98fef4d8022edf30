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
