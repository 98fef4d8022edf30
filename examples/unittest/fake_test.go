package unittest_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/wxphone/wxphone/wxphonetest"
)

// With wxphonetest, a test says what happened to the user or to WeChat, and the
// fake answers as WeChat does: codes are used up, tokens are refused, and the
// client's own retries are part of the test. It is the first choice.

const phoneEndpoint = "/wxa/business/getuserphonenumber"

func TestFakeCodeWorksOnce(t *testing.T) {
	wechat := wxphonetest.NewServer(t)
	client := wechat.NewClient()
	db := new(database)
	body := `{"code":"` + wechat.IssueCode(consented) + `"}`

	status, answer := bind(client, db, alice, body)
	if status != http.StatusOK || answer != `{"phone":"+86 138****0000"}` {
		t.Errorf("got %d %s", status, answer)
	}
	if got := db.numbers["alice"]; got != "+8613800000000" {
		t.Errorf("saved %q, want +8613800000000", got)
	}

	if status, _ := bind(client, db, alice, body); status != http.StatusBadRequest {
		t.Errorf("the code worked twice: %d", status)
	}
}

// A phone that hangs up in the middle has used its code up. Its number is saved
// all the same.
func TestFakePhoneHangsUp(t *testing.T) {
	wechat := wxphonetest.NewServer(t)
	wechat.SetLatency(phoneEndpoint, 200*time.Millisecond)
	db := new(database)
	ctx, hangUp := context.WithCancel(context.Background())
	go func() {
		for wechat.Requests(phoneEndpoint) == 0 {
			time.Sleep(time.Millisecond)
		}
		hangUp()
	}()
	bindWhile(ctx, wechat.NewClient(), db, alice, `{"code":"`+wechat.IssueCode(consented)+`"}`)
	if ctx.Err() == nil {
		t.Error("the line was to be cut before the answer")
	}
	if got := db.numbers["alice"]; got != "+8613800000000" {
		t.Errorf("saved %q, want +8613800000000", got)
	}
}

func TestFakeTokenIsRevoked(t *testing.T) {
	wechat := wxphonetest.NewServer(t)
	client := wechat.NewClient()
	for range 2 {
		body := `{"code":"` + wechat.IssueCode(consented) + `"}`
		if status, answer := bind(client, new(database), alice, body); status != http.StatusOK {
			t.Errorf("got %d %s", status, answer)
		}
		wechat.RevokeToken() // by another program; the client fetches a new one
	}
}

func TestFakeOutage(t *testing.T) {
	wechat := wxphonetest.NewServer(t)
	wechat.FailNext(phoneEndpoint, -1, "", -1) // busy until further notice
	db := new(database)
	body := `{"code":"` + wechat.IssueCode(consented) + `"}`

	if status, _ := bind(wechat.NewClient(), db, alice, body); status != http.StatusServiceUnavailable {
		t.Errorf("status %d, want 503", status)
	}
	if n := wechat.Requests(phoneEndpoint); n != 3 {
		t.Errorf("%d requests, want the first and 2 retries", n)
	}
	if len(db.numbers) != 0 {
		t.Errorf("saved %v", db.numbers)
	}
}
