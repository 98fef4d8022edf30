// Quickstart redeems the code of a mini-program's phone number button.
//
// Without flags it runs against a fake WeChat on this machine, and then shows
// three failures that every backend meets sooner or later. With an appid, its
// AppSecret and a fresh code it runs against the real WeChat:
//
//	export WXPHONE_APPID=... WXPHONE_SECRET=...
//	go run ./examples/quickstart -code=...
//
// WXPHONE_BASE_URL leads it elsewhere, such as to "wxphone fake".
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/wxphonetest"
)

func main() {
	err := run(context.Background(), os.Args[1:], os.Getenv, os.Stdout)
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "quickstart:", err)
		os.Exit(1)
	}
}

// run is the program without its process, so that tests can call it.
func run(ctx context.Context, args []string, getenv func(string) string, stdout io.Writer) error {
	cfg, err := parse(args, getenv, stdout)
	if err != nil {
		return err
	}
	if cfg.real() {
		return runReal(ctx, cfg, stdout)
	}
	return runFake(ctx, stdout)
}

// redeem turns the code of one tap on the button into a phone number.
func redeem(ctx context.Context, client *wxphone.Client, code string, show bool, stdout io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second) // for all attempts together
	defer cancel()

	phone, err := client.GetPhoneNumber(ctx, code)
	if err != nil {
		return err
	}
	fmt.Fprintln(stdout, "   number:", phone) // prints masked, in logs too
	if show {
		fmt.Fprintln(stdout, "   E.164: ", phone.E164())
	}
	return nil
}

func runReal(ctx context.Context, cfg config, stdout io.Writer) error {
	if err := cfg.complete(); err != nil {
		return err
	}
	var opts []wxphone.Option
	if cfg.baseURL != "" {
		opts = append(opts, wxphone.WithBaseURL(cfg.baseURL))
	}
	client, err := wxphone.New(cfg.appID, cfg.secret, opts...)
	if err != nil {
		return err
	}
	return redeem(ctx, client, cfg.code, cfg.show, stdout)
}

// runFake shows one success and three failures against a fake WeChat that
// listens on the loopback interface. Only the base URL differs from a
// deployed program.
func runFake(ctx context.Context, stdout io.Writer) error {
	wechat, err := wxphonetest.Start()
	if err != nil {
		return err
	}
	defer wechat.Close()

	client, err := wxphone.New(wechat.AppID(), wechat.Secret(), wxphone.WithBaseURL(wechat.URL()))
	if err != nil {
		return err
	}
	fmt.Fprintln(stdout, "No flags given: this is a fake WeChat at", wechat.URL())

	fmt.Fprintln(stdout, "\n0. The user taps the button; the mini-program sends us e.detail.code.")
	code := tap(wechat)
	if err := redeem(ctx, client, code, true, stdout); err != nil {
		return err
	}

	fmt.Fprintln(stdout, "\n1. The same code comes in again. It works once, so the client does not retry: the user taps again.")
	err = redeem(ctx, client, code, true, stdout)
	if err == nil {
		return errors.New("a code worked twice")
	}
	fmt.Fprintln(stdout, "   error:", err)
	fmt.Fprintln(stdout, "   errors.Is(err, wxphone.ErrCodeInvalid):", errors.Is(err, wxphone.ErrCodeInvalid))
	fmt.Fprintln(stdout, "   wxphone.HTTPStatus(err):", wxphone.HTTPStatus(err))

	fmt.Fprintln(stdout, "\n2. Another program retires our access_token. The client fetches a new one and repeats the call.")
	before := wechat.TokenFetches()
	wechat.RevokeToken()
	if err := redeem(ctx, client, tap(wechat), true, stdout); err != nil {
		return err
	}
	fmt.Fprintf(stdout, "   token fetches: %d before, %d after\n", before, wechat.TokenFetches())

	fmt.Fprintln(stdout, "\n3. WeChat is busy and answers errcode -1. The client waits a moment and tries again.")
	before = wechat.Requests(phoneEndpoint)
	wechat.FailNext(phoneEndpoint, -1, "", 1)
	if err := redeem(ctx, client, tap(wechat), true, stdout); err != nil {
		return err
	}
	fmt.Fprintln(stdout, "   requests it took:", wechat.Requests(phoneEndpoint)-before)
	return nil
}

const phoneEndpoint = "/wxa/business/getuserphonenumber"

// tap stands for a user who taps the button and agrees: it returns the code
// that the mini-program then gets.
func tap(wechat *wxphonetest.Server) string {
	return wechat.IssueCode(wxphone.PhoneInfo{
		PhoneNumber:     "13800000000",
		PurePhoneNumber: "13800000000",
		CountryCode:     "86",
	})
}

// config is what the flags and the environment say.
type config struct {
	appID, secret, code string
	baseURL             string
	show                bool
}

func parse(args []string, getenv func(string) string, stdout io.Writer) (config, error) {
	var cfg config
	flags := flag.NewFlagSet("quickstart", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // main prints the error
	flags.StringVar(&cfg.appID, "appid", getenv("WXPHONE_APPID"),
		"`appid` of the mini-program, or WXPHONE_APPID")
	flags.StringVar(&cfg.secret, "secret", "",
		"the `AppSecret`, or better WXPHONE_SECRET: other users of the machine can read flags")
	flags.StringVar(&cfg.code, "code", "",
		"e.detail.`code` of the button; it lives 5 minutes and works once")
	flags.StringVar(&cfg.baseURL, "base-url", getenv("WXPHONE_BASE_URL"),
		"ask this `url`, or WXPHONE_BASE_URL, instead of https://api.weixin.qq.com")
	flags.BoolVar(&cfg.show, "show", false,
		"print a real user's number unmasked too, in its E.164 form")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(stdout, "Redeems the code of a WeChat phone number button. Without an appid, a secret")
			fmt.Fprintln(stdout, "and a code it runs against a fake WeChat.")
			flags.SetOutput(stdout)
			flags.PrintDefaults()
		}
		return config{}, err
	}
	if flags.NArg() > 0 {
		return config{}, fmt.Errorf("%d argument(s) without a flag; write -code=CODE", flags.NArg())
	}
	// Not as the flag's default, which -help would print.
	if cfg.secret == "" {
		cfg.secret = getenv("WXPHONE_SECRET")
	}
	return cfg, nil
}

// real reports whether the real WeChat is meant.
func (c config) real() bool {
	return c.appID != "" || c.secret != "" || c.code != "" || c.baseURL != ""
}

// complete names what the real WeChat needs and was not given.
func (c config) complete() error {
	var missing []string
	if c.appID == "" {
		missing = append(missing, "-appid (or WXPHONE_APPID)")
	}
	if c.secret == "" {
		missing = append(missing, "-secret (or WXPHONE_SECRET)")
	}
	if c.code == "" {
		missing = append(missing, "-code")
	}
	if len(missing) == 0 {
		return nil
	}
	return fmt.Errorf("missing %s; without any of these the program runs against a fake WeChat",
		strings.Join(missing, " and "))
}
