package apisec

import (
	"bytes"
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
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// sample is what WeChat published: one request and its answer.
type sample struct {
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

func (m *sampleMessage) sentAt(tb testing.TB) time.Time {
	tb.Helper()
	seconds, err := strconv.ParseInt(m.Timestamp, 10, 64)
	require.NoError(tb, err)
	return time.Unix(seconds, 0)
}

func readSample(tb testing.TB) *sample {
	tb.Helper()
	text, err := os.ReadFile("../../testdata/api_security_sample.json")
	require.NoError(tb, err)
	s := new(sample)
	require.NoError(tb, json.Unmarshal(text, s))
	text, err = os.ReadFile("../../testdata/api_security_sample.pem")
	require.NoError(tb, err)
	block, _ := pem.Decode(text)
	require.NotNil(tb, block)
	s.certificate, err = x509.ParseCertificate(block.Bytes)
	require.NoError(tb, err)
	return s
}

// A private key in a repository alarms secret scanners, so there is none.
var newDeveloperKey = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

func developerKey(tb testing.TB) *rsa.PrivateKey {
	tb.Helper()
	private, err := newDeveloperKey()
	require.NoError(tb, err)
	return private
}

// config returns the sample's keys, with its certificate under each of serials.
func (s *sample) config(tb testing.TB, serials ...string) Config {
	tb.Helper()
	config := Config{
		SymmetricKeySN: s.SymmetricKeySN,
		SymmetricKey:   s.SymmetricKey,
		PrivateKey:     developerKey(tb),
		Certificates:   map[string]*x509.Certificate{},
	}
	for _, serial := range serials {
		config.Certificates[serial] = s.certificate
	}
	return config
}

// scheme has the keys that the published answer needs.
func (s *sample) scheme(tb testing.TB) *Scheme {
	tb.Helper()
	return mustNew(tb, s.config(tb, s.Response.Serial))
}

// mirror believes what it signs itself, with the number "own".
func (s *sample) mirror(tb testing.TB) *Scheme {
	tb.Helper()
	config := s.config(tb)
	config.Certificates["own"] = &x509.Certificate{PublicKey: config.PrivateKey.Public()}
	return mustNew(tb, config)
}

func mustNew(tb testing.TB, config Config) *Scheme {
	tb.Helper()
	scheme, err := New(config)
	require.NoError(tb, err)
	return scheme
}

func fromBase64(tb testing.TB, text string) []byte {
	tb.Helper()
	raw, err := base64.StdEncoding.DecodeString(text)
	require.NoError(tb, err)
	return raw
}

func TestPublishedRequestDecryptsToItsPlaintext(t *testing.T) {
	t.Parallel()
	s := readSample(t)
	require.Len(t, s.Request.body(), s.Request.BodyLength)
	plaintext, err := s.scheme(t).decrypt(origin{s.URLPath, s.AppID, s.Request.Timestamp}, s.Request.body())
	require.NoError(t, err)
	assert.Equal(t, s.Request.Plaintext, string(plaintext))
}

func TestSealedRequestHasTheShapeOfThePublishedOne(t *testing.T) {
	t.Parallel()
	s := readSample(t)
	own := regexp.MustCompile(`^\{"_n":"([^"]*)","_appid":"` + s.AppID + `","_timestamp":([0-9]+),`)
	require.Regexp(t, own, s.Request.Plaintext)
	params := own.ReplaceAllString(s.Request.Plaintext, "{")
	scheme := s.scheme(t)

	before := time.Now().Unix()
	body, header, err := scheme.Seal(s.AppID, s.URLPath, []byte(params))
	require.NoError(t, err)
	require.Regexp(t, `^\{"iv":"[0-9A-Za-z+/]{16}","data":"[0-9A-Za-z+/]+=*","authtag":"[0-9A-Za-z+/]{22}=="\}$`, string(body))
	assert.Len(t, header, 3)
	assert.Equal(t, s.AppID, header.Get("Wechatmp-Appid"))
	require.Len(t, header["Wechatmp-TimeStamp"], 1, "spelled as WeChat does")
	timestamp := header["Wechatmp-TimeStamp"][0]
	seconds, err := strconv.ParseInt(timestamp, 10, 64)
	require.NoError(t, err)
	assert.GreaterOrEqual(t, seconds, before)
	assert.LessOrEqual(t, seconds, time.Now().Unix())

	plaintext, err := scheme.decrypt(origin{s.URLPath, s.AppID, timestamp}, body)
	require.NoError(t, err)
	fields := own.FindStringSubmatch(string(plaintext))
	require.NotNil(t, fields, "%s", plaintext)
	assert.Len(t, fromBase64(t, fields[1]), 16)
	assert.Equal(t, timestamp, fields[2])
	assert.Equal(t, params, own.ReplaceAllString(string(plaintext), "{"))

	digest := sha256.Sum256([]byte(s.URLPath + "\n" + s.AppID + "\n" + timestamp + "\n" + string(body)))
	assert.NoError(t, rsa.VerifyPSS(&developerKey(t).PublicKey, crypto.SHA256, digest[:], fromBase64(t, header.Get("Wechatmp-Signature")),
		&rsa.PSSOptions{SaltLength: 32, Hash: crypto.SHA256}))
}

func TestBodyIsBoundWhetherEmptyOrNot(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]string{
		`{}`:           `{"_n":"bm9uY2U=","_appid":"wx","_timestamp":1}`,
		`{"code":"c"}`: `{"_n":"bm9uY2U=","_appid":"wx","_timestamp":1,"code":"c"}`,
	} {
		o := origin{"https://api.weixin.qq.com/", "wx", "1"}
		plaintext := bindPlaintext([]byte(body), o, "bm9uY2U=")
		assert.Equal(t, want, string(plaintext))
		random, ok := boundTo(plaintext, o)
		assert.True(t, ok)
		assert.Equal(t, `"bm9uY2U="`, string(random))
	}
}

func TestNothingRandomIsUsedTwice(t *testing.T) {
	t.Parallel()
	s := readSample(t)
	scheme := s.scheme(t)
	o := origin{s.URLPath, s.AppID, s.Request.Timestamp}
	ivs, randoms := map[string]bool{}, map[string]bool{}
	const requests = 1000
	for range requests {
		body, err := scheme.encrypt(o, []byte(`{}`))
		require.NoError(t, err)
		plaintext, err := scheme.decrypt(o, body)
		require.NoError(t, err)
		var sealed envelope
		require.NoError(t, json.Unmarshal(body, &sealed))
		var bound struct {
			Random string `json:"_n"`
		}
		require.NoError(t, json.Unmarshal(plaintext, &bound))
		ivs[string(sealed.IV)], randoms[bound.Random] = true, true
	}
	assert.Len(t, ivs, requests)
	assert.Len(t, randoms, requests)
}

func TestWhatIsSealedOpens(t *testing.T) {
	t.Parallel()
	s := readSample(t)
	ofOnesOwn := mustNew(t, Config{SymmetricKeySN: "1", Cipher: glass{}, Signer: gullible{}})
	for name, scheme := range map[string]*Scheme{"standard": s.mirror(t), "of one's own": ofOnesOwn} {
		for _, body := range []string{
			`{}`, `{"code":"c"}`, `{"名":"值","a":[1,{"b":null}],"c":"\"\\"}`, `{"a":"` + strings.Repeat("a", 1<<20) + `"}`,
		} {
			sealed, header, err := scheme.Seal(s.AppID, s.URLPath, []byte(body))
			require.NoError(t, err, name)
			header.Set("Wechatmp-Serial", "own")
			assert.True(t, IsSigned(header))
			plaintext, err := scheme.Open(s.AppID, s.URLPath, header, sealed)
			require.NoError(t, err, name)
			var want, got map[string]any
			require.NoError(t, json.Unmarshal([]byte(body), &want))
			require.NoError(t, json.Unmarshal(plaintext, &got))
			for _, field := range []string{"_n", "_appid", "_timestamp"} {
				assert.Contains(t, got, field)
				delete(got, field)
			}
			assert.Equal(t, want, got)
		}
	}
}

func TestPublishedAnswerOpensWithin10MinutesOfItsTime(t *testing.T) {
	t.Parallel()
	s := readSample(t)
	response := &s.Response
	require.Len(t, response.body(), response.BodyLength)
	digest := sha256.Sum256(origin{s.URLPath, s.AppID, response.Timestamp}.signedText(response.body()))
	require.Equal(t, response.SignedSHA256, hex.EncodeToString(digest[:]))

	for _, at := range []struct {
		offset time.Duration
		fits   bool
	}{
		{-10*time.Minute - 1, false},
		{-10 * time.Minute, true},
		{0, true},
		{10 * time.Minute, true},
		{10*time.Minute + 1, false},
	} {
		scheme := s.scheme(t) // which has not seen the answer
		plaintext, err := scheme.openAt(response.sentAt(t).Add(at.offset), s.AppID, s.URLPath, response.header(s.AppID), response.body())
		if at.fits {
			require.NoError(t, err, "%v", at.offset)
			assert.Equal(t, response.Plaintext, string(plaintext))
			continue
		}
		require.ErrorIs(t, err, ErrFailed, "%v", at.offset)
		assert.Nil(t, plaintext)
		assert.EqualError(t, err, "wxphone: API security: the answer was signed 10m0s from this machine's time; set the clock by NTP")
	}
	_, err := s.scheme(t).Open(s.AppID, s.URLPath, response.header(s.AppID), response.body())
	require.ErrorContains(t, err, "clock", "Open takes the time of now, years later")
}

func TestPublishedAnswerOpensByTheDeprecatedPairToo(t *testing.T) {
	t.Parallel()
	s := readSample(t)
	response := &s.Response
	now := response.sentAt(t)
	// WeChat has moved on, and the certificate at hand is the former one.
	header := response.header(s.AppID)
	header.Set("Wechatmp-Serial", "00000000000000000000000000000000")
	header.Set("Wechatmp-Signature", response.SignatureDeprecated)
	header.Set("Wechatmp-Serial-Deprecated", response.Serial)
	header.Set("Wechatmp-Signature-Deprecated", response.Signature)
	plaintext, err := s.scheme(t).openAt(now, s.AppID, s.URLPath, header, response.body())
	require.NoError(t, err)
	assert.Equal(t, response.Plaintext, string(plaintext))

	header.Del("Wechatmp-Serial")
	header.Del("Wechatmp-Signature")
	_, err = s.scheme(t).openAt(now, s.AppID, s.URLPath, header, response.body())
	require.NoError(t, err)

	// The certificate of the published -Deprecated pair is not published.
	scheme := mustNew(t, s.config(t, response.SerialDeprecated))
	_, err = scheme.openAt(now, s.AppID, s.URLPath, response.header(s.AppID), response.body())
	require.ErrorIs(t, err, ErrFailed)
	assert.ErrorContains(t, err, "not WeChat's")
}

func TestEitherSignatureMakesAnAnswerSigned(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		header http.Header
		signed bool
	}{
		{nil, false},
		{http.Header{"Wechatmp-Signature": {""}}, false},
		{http.Header{"Wechatmp-Appid": {"wx"}, "Wechatmp-Timestamp": {"1"}, "Wechatmp-Serial": {"1"}}, false},
		{http.Header{"Wechatmp-Signature": {"?"}}, true},
		{http.Header{"Wechatmp-Signature-Deprecated": {"?"}}, true},
	} {
		assert.Equal(t, tt.signed, IsSigned(tt.header), "%v", tt.header)
	}
}

// answer is what Open is given.
type answer struct {
	now            time.Time
	appID, urlpath string
	header         http.Header
	body           []byte
}

// answer returns the published one, at its time.
func (s *sample) answer(tb testing.TB) *answer {
	tb.Helper()
	return &answer{s.Response.sentAt(tb), s.AppID, s.URLPath, s.Response.header(s.AppID), s.Response.body()}
}

func (a *answer) open(scheme *Scheme) ([]byte, error) {
	return scheme.openAt(a.now, a.appID, a.urlpath, a.header, a.body)
}

func TestTimestampIsReadInEitherSpelling(t *testing.T) {
	t.Parallel()
	s := readSample(t)
	for _, name := range []string{"Wechatmp-TimeStamp", "Wechatmp-Timestamp"} {
		a := s.answer(t)
		a.header.Del("Wechatmp-TimeStamp")
		a.header[name] = []string{s.Response.Timestamp}
		_, err := a.open(s.scheme(t))
		assert.NoError(t, err, name)
	}
}

func TestAnyAlterationOfThePublishedAnswerIsRefused(t *testing.T) {
	t.Parallel()
	const (
		appID     = "signed for another appid"
		timestamp = "has no Wechatmp-TimeStamp"
		clock     = "from this machine's time; set the clock by NTP"
		serial    = "a certificate that is not configured; download WeChat's current one"
		signature = "signature is not WeChat's"
		another   = "wx0000000000000000"
	)
	set := func(name, value string) func(*answer) { return func(a *answer) { a.header.Set(name, value) } }
	s := readSample(t)
	response := &s.Response
	scheme := s.scheme(t)
	for name, tt := range map[string]struct {
		alter func(*answer)
		says  string
	}{
		"no headers":              {func(a *answer) { a.header = nil }, appID},
		"appid in the header":     {set("Wechatmp-Appid", another), appID},
		"appid missing":           {set("Wechatmp-Appid", ""), appID},
		"own appid":               {func(a *answer) { a.appID = another }, appID},
		"both appids":             {func(a *answer) { a.appID = another; a.header.Set("Wechatmp-Appid", another) }, signature},
		"timestamp":               {set("Wechatmp-TimeStamp", "1635927957"), signature},
		"timestamp missing":       {set("Wechatmp-TimeStamp", ""), timestamp},
		"timestamp spelt +":       {set("Wechatmp-TimeStamp", "+1635927956"), signature},
		"timestamp spelt 0":       {set("Wechatmp-TimeStamp", "01635927956"), signature},
		"timestamp no number":     {set("Wechatmp-TimeStamp", "now"), timestamp},
		"timestamp overflows":     {set("Wechatmp-TimeStamp", "9223372036854775808"), timestamp},
		"timestamp too large":     {set("Wechatmp-TimeStamp", "9223372036854775807"), clock},
		"timestamp too small":     {set("Wechatmp-TimeStamp", "-9223372036854775808"), clock},
		"stale":                   {func(a *answer) { a.now = a.now.Add(time.Hour) }, "signed 1h0m0s " + clock},
		"from the future":         {func(a *answer) { a.now = a.now.Add(-time.Hour) }, "signed 1h0m0s " + clock},
		"another API":             {func(a *answer) { a.urlpath += "s" }, signature},
		"another host":            {func(a *answer) { a.urlpath = strings.Replace(a.urlpath, "api.", "api2.", 1) }, signature},
		"another scheme":          {func(a *answer) { a.urlpath = strings.Replace(a.urlpath, "https", "http", 1) }, signature},
		"serial":                  {set("Wechatmp-Serial", flip(response.Serial, 0)), serial},
		"serial missing":          {set("Wechatmp-Serial", ""), serial},
		"signature missing":       {set("Wechatmp-Signature", ""), serial},
		"signature not base64":    {set("Wechatmp-Signature", "*"), signature},
		"signature cut":           {set("Wechatmp-Signature", response.Signature[:len(response.Signature)-4]), signature},
		"signature of deprecated": {set("Wechatmp-Signature", response.SignatureDeprecated), signature},
		"body with a space":       {func(a *answer) { a.body = append(a.body, ' ') }, signature},
		"body cut":                {func(a *answer) { a.body = a.body[:len(a.body)-1] }, signature},
		"body empty":              {func(a *answer) { a.body = nil }, signature},
		"request for answer":      {func(a *answer) { a.body = s.Request.body() }, signature},
	} {
		a := s.answer(t)
		tt.alter(a)
		plaintext, err := a.open(scheme)
		require.ErrorIs(t, err, ErrFailed, name)
		assert.ErrorContains(t, err, tt.says, name)
		assert.Nil(t, plaintext, name)
		assert.NotContains(t, err.Error(), "\n", name)
		assert.NotContains(t, err.Error(), s.SymmetricKey, name)
	}
}

func TestEveryFlippedByteOfAnAnswerIsRefused(t *testing.T) {
	t.Parallel()
	s := readSample(t)
	scheme := s.scheme(t)
	refuse := func(what string, at int, alter func(*answer)) {
		a := s.answer(t)
		alter(a)
		plaintext, err := a.open(scheme)
		require.ErrorIs(t, err, ErrFailed, "%s %d", what, at)
		require.ErrorContains(t, err, "not WeChat's", "%s %d", what, at)
		require.Nil(t, plaintext)
	}
	for i := range s.Response.body() {
		for bit := range 8 {
			refuse("body byte", i, func(a *answer) { a.body[i] ^= 1 << bit })
		}
	}
	signature := fromBase64(t, s.Response.Signature)
	for i := range signature {
		refuse("signature byte", i, func(a *answer) {
			flipped := bytes.Clone(signature)
			flipped[i] ^= 1
			a.header.Set("Wechatmp-Signature", base64.StdEncoding.EncodeToString(flipped))
		})
	}
}

// The encryption authenticates too, so that the key of a signature alone
// forges nothing.
func TestFlippedByteUnderAGoodSignatureYieldsNoOtherPlaintext(t *testing.T) {
	t.Parallel()
	s := readSample(t)
	scheme := s.scheme(t)
	scheme.signer = gullible{}
	refused := 0
	for i := range s.Response.body() {
		for bit := range 8 {
			a := s.answer(t)
			a.body[i] ^= 1 << bit
			plaintext, err := a.open(scheme)
			if err != nil {
				require.ErrorIs(t, err, ErrFailed)
				require.Nil(t, plaintext)
				refused++
				continue
			}
			// encoding/json takes "Iv" for "iv".
			require.Equal(t, s.Response.Plaintext, string(plaintext), "byte %d", i)
		}
	}
	assert.Greater(t, refused, 7*len(s.Response.body()))
}

// flip changes one character of a text to another of base64's alphabet.
func flip(text string, at int) string {
	other := "A"
	if text[at] == 'A' {
		other = "B"
	}
	return text[:at] + other + text[at+1:]
}

func TestPublishedAnswerNeedsItsKeys(t *testing.T) {
	t.Parallel()
	s := readSample(t)
	for name, spoil := range map[string]func(*Config){
		"key":    func(c *Config) { c.SymmetricKey = flip(c.SymmetricKey, 0) },
		"number": func(c *Config) { c.SymmetricKeySN = flip(c.SymmetricKeySN, 0) },
	} {
		config := s.config(t, s.Response.Serial)
		spoil(&config)
		plaintext, err := s.answer(t).open(mustNew(t, config))
		require.ErrorIs(t, err, ErrFailed, name)
		assert.ErrorContains(t, err, "are SymmetricKey and SymmetricKeySN a pair?", name)
		assert.Nil(t, plaintext)
	}
}

// signed returns body as an answer that scheme signed at this timestamp.
func (s *sample) signed(tb testing.TB, scheme *Scheme, timestamp string, body []byte) *answer {
	tb.Helper()
	signature, err := scheme.signer.Sign(origin{s.URLPath, s.AppID, timestamp}.signedText(body))
	require.NoError(tb, err)
	message := sampleMessage{Timestamp: timestamp, Serial: "own", Signature: base64.StdEncoding.EncodeToString(signature)}
	return &answer{message.sentAt(tb), s.AppID, s.URLPath, message.header(s.AppID), body}
}

// sealed returns plaintext as an answer that scheme encrypted and signed.
func (s *sample) sealed(tb testing.TB, scheme *Scheme, timestamp, plaintext string) *answer {
	tb.Helper()
	nonce := make([]byte, nonceSize)
	raw := scheme.cipher.Seal(nil, nonce, []byte(plaintext), origin{s.URLPath, s.AppID, timestamp}.additionalData(scheme.sn))
	cut := len(raw) - tagSize
	body, err := json.Marshal(envelope{nonce, raw[:cut], raw[cut:]})
	require.NoError(tb, err)
	return s.signed(tb, scheme, timestamp, body)
}

func TestDecryptedAnswerMustBeForThisAppAndTime(t *testing.T) {
	t.Parallel()
	s := readSample(t)
	scheme := s.mirror(t)
	app, moment := `"_appid":"`+s.AppID+`"`, `"_timestamp":1700000000`
	good := `{` + app + `,` + moment + `,"errcode":0}`
	plaintext, err := s.sealed(t, scheme, "1700000000", good).open(scheme)
	require.NoError(t, err)
	require.Equal(t, good, string(plaintext))

	for _, plaintext := range []string{
		``, `null`, `[]`, `{}`, `{"errcode":0}`, good + `x`, good[1:],
		`{` + app + `}`,
		`{` + app + `,"_timestamp":1}`,
		`{` + app + `,"_timestamp":1700000001}`,
		`{` + app + `,"_timestamp":1700000000.0}`,
		`{` + app + `,"_timestamp":[1700000000]}`,
		`{` + moment + `}`,
		`{` + moment + `,"_appid":""}`,
		`{` + moment + `,"_appid":"wx0000000000000000"}`,
		`{` + moment + `,"_appid":["` + s.AppID + `"]}`,
	} {
		got, err := s.sealed(t, scheme, "1700000000", plaintext).open(scheme)
		require.ErrorIs(t, err, ErrFailed, plaintext)
		require.ErrorContains(t, err, "the decrypted answer is for another appid or time", plaintext)
		assert.Nil(t, got)
	}
}

func TestSignedAnswerMustBeAnEnvelope(t *testing.T) {
	t.Parallel()
	s := readSample(t)
	scheme := s.mirror(t)
	const iv, tag = `"iv":"fmW/zNxXlytUZBgj"`, `"authtag":"5qeM/2vZv+6KtScN94IpMg=="`
	for body, says := range map[string]string{
		``:                                    "no envelope",
		`null`:                                "no envelope",
		`[]`:                                  "no envelope",
		`{}`:                                  "no envelope",
		`{"errcode":0}`:                       "no envelope",
		`{"errcode":40029}`:                   "no envelope",
		`{"data":"AAAA",` + tag + `}`:         "no envelope",
		`{` + iv + `,"data":"AAAA"}`:          "no envelope",
		`{` + iv + `,"data":7,` + tag + `}`:   "no envelope",
		`{` + iv + `,"data":"*",` + tag + `}`: "no envelope",
		`{` + iv + `,"data":"AAAA","authtag":"AAAA"}`:             "no envelope",
		`{"iv":"AAAA","data":"AAAA",` + tag + `}`:                 "no envelope",
		`{"iv":"fmW/zNxXlytUZBgjAAAA","data":"AAAA",` + tag + `}`: "no envelope",
		string(s.Request.body()) + "x":                            "no envelope",
		`{` + iv + `,` + tag + `}`:                                "does not decrypt",
		`{` + iv + `,"data":"",` + tag + `}`:                      "does not decrypt",
		`{` + iv + `,"data":"AAAA",` + tag + `}`:                  "does not decrypt",
		string(s.Request.body()):                                  "does not decrypt",
	} {
		plaintext, err := s.signed(t, scheme, "1700000000", []byte(body)).open(scheme)
		require.ErrorIs(t, err, ErrFailed, body)
		require.ErrorContains(t, err, says, body)
		assert.Nil(t, plaintext)
	}
}
