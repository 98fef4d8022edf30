package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"strings"
	"time"

	"github.com/wxphone/wxphone/cmd/wxphone/internal/desk"
	"github.com/wxphone/wxphone/wxphonetest"
)

func (p *program) fake(ctx context.Context, flags *flag.FlagSet, args []string) error {
	var config desk.Config
	address := flags.String("addr", "127.0.0.1:8089", "listen at this `address`; port 0 takes a free one")
	flags.StringVar(&config.AppID, "appid", "", "the `appid` of the mini-program; needs -secret (default wx7b3c1f0e9d5a2468)")
	flags.StringVar(&config.Secret, "secret", "", "the fake `AppSecret`, which the fake prints and shows; never a real one (default 5f2d8c1a0b9e4d7786f3a1c2e4b6d809)")
	flags.DurationVar(&config.TokenLifetime, "token-lifetime", 2*time.Hour, "how long an access_token lives, a `duration` such as 10m")
	flags.BoolVar(&config.APISecurity, "api-security", false, "have API security switched on; /_fake/info shows the keys")
	flags.BoolVar(&config.CloudHosting, "cloud-hosting", false, "behave as inside WeChat cloud hosting: take calls without access_token")
	wrong := p.setFromEnvironment(flags)
	if _, err := p.parse(flags, args, 0); err != nil {
		return helped(err)
	}
	switch {
	case wrong != nil:
		return wrong
	case (config.AppID == "") != (config.Secret == ""):
		return wrongUse("fake: -appid and -secret belong together")
	case config.TokenLifetime < time.Second:
		return wrongUse("fake: -token-lifetime must be at least 1s")
	}
	// Requests are written one to a line, after what comes first.
	requests := log.New(p.stdout, "", 0)
	config.Observe = func(e wxphonetest.Exchange) { requests.Print(lineOf(e)) }
	d, err := desk.New(config)
	if err != nil {
		return err
	}
	listener, err := listen(ctx, "-addr", *address)
	if err != nil {
		return err
	}
	url := "http://" + reachable(listener.Addr())
	fmt.Fprintf(p.stdout, "%s=%s\n%s=%s\n%s=%s\n\nOpen %s%s to tap, to make requests fail and to watch them.\n\n",
		envBaseURL, url, envAppID, d.AppID(), envSecret, d.Secret(), url, desk.Prefix)
	if !isLoopback(listener.Addr()) {
		fmt.Fprintln(p.stderr, "wxphone: the fake takes requests from other machines too")
	}
	return serve(ctx, listener, d)
}

// setFromEnvironment gives each flag the value of its variable, which a flag on
// the command line overrides: -token-lifetime is WXPHONE_FAKE_TOKEN_LIFETIME.
func (p *program) setFromEnvironment(flags *flag.FlagSet) (err error) {
	flags.VisitAll(func(f *flag.Flag) {
		name := "WXPHONE_FAKE_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		value := p.env(name)
		if value == "" || err != nil {
			return
		}
		if wrong := f.Value.Set(value); wrong != nil {
			like := "10m"
			if flag, ok := f.Value.(interface{ IsBoolFlag() bool }); ok && flag.IsBoolFlag() {
				like = "true"
			}
			err = wrongUse("%s: %q is no value for -%s; write it like %s", name, value, f.Name, like)
		}
	})
	return err
}

// lineOf describes a request in a line.
func lineOf(e wxphonetest.Exchange) string {
	result := "ok"
	switch {
	case e.Status == 0:
		result = "cut"
	case e.Code != 0:
		result = fmt.Sprint(e.Code)
	case e.Status != 200:
		result = fmt.Sprintf("HTTP %d", e.Status)
	}
	line := fmt.Sprintf("%s %s %s %s", e.Time.Format(time.TimeOnly), e.Method, e.Endpoint, result)
	if e.Reason != "" {
		line += ": " + e.Reason
	}
	return strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f {
			return ' ' // a path may hold a line break
		}
		return c
	}, line)
}
