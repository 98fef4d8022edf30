package main

import (
	"bytes"
	"context"
	"errors"
	"regexp"
	"testing"
)

// changing is what differs from one run to the next.
var changing = regexp.MustCompile(`127\.0\.0\.1:\d+|rid [0-9a-f-]+`)

const want = `This is a fake WeChat at http://…

0. The mini-program calls wx.login and sends its code; then the user taps and it sends encryptedData and iv.
   kept on the backend: wxphone.Session(openid-of-alice) with session_key [REDACTED]
   number: +86 138****0000

1. wx.login runs after the tap, in the button's callback: the backend has the new session_key, the data is of the old.
   error: wxphone: encryptedData does not decrypt: most often it was made under another session_key, because wx.login ran after the tap: let the user tap again, after a new wx.login if CheckSessionKey finds session_key stale; never call wx.login in the button's callback
   errors.Is(err, wxphone.ErrDecrypt): true
   wxphone.HTTPStatus(err): 400
   wxphone.NextStep(err): tap_again
   The old key is gone, the new one is good: let the user tap again, without wx.login in between.
   number: +86 138****0000

2. The backend still has the session_key of step 0. RevealPhoneNumber finds out: the mini-program must call wx.login, then the user taps.
   error: wxphone: /wxa/checksession: errcode 87009 "invalid signature" (…): the session_key is no longer valid; let the mini-program call wx.login again
   errors.Is(err, wxphone.ErrSessionExpired): true
   wxphone.HTTPStatus(err): 401
   wxphone.NextStep(err): log_in

3. A session_key leaked, and someone encrypts another number with it. VerifyPhoneNumber asks WeChat whether it made the data.
   DecryptPhoneNumber believes it: +86 139****9999
   VerifyPhoneNumber refuses it, errors.Is(err, wxphone.ErrDecrypt): true

4. With cloud development, the mini-program sends e.detail.cloudID. There is nothing to decrypt.
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

func TestRunStopsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := run(ctx, new(bytes.Buffer)); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
}
