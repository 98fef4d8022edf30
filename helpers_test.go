package wxphone_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/internal/leaktest"
	"github.com/wxphone/wxphone/wxphonetest"
)

// Paths of the APIs that tests of several files ask.
const (
	phoneAPI           = "/wxa/business/getuserphonenumber"
	stableTokenAPI     = "/cgi-bin/stable_token"
	classicTokenAPI    = "/cgi-bin/token"
	componentTokenAPI  = "/cgi-bin/component/api_component_token"
	authorizerTokenAPI = "/cgi-bin/component/api_authorizer_token"
	componentLoginAPI  = "/sns/component/jscode2session"
	preAuthCodeAPI     = "/cgi-bin/component/api_create_preauthcode"
	queryAuthAPI       = "/cgi-bin/component/api_query_auth"
	authorizerListAPI  = "/cgi-bin/component/api_get_authorizer_list"
	startTicketPushAPI = "/cgi-bin/component/api_start_push_ticket"
)

// What a mini-program is and has.
const (
	someAppID  = "wx0123456789abcdef"
	someSecret = "5f2d8c1a0b9e4d7786f3a1c2e4b6d809"
	someToken  = "86_kZ5nXUJ8oqWfQ0y3bR7dLhVtMgC2sEaP4xN6uTiYwSrDvBmFjKpHzGeQc9O1lAI8"
	laterToken = "86_nextXUJ8oqWfQ0y3bR7dLhVtMgC2sEaP4xN6uTiYwSrDvBmFjKpHzGeQc9O1lAI8"
	someCode   = "e31968a7f94cc5ee25fafc2aef2773f0bb8c3937b22520eb8ee345274d00c144"
	someNumber = "13800000000"
)

// What a third-party platform is and has.
const (
	someComponentID     = "wx9e8d7c6b5a403f21"
	someComponentSecret = "c4b1e7f09a2d4c63b85e1f7a0d9c3b26"
	someTicket          = "ticket@@@pXk3vR8mWq1LzT5nJc7HbY2dGf9SaE4uKoVi6MxQw0"
	someRefreshToken    = "refreshtoken@@@Zq8LwR3nVx6TbK1mJy5HcD9gFs2PaU7eNo4XiB0vMkQ"
	nextRefreshToken    = "refreshtoken@@@aN5xWc2KpV9rTz7LmQ4hJd8GyB3fSe6UoX1iRk0vMnE"
	someJSCode          = "0a3Lq7Vx2Rb9Tz4Kn6Mw1Yc8Hd5Gf0Je"
)

// Answers of WeChat, and of a gateway before it.
const (
	success = `{"errcode":0,"errmsg":"ok","phone_info":{"phoneNumber":"13800000000","purePhoneNumber":"13800000000",` +
		`"countryCode":"86","watermark":{"timestamp":1700000000,"appid":"` + someAppID + `"}}}`
	badGateway = "<html><h1>502 Bad Gateway</h1></html>"
	megabyte   = 1 << 20
)

var aPhone = wxphone.PhoneInfo{PhoneNumber: "13800000000", PurePhoneNumber: "13800000000", CountryCode: "86"}

// fixedToken is a token source that always has the same token.
func fixedToken(token string) wxphone.TokenSource {
	return wxphone.TokenSourceFunc(func(context.Context) (wxphone.Token, error) {
		return wxphone.Token{AccessToken: token, ExpiresAt: time.Now().Add(time.Hour)}, nil
	})
}

// roundTrip is a function as a transport.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// without returns next, but without the hosts that are down: they cannot be
// dialled.
func without(down map[string]bool, next http.RoundTripper) roundTrip {
	return func(req *http.Request) (*http.Response, error) {
		if down[req.URL.Host] {
			return nil, &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}
		}
		return next.RoundTrip(req)
	}
}

// answerTo is an answer as a transport returns it.
func answerTo(req *http.Request, body string) *http.Response {
	return &http.Response{
		StatusCode: http.StatusOK, Header: http.Header{}, ContentLength: int64(len(body)),
		Body: io.NopCloser(strings.NewReader(body)), Request: req,
	}
}

// answering returns a client that does not retry and that gets this answer
// from every API. It has a token already.
func answering(tb testing.TB, status int, body string, opts ...wxphone.Option) *wxphone.Client {
	tb.Helper()
	return sendingThrough(tb, roundTrip(func(r *http.Request) (*http.Response, error) {
		answer := answerTo(r, body)
		answer.StatusCode = status
		return answer, nil
	}), append([]wxphone.Option{wxphone.WithMaxRetries(0)}, opts...)...)
}

// sendingThrough returns a client that has a token and sends through transport.
func sendingThrough(tb testing.TB, transport http.RoundTripper, opts ...wxphone.Option) *wxphone.Client {
	tb.Helper()
	client, err := wxphone.New(someAppID, someSecret, append([]wxphone.Option{
		wxphone.WithTokenSource(fixedToken(someToken)),
		wxphone.WithHTTPClient(&http.Client{Transport: transport}),
	}, opts...)...)
	require.NoError(tb, err)
	return client
}

var sentinels = []error{
	wxphone.ErrSystemBusy, wxphone.ErrCodeInvalid, wxphone.ErrCodeUsed, wxphone.ErrAccessToken,
	wxphone.ErrAppIDMismatch, wxphone.ErrSecretInvalid, wxphone.ErrIPNotAllowed, wxphone.ErrUserBlocked,
	wxphone.ErrRateLimited, wxphone.ErrQuotaExhausted, wxphone.ErrUnauthorized, wxphone.ErrSessionExpired,
	wxphone.ErrAPISecurity, wxphone.ErrInvalidArgument, wxphone.ErrDecrypt, wxphone.ErrWatermark,
	wxphone.ErrWatermarkExpired, wxphone.ErrNoPhoneNumber, wxphone.ErrTokenNotFound,
	wxphone.ErrPush,
}

// assertInvalid asserts that err is an ErrInvalidArgument, and no other error,
// that says what is wrong.
func assertInvalid(t *testing.T, err error, names string) {
	t.Helper()
	require.ErrorIs(t, err, wxphone.ErrInvalidArgument)
	assert.Contains(t, err.Error(), names)
	assert.NotContains(t, err.Error(), "\n")
	assert.Equal(t, http.StatusBadRequest, wxphone.HTTPStatus(err))
	for _, sentinel := range sentinels {
		if sentinel != wxphone.ErrInvalidArgument { //nolint:errorlint // identity
			assert.NotErrorIs(t, err, sentinel)
		}
	}
}

// verbs are all that fmt hands to a Formatter, misuse included.
var verbs = []string{
	"%v", "%+v", "%#v", "%s", "%+s", "%#s", "%q", "%#q", "%+q", "%d", "%x", "%X", "% x", "%#x", "%t", "%e", "%g", "%c", "%U", "%b", "%o",
	"%T", "%100v", "%-5.3s", "%z", "%!", "no verb",
}

// inContainers returns v as values are passed to a log line.
func inContainers[T any](v T) map[string]any {
	return map[string]any{
		"value": v, "pointer": &v, "slice": []T{v}, "pointers": []*T{&v}, "array": [1]T{v}, "map": map[string]T{"a": v},
		"struct": struct{ Field T }{v}, "pointer to struct": &struct{ Field T }{v}, "struct with pointer": struct{ Field *T }{&v},
		"any": []any{v}, "deep": map[string][]struct{ Field T }{"a": {{v}}}, "nil": (*T)(nil),
	}
}

// assertPrintsWithout prints v under every verb and asserts that no text holds
// one of the secrets, as it is or in hex.
func assertPrintsWithout[T any](t *testing.T, v T, secrets ...string) {
	t.Helper()
	for name, container := range inContainers(v) {
		for _, verb := range verbs {
			if !assertTellsNone(t, fmt.Sprintf(verb, container), secrets, "%s of %T under %s", name, v, verb) {
				break // the other verbs tell the same
			}
		}
		assertTellsNone(t, fmt.Sprint(container)+fmt.Sprintln(container), secrets, "Print of a %s of %T", name, v)
		assertTellsNone(t, fmt.Errorf("%v", container).Error(), secrets, "Errorf of a %s of %T", name, v)
	}
	for name, logged := range map[string]any{"value": v, "pointer": &v, "nil": (*T)(nil)} {
		var out bytes.Buffer
		for _, handler := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
			logger := slog.New(handler)
			logger.Info("a", "v", logged)
			logger.With("v", logged).WithGroup("g").Info("b", slog.Group("h", slog.Any("v", logged)))
		}
		assertTellsNone(t, out.String(), secrets, "slog of a %s of %T", name, v)
	}
}

// assertTellsNone asserts that text holds no secret in any spelling.
func assertTellsNone(t *testing.T, text string, secrets []string, format string, args ...any) bool {
	t.Helper()
	form := leaktest.Tells(text, secrets...)
	if form != "" {
		t.Errorf("%s tells %q: %.300q", fmt.Sprintf(format, args...), form, text)
	}
	return form == ""
}

// allSecrets is what no text of the package may hold.
var allSecrets = []string{someSecret, someToken, laterToken, someCode, someNumber}

// witness collects all that a client tells besides its results.
type witness struct {
	t       *testing.T
	secrets []string
	mu      sync.Mutex
	log     bytes.Buffer
	calls   int
}

func (w *witness) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.Write(b)
}

func (w *witness) options() []wxphone.Option {
	debug := &slog.HandlerOptions{Level: slog.LevelDebug}
	return []wxphone.Option{
		wxphone.WithLogger(slog.New(slog.NewJSONHandler(w, debug))),
		wxphone.WithObserver(func(_ context.Context, call wxphone.Call) {
			w.calls++
			for _, verb := range []string{"%v", "%+v", "%#v"} {
				assertTellsNone(w.t, fmt.Sprintf(verb, call), w.secrets, "a Call under %s", verb)
			}
			w.checkError(call.Err)
		}),
	}
}

// checkError looks at every error that unwrapping reaches.
func (w *witness) checkError(err error) {
	if err == nil {
		return
	}
	for _, verb := range []string{"%v", "%s", "%q", "%+v", "%#v"} {
		if !assertTellsNone(w.t, fmt.Sprintf(verb, err), w.secrets, "%T under %s", err, verb) {
			break // the other verbs tell the same
		}
	}
	switch wrapper := err.(type) { //nolint:errorlint // this walks the tree
	case interface{ Unwrap() error }:
		w.checkError(wrapper.Unwrap())
	case interface{ Unwrap() []error }:
		for _, inner := range wrapper.Unwrap() {
			w.checkError(inner)
		}
	}
}

func (w *witness) checkLog() {
	w.mu.Lock()
	defer w.mu.Unlock()
	assert.NotZero(w.t, w.log.Len(), "the debug log shows every exchange")
	assertTellsNone(w.t, w.log.String(), w.secrets, "the log")
}

// The hosts that a Client asks by default.
const (
	primary  = "api.weixin.qq.com"
	fallback = "api2.weixin.qq.com"
)

// latestTicket is where a platform asks for its component_verify_ticket.
func latestTicket(context.Context) (string, error) { return someTicket, nil }

// refreshTokens is RefreshTokens in memory that can be made to fail.
type refreshTokens struct {
	mu               sync.Mutex
	tokens           map[string]string
	loadErr, saveErr error
	saves            int
}

func (r *refreshTokens) LoadRefreshToken(_ context.Context, appID string) (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.tokens[appID], r.loadErr
}

func (r *refreshTokens) SaveRefreshToken(_ context.Context, appID, token string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.saves++
	if r.saveErr == nil {
		r.tokens[appID] = token
	}
	return r.saveErr
}

func (r *refreshTokens) set(appID, token string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tokens[appID] = token
}

func (r *refreshTokens) fail(load, save error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.loadErr, r.saveErr = load, save
}

func (r *refreshTokens) stored(appID string) (token string, saves int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.tokens[appID], r.saves
}

// authorized returns the refresh tokens of mini-programs that have authorised
// the server's platform.
func authorized(server *wxphonetest.Server, appIDs ...string) *refreshTokens {
	r := &refreshTokens{tokens: make(map[string]string)}
	for _, appID := range appIDs {
		r.tokens[appID] = server.AuthorizeApp(appID)
	}
	return r
}

func clientOf(tb testing.TB, platform *wxphone.Component, appID string, tokens wxphone.RefreshTokens, opts ...wxphone.Option) *wxphone.Client {
	tb.Helper()
	client, err := platform.Client(appID, tokens, opts...)
	require.NoError(tb, err)
	return client
}

var errDatabase = errors.New("database is down")

// honestPlatform has a sound answer of each of a platform's APIs.
var honestPlatform = map[string]string{
	componentTokenAPI: `{"component_access_token":"` + someToken + `","expires_in":7200}`,
	authorizerTokenAPI: `{"authorizer_access_token":"` + laterToken + `","expires_in":7200,` +
		`"authorizer_refresh_token":"` + nextRefreshToken + `"}`,
	componentLoginAPI: `{"openid":"openid","session_key":"tiihtNczf5v6AKRyjwEUhQ=="}`,
	phoneAPI:          success,
}

// overPipes has a Client send its requests to handler over connections in
// memory, so that in a synctest bubble nothing waits in real time.
func overPipes(t *testing.T, handler http.Handler) wxphone.Option {
	t.Helper()
	dialled := make(pipes)
	server := &http.Server{Handler: handler}
	go func() { _ = server.Serve(dialled) }()
	transport := &http.Transport{DialContext: dialled.dial, DialTLSContext: dialled.dial}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		_ = server.Close()
	})
	return wxphone.WithHTTPClient(&http.Client{Transport: transport})
}

// pipes is a listener, and what dials it.
type pipes chan net.Conn

func (p pipes) dial(context.Context, string, string) (net.Conn, error) {
	near, far := net.Pipe()
	p <- far
	return near, nil
}

func (p pipes) Accept() (net.Conn, error) {
	conn, ok := <-p
	if !ok {
		return nil, net.ErrClosed
	}
	return conn, nil
}

func (p pipes) Close() error { close(p); return nil }
func (pipes) Addr() net.Addr { return &net.TCPAddr{} }

// platformAgainst is a Client of componentAgainst.
func platformAgainst(t *testing.T, api string, answer func(w http.ResponseWriter, told string), opts ...wxphone.Option) *wxphone.Client {
	t.Helper()
	platform := componentAgainst(t, api, answer, opts...)
	return clientOf(t, platform, someAppID, &refreshTokens{tokens: map[string]string{someAppID: someRefreshToken}})
}

// componentAgainst is a platform at a WeChat that answers honestly but at one
// API.
func componentAgainst(t *testing.T, api string, answer func(w http.ResponseWriter, told string), opts ...wxphone.Option) *wxphone.Component {
	t.Helper()
	served := overPipes(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		told := fmt.Sprintf("%s %s %s", someNumber, r.URL, body)
		for _, values := range r.URL.Query() {
			told += " " + strings.Join(values, " ")
		}
		var sent map[string]string
		_ = json.Unmarshal(body, &sent)
		for _, value := range sent {
			told += " " + value
		}
		if r.URL.Path == api {
			answer(w, told)
			return
		}
		_, _ = io.WriteString(w, honestPlatform[r.URL.Path])
	}))
	opts = append([]wxphone.Option{served, wxphone.WithMaxRetries(0)}, opts...)
	platform, err := wxphone.NewComponent(someComponentID, someComponentSecret, latestTicket, opts...)
	require.NoError(t, err)
	return platform
}

// callAt makes the call that leads to api.
func callAt(client *wxphone.Client, api string) error {
	if api == componentLoginAPI {
		_, err := client.Code2Session(context.Background(), someJSCode)
		return err
	}
	_, err := client.GetPhoneNumber(context.Background(), someCode)
	return err
}
