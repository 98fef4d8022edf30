package desk_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/wxphone/wxphone/cmd/wxphone/internal/desk"
)

// TestForeignPagesAreKeptOut sends what browsers send for pages of other sites.
func TestForeignPagesAreKeptOut(t *testing.T) {
	t.Parallel()
	s := start(t, desk.Config{})
	for origin, want := range map[string]int{
		"":                               http.StatusOK, // a program
		s.url:                            http.StatusOK, // the fake's own page
		"http://localhost:3000":          http.StatusOK, // a front end on this machine
		"http://127.0.0.1:5173":          http.StatusOK,
		"http://[::1]:5173":              http.StatusOK,
		"http://app.localhost":           http.StatusOK,
		"https://servicewechat.com":      http.StatusOK, // a mini-program in the developer tools
		"http://servicewechat.com":       http.StatusForbidden,
		"https://servicewechat.com.evil": http.StatusForbidden,
		"https://evil.example":           http.StatusForbidden,
		"http://localhost.evil.example":  http.StatusForbidden,
		"http://127.0.0.1.evil.example":  http.StatusForbidden,
		"null":                           http.StatusForbidden, // a file, a sandboxed frame
	} {
		header := http.Header{}
		if origin != "" {
			header.Set("Origin", origin)
		}
		resp := s.send(http.MethodPost, "/_fake/codes", `{"phoneNumber":"13800000000"}`, header)
		resp.Body.Close()
		assert.Equal(t, want, resp.StatusCode, origin)
		if allowed := resp.Header.Get("Access-Control-Allow-Origin"); want == http.StatusOK {
			assert.Equal(t, origin, allowed)
		} else {
			assert.Empty(t, allowed, origin)
		}
	}
}

// TestForeignNamesAreKeptOut is against a site that lets its own name point to
// the fake.
func TestForeignNamesAreKeptOut(t *testing.T) {
	t.Parallel()
	s := start(t, desk.Config{})
	for host, want := range map[string]int{
		"localhost:8089":            http.StatusOK,
		"127.0.0.1:8089":            http.StatusOK,
		"[::1]:8089":                http.StatusOK,
		"192.168.1.20:8089":         http.StatusOK,
		"wechat:8089":               http.StatusOK, // a service of docker compose
		"host.docker.internal:8089": http.StatusOK,
		"fake.localhost":            http.StatusOK,
		"evil.example:8089":         http.StatusForbidden,
		"localhost.evil.example":    http.StatusForbidden,
		"127.0.0.1.nip.io":          http.StatusForbidden,
		"api.weixin.qq.com":         http.StatusForbidden,
	} {
		status, _ := s.raw(http.MethodGet, "/_fake/info", "", http.Header{"Host": {host}})
		assert.Equal(t, want, status, host)
	}
}

func TestPreflightsAreAnswered(t *testing.T) {
	t.Parallel()
	s := start(t, desk.Config{})
	preflight := func(origin string) *http.Response {
		return s.send(http.MethodOptions, "/_fake/faults", "", http.Header{
			"Origin":                                 {origin},
			"Access-Control-Request-Method":          {"PUT"},
			"Access-Control-Request-Headers":         {"content-type"},
			"Access-Control-Request-Private-Network": {"true"},
		})
	}
	resp := preflight("https://servicewechat.com")
	resp.Body.Close()
	assert.Equal(t, http.StatusNoContent, resp.StatusCode)
	assert.Equal(t, "GET, PUT", resp.Header.Get("Access-Control-Allow-Methods"))
	assert.Contains(t, resp.Header.Get("Access-Control-Allow-Headers"), "Content-Type")
	assert.Equal(t, "true", resp.Header.Get("Access-Control-Allow-Private-Network"))

	resp = preflight("https://evil.example")
	resp.Body.Close()
	assert.Equal(t, http.StatusForbidden, resp.StatusCode)
	assert.Empty(t, resp.Header.Get("Access-Control-Allow-Methods"))
	assert.Empty(t, resp.Header.Get("Access-Control-Allow-Private-Network"))
}
