package tokenhttp_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/tokenhttp"
)

func TestASourceReadsTheHandlersToken(t *testing.T) {
	t.Parallel()
	given := lasting(time.Hour)
	got, err := newSource(t, into(newHandler(t, given))).Token(context.Background())
	require.NoError(t, err)
	assert.Equal(t, someToken, got.AccessToken)
	assert.WithinRange(t, got.ExpiresAt, given.token.ExpiresAt.Add(-2*time.Second), given.token.ExpiresAt)
}

func TestASourceSendsTheKeyInAHeaderAndTheRefusedTokenInTheBody(t *testing.T) {
	t.Parallel()
	requests := 0
	source := newSource(t, roundTrip(func(r *http.Request) (*http.Response, error) {
		requests++
		assert.Equal(t, serverURL, r.URL.String())
		assert.Equal(t, "Bearer "+someKey, r.Header.Get("Authorization"))
		if r.Method == http.MethodPost {
			body, err := io.ReadAll(r.Body)
			assert.NoError(t, err)
			assert.JSONEq(t, `{"access_token":"`+laterToken+`"}`, string(body))
			assert.Equal(t, int64(len(body)), r.ContentLength)
			assert.Equal(t, "application/json", r.Header.Get("Content-Type"))
			return answering(http.StatusNoContent, "").RoundTrip(r)
		}
		return answering(http.StatusOK, `{"access_token":"`+someToken+`"}`).RoundTrip(r)
	}))
	require.NoError(t, source.InvalidateToken(context.Background(), laterToken))
	_, err := source.Token(context.Background())
	require.NoError(t, err)
	assert.Equal(t, 2, requests)
}

func TestAnExpiryThatCannotBeReadIsUnknown(t *testing.T) {
	t.Parallel()
	for _, expiresIn := range []string{"", `,"expires_in":0`, `,"expires_in":-5`, `,"expires_in":null`, `,"expires_in":"soon"`, `,"expires_in":{}`} {
		got, err := newSource(t, answering(http.StatusOK, `{"access_token":"`+someToken+`"`+expiresIn+`}`)).Token(context.Background())
		require.NoError(t, err, expiresIn)
		assert.Equal(t, wxphone.Token{AccessToken: someToken}, got, expiresIn)
	}
}

func TestAnExpiryIsADayAwayAtMost(t *testing.T) {
	t.Parallel()
	for _, expiresIn := range []string{"86401", `"9000000000000000000"`} {
		got, err := newSource(t, answering(http.StatusOK, `{"access_token":"`+someToken+`","expires_in":`+expiresIn+`}`)).Token(context.Background())
		require.NoError(t, err, expiresIn)
		assert.WithinDuration(t, time.Now().Add(24*time.Hour), got.ExpiresAt, time.Minute, expiresIn)
	}
}

// TestEachAnswerHasItsError lists what comes in place of a token, and what the
// program's own handler then answers.
func TestEachAnswerHasItsError(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		status   int
		body     string
		says     string
		is       error // or nil
		code     int   // of the APIError, or 0
		handlers int   // wxphone.HTTPStatus
	}{
		"wrong key":        {401, "", "refuses the key", tokenhttp.ErrKeyRefused, 0, 500},
		"not whitelisted":  {502, `{"error":"no_token","errcode":40164,"endpoint":"/cgi-bin/stable_token"}`, "could not get a token (HTTP 502): wxphone: /cgi-bin/stable_token: errcode 40164: add this server's public IP", wxphone.ErrIPNotAllowed, 40164, 500},
		"wrong secret":     {502, `{"error":"no_token","errcode":40001,"endpoint":"/cgi-bin/stable_token"}`, "errcode 40001", wxphone.ErrSecretInvalid, 40001, 500},
		"busy":             {503, `{"error":"no_token","errcode":-1,"endpoint":"/cgi-bin/stable_token"}`, "could not get a token (HTTP 503)", wxphone.ErrSystemBusy, -1, 503},
		"odd endpoint":     {503, `{"error":"no_token","errcode":-1,"endpoint":"/a b"}`, "wxphone: errcode -1", wxphone.ErrSystemBusy, -1, 503},
		"absurd errcode":   {503, `{"error":"no_token","errcode":9000000000}`, "could not get a token (HTTP 503)", nil, 0, 502},
		"no errcode":       {503, `{"error":"no_token"}`, "could not get a token (HTTP 503)", nil, 0, 502},
		"proxy's 502":      {502, "<html>bad gateway</html>", "or a proxy before it, fails (HTTP 502)", nil, 0, 502},
		"foreign errcode":  {503, `{"errcode":40164}`, "or a proxy before it, fails (HTTP 503)", nil, 0, 502},
		"redirect":         {302, "", "redirect, which is not followed (HTTP 302)", nil, 0, 502},
		"not found":        {404, "404 page not found", "is the URL right? (HTTP 404)", nil, 0, 502},
		"not allowed":      {405, "", "is the URL right? (HTTP 405)", nil, 0, 502},
		"no body":          {200, "", "is the URL right? (HTTP 200)", nil, 0, 502},
		"a page":           {200, "<html>", "is the URL right? (HTTP 200)", nil, 0, 502},
		"a list":           {200, `[{"access_token":"t"}]`, "is the URL right? (HTTP 200)", nil, 0, 502},
		"no token":         {200, `{}`, "is the URL right? (HTTP 200)", nil, 0, 502},
		"empty token":      {200, `{"access_token":""}`, "is the URL right? (HTTP 200)", nil, 0, 502},
		"token of a type":  {200, `{"access_token":{"a":1}}`, "is the URL right? (HTTP 200)", nil, 0, 502},
		"cut short":        {200, `{"access_token":"t`, "is the URL right? (HTTP 200)", nil, 0, 502},
		"two values":       {200, `{"access_token":"t"}{}`, "is the URL right? (HTTP 200)", nil, 0, 502},
		"too long":         {200, tokenIn(64<<10 + 1), "is the URL right? (HTTP 200)", nil, 0, 502},
		"created":          {201, `{"access_token":"t"}`, "is the URL right? (HTTP 201)", nil, 0, 502},
		"WeChat's refusal": {200, `{"errcode":40164,"errmsg":"invalid ip"}`, "is the URL right? (HTTP 200)", nil, 0, 502},
	} {
		_, err := newSource(t, answering(test.status, test.body)).Token(context.Background())
		var answer *tokenhttp.AnswerError
		require.ErrorAs(t, err, &answer, name)
		assert.Equal(t, test.status, answer.HTTPStatus, name)
		assert.ErrorContains(t, err, test.says, name)
		assert.NotContains(t, err.Error(), "\n", name)
		if test.is != nil {
			assert.ErrorIs(t, err, test.is, name)
		}
		var refusal *wxphone.APIError
		if assert.Equal(t, test.code != 0, errors.As(err, &refusal), name) && test.code != 0 {
			assert.Equal(t, test.code, refusal.Code, name)
		}
		assert.Equal(t, test.handlers, wxphone.HTTPStatus(err), name)
	}
}

// tokenIn returns an answer with a token that has size bytes.
func tokenIn(size int) string {
	const token = `{"access_token":"t"}`
	return token + strings.Repeat(" ", size-len(token))
}

func TestAnAnswerOf64KiBIsRead(t *testing.T) {
	t.Parallel()
	got, err := newSource(t, answering(http.StatusOK, tokenIn(64<<10))).Token(context.Background())
	require.NoError(t, err)
	assert.Equal(t, "t", got.AccessToken)
}

func TestAnEndlessAnswerIsGivenUp(t *testing.T) {
	t.Parallel()
	endless := &spaces{}
	_, err := newSource(t, roundTrip(func(r *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: http.StatusOK, Body: endless, Request: r}, nil
	})).Token(context.Background())
	var answer *tokenhttp.AnswerError
	require.ErrorAs(t, err, &answer)
	assert.LessOrEqual(t, endless.read, 64<<10+1)
	assert.True(t, endless.closed)
}

// spaces is a body without an end.
type spaces struct {
	read   int
	closed bool
}

func (s *spaces) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	s.read += len(p)
	return len(p), nil
}

func (s *spaces) Close() error {
	s.closed = true
	return nil
}

func TestAReportThatIsNotTakenHasItsError(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		status int
		body   string
		says   string
		is     error
	}{
		"wrong key":     {401, "", "refuses the key", tokenhttp.ErrKeyRefused},
		"unsupported":   {501, `{"error":"unsupported"}`, "takes no report", errors.ErrUnsupported},
		"failed":        {503, `{"error":"no_token","errcode":-1}`, "could not replace a refused token", wxphone.ErrSystemBusy},
		"another's 501": {501, "", "or a proxy before it, fails (HTTP 501)", nil},
		"a page":        {200, "<html>", "is the URL right? (HTTP 200)", nil},
		"bad request":   {400, `{"error":"bad_request"}`, "is the URL right? (HTTP 400)", nil},
	} {
		err := newSource(t, answering(test.status, test.body)).InvalidateToken(context.Background(), someToken)
		var answer *tokenhttp.AnswerError
		require.ErrorAs(t, err, &answer, name)
		assert.Equal(t, test.status, answer.HTTPStatus, name)
		assert.ErrorContains(t, err, test.says, name)
		if test.is != nil {
			assert.ErrorIs(t, err, test.is, name)
		}
	}
}

func TestASourceThatTakesNoReportsIsUnsupported(t *testing.T) {
	t.Parallel()
	source := newSource(t, into(newHandler(t, wxphone.TokenSourceFunc(lasting(time.Hour).Token))))
	err := source.InvalidateToken(context.Background(), someToken)
	assert.ErrorIs(t, err, errors.ErrUnsupported)
}

func TestAServerThatDoesNotAnswerIsANetworkError(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.NotFoundHandler())
	closed := server.URL
	server.Close()
	source, err := tokenhttp.NewSource(closed, someKey)
	require.NoError(t, err)
	for name, err := range map[string]error{
		"token":  second(source.Token(context.Background())),
		"report": source.InvalidateToken(context.Background(), someToken),
	} {
		var network *url.Error
		require.ErrorAs(t, err, &network, name)
		assert.ErrorContains(t, err, "the token server does not answer", name)
		assert.Equal(t, http.StatusBadGateway, wxphone.HTTPStatus(err), name)
	}
}

func second(_ wxphone.Token, err error) error { return err }

func TestAnAnswerThatBreaksOffIsANetworkError(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, `{"access_token":"`+someToken+`"`)
	}))
	defer server.Close()
	source, err := tokenhttp.NewSource(server.URL, someKey, tokenhttp.WithHTTPClient(server.Client()))
	require.NoError(t, err)
	_, err = source.Token(context.Background())
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	assert.Equal(t, http.StatusBadGateway, wxphone.HTTPStatus(err))
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	t.Parallel()
	var followed atomic.Bool
	mux := http.NewServeMux()
	mux.HandleFunc("/elsewhere", func(http.ResponseWriter, *http.Request) { followed.Store(true) })
	mux.Handle("/", http.RedirectHandler("/elsewhere", http.StatusTemporaryRedirect))
	server := httptest.NewServer(mux)
	defer server.Close()
	given := server.Client()
	for name, opts := range map[string][]tokenhttp.Option{
		"default client": nil,
		"given client":   {tokenhttp.WithHTTPClient(given)},
	} {
		source, err := tokenhttp.NewSource(server.URL, someKey, opts...)
		require.NoError(t, err)
		assert.Error(t, second(source.Token(context.Background())), name)
		assert.Error(t, source.InvalidateToken(context.Background(), someToken), name)
	}
	assert.False(t, followed.Load())
	assert.Nil(t, given.CheckRedirect, "the given client is not changed")
}

func TestNewSourceChecksItsArguments(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		url, key string
		opts     []tokenhttp.Option
		says     string
	}{
		"no URL":        {"", someKey, nil, "url: "},
		"no scheme":     {"tokens.example/wechat", someKey, nil, "url: "},
		"other scheme":  {"ftp://tokens.example", someKey, nil, "url: "},
		"no host":       {"https:///wechat", someKey, nil, "url: "},
		"bad port":      {"https://tokens.example:0", someKey, nil, "url: "},
		"user":          {"https://tokens.example@tokens.example", someKey, nil, "url: "},
		"password":      {"https://u:tokens.example@h", someKey, nil, "url: "},
		"query":         {"https://h/?key=tokens.example", someKey, nil, "url: "},
		"empty query":   {"https://tokens.example/?", someKey, nil, "url: "},
		"fragment":      {"https://h/#tokens.example", someKey, nil, "url: "},
		"control":       {"https://tokens.example/\n", someKey, nil, "url: "},
		"short key":     {serverURL, someKey[:31], nil, "key has fewer than 32 bytes"},
		"key of a file": {serverURL, someKey + "\n", nil, "key has white space"},
		"nil option":    {serverURL, someKey, []tokenhttp.Option{nil}, "option is nil"},
		"nil client":    {serverURL, someKey, []tokenhttp.Option{tokenhttp.WithHTTPClient(nil)}, "WithHTTPClient has a nil client"},
	} {
		source, err := tokenhttp.NewSource(test.url, test.key, test.opts...)
		assert.Nil(t, source, name)
		require.ErrorIs(t, err, wxphone.ErrInvalidArgument, name)
		assert.ErrorContains(t, err, test.says, name)
		assert.NotContains(t, err.Error(), "tokens.example", name)
		assert.NotContains(t, err.Error(), someKey[:20], name)
	}
	for _, sound := range []string{"http://localhost:8081", "https://tokens.internal/", "https://[::1]:8443/a/b"} {
		_, err := tokenhttp.NewSource(sound, someKey)
		assert.NoError(t, err, sound)
	}
}

func TestMisuseIsAnError(t *testing.T) {
	t.Parallel()
	var none *tokenhttp.Source
	source := newSource(t, roundTrip(func(*http.Request) (*http.Response, error) {
		t.Error("a request was sent")
		return nil, io.EOF
	}))
	for name, err := range map[string]error{
		"nil source":      second(none.Token(context.Background())),
		"zero source":     (&tokenhttp.Source{}).InvalidateToken(context.Background(), someToken),
		"no context":      second(source.Token(nil)),              //nolint:staticcheck // on purpose
		"report, no ctx":  source.InvalidateToken(nil, someToken), //nolint:staticcheck // on purpose
		"nothing refused": source.InvalidateToken(context.Background(), ""),
	} {
		assert.ErrorIs(t, err, wxphone.ErrInvalidArgument, name)
	}
}
