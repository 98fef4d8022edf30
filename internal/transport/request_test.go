package transport

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestRetryAfterOfAnAnswer(t *testing.T) {
	t.Parallel()
	now := time.Date(2024, 2, 29, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Duration{
		"":                                 0,
		"0":                                0,
		"1":                                time.Second,
		"3600":                             time.Hour,
		"2147483647":                       2147483647 * time.Second,
		"-1":                               0,
		"+1":                               0,
		"1.5":                              0,
		"soon":                             0,
		"Thu, 29 Feb 2024 12:00:05 GMT":    5 * time.Second,
		"Thu, 29 Feb 2024 11:59:00 GMT":    0,
		"Thursday, 29-Feb-24 12:00:05 GMT": 5 * time.Second,
		"2024-02-29T12:00:05Z":             0,
	} {
		header := http.Header{}
		if text != "" {
			header.Set("Retry-After", text)
		}
		assert.Equal(t, want, retryAfter(header, now), "%q", text)
	}
}

func TestTokenInTheQuery(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ token, name, query, want string }{
		{"", "", "", ""},
		{"", "", "a=1", "a=1"},
		{"", "component_access_token", "a=1", "a=1"},
		{"t", "", "", "access_token=t"},
		{"t", "", "a=1&b=2", "access_token=t&a=1&b=2"},
		{"t", "component_access_token", "a=1", "component_access_token=t&a=1"},
		{"t", "component_access_token", "", "component_access_token=t"},
		{"a&b=c d", "", "", "access_token=a%26b%3Dc+d"},
		{"a&b", "x", "", "x=a%26b"},
	} {
		req := &Request{TokenName: tt.name, Query: tt.query}
		assert.Equal(t, tt.want, req.withToken(tt.token))
	}
}

func TestRequestAsItIsSent(t *testing.T) {
	t.Parallel()
	host, err := ParseBaseURL("https://h.test:8443/a%2Fb/")
	require.NoError(t, err)
	s := newSender(sendOver(nil))
	s.Hosts = NewHosts(host)
	x := newExchange(s, newRequest(), "t", 0)
	req := x.httpRequest(context.Background())
	assert.Equal(t, "https://h.test:8443/a%2Fb/redeem?access_token=t", req.URL.String())
	assert.Equal(t, "h.test:8443", req.Host)
	assert.Equal(t, http.MethodPost, req.Method)
	assert.Equal(t, http.Header{"User-Agent": {userAgent}, "Content-Type": {"application/json"}}, req.Header)
	assert.EqualValues(t, len(x.req.Body), req.ContentLength)
	for range 2 { // net/http sends some again
		body, err := req.GetBody()
		require.NoError(t, err)
		text, err := io.ReadAll(body)
		require.NoError(t, err)
		assert.Equal(t, x.req.Body, text)
	}

	get := newRequest()
	get.Method, get.Body = http.MethodGet, nil
	req = newExchange(s, get, "", 0).httpRequest(context.Background())
	assert.Nil(t, req.Body)
	assert.Nil(t, req.GetBody)
	assert.Zero(t, req.ContentLength)
	assert.Equal(t, http.Header{"User-Agent": {userAgent}}, req.Header)
}

func TestAnswerIsReadHoweverItComes(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 1, bytes.MinRead - 1, bytes.MinRead, bytes.MinRead + 1, 100_000, maxAnswer} {
		text := strings.Repeat("x", size)
		for name, reader := range map[string]func(io.Reader) io.Reader{
			"whole": func(r io.Reader) io.Reader { return r }, "halves": iotest.HalfReader, "with EOF": iotest.DataErrReader,
		} {
			for _, length := range []int64{-1, 0, int64(size), 10, 1 << 40} {
				body, err := readAnswer(&http.Response{ContentLength: length, Body: io.NopCloser(reader(strings.NewReader(text)))})
				require.NoError(t, err)
				assert.True(t, string(body) == text, "%d bytes, %s, said to be %d", size, name, length) //nolint:testifylint // prints no megabyte
			}
		}
	}
	body, err := readAnswer(&http.Response{ContentLength: -1, Body: io.NopCloser(strings.NewReader(strings.Repeat("x", 3*maxAnswer)))})
	require.NoError(t, err)
	assert.Greater(t, len(body), maxAnswer)
	assert.Less(t, len(body), 2*maxAnswer)
	body, err = readAnswer(&http.Response{Body: io.NopCloser(io.MultiReader(
		strings.NewReader(strings.Repeat("x", maxAnswer)), strings.NewReader("x")))})
	require.NoError(t, err)
	assert.Greater(t, len(body), maxAnswer, "it is seen to be too long")
	_, err = readAnswer(&http.Response{Body: io.NopCloser(io.MultiReader(strings.NewReader("x"), iotest.ErrReader(errCut)))})
	require.ErrorIs(t, err, errCut)
}

// body counts how often it is closed.
type body struct {
	io.Reader
	closed int
}

func (b *body) Close() error { b.closed++; return nil }

// Else the connection would be lost to the pool.
func TestBodyOfEveryAnswerIsClosed(t *testing.T) {
	t.Parallel()
	for status, text := range map[int]io.Reader{
		200: strings.NewReader(goodAnswer), 201: strings.NewReader(`{"errcode":7}`), 202: strings.NewReader("<html>"),
		502: strings.NewReader(""), 203: iotest.ErrReader(errCut),
	} {
		b := &body{Reader: text}
		s := newSender(sendOver(func(req *http.Request, _ *httptrace.ClientTrace) (*http.Response, error) {
			answer := answerWith(req, status, "")
			answer.Body, answer.ContentLength = b, -1
			return answer, nil
		}))
		_, _ = s.Send(context.Background(), newRequest(), "", new(Progress))
		assert.Equal(t, 1, b.closed, status)
	}
}

// An answer that breaks off was lost, whatever status came with it.
func TestAnswerThatBreaksOff(t *testing.T) {
	t.Parallel()
	s := newSender(sendOver(func(req *http.Request, hooks *httptrace.ClientTrace) (*http.Response, error) {
		sent(hooks, httptrace.GotConnInfo{})
		answer := answerWith(req, 200, goodAnswer)
		answer.Body = io.NopCloser(io.MultiReader(strings.NewReader(goodAnswer[:10]), iotest.ErrReader(io.ErrUnexpectedEOF)))
		return answer, nil
	}))
	var seen []Exchange
	s.Observe = func(_ context.Context, x Exchange) { seen = append(seen, x) }
	_, err := s.Send(context.Background(), newRequest(), "", new(Progress))
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	require.ErrorIs(t, err, errMaybeUsed)
	require.Len(t, seen, 1)
	assert.Equal(t, 200, seen[0].HTTPStatus)
}

func TestExchangeIsReportedAsItWas(t *testing.T) {
	t.Parallel()
	answers := []string{`{"errcode":-1,"errmsg":"busy rid: 65a1b2c3-01234567-89abcdef"}`, goodAnswer}
	s := newSender(sendOver(func(req *http.Request, hooks *httptrace.ClientTrace) (*http.Response, error) {
		sent(hooks, httptrace.GotConnInfo{})
		body := answers[0]
		answers = answers[1:]
		return answerWith(req, 200, body), nil
	}))
	var seen []Exchange
	s.Observe = func(_ context.Context, x Exchange) { seen = append(seen, x) }
	req := newRequest()
	req.Retries = 1
	answer, err := s.Send(context.Background(), req, "token-1", new(Progress))
	require.NoError(t, err)
	assert.EqualValues(t, "13800000000", answer.(*phoneAnswer).Number)
	require.Len(t, seen, 2)
	first := seen[0]
	var busy *refused
	require.ErrorAs(t, first.Err, &busy)
	assert.Equal(t, Refusal{
		Endpoint: "/redeem", Code: busyCode, Message: "busy", RID: "65a1b2c3-01234567-89abcdef", HTTPStatus: 200, OneTime: "code-1",
	}, busy.Refusal)
	assert.Equal(t, Exchange{
		Endpoint: "/redeem", Host: "a.test", Attempt: 1, Start: first.Start, Duration: first.Duration, HTTPStatus: 200,
		Code: busyCode, RID: "65a1b2c3-01234567-89abcdef", Err: first.Err, Retried: true,
	}, first)
	last := seen[1]
	assert.Equal(t, Exchange{
		Endpoint: "/redeem", Host: "a.test", Attempt: 2, Start: last.Start, Duration: last.Duration, HTTPStatus: 200,
	}, last)
	assert.WithinRange(t, last.Start, first.Start.Add(first.Duration), time.Now().Add(-last.Duration), "one after the other")
}

func TestRefusalHoldsNoSecret(t *testing.T) {
	t.Parallel()
	secrets := []string{"code-0123456789abcdef", "token-0123456789abcdef", "session-key-0123456789"}
	req := newRequest()
	req.OneTime, req.Secrets = secrets[0], secrets[2:]
	told := strings.Join(secrets, " ")
	s := newSender(sendOver(func(r *http.Request, _ *httptrace.ClientTrace) (*http.Response, error) {
		return answerWith(r, 200, `{"errcode":7,"errmsg":"`+told+` is odd rid: `+secrets[1]+`"}`), nil
	}))
	_, err := s.Send(context.Background(), req, secrets[1], new(Progress))
	var refusal *refused
	require.ErrorAs(t, err, &refusal)
	assert.Contains(t, refusal.Message, "is odd")
	for _, secret := range secrets {
		assert.NotContains(t, refusal.Message+refusal.RID, secret)
	}
	assert.Equal(t, secrets[0], refusal.OneTime, "for looking at")
}

// What each answer means for the next attempt and for the code.
func TestAnswersThatAreNone(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		status     int
		body       string
		retryAfter string
		retry      bool
		taken      bool
	}{
		"errcode":                 {status: 200, body: `{"errcode":7}`},
		"busy":                    {status: 200, body: `{"errcode":-1}`, retry: true, taken: true},
		"errcode in a 404":        {status: 404, body: `{"errcode":7}`},
		"page":                    {status: 200, body: "<html>", taken: true},
		"nothing":                 {status: 200, body: "", retry: true, taken: true},
		"cut short":               {status: 200, body: goodAnswer[:20], retry: true, taken: true},
		"no number":               {status: 200, body: `{"errcode":0}`, taken: true},
		"299":                     {status: 299, body: "<html>", taken: true},
		"300":                     {status: 300, body: "<html>"},
		"300 without an errcode":  {status: 300, body: `{"number":"13800000000"}`},
		"404, cut short":          {status: 404, body: "{"},
		"499":                     {status: 499, body: "<html>"},
		"500":                     {status: 500, body: "<html>", retry: true, taken: true},
		"502, a gateway's JSON":   {status: 502, body: `{"message":"no"}`, retry: true, taken: true},
		"429":                     {status: 429, body: "slow down"},
		"429 with Retry-After":    {status: 429, body: "slow down", retryAfter: "1", retry: true},
		"429 with Retry-After: 0": {status: 429, body: "slow down", retryAfter: "0"},
		"429 of WeChat's":         {status: 429, body: `{"errcode":7}`, retryAfter: "1"},
		"400 with Retry-After":    {status: 400, body: "slow down", retryAfter: "1"},
		"too long":                {status: 200, body: `{"errcode":0,"number":"` + strings.Repeat("1", maxAnswer) + `"}`, taken: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSender(sendOver(func(req *http.Request, hooks *httptrace.ClientTrace) (*http.Response, error) {
				sent(hooks, httptrace.GotConnInfo{})
				answer := answerWith(req, tt.status, tt.body)
				if tt.retryAfter != "" {
					answer.Header.Set("Retry-After", tt.retryAfter)
				}
				return answer, nil
			}))
			answer, failed := s.exchange(context.Background(), newRequest(), "", 0, false, new(Progress))
			require.NotNil(t, failed)
			assert.Nil(t, answer)
			assert.Equal(t, tt.status, failed.httpStatus)
			assert.Equal(t, tt.retry, failed.retry)
			assert.Equal(t, tt.taken, failed.mayHaveTaken)
			assert.False(t, failed.noConnection, "no other host is asked")
			if tt.retryAfter == "1" {
				assert.Equal(t, time.Second, failed.retryAfter)
			}
		})
	}
}

func TestEndedContextSendsNothing(t *testing.T) {
	t.Parallel()
	s := newSender(sendOver(func(*http.Request, *httptrace.ClientTrace) (*http.Response, error) {
		t.Error("sent")
		return nil, errCut
	}))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	req := newRequest()
	req.Retries = 5
	_, err := s.Send(ctx, req, "token-1", new(Progress))
	require.EqualError(t, err, `wxphone: Post "http://a.test/redeem": context canceled`)
	require.NotErrorIs(t, err, errMaybeUsed)
}

// A pool may be full of connections that are dead like the one that failed.
func TestLastAttemptAfterAReusedConnectionHasOneOfItsOwn(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		reused  bool
		retries int
		alone   []int // attempts
	}{
		"reused":              {true, 2, []int{3}},
		"reused, one retry":   {true, 1, []int{2}},
		"reused, no retry":    {true, 0, nil},
		"a new one each time": {false, 2, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			attempt := 0
			var alone []int
			through := func(own bool) sendOver {
				return func(_ *http.Request, hooks *httptrace.ClientTrace) (*http.Response, error) {
					if attempt++; own {
						alone = append(alone, attempt)
					}
					sent(hooks, httptrace.GotConnInfo{Reused: tt.reused})
					return nil, errCut
				}
			}
			s := newSender(through(false))
			s.HTTP.alone = &http.Client{Transport: through(true)}
			req := newRequest()
			req.Retries = tt.retries
			_, err := s.Send(context.Background(), req, "", new(Progress))
			require.ErrorIs(t, err, errCut)
			assert.Equal(t, 1+tt.retries, attempt)
			assert.Equal(t, tt.alone, alone)
		})
	}
}

// idle is a transport that counts how often its idle connections are closed.
type idle struct {
	sendOver
	closed int
}

func (i *idle) CloseIdleConnections() { i.closed++ }

func TestUsersPoolIsEmptiedForAConnectionOfItsOwn(t *testing.T) {
	t.Parallel()
	pool := &idle{sendOver: func(_ *http.Request, hooks *httptrace.ClientTrace) (*http.Response, error) {
		sent(hooks, httptrace.GotConnInfo{Reused: true})
		return nil, errCut
	}}
	s := newSender(pool)
	req := newRequest()
	req.Retries = 1
	_, err := s.Send(context.Background(), req, "", new(Progress))
	require.ErrorIs(t, err, errCut)
	assert.Equal(t, 1, pool.closed, "before the last attempt")
}

func TestClientKnowsItsTransport(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		transport         http.RoundTripper
		standard, bounded bool
	}{
		"default":  {nil, true, false},
		"standard": {new(http.Transport), true, false},
		"bounded":  {&http.Transport{MaxConnsPerHost: 1}, true, true},
		"custom":   {sendOver(nil), false, false},
	} {
		c := NewClient(&http.Client{Transport: tt.transport})
		assert.Equal(t, tt.standard, c.standard, name)
		assert.Equal(t, tt.bounded, c.queues, name)
		assert.Equal(t, tt.bounded, c.dialHooks, name)
		assert.Nil(t, c.alone, name)
	}
	own := DefaultClient()
	assert.True(t, own.standard && own.queues)
	assert.False(t, own.dialHooks, "its dialer tells")
	assert.Same(t, own, DefaultClient())
	for _, c := range []*http.Client{own.HTTP(), own.alone} {
		assert.Equal(t, callTimeout, c.Timeout)
		assert.True(t, errors.Is(c.CheckRedirect(nil, nil), http.ErrUseLastResponse))
	}
	pool, alone := own.HTTP().Transport.(*http.Transport), own.alone.Transport.(*http.Transport)
	assert.NotSame(t, pool, alone)
	assert.Negative(t, alone.MaxIdleConnsPerHost)
	assert.False(t, alone.DisableKeepAlives, "its header would end the connection before the answer")
	assert.Empty(t, pool.TLSNextProto)
	assert.NotNil(t, pool.TLSNextProto, "HTTP/1.1 only")
}

// A Retry-After beyond 2^31 seconds counts as none: the request is sent again
// at once.
func TestEndlessRetryAfterIsNotNone(t *testing.T) {
	t.Parallel()
	header := http.Header{"Retry-After": {"2147483648"}}
	assert.Greater(t, retryAfter(header, time.Now()), longestRetryAfter)
}
