package tokenhttp_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/internal/leaktest"
	"github.com/wxphone/wxphone/tokenhttp"
)

// assertTellsNone asserts that text holds no key and no token.
func assertTellsNone(t *testing.T, text, where string) {
	t.Helper()
	if form := leaktest.Tells(text, someKey, anotherKey, someToken, laterToken); form != "" {
		t.Errorf("%s tells %q: %s", where, form, text)
	}
}

func TestNoVerbPrintsTheKey(t *testing.T) {
	t.Parallel()
	source := newSource(t, answering(http.StatusOK, ""))
	handler := newHandler(t, lasting(time.Hour))
	type hidden struct {
		handler http.Handler
		source  *tokenhttp.Source
		copied  tokenhttp.Source
	}
	values := map[string]any{
		"source": source, "copied source": *source, "handler": handler, "pointer": &handler,
		"struct":    struct{ Source *tokenhttp.Source }{source},
		"copies":    []tokenhttp.Source{*source},
		"map":       map[string]http.Handler{"a": handler},
		"hidden":    hidden{handler, source, *source},
		"hidden at": &hidden{handler, source, *source},
		"nil":       (*tokenhttp.Source)(nil),
	}
	for name, value := range values {
		for _, verb := range strings.Fields("%v %+v %#v %s %q %#q %d %x %X %#x %t %e %g %c %U %b %o %T %p %z %100v %-5.3s") {
			assertTellsNone(t, fmt.Sprintf(verb, value), name+" under "+verb)
		}
		var out bytes.Buffer
		for _, handler := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
			slog.New(handler).With("v", value).Info("a", slog.Group("g", "v", value))
		}
		assertTellsNone(t, out.String(), name+" in slog")
	}
	assert.Equal(t, "tokenhttp.Source("+serverURL+")", fmt.Sprintf("%#v", *source))
	assert.Equal(t, "tokenhttp.NewHandler", fmt.Sprintf("%x", handler))
	assert.Equal(t, "tokenhttp.Source", fmt.Sprint(tokenhttp.Source{}))
}

// texts returns what the errors in err's tree say.
func texts(err error) string {
	text := fmt.Sprintf("%v %+v %#v %q\n", err, err, err, err)
	switch wrapper := err.(type) { //nolint:errorlint // this walks the tree
	case interface{ Unwrap() error }:
		if inner := wrapper.Unwrap(); inner != nil {
			text += texts(inner)
		}
	case interface{ Unwrap() []error }:
		for _, inner := range wrapper.Unwrap() {
			text += texts(inner)
		}
	}
	return text
}

// indiscretions are servers and transports that repeat all they hear. told is
// the key, the tokens and the request.
var indiscretions = map[string]func(w http.ResponseWriter, told string){
	"page": func(w http.ResponseWriter, told string) { _, _ = io.WriteString(w, "<html>"+told) },
	"odd types": func(w http.ResponseWriter, told string) {
		fmt.Fprintf(w, `{"access_token":[%q],"error":%q}`, told, told)
	},
	"failure": func(w http.ResponseWriter, told string) {
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprintf(w, `{"error":"no_token","errcode":-1,"errmsg":%[1]q,"endpoint":%[1]q}`, told)
	},
	"key as endpoint": func(w http.ResponseWriter, _ string) {
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprintf(w, `{"error":"no_token","errcode":-1,"endpoint":"/%s"}`, someKey)
	},
	"refusal": func(w http.ResponseWriter, told string) {
		w.Header().Set("WWW-Authenticate", strings.ReplaceAll(told, "\n", " "))
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, told)
	},
	"redirect": func(w http.ResponseWriter, told string) {
		w.Header().Set("Location", "/?"+strings.ReplaceAll(told, " ", "+"))
		w.WriteHeader(http.StatusFound)
	},
	"bad redirect": func(w http.ResponseWriter, told string) {
		w.Header().Set("Location", "http://%zz/"+told)
		w.WriteHeader(http.StatusFound)
	},
	"not HTTP":   raw("", "\r\n\r\n"),
	"bad status": raw("HTTP/1.1 ", "\r\n\r\n"),
	"bad header": raw("HTTP/1.1 200 OK\r\n", "\r\n\r\n"),
	"bad length": raw("HTTP/1.1 200 OK\r\nContent-Length: ", "\r\n\r\n"),
	"bad chunk":  raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "\r\n"),
}

// raw writes bytes that are no sound HTTP, as on a connection out of step.
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

func TestNoErrorAndNoLogTellsASecret(t *testing.T) {
	t.Parallel()
	for name, answer := range indiscretions {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				answer(w, fmt.Sprintf("%s %s %s %s", r.Header.Get("Authorization"), body, someToken, laterToken))
			}))
			server.Config.ErrorLog = log.New(io.Discard, "", 0)
			server.Start()
			defer server.Close()
			source, err := tokenhttp.NewSource(server.URL, someKey, tokenhttp.WithHTTPClient(server.Client()))
			require.NoError(t, err)
			assertDiscreet(t, source)
		})
	}
}

func TestATransportMayQuoteTheRefusedToken(t *testing.T) {
	t.Parallel()
	err := newSource(t, roundTrip(func(*http.Request) (*http.Response, error) {
		return nil, errors.New("cannot send " + someToken)
	})).InvalidateToken(context.Background(), someToken)
	require.ErrorContains(t, err, "cannot send [REDACTED]")
	assertTellsNone(t, texts(err), "InvalidateToken")
}

func TestATransportMayQuoteTheRequest(t *testing.T) {
	t.Parallel()
	for name, wrap := range map[string]func(text string) error{
		"plain":   errors.New,
		"wrapped": func(text string) error { return fmt.Errorf("proxy: %w", errors.New(text)) },
		"joined":  func(text string) error { return errors.Join(io.EOF, errors.New(text)) },
		"field":   func(text string) error { return &quiet{text} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			assertDiscreet(t, newSource(t, roundTrip(func(r *http.Request) (*http.Response, error) {
				text := fmt.Sprint(r.Header)
				if r.Method == http.MethodPost {
					body, _ := io.ReadAll(r.Body)
					text += string(body)
				}
				return nil, wrap(text)
			})))
		})
	}
}

// quiet is an error that holds more than it says.
type quiet struct{ Request string }

func (*quiet) Error() string { return "quiet" }

// assertDiscreet makes both calls of source fail, and asserts that neither the
// errors nor the log of a cache in between tells a secret.
func assertDiscreet(t *testing.T, source *tokenhttp.Source) {
	t.Helper()
	_, err := source.Token(context.Background())
	require.Error(t, err)
	assertTellsNone(t, texts(err), "Token")
	err = source.InvalidateToken(context.Background(), someToken)
	require.Error(t, err)
	assertTellsNone(t, texts(err), "InvalidateToken")

	var out syncBuffer
	logger := slog.New(slog.NewJSONHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))
	_, err = wxphone.CacheTokens(source, wxphone.WithCacheLogger(logger)).Token(context.Background())
	require.Error(t, err)
	assertTellsNone(t, texts(err), "the cache")
	assert.NotEmpty(t, out.String())
	assertTellsNone(t, out.String(), "the log")
}

// syncBuffer is a buffer that several goroutines write to.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
