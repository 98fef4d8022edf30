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
	// duplicateWindow is how long a code that comes in again is answered. The
	// mini-program sends one again when it got no answer.
	duplicateWindow = 5 * time.Minute
	// watermarkMaxAge is how long after the tap encryptedData is taken.
	watermarkMaxAge = 10 * time.Minute

	maxCodeBody   = 4 << 10
	maxLegacyBody = 16 << 10
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
	numbers  *numbers
	logger   *slog.Logger
}

func newHandler(client *wxphone.Client, logger *slog.Logger) http.Handler {
	return (&app{client: client, sessions: newSessions(), numbers: newNumbers(), logger: logger}).routes()
}

func (a *app) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /phone", a.phone)
	mux.HandleFunc("POST /login", a.login)
	mux.HandleFunc("POST /phone/legacy", a.legacyPhone)
	return a.logged(mux)
}

// untilDone is the time of a request to WeChat. It goes on when the phone hangs
// up: the code is used up then, and its number is to be saved.
func untilDone(r *http.Request) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(r.Context()), handlerTimeout)
}

// phone takes {"code": "..."}, the code of the phone number button.
func (a *app) phone(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := untilDone(r)
	defer cancel()

	var body struct {
		Code string `json:"code"`
	}
	if err := decode(w, r, maxCodeBody, &body); err != nil {
		a.fail(w, r, err)
		return
	}
	var opts []wxphone.PhoneOption
	var user session // nobody, without a session
	if id := r.Header.Get(sessionHeader); id != "" {
		var ok bool
		if user, ok = a.sessions.load(id); !ok {
			a.fail(w, r, errNoSession)
			return
		}
		// WeChat then refuses a code that is another user's.
		opts = append(opts, wxphone.WithOpenID(user.OpenID))
	}
	phone, err := a.client.GetPhoneNumber(ctx, body.Code, opts...)
	if err != nil {
		a.fail(w, r, err)
		return
	}
	a.answerPhone(w, user.OpenID, phone)
}

// login takes {"code": "..."}, the code of wx.login, and answers with the id of
// a session. The openid and the session_key stay here.
func (a *app) login(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := untilDone(r)
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
	id, err := a.sessions.save(*session)
	if err != nil {
		a.fail(w, r, err)
		return
	}
	answer(w, http.StatusOK, map[string]string{"session": id})
}

// legacyPhone takes {"encryptedData": "...", "iv": "..."} from a mini-program
// that logged in before the tap.
func (a *app) legacyPhone(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := untilDone(r)
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
	user, ok := a.sessions.load(id)
	if !ok {
		a.fail(w, r, errNoSession)
		return
	}
	phone, err := a.client.RevealPhoneNumber(ctx, &user.Session, body.EncryptedData, body.IV)
	if errors.Is(err, wxphone.ErrSessionExpired) {
		a.sessions.remove(id)
	}
	if err != nil {
		a.fail(w, r, err)
		return
	}
	a.answerPhone(w, user.OpenID, phone)
}

// answerPhone saves the number for its user. The mini-program gets it masked,
// which is enough to show.
func (a *app) answerPhone(w http.ResponseWriter, openID string, phone *wxphone.PhoneInfo) {
	if openID != "" {
		a.numbers.save(openID, phone)
	}
	answer(w, http.StatusOK, map[string]string{"phone": phone.String(), "step": string(wxphone.StepDone)})
}

// fail logs err and answers with the step that the mini-program is to take. The
// text of err stays here: it is for who runs the server.
func (a *app) fail(w http.ResponseWriter, r *http.Request, err error) {
	status, step := reply(err)
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
	answer(w, status, map[string]string{"step": string(step)})
}

func reply(err error) (status int, step wxphone.Step) {
	var request *requestError
	switch {
	case errors.As(err, &request):
		return request.status, wxphone.StepStop
	case errors.Is(err, errNoSession):
		return http.StatusUnauthorized, wxphone.StepLogIn
	}
	return wxphone.HTTPStatus(err), wxphone.NextStep(err)
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
