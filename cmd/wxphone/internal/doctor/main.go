// Package doctor finds out why a backend gets no phone numbers. It checks, step
// by step, what stands between a code and a number, and says what to do:
// credentials, the IP whitelist, the kind of token, the clock, the permission
// and the quota of getuserphonenumber. It can also ask WeChat about a rid, the
// id in the text of an error.
//
// It is the command "wxphone doctor", to run on the machine that has the
// trouble. It redeems no code and changes nothing, unless -classic is given. It
// prints no secret and no phone number, whatever it is answered.
package doctor

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"time"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/internal/redact"
	wireformat "github.com/wxphone/wxphone/internal/wire"
)

// UsageError is the error of a wrong argument.
type UsageError struct{ err error }

// Error implements error.
func (e *UsageError) Error() string { return e.err.Error() }

// Unwrap returns what is wrong with the argument.
func (e *UsageError) Unwrap() error { return e.err }

// Run runs the checks that args ask for, on the mini-program of the environment.
// A problem that is found is an error. One of the arguments or the environment
// is a *[UsageError], or [wxphone.ErrInvalidArgument], and -help is
// [flag.ErrHelp].
func Run(ctx context.Context, args []string, getenv func(string) string, stdout io.Writer) error {
	err := run(ctx, args, getenv, stdout)
	// An error may quote an argument.
	secrets := []string{getenv("WXPHONE_SECRET")}
	var usage *UsageError
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp), errors.Is(err, wxphone.ErrInvalidArgument):
		return err
	case errors.As(err, &usage):
		return &UsageError{redact.Error(usage.err, secrets)}
	default:
		return redact.Error(err, secrets)
	}
}

func run(ctx context.Context, args []string, getenv func(string) string, stdout io.Writer) error {
	cfg, err := parse(args, getenv, stdout)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return err
	case err != nil:
		return &UsageError{err}
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute) // for all checks together
	defer cancel()
	if cfg.fake {
		return runFake(ctx, stdout)
	}
	problems, err := examine(ctx, cfg, stdout)
	if err != nil {
		return err
	}
	if problems > 0 {
		if problems == 1 {
			return errors.New("1 problem found")
		}
		return fmt.Errorf("%d problems found", problems)
	}
	return nil
}

// config is what the flags and the environment say.
type config struct {
	appID, secret string
	baseURL       string
	rid           string
	classic       bool
	fake          bool
}

func parse(args []string, getenv func(string) string, stdout io.Writer) (config, error) {
	// The AppSecret is no flag, since other users of the machine can read those.
	cfg := config{secret: getenv("WXPHONE_SECRET")}
	flags := flag.NewFlagSet("doctor", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // the caller prints the error
	flags.StringVar(&cfg.appID, "appid", getenv("WXPHONE_APPID"),
		"`appid` of the mini-program, or WXPHONE_APPID; its AppSecret is WXPHONE_SECRET")
	flags.StringVar(&cfg.baseURL, "base-url", cmp.Or(getenv("WXPHONE_BASE_URL"), "https://api.weixin.qq.com"),
		"ask this `url`, or WXPHONE_BASE_URL, for a program with WithBaseURL")
	flags.StringVar(&cfg.rid, "rid", "", "explain this `rid` of a failed call, up to 7 days old")
	flags.BoolVar(&cfg.classic, "classic", false,
		"fetch the token as WithClassicToken does, which retires the one that your programs use now")
	flags.BoolVar(&cfg.fake, "fake", false,
		"examine fakes on this machine, to see what the checks say: a healthy one and two with problems")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			fmt.Fprintf(stdout, "Usage: wxphone doctor [flags]\n\nFind out why a backend gets no phone numbers.\n\nFlags:\n")
			flags.SetOutput(stdout)
			flags.PrintDefaults()
		}
		return config{}, fmt.Errorf("%w; see \"wxphone help doctor\"", err)
	}
	switch {
	case flags.NArg() > 0:
		return config{}, fmt.Errorf("%q has no flag; write -rid=RID", flags.Arg(0))
	case cfg.rid != "" && cfg.fake:
		return config{}, errors.New("-rid does not go with -fake, which makes its own")
	case cfg.rid != "" && !wireformat.IsRID(cfg.rid):
		return config{}, fmt.Errorf("-rid: %q is no rid; it is in the text of the error, as in 6b0476f6-2c099d96-7fa6429e", cfg.rid)
	case cfg.appID == "" && !cfg.fake:
		return config{}, errors.New("WXPHONE_APPID is not set; it is the appid of the mini-program, and -fake needs none")
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
