// Doctor finds out why a backend gets no phone numbers. It checks, step by
// step, what stands between a code and a number, and says what to do:
// credentials, the IP whitelist, the kind of token, the clock, the permission
// and the quota of getuserphonenumber. It can also ask WeChat about a rid, the
// id in the text of an error.
//
// Run it on the machine that has the trouble:
//
//	export WXPHONE_APPID=... WXPHONE_SECRET=...
//	go run ./examples/doctor
//	go run ./examples/doctor -rid=6b0476f6-2c099d96-7fa6429e
//
// It redeems no code and changes nothing, unless -classic is given. It prints
// no secret and no phone number, whatever it is answered. With a problem found,
// its exit status is 1.
//
// Without an appid it examines two fakes on this machine, a healthy one and
// one with problems.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/internal/redact"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:], os.Getenv, os.Stdout)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "doctor:", redact.Text(err.Error(), nil))
		os.Exit(1)
	}
}

// run is the program without its process, so that tests can call it.
func run(ctx context.Context, args []string, getenv func(string) string, stdout io.Writer) error {
	err := runDoctor(ctx, args, getenv, stdout)
	if err == nil || errors.Is(err, flag.ErrHelp) {
		return err
	}
	// It may quote an argument.
	return redact.Error(err, []string{getenv("WXPHONE_SECRET")})
}

func runDoctor(ctx context.Context, args []string, getenv func(string) string, stdout io.Writer) error {
	cfg, err := parse(args, getenv, stdout)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute) // for all checks together
	defer cancel()
	if cfg.appID == "" {
		return runFake(ctx, stdout)
	}
	problems, err := examine(ctx, cfg, stdout)
	if err != nil {
		return err
	}
	if problems > 0 {
		return fmt.Errorf("%d problem(s) found", problems)
	}
	return nil
}

// config is what the flags and the environment say.
type config struct {
	appID, secret string
	baseURL       string
	rid           string
	classic       bool
}

func parse(args []string, getenv func(string) string, stdout io.Writer) (config, error) {
	// The AppSecret is no flag, since other users of the machine can read those.
	cfg := config{secret: getenv("WXPHONE_SECRET")}
	flags := flag.NewFlagSet("doctor", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // main prints the error
	flags.StringVar(&cfg.appID, "appid", getenv("WXPHONE_APPID"),
		"`appid` of the mini-program, or WXPHONE_APPID; its AppSecret is WXPHONE_SECRET")
	flags.StringVar(&cfg.baseURL, "base-url", "https://api.weixin.qq.com",
		"ask this `host`, for a program with WithBaseURL")
	flags.StringVar(&cfg.rid, "rid", "", "explain this `rid` of a failed call, up to 7 days old")
	flags.BoolVar(&cfg.classic, "classic", false,
		"fetch the token as WithClassicToken does, which retires the one that your programs use now")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(stdout, "Finds out why a backend gets no phone numbers.")
			flags.SetOutput(stdout)
			flags.PrintDefaults()
		}
		return config{}, err
	}
	switch {
	case flags.NArg() > 0:
		return config{}, fmt.Errorf("%d argument(s) without a flag; write -rid=RID", flags.NArg())
	case cfg.appID == "" && (cfg.secret != "" || cfg.rid != ""):
		return config{}, errors.New("missing -appid or WXPHONE_APPID; without all of them the program examines a fake")
	}
	return cfg, nil
}

// examine runs all checks and returns how many found a problem. Its error is
// about the arguments.
func examine(ctx context.Context, cfg config, stdout io.Writer) (problems int, err error) {
	d, err := newDoctor(cfg, stdout)
	if err != nil {
		return 0, err
	}
	fmt.Fprintf(stdout, "Examining the mini-program %s at %s\n\n", d.own(cfg.appID), d.own(cfg.baseURL))
	if d.token(ctx) {
		d.tokenKind(ctx)
		d.permission(ctx)
		d.quota(ctx)
		d.explain(ctx)
	}
	d.clock() // by the answers that came meanwhile
	return d.problems, nil
}

// newDoctor is also where a wrong argument of wxphone.New shows.
func newDoctor(cfg config, stdout io.Writer) (*doctor, error) {
	d := &doctor{cfg: cfg, stdout: stdout, wire: newWire()}
	var err error
	d.client, err = d.newClient()
	return d, err
}

func (d *doctor) newClient() (*wxphone.Client, error) {
	opts := []wxphone.Option{wxphone.WithHTTPClient(d.wire.client()), wxphone.WithBaseURL(d.cfg.baseURL)}
	if d.cfg.classic {
		opts = append(opts, wxphone.WithClassicToken())
	}
	return wxphone.New(d.cfg.appID, d.cfg.secret, opts...)
}
