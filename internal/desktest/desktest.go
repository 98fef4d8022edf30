// Package desktest runs the command wxphone as a process of its own, for tests
// of what it is to browsers and to other people's clients.
package desktest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Build compiles the command into dir and returns its path.
func Build(dir string) (path string, err error) {
	path = filepath.Join(dir, "wxphone")
	build := exec.CommandContext(context.Background(), "go", "build", "-o", path, "github.com/wxphone/wxphone/cmd/wxphone") //nolint:gosec // G204: the path is a test's
	build.Stdout, build.Stderr = os.Stderr, os.Stderr
	return path, build.Run()
}

// Fake is a running "wxphone fake".
type Fake struct {
	URL, AppID, Secret string
}

// patience is how long a process may take to start and to end.
const patience = 30 * time.Second

// Start runs the command at path as a fake on a free port, and stops it when
// the test ends. It fails the test if the fake does not end cleanly.
func Start(t *testing.T, path string, flags ...string) *Fake {
	t.Helper()
	cmd := exec.CommandContext(context.Background(), path, append([]string{"fake", "-addr", "127.0.0.1:0"}, flags...)...) //nolint:gosec // G204: as above
	cmd.Env = append(os.Environ(), "WXPHONE_FAKE_ADDR=")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(stdout)
	f := &Fake{}
	for (f.URL == "" || f.AppID == "" || f.Secret == "") && lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), "=")
		switch name {
		case "WXPHONE_BASE_URL":
			f.URL = value
		case "WXPHONE_APPID":
			f.AppID = value
		case "WXPHONE_SECRET":
			f.Secret = value
		}
	}
	// The lines after the first are of requests. Nobody waits for them, but a
	// full pipe would stop the fake.
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		for lines.Scan() {
		}
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		kill := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
		defer kill.Stop()
		<-drained
		if err := cmd.Wait(); err != nil {
			t.Errorf("the fake did not end cleanly: %v\n%s", err, stderr.String())
		}
	})
	if f.Secret == "" {
		t.Fatalf("the fake did not start: %s", stderr.String())
	}
	return f
}

// Post sends body as JSON to a path below /_fake/ and returns the text fields
// of the answer. It fails the test unless the fake took it.
func (f *Fake) Post(t *testing.T, path string, body any) map[string]string {
	t.Helper()
	return f.send(t, http.MethodPost, path, body)
}

// Put is Post for a setting.
func (f *Fake) Put(t *testing.T, path string, body any) { f.send(t, http.MethodPut, path, body) }

func (f *Fake) send(t *testing.T, method, path string, body any) map[string]string {
	t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	answer := f.ask(t, method, path, bytes.NewReader(text))
	fields := make(map[string]string)
	var all map[string]any
	if err := json.Unmarshal(answer, &all); err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	for name, value := range all {
		if text, ok := value.(string); ok {
			fields[name] = text
		}
	}
	return fields
}

// Request is a request as the fake's journal has it.
type Request struct {
	Endpoint string `json:"endpoint"`
	Method   string `json:"method"`
	Body     string `json:"body"`
	Status   int    `json:"status"`
	ErrCode  int    `json:"errcode"`
	Reason   string `json:"reason"`
}

// Requests returns the fake's journal.
func (f *Fake) Requests(t *testing.T) []Request {
	t.Helper()
	var answer struct {
		Requests []Request `json:"requests"`
	}
	if err := json.Unmarshal(f.ask(t, http.MethodGet, "requests", nil), &answer); err != nil {
		t.Fatal(err)
	}
	return answer.Requests
}

func (f *Fake) ask(t *testing.T, method, path string, body io.Reader) []byte {
	t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), method, f.URL+"/_fake/"+path, body)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s %s: HTTP %d, %v: %s", method, path, resp.StatusCode, err, text)
	}
	return text
}
