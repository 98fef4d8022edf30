package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/wxphonetest"
)

func TestMain(m *testing.M) {
	gin.SetMode(gin.TestMode)
	os.Exit(m.Run())
}

const (
	phoneEndpoint = "/wxa/business/getuserphonenumber"
	maskedAnswer  = `{"phone":"+86 138****0000"}`
)

var consented = wxphone.PhoneInfo{
	PhoneNumber:     "13800000000",
	PurePhoneNumber: "13800000000",
	CountryCode:     "86",
}

// post sends body to a router and returns its answer and what was logged.
func post(ctx context.Context, phones PhoneGetter, body string) (status int, answer, logged string) {
	var log bytes.Buffer
	logger := slog.New(slog.NewJSONHandler(&log, nil))
	router := newRouter(phones, logNumber(logger), logger)
	request := httptest.NewRequestWithContext(ctx, http.MethodPost, "/phone", strings.NewReader(body))
	recorder := httptest.NewRecorder()
	router.ServeHTTP(recorder, request)
	return recorder.Code, strings.TrimSpace(recorder.Body.String()), log.String()
}

func TestPhone(t *testing.T) {
	tests := []struct {
		name   string
		wechat func(*wxphonetest.Server)
		status int
		answer string
	}{
		{"success", func(*wxphonetest.Server) {}, 200, maskedAnswer},
		{"token revoked", func(s *wxphonetest.Server) { s.FailNext(phoneEndpoint, 40001, "", 1) }, 200, maskedAnswer},
		{"code invalid", func(s *wxphonetest.Server) { s.FailNext(phoneEndpoint, 40029, "", 1) }, 400, `{"step":"tap_again"}`},
		{"minute quota", func(s *wxphonetest.Server) { s.FailNext(phoneEndpoint, 45011, "", 1) }, 429, `{"step":"send_again"}`},
		{"busy", func(s *wxphonetest.Server) { s.FailNext(phoneEndpoint, -1, "", -1) }, 503, `{"step":"send_again"}`},
		{"wrong secret", func(s *wxphonetest.Server) { s.FailNext("/cgi-bin/stable_token", 40125, "", 1) }, 500, `{"step":"stop"}`},
		{"no number", func(s *wxphonetest.Server) {
			s.RespondNext(phoneEndpoint, 200, `{"errcode":0,"errmsg":"ok","phone_info":{}}`, 1)
		}, 502, `{"step":"stop"}`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			wechat := wxphonetest.NewServer(t)
			test.wechat(wechat)
			code := wechat.IssueCode(consented)

			status, answer, logged := post(context.Background(), wechat.NewClient(), `{"code":"`+code+`"}`)
			if status != test.status || answer != test.answer {
				t.Errorf("got %d %s, want %d %s", status, answer, test.status, test.answer)
			}
			if (status != http.StatusOK) != strings.Contains(logged, `"route":"/phone"`) {
				t.Errorf("logged %q", logged)
			}
			for _, secret := range []string{code, "13800000000", wechat.Secret(), wechat.Token()} {
				if strings.Contains(logged, secret) {
					t.Errorf("the log holds %q: %s", secret, logged)
				}
			}
		})
	}
}

func TestBadBodies(t *testing.T) {
	wechat := wxphonetest.NewServer(t)
	for _, body := range []string{``, `code=CODE`, `{}`, `{"code":1}`, `{"code":"` + strings.Repeat("1", 4096) + `"}`} {
		status, answer, logged := post(context.Background(), wechat.NewClient(), body)
		if status != http.StatusBadRequest || answer != `{"step":"stop"}` || logged != "" {
			t.Errorf("%.20s: got %d %s and the log %q", body, status, answer, logged)
		}
	}
	if n := wechat.Requests(phoneEndpoint); n != 0 {
		t.Errorf("WeChat got %d requests", n)
	}
}

// A phone that hangs up in the middle has used its code up. Its number is saved
// all the same.
func TestNumberIsSavedAlthoughThePhoneHungUp(t *testing.T) {
	wechat := wxphonetest.NewServer(t)
	wechat.SetLatency(phoneEndpoint, 200*time.Millisecond)
	saved := make(chan string, 1)
	server := httptest.NewServer(newRouter(wechat.NewClient(), func(ctx context.Context, phone *wxphone.PhoneInfo) error {
		saved <- phone.E164()
		return ctx.Err()
	}, slog.New(slog.DiscardHandler)))
	defer server.Close()

	ctx, hangUp := context.WithCancel(context.Background())
	go func() {
		for wechat.Requests(phoneEndpoint) == 0 {
			time.Sleep(time.Millisecond)
		}
		hangUp()
	}()
	body := strings.NewReader(`{"code":"` + wechat.IssueCode(consented) + `"}`)
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, server.URL+"/phone", body)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err == nil {
		response.Body.Close()
	}
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v; the line was to be cut", err)
	}
	select {
	case number := <-saved:
		if number != "+8613800000000" {
			t.Errorf("saved %q", number)
		}
	case <-time.After(10 * time.Second):
		t.Error("nothing was saved")
	}
}

// changing is what differs from one run to the next.
var changing = regexp.MustCompile(`127\.0\.0\.1:\d+|rid [0-9a-f-]+|err=.*`)

const want = `No address given: this is a fake WeChat at http://…
level=INFO msg=saved phone="+86 138****0000"
The user taps the button: 200 {"phone":"+86 138****0000"}
level=INFO msg=refused route=/phone status=400 …
The same code comes in again: 400 {"step":"tap_again"}
`

func TestRunWithoutAnAddress(t *testing.T) {
	var stdout bytes.Buffer
	if err := run(context.Background(), nil, os.Getenv, &stdout); err != nil {
		t.Fatal(err)
	}
	if got := changing.ReplaceAllString(stdout.String(), "…"); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

func TestRunMistakes(t *testing.T) {
	noEnv := func(string) string { return "" }
	err := run(context.Background(), []string{"-addr", "127.0.0.1:0"}, noEnv, io.Discard)
	if !errors.Is(err, wxphone.ErrInvalidArgument) {
		t.Errorf("without an appid: got %v, want ErrInvalidArgument", err)
	}
	err = run(context.Background(), []string{"-help"}, noEnv, io.Discard)
	if !errors.Is(err, flag.ErrHelp) {
		t.Errorf("-help: got %v, want flag.ErrHelp", err)
	}
}

func TestServeStopsWithItsContext(t *testing.T) {
	// A port that was free a moment ago.
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := listener.Addr().String()
	listener.Close()

	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- serve(ctx, addr, http.NotFoundHandler()) }()
	deadline := time.Now().Add(5 * time.Second)
	for {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			conn.Close()
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
	}
	stop()
	if err := <-served; err != nil {
		t.Error(err)
	}
}

func TestClientOfTheEnvironment(t *testing.T) {
	wechat := wxphonetest.NewServer(t)
	environment := map[string]string{
		"WXPHONE_APPID": wechat.AppID(), "WXPHONE_SECRET": wechat.Secret(), "WXPHONE_BASE_URL": wechat.URL(),
	}
	client, err := newClient(func(name string) string { return environment[name] }, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	code := wechat.IssueCode(wxphone.PhoneInfo{PhoneNumber: "13800000000", PurePhoneNumber: "13800000000", CountryCode: "86"})
	if _, err := client.GetPhoneNumber(context.Background(), code); err != nil {
		t.Error(err)
	}
}
