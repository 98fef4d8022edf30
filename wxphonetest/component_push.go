package wxphonetest

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha1" //nolint:gosec // WeChat signs pushes so
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/wxphone/wxphone"
)

const (
	defaultPushToken      = "wxphonetestpush2f6d"
	defaultEncodingAESKey = "kR3vQ8mWp1LzT5nJc7HbY2dGf9SaE4uKoVi6MxQw0Z7"

	// pushPatience is how long WeChat waits for an answer.
	pushPatience = 5 * time.Second
	// pushPadding is the block that a push is padded to.
	pushPadding = 32
)

// WithPushKeys sets the token and the EncodingAESKey that the server signs and
// encrypts its pushes with. The default is a made-up pair.
func WithPushKeys(token, encodingAESKey string) Option {
	return func(o *options) error {
		if _, err := wxphone.NewPushReader(componentAppID, token, encodingAESKey); err != nil {
			return fmt.Errorf("wxphonetest: WithPushKeys: %w", err)
		}
		o.pushToken, o.encodingAESKey = token, encodingAESKey
		return nil
	}
}

// PushToken returns the token (消息校验Token) that pushes are signed with.
func (s *Server) PushToken() string { return s.pushToken }

// EncodingAESKey returns the key (消息加解密Key) that pushes are encrypted with.
func (s *Server) EncodingAESKey() string { return s.encodingAESKey }

// NewPushReader returns a reader of the server's pushes. Its Handler is what
// [Server.PushTo] takes.
func (s *Server) NewPushReader() *wxphone.PushReader {
	r, err := wxphone.NewPushReader(componentAppID, s.pushToken, s.encodingAESKey)
	if err != nil {
		s.reporter.fatalf("wxphonetest: NewPushReader: %v", err)
		return nil
	}
	return r
}

// PushTo sets the authorisation event URL (授权事件接收URL) of the platform. From
// now on the server pushes there what a method makes happen, before that method
// returns: [Server.PushTicket] a ticket, [Server.Authorize],
// [Server.AuthorizeApp], [Server.AuthorizeByURL] and
// [Server.IssueAuthorizationCode] an authorisation, [Server.WithdrawPermission]
// a change of it and [Server.Deauthorize] its end. Nothing is pushed by itself.
// With an empty url it stops.
//
// The push is a call of handler, in the same goroutine and with the path of
// url, or a request over the network if handler is nil. It ends after 5
// seconds. Each push is in [Server.Exchanges], as the endpoint
// "push component_verify_ticket" or its like, with the decrypted message as the
// body. If the answer is not status 200 with "success", the journal has the
// reason, and so has the log of the test or of [WithLogger]; see
// [Server.RepeatPush].
func (s *Server) PushTo(url string, handler http.Handler) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.eventURL, s.eventHandler = url, handler
}

// RepeatPush pushes the last push once more, as WeChat does when it got no
// "success", and sometimes when it did. If there was no URL at the time, it is
// the first push. It does nothing if nothing has happened.
func (s *Server) RepeatPush() {
	s.mu.Lock()
	p := s.platform.lastPush
	s.mu.Unlock()
	s.deliver(p)
}

// push is a message on its way to the platform.
type push struct{ infoType, message string }

// newPush returns a push with these fields after those that each has.
func newPush(infoType string, now time.Time, fields ...string) *push {
	var b strings.Builder
	fields = append([]string{"AppId", componentAppID, "CreateTime", strconv.FormatInt(now.Unix(), 10), "InfoType", infoType}, fields...)
	b.WriteString("<xml>\n")
	for i := 0; i < len(fields); i += 2 {
		fmt.Fprintf(&b, "<%[1]s><![CDATA[%[2]s]]></%[1]s>\n", fields[i], fields[i+1])
	}
	b.WriteString("</xml>")
	return &push{infoType, b.String()}
}

// newAuthorizationPush returns a push that brings an authorization_code.
func (s *Server) newAuthorizationPush(infoType, appID, code, preAuth string, now time.Time) *push {
	expires := s.platform.authorizationCodes[code].issued.Add(authorizationCodeLifetime)
	return newPush(infoType, now, "AuthorizerAppid", appID, "AuthorizationCode", code,
		"AuthorizationCodeExpiredTime", strconv.FormatInt(expires.Unix(), 10), "PreAuthCode", preAuth)
}

// deliver sends p to the platform, if it is not nil and there is a URL.
// The caller does not hold the mutex, because the platform may call the server
// before it answers.
func (s *Server) deliver(p *push) {
	if p == nil {
		return
	}
	s.mu.Lock()
	s.platform.lastPush = p
	target, handler, closed := s.eventURL, s.eventHandler, s.closed
	s.mu.Unlock()
	if target == "" || closed {
		return
	}
	query, body := sealPush(s.pushToken, s.encodingAESKey, p.message, time.Now())
	ctx, cancel := context.WithTimeout(context.Background(), pushPatience)
	defer cancel()
	send := sendPush
	if handler != nil {
		send = func(ctx context.Context, address string, body []byte) (int, []byte, error) {
			return callPush(ctx, handler, address, body)
		}
	}
	status, answer, err := send(ctx, withQuery(target, query), body)
	c := &call{
		method: http.MethodPost, endpoint: "push " + p.infoType, rawQuery: query.Encode(), body: []byte(p.message),
		arrived: time.Now(), appID: componentAppID,
	}
	reason := whyNoSuccess(ctx, status, answer, err)
	s.record(c, status, answer, reason)
	if reason != "" {
		s.reporter.warn("wxphonetest: push refused", slog.String("endpoint", c.endpoint), slog.String("reason", reason))
		s.reporter.logf("wxphonetest: %s: %s", c.endpoint, reason)
	}
}

// callPush is sendPush to a handler in this process.
func callPush(ctx context.Context, handler http.Handler, address string, body []byte) (status int, answer []byte, err error) {
	req := httptest.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	req.Header.Set("Content-Type", "text/xml")
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, req)
	return recorder.Code, recorder.Body.Bytes(), nil
}

func sendPush(ctx context.Context, address string, body []byte) (status int, answer []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Content-Type", "text/xml")
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	answer, err = io.ReadAll(io.LimitReader(resp.Body, maxRecorded))
	return resp.StatusCode, answer, err
}

// whyNoSuccess says why WeChat would not be content with an answer, or is empty.
func whyNoSuccess(ctx context.Context, status int, answer []byte, err error) string {
	switch {
	case ctx.Err() != nil:
		return "the platform did not answer within 5 seconds"
	case err != nil:
		return "the platform could not be reached: " + err.Error()
	case status != http.StatusOK || string(answer) != "success":
		return fmt.Sprintf("the platform answered with status %d and %.60q; WeChat wants 200 and exactly \"success\"", status, answer)
	default:
		return ""
	}
}

// sealPush returns the query and the body of a push with message in it.
func sealPush(token, encodingAESKey, message string, now time.Time) (query url.Values, body []byte) {
	encrypt := encryptPush(encodingAESKey, message)
	timestamp, nonce := strconv.FormatInt(now.Unix(), 10), alphanumeric(10)
	query = url.Values{
		"signature": {signPush(token, timestamp, nonce)}, "timestamp": {timestamp}, "nonce": {nonce},
		"encrypt_type": {"aes"}, "msg_signature": {signPush(token, timestamp, nonce, encrypt)},
	}
	return query, []byte("<xml>\n<AppId><![CDATA[" + componentAppID + "]]></AppId>\n<Encrypt><![CDATA[" + encrypt + "]]></Encrypt>\n</xml>")
}

func signPush(parts ...string) string {
	slices.Sort(parts)
	sum := sha1.Sum([]byte(strings.Join(parts, ""))) //nolint:gosec // WeChat's algorithm
	return hex.EncodeToString(sum[:])
}

// encryptPush seals 16 random bytes, the length of the message in 4, the
// message, and the appid, padded.
func encryptPush(encodingAESKey, message string) string {
	plaintext := make([]byte, 16, 16+4+len(message)+len(componentAppID)+pushPadding)
	random(plaintext)
	plaintext = binary.BigEndian.AppendUint32(plaintext, uint32(len(message))) //nolint:gosec // a short text of ours
	plaintext = append(append(plaintext, message...), componentAppID...)
	padding := pushPadding - len(plaintext)%pushPadding
	plaintext = append(plaintext, bytes.Repeat([]byte{byte(padding)}, padding)...)

	key, err := base64.RawStdEncoding.DecodeString(encodingAESKey)
	if err != nil {
		panic("wxphonetest: the EncodingAESKey is not base64")
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		panic("wxphonetest: the EncodingAESKey is no AES key")
	}
	cipher.NewCBCEncrypter(block, key[:aes.BlockSize]).CryptBlocks(plaintext, plaintext)
	return base64.StdEncoding.EncodeToString(plaintext)
}
