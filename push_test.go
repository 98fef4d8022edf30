package wxphone_test

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wxphone/wxphone"
)

// The keys of someComponentID's console.
const (
	somePushToken = "pushtoken9f8e7d6c5b"
	somePushKey   = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG" // with trailing bits that are not zero
	formerPushKey = "ZYXWVUTSRQPONMLKJIHGFEDCBA9876543210zyxwvut"
)

const (
	ticketMessage = `<xml><AppId>` + someComponentID + `</AppId><CreateTime>1700000000</CreateTime>` +
		`<InfoType>component_verify_ticket</InfoType><ComponentVerifyTicket>` + someTicket + `</ComponentVerifyTicket></xml>`
	authorizedMessage = "<xml>\n<AppId><![CDATA[" + someComponentID + "]]></AppId>\n<CreateTime>1700000000</CreateTime>\n" +
		"<InfoType><![CDATA[authorized]]></InfoType>\n<AuthorizerAppid><![CDATA[" + someAppID + "]]></AuthorizerAppid>\n" +
		"<AuthorizationCode><![CDATA[queryauthcode@@@someone]]></AuthorizationCode>\n" +
		"<AuthorizationCodeExpiredTime><![CDATA[1700003600]]></AuthorizationCodeExpiredTime>\n" +
		"<PreAuthCode><![CDATA[preauthcode@@@someone]]></PreAuthCode>\n</xml>"
)

// pushSealer pushes as WeChat does. A test changes what it wants wrong.
type pushSealer struct {
	token, key       string
	timestamp, nonce string
	envelopeAppID    string
	appID            string // at the end of the plaintext
	length           int    // that the plaintext claims for the message, if not 0
	padding          []byte // if not nil
}

func newPushSealer() *pushSealer {
	return &pushSealer{
		token: somePushToken, key: somePushKey, timestamp: "1700000001", nonce: "1590219412",
		envelopeAppID: someComponentID, appID: someComponentID,
	}
}

// encrypt returns the text of Encrypt.
func (s *pushSealer) encrypt(message string) string {
	plaintext := make([]byte, 16, 64+len(message))
	_, _ = rand.Read(plaintext)
	length := len(message)
	if s.length != 0 {
		length = s.length
	}
	plaintext = binary.BigEndian.AppendUint32(plaintext, uint32(length))
	plaintext = append(append(plaintext, message...), s.appID...)
	padding := s.padding
	if padding == nil {
		padding = s.pad(message, 0)
	}
	return s.encryptRaw(append(plaintext, padding...))
}

// pad returns the padding of message, longer by some bytes than PKCS#7 has it.
func (s *pushSealer) pad(message string, more int) []byte {
	n := 32 - (16+4+len(message)+len(s.appID))%32 + more
	return bytes.Repeat([]byte{byte(n)}, n)
}

func (s *pushSealer) encryptRaw(plaintext []byte) string {
	key, err := base64.RawStdEncoding.DecodeString(s.key)
	if err != nil {
		panic(err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err)
	}
	ciphertext := make([]byte, len(plaintext))
	cipher.NewCBCEncrypter(block, key[:16]).CryptBlocks(ciphertext, plaintext)
	return base64.StdEncoding.EncodeToString(ciphertext)
}

func (s *pushSealer) query(encrypt string) url.Values {
	sign := func(parts ...string) string {
		slices.Sort(parts)
		sum := sha1.Sum([]byte(strings.Join(parts, "")))
		return hex.EncodeToString(sum[:])
	}
	return url.Values{
		"signature": {sign(s.token, s.timestamp, s.nonce)}, "timestamp": {s.timestamp}, "nonce": {s.nonce},
		"encrypt_type": {"aes"}, "msg_signature": {sign(s.token, s.timestamp, s.nonce, encrypt)},
	}
}

// body is the XML that WeChat sends.
func (s *pushSealer) body(encrypt string) []byte {
	return []byte("<xml>\n    <AppId><![CDATA[" + s.envelopeAppID + "]]></AppId>\n    <Encrypt><![CDATA[" + encrypt + "]]></Encrypt>\n</xml>\n")
}

func (s *pushSealer) seal(message string) (url.Values, []byte) {
	encrypt := s.encrypt(message)
	return s.query(encrypt), s.body(encrypt)
}

func newPushReader(tb testing.TB, keys ...string) *wxphone.PushReader {
	tb.Helper()
	if keys == nil {
		keys = []string{somePushKey}
	}
	r, err := wxphone.NewPushReader(someComponentID, somePushToken, keys...)
	require.NoError(tb, err)
	return r
}

// assertRefused asserts that a push is refused as ErrPush alone, with this
// status, and that the error tells no secret and nothing of the body.
func assertRefused(t *testing.T, push *wxphone.Push, err error, status int) {
	t.Helper()
	assert.Nil(t, push)
	require.ErrorIs(t, err, wxphone.ErrPush)
	assert.Equal(t, status, wxphone.HTTPStatus(err), "%v", err)
	assert.NotContains(t, err.Error(), "\n")
	assertTellsNone(t, fmt.Sprintf("%v %+v %#v", err, err, err),
		[]string{someTicket, somePushToken, somePushKey, formerPushKey, someComponentID, "queryauthcode", "preauthcode"}, "the error")
	for _, sentinel := range sentinels {
		if sentinel != wxphone.ErrPush { //nolint:errorlint // identity
			assert.NotErrorIs(t, err, sentinel)
		}
	}
}

type pushVector struct {
	Name           string `json:"name"`
	Token          string `json:"token"`
	EncodingAESKey string `json:"encoding_aes_key"`
	AppID          string `json:"app_id"`
	Timestamp      string `json:"timestamp"`
	Nonce          string `json:"nonce"`
	Encrypt        string `json:"encrypt"`
	MsgSignature   string `json:"msg_signature"`
	Message        string `json:"message"`
}

func readPushVectors(tb testing.TB) []pushVector {
	tb.Helper()
	raw, err := os.ReadFile("testdata/push_vectors.json")
	require.NoError(tb, err)
	var vectors []pushVector
	require.NoError(tb, json.Unmarshal(raw, &vectors))
	require.NotEmpty(tb, vectors)
	return vectors
}

func (v *pushVector) query() url.Values {
	return url.Values{
		"timestamp": {v.Timestamp}, "nonce": {v.Nonce}, "encrypt_type": {"aes"}, "msg_signature": {v.MsgSignature},
	}
}

func (v *pushVector) body() []byte {
	return []byte("<xml><ToUserName>gh_97417a04a28d</ToUserName><Encrypt><![CDATA[" + v.Encrypt + "]]></Encrypt></xml>")
}

// The published pushes are messages of a mini-program, so that they have no
// InfoType. One of them has a time.
func TestPublishedPushesAreRead(t *testing.T) {
	t.Parallel()
	for _, v := range readPushVectors(t) {
		t.Run(v.Name, func(t *testing.T) {
			t.Parallel()
			r, err := wxphone.NewPushReader(v.AppID, v.Token, v.EncodingAESKey)
			require.NoError(t, err)
			push, err := r.Read(v.query(), v.body())
			require.NoError(t, err)
			var want wxphone.Push
			if strings.Contains(v.Message, "<CreateTime>1715943329<") {
				want.CreatedAt = time.Unix(1715943329, 0)
			}
			assert.Equal(t, want, *push)

			other, err := wxphone.NewPushReader("wx0123456789abcdef", v.Token, v.EncodingAESKey)
			require.NoError(t, err)
			push, err = other.Read(v.query(), v.body())
			assertRefused(t, push, err, 400)
		})
	}
}

func TestSealerOfTheTestsSealsAsPublished(t *testing.T) {
	t.Parallel()
	for _, v := range readPushVectors(t) {
		s := &pushSealer{token: v.Token, key: v.EncodingAESKey, timestamp: v.Timestamp, nonce: v.Nonce, appID: v.AppID}
		assert.Equal(t, v.MsgSignature, s.query(v.Encrypt).Get("msg_signature"))
		assert.Len(t, s.encrypt(v.Message), len(v.Encrypt))
	}
}

func TestPushesOfAPlatformAreRead(t *testing.T) {
	t.Parallel()
	at := time.Unix(1700000000, 0)
	tests := map[string]struct {
		message string
		want    wxphone.Push
	}{
		"ticket": {ticketMessage, wxphone.Push{InfoType: wxphone.PushTicket, CreatedAt: at, Ticket: someTicket}},
		"authorized": {authorizedMessage, wxphone.Push{
			InfoType: wxphone.PushAuthorized, CreatedAt: at, AuthorizerAppID: someAppID,
			AuthorizationCode: "queryauthcode@@@someone", AuthorizationCodeExpiresAt: at.Add(time.Hour),
			PreAuthCode: "preauthcode@@@someone",
		}},
		"updated": {strings.Replace(authorizedMessage, "[authorized]", "[updateauthorized]", 1), wxphone.Push{
			InfoType: wxphone.PushUpdated, CreatedAt: at, AuthorizerAppID: someAppID,
			AuthorizationCode: "queryauthcode@@@someone", AuthorizationCodeExpiresAt: at.Add(time.Hour),
			PreAuthCode: "preauthcode@@@someone",
		}},
		"expiry in seconds": {strings.Replace(authorizedMessage, "1700003600", "600", 1), wxphone.Push{
			InfoType: wxphone.PushAuthorized, CreatedAt: at, AuthorizerAppID: someAppID,
			AuthorizationCode: "queryauthcode@@@someone", AuthorizationCodeExpiresAt: at.Add(10 * time.Minute),
			PreAuthCode: "preauthcode@@@someone",
		}},
		"expiry in seconds without a time": {
			`<xml><InfoType>other</InfoType><AuthorizationCodeExpiredTime>600</AuthorizationCodeExpiredTime></xml>`,
			wxphone.Push{InfoType: "other"},
		},
		"unauthorized": {
			`<xml><InfoType>unauthorized</InfoType><AuthorizerAppid>` + someAppID + `</AuthorizerAppid></xml>`,
			wxphone.Push{InfoType: wxphone.PushUnauthorized, AuthorizerAppID: someAppID},
		},
		"unknown": {
			`<xml><InfoType>notify_third_fasteregister</InfoType><CreateTime>1700000000</CreateTime><appid>wx1</appid>` +
				`<status>0</status><info><name>a</name><InfoType>inner</InfoType></info><info/></xml>`,
			wxphone.Push{InfoType: "notify_third_fasteregister", CreatedAt: at},
		},
		"no fields":    {`<xml></xml>`, wxphone.Push{}},
		"declaration":  {`<?xml version="1.0" encoding="UTF-8"?>` + "\n<xml><InfoType>a</InfoType></xml>", wxphone.Push{InfoType: "a"}},
		"other case":   {`<xml><infotype>a</infotype></xml>`, wxphone.Push{}},
		"namespace":    {`<xml><x:other>b</x:other><InfoType>a</InfoType></xml>`, wxphone.Push{InfoType: "a"}},
		"two CDATA":    {`<xml><InfoType><![CDATA[a]]><![CDATA[b]]></InfoType></xml>`, wxphone.Push{InfoType: "ab"}},
		"XML's entity": {`<xml><InfoType>a&amp;&#98;</InfoType></xml>`, wxphone.Push{InfoType: "a&b"}},
		"not trimmed":  {"\n <xml><InfoType> a </InfoType></xml> \n", wxphone.Push{InfoType: " a "}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			push, err := newPushReader(t).Read(newPushSealer().seal(tt.message))
			require.NoError(t, err)
			assert.Equal(t, tt.want, *push)
		})
	}
}

// Every length of padding comes up, 32 included.
func TestMessagesOfEveryLengthAreRead(t *testing.T) {
	t.Parallel()
	r := newPushReader(t)
	for n := range 70 {
		kind := strings.Repeat("k", n)
		push, err := r.Read(newPushSealer().seal("<xml><InfoType>" + kind + "</InfoType></xml>"))
		require.NoError(t, err, "%d", n)
		assert.Equal(t, kind, push.InfoType)
	}
}

func TestFormerKeyIsTriedAfterTheCurrentOne(t *testing.T) {
	t.Parallel()
	former := newPushSealer()
	former.key = formerPushKey
	query, body := former.seal(ticketMessage)
	push, err := newPushReader(t, somePushKey, formerPushKey).Read(query, body)
	require.NoError(t, err)
	assert.Equal(t, someTicket, push.Ticket)

	push, err = newPushReader(t, somePushKey).Read(query, body)
	assertRefused(t, push, err, 400)
}

func TestForgeriesAreRefused(t *testing.T) {
	t.Parallel()
	const forged, wrong = http.StatusForbidden, http.StatusBadRequest
	set := func(name string, values ...string) func(url.Values) {
		return func(q url.Values) { q[name] = values }
	}
	queries := map[string]struct {
		change func(url.Values)
		status int
	}{
		"no msg_signature":        {set("msg_signature"), forged},
		"empty msg_signature":     {set("msg_signature", ""), forged},
		"signature instead of it": {func(q url.Values) { q["msg_signature"] = q["signature"] }, forged},
		"capital msg_signature":   {func(q url.Values) { q.Set("msg_signature", strings.ToUpper(q.Get("msg_signature"))) }, forged},
		"short msg_signature":     {func(q url.Values) { q.Set("msg_signature", q.Get("msg_signature")[:39]) }, forged},
		"longer msg_signature":    {func(q url.Values) { q.Set("msg_signature", q.Get("msg_signature")+"0") }, forged},
		"two msg_signatures":      {func(q url.Values) { q["msg_signature"] = []string{"0", q.Get("msg_signature")} }, forged},
		"other timestamp":         {set("timestamp", "1700000002"), forged},
		"other nonce":             {set("nonce", "1590219413"), forged},
		"no timestamp":            {set("timestamp"), wrong},
		"no nonce":                {set("nonce"), wrong},
		"odd timestamp":           {set("timestamp", "17000 00001"), wrong},
		"long timestamp":          {set("timestamp", strings.Repeat("1", 17)), wrong},
		"long nonce":              {set("nonce", strings.Repeat("1", 33)), wrong},
		"no encrypt_type":         {set("encrypt_type"), wrong},
		"raw":                     {set("encrypt_type", "raw"), wrong},
		"AES":                     {set("encrypt_type", "AES"), wrong},
		"empty query":             {func(q url.Values) { clear(q) }, wrong},
	}
	for name, tt := range queries {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			query, body := newPushSealer().seal(ticketMessage)
			tt.change(query)
			push, err := newPushReader(t).Read(query, body)
			assertRefused(t, push, err, tt.status)
		})
	}
	push, err := newPushReader(t).Read(nil, nil)
	assertRefused(t, push, err, wrong)

	sealers := map[string]struct {
		change func(*pushSealer)
		status int
	}{
		"other token":                 {func(s *pushSealer) { s.token = "another" }, forged},
		"other key":                   {func(s *pushSealer) { s.key = formerPushKey }, wrong},
		"for another platform":        {func(s *pushSealer) { s.appID = "wx0123456789abcdef" }, wrong},
		"for a longer appid":          {func(s *pushSealer) { s.appID = "x" + someComponentID }, wrong},
		"for a shorter appid":         {func(s *pushSealer) { s.appID = someComponentID[1:] }, wrong},
		"for nobody":                  {func(s *pushSealer) { s.appID = "" }, wrong},
		"other appid on the envelope": {func(s *pushSealer) { s.envelopeAppID = "wx0123456789abcdef" }, wrong},
		"length too large":            {func(s *pushSealer) { s.length = len(ticketMessage) + 1 }, wrong},
		"length too small":            {func(s *pushSealer) { s.length = len(ticketMessage) - 1 }, wrong},
		"length far too large":        {func(s *pushSealer) { s.length = 1<<32 - 1 }, wrong},
		"half a block":                {func(s *pushSealer) { s.padding = s.pad(ticketMessage, 16) }, wrong},
		"a block too many":            {func(s *pushSealer) { s.padding = s.pad(ticketMessage, 32) }, wrong},
		"uneven padding": {func(s *pushSealer) {
			s.padding = s.pad(ticketMessage, 0)
			s.padding[0] ^= 1
		}, wrong},
	}
	for name, tt := range sealers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newPushSealer()
			tt.change(s)
			query, body := s.seal(ticketMessage)
			push, err := newPushReader(t).Read(query, body)
			assertRefused(t, push, err, tt.status)
		})
	}
}

func TestPlaintextOfAnyKindIsRefused(t *testing.T) {
	t.Parallel()
	r, s := newPushReader(t), newPushSealer()
	padded := func(n, padding int) []byte {
		return append(make([]byte, n), bytes.Repeat([]byte{byte(padding)}, padding)...)
	}
	for name, encrypt := range map[string]string{
		"none":             "",
		"only padding":     s.encryptRaw(padded(0, 32)),
		"a byte":           s.encryptRaw(padded(1, 31)),
		"no room":          s.encryptRaw(padded(16+4+len(someComponentID)-1, 27)),
		"padding of 0":     s.encryptRaw(make([]byte, 64)),
		"padding of 33":    s.encryptRaw(bytes.Repeat([]byte{33}, 64)),
		"no block":         base64.StdEncoding.EncodeToString([]byte("abc")),
		"not base64":       "*" + s.encrypt(ticketMessage)[1:],
		"unpadded base64":  strings.TrimRight(s.encrypt(ticketMessage), "=") + "A",
		"message in plain": base64.StdEncoding.EncodeToString([]byte(ticketMessage)),
	} {
		push, err := r.Read(s.query(encrypt), s.body(encrypt))
		t.Run(name, func(t *testing.T) { assertRefused(t, push, err, 400) })
	}
}

func TestBodyThatIsNoEnvelopeIsRefused(t *testing.T) {
	t.Parallel()
	s := newPushSealer()
	encrypt := s.encrypt(ticketMessage)
	query := s.query(encrypt)
	for name, body := range map[string]string{
		"nothing":        "",
		"white space":    "\n",
		"plain message":  ticketMessage,
		"JSON":           `{"Encrypt":"` + encrypt + `"}`,
		"no root":        "<Encrypt>" + encrypt + "</Encrypt>",
		"other root":     "<a><Encrypt>" + encrypt + "</Encrypt></a>",
		"deep":           "<xml><a><Encrypt>" + encrypt + "</Encrypt></a></xml>",
		"cut":            "<xml><Encrypt>" + encrypt + "</Encrypt>",
		"twice":          "<xml><Encrypt>" + encrypt + "</Encrypt><Encrypt>" + encrypt + "</Encrypt></xml>",
		"first root":     "<a/><xml><Encrypt>" + encrypt + "</Encrypt></xml>",
		"second root":    "<xml><Encrypt>" + encrypt + "</Encrypt></xml><xml></xml>",
		"end":            "<xml><Encrypt>" + encrypt + "</Encrypt></xml>.",
		"start":          ".<xml><Encrypt>" + encrypt + "</Encrypt></xml>",
		"between":        "<xml>.<Encrypt>" + encrypt + "</Encrypt></xml>",
		"element inside": "<xml><Encrypt>" + encrypt + "<a/></Encrypt></xml>",
		"namespace":      `<xml xmlns:x="y"><x:Encrypt>` + encrypt + "</x:Encrypt></xml>",
		"other case":     "<xml><encrypt>" + encrypt + "</encrypt></xml>",
		"comment":        "<xml><!-- --><Encrypt>" + encrypt + "</Encrypt></xml>",
		"DOCTYPE":        "<!DOCTYPE xml><xml><Encrypt>" + encrypt + "</Encrypt></xml>",
		"entity": `<!DOCTYPE xml [<!ENTITY e SYSTEM "file:///etc/passwd">]><xml><Encrypt>` + encrypt +
			"</Encrypt><AppId>&e;</AppId></xml>",
		"unknown entity":    "<xml><Encrypt>" + encrypt + "</Encrypt><a>&e;</a></xml>",
		"stylesheet":        `<?xml-stylesheet href="a"?><xml><Encrypt>` + encrypt + "</Encrypt></xml>",
		"late declaration":  `<xml><?xml version="1.0"?><Encrypt>` + encrypt + "</Encrypt></xml>",
		"other encoding":    `<?xml version="1.0" encoding="GBK"?><xml><Encrypt>` + encrypt + "</Encrypt></xml>",
		"not UTF-8":         "<xml><Encrypt>" + encrypt + "</Encrypt><a>\xff</a></xml>",
		"deep nesting":      "<xml>" + strings.Repeat("<a>", 5000) + strings.Repeat("</a>", 5000) + "<Encrypt>" + encrypt + "</Encrypt></xml>",
		"more than 1 MiB":   "<xml><Encrypt>" + encrypt + "</Encrypt></xml>" + strings.Repeat("\n", megabyte),
		"attribute unclear": "<xml a><Encrypt>" + encrypt + "</Encrypt></xml>",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			push, err := newPushReader(t).Read(query, []byte(body))
			assertRefused(t, push, err, 400)
		})
	}
}

func TestPushOfOneMebibyteIsRead(t *testing.T) {
	t.Parallel()
	query, body := newPushSealer().seal(ticketMessage)
	body = append(body, bytes.Repeat([]byte("\n"), megabyte-len(body))...)
	push, err := newPushReader(t).Read(query, body)
	require.NoError(t, err)
	assert.Equal(t, someTicket, push.Ticket)
}

func TestMessageThatIsNoPushIsRefused(t *testing.T) {
	t.Parallel()
	for name, message := range map[string]string{
		"nothing":             "",
		"text":                "ticket",
		"cut":                 ticketMessage[:len(ticketMessage)-1],
		"DOCTYPE":             "<!DOCTYPE xml>" + ticketMessage,
		"two tickets":         strings.Replace(ticketMessage, "</xml>", "<ComponentVerifyTicket>a</ComponentVerifyTicket></xml>", 1),
		"no ticket":           "<xml><InfoType>component_verify_ticket</InfoType></xml>",
		"empty ticket":        "<xml><InfoType>component_verify_ticket</InfoType><ComponentVerifyTicket/></xml>",
		"nobody authorised":   "<xml><InfoType>authorized</InfoType><AuthorizationCode>a</AuthorizationCode></xml>",
		"nobody updated":      "<xml><InfoType>updateauthorized</InfoType></xml>",
		"nobody unauthorised": "<xml><InfoType>unauthorized</InfoType></xml>",
		"time in words":       strings.Replace(ticketMessage, "1700000000", "yesterday", 1),
		"negative time":       strings.Replace(ticketMessage, "1700000000", "-1", 1),
		"time 0":              strings.Replace(ticketMessage, "1700000000", "0", 1),
		"endless time":        strings.Replace(ticketMessage, "1700000000", "253402300800", 1),
		"expiry in words":     strings.Replace(authorizedMessage, "1700003600", "soon", 1),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			push, err := newPushReader(t).Read(newPushSealer().seal(message))
			assertRefused(t, push, err, 400)
		})
	}
}

// A flipped bit is refused wherever it is, but for white space that becomes
// other white space.
func TestEveryFlippedByteIsRefused(t *testing.T) {
	t.Parallel()
	r := newPushReader(t)
	query, body := newPushSealer().seal(ticketMessage)
	_, err := r.Read(query, body)
	require.NoError(t, err)
	for i := range body {
		for _, flip := range []byte{0x01, 0x02, 0x20, 0x80, 0xff} {
			changed := bytes.Clone(body)
			changed[i] ^= flip
			push, err := r.Read(query, changed)
			require.Nil(t, push, "byte %d (%q) as %q", i, body[i], changed[i])
			require.ErrorIs(t, err, wxphone.ErrPush)
		}
	}
}

// WeChat signs its four parts without marks between them. Whoever recorded a
// push must not be able to move a piece of one into another.
func TestPartsOfASignedPushCannotBeMoved(t *testing.T) {
	t.Parallel()
	r, moved := newPushReader(t), 0
	for range 200 { // until Encrypt sorts next to timestamp and nonce
		s := newPushSealer()
		encrypt := s.encrypt(authorizedMessage)
		query := s.query(encrypt)
		parts := []string{s.token, s.timestamp, s.nonce, encrypt}
		slices.Sort(parts)
		at := slices.Index(parts, encrypt)
		if at == 0 || parts[at-1] == s.token {
			continue
		}
		name := "timestamp"
		if parts[at-1] == s.nonce {
			name = "nonce"
		}
		for n := 1; n < len(encrypt); n++ {
			moved++
			query.Set(name, parts[at-1]+encrypt[:n])
			push, err := r.Read(query, s.body(encrypt[n:]))
			require.Nil(t, push, "%d characters", n)
			require.ErrorIs(t, err, wxphone.ErrPush)
		}
		if moved > 1000 {
			return
		}
	}
	t.Fatal("Encrypt never sorted behind timestamp or nonce")
}

func TestPushReaderNeedsSoundKeys(t *testing.T) {
	t.Parallel()
	keys := func(keys ...string) []string { return keys }
	for name, tt := range map[string]struct {
		appID, token string
		keys         []string
		names        string
	}{
		"no appid":         {"", somePushToken, keys(somePushKey), "component_appid"},
		"appid with space": {" wx1", somePushToken, keys(somePushKey), "component_appid"},
		"no token":         {someComponentID, "", keys(somePushKey), "token"},
		"no key":           {someComponentID, somePushToken, nil, "encodingAESKeys is empty"},
		"empty key":        {someComponentID, somePushToken, keys(""), "encodingAESKeys[0] has 0 bytes"},
		"short key":        {someComponentID, somePushToken, keys(somePushKey[1:]), "encodingAESKeys[0] has 42 bytes"},
		"padded key":       {someComponentID, somePushToken, keys(somePushKey + "="), "encodingAESKeys[0] has 44 bytes"},
		"odd key":          {someComponentID, somePushToken, keys(somePushKey[1:] + "*"), "encodingAESKeys[0] is not base64"},
		"line in key":      {someComponentID, somePushToken, keys(somePushKey[1:] + "\n"), "encodingAESKeys[0] is not base64"},
		"odd former key":   {someComponentID, somePushToken, keys(somePushKey, "former"), "encodingAESKeys[1]"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, err := wxphone.NewPushReader(tt.appID, tt.token, tt.keys...)
			assert.Nil(t, r)
			assertInvalid(t, err, tt.names)
			assertTellsNone(t, err.Error(), []string{somePushToken, somePushKey[1:]}, "the error")
		})
	}
	for _, r := range []*wxphone.PushReader{nil, {}} {
		push, err := r.Read(newPushSealer().seal(ticketMessage))
		assert.Nil(t, push)
		assertInvalid(t, err, "NewPushReader")
		assert.Equal(t, 500, serve(r.Handler(ignore), pushRequest(newPushSealer(), ticketMessage)).Code)
	}
}

func TestPushesStayInside(t *testing.T) {
	t.Parallel()
	push := wxphone.Push{
		InfoType: wxphone.PushAuthorized, CreatedAt: time.Unix(1700000000, 0), Ticket: someTicket, AuthorizerAppID: someAppID,
		AuthorizationCode: "queryauthcode@@@someone", AuthorizationCodeExpiresAt: time.Unix(1700003600, 0),
		PreAuthCode: "preauthcode@@@someone",
	}
	secrets := []string{someTicket, push.AuthorizationCode, push.PreAuthCode}
	assertPrintsWithout(t, push, secrets...)
	assert.Equal(t, "wxphone.Push(authorized "+someAppID+" 2023-11-14T22:13:20Z)", fmt.Sprint(push))
	assert.Equal(t, "wxphone.Push()", fmt.Sprintf("%#v", wxphone.Push{}))
	for _, v := range []any{push, &push, []wxphone.Push{push}, struct{ P *wxphone.Push }{&push}} {
		text, err := json.Marshal(v)
		require.Error(t, err, "%s", text)
		assertTellsNone(t, err.Error(), secrets, "the refusal")
	}

	key, err := base64.RawStdEncoding.DecodeString(somePushKey)
	require.NoError(t, err)
	assertPrintsWithout(t, *newPushReader(t), somePushToken, somePushKey, string(key), fmt.Sprintf("%d", key)[1:40])
	assert.Equal(t, "wxphone.PushReader("+someComponentID+")", fmt.Sprintf("%+v", newPushReader(t)))
}

func ignore(context.Context, *wxphone.Push) error { return nil }

func pushRequest(s *pushSealer, message string) *http.Request {
	query, body := s.seal(message)
	return httptest.NewRequest(http.MethodPost, "/wechat/events?"+query.Encode(), bytes.NewReader(body))
}

func serve(handler http.Handler, req *http.Request) *httptest.ResponseRecorder {
	answer := httptest.NewRecorder()
	handler.ServeHTTP(answer, req)
	return answer
}

func TestHandlerAnswersSuccessOverHTTP(t *testing.T) {
	t.Parallel()
	var pushed []wxphone.Push
	server := httptest.NewServer(newPushReader(t).Handler(func(ctx context.Context, p *wxphone.Push) error {
		pushed = append(pushed, *p)
		return ctx.Err()
	}))
	t.Cleanup(server.Close)
	query, body := newPushSealer().seal(ticketMessage)
	resp, err := http.Post(server.URL+"/?"+query.Encode(), "text/xml", bytes.NewReader(body))
	require.NoError(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	assert.Equal(t, 200, resp.StatusCode)
	assert.Equal(t, "success", string(text))
	assert.EqualValues(t, 7, resp.ContentLength)
	assert.Empty(t, resp.TransferEncoding)
	assert.Equal(t, "text/plain; charset=utf-8", resp.Header.Get("Content-Type"))
	assert.Equal(t, []wxphone.Push{{InfoType: wxphone.PushTicket, CreatedAt: time.Unix(1700000000, 0), Ticket: someTicket}}, pushed)
}

func TestHandlerPassesTheContextOfTheRequest(t *testing.T) {
	t.Parallel()
	type key struct{}
	var got any
	handler := newPushReader(t).Handler(func(ctx context.Context, _ *wxphone.Push) error {
		got = ctx.Value(key{})
		return nil
	})
	req := pushRequest(newPushSealer(), ticketMessage)
	assert.Equal(t, 200, serve(handler, req.WithContext(context.WithValue(req.Context(), key{}, "mine"))).Code)
	assert.Equal(t, "mine", got)
}

func TestHandlerRefusesWithoutHandling(t *testing.T) {
	t.Parallel()
	handler := newPushReader(t).Handler(func(context.Context, *wxphone.Push) error {
		t.Error("handled")
		return nil
	})
	stranger := newPushSealer()
	stranger.token = "another"
	misled := newPushSealer()
	misled.key = formerPushKey
	large := pushRequest(newPushSealer(), ticketMessage)
	large.Body = io.NopCloser(io.MultiReader(large.Body, strings.NewReader(strings.Repeat("\n", megabyte))))
	cut := pushRequest(newPushSealer(), ticketMessage)
	cut.Body = io.NopCloser(io.MultiReader(cut.Body, iotest.ErrReader(io.ErrUnexpectedEOF)))
	for name, tt := range map[string]struct {
		req    *http.Request
		status int
	}{
		"forged":      {pushRequest(stranger, ticketMessage), 403},
		"other key":   {pushRequest(misled, ticketMessage), 400},
		"not a push":  {pushRequest(newPushSealer(), "text"), 400},
		"plain":       {httptest.NewRequest(http.MethodPost, "/", strings.NewReader(ticketMessage)), 400},
		"too large":   {large, 400},
		"cut in half": {cut, 400},
	} {
		answer := serve(handler, tt.req)
		assert.Equal(t, tt.status, answer.Code, name)
		assert.Equal(t, "refused\n", answer.Body.String(), "%s: one text for everything", name)
	}
}

func TestHandlerReadsNoMoreThanAPush(t *testing.T) {
	t.Parallel()
	req := pushRequest(newPushSealer(), ticketMessage)
	body := strings.NewReader(strings.Repeat(" ", 16*megabyte))
	req.Body = io.NopCloser(body)
	assert.Equal(t, 400, serve(newPushReader(t).Handler(ignore), req).Code)
	assert.Greater(t, body.Len(), 12*megabyte, "left unread")
}

func TestHandlerTakesPOSTOnly(t *testing.T) {
	t.Parallel()
	handler := newPushReader(t).Handler(func(context.Context, *wxphone.Push) error {
		t.Error("handled")
		return nil
	})
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPut, http.MethodOptions} {
		req := pushRequest(newPushSealer(), ticketMessage)
		req.Method = method
		answer := serve(handler, req)
		assert.Equal(t, 405, answer.Code, method)
		assert.Equal(t, "POST", answer.Header().Get("Allow"), method)
	}
}

func TestFailedHandleIsAnsweredWithoutItsText(t *testing.T) {
	t.Parallel()
	for name, err := range map[string]error{
		"error":       errors.New("database: " + someTicket),
		"push error":  wxphone.ErrPush,
		"other's 400": wxphone.ErrInvalidArgument,
		"cancelled":   context.Canceled,
	} {
		handler := newPushReader(t).Handler(func(context.Context, *wxphone.Push) error { return err })
		answer := serve(handler, pushRequest(newPushSealer(), ticketMessage))
		assert.Equal(t, 500, answer.Code, name)
		assert.Equal(t, "failed\n", answer.Body.String(), name)
	}
}

func TestHandlerNeedsAHandle(t *testing.T) {
	t.Parallel()
	r := newPushReader(t)
	assert.Panics(t, func() { r.Handler(nil) })
}

// Nobody without the token can sign, the fuzzer neither: what is read is one of
// the pushes that it was shown.
func FuzzPushRead(f *testing.F) {
	vectors := readPushVectors(f)
	r, err := wxphone.NewPushReader(vectors[0].AppID, vectors[0].Token, vectors[0].EncodingAESKey, somePushKey)
	require.NoError(f, err)
	var signed []wxphone.Push
	add := func(query url.Values, body []byte) {
		f.Add(query.Encode(), body)
		push, err := r.Read(query, body)
		require.NoError(f, err)
		signed = append(signed, *push)
	}
	for _, v := range vectors {
		require.Equal(f, vectors[0].AppID, v.AppID)
		add(v.query(), v.body())
	}
	own := newPushSealer()
	own.token, own.appID, own.envelopeAppID = vectors[0].Token, vectors[0].AppID, vectors[0].AppID
	add(own.seal(ticketMessage))
	add(own.seal(authorizedMessage))
	f.Add("", []byte(ticketMessage))
	f.Add("encrypt_type=aes&timestamp=1&nonce=1&msg_signature=", []byte("<!DOCTYPE xml><xml><Encrypt>&e;</Encrypt></xml>"))
	f.Fuzz(func(t *testing.T, query string, body []byte) {
		values, _ := url.ParseQuery(query)
		before := bytes.Clone(body)
		push, err := r.Read(values, body)
		if !bytes.Equal(body, before) {
			t.Fatal("Read modified its input")
		}
		if err == nil {
			if !slices.Contains(signed, *push) {
				t.Fatalf("%q %q was never signed", query, body)
			}
			return
		}
		if push != nil || !errors.Is(err, wxphone.ErrPush) {
			t.Fatalf("%v %v", push, err)
		}
	})
}

// Behind the signature, too, nothing that WeChat could push makes Read panic or
// tell what it read.
func FuzzPushMessage(f *testing.F) {
	for _, message := range []string{
		ticketMessage, authorizedMessage, "", "<xml></xml>", `<?xml version="1.0"?><xml><InfoType>a&amp;b</InfoType></xml>`,
		"<xml><CreateTime>600</CreateTime><AuthorizationCodeExpiredTime>9999999999</AuthorizationCodeExpiredTime></xml>",
	} {
		f.Add(message)
	}
	r, texts := newPushReader(f), make(map[string]bool)
	for _, message := range []string{"text", "<xml><InfoType>unauthorized</InfoType></xml>"} {
		_, err := r.Read(newPushSealer().seal(message))
		texts[err.Error()] = true
	}
	f.Fuzz(func(t *testing.T, message string) {
		push, err := r.Read(newPushSealer().seal(message))
		switch {
		case err != nil && (push != nil || !errors.Is(err, wxphone.ErrPush) || !texts[err.Error()] && len(message) < megabyte/2):
			t.Fatalf("%v %v", push, err)
		case err == nil && push.InfoType == wxphone.PushTicket && push.Ticket == "":
			t.Fatal("a ticket push without a ticket")
		case err == nil && !strings.Contains(message, "<xml"):
			t.Fatalf("%q was read as %v", message, push)
		}
	})
}
