package wxphonetest_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wxphone/wxphone/wxphonetest"
)

func jsonBody(text string) io.Reader { return strings.NewReader(text) }

// closeSpy notes whether a body was closed, as a RoundTripper must.
type closeSpy struct {
	io.Reader
	closed bool
}

func (c *closeSpy) Close() error {
	c.closed = true
	return nil
}

func traced(ctx context.Context, events *[]string) context.Context {
	note := func(event string) { *events = append(*events, event) }
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn: func(address string) { note("GetConn " + address) },
		GotConn: func(info httptrace.GotConnInfo) { note("GotConn " + info.Conn.RemoteAddr().Network()) },
		WroteHeaders: func() {
			note("WroteHeaders")
		},
		WroteRequest: func(info httptrace.WroteRequestInfo) {
			if info.Err != nil {
				note("WroteRequest " + info.Err.Error())
				return
			}
			note("WroteRequest")
		},
		GotFirstResponseByte: func() { note("GotFirstResponseByte") },
	})
}

func TestTransportCallsTheHooksOfNetHTTP(t *testing.T) {
	t.Parallel()
	sent := []string{"GetConn api.weixin.qq.com:443", "GotConn pipe", "WroteHeaders", "WroteRequest"}
	for name, tc := range map[string]struct {
		prepare func(*wxphonetest.Server)
		address string
		want    []string
	}{
		"answered": {
			func(*wxphonetest.Server) {}, host,
			append(append([]string(nil), sent...), "GotFirstResponseByte"),
		},
		"other ports": {
			func(*wxphonetest.Server) {}, "http://localhost:8080",
			[]string{"GetConn localhost:8080", "GotConn pipe", "WroteHeaders", "WroteRequest", "GotFirstResponseByte"},
		},
		"plain": {
			func(*wxphonetest.Server) {}, "http://localhost",
			[]string{"GetConn localhost:80", "GotConn pipe", "WroteHeaders", "WroteRequest", "GotFirstResponseByte"},
		},
		"dropped": {func(s *wxphonetest.Server) { s.DropNext(classicToken, 1) }, host, sent},
		"closed":  {(*wxphonetest.Server).Close, host, sent[:1]},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, err := wxphonetest.Start()
			require.NoError(t, err)
			defer s.Close()
			tc.prepare(s)

			var events []string
			req, err := http.NewRequestWithContext(traced(context.Background(), &events), http.MethodGet, tc.address+classicToken, nil)
			require.NoError(t, err)
			if resp, err := s.HTTPClient().Do(req); err == nil {
				resp.Body.Close()
			}
			assert.Equal(t, tc.want, events)
		})
	}
}

func TestTransportFillsInTheResponse(t *testing.T) {
	t.Parallel()
	s := wxphonetest.NewServer(t)
	body := &closeSpy{Reader: strings.NewReader(`{"code":"1"}`)}
	req, err := http.NewRequest(http.MethodPost, host+phoneNumber+"?access_token="+s.Token(), body)
	require.NoError(t, err)
	req.ContentLength = 12

	resp, err := s.HTTPClient().Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	assert.Equal(t, "200 OK", resp.Status)
	assert.Equal(t, int64(len(answer)), resp.ContentLength)
	assert.Equal(t, req.URL, resp.Request.URL)
	assert.True(t, body.closed)
}

func TestTransportRefusesWhatNetHTTPRefuses(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	cause := errors.New("cause")
	cancelled, cancel := context.WithCancelCause(context.Background())
	cancel(cause)

	for name, tc := range map[string]struct {
		change func(*http.Request) *http.Request
		want   error
	}{
		"no host": {func(r *http.Request) *http.Request { r.URL = &url.URL{Path: "/"}; return r }, nil},
		"no URL":  {func(r *http.Request) *http.Request { r.URL = nil; return r }, nil},
		"cancelled before": {
			func(r *http.Request) *http.Request { return r.WithContext(cancelled) }, cause,
		},
		"body breaks": {
			func(r *http.Request) *http.Request { r.Body = io.NopCloser(errorReader{broken}); return r }, broken,
		},
		"body is shorter": {func(r *http.Request) *http.Request { r.ContentLength = 99; return r }, nil},
		"body is longer":  {func(r *http.Request) *http.Request { r.ContentLength = 1; return r }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := wxphonetest.NewServer(t)
			body := &closeSpy{Reader: strings.NewReader("{}")}
			req, err := http.NewRequest(http.MethodPost, host+phoneNumber, body)
			require.NoError(t, err)
			req = tc.change(req)
			//nolint:bodyclose // there is none
			_, err = s.HTTPClient().Transport.RoundTrip(req)
			require.Error(t, err)
			if tc.want != nil {
				require.ErrorIs(t, err, tc.want)
			}
			if req.Body == body {
				assert.True(t, body.closed)
			}
			assert.Zero(t, s.Requests(phoneNumber))
		})
	}
}

type errorReader struct{ err error }

func (r errorReader) Read([]byte) (int, error) { return 0, r.err }

func TestTransportAnnouncesLengthsAsNetHTTPDoes(t *testing.T) {
	t.Parallel()
	hidden := func(text string) io.Reader { return io.MultiReader(strings.NewReader(text)) }
	for name, tc := range map[string]struct {
		method  string
		body    io.Reader
		chunked bool
		status  int
	}{
		"GET, no body":                   {"GET", nil, false, 200},
		"GET, empty body of any length":  {"GET", hidden(""), false, 200},
		"GET, some body of any length":   {"GET", hidden("x"), false, 412},
		"GET, known length":              {"GET", strings.NewReader("x"), false, 200},
		"GET, chunks asked for":          {"GET", strings.NewReader("x"), true, 412},
		"POST, empty body of any length": {"POST", hidden(""), false, 412},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := wxphonetest.NewServer(t, wxphonetest.AllowMalformed())
			for way, client := range map[string]struct {
				*http.Client
				base string
			}{
				"in process": {s.HTTPClient(), host},
				"loopback":   {&http.Client{}, s.URL()},
			} {
				if seeker, ok := tc.body.(io.Seeker); ok {
					_, err := seeker.Seek(0, io.SeekStart)
					require.NoError(t, err)
				} else if tc.body != nil && way == "loopback" {
					continue // the in-process client may have read it already
				}
				req, err := http.NewRequest(tc.method, client.base+classicToken, tc.body)
				require.NoError(t, err)
				if tc.chunked {
					req.TransferEncoding = []string{"chunked"}
				}
				resp, err := client.Do(req)
				require.NoError(t, err)
				resp.Body.Close()
				assert.Equal(t, tc.status, resp.StatusCode, way)
			}
		})
	}
}

func TestTransportHonoursClientTimeout(t *testing.T) {
	t.Parallel()
	s := wxphonetest.NewServer(t)
	s.SetLatency(classicToken, time.Hour)
	client := s.HTTPClient()
	client.Timeout = 10 * time.Millisecond

	_, err := client.Get(host + classicToken) //nolint:bodyclose // there is none
	var failed *url.Error
	require.ErrorAs(t, err, &failed)
	assert.True(t, failed.Timeout())
}
