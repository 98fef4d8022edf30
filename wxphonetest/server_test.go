package wxphonetest_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/wxphonetest"
)

func TestStartRefusesInvalidOptions(t *testing.T) {
	t.Parallel()
	for name, opt := range map[string]wxphonetest.Option{
		"no appid":             wxphonetest.WithCredentials("", "secret"),
		"no secret":            wxphonetest.WithCredentials("wx1", ""),
		"zero lifetime":        wxphonetest.WithTokenLifetime(0),
		"less than one second": wxphonetest.WithTokenLifetime(time.Second - 1),
		"no logger":            wxphonetest.WithLogger(nil),
		"no observer":          wxphonetest.WithObserver(nil),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, err := wxphonetest.Start(opt)
			require.Error(t, err)
			assert.Nil(t, s)
			assert.Panics(t, func() { wxphonetest.NewServer(new(spy), opt) }, "a test ends by Fatalf")
		})
	}
}

func TestNewServerNeedsATest(t *testing.T) {
	t.Parallel()
	assert.Panics(t, func() { wxphonetest.NewServer(nil) })
}

func TestServerHasCredentials(t *testing.T) {
	t.Parallel()
	s := wxphonetest.NewServer(t)
	assert.Regexp(t, `^wx[0-9a-f]{16}$`, s.AppID())
	assert.Regexp(t, `^[0-9a-f]{32}$`, s.Secret())

	other := wxphonetest.NewServer(t, wxphonetest.WithCredentials("wx-mine", "mine"))
	assert.Equal(t, "wx-mine", other.AppID())
	assert.Equal(t, "mine", other.Secret())
	assert.Zero(t, fetchStable(t, other, false).ErrCode)
}

func TestURLServesOverTheNetwork(t *testing.T) {
	t.Parallel()
	s, err := wxphonetest.Start()
	require.NoError(t, err)
	defer s.Close()

	assert.Equal(t, s.URL(), s.URL(), "it listens once")
	resp, err := http.Post(s.URL()+phoneNumber+"?access_token="+s.Token(), "application/json",
		strings.NewReader(`{"code":"`+s.IssueCode(somePhone)+`"}`))
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	assert.Contains(t, string(body), `"phoneNumber":"13800000000"`)
}

func TestCloseRefusesConnections(t *testing.T) {
	t.Parallel()
	s, err := wxphonetest.Start()
	require.NoError(t, err)
	address := s.URL()
	s.Close()
	s.Close()

	_, err = http.Get(address + classicToken) //nolint:bodyclose // there is none
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
	_, err = s.HTTPClient().Get(host + classicToken) //nolint:bodyclose // there is none
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
	assert.Equal(t, address, s.URL(), "a known address stays known")
}

func TestURLOfAClosedServerPanics(t *testing.T) {
	t.Parallel()
	s, err := wxphonetest.Start()
	require.NoError(t, err)
	s.Close()
	assert.Panics(t, func() { s.URL() })
}

func TestCloseDoesNotWaitForLatency(t *testing.T) {
	t.Parallel()
	s, err := wxphonetest.Start()
	require.NoError(t, err)
	s.SetLatency(classicToken, time.Hour)
	failed := make(chan error)
	go func() {
		resp, err := http.Get(s.URL() + classicToken)
		if err == nil {
			resp.Body.Close()
		}
		failed <- err
	}()
	require.Eventually(t, func() bool { return s.Requests(classicToken) == 1 }, 10*time.Second, time.Millisecond)
	s.Close()
	require.Error(t, <-failed)
}

func TestTestEndClosesTheServerAndSilencesIt(t *testing.T) {
	t.Parallel()
	tb := new(spy)
	s := wxphonetest.NewServer(tb)
	tb.end()

	_, err := s.HTTPClient().Get(host + classicToken) //nolint:bodyclose // there is none
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
	req, err := http.NewRequest(http.MethodGet, "/nowhere", http.NoBody)
	require.NoError(t, err)
	s.ServeHTTP(discard{}, req)
	assert.Empty(t, tb.reports(), "a test that is over must not hear from its server")
}

type discard struct{}

func (discard) Header() http.Header         { return http.Header{} }
func (discard) Write(b []byte) (int, error) { return len(b), nil }
func (discard) WriteHeader(int)             {}

func TestNewClientFetchesAPhoneNumber(t *testing.T) {
	t.Parallel()
	s := wxphonetest.NewServer(t)
	c := s.NewClient()

	info, err := c.GetPhoneNumber(context.Background(), s.IssueCode(somePhone))
	require.NoError(t, err)
	assert.Equal(t, "+8613800000000", info.E164())
	assert.Equal(t, s.AppID(), info.Watermark.AppID)

	_, err = c.GetPhoneNumber(context.Background(), s.IssueCode(somePhone))
	require.NoError(t, err)
	assert.Equal(t, 1, s.TokenFetches(), "the client keeps its token")
	assert.Equal(t, 2, s.Requests(phoneNumber))
}

func TestNewClientOverLoopback(t *testing.T) {
	t.Parallel()
	s := wxphonetest.NewServer(t)
	c := s.NewClient(wxphone.WithBaseURL(s.URL()), wxphone.WithHTTPClient(http.DefaultClient))

	_, err := c.GetPhoneNumber(context.Background(), s.IssueCode(somePhone))
	require.NoError(t, err)
}

func TestNewClientEndsTheTestOnInvalidOptions(t *testing.T) {
	t.Parallel()
	bad := wxphone.WithBaseURL("not a URL")
	assert.Panics(t, func() { wxphonetest.NewServer(new(spy)).NewClient(bad) })

	s, err := wxphonetest.Start()
	require.NoError(t, err)
	defer s.Close()
	assert.Panics(t, func() { s.NewClient(bad) })
}
