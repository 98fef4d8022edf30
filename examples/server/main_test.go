package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"io"
	"log/slog"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/wxphonetest"
)

func noEnv(string) string { return "" }

// changing is what differs from one run to the next.
var changing = regexp.MustCompile(`127\.0\.0\.1:\d+|[^ "]{4}\.\.\.`)

const want = `No address given: this server is at http://…, with a fake WeChat behind it.

0. The user taps the button; the mini-program sends e.detail.code.
   $ curl /phone -d '{"code":"…"}'
   200 {"phone":"+86 138****0000","step":"done"}

1. The same code again, as when the answer was lost. WeChat takes it once; the server remembers the number.
   $ curl /phone -d '{"code":"…"}'
   200 {"phone":"+86 138****0000","step":"done"}

2. A code that WeChat does not take. The answer says what to do.
   $ curl /phone -d '{"code":"an old code"}'
   400 {"step":"tap_again"}

3. An old mini-program logs in first; its session stays on the server.
   $ curl /login -d '{"code":"…"}'
   200 {"session":"…"}

4. Then the user taps, and it sends encryptedData and iv.
   $ curl /phone/legacy -H 'X-Session: …' -d '{"encryptedData":"…","iv":"…"}'
   200 {"phone":"+86 138****0000","step":"done"}
`

func TestRunWithoutAnAddressShowsARequestOfEachKind(t *testing.T) {
	var stdout bytes.Buffer
	var stderr lockedBuffer
	if err := run(context.Background(), nil, noEnv, &stdout, &stderr); err != nil {
		t.Fatal(err)
	}
	if got := changing.ReplaceAllString(stdout.String(), "…"); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	if strings.Contains(stderr.String(), "13800000000") {
		t.Errorf("the log holds the number:\n%s", stderr.String())
	}
}

// start runs the program until the test ends and returns its URL. What it
// prints after the first line can be read from the second value.
func start(t *testing.T, args []string, getenv func(string) string) (url string, stdout *bufio.Reader) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	reader, writer := io.Pipe()
	done := make(chan error, 1)
	go func() { done <- run(ctx, args, getenv, writer, io.Discard) }()
	t.Cleanup(func() {
		go func() { _, _ = io.Copy(io.Discard, reader) }()
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	stdout = bufio.NewReader(reader)
	line, err := stdout.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	url = regexp.MustCompile(`http://[\d.:]+\d`).FindString(line)
	if url == "" {
		t.Fatalf("no URL in %q", line)
	}
	return url, stdout
}

func post(t *testing.T, url, body string) (status int, answer string) {
	t.Helper()
	response, err := http.Post(url, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, strings.TrimSpace(string(text))
}

func TestServingTheFake(t *testing.T) {
	url, stdout := start(t, []string{"-addr", "127.0.0.1:0"}, noEnv)
	hints := make([]byte, len(url)*7)
	if _, err := io.ReadFull(stdout, hints); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(hints), "curl -s "+url+"/fake/tap | curl -s "+url+"/phone -d @-") {
		t.Errorf("no such hint in %q", hints)
	}

	response, err := http.Get(url + "/fake/tap")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	tap, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	status, answer := post(t, url+"/phone", string(tap))
	expect(t, status, answer, http.StatusOK, maskedAnswer)
}

func TestServingUsers(t *testing.T) {
	wechat := wxphonetest.NewServer(t)
	env := map[string]string{"WXPHONE_APPID": wechat.AppID(), "WXPHONE_SECRET": wechat.Secret(), "WXPHONE_BASE_URL": wechat.URL()}
	url, _ := start(t, []string{"-addr", "127.0.0.1:0"},
		func(name string) string { return env[name] })

	status, answer := post(t, url+"/phone", `{"code":"`+wechat.IssueCode(consented)+`"}`)
	expect(t, status, answer, http.StatusOK, maskedAnswer)

	response, err := http.Get(url + "/fake/tap")
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusNotFound {
		t.Errorf("/fake/tap answered %d to users", response.StatusCode)
	}
}

func TestShutdownWaitsForAnswers(t *testing.T) {
	wechat := wxphonetest.NewServer(t)
	wechat.SetLatency(phoneEndpoint, 300*time.Millisecond)
	logger := slog.New(slog.NewJSONHandler(io.Discard, nil))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- serve(ctx, listener, newHandler(wechat.NewClient(), logger), logger) }()

	url := "http://" + listener.Addr().String()
	go func() {
		for wechat.Requests(phoneEndpoint) == 0 {
			time.Sleep(time.Millisecond)
		}
		stop()
	}()
	status, answer := post(t, url+"/phone", `{"code":"`+wechat.IssueCode(consented)+`"}`)
	expect(t, status, answer, http.StatusOK, maskedAnswer)
	if err := <-served; err != nil {
		t.Error(err)
	}
	if response, err := http.Post(url+"/phone", "application/json", http.NoBody); err == nil {
		response.Body.Close()
		t.Error("the server still takes requests")
	}
}

func TestFlags(t *testing.T) {
	t.Run("help names every flag but no secret", func(t *testing.T) {
		getenv := func(name string) string { return "value-of-" + name }
		var stdout bytes.Buffer
		err := run(context.Background(), []string{"-help"}, getenv, &stdout, io.Discard)
		if !errors.Is(err, flag.ErrHelp) {
			t.Fatalf("got %v, want flag.ErrHelp", err)
		}
		for _, name := range []string{"-addr", "-appid", "-base-url", "-fake"} {
			if !strings.Contains(stdout.String(), name) {
				t.Errorf("the help does not name %s", name)
			}
		}
		if strings.Contains(stdout.String(), "value-of-WXPHONE_SECRET") {
			t.Error("the help prints the secret")
		}
	})

	t.Run("mistakes", func(t *testing.T) {
		for _, args := range [][]string{
			{"stray"},
			{"-unknown"},
			{"-addr", "127.0.0.1:0", "-appid", "wx0123456789abcdef"}, // no secret
			{"-addr", "no address"},
		} {
			if err := run(context.Background(), args, noEnv, io.Discard, io.Discard); err == nil {
				t.Errorf("%q: no error", args)
			}
		}
	})

	t.Run("an invalid option", func(t *testing.T) {
		args := []string{"-addr", "127.0.0.1:0", "-appid", "wx0123456789abcdef", "-base-url", "not a URL"}
		getenv := func(string) string { return "secret" }
		err := run(context.Background(), args, getenv, io.Discard, io.Discard)
		if !errors.Is(err, wxphone.ErrInvalidArgument) {
			t.Errorf("got %v, want ErrInvalidArgument", err)
		}
	})
}
