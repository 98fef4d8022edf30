package otelwxphone_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/internal/leaktest"
)

// secrets are what nothing that is sent may hold.
var secrets = map[string]string{
	"AppSecret":              appSecret,
	"access_token":           accessToken,
	"component_access_token": componentToken,
	"component AppSecret":    componentSecret,
	"refresh token":          refreshToken,
	"ticket":                 ticket,
	"pre_auth_code":          preAuthCode,
	"authorization code":     authCode,
	"code":                   phoneCode,
	"js_code":                jsCode,
	"openid":                 openID,
	"cloudID":                cloudID,
	"session_key":            sessionKey,
	"signature":              signature(),
	"number":                 number,
	"encryptedData":          encryptedData,
	"iv":                     iv,
}

func signature() string {
	return hex.EncodeToString(hmac.New(sha256.New, []byte(sessionKey)).Sum(nil))
}

// allSecrets is told by servers and transports that tell all they know.
func allSecrets() string {
	var all []string
	for _, secret := range secrets {
		all = append(all, secret)
	}
	return strings.Join(all, " ")
}

// leaks returns the names of the secrets in what was recorded, in any spelling.
func (r *recorder) leaks(t *testing.T) []string {
	t.Helper()
	recorded := r.everything(t)
	var found []string
	for name, secret := range secrets {
		if leaktest.Tells(recorded, secret) != "" {
			found = append(found, name)
		}
	}
	return found
}

// everything returns all spans and metrics as text.
func (r *recorder) everything(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	for _, span := range r.exporter.GetSpans() {
		fmt.Fprintf(&all, "%s %s %s %s\n", span.Name, span.Status.Description, span.SpanContext.TraceState(), text(span.Attributes))
		fmt.Fprintln(&all, text(span.InstrumentationScope.Attributes.ToSlice()), text(span.Resource.Attributes()))
		for _, event := range span.Events {
			fmt.Fprintln(&all, event.Name, text(event.Attributes))
		}
		for _, link := range span.Links {
			fmt.Fprintln(&all, text(link.Attributes))
		}
	}
	metrics, err := json.Marshal(r.collect(t))
	assert.NoError(t, err)
	all.Write(metrics)
	return all.String()
}

func TestLeaksAreFound(t *testing.T) {
	t.Parallel()
	leak := attribute.String("key", "a "+url.QueryEscape(sessionKey)+" b")
	for name, record := range map[string]func(*recorder, trace.Span){
		"name":      func(_ *recorder, s trace.Span) { s.SetName(sessionKey) },
		"attribute": func(_ *recorder, s trace.Span) { s.SetAttributes(leak) },
		"status":    func(_ *recorder, s trace.Span) { s.SetStatus(codes.Error, sessionKey) },
		"error":     func(_ *recorder, s trace.Span) { s.RecordError(errors.New(sessionKey)) },
		"event":     func(_ *recorder, s trace.Span) { s.AddEvent("event", trace.WithAttributes(leak)) },
		"link":      func(_ *recorder, s trace.Span) { s.AddLink(trace.Link{Attributes: []attribute.KeyValue{leak}}) },
		"metric": func(r *recorder, _ trace.Span) {
			counter, err := r.meters.Meter("test").Int64Counter("counter")
			require.NoError(t, err)
			counter.Add(context.Background(), 1, metric.WithAttributes(leak))
		},
	} {
		r := newRecorder()
		_, span := r.tracers.Tracer("test").Start(context.Background(), "span")
		record(r, span)
		span.End()
		assert.Equal(t, []string{"session_key"}, r.leaks(t), name)
	}
}

// answers are what a server may send in place of what it should, with all that
// it knows.
var answers = map[string]func(w http.ResponseWriter, told string){
	"refused code":   refuse(40029, "invalid code ", ""),
	"refused token":  refuse(40001, "", ""),
	"refused login":  refuse(40163, "code been used\n", " rid: 61a2b3c4-0f1e2d3c-4b5a6978"),
	"stale session":  refuse(87009, "", ""),
	"busy":           refuse(-1, "", ""),
	"rate limit":     refuse(45011, "", ""),
	"no such code":   refuse(99999, "<", ">"),
	"secret as rid":  refuse(40029, "", " rid: "+phoneCode),
	"number as rid":  refuse(40029, "", " rid: "+number+"-1-1"),
	"number as req":  refuse(40029, "", ", hints: [ req_id: "+number+" ]"),
	"session as rid": refuse(40029, "", " rid: "+sessionKey),
	"page":           page(http.StatusOK, "", ""),
	"failed gateway": page(http.StatusBadGateway, "<html>", "</html>"),
	"not found":      page(http.StatusNotFound, "no page for ", ""),
	"not HTTP":       raw("", "\r\n\r\n"),
	"bad header":     raw("HTTP/1.1 200 OK\r\n", "\r\n\r\n"),
	"bad status":     raw("HTTP/1.1 ", "\r\n\r\n"),
	"hung up":        func(http.ResponseWriter, string) { panic(http.ErrAbortHandler) },
	"redirect": func(w http.ResponseWriter, told string) {
		w.Header().Set("Location", "/"+url.PathEscape(told)+"?"+url.QueryEscape(told))
		w.WriteHeader(http.StatusFound)
	},
	"cut short": func(w http.ResponseWriter, told string) {
		w.Header().Set("Content-Length", "99999")
		_, _ = io.WriteString(w, told)
	},
	"errcode of text": func(w http.ResponseWriter, told string) {
		_ = json.NewEncoder(w).Encode(map[string]string{"errcode": told, "errmsg": told})
	},
	"errcode that is a number": func(w http.ResponseWriter, told string) {
		fmt.Fprintf(w, `{"errcode":%s,"errmsg":%q}`, number, told)
	},
	"another app": func(w http.ResponseWriter, told string) {
		_ = json.NewEncoder(w).Encode(map[string]any{"errcode": 0, "phone_info": map[string]any{
			"phoneNumber": number, "watermark": map[string]any{"appid": told},
		}})
	},
	"success": func(w http.ResponseWriter, told string) {
		_ = json.NewEncoder(w).Encode(map[string]any{
			"errcode": 0, "errmsg": told, "openid": openID, "session_key": sessionKey, "access_token": accessToken,
			"component_access_token": componentToken, "authorizer_access_token": accessToken,
			"authorizer_refresh_token": refreshToken, "expires_in": 7200, "vaild": true, "create_time": 1,
			"phone_info":    map[string]any{"phoneNumber": number, "purePhoneNumber": number, "countryCode": "86"},
			"pre_auth_code": preAuthCode, "authorization_info": map[string]any{
				"authorizer_appid": "wx0123456789abcdef", "authorizer_access_token": accessToken,
				"authorizer_refresh_token": refreshToken, "expires_in": 7200,
			},
			"total_count": 1, "list": []any{map[string]any{
				"authorizer_appid": "wx0123456789abcdef", "refresh_token": refreshToken, "auth_time": 1,
			}},
		})
	},
}

func refuse(errcode int, prefix, suffix string) func(http.ResponseWriter, string) {
	return func(w http.ResponseWriter, told string) {
		_ = json.NewEncoder(w).Encode(map[string]any{"errcode": errcode, "errmsg": prefix + told + suffix})
	}
}

func page(status int, before, after string) func(http.ResponseWriter, string) {
	return func(w http.ResponseWriter, told string) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, before+told+after)
	}
}

// raw writes bytes that are no sound HTTP.
func raw(before, after string) func(http.ResponseWriter, string) {
	return func(w http.ResponseWriter, told string) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, before+told+after)
	}
}

// stages say which requests get the odd answer. The others succeed.
var stages = map[string]func(path string) bool{
	"tokens": isTokenAPI,
	"APIs":   func(path string) bool { return !isTokenAPI(path) },
}

func isTokenAPI(path string) bool { return strings.HasSuffix(path, "token") }

// kinds are the ways to get a token.
var kinds = map[string]func(opts ...wxphone.Option) (*wxphone.Client, error){
	"stable": func(opts ...wxphone.Option) (*wxphone.Client, error) {
		return wxphone.New("wx0123456789abcdef", appSecret, opts...)
	},
	"classic": func(opts ...wxphone.Option) (*wxphone.Client, error) {
		return wxphone.New("wx0123456789abcdef", appSecret, append(opts, wxphone.WithClassicToken())...)
	},
	"platform": func(opts ...wxphone.Option) (*wxphone.Client, error) {
		platform, err := newPlatform(opts...)
		if err != nil {
			return nil, err
		}
		return platform.Client("wx0123456789abcdef", &refreshTokens{token: refreshToken})
	},
}

func newPlatform(opts ...wxphone.Option) (*wxphone.Component, error) {
	return wxphone.NewComponent("wx9e8d7c6b5a403f21", componentSecret,
		func(context.Context) (string, error) { return ticket, nil }, opts...)
}

// everyCall has every method called by clients of every kind. A client makes
// one call, since it pauses after a token that it did not get.
func everyCall(t *testing.T, opts ...wxphone.Option) {
	t.Helper()
	opts = append(opts, wxphone.WithMaxRetries(0))
	for kind, newClient := range kinds {
		for name, call := range calls {
			r := newRecorder()
			client, err := newClient(append([]wxphone.Option{r.option()}, opts...)...)
			require.NoError(t, err)
			_ = call(context.Background(), client)
			assertSilent(t, r, kind+", "+name)
		}
	}
	for name, call := range platformCalls {
		r := newRecorder()
		platform, err := newPlatform(append([]wxphone.Option{r.option()}, opts...)...)
		require.NoError(t, err)
		_ = call(context.Background(), platform)
		assertSilent(t, r, "Component, "+name)
	}
}

func assertSilent(t *testing.T, r *recorder, call string) {
	t.Helper()
	assert.NotEmpty(t, r.spans(), call)
	assert.Empty(t, r.leaks(t), call)
	assertDocumented(t, r)
}

// assertDocumented checks that the spans have what the package says, so that a
// secret has no place.
func assertDocumented(t *testing.T, r *recorder) {
	t.Helper()
	allowed := map[attribute.Key]*regexp.Regexp{
		"http.request.method":       regexp.MustCompile(`^(GET|POST)$`),
		"server.address":            regexp.MustCompile(`^(127\.0\.0\.1|api2?\.weixin\.qq\.com)$`),
		"server.port":               regexp.MustCompile(`^\d{4,5}$`),
		"url.template":              regexp.MustCompile(`^(/[a-z0-9_-]+)+$`),
		"http.request.resend_count": regexp.MustCompile(`^[1-9]$`),
		"http.response.status_code": regexp.MustCompile(`^[2-5]\d\d$`),
		"error.type":                regexp.MustCompile(`^[a-z_]+$`),
		"wxphone.outcome":           regexp.MustCompile(`^[a-z_]+$`),
		"wechat.errcode":            regexp.MustCompile(`^-?\d+$`),
		"wechat.rid":                regexp.MustCompile(`^\S{1,64}$`),
	}
	for _, span := range r.spans() {
		assert.Regexp(t, `^(GET|POST) (/[a-z0-9_-]+)+$`, span.Name)
		assert.Regexp(t, `^[a-z_]*$`, span.Status.Description)
		assert.Empty(t, span.Events)
		assert.Empty(t, span.Links)
		for _, a := range span.Attributes {
			pattern, ok := allowed[a.Key]
			if assert.True(t, ok, "%s is not documented", a.Key) {
				assert.Regexp(t, pattern, a.Value.String(), "%s", a.Key)
			}
		}
	}
}

// The time in the bubble is virtual, for the pauses between attempts.
func TestServerThatTellsSecretsIsNotRecorded(t *testing.T) {
	t.Parallel()
	for name, answer := range answers {
		for stage, isOdd := range stages {
			t.Run(name+"/"+stage, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					everyCall(t, wxphone.WithBaseURL("http://127.0.0.1:8080"),
						wxphone.WithHTTPClient(newGossip(t, answer, isOdd)))
				})
			})
		}
	}
}

// newGossip returns a client of a server that tells all secrets and what it
// heard. They talk HTTP, but over pipes, as sockets are not for a bubble.
func newGossip(t *testing.T, answer func(http.ResponseWriter, string), isOdd func(string) bool) *http.Client {
	t.Helper()
	var mu sync.Mutex
	heard := make(map[string]string)
	server := &http.Server{ErrorLog: log.New(io.Discard, "", 0)}
	server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		heard[r.URL.Path] = fmt.Sprintf("%s %s", r.URL, body)
		told := fmt.Sprint(allSecrets(), " ", heard)
		mu.Unlock()
		if isOdd(r.URL.Path) {
			answer(w, told)
			return
		}
		answers["success"](w, told)
	})
	pipes := &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
	go func() { _ = server.Serve(pipes) }()
	transport := &http.Transport{DialContext: pipes.dial}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		_ = server.Close()
	})
	return &http.Client{Transport: transport}
}

// pipeListener accepts the connections that are made with dial.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (l *pipeListener) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	near, far := net.Pipe()
	select {
	case l.conns <- far:
		return near, nil
	case <-l.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (*pipeListener) Addr() net.Addr { return new(net.UnixAddr) }

// talkative is a transport that tells what it knows in its error.
type talkative struct{ fail func(told string) error }

func (t talkative) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		body, _ = io.ReadAll(r.Body)
	}
	return nil, t.fail(fmt.Sprintf("%s %s %s", r.URL, body, allSecrets()))
}

func TestTransportThatTellsSecretsIsNotRecorded(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]func(string) error{
		"text":    func(told string) error { return errors.New("proxy refused " + told) },
		"lost":    func(told string) error { return fmt.Errorf("%s: %w", told, io.EOF) },
		"timeout": func(told string) error { return fmt.Errorf("%s: %w", told, context.DeadlineExceeded) },
		"url":     func(told string) error { return &url.Error{Op: "Post", URL: "https://h/?" + told, Err: io.EOF} },
		"WeChat's": func(told string) error {
			return &wxphone.APIError{Endpoint: "/" + told, Code: 40029, Message: told, RID: told}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				everyCall(t, wxphone.WithHTTPClient(&http.Client{Transport: talkative{fail}}))
			})
		})
	}
}
