package desk_test

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wxphone/wxphone/cmd/wxphone/internal/desk"
)

func TestJournalSaysWhy(t *testing.T) {
	t.Parallel()
	s := start(t, desk.Config{})
	code := s.must(http.MethodPost, "codes", `{"phoneNumber":"13800000000"}`)["code"].(string)
	for range 2 {
		_, _ = s.client.GetPhoneNumber(context.Background(), code)
	}
	requests := s.must(http.MethodGet, "requests", "")["requests"].([]any)
	require.Len(t, requests, 3)
	last := requests[2].(map[string]any)
	assert.Equal(t, phoneNumber, last["endpoint"])
	assert.Equal(t, "POST", last["method"])
	assert.EqualValues(t, 200, last["status"])
	assert.EqualValues(t, 40029, last["errcode"])
	assert.Contains(t, last["reason"], "this code was redeemed")
	assert.Contains(t, last["body"], code)
	assert.Contains(t, last["query"], "access_token=")
	assert.Contains(t, last["answer"], "40029")
	assert.Empty(t, requests[1].(map[string]any)["reason"])
}

// stream reads server-sent events.
type stream struct {
	t     *testing.T
	lines *bufio.Scanner
}

func (s server) watch(lastID string) stream {
	s.t.Helper()
	header := http.Header{}
	if lastID != "" {
		header.Set("Last-Event-ID", lastID)
	}
	resp := s.send(http.MethodGet, "/_fake/events", "", header)
	s.t.Cleanup(func() { resp.Body.Close() })
	require.Equal(s.t, "text/event-stream", resp.Header.Get("Content-Type"))
	return stream{s.t, bufio.NewScanner(resp.Body)}
}

// next returns the fields of the next event.
func (s stream) next() map[string]string {
	s.t.Helper()
	fields := make(map[string]string)
	for s.lines.Scan() {
		if s.lines.Text() == "" {
			return fields
		}
		name, value, _ := strings.Cut(s.lines.Text(), ": ")
		fields[name] = value
	}
	s.t.Fatalf("the stream ended: %v", s.lines.Err())
	return nil
}

// endpoint returns the endpoint that the next event is about.
func (s stream) endpoint() (endpoint, id string) {
	s.t.Helper()
	event := s.next()
	var r struct {
		Endpoint string `json:"endpoint"`
	}
	require.NoError(s.t, json.Unmarshal([]byte(event["data"]), &r), "%v", event)
	return r.Endpoint, event["id"]
}

func TestEventsAreTheJournalAndThenTheNews(t *testing.T) {
	t.Parallel()
	s := start(t, desk.Config{})
	s.raw(http.MethodGet, "/before", "", nil)
	watching := s.watch("")
	endpoint, id := watching.endpoint()
	assert.Equal(t, "/before", endpoint)

	s.raw(http.MethodGet, "/while", "", nil)
	endpoint, _ = watching.endpoint()
	assert.Equal(t, "/while", endpoint)

	again := s.watch(id)
	endpoint, _ = again.endpoint()
	assert.Equal(t, "/while", endpoint, "what came before the break is not sent again")

	s.must(http.MethodPost, "reset", "")
	assert.Equal(t, "reset", watching.next()["event"])
	s.raw(http.MethodGet, "/after", "", nil)
	endpoint, _ = watching.endpoint()
	assert.Equal(t, "/after", endpoint)

	late := s.watch(id)
	assert.Equal(t, "reset", late.next()["event"], "the place is of before the reset")
	endpoint, _ = late.endpoint()
	assert.Equal(t, "/after", endpoint)
}

func TestJournalIsBounded(t *testing.T) {
	t.Parallel()
	d, err := desk.New(desk.Config{})
	require.NoError(t, err)
	for i := range 1003 {
		path := "/later"
		if i < 3 {
			path = "/first"
		}
		serve(t, d, path)
	}
	var answer struct {
		Requests []struct {
			Endpoint string `json:"endpoint"`
		} `json:"requests"`
	}
	require.NoError(t, json.Unmarshal(serve(t, d, "/_fake/requests"), &answer))
	require.Len(t, answer.Requests, 1000)
	assert.Equal(t, "/later", answer.Requests[0].Endpoint)
}

func TestAPlaceThatIsNoneIsTheBeginning(t *testing.T) {
	t.Parallel()
	s := start(t, desk.Config{})
	s.raw(http.MethodGet, "/before", "", nil)
	for _, id := range []string{"x", "x-1", "-", "x--1"} {
		watching := s.watch(id)
		if event := watching.next(); event["event"] != "reset" {
			assert.Contains(t, event["data"], "/before", id)
			continue
		}
		endpoint, _ := watching.endpoint()
		assert.Equal(t, "/before", endpoint, id)
	}
}

// serve answers without a socket.
func serve(t *testing.T, d *desk.Desk, path string) []byte {
	t.Helper()
	w := httptest.NewRecorder()
	req := httptest.NewRequest(http.MethodGet, path, nil)
	req.Host = "localhost"
	d.ServeHTTP(w, req)
	return w.Body.Bytes()
}
