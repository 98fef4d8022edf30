package wxphonetest

import (
	"bytes"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"math/big"
	"net/http"
	"regexp"
	"strconv"
	"sync"
	"time"

	"github.com/wxphone/wxphone"
)

// WithAPISecurity enables API security for the server's mini-program:
// getuserphonenumber and checkencryptedmsg accept only encrypted and signed
// calls, and their answers are encrypted and signed. The APIs for quotas and
// rids accept both kinds of calls. As in WeChat, failures before a call is
// decrypted, such as a rejected access_token, are answered without encryption.
//
// [Server.NewClient] then returns clients with [Server.APISecurity]. For a
// client without it, which the server rejects, use [wxphone.New] with
// [Server.HTTPClient].
func WithAPISecurity() Option {
	return func(o *options) error {
		o.apiSecurity = true
		return nil
	}
}

var (
	// securedPaths are the APIs that API security applies to.
	securedPaths = map[string]bool{
		pathPhoneNumber: true, pathCheckEncryptedMsg: true,
		pathGetQuota: true, pathClearOne: true, pathClearQuota: true, pathGetRID: true,
	}
	// plainToo are those that also accept plain calls, because clients that use
	// API security seldom sign them.
	plainToo = map[string]bool{pathGetQuota: true, pathClearOne: true, pathClearQuota: true, pathGetRID: true}
)

const (
	headerAppID = "Wechatmp-Appid"
	// Clients in other languages look for this exact spelling, which is not
	// Go's canonical one.
	headerTimestamp = "Wechatmp-TimeStamp"
	headerSerial    = "Wechatmp-Serial"
	headerSignature = "Wechatmp-Signature"
	deprecated      = "-Deprecated"

	gcmNonce = 12
	gcmTag   = 16
	// clockSkew is the accepted difference between the time of a call's
	// signature and the server's time.
	clockSkew = 5 * time.Minute
)

// platformKey is one of WeChat's key pairs, with its certificate and its number
// in the console.
type platformKey struct {
	serial      string
	private     *rsa.PrivateKey
	certificate *x509.Certificate
}

// RSA keys are slow to generate, so all Servers of a process share them.
var (
	developerKey = sync.OnceValue(newRSAKey)

	platformMu   sync.Mutex
	platformKeys []*platformKey
)

func newRSAKey() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic("wxphonetest: no RSA key: " + err.Error())
	}
	return key
}

// platformKeyAt returns the platform key after the i-th change.
func platformKeyAt(i int) *platformKey {
	platformMu.Lock()
	defer platformMu.Unlock()
	for len(platformKeys) <= i {
		platformKeys = append(platformKeys, newPlatformKey())
	}
	return platformKeys[i]
}

func newPlatformKey() *platformKey {
	private := newRSAKey()
	// The validity is long because a testing/synctest bubble starts in 2000.
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotBefore:    time.Date(1990, 1, 1, 0, 0, 0, 0, time.UTC),
		NotAfter:     time.Date(2090, 1, 1, 0, 0, 0, 0, time.UTC),
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		panic("wxphonetest: no certificate: " + err.Error())
	}
	certificate, err := x509.ParseCertificate(raw)
	if err != nil {
		panic("wxphonetest: no certificate: " + err.Error())
	}
	return &platformKey{consoleNumber(), private, certificate}
}

// consoleNumber returns a number like those of keys and certificates in the
// console.
func consoleNumber() string {
	raw := make([]byte, 16)
	random(raw)
	return hex.EncodeToString(raw)
}

// security is the API security of one Server.
type security struct {
	sn, key   string
	aead      cipher.AEAD
	rotations int // guarded by the Server's mu
}

func newSecurity() *security {
	key := make([]byte, 32)
	random(key)
	block, err := aes.NewCipher(key)
	if err != nil {
		panic("wxphonetest: " + err.Error())
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic("wxphonetest: " + err.Error())
	}
	developerKey()
	platformKeyAt(0)
	return &security{sn: consoleNumber(), key: base64.StdEncoding.EncodeToString(key), aead: aead}
}

// APISecurity returns the configuration for a client of this server, with only
// WeChat's current certificate. After [Server.RotateCertificate], an earlier
// result therefore has only the old certificate, and a new result has only the
// new one. It panics unless the server was made with [WithAPISecurity].
func (s *Server) APISecurity() wxphone.APISecurity {
	s.mustBeSecured("APISecurity")
	current, _ := s.platformKeys()
	return wxphone.APISecurity{
		SymmetricKeySN: s.security.sn,
		SymmetricKey:   s.security.key,
		PrivateKey:     developerKey(),
		Certificates:   map[string]*x509.Certificate{current.serial: current.certificate},
	}
}

// RotateCertificate starts a change of WeChat's certificate: from now on,
// answers are signed with a new certificate and, as "-Deprecated", with the
// previous one. It panics unless the server was made with [WithAPISecurity].
func (s *Server) RotateCertificate() {
	s.mustBeSecured("RotateCertificate")
	s.mu.Lock()
	defer s.mu.Unlock()
	s.security.rotations++
}

func (s *Server) mustBeSecured(method string) {
	if s.security == nil {
		panic("wxphonetest: " + method + " of a Server without WithAPISecurity")
	}
}

// platformKeys returns the key that signs and the previous one, which may be
// nil.
func (s *Server) platformKeys() (current, former *platformKey) {
	s.mu.Lock()
	rotations := s.security.rotations
	s.mu.Unlock()
	if rotations > 0 {
		former = platformKeyAt(rotations - 1)
	}
	return platformKeyAt(rotations), former
}

// urlPath returns the request's URL as it appears in the signed text.
func urlPath(r *http.Request) string {
	if r.TLS != nil {
		return "https://" + r.Host + r.URL.Path
	}
	return "http://" + r.Host + r.URL.Path
}

type sealedBody struct {
	IV      []byte `json:"iv"`
	Data    []byte `json:"data"`
	AuthTag []byte `json:"authtag"`
}

func (b *sealedBody) read(body []byte) bool {
	return json.Unmarshal(body, b) == nil && len(b.IV) == gcmNonce && len(b.AuthTag) == gcmTag
}

// unseal replaces the body of a sealed call with its plaintext. It returns nil
// if the call may continue, and otherwise the answer.
func (s *Server) unseal(c *call, r *http.Request) any {
	sealed := r.Header.Get(headerSignature) != "" || new(sealedBody).read(c.body)
	switch {
	case !securedPaths[c.endpoint] && sealed:
		return c.reject(47001, "the call is encrypted or signed; API security does not apply to this API")
	case !securedPaths[c.endpoint], !sealed && (s.security == nil || plainToo[c.endpoint]):
		return nil
	case s.security == nil:
		return c.reject(40238, "the call is encrypted or signed; make the server WithAPISecurity")
	}
	if refusal := s.checkSigned(c, r); refusal != nil {
		return refusal
	}
	if refusal := s.decrypt(c, r); refusal != nil {
		return refusal
	}
	c.sealed = true
	return nil
}

var appIDForm = regexp.MustCompile(`^wx[0-9a-f]{16}$`)

// timestampOf returns the timestamp of a call. A connection delivers Go's
// canonical spelling; a caller of ServeHTTP may use WeChat's.
func timestampOf(header http.Header) string {
	if values := header[headerTimestamp]; len(values) > 0 {
		return values[0]
	}
	return header.Get(headerTimestamp)
}

func (s *Server) checkSigned(c *call, r *http.Request) any {
	appID, timestamp := r.Header.Get(headerAppID), timestampOf(r.Header)
	text := r.Header.Get(headerSignature)
	switch {
	case text == "" && appID == "" && timestamp == "" && !new(sealedBody).read(c.body):
		return c.fail(40232, "API security is switched on and the call is neither encrypted nor signed")
	case text == "":
		return c.reject(40232, "the call has no Wechatmp-Signature")
	case timestamp == "":
		return c.reject(40231, "the call has no Wechatmp-TimeStamp")
	case appID == "":
		return c.reject(40233, "the call has no Wechatmp-Appid")
	case appID != c.appID && appIDForm.MatchString(appID):
		return c.fail(40237, "Wechatmp-Appid is %s, the access_token is for %s", appID, c.appID)
	case appID != c.appID:
		return c.fail(40236, "Wechatmp-Appid is %q, which is no appid", appID)
	}
	seconds, err := strconv.ParseInt(timestamp, 10, 64)
	if err != nil {
		return c.reject(40231, "Wechatmp-TimeStamp is no number of seconds")
	}
	if off := c.now.Sub(time.Unix(seconds, 0)); off > clockSkew || off < -clockSkew {
		return c.fail(40240, "the call was signed %s from the server's time, more than the allowed %s", span(off.Abs()), span(clockSkew))
	}
	signature, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return c.reject(40234, "Wechatmp-Signature is not base64")
	}
	digest := signedDigest(urlPath(r), appID, timestamp, c.body)
	if rsa.VerifyPSS(&developerKey().PublicKey, crypto.SHA256, digest, signature, pss) != nil {
		return c.fail(40234, "the signature is not the developer's over %s, %s, %s and the body", urlPath(r), appID, timestamp)
	}
	return nil
}

// decrypt decrypts a call whose signature is valid.
func (s *Server) decrypt(c *call, r *http.Request) any {
	var sealed sealedBody
	if !sealed.read(c.body) {
		return c.reject(40235, "the signed body is no envelope of iv (12 bytes), data and authtag (16 bytes)")
	}
	timestamp := timestampOf(r.Header)
	plaintext, err := s.security.aead.Open(nil, sealed.IV, append(sealed.Data, sealed.AuthTag...),
		s.additionalData(urlPath(r), c.appID, timestamp))
	if err != nil {
		return c.fail(40235, "the envelope does not decrypt with the symmetric key %s for %s", s.security.sn, urlPath(r))
	}
	var fields map[string]json.RawMessage
	var inner struct {
		Random    string `json:"_n"`
		AppID     string `json:"_appid"`
		Timestamp int64  `json:"_timestamp"`
	}
	if json.Unmarshal(plaintext, &fields) != nil || json.Unmarshal(plaintext, &inner) != nil {
		return c.reject(40235, "the decrypted body is not a JSON object with _n and _appid as strings and _timestamp as a number")
	}
	nonce, err := base64.RawStdEncoding.DecodeString(string(bytes.TrimRight([]byte(inner.Random), "=")))
	switch {
	case err != nil || len(nonce) < 16 || len(nonce) > 32:
		return c.reject(40235, "_n is not base64 of 16 to 32 bytes")
	case inner.AppID != c.appID:
		return c.reject(40235, "_appid is not the appid")
	case strconv.FormatInt(inner.Timestamp, 10) != timestamp:
		return c.reject(40235, "_timestamp is not the header's")
	case fields["access_token"] != nil:
		return c.reject(40235, "the access_token is in the encrypted body; it stays in the query")
	}
	c.body = plaintext
	return nil
}

// seal encrypts and signs the answer to a call for the appid of the call,
// because a platform's mini-programs share the server's keys.
func (s *Server) seal(a reply, r *http.Request) reply {
	appID := r.Header.Get(headerAppID)
	urlpath, timestamp := urlPath(r), strconv.FormatInt(time.Now().Unix(), 10)
	nonce, random16 := make([]byte, gcmNonce), make([]byte, 16)
	random(nonce)
	random(random16)
	plaintext := mustEncode(map[string]any{
		"_n":         base64.RawStdEncoding.EncodeToString(random16),
		"_appid":     appID,
		"_timestamp": json.Number(timestamp),
	})
	if rest := a.body[1:]; len(rest) > 1 {
		plaintext = append(append(plaintext[:len(plaintext)-1], ','), rest...)
	}
	sealed := s.security.aead.Seal(nil, nonce, plaintext, s.additionalData(urlpath, appID, timestamp))
	cut := len(sealed) - gcmTag
	a.plaintext, a.body = a.body, mustEncode(sealedBody{nonce, sealed[:cut], sealed[cut:]})

	a.header = make(http.Header)
	a.header.Set(headerAppID, appID)
	a.header[headerTimestamp] = []string{timestamp} // Set would change the spelling
	current, former := s.platformKeys()
	current.sign(a, "", signedDigest(urlpath, appID, timestamp, a.body))
	if former != nil {
		former.sign(a, deprecated, signedDigest(urlpath, appID, timestamp, a.body))
	}
	return a
}

// sealFault encrypts and signs the answer of [Server.FailNext] if the regular
// answer would be.
func (s *Server) sealFault(f *fault, a reply, r *http.Request) reply {
	if s.security == nil || !f.sealed || !securedPaths[r.URL.Path] || r.Header.Get(headerSignature) == "" {
		return a
	}
	return s.seal(a, r)
}

// comesInTheClear reports whether errcode means that a call could not be
// decrypted.
func comesInTheClear(errcode int) bool { return 40230 <= errcode && errcode <= 40240 }

var pss = &rsa.PSSOptions{SaltLength: 32, Hash: crypto.SHA256}

func (k *platformKey) sign(a reply, suffix string, digest []byte) {
	signature, err := rsa.SignPSS(rand.Reader, k.private, crypto.SHA256, digest, pss)
	if err != nil {
		panic("wxphonetest: " + err.Error())
	}
	a.header.Set(headerSerial+suffix, k.serial)
	a.header.Set(headerSignature+suffix, base64.StdEncoding.EncodeToString(signature))
}

func signedDigest(urlpath, appID, timestamp string, body []byte) []byte {
	hash := sha256.New()
	hash.Write([]byte(urlpath + "\n" + appID + "\n" + timestamp + "\n"))
	hash.Write(body)
	return hash.Sum(nil)
}

func (s *Server) additionalData(urlpath, appID, timestamp string) []byte {
	return []byte(urlpath + "|" + appID + "|" + timestamp + "|" + s.security.sn)
}
