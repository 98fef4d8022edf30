package main

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/wxphone/wxphone"
)

const (
	// handlerTimeout bounds one request to WeChat with all its retries.
	handlerTimeout = 10 * time.Second
	// watermarkMaxAge is how long after the tap encryptedData is taken.
	watermarkMaxAge = 10 * time.Minute

	maxCodeBody   = 4 << 10
	maxLegacyBody = 16 << 10
)

// The words that a failure is answered with, as {"error": "..."}. The
// mini-program acts on them, so they stay the same when WeChat's errcodes and
// texts change.
const (
	wordTapAgain   = "tap_again"   // the user taps the button once more
	wordLoginAgain = "login_again" // the mini-program calls wx.login, then the user taps
	wordTryLater   = "try_later"   // WeChat is busy or not there
	wordFailed     = "failed"      // nothing the user could do
)

// errNoSession is a request with a session that this server does not have.
var errNoSession = errors.New("no such session")

// A requestError is a body that this server does not take.
type requestError struct {
	status int
	cause  error
}

func (e *requestError) Error() string { return "request body: " + e.cause.Error() }

// app is what the handlers share.
type app struct {
	client   *wxphone.Client
	sessions *sessions
	logger   *slog.Logger
}

func newHandler(client *wxphone.Client, logger *slog.Logger) http.Handler {
	return (&app{client: client, sessions: newSessions(), logger: logger}).routes()
}

func (a *app) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /phone", a.phone)
	mux.HandleFunc("POST /login", a.login)
	mux.HandleFunc("POST /phone/legacy", a.legacyPhone)
	return a.logged(mux)
}

// phone takes {"code": "..."}, the code of the phone number button.
func (a *app) phone(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), handlerTimeout)
	defer cancel()

	var body struct {
		Code string `json:"code"`
	}
	if err := decode(w, r, maxCodeBody, &body); err != nil {
		a.fail(w, r, err)
		return
	}
	var opts []wxphone.PhoneOption
	if id := r.Header.Get(sessionHeader); id != "" {
		session, ok := a.sessions.load(id)
		if !ok {
			a.fail(w, r, errNoSession)
			return
		}
		// WeChat then refuses a code that is another user's.
		opts = append(opts, wxphone.WithOpenID(session.openID))
	}
	phone, err := a.client.GetPhoneNumber(ctx, body.Code, opts...)
	if err != nil {
		a.fail(w, r, err)
		return
	}
	a.answerPhone(w, phone)
}

// login takes {"code": "..."}, the code of wx.login, and answers with the id of
// a session. The openid and the session_key stay here.
func (a *app) login(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), handlerTimeout)
	defer cancel()

	var body struct {
		Code string `json:"code"`
	}
	if err := decode(w, r, maxCodeBody, &body); err != nil {
		a.fail(w, r, err)
		return
	}
	session, err := a.client.Code2Session(ctx, body.Code)
	if err != nil {
		a.fail(w, r, err)
		return
	}
	id, err := a.sessions.save(session.OpenID, session.SessionKey)
	if err != nil {
		a.fail(w, r, err)
		return
	}
	answer(w, http.StatusOK, map[string]string{"session": id})
}

// legacyPhone takes {"encryptedData": "...", "iv": "..."} from a mini-program
// that logged in before the tap.
func (a *app) legacyPhone(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), handlerTimeout)
	defer cancel()

	var body struct {
		EncryptedData string `json:"encryptedData"`
		IV            string `json:"iv"`
	}
	if err := decode(w, r, maxLegacyBody, &body); err != nil {
		a.fail(w, r, err)
		return
	}
	id := r.Header.Get(sessionHeader)
	session, ok := a.sessions.load(id)
	if !ok {
		a.fail(w, r, errNoSession)
		return
	}
	phone, err := a.reveal(ctx, session, body.EncryptedData, body.IV)
	if errors.Is(err, wxphone.ErrSessionExpired) {
		a.sessions.remove(id)
	}
	if err != nil {
		a.fail(w, r, err)
		return
	}
	a.answerPhone(w, phone)
}

// reveal decrypts, and asks WeChat about the session_key when that fails: with
// a stale one, tapping again would fail again.
func (a *app) reveal(ctx context.Context, session session, encryptedData, iv string) (*wxphone.PhoneInfo, error) {
	phone, err := a.client.VerifyPhoneNumber(ctx, session.key, encryptedData, iv)
	if !errors.Is(err, wxphone.ErrDecrypt) {
		return phone, err
	}
	stale := a.client.CheckSessionKey(ctx, session.openID, session.key)
	if errors.Is(stale, wxphone.ErrSessionExpired) {
		return nil, stale
	}
	return nil, err
}

// answerPhone is where a service of yours saves phone.E164() for its user. The
// mini-program gets the number masked, which is enough to show.
func (a *app) answerPhone(w http.ResponseWriter, phone *wxphone.PhoneInfo) {
	answer(w, http.StatusOK, map[string]string{"phone": phone.String()})
}

// fail logs err and answers with a word that the mini-program can act on. The
// text of err stays here: it is for who runs the server.
func (a *app) fail(w http.ResponseWriter, r *http.Request, err error) {
	status := statusOf(err)
	level := slog.LevelError
	if status < http.StatusInternalServerError {
		level = slog.LevelInfo // the user's or the mini-program's, and no alarm
	}
	attrs := []slog.Attr{slog.String("route", r.Pattern), slog.Int("status", status), slog.Any("err", err)}
	var refusal *wxphone.APIError
	if errors.As(err, &refusal) {
		attrs = append(attrs, slog.Group("wechat",
			slog.String("endpoint", refusal.Endpoint),
			slog.Int("errcode", refusal.Code),
			slog.String("kind", refusal.Kind().String()),
			slog.String("rid", refusal.RID),
		))
	}
	a.logger.LogAttrs(r.Context(), level, "refused", attrs...)
	answer(w, status, map[string]string{"error": wordOf(err, r.Pattern)})
}

func statusOf(err error) int {
	var request *requestError
	if errors.As(err, &request) {
		return request.status
	}
	if errors.Is(err, errNoSession) {
		return http.StatusUnauthorized
	}
	return wxphone.HTTPStatus(err)
}

func wordOf(err error, route string) string {
	switch {
	case errors.Is(err, errNoSession), errors.Is(err, wxphone.ErrSessionExpired):
		return wordLoginAgain
	case errors.Is(err, wxphone.ErrCodeInvalid) && route == "POST /login":
		return wordLoginAgain // the code was the one of wx.login
	case errors.Is(err, wxphone.ErrCodeInvalid),
		errors.Is(err, wxphone.ErrDecrypt),
		errors.Is(err, wxphone.ErrWatermarkExpired):
		return wordTapAgain
	case errors.Is(err, wxphone.ErrNoPhoneNumber), errors.Is(err, wxphone.ErrWatermark):
		return wordFailed // WeChat would answer the same again
	}
	switch statusOf(err) {
	case http.StatusTooManyRequests,
		http.StatusBadGateway,
		http.StatusServiceUnavailable,
		http.StatusGatewayTimeout:
		return wordTryLater
	}
	return wordFailed
}

// decode reads a body of at most limit bytes. Its errors hold nothing of the
// body, whose values are secrets.
func decode(w http.ResponseWriter, r *http.Request, limit int64, v any) error {
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, limit)).Decode(v)
	var tooLarge *http.MaxBytesError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &tooLarge):
		return &requestError{http.StatusRequestEntityTooLarge, errors.New("too large")}
	default:
		return &requestError{http.StatusBadRequest, errors.New("not the JSON that was asked for")}
	}
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // fails only if the client is gone
}

// logged logs every request. It names the route instead of the URL, which
// holds whatever a client put into it.
func (a *app) logged(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begin := time.Now()
		recorder := &statusRecorder{ResponseWriter: w, status: http.StatusOK}
		next.ServeHTTP(recorder, r)
		a.logger.LogAttrs(r.Context(), slog.LevelInfo, "request",
			slog.String("route", r.Pattern),
			slog.Int("status", recorder.status),
			slog.Int64("duration_ms", time.Since(begin).Milliseconds()),
		)
	})
}

// statusRecorder remembers the status that a handler answered with.
type statusRecorder struct {
	http.ResponseWriter
	status int
}

func (w *statusRecorder) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap is for http.ResponseController.
func (w *statusRecorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }
