package wxphonetest_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wxphone/wxphone/wxphonetest"
)

// securedCall is a call as a careless client could make it.
type securedCall struct {
	endpoint, token   string
	params            string // of the JSON body, without its braces
	n, appID, innerID string
	timestamp, inner  string
	sn, urlpath       string
	data, tag         int // bytes of the nonce and the tag that are sent
	missing           string
	signature         string // instead of a sound one
	body              string // instead of a sound envelope
	salt              int
}

// goodCall is one that the server takes.
func goodCall(s *wxphonetest.Server) securedCall {
	now := strconv.FormatInt(time.Now().Unix(), 10)
	return securedCall{
		endpoint: phoneNumber, token: s.Token(), params: `"code":"unknown"`, n: "ShYZpqdVgY+yQVAxNSWhYg",
		appID: s.AppID(), innerID: s.AppID(), timestamp: now, inner: now, sn: s.APISecurity().SymmetricKeySN,
		urlpath: host + phoneNumber, data: 12, tag: 16, salt: 32,
	}
}

func newGCM(t *testing.T, s *wxphonetest.Server) cipher.AEAD {
	t.Helper()
	key, err := base64.StdEncoding.DecodeString(s.APISecurity().SymmetricKey)
	require.NoError(t, err)
	block, err := aes.NewCipher(key)
	require.NoError(t, err)
	gcm, err := cipher.NewGCM(block)
	require.NoError(t, err)
	return gcm
}

// request returns the call as it is sent.
func (c *securedCall) request(t *testing.T, s *wxphonetest.Server) *http.Request {
	t.Helper()
	gcm, keys, base64 := newGCM(t, s), s.APISecurity(), base64.StdEncoding
	nonce := make([]byte, 12)
	_, err := rand.Read(nonce)
	require.NoError(t, err)
	plaintext := fmt.Sprintf(`{"_n":%q,"_appid":%q,"_timestamp":%s,%s}`, c.n, c.innerID, c.inner, c.params)
	sealed := gcm.Seal(nil, nonce, []byte(plaintext), []byte(c.urlpath+"|"+c.appID+"|"+c.timestamp+"|"+c.sn))
	cut := len(sealed) - 16
	body := fmt.Sprintf(`{"iv":%q,"data":%q,"authtag":%q}`, base64.EncodeToString(nonce[:c.data]),
		base64.EncodeToString(sealed[:cut]), base64.EncodeToString(sealed[cut:cut+c.tag]))
	if c.body != "" {
		body = c.body
	}
	digest := sha256.Sum256([]byte(c.urlpath + "\n" + c.appID + "\n" + c.timestamp + "\n" + body))
	signature, err := keys.PrivateKey.Sign(rand.Reader, digest[:], &rsa.PSSOptions{SaltLength: c.salt, Hash: crypto.SHA256})
	require.NoError(t, err)

	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, host+c.endpoint+"?access_token="+c.token, strings.NewReader(body))
	require.NoError(t, err)
	req.Header.Set("Wechatmp-Appid", c.appID)
	req.Header.Set("Wechatmp-TimeStamp", c.timestamp)
	req.Header.Set("Wechatmp-Signature", base64.EncodeToString(signature))
	if c.signature != "" {
		req.Header.Set("Wechatmp-Signature", c.signature)
	}
	req.Header.Del(c.missing)
	return req
}

// send makes the call and returns the answer, decrypted if it is signed.
func (c *securedCall) send(t *testing.T, s *wxphonetest.Server) (a answer, signed bool) {
	t.Helper()
	resp, err := s.HTTPClient().Do(c.request(t, s))
	require.NoError(t, err)
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	if resp.Header.Get("Wechatmp-Signature") != "" {
		raw, signed = c.open(t, s, resp.Header, raw), true
	}
	require.NoError(t, json.Unmarshal(raw, &a), "%s", raw)
	return a, signed
}

// open checks an answer as a client must.
func (c *securedCall) open(t *testing.T, s *wxphonetest.Server, header http.Header, body []byte) []byte {
	t.Helper()
	timestamp := header.Get("Wechatmp-TimeStamp")
	assert.Equal(t, s.AppID(), header.Get("Wechatmp-Appid"))
	digest := sha256.Sum256([]byte(c.urlpath + "\n" + s.AppID() + "\n" + timestamp + "\n" + string(body)))
	certificate := s.APISecurity().Certificates[header.Get("Wechatmp-Serial")]
	require.NotNil(t, certificate)
	signature, err := base64.StdEncoding.DecodeString(header.Get("Wechatmp-Signature"))
	require.NoError(t, err)
	require.NoError(t, rsa.VerifyPSS(certificate.PublicKey.(*rsa.PublicKey), crypto.SHA256, digest[:], signature, &rsa.PSSOptions{SaltLength: 32}))
	assert.True(t, bytes.HasPrefix(body, []byte(`{"iv":"`)))
	var sealed struct{ IV, Data, AuthTag []byte }
	require.NoError(t, json.Unmarshal(body, &sealed))
	plaintext, err := newGCM(t, s).Open(nil, sealed.IV, append(sealed.Data, sealed.AuthTag...),
		[]byte(c.urlpath+"|"+s.AppID()+"|"+timestamp+"|"+c.sn))
	require.NoError(t, err)
	var inner struct {
		N         string `json:"_n"`
		AppID     string `json:"_appid"`
		Timestamp int64  `json:"_timestamp"`
	}
	require.NoError(t, json.Unmarshal(plaintext, &inner))
	assert.Len(t, inner.N, 22)
	assert.Equal(t, s.AppID(), inner.AppID)
	assert.Equal(t, timestamp, strconv.FormatInt(inner.Timestamp, 10))
	return plaintext
}

func TestSecuredCallsAreCheckedAsWeChatDoes(t *testing.T) {
	t.Parallel()
	at := func(d time.Duration) string { return strconv.FormatInt(time.Now().Add(d).Unix(), 10) }
	for name, tc := range map[string]struct {
		spoil     func(*securedCall)
		errcode   int
		malformed bool // no working program sends it
	}{
		"good":                      {func(*securedCall) {}, works, false},
		"nonce of 32 bytes, padded": {func(c *securedCall) { c.n = strings.Repeat("A", 43) + "=" }, works, false},
		"clock 4 minutes behind":    {func(c *securedCall) { c.timestamp = at(-4 * time.Minute); c.inner = c.timestamp }, works, false},
		"clock 4 minutes ahead":     {func(c *securedCall) { c.timestamp = at(4 * time.Minute); c.inner = c.timestamp }, works, false},
		"unknown token":             {func(c *securedCall) { c.token = "unknown" }, 40001, false},
		"no signature":              {func(c *securedCall) { c.missing = "Wechatmp-Signature" }, 40232, true},
		"no timestamp":              {func(c *securedCall) { c.missing = "Wechatmp-Timestamp" }, 40231, true},
		"no appid":                  {func(c *securedCall) { c.missing = "Wechatmp-Appid" }, 40233, true},
		"appid of another":          {func(c *securedCall) { c.appID = "wx0000000000000000" }, 40237, false},
		"appid is none":             {func(c *securedCall) { c.appID = "wx" }, 40236, false},
		"timestamp is no number":    {func(c *securedCall) { c.timestamp = "now" }, 40231, true},
		"clock behind":              {func(c *securedCall) { c.timestamp = at(-6 * time.Minute) }, 40240, false},
		"clock ahead":               {func(c *securedCall) { c.timestamp = at(6 * time.Minute) }, 40240, false},
		"signature is no base64":    {func(c *securedCall) { c.signature = "?" }, 40234, true},
		"signature of other text":   {func(c *securedCall) { c.signature = strings.Repeat("A", 342) + "==" }, 40234, false},
		"other salt":                {func(c *securedCall) { c.salt = 20 }, 40234, false},
		"other URL":                 {func(c *securedCall) { c.urlpath += "?access_token=" }, 40234, false},
		"other key number":          {func(c *securedCall) { c.sn = "0123" }, 40235, false},
		"signed but plain":          {func(c *securedCall) { c.body = `{"code":"unknown"}` }, 40235, true},
		"short nonce":               {func(c *securedCall) { c.data = 11 }, 40235, true},
		"short tag":                 {func(c *securedCall) { c.tag = 12 }, 40235, true},
		"no JSON inside":            {func(c *securedCall) { c.params = "" }, 40235, true},
		"timestamp as a string":     {func(c *securedCall) { c.inner = `"` + c.inner + `"` }, 40235, true},
		"_n too short":              {func(c *securedCall) { c.n = "AAAA" }, 40235, true},
		"_n too long":               {func(c *securedCall) { c.n = strings.Repeat("AAAA", 11) }, 40235, true},
		"_n is no base64":           {func(c *securedCall) { c.n = "????????????????????????" }, 40235, true},
		"_appid of another":         {func(c *securedCall) { c.innerID = "wx0000000000000000" }, 40235, true},
		"_timestamp of another":     {func(c *securedCall) { c.inner = at(time.Minute) }, 40235, true},
		"token inside":              {func(c *securedCall) { c.params += `,"access_token":"t"` }, 40235, true},
		"another API":               {func(c *securedCall) { c.endpoint = stableToken }, 47001, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tb := new(spy)
			s := wxphonetest.NewServer(tb, wxphonetest.WithAPISecurity())
			call := goodCall(s)
			tc.spoil(&call)
			a, signed := call.send(t, s)
			assert.Equal(t, tc.errcode, a.ErrCode, a.ErrMsg)
			assert.Equal(t, tc.errcode == works, signed, "only what was decrypted is answered in kind")
			assert.Equal(t, tc.malformed, len(tb.reports()) > 0, "%v", tb.reports())
		})
	}
}

func TestTimestampIsSpelledAsWeChatDoes(t *testing.T) {
	t.Parallel()
	s := wxphonetest.NewServer(t, wxphonetest.WithAPISecurity())
	call := goodCall(s)
	for _, spelling := range []string{"Wechatmp-TimeStamp", "Wechatmp-Timestamp"} {
		req := call.request(t, s)
		req.Header.Del("Wechatmp-Timestamp")
		req.Header[spelling] = []string{call.timestamp}
		req.TLS = new(tls.ConnectionState)
		w := httptest.NewRecorder()
		s.ServeHTTP(w, req)
		assert.Contains(t, w.Body.String(), "authtag", "the call is taken with %s", spelling)
		assert.Contains(t, w.Header(), "Wechatmp-TimeStamp")
		assert.NotContains(t, w.Header(), "Wechatmp-Timestamp")
	}
}

func TestTimestampIsSpelledAsWeChatDoesOnTheWire(t *testing.T) {
	t.Parallel()
	s := wxphonetest.NewServer(t, wxphonetest.WithAPISecurity())
	call := goodCall(s)
	call.urlpath = s.URL() + phoneNumber
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL(), "http://"))
	require.NoError(t, err)
	defer conn.Close()
	req := call.request(t, s)
	req.URL.Host, req.Host, req.Close = conn.RemoteAddr().String(), "", true
	require.NoError(t, req.Write(conn))
	head, err := io.ReadAll(conn)
	require.NoError(t, err)
	assert.Contains(t, string(head), "\r\nWechatmp-TimeStamp: ")
}

func TestPlainCallIsRefusedUnderAPISecurity(t *testing.T) {
	t.Parallel()
	s := wxphonetest.NewServer(t, wxphonetest.WithAPISecurity())
	assert.Equal(t, 40232, redeem(t, s, s.IssueCode(somePhone)).ErrCode)
	assert.Equal(t, 40232, post(t, s, checkEncryptedMsg, withToken(s), `{}`).ErrCode)
	assert.NotEmpty(t, fetchStable(t, s, false).AccessToken, "other APIs stay plain")
}

func TestSecuredCallNeedsASecuredServer(t *testing.T) {
	t.Parallel()
	secured := wxphonetest.NewServer(t, wxphonetest.WithAPISecurity())
	call := goodCall(secured)
	tb := new(spy)
	plain := wxphonetest.NewServer(tb)
	a := post(t, plain, phoneNumber, withToken(plain), `{"iv":"fmW/zNxXlytUZBgj","data":"AAAA","authtag":"5qeM/2vZv+6KtScN94IpMg=="}`)
	assert.Equal(t, 40238, a.ErrCode)
	assert.Contains(t, strings.Join(tb.reports(), ""), "WithAPISecurity")
	assert.Panics(t, func() { plain.APISecurity() })
	assert.Panics(t, plain.RotateCertificate)

	a, signed := call.send(t, secured)
	assert.Equal(t, works, a.ErrCode)
	assert.True(t, signed)
}

func TestFaultsUnderAPISecurity(t *testing.T) {
	t.Parallel()
	s := wxphonetest.NewServer(t, wxphonetest.WithAPISecurity())
	call := goodCall(s)
	for _, tc := range []struct {
		errcode int
		signed  bool
	}{{-1, true}, {40001, true}, {40163, true}, {40230, false}, {40235, false}, {40240, false}} {
		s.FailNext(phoneNumber, tc.errcode, "", 1)
		a, signed := call.send(t, s)
		assert.Equal(t, tc.errcode, a.ErrCode)
		assert.Equal(t, tc.signed, signed, "errcode %d", tc.errcode)
	}
	s.FailNext(phoneNumber, 40029, "", 1)
	assert.Equal(t, 40029, redeem(t, s, "1").ErrCode, "a plain call gets a plain answer")
	s.RespondNext(phoneNumber, 200, `{"errcode":7}`, 1)
	a, signed := call.send(t, s)
	assert.Equal(t, 7, a.ErrCode)
	assert.False(t, signed)
}

func TestCertificatesChange(t *testing.T) {
	t.Parallel()
	s := wxphonetest.NewServer(t, wxphonetest.WithAPISecurity())
	before := s.APISecurity()
	s.RotateCertificate()
	after := s.APISecurity()
	require.Len(t, before.Certificates, 1)
	require.Len(t, after.Certificates, 1)
	for number := range before.Certificates {
		assert.NotContains(t, after.Certificates, number)
	}
	assert.Equal(t, before.SymmetricKeySN, after.SymmetricKeySN)
	call := goodCall(s)
	_, signed := call.send(t, s)
	assert.True(t, signed, "by the new certificate")
}
