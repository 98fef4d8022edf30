package leaktest_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wxphone/wxphone/internal/leaktest"
)

const ownToken = "86_ownUJ8oqWfQ0y3bR7dLhVtMgC2sEaP4xN6uTiYw"

func honest(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "honest "+r.URL.Path) }

// A matrix that finds no leak in a client without any care would find none
// anywhere.
func TestCarelessClientIsFoundOut(t *testing.T) {
	t.Parallel()
	leaks, total := 0, 0
	names := make(map[string]bool)
	for _, answer := range leaktest.Answers() {
		assert.False(t, names[answer.Name], "two answers are called %q", answer.Name)
		names[answer.Name] = true
		for _, whose := range []leaktest.Whose{leaktest.Strangers, leaktest.Own} {
			server := leaktest.Serve(t, http.HandlerFunc(honest), leaktest.Fault{Endpoint: "/api", Answer: answer, Whose: whose})
			total++
			if leaktest.Tells(careless(server+"/api"), append(leaktest.StrangersSecrets(), ownToken)...) != "" {
				leaks++
			}
		}
	}
	assert.Greater(t, leaks, total*3/4, "of %d", total)
}

// careless tells all that it learns.
func careless(to string) string {
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, to+"?access_token="+ownToken,
		strings.NewReader(`{"code":"`+ownToken+`"}`))
	if err != nil {
		return err.Error()
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return fmt.Sprint(resp.Header, string(body), err)
}

func TestOtherRequestsAreAnsweredHonestly(t *testing.T) {
	t.Parallel()
	server := leaktest.Serve(t, http.HandlerFunc(honest), leaktest.Fault{Endpoint: "/api", After: 2, Answer: leaktest.Answers()[0]})
	for _, want := range []string{"honest /api", "honest /other", "honest /api", "malformed HTTP", "honest /other"} {
		path := strings.TrimPrefix(want, "honest ")
		if !strings.HasPrefix(path, "/") {
			path = "/api"
		}
		got := careless(server + path)
		assert.Contains(t, got, want)
	}
}

func TestTellsKnowsTheSpellings(t *testing.T) {
	t.Parallel()
	const secret = "a+b/c==d e&f"
	for _, text := range []string{
		secret, url.QueryEscape(secret), strings.ToLower(url.QueryEscape(secret)), url.PathEscape(secret),
		fmt.Sprintf("%x", secret), fmt.Sprintf("%X", secret), fmt.Sprintf("%d", []byte(secret)),
	} {
		assert.NotEmpty(t, leaktest.Tells("before "+text+" after", "other", secret), text)
	}
	assert.Empty(t, leaktest.Tells("before a+b/c==d after", secret, "abc", ""))
}

func TestControlCharacter(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"\x1b[31m", "\r", "\x07", "\t", "\u0085", "\u2028", "\x00", "\xff"} {
		require.NotEmpty(t, leaktest.ControlCharacter("a"+bad+"b"), "%q", bad)
	}
	require.Empty(t, leaktest.ControlCharacter("系统繁忙\n<b>"))
}
