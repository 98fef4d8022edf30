package doctor

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/wxphonetest"
)

// runFake shows a healthy mini-program and two others.
func runFake(ctx context.Context, stdout io.Writer) error {
	wechat, err := wxphonetest.Start()
	if err != nil {
		return err
	}
	defer wechat.Close()
	fmt.Fprintf(stdout, "These are fakes.\n\n")

	cfg := config{appID: wechat.AppID(), secret: wechat.Secret(), baseURL: wechat.URL()}
	healthy := cfg
	if healthy.rid, err = redeemTwice(ctx, wechat); err != nil {
		return err
	}
	if err := examineFake(ctx, healthy, stdout, 0); err != nil {
		return err
	}

	fmt.Fprintln(stdout, "\nThe next one's address is not on the whitelist.")
	wechat.FailNext("/cgi-bin/stable_token", 40164, "", 1)
	if err := examineFake(ctx, cfg, stdout, 1); err != nil {
		return err
	}

	fmt.Fprintln(stdout, "\nThe next one may not ask for phone numbers, and used its calls up trying.")
	wechat.FailNext(phoneEndpoint, 48001, "", 1)
	wechat.SetDailyLimit(phoneEndpoint, 3) // as many as there were
	return examineFake(ctx, cfg, stdout, 2)
}

// redeemTwice does what a program with a mistake does, and returns the rid that
// it would find in its log.
func redeemTwice(ctx context.Context, wechat *wxphonetest.Server) (rid string, err error) {
	client := wechat.NewClient()
	code := wechat.IssueCode(wxphone.PhoneInfo{PhoneNumber: "13800000000", PurePhoneNumber: "13800000000", CountryCode: "86"})
	if _, err := client.GetPhoneNumber(ctx, code); err != nil {
		return "", err
	}
	_, err = client.GetPhoneNumber(ctx, code)
	var refusal *wxphone.APIError
	if !errors.As(err, &refusal) {
		return "", fmt.Errorf("a code worked twice, or failed otherwise: %w", err)
	}
	return refusal.RID, nil
}

func examineFake(ctx context.Context, cfg config, stdout io.Writer, want int) error {
	problems, err := examine(ctx, cfg, stdout)
	if err != nil {
		return err
	}
	if problems != want {
		return fmt.Errorf("the fake has %d problems instead of %d", problems, want)
	}
	return nil
}
