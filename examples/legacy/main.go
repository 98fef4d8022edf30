// Legacy turns the encryptedData and iv of an old mini-program into a phone
// number, and shows what goes wrong with them.
//
// It runs against a fake WeChat on this machine and plays both sides, the
// mini-program and the backend:
//
//	go run ./examples/legacy
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/wxphonetest"
)

func main() {
	if err := run(context.Background(), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "legacy:", err)
		os.Exit(1)
	}
}

// openID is the user who logs in and taps.
const openID = "openid-of-alice"

// run is the program without its process, so that tests can call it. Only the
// base URL differs from a deployed program.
func run(ctx context.Context, stdout io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second) // for all steps together
	defer cancel()

	wechat, err := wxphonetest.Start()
	if err != nil {
		return err
	}
	defer wechat.Close()

	client, err := wxphone.New(wechat.AppID(), wechat.Secret(),
		wxphone.WithBaseURL(wechat.URL()),
		wxphone.WithWatermarkMaxAge(10*time.Minute),
	)
	if err != nil {
		return err
	}
	fmt.Fprintln(stdout, "This is a fake WeChat at", wechat.URL())

	first, err := inOrder(ctx, wechat, client, stdout)
	if err != nil {
		return err
	}
	current, err := loginAfterTap(ctx, wechat, client, stdout)
	if err != nil {
		return err
	}
	if err := staleKey(ctx, wechat, client, first, stdout); err != nil {
		return err
	}
	if err := leakedKey(ctx, client, current, wechat.AppID(), stdout); err != nil {
		return err
	}
	return cloudID(ctx, wechat, client, stdout)
}

// inOrder is how it should be. It returns the session of the login.
func inOrder(ctx context.Context, wechat *wxphonetest.Server, client *wxphone.Client, stdout io.Writer) (*wxphone.Session, error) {
	fmt.Fprintln(stdout, "\n0. The mini-program calls wx.login and sends its code; then the user taps and it sends encryptedData and iv.")
	session, err := client.Code2Session(ctx, wechat.IssueLoginCode(openID))
	if err != nil {
		return nil, err
	}
	fmt.Fprintln(stdout, "   kept on the backend:", session, "with session_key", session.SessionKey)

	encryptedData, iv := tap(wechat)
	phone, err := client.RevealPhoneNumber(ctx, session, encryptedData, iv)
	if err != nil {
		return nil, err
	}
	fmt.Fprintln(stdout, "   number:", phone) // prints masked, in logs too
	return session, nil
}

// loginAfterTap is the classic mistake. It returns the session of the second
// login.
func loginAfterTap(ctx context.Context, wechat *wxphonetest.Server, client *wxphone.Client, stdout io.Writer) (*wxphone.Session, error) {
	fmt.Fprintln(stdout, "\n1. wx.login runs after the tap, in the button's callback: the backend has the new session_key, the data is of the old.")
	encryptedData, iv := tap(wechat)
	wechat.RotateSessionKey(openID) // as wx.login may
	session, err := client.Code2Session(ctx, wechat.IssueLoginCode(openID))
	if err != nil {
		return nil, err
	}
	_, err = client.RevealPhoneNumber(ctx, session, encryptedData, iv)
	if err == nil {
		return nil, errors.New("data of an old session_key was decrypted")
	}
	fmt.Fprintln(stdout, "   error:", err)
	fmt.Fprintln(stdout, "   errors.Is(err, wxphone.ErrDecrypt):", errors.Is(err, wxphone.ErrDecrypt))
	fmt.Fprintln(stdout, "   wxphone.HTTPStatus(err):", wxphone.HTTPStatus(err))
	fmt.Fprintln(stdout, "   wxphone.NextStep(err):", wxphone.NextStep(err))

	fmt.Fprintln(stdout, "   The old key is gone, the new one is good: let the user tap again, without wx.login in between.")
	encryptedData, iv = tap(wechat)
	phone, err := client.RevealPhoneNumber(ctx, session, encryptedData, iv)
	if err != nil {
		return nil, err
	}
	fmt.Fprintln(stdout, "   number:", phone)
	return session, nil
}

// staleKey is a backend that missed the last login.
func staleKey(ctx context.Context, wechat *wxphonetest.Server, client *wxphone.Client, old *wxphone.Session, stdout io.Writer) error {
	fmt.Fprintln(stdout, "\n2. The backend still has the session_key of step 0. RevealPhoneNumber finds out: the mini-program must call wx.login, then the user taps.")
	encryptedData, iv := tap(wechat)
	_, err := client.RevealPhoneNumber(ctx, old, encryptedData, iv)
	if err == nil {
		return errors.New("a stale session_key was taken")
	}
	fmt.Fprintln(stdout, "   error:", err)
	fmt.Fprintln(stdout, "   errors.Is(err, wxphone.ErrSessionExpired):", errors.Is(err, wxphone.ErrSessionExpired))
	fmt.Fprintln(stdout, "   wxphone.HTTPStatus(err):", wxphone.HTTPStatus(err))
	fmt.Fprintln(stdout, "   wxphone.NextStep(err):", wxphone.NextStep(err))
	return nil
}

// leakedKey is an attacker who got hold of a session_key and forges all that
// it encrypts, the watermark included.
func leakedKey(ctx context.Context, client *wxphone.Client, session *wxphone.Session, appID string, stdout io.Writer) error {
	fmt.Fprintln(stdout, "\n3. A session_key leaked, and someone encrypts another number with it. VerifyPhoneNumber asks WeChat whether it made the data.")
	encryptedData, iv := wxphonetest.Seal(session.SessionKey, wxphone.PhoneInfo{
		PhoneNumber:     "13999999999",
		PurePhoneNumber: "13999999999",
		CountryCode:     "86",
		Watermark:       wxphone.Watermark{AppID: appID, Timestamp: time.Now().Unix()},
	})
	phone, err := client.DecryptPhoneNumber(session.SessionKey, encryptedData, iv)
	if err != nil {
		return err
	}
	fmt.Fprintln(stdout, "   DecryptPhoneNumber believes it:", phone)
	_, err = client.VerifyPhoneNumber(ctx, session.SessionKey, encryptedData, iv)
	if err == nil {
		return errors.New("a forged number was verified")
	}
	fmt.Fprintln(stdout, "   VerifyPhoneNumber refuses it, errors.Is(err, wxphone.ErrDecrypt):", errors.Is(err, wxphone.ErrDecrypt))
	return nil
}

// cloudID needs no session_key at all.
func cloudID(ctx context.Context, wechat *wxphonetest.Server, client *wxphone.Client, stdout io.Writer) error {
	fmt.Fprintln(stdout, "\n4. With cloud development, the mini-program sends e.detail.cloudID. There is nothing to decrypt.")
	phone, err := client.GetPhoneNumberByCloudID(ctx, openID, wechat.IssueCloudID(openID, consented))
	if err != nil {
		return err
	}
	fmt.Fprintln(stdout, "   number:", phone)
	return nil
}

// consented is what the user agrees to share.
var consented = wxphone.PhoneInfo{
	PhoneNumber:     "13800000000",
	PurePhoneNumber: "13800000000",
	CountryCode:     "86",
}

// tap stands for a user who taps the button and agrees: it returns what the
// mini-program then gets, under the session_key of this moment.
func tap(wechat *wxphonetest.Server) (encryptedData, iv string) {
	return wechat.Encrypt(openID, consented)
}
