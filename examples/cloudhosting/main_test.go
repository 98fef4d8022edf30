package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/wxphonetest"
)

func noEnv(string) string { return "" }

// changing is what differs from one run to the next.
var changing = regexp.MustCompile(`127\.0\.0\.1:\d+|rid [0-9a-f-]+`)

const want = `No flags given: this is a fake WeChat cloud hosting at http://…

0. The user taps the button; the mini-program calls the container with e.detail.code.
   answer: {"phone":"+86 138****0000"}
   token requests: 0

1. The open interface service is off, so nobody adds the identity. There is no token to replace.
   error: wxphone: /wxa/business/getuserphonenumber: errcode 41001 "access_token missing" (…): no access_token arrived; on cloud hosting, switch the open interface service on
   wxphone.HTTPStatus(err): 400

2. The service is on, but the path is not on its whitelist.
   error: wxphone: /wxa/business/getuserphonenumber: errcode 85107 "api is not in the whitelist of the open interface service" (…): add the path to the whitelist of the open interface service in the cloud hosting console
   wxphone.HTTPStatus(err): 500
`

func TestFakeRunPrintsEveryStep(t *testing.T) {
	var stdout bytes.Buffer
	if err := run(context.Background(), nil, noEnv, &stdout); err != nil {
		t.Fatal(err)
	}
	if got := changing.ReplaceAllString(stdout.String(), "…"); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

func TestServe(t *testing.T) {
	wechat := wxphonetest.NewServer(t, wxphonetest.WithCloudHosting())
	client, err := newClient(wechat.AppID(), wxphone.WithBaseURL(wechat.URL()))
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	served := make(chan error, 1)
	go func() { served <- serve(ctx, listener, client, logNumber) }()

	post := func(openid, body string) int {
		req, err := http.NewRequest(http.MethodPost, "http://"+listener.Addr().String()+"/phone", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if openid != "" {
			req.Header.Set("x-wx-openid", openid)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	code := tap(wechat)
	for _, tt := range []struct {
		name, openid, body string
		status             int
	}{
		{"from the internet", "", `{"code":"` + code + `"}`, http.StatusUnauthorized},
		{"no JSON", "openid-of-alice", "code=" + code, http.StatusBadRequest},
		{"no code", "openid-of-alice", `{}`, http.StatusBadRequest},
		{"another user's code", "openid-of-mallory", `{"code":"` + code + `"}`, http.StatusBadRequest},
		{"the user's code", "openid-of-alice", `{"code":"` + code + `"}`, http.StatusOK},
	} {
		if got := post(tt.openid, tt.body); got != tt.status {
			t.Errorf("%s: got %d, want %d", tt.name, got, tt.status)
		}
	}

	stop()
	if err := <-served; err != nil {
		t.Errorf("stopped with %v", err)
	}
}

// A phone that hangs up in the middle has used its code up. Its number is saved
// all the same.
func TestNumberIsSavedAlthoughThePhoneHungUp(t *testing.T) {
	const phoneEndpoint, alice = "/wxa/business/getuserphonenumber", "openid-of-alice"
	wechat := wxphonetest.NewServer(t, wxphonetest.WithCloudHosting())
	wechat.SetLatency(phoneEndpoint, 200*time.Millisecond)
	client, err := newClient(wechat.AppID(), wxphone.WithBaseURL(wechat.URL()))
	if err != nil {
		t.Fatal(err)
	}
	saved := make(chan string, 1)
	server := httptest.NewServer(phoneHandler(client, func(ctx context.Context, openid string, phone *wxphone.PhoneInfo) error {
		saved <- openid + " " + phone.E164()
		return ctx.Err()
	}))
	defer server.Close()

	ctx, hangUp := context.WithCancel(context.Background())
	go func() {
		for wechat.Requests(phoneEndpoint) == 0 {
			time.Sleep(time.Millisecond)
		}
		hangUp()
	}()
	body := strings.NewReader(`{"code":"` + tap(wechat) + `"}`)
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, server.URL, body)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("X-WX-OPENID", alice)
	response, err := http.DefaultClient.Do(request)
	if err == nil {
		response.Body.Close()
	}
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v; the line was to be cut", err)
	}
	select {
	case got := <-saved:
		if want := alice + " +8613800000000"; got != want {
			t.Errorf("saved %q, want %q", got, want)
		}
	case <-time.After(10 * time.Second):
		t.Error("nothing was saved")
	}
}

func TestServingNeedsAnAppID(t *testing.T) {
	err := run(context.Background(), []string{"-serve"}, noEnv, new(bytes.Buffer))
	if !errors.Is(err, wxphone.ErrInvalidArgument) {
		t.Errorf("got %v, want ErrInvalidArgument", err)
	}
	if err := run(context.Background(), []string{"-help"}, noEnv, new(bytes.Buffer)); !errors.Is(err, flag.ErrHelp) {
		t.Errorf("got %v, want flag.ErrHelp", err)
	}
}

func TestAddressIsPORTOr80(t *testing.T) {
	if got := address(noEnv); got != ":80" {
		t.Errorf("got %q", got)
	}
	if got := address(func(string) string { return "8080" }); got != ":8080" {
		t.Errorf("got %q", got)
	}
}

func TestClientOfTheEnvironment(t *testing.T) {
	wechat := wxphonetest.NewServer(t, wxphonetest.WithCloudHosting())
	environment := map[string]string{"WXPHONE_APPID": wechat.AppID(), "WXPHONE_BASE_URL": wechat.URL()}
	client, err := clientOf(func(name string) string { return environment[name] })
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.GetPhoneNumber(context.Background(), tap(wechat)); err != nil {
		t.Error(err)
	}
}
