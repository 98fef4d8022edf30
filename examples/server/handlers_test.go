package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
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
	maskedAnswer  = `{"phone":"+86 138****0000","step":"done"}`
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
		append(options(logger), wxphone.WithMaxRetries(0))..., // retries are the client's and tested there
	)
	b.app = &app{client: client, sessions: newSessions(), numbers: newNumbers(), logger: logger}
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

func failure(step wxphone.Step) string { return fmt.Sprintf(`{"step":%q}`, step) }

func TestPhoneByCode(t *testing.T) {
	b := newBackend(t)
	tap := b.tap()

	status, answer := b.post(t, "/phone", "", tap)
	expect(t, status, answer, http.StatusOK, maskedAnswer)

	// The answer was lost on its way, and the mini-program sends the code again.
	status, answer = b.post(t, "/phone", "", tap)
	expect(t, status, answer, http.StatusOK, maskedAnswer)
	if n := b.wechat.Requests(phoneEndpoint); n != 1 {
		t.Errorf("WeChat got %d requests, want 1", n)
	}

	status, answer = b.post(t, "/phone", "", map[string]string{"code": "used"})
	expect(t, status, answer, http.StatusBadRequest, failure(wxphone.StepTapAgain))
	for _, want := range []string{`"errcode":40029`, `"kind":"code rejected"`, `"rid":"`, `"route":"POST /phone"`} {
		if !strings.Contains(b.log.String(), want) {
			t.Errorf("the log does not hold %s:\n%s", want, b.log.String())
		}
	}
}

// A phone that hangs up in the middle has used its code up. Its number is saved
// all the same.
func TestNumberIsSavedAlthoughThePhoneHungUp(t *testing.T) {
	for _, path := range []string{"/phone", "/phone/legacy"} {
		t.Run(path, func(t *testing.T) {
			b := newBackend(t)
			session := b.login(t, openID)
			tap, endpoint := b.tap(), phoneEndpoint
			if path == "/phone/legacy" {
				tap, endpoint = b.legacyTap(), "/wxa/business/checkencryptedmsg"
			}
			b.wechat.SetLatency(endpoint, 200*time.Millisecond)
			server := httptest.NewServer(b.handler)
			defer server.Close()

			ctx, hangUp := context.WithCancel(context.Background())
			go func() {
				for b.wechat.Requests(endpoint) == 0 {
					time.Sleep(time.Millisecond)
				}
				hangUp()
			}()
			body, err := json.Marshal(tap)
			if err != nil {
				t.Fatal(err)
			}
			request, err := http.NewRequestWithContext(ctx, http.MethodPost, server.URL+path, bytes.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			request.Header.Set(sessionHeader, session)
			response, err := http.DefaultClient.Do(request)
			if err == nil {
				response.Body.Close()
			}
			if !errors.Is(err, context.Canceled) {
				t.Fatalf("got %v; the line was to be cut", err)
			}
			server.Close() // waits for the handler
			if number := b.app.numbers.load(openID); number != "+8613800000000" {
				t.Errorf("the number that was saved is %q", number)
			}
		})
	}
}

func TestPhoneFailures(t *testing.T) {
	tests := []struct {
		name   string
		wechat func(*wxphonetest.Server)
		status int
		step   wxphone.Step
	}{
		{"busy", func(s *wxphonetest.Server) { s.FailNext(phoneEndpoint, -1, "", 1) }, 503, wxphone.StepSendAgain},
		{"minute quota", func(s *wxphonetest.Server) { s.FailNext(phoneEndpoint, 45011, "", 1) }, 429, wxphone.StepSendAgain},
		{"gateway page", func(s *wxphonetest.Server) { s.RespondNext(phoneEndpoint, 502, "<html>", 1) }, 502, wxphone.StepSendAgain},
		{"connection cut", func(s *wxphonetest.Server) { s.DropNext(phoneEndpoint, 1) }, 502, wxphone.StepSendAgain},
		{"code of another app", func(s *wxphonetest.Server) { s.FailNext(phoneEndpoint, 40013, "", 1) }, 500, wxphone.StepStop},
		{"IP whitelist", func(s *wxphonetest.Server) { s.FailNext("/cgi-bin/stable_token", 40164, "", 1) }, 500, wxphone.StepStop},
		{"no number", func(s *wxphonetest.Server) {
			s.RespondNext(phoneEndpoint, 200, `{"errcode":0,"errmsg":"ok","phone_info":{}}`, 1)
		}, 502, wxphone.StepStop},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b := newBackend(t)
			test.wechat(b.wechat)
			status, answer := b.post(t, "/phone", "", b.tap())
			expect(t, status, answer, test.status, failure(test.step))
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
			expect(t, status, answer, test.status, failure(wxphone.StepStop))
		})
	}
}

func TestSessionBindsTheCode(t *testing.T) {
	b := newBackend(t)
	status, answer := b.post(t, "/phone", b.login(t, openID), b.tap())
	expect(t, status, answer, http.StatusOK, maskedAnswer)

	// Bob's session and Alice's code.
	status, answer = b.post(t, "/phone", b.login(t, "openid-of-bob"), b.tap())
	expect(t, status, answer, http.StatusBadRequest, failure(wxphone.StepTapAgain))

	status, answer = b.post(t, "/phone", "made-up", b.tap())
	expect(t, status, answer, http.StatusUnauthorized, failure(wxphone.StepLogIn))
}

func TestLoginFailures(t *testing.T) {
	b := newBackend(t)
	// The button's code instead of the one of wx.login.
	status, answer := b.post(t, "/login", "", b.tap())
	expect(t, status, answer, http.StatusBadRequest, failure(wxphone.StepLogIn))

	b.wechat.FailNext(loginEndpoint, 40226, "", 1)
	code := map[string]string{"code": b.wechat.IssueLoginCode(openID)}
	status, answer = b.post(t, "/login", "", code)
	expect(t, status, answer, http.StatusForbidden, failure(wxphone.StepStop))
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
		expect(t, status, answer, http.StatusUnauthorized, failure(wxphone.StepLogIn))
	})

	t.Run("long after the login", func(t *testing.T) {
		b := newBackend(t)
		session := b.login(t, openID)
		b.app.sessions.now = func() time.Time { return time.Now().Add(sessionLifetime) }
		status, answer := b.post(t, "/phone/legacy", session, b.legacyTap())
		expect(t, status, answer, http.StatusUnauthorized, failure(wxphone.StepLogIn))

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
		expect(t, status, answer, http.StatusBadRequest, failure(wxphone.StepTapAgain))

		status, answer = b.post(t, "/phone/legacy", session, b.legacyTap())
		expect(t, status, answer, http.StatusOK, maskedAnswer)
	})

	t.Run("with a stale session_key", func(t *testing.T) {
		b := newBackend(t)
		session := b.login(t, openID)
		b.wechat.RotateSessionKey(openID)
		status, answer := b.post(t, "/phone/legacy", session, b.legacyTap())
		expect(t, status, answer, http.StatusUnauthorized, failure(wxphone.StepLogIn))
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
		expect(t, status, answer, http.StatusBadRequest, failure(wxphone.StepTapAgain))
	})

	t.Run("with a leaked session_key", func(t *testing.T) {
		b := newBackend(t)
		session := b.login(t, openID)
		encryptedData, iv := wxphonetest.Seal(b.wechat.SessionKey(openID), consented)
		status, answer := b.post(t, "/phone/legacy", session, map[string]string{"encryptedData": encryptedData, "iv": iv})
		expect(t, status, answer, http.StatusBadRequest, failure(wxphone.StepTapAgain))
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

func TestNumberWithoutACountryIsSavedAsItIs(t *testing.T) {
	n := newNumbers()
	n.save("openid-of-alice", &wxphone.PhoneInfo{PhoneNumber: "13800000000"})
	if number := n.load("openid-of-alice"); number != "13800000000" {
		t.Errorf("saved %q", number)
	}
}
