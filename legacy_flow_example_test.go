package wxphone_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/wxphonetest"
)

func ExampleClient_Code2Session() {
	wechat, err := wxphonetest.Start()
	if err != nil {
		log.Fatal(err)
	}
	defer wechat.Close()
	jsCode := wechat.IssueLoginCode("openid-of-alice")
	ctx, client := context.Background(), wechat.NewClient()

	session, err := client.Code2Session(ctx, jsCode) // the code of wx.login
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(session.OpenID, session.SessionKey) // prints redacted

	// Neither fmt nor JSON shows the key, so keep it by converting it.
	kept := map[string]string{"openid": session.OpenID, "session_key": string(session.SessionKey)}
	fmt.Println("kept:", len(kept["session_key"]), "characters")
	// Output:
	// openid-of-alice [REDACTED]
	// kept: 24 characters
}

func ExampleClient_VerifyPhoneNumber() {
	wechat, err := wxphonetest.Start()
	if err != nil {
		log.Fatal(err)
	}
	defer wechat.Close()
	ctx, client := context.Background(), wechat.NewClient(wxphone.WithWatermarkMaxAge(10*time.Minute))

	// First wx.login and Code2Session, then the tap.
	session, err := client.Code2Session(ctx, wechat.IssueLoginCode("openid-of-alice"))
	if err != nil {
		log.Fatal(err)
	}
	encryptedData, iv := wechat.Encrypt("openid-of-alice", wxphone.PhoneInfo{
		PhoneNumber:     "13800000000",
		PurePhoneNumber: "13800000000",
		CountryCode:     "86",
	})

	phone, err := client.VerifyPhoneNumber(ctx, session.SessionKey, encryptedData, iv)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(phone)

	// Who has the session_key can encrypt any number, but WeChat did not.
	encryptedData, iv = wxphonetest.Seal(session.SessionKey, wxphone.PhoneInfo{
		PhoneNumber:     "13999999999",
		PurePhoneNumber: "13999999999",
		CountryCode:     "86",
		Watermark:       phone.Watermark,
	})
	_, err = client.VerifyPhoneNumber(ctx, session.SessionKey, encryptedData, iv)
	fmt.Println("refused:", errors.Is(err, wxphone.ErrDecrypt))
	// Output:
	// +86 138****0000
	// refused: true
}

func ExampleClient_CheckSessionKey() {
	wechat, err := wxphonetest.Start()
	if err != nil {
		log.Fatal(err)
	}
	defer wechat.Close()
	ctx, client := context.Background(), wechat.NewClient()
	session, err := client.Code2Session(ctx, wechat.IssueLoginCode("openid-of-alice"))
	if err != nil {
		log.Fatal(err)
	}

	err = client.CheckSessionKey(ctx, session.OpenID, session.SessionKey)
	fmt.Println("valid:", err == nil)

	wechat.RotateSessionKey("openid-of-alice") // wx.login ran, and its code never came in
	err = client.CheckSessionKey(ctx, session.OpenID, session.SessionKey)
	fmt.Println("expired:", errors.Is(err, wxphone.ErrSessionExpired), wxphone.HTTPStatus(err))
	// Output:
	// valid: true
	// expired: true 401
}

func ExampleClient_GetPhoneNumberByCloudID() {
	wechat, err := wxphonetest.Start()
	if err != nil {
		log.Fatal(err)
	}
	defer wechat.Close()
	cloudID := wechat.IssueCloudID("openid-of-alice", wxphone.PhoneInfo{
		PhoneNumber:     "13800000000",
		PurePhoneNumber: "13800000000",
		CountryCode:     "86",
	})
	ctx, client := context.Background(), wechat.NewClient()

	// The openid is the one of your own session, never one from the request.
	phone, err := client.GetPhoneNumberByCloudID(ctx, "openid-of-alice", cloudID)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(phone)

	_, err = client.GetPhoneNumberByCloudID(ctx, "openid-of-mallory", cloudID)
	fmt.Println("refused:", errors.Is(err, wxphone.ErrCodeInvalid))
	// Output:
	// +86 138****0000
	// refused: true
}

func ExampleDecryptData() {
	wechat, err := wxphonetest.Start()
	if err != nil {
		log.Fatal(err)
	}
	defer wechat.Close()
	appID, key := wechat.AppID(), wechat.SessionKey("openid-of-alice")
	// As wx.getWeRunData hands it to the mini-program.
	encryptedData, iv := wxphonetest.Seal(key, `{"stepInfoList":[{"timestamp":1445866601,"step":100}],`+
		`"watermark":{"appid":"`+appID+`","timestamp":1445866601}}`)

	var run struct {
		StepInfoList []struct {
			Timestamp int64 `json:"timestamp"`
			Step      int   `json:"step"`
		} `json:"stepInfoList"`
		Watermark wxphone.Watermark `json:"watermark"` // DecryptData checks its appid, not its age
	}
	if err := wxphone.DecryptData(appID, key, encryptedData, iv, &run); err != nil {
		log.Fatal(err)
	}
	fmt.Println(run.StepInfoList[0].Step, "steps")
	fmt.Println(run.Watermark.Time().UTC())
	// Output:
	// 100 steps
	// 2015-10-26 13:36:41 +0000 UTC
}

// WeChat knows the data that it made, and not what somebody else sealed.
func ExampleClient_CheckEncryptedData() {
	wechat, err := wxphonetest.Start()
	if err != nil {
		log.Fatal(err)
	}
	defer wechat.Close()
	client := wechat.NewClient()

	genuine, _ := wechat.Encrypt("openid-of-alice", wxphone.PhoneInfo{PhoneNumber: "13800000000"})
	forged, _ := wxphonetest.Seal(wechat.SessionKey("openid-of-alice"), `{"phoneNumber":"13900000000"}`)
	for _, encryptedData := range []string{genuine, forged} {
		check, err := client.CheckEncryptedData(context.Background(), encryptedData)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(check.Valid)
	}
	// Output:
	// true
	// false
}

// After a leak, the user's key is replaced without a new login.
func ExampleClient_ResetUserSessionKey() {
	wechat, err := wxphonetest.Start()
	if err != nil {
		log.Fatal(err)
	}
	defer wechat.Close()
	client := wechat.NewClient()
	ctx := context.Background()

	leaked := wechat.SessionKey("openid-of-alice")
	session, err := client.ResetUserSessionKey(ctx, "openid-of-alice", leaked)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(client.CheckSessionKey(ctx, "openid-of-alice", session.SessionKey))
	fmt.Println(errors.Is(client.CheckSessionKey(ctx, "openid-of-alice", leaked), wxphone.ErrSessionExpired))
	// Output:
	// <nil>
	// true
}
