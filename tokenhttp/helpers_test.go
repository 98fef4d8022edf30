package tokenhttp_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/tokenhttp"
)

const (
	serverURL = "https://tokens.test/wechat"

	someKey    = "9f3c1e7a5b2d4860c7e1f0a9d8b3265417ec"
	anotherKey = "0b6d2f9c8e1a47530d4b7c6e9f21a8350a1d"
	someToken  = "86_kZ5nXUJ8oqWfQ0y3bR7dLhVtMgC2sEaP4xN6uTiYwSrDvBmFjKpHzGeQc9O1lAI8"
	laterToken = "86_nextXUJ8oqWfQ0y3bR7dLhVtMgC2sEaP4xN6uTiYwSrDvBmFjKpHzGeQc9O1lAI8"
)

// fakeSource is a source that returns what it is told to, and remembers what
// was reported.
type fakeSource struct {
	token    wxphone.Token
	err      error
	reported []string
}

func (s *fakeSource) Token(context.Context) (wxphone.Token, error) { return s.token, s.err }

func (s *fakeSource) InvalidateToken(_ context.Context, rejected string) error {
	s.reported = append(s.reported, rejected)
	return s.err
}

// lasting returns a source that hands someToken out.
func lasting(life time.Duration) *fakeSource {
	return &fakeSource{token: wxphone.Token{AccessToken: someToken, ExpiresAt: time.Now().Add(life)}}
}

func newHandler(tb testing.TB, source wxphone.TokenSource) http.Handler {
	tb.Helper()
	handler, err := tokenhttp.NewHandler(source, someKey)
	require.NoError(tb, err)
	return handler
}

// newSource returns a Source whose requests go through transport.
func newSource(tb testing.TB, transport http.RoundTripper) *tokenhttp.Source {
	tb.Helper()
	source, err := tokenhttp.NewSource(serverURL, someKey, tokenhttp.WithHTTPClient(&http.Client{Transport: transport}))
	require.NoError(tb, err)
	return source
}

// ask sends a request with the key to a handler.
func ask(handler http.Handler, method, body string) *httptest.ResponseRecorder {
	req := httptest.NewRequest(method, serverURL, strings.NewReader(body))
	req.Header.Set("Authorization", "Bearer "+someKey)
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, req)
	return w
}

// roundTrip is a function as a transport.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// into returns a transport that hands every request to handler in the
// goroutine that makes it. It opens no socket, so it works in a
// testing/synctest bubble.
func into(handler http.Handler) http.RoundTripper {
	return roundTrip(func(r *http.Request) (*http.Response, error) {
		var body []byte
		if r.Body != nil {
			var err error
			if body, err = io.ReadAll(r.Body); err != nil {
				return nil, err
			}
			r.Body.Close()
		}
		in := r.Clone(r.Context())
		in.RequestURI = r.URL.RequestURI()
		in.Body = io.NopCloser(bytes.NewReader(body))
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, in)
		if err := r.Context().Err(); err != nil {
			return nil, err
		}
		answer := w.Result()
		answer.Request = r
		return answer, nil
	})
}

// answering returns a transport that gives this answer to every request.
func answering(status int, body string) http.RoundTripper {
	return into(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}))
}
