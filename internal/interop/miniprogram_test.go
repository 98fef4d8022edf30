package interop

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/wxphone/wxphone/internal/desktest"
)

// TestMiniProgramTakesCodesFromTheFake runs the development switch of
// examples/miniprogram, and redeems what it gets.
func TestMiniProgramTakesCodesFromTheFake(t *testing.T) {
	fake := desktest.Start(t, command)
	dir, err := filepath.Abs("../../examples/miniprogram")
	if err != nil {
		t.Fatal(err)
	}
	page := startNode(t, "mini-program", settings{fake.URL, fake.AppID, fake.Secret}, "MINI_PROGRAM="+dir)
	backend := newWxphone(t, fake)
	ctx := context.Background()

	code, err := page.text("tap")
	if err != nil {
		t.Fatal(err)
	}
	if phone, err := backend.GetPhoneNumber(ctx, code); err != nil || phone.PhoneNumber != number {
		t.Errorf("%v, %v", phone, err)
	}

	if code, err = page.text("loginCode"); err != nil {
		t.Fatal(err)
	}
	session, err := backend.Code2Session(ctx, code)
	if err != nil {
		t.Fatal(err)
	}
	var sealed struct {
		EncryptedData string `json:"encryptedData"`
		IV            string `json:"iv"`
	}
	if err := page.call("sealed", &sealed); err != nil {
		t.Fatal(err)
	}
	if phone, err := backend.VerifyPhoneNumber(ctx, session.SessionKey, sealed.EncryptedData, sealed.IV); err != nil || phone.PhoneNumber != number {
		t.Errorf("%v, %v", phone, err)
	}
}
