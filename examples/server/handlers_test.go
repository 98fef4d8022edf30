package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/wxphonetest"
)

const (
	phoneEndpoint = "/wxa/business/getuserphonenumber"
	loginEndpoint = "/sns/jscode2session"
	maskedAnswer  = `{"phone":"+86 138****0000"}`
)

// lockedBuffer takes records from several goroutines. The client logs a fetched
// token in one of its own, which may come after the call that waited for it.
type lockedBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// backend is the server under test with all that it logged.
type backend struct {
	wechat   *wxphonetest.Server
	app      *app
	handler  http.Handler
	log      lockedBuffer
	unlogged []string // what the log must not hold
}

func newBackend(t *testing.T) *backend {
	t.Helper()
	b := &backend{wechat: wxphonetest.NewServer(t)}
	logger := slog.New(slog.NewJSONHandler(&b.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	client := b.wechat.NewClient(
		wxphone.WithLogger(logger),
		wxphone.WithMaxRetries(0), // retries are the client's and tested there
		wxphone.WithWatermarkMaxAge(watermarkMaxAge),
	)
	b.app = &app{client: client, sessions: newSessions(), logger: logger}
	b.handler = b.app.routes()
	t.Cleanup(func() {
		b.unlogged = append(b.unlogged, b.wechat.Secret(), b.wechat.Token(),
			string(b.wechat.SessionKey(openID)), "13800000000", "access_token=")
		for _, secret := range b.unlogged {
			if strings.Contains(b.log.String(), secret) {
				t.Errorf("the log holds %q:\n%s", secret, b.log.String())
			}
		}
	})
	return b
}

// post sends body, a string or what is to be JSON.
func (b *backend) post(t *testing.T, path, session string, body any) (status int, answer string) {
	t.Helper()
	text, ok := body.(string)
	if !ok {
		encoded, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		text = string(encoded)
	}
	request := httptest.NewRequest(http.MethodPost, path, strings.NewReader(text))
	if session != "" {
		request.Header.Set(sessionHeader, session)
	}
	recorder := httptest.NewRecorder()
	b.handler.ServeHTTP(recorder, request)
	return recorder.Code, strings.TrimSpace(recorder.Body.String())
}

func (b *backend) tap() map[string]string {
	code := b.wechat.IssueCode(consented, wxphonetest.ForOpenID(openID))
	b.unlogged = append(b.unlogged, code)
	return map[string]string{"code": code}
}

func (b *backend) legacyTap() map[string]string {
	encryptedData, iv := b.wechat.Encrypt(openID, consented)
	b.unlogged = append(b.unlogged, encryptedData, iv)
	return map[string]string{"encryptedData": encryptedData, "iv": iv}
}

// login logs a user in and returns the id of the session.
func (b *backend) login(t *testing.T, openid string) string {
	t.Helper()
	code := b.wechat.IssueLoginCode(openid)
	status, answer := b.post(t, "/login", "", map[string]string{"code": code})
	if status != http.StatusOK {
		t.Fatalf("login: %d %s", status, answer)
	}
	var body map[string]string
	if err := json.Unmarshal([]byte(answer), &body); err != nil {
		t.Fatal(err)
	}
	if len(body) != 1 || len(body["session"]) < 40 {
		t.Errorf("login answered %v, want the id of a session only", body)
	}
	b.unlogged = append(b.unlogged, code, body["session"], string(b.wechat.SessionKey(openid)))
	return body["session"]
}

func expect(t *testing.T, status int, answer string, wantStatus int, wantAnswer string) {
	t.Helper()
	if status != wantStatus || answer != wantAnswer {
		t.Errorf("got %d %s, want %d %s", status, answer, wantStatus, wantAnswer)
	}
}

func failure(word string) string { return fmt.Sprintf(`{"error":%q}`, word) }

func TestPhoneByCode(t *testing.T) {
	b := newBackend(t)
	tap := b.tap()

	status, answer := b.post(t, "/phone", "", tap)
	expect(t, status, answer, http.StatusOK, maskedAnswer)

	status, answer = b.post(t, "/phone", "", tap)
	expect(t, status, answer, http.StatusBadRequest, failure(wordTapAgain))
	for _, want := range []string{`"errcode":40029`, `"kind":"code rejected"`, `"rid":"`, `"route":"POST /phone"`} {
		if !strings.Contains(b.log.String(), want) {
			t.Errorf("the log does not hold %s:\n%s", want, b.log.String())
		}
	}
}

func TestPhoneFailures(t *testing.T) {
	tests := []struct {
		name   string
		wechat func(*wxphonetest.Server)
		status int
		word   string
	}{
		{"busy", func(s *wxphonetest.Server) { s.FailNext(phoneEndpoint, -1, "", 1) }, 503, wordTryLater},
		{"minute quota", func(s *wxphonetest.Server) { s.FailNext(phoneEndpoint, 45011, "", 1) }, 429, wordTryLater},
		{"gateway page", func(s *wxphonetest.Server) { s.RespondNext(phoneEndpoint, 502, "<html>", 1) }, 502, wordTryLater},
		{"connection cut", func(s *wxphonetest.Server) { s.DropNext(phoneEndpoint, 1) }, 502, wordTryLater},
		{"code of another app", func(s *wxphonetest.Server) { s.FailNext(phoneEndpoint, 40013, "", 1) }, 500, wordFailed},
		{"IP whitelist", func(s *wxphonetest.Server) { s.FailNext("/cgi-bin/stable_token", 40164, "", 1) }, 500, wordFailed},
		{"no number", func(s *wxphonetest.Server) {
			s.RespondNext(phoneEndpoint, 200, `{"errcode":0,"errmsg":"ok","phone_info":{}}`, 1)
		}, 502, wordFailed},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b := newBackend(t)
			test.wechat(b.wechat)
			status, answer := b.post(t, "/phone", "", b.tap())
			expect(t, status, answer, test.status, failure(test.word))
		})
	}
}

func TestBadBodies(t *testing.T) {
	tests := []struct {
		name, path, body string
		status           int
	}{
		{"no JSON", "/phone", "code=13800000000", http.StatusBadRequest},
		{"another type", "/phone", `{"code":13800000000}`, http.StatusBadRequest},
		{"no code", "/phone", `{}`, http.StatusBadRequest},
		{"too large", "/phone", `{"code":"` + strings.Repeat("1", maxCodeBody) + `"}`, http.StatusRequestEntityTooLarge},
		{"no code of wx.login", "/login", `{}`, http.StatusBadRequest},
		{"no JSON for login", "/login", ``, http.StatusBadRequest},
		{"too large data", "/phone/legacy", `{"iv":"` + strings.Repeat("1", maxLegacyBody) + `"}`, http.StatusRequestEntityTooLarge},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b := newBackend(t)
			status, answer := b.post(t, test.path, "", test.body)
			expect(t, status, answer, test.status, failure(wordFailed))
		})
	}
}

func TestSessionBindsTheCode(t *testing.T) {
	b := newBackend(t)
	status, answer := b.post(t, "/phone", b.login(t, openID), b.tap())
	expect(t, status, answer, http.StatusOK, maskedAnswer)

	// Bob's session and Alice's code.
	status, answer = b.post(t, "/phone", b.login(t, "openid-of-bob"), b.tap())
	expect(t, status, answer, http.StatusBadRequest, failure(wordTapAgain))

	status, answer = b.post(t, "/phone", "made-up", b.tap())
	expect(t, status, answer, http.StatusUnauthorized, failure(wordLoginAgain))
}

func TestLoginFailures(t *testing.T) {
	b := newBackend(t)
	// The button's code instead of the one of wx.login.
	status, answer := b.post(t, "/login", "", b.tap())
	expect(t, status, answer, http.StatusBadRequest, failure(wordLoginAgain))

	b.wechat.FailNext(loginEndpoint, 40226, "", 1)
	code := map[string]string{"code": b.wechat.IssueLoginCode(openID)}
	status, answer = b.post(t, "/login", "", code)
	expect(t, status, answer, http.StatusForbidden, failure(wordFailed))
}

func TestLegacyPhone(t *testing.T) {
	t.Run("after a login", func(t *testing.T) {
		b := newBackend(t)
		session := b.login(t, openID)
		status, answer := b.post(t, "/phone/legacy", session, b.legacyTap())
		expect(t, status, answer, http.StatusOK, maskedAnswer)
	})

	t.Run("without a login", func(t *testing.T) {
		b := newBackend(t)
		status, answer := b.post(t, "/phone/legacy", "", b.legacyTap())
		expect(t, status, answer, http.StatusUnauthorized, failure(wordLoginAgain))
	})

	t.Run("long after the login", func(t *testing.T) {
		b := newBackend(t)
		session := b.login(t, openID)
		b.app.sessions.now = func() time.Time { return time.Now().Add(sessionLifetime) }
		status, answer := b.post(t, "/phone/legacy", session, b.legacyTap())
		expect(t, status, answer, http.StatusUnauthorized, failure(wordLoginAgain))

		b.login(t, openID)
		if n := len(b.app.sessions.byID); n != 1 {
			t.Errorf("%d sessions are kept, want 1 without the expired one", n)
		}
	})

	t.Run("login after the tap", func(t *testing.T) {
		b := newBackend(t)
		tap := b.legacyTap()
		b.wechat.RotateSessionKey(openID) // as wx.login may
		session := b.login(t, openID)
		status, answer := b.post(t, "/phone/legacy", session, tap)
		expect(t, status, answer, http.StatusBadRequest, failure(wordTapAgain))

		status, answer = b.post(t, "/phone/legacy", session, b.legacyTap())
		expect(t, status, answer, http.StatusOK, maskedAnswer)
	})

	t.Run("with a stale session_key", func(t *testing.T) {
		b := newBackend(t)
		session := b.login(t, openID)
		b.wechat.RotateSessionKey(openID)
		status, answer := b.post(t, "/phone/legacy", session, b.legacyTap())
		expect(t, status, answer, http.StatusUnauthorized, failure(wordLoginAgain))
		if _, ok := b.app.sessions.load(session); ok {
			t.Error("the session is kept")
		}
	})

	t.Run("with an old tap", func(t *testing.T) {
		b := newBackend(t)
		session := b.login(t, openID)
		old := consented
		old.Watermark = wxphone.Watermark{
			AppID:     b.wechat.AppID(),
			Timestamp: time.Now().Add(-watermarkMaxAge - time.Minute).Unix(),
		}
		encryptedData, iv := b.wechat.Encrypt(openID, old)
		status, answer := b.post(t, "/phone/legacy", session, map[string]string{"encryptedData": encryptedData, "iv": iv})
		expect(t, status, answer, http.StatusBadRequest, failure(wordTapAgain))
	})

	t.Run("with a leaked session_key", func(t *testing.T) {
		b := newBackend(t)
		session := b.login(t, openID)
		encryptedData, iv := wxphonetest.Seal(b.wechat.SessionKey(openID), consented)
		status, answer := b.post(t, "/phone/legacy", session, map[string]string{"encryptedData": encryptedData, "iv": iv})
		expect(t, status, answer, http.StatusBadRequest, failure(wordTapAgain))
	})
}

func TestOtherRequests(t *testing.T) {
	b := newBackend(t)
	for _, test := range []struct {
		method, path string
		status       int
	}{
		{http.MethodGet, "/phone", http.StatusMethodNotAllowed},
		{http.MethodPost, "/13800000000", http.StatusNotFound}, // and not in the log
	} {
		recorder := httptest.NewRecorder()
		b.handler.ServeHTTP(recorder, httptest.NewRequest(test.method, test.path, http.NoBody))
		if recorder.Code != test.status {
			t.Errorf("%s %s: %d, want %d", test.method, test.path, recorder.Code, test.status)
		}
	}
}
