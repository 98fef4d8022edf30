package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/wxphonetest"
)

// changing is what differs from one run to the next.
var changing = regexp.MustCompile(`127\.0\.0\.1:\d+|rid [0-9a-f-]+`)

const want = `No address given: this is a fake WeChat at http://…

1. WeChat pushes a ticket. It goes into the database.
   in the database: true

2. An owner opens the link and agrees. WeChat pushes a code, which is exchanged for a refresh token.
   link: mp.weixin.qq.com/cgi-bin/componentloginpage?component_appid=…&pre_auth_code=…&redirect_uri=https://platform.example.com/authorized&auth_type=2
   in the database: true

3. A user of the owner's mini-program taps the button.
   number in wx00000000000000a1: +86 138****0000

4. The refresh token dies without notice, and the access_token with it. The Client finds the current one in WeChat's list.
   number: +86 138****0000
   requests of the list: 1
   the current one is in the database: true

5. The process restarts. All that it needs is in the database.
   number: +86 138****0000

6. The owner withdraws. Until the push arrives, WeChat refuses; after it, the platform does.
   error: wxphone: /wxa/business/getuserphonenumber: errcode 61003 "component is not authorized by this account" (…): the mini-program must authorise the platform again, with permission set 18
   wxphone.HTTPStatus(err): 500
   to do: show the owner the authorisation page again; no retry will help
   error: this mini-program has not authorised the platform
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
	console := map[string]string{
		"WXPHONE_COMPONENT_APPID": "wxc", "WXPHONE_COMPONENT_SECRET": "secret",
		"WXPHONE_PUSH_TOKEN": "token", "WXPHONE_PUSH_AESKEY": "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG",
	}
	database := filepath.Join(t.TempDir(), "platform.db")
	for name := range console {
		getenv := func(asked string) string {
			if asked == name {
				return ""
			}
			return console[asked]
		}
		err := run(context.Background(), []string{"-addr", "127.0.0.1:0", "-db", database}, getenv, io.Discard)
		if !errors.Is(err, wxphone.ErrInvalidArgument) {
			t.Errorf("without %s: got %v, want ErrInvalidArgument", name, err)
		} else if !strings.Contains(err.Error(), name) {
			t.Errorf("without %s: %v", name, err)
		}
	}
	for name, value := range map[string]string{"WXPHONE_PUSH_AESKEY": "short", "WXPHONE_BASE_URL": "no url"} {
		getenv := func(asked string) string {
			if asked == name {
				return value
			}
			return console[asked]
		}
		err := run(context.Background(), []string{"-addr", "127.0.0.1:0", "-db", database}, getenv, io.Discard)
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s is wrong: got %v", name, err)
		}
	}
	getenv := func(asked string) string { return console[asked] }
	if err := run(context.Background(), []string{"-addr", "127.0.0.1:0", "-db", t.TempDir()}, getenv, io.Discard); err == nil {
		t.Error("a directory is opened as a database")
	}
	if err := run(context.Background(), []string{"-help"}, getenv, io.Discard); !errors.Is(err, flag.ErrHelp) {
		t.Errorf("got %v, want ErrHelp", err)
	}
}

// TestRunOnAFake is the whole program, on a WeChat that the environment names.
func TestRunOnAFake(t *testing.T) {
	wechat := wxphonetest.NewServer(t)
	environment := map[string]string{
		"WXPHONE_COMPONENT_APPID": wechat.ComponentAppID(), "WXPHONE_COMPONENT_SECRET": wechat.ComponentSecret(),
		"WXPHONE_PUSH_TOKEN": wechat.PushToken(), "WXPHONE_PUSH_AESKEY": wechat.EncodingAESKey(),
		"WXPHONE_BASE_URL": wechat.URL(),
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := free.Addr().String()
	free.Close()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		getenv := func(name string) string { return environment[name] }
		ended <- run(ctx, []string{"-addr", addr, "-db", filepath.Join(t.TempDir(), "platform.db")}, getenv, io.Discard)
	}()
	for range 100 {
		if resp, err := http.Get("http://" + addr + "/authorized"); err == nil {
			resp.Body.Close()
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	wechat.PushTo("http://"+addr+"/wechat/events", nil)
	wechat.PushTicket()
	wechat.IssueAuthorizationCode(someAppID)
	code := wechat.IssueCode(wxphone.PhoneInfo{PhoneNumber: "13800000000", PurePhoneNumber: "13800000000", CountryCode: "86"}, wxphonetest.ForApp(someAppID))
	resp, err := http.Post("http://"+addr+"/phone", "application/json", strings.NewReader(`{"appid":"`+someAppID+`","code":"`+code+`"}`))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("status %d", resp.StatusCode)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestServeEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- serve(ctx, "127.0.0.1:0", http.NotFoundHandler()) }()
	cancel()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("it still serves")
	}
	if err := serve(context.Background(), "an address", http.NotFoundHandler()); err == nil {
		t.Error("it serves at no address")
	}
}
