package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/wxphone/wxphone"
)

// changing is what differs from one run to the next.
var changing = regexp.MustCompile(`127\.0\.0\.1:\d+|rid [0-9a-f-]+`)

const want = `This is a fake WeChat at http://…

0. The ticket was pushed, and two mini-programs authorise the platform. A user of each taps.
   number in wx00000000000000a1: +86 138****0000
   number in wx00000000000000b2: +86 138****0000
   token requests: 1 for the platform, 2 for its mini-programs

1. A user logs in with wx.login. There is no AppSecret: the platform's token stands for it.
   wxphone.Session(openid-of-alice)

2. The owner of the second mini-program withdraws the authorisation. The first one does not notice.
   error: wxphone: /wxa/business/getuserphonenumber: errcode 61003 "component is not authorized by this account" (…): the mini-program must authorise the platform again, with permission set 18
   errors.Is(err, wxphone.ErrUnauthorized): true
   wxphone.HTTPStatus(err): 500
   to do: show the owner the authorisation page again; no retry will help

3. The owner authorises the platform again. The new refresh token is saved, and the Client goes on.
   number: +86 138****0000
`

func TestRunPrintsEveryStep(t *testing.T) {
	var stdout bytes.Buffer
	if err := run(context.Background(), &stdout); err != nil {
		t.Fatal(err)
	}
	if got := changing.ReplaceAllString(stdout.String(), "…"); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

func TestTokenFileKeepsTokens(t *testing.T) {
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "tokens.json")
	first := &tokenFile{path: path}
	if token, err := first.LoadRefreshToken(ctx, "wx1"); token != "" || err != nil {
		t.Errorf("before the first save: %q, %v", token, err)
	}
	for appID, token := range map[string]string{"wx1": "one", "wx2": "two"} {
		if err := first.SaveRefreshToken(ctx, appID, token); err != nil {
			t.Fatal(err)
		}
	}
	restarted := &tokenFile{path: path}
	if token, err := restarted.LoadRefreshToken(ctx, "wx2"); token != "two" || err != nil {
		t.Errorf("after a restart: %q, %v", token, err)
	}

	if err := os.WriteFile(path, []byte(`{"wx1":`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := restarted.LoadRefreshToken(ctx, "wx1"); err == nil {
		t.Error("a broken file is read without an error")
	}
	if err := restarted.SaveRefreshToken(ctx, "wx1", "one"); err == nil {
		t.Error("a broken file is overwritten, and the other tokens with it")
	}
	if err := (&tokenFile{path: t.TempDir()}).SaveRefreshToken(ctx, "wx1", "one"); err == nil {
		t.Error("a directory is written without an error")
	}
}

func TestAdviceForEveryPlatformError(t *testing.T) {
	seen := make(map[string]int)
	for _, code := range []int{61003, 61007, 61023, 61005, 61006, 61011, 40029} {
		seen[advise(&wxphone.APIError{Code: code})]++
	}
	if len(seen) != 5 {
		t.Errorf("got %v", seen)
	}
	if got := advise(errors.New("another")); !strings.Contains(got, "other examples") {
		t.Errorf("got %q", got)
	}
}

func TestClientIsMadeOnce(t *testing.T) {
	p, err := newPlatform("wxc", "secret", &tokenFile{})
	if err != nil {
		t.Fatal(err)
	}
	first, err := p.client("wx1")
	if err != nil {
		t.Fatal(err)
	}
	if second, _ := p.client("wx1"); second != first {
		t.Error("another Client for the same mini-program")
	}
	if _, err := p.phone(context.Background(), "", "code"); !errors.Is(err, wxphone.ErrInvalidArgument) {
		t.Errorf("got %v, want ErrInvalidArgument", err)
	}
}
