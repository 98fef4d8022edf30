package wxphone

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha1" //nolint:gosec // WeChat signs pushes so
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/wxphone/wxphone/internal/redact"
)

// The kinds of [Push] that a platform must know.
const (
	// PushTicket brings a new component_verify_ticket.
	PushTicket = "component_verify_ticket"
	// PushAuthorized says that a mini-program authorised the platform.
	PushAuthorized = "authorized"
	// PushUpdated says that a mini-program granted other permission sets.
	PushUpdated = "updateauthorized"
	// PushUnauthorized says that a mini-program took its authorisation back.
	PushUnauthorized = "unauthorized"
)

// Push is what WeChat pushes to the authorisation event URL (授权事件接收URL) of
// a third-party platform. Fields that a push does not have are zero.
//
// It prints without ticket and codes under every fmt verb and in log/slog, and
// cannot be encoded as text or JSON. Store its fields, not the Push.
//
// See https://developers.weixin.qq.com/doc/oplatform/Third-party_Platforms/2.0/api/Before_Develop/authorize_event.html
type Push struct {
	// InfoType is [PushTicket], [PushAuthorized], [PushUpdated],
	// [PushUnauthorized] or any other text: WeChat has more kinds of pushes,
	// and may add some. It is empty if WeChat pushed something that is no
	// event of a platform, because a message URL points to the same address.
	InfoType string
	// CreatedAt is when WeChat made the push, to the second.
	CreatedAt time.Time
	// Ticket is the component_verify_ticket of a [PushTicket]. It is good for
	// 12 hours.
	Ticket string
	// AuthorizerAppID is the mini-program that the push is about.
	AuthorizerAppID string
	// AuthorizationCode of a [PushAuthorized] or a [PushUpdated] is what
	// [Component.QueryAuthorization] takes for the refresh token.
	AuthorizationCode          string
	AuthorizationCodeExpiresAt time.Time
	// PreAuthCode tells which authorisation page the owner used.
	PreAuthCode string
}

// Format implements [fmt.Formatter]: every verb prints the kind, the
// mini-program and the time.
func (p Push) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, p.describe()) }

// LogValue implements [slog.LogValuer].
func (p Push) LogValue() slog.Value { return slog.StringValue(p.describe()) }

// MarshalText implements [encoding.TextMarshaler] and always fails, so that a
// ticket or a code inside a larger value is not written to a log as JSON.
func (p Push) MarshalText() ([]byte, error) {
	return nil, errors.New("wxphone: a Push cannot be encoded, because it holds secrets; take the fields you need")
}

func (p Push) describe() string {
	words := make([]string, 0, 3)
	for _, word := range []string{p.InfoType, p.AuthorizerAppID} {
		if word != "" {
			words = append(words, word)
		}
	}
	if !p.CreatedAt.IsZero() {
		words = append(words, p.CreatedAt.UTC().Format(time.RFC3339))
	}
	return "wxphone.Push(" + strings.Join(words, " ") + ")"
}

// Why a push is refused, in texts that quote nothing of it.
var (
	errPushForged = fmt.Errorf("%w: its msg_signature is not WeChat's: it was forged, or the token is not the one in the platform's console", ErrPush)
	errPushSize   = fmt.Errorf("%w: it is larger than 1 MiB", ErrPush)
	errPushQuery  = fmt.Errorf("%w: its query is not that of an encrypted push: encrypt_type, timestamp and nonce", ErrPush)
	errPushBody   = fmt.Errorf("%w: its body is not the XML of an encrypted push", ErrPush)
	errPushSealed = fmt.Errorf("%w: it does not decrypt to a message for this platform: compare the EncodingAESKey and the component_appid with the platform's console", ErrPush)
	errPushInside = fmt.Errorf("%w: the message in it is not the XML of a push, or lacks what its InfoType needs", ErrPush)
)

const (
	// maxPush is the longest body that is read. WeChat's are below 4 KiB.
	maxPush = 1 << 20
	// pushBlock is what the plaintext is padded to. It is not AES's block.
	pushBlock = 32
	// encodingAESKeyLength is that of 32 bytes in base64 without padding.
	encodingAESKeyLength = 43
)

// PushReader verifies and decrypts what WeChat pushes to a third-party
// platform. Make it with [NewPushReader]; it may be used from many goroutines
// at once. It prints without its keys.
//
// WeChat's description of the encryption:
// https://developers.weixin.qq.com/doc/oplatform/Third-party_Platforms/2.0/api/Before_Develop/Message_encryption_and_decryption.html
type PushReader struct { //nolint:recvcheck // Format has a value receiver, so that a copied PushReader prints no secret either
	componentAppID string
	token          redact.Hidden[string]
	keys           redact.Hidden[[]pushKey]
}

// pushKey decrypts. Its iv is the start of the key, as WeChat has it.
type pushKey struct {
	block cipher.Block
	iv    []byte
}

// NewPushReader returns a reader of the pushes to the platform componentAppID.
// token (消息校验Token) and encodingAESKeys (消息加解密Key, 43 characters) are
// those in the platform's console. The current key comes first. After a change
// WeChat may use the former key for a while, so keep that one behind it.
//
// An argument that cannot be right is [ErrInvalidArgument].
func NewPushReader(componentAppID, token string, encodingAESKeys ...string) (*PushReader, error) {
	if err := checkAppID("component_appid", componentAppID); err != nil {
		return nil, err
	}
	if err := checkCredential("token", token); err != nil {
		return nil, err
	}
	if len(encodingAESKeys) == 0 {
		return nil, invalid("encodingAESKeys", "is empty")
	}
	keys := make([]pushKey, 0, len(encodingAESKeys))
	for i, encoded := range encodingAESKeys {
		key, problem := newPushKey(encoded)
		if problem != "" {
			return nil, invalid(fmt.Sprintf("encodingAESKeys[%d]", i), problem)
		}
		keys = append(keys, key)
	}
	return &PushReader{componentAppID: componentAppID, token: redact.Conceal(token), keys: redact.Conceal(keys)}, nil
}

// newPushKey is lenient towards the two bits that 43 characters have too many:
// the console takes any text, so they need not be zero.
func newPushKey(encoded string) (key pushKey, problem string) {
	if len(encoded) != encodingAESKeyLength {
		return pushKey{}, fmt.Sprintf("has %d bytes, not %d", len(encoded), encodingAESKeyLength)
	}
	raw, err := base64.RawStdEncoding.DecodeString(encoded)
	if err != nil || len(raw) != 2*aes.BlockSize {
		return pushKey{}, "is not base64"
	}
	block, err := aes.NewCipher(raw)
	if err != nil {
		return pushKey{}, "is not an AES key"
	}
	return pushKey{block: block, iv: raw[:aes.BlockSize]}, ""
}

// Format implements [fmt.Formatter]: every verb prints the component_appid and
// no secret.
func (r PushReader) Format(f fmt.State, _ rune) {
	_, _ = io.WriteString(f, "wxphone.PushReader("+r.componentAppID+")")
}

// Read returns the push of a POST request with this query and body. It is for
// frameworks that do not take an [http.Handler]; see [PushReader.Handler] for
// what WeChat expects as an answer.
//
// Any fault of the request is [ErrPush]: a msg_signature that
// is not WeChat's, a push that is not encrypted or is for another platform, a
// body over 1 MiB, or XML with a DOCTYPE. The error says what to look at, and
// quotes nothing of the request. [HTTPStatus] of it is 403 for a wrong
// msg_signature and otherwise 400.
//
// A push does not expire: its signature covers a timestamp, but WeChat says
// nothing about its age. Whoever recorded a push can send it again. Keep a
// ticket only if its CreatedAt is later than that of the ticket you have, and
// on a push about an authorisation ask WeChat before you act.
func (r *PushReader) Read(query url.Values, body []byte) (*Push, error) {
	if r == nil || len(r.keys.Reveal()) == 0 {
		return nil, invalid("PushReader", "was not made by NewPushReader")
	}
	if len(body) > maxPush {
		return nil, errPushSize
	}
	timestamp, nonce := query.Get("timestamp"), query.Get("nonce")
	if query.Get("encrypt_type") != "aes" || !isPushTimestamp(timestamp) || !isPushNonce(nonce) {
		return nil, errPushQuery
	}
	var appID, sealed string
	if !readXML(body, map[string]*string{"AppId": &appID, "Encrypt": &sealed}) || sealed == "" {
		return nil, errPushBody
	}
	// Nothing is decrypted before this, so that nobody but WeChat can ask
	// whether some padding is right.
	if !r.signed(query.Get("msg_signature"), timestamp, nonce, sealed) {
		return nil, errPushForged
	}
	if appID != "" && appID != r.componentAppID {
		return nil, errPushSealed
	}
	message, ok := r.decrypt(sealed)
	if !ok {
		return nil, errPushSealed
	}
	push, ok := newPush(message)
	if !ok {
		return nil, errPushInside
	}
	return push, nil
}

// What is signed does not tell where one part ends and the next begins. So that
// no piece of Encrypt passes for one of its neighbours, these may only be what
// WeChat sends, and must be too short for a block of Encrypt.
func isPushTimestamp(s string) bool {
	return s != "" && len(s) <= 16 && strings.Trim(s, "0123456789") == ""
}

func isPushNonce(s string) bool { return s != "" && len(s) <= 32 }

func (r *PushReader) signed(signature, timestamp, nonce, sealed string) bool {
	parts := []string{r.token.Reveal(), timestamp, nonce, sealed}
	slices.Sort(parts)
	sum := sha1.Sum([]byte(strings.Join(parts, ""))) //nolint:gosec // WeChat's algorithm
	return subtle.ConstantTimeCompare([]byte(hex.EncodeToString(sum[:])), []byte(signature)) == 1
}

// decrypt tries the keys in turn.
func (r *PushReader) decrypt(sealed string) (message []byte, ok bool) {
	ciphertext, err := base64.StdEncoding.DecodeString(sealed)
	if err != nil || len(ciphertext) == 0 || len(ciphertext)%pushBlock != 0 {
		return nil, false
	}
	for _, key := range r.keys.Reveal() {
		if message, ok = key.open(ciphertext, r.componentAppID); ok {
			return message, true
		}
	}
	return nil, false
}

// open takes the plaintext apart: 16 random bytes, the length of the message in
// 4, the message, the appid.
func (k pushKey) open(ciphertext []byte, appID string) (message []byte, ok bool) {
	plaintext := make([]byte, len(ciphertext))
	cipher.NewCBCDecrypter(k.block, k.iv).CryptBlocks(plaintext, ciphertext)
	length, padded := unpadPKCS7(plaintext, pushBlock)
	const header = 16 + 4
	end := length - len(appID)
	if end < header {
		return nil, false
	}
	good := padded & subtle.ConstantTimeCompare(plaintext[end:length], []byte(appID))
	if told := binary.BigEndian.Uint32(plaintext[16:header]); int64(told) != int64(end-header) || good != 1 {
		return nil, false
	}
	return plaintext[header:end], true
}

// newPush refuses a message that names its kind but not what the kind is about,
// so that an empty ticket does not replace a good one.
func newPush(message []byte) (*Push, bool) {
	var p Push
	var created, expires string
	ok := readXML(message, map[string]*string{
		"InfoType":                     &p.InfoType,
		"CreateTime":                   &created,
		"ComponentVerifyTicket":        &p.Ticket,
		"AuthorizerAppid":              &p.AuthorizerAppID,
		"AuthorizationCode":            &p.AuthorizationCode,
		"AuthorizationCodeExpiredTime": &expires,
		"PreAuthCode":                  &p.PreAuthCode,
	})
	switch p.InfoType {
	case PushTicket:
		ok = ok && p.Ticket != ""
	case PushAuthorized, PushUpdated, PushUnauthorized:
		ok = ok && p.AuthorizerAppID != ""
	}
	if !ok {
		return nil, false
	}
	if p.CreatedAt, ok = pushTime(created, time.Time{}); !ok {
		return nil, false
	}
	if p.AuthorizationCodeExpiresAt, ok = pushTime(expires, p.CreatedAt); !ok {
		return nil, false
	}
	return &p, true
}

// pushTime reads Unix seconds, or the zero time from no text. A number that
// would be a time long before there was WeChat is a duration from base on:
// WeChat's page on AuthorizationCodeExpiredTime can be read either way.
func pushTime(text string, base time.Time) (time.Time, bool) {
	if text == "" {
		return time.Time{}, true
	}
	const (
		earliest = 1_000_000_000   // in 2001
		latest   = 253_402_300_799 // in 9999, the last year that RFC 3339 can write
	)
	seconds, err := strconv.ParseInt(text, 10, 64)
	switch {
	case err != nil || seconds <= 0 || seconds > latest:
		return time.Time{}, false
	case seconds >= earliest:
		return time.Unix(seconds, 0), true
	case base.IsZero():
		return time.Time{}, true
	default:
		return base.Add(time.Duration(seconds) * time.Second), true
	}
}

// Handler returns the handler of the authorisation event URL. It calls handle
// with every push that WeChat made, and with nothing else, and answers as
// WeChat wants it: status 200 and "success" once handle returned nil.
//
// A request that [PushReader.Read] refuses is answered with 403 if its
// msg_signature is wrong and otherwise with 400, and one that is not a POST with
// 405. If handle fails, the answer is 500 and WeChat pushes again. The text of
// handle's error goes nowhere, so handle should log what fails in it.
//
// WeChat waits 5 seconds for the answer, and then ends the request and with it
// handle's context. The same push may come more than once. Keep what is slow
// out of handle: save the ticket, or exchange the code with
// [Component.QueryAuthorization] and save the refresh token, and return.
//
// A ticket comes every 10 minutes and is valid for 12 hours. WeChat stops
// pushing after too many failures; [Component.StartTicketPush] has it begin again.
// handle should keep a ticket only if it is newer than the one that it has; see
// [PushReader.Read] for the reason.
//
// A nil handle panics.
//
// See https://developers.weixin.qq.com/doc/oplatform/Third-party_Platforms/2.0/api/ThirdParty/token/component_verify_ticket.html
func (r *PushReader) Handler(handle func(context.Context, *Push) error) http.Handler {
	if handle == nil {
		panic("wxphone: PushReader.Handler: handle is nil")
	}
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.Method != http.MethodPost {
			w.Header().Set("Allow", http.MethodPost)
			http.Error(w, "only POST", http.StatusMethodNotAllowed)
			return
		}
		push, err := r.receive(w, req)
		switch {
		case errors.Is(err, ErrPush):
			http.Error(w, "refused", HTTPStatus(err))
			return
		case err == nil:
			err = handle(req.Context(), push)
		}
		if err != nil {
			http.Error(w, "failed", http.StatusInternalServerError)
			return
		}
		const success = "success"
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Content-Length", strconv.Itoa(len(success)))
		_, _ = io.WriteString(w, success)
	})
}

// receive reads no more of a body than a push may have. A body that is too
// large or cut short is a push that cannot be read.
func (r *PushReader) receive(w http.ResponseWriter, req *http.Request) (*Push, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, maxPush))
	if err != nil {
		return nil, errPushBody
	}
	return r.Read(req.URL.Query(), body)
}

// readXML reads the texts of the elements right below <xml> that fields names.
// Others are skipped, for WeChat may add some. It takes plain XML only: the five
// entities that XML is born with, and no comments, no DOCTYPE or other
// directive, no text between the elements. A field that comes twice or holds
// elements is refused, since two readers could understand it in two ways.
func readXML(document []byte, fields map[string]*string) bool {
	decoder := xml.NewDecoder(bytes.NewReader(document))
	r := xmlReader{fields: fields, seen: make(map[string]bool, len(fields))}
	for first := true; ; first = false {
		token, err := decoder.Token()
		if err != nil {
			// The decoder reports EOF only where every element is closed.
			return r.seen["xml"] && errors.Is(err, io.EOF)
		}
		ok := false
		switch t := token.(type) {
		case xml.StartElement:
			ok = r.start(t.Name)
		case xml.EndElement:
			r.end()
			ok = true
		case xml.CharData:
			ok = r.chars(t)
		case xml.ProcInst:
			ok = first && t.Target == "xml"
		}
		if !ok {
			return false
		}
	}
}

// xmlReader is where readXML is in a document.
type xmlReader struct {
	fields map[string]*string
	seen   map[string]bool // the root and the fields that have begun
	depth  int
	field  string // the one that is open, or ""
	text   strings.Builder
}

func (r *xmlReader) start(name xml.Name) bool {
	const deepest = 16
	r.depth++
	switch {
	case r.field != "" || r.depth > deepest:
		return false
	case r.depth == 1:
		if name.Local != "xml" {
			return false
		}
	case r.depth > 2 || r.fields[name.Local] == nil:
		return true
	}
	if r.seen[name.Local] || name.Space != "" {
		return false
	}
	r.seen[name.Local] = true
	if r.depth == 2 {
		r.field = name.Local
	}
	return true
}

func (r *xmlReader) end() {
	r.depth--
	if r.field == "" {
		return
	}
	*r.fields[r.field] = r.text.String()
	r.text.Reset()
	r.field = ""
}

func (r *xmlReader) chars(text []byte) bool {
	if r.field != "" {
		r.text.Write(text)
		return true
	}
	return r.depth > 1 || len(bytes.TrimSpace(text)) == 0
}
