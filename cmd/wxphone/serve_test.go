package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/tokenhttp"
	"github.com/wxphone/wxphone/wxphonetest"
)

func writeFile(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
	return name
}

// service is a run of the program that serves until it is stopped.
type service struct {
	t      *testing.T
	lines  *bufio.Reader
	stop   context.CancelFunc
	status chan int
	stderr *lockedBuffer
}

// lockedBuffer is written to by the program while a test reads it.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func startService(t *testing.T, env map[string]string, args ...string) *service {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	out, in := io.Pipe()
	s := &service{t, bufio.NewReader(out), cancel, make(chan int, 1), &lockedBuffer{}}
	go func() {
		s.status <- run(ctx, args, func(name string) string { return env[name] }, strings.NewReader(""), in, s.stderr)
		in.Close()
	}()
	t.Cleanup(func() {
		cancel()
		out.Close()
	})
	return s
}

func (s *service) line() string {
	s.t.Helper()
	line, err := s.lines.ReadString('\n')
	require.NoError(s.t, err, s.stderr.String())
	return strings.TrimSuffix(line, "\n")
}

// end stops the service as a signal does, and returns its exit status.
func (s *service) end() int {
	s.stop()
	go func() { _, _ = io.Copy(io.Discard, s.lines) }()
	return <-s.status
}

func TestFakePrintsAddressAndCredentialsFirst(t *testing.T) {
	t.Parallel()
	s := startService(t, map[string]string{
		"WXPHONE_FAKE_APPID":          "wx0123456789abcdef",
		"WXPHONE_FAKE_SECRET":         "from-the-environment",
		"WXPHONE_FAKE_TOKEN_LIFETIME": "1h",
	}, "fake", "-addr", "127.0.0.1:0", "-secret", "from-the-flag")
	base, found := strings.CutPrefix(s.line(), "WXPHONE_BASE_URL=")
	require.True(t, found)
	assert.Equal(t, "WXPHONE_APPID=wx0123456789abcdef", s.line())
	assert.Equal(t, "WXPHONE_SECRET=from-the-flag", s.line())
	assert.Empty(t, s.line())
	assert.Contains(t, s.line(), base+"/_fake/")
	assert.Empty(t, s.line())

	go func() {
		resp, err := http.Get(base + "/nothing%0A")
		if err == nil {
			resp.Body.Close()
		}
	}()
	assert.Regexp(t, `^\d\d:\d\d:\d\d GET /nothing  40066: no such API`, s.line())

	got := wxphoneWith(t, map[string]string{
		"WXPHONE_BASE_URL": base, "WXPHONE_APPID": "wx0123456789abcdef", "WXPHONE_SECRET": "from-the-flag",
	}, "", "help")
	assert.Zero(t, got.status)
	assert.Zero(t, s.end())
	assert.Empty(t, s.stderr.String())
}

// TestFakeEndsWhileAStreamIsOpen holds a stream of events open.
func TestFakeEndsWhileAStreamIsOpen(t *testing.T) {
	t.Parallel()
	s := startService(t, nil, "fake", "-addr", "127.0.0.1:0")
	base := strings.TrimPrefix(s.line(), "WXPHONE_BASE_URL=")
	for range 5 {
		s.line()
	}
	resp, err := http.Get(base + "/_fake/events")
	require.NoError(t, err)
	defer resp.Body.Close()
	assert.Zero(t, s.end())
}

func TestFakeOnATakenPortFails(t *testing.T) {
	t.Parallel()
	s := startService(t, nil, "fake", "-addr", "127.0.0.1:0")
	address := strings.TrimPrefix(s.line(), "WXPHONE_BASE_URL=http://")
	got := wxphoneWith(t, nil, "", "fake", "-addr", address)
	assert.Equal(t, 1, got.status)
	assert.Empty(t, got.stdout)
	assert.Equal(t, 1, strings.Count(got.stderr, "\n"))
}

func TestFakeWarnsThatItIsReachable(t *testing.T) {
	t.Parallel()
	s := startService(t, nil, "fake", "-addr", "0.0.0.0:0")
	assert.Contains(t, s.line(), "http://127.0.0.1:", "an address that works here")
	for range 5 {
		s.line()
	}
	assert.Zero(t, s.end())
	assert.Contains(t, s.stderr.String(), "other machines")
}

func TestTokenServer(t *testing.T) {
	t.Parallel()
	wechat := wxphonetest.NewServer(t)
	env := environmentOf(wechat)
	env["WXPHONE_KEY"] = strings.Repeat("k", 32)
	s := startService(t, env, "token", "-serve", "127.0.0.1:0")
	url := regexp.MustCompile(`http://\S+`).FindString(s.line())
	source, err := tokenhttp.NewSource(url, env["WXPHONE_KEY"])
	require.NoError(t, err)
	client := wechat.NewClient(wxphone.WithTokenSource(wxphone.CacheTokens(source)))

	_, err = client.GetPhoneNumber(context.Background(), wechat.IssueCode(alice))
	require.NoError(t, err)
	wechat.RevokeToken()
	_, err = client.GetPhoneNumber(context.Background(), wechat.IssueCode(alice))
	require.NoError(t, err, "the report reached the server")
	assert.Zero(t, s.end())
}

// TestTokenServerSaysAtOnceThatItHasNoToken starts one with a wrong AppSecret.
// It serves all the same: what is wrong may be mended meanwhile.
func TestTokenServerSaysAtOnceThatItHasNoToken(t *testing.T) {
	t.Parallel()
	env := environmentOf(wxphonetest.NewServer(t))
	env["WXPHONE_KEY"] = strings.Repeat("k", 32)
	env["WXPHONE_SECRET"] = "another-secret-of-32-characters-1"
	s := startService(t, env, "token", "-serve", "127.0.0.1:0")
	assert.Contains(t, s.line(), "http://")
	assert.Eventually(t, func() bool {
		return strings.Contains(s.stderr.String(), "wxphone: no token yet: ") && strings.Contains(s.stderr.String(), "40125")
	}, 10*time.Second, 10*time.Millisecond)
	assert.Zero(t, s.end())
	assert.NotContains(t, s.stderr.String(), "another-secret")
}
