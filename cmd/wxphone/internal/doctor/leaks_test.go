package doctor

import (
	"bytes"
	"context"
	"net/http/httputil"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/wxphone/wxphone/internal/leaktest"
)

// Every check meets every answer, with the secrets of a stranger and with its
// own.
func TestNothingThatIsPrintedTellsASecret(t *testing.T) {
	const token = "/cgi-bin/stable_token"
	checks := map[string]struct {
		fault leaktest.Fault
		args  []string
	}{
		"access_token":         {fault: leaktest.Fault{Endpoint: token}},
		"classic access_token": {leaktest.Fault{Endpoint: "/cgi-bin/token"}, []string{"-classic"}},
		"kind of token":        {fault: leaktest.Fault{Endpoint: token, After: 1}},
		"permission":           {fault: leaktest.Fault{Endpoint: phoneEndpoint}},
		"quota":                {fault: leaktest.Fault{Endpoint: quotaEndpoint}},
		"rid":                  {leaktest.Fault{Endpoint: ridEndpoint}, []string{"-rid", "6b0476f6-2c099d96-7fa6429e"}},
	}
	for check, tt := range checks {
		t.Run(check, func(t *testing.T) {
			f := newTestFake(t)
			honest, err := url.Parse(f.url)
			if err != nil {
				t.Fatal(err)
			}
			whose := map[string]leaktest.Whose{"a stranger's secrets": leaktest.Strangers, "its own secrets": leaktest.Own}
			places := make(chan struct{}, 32) // most of the time they wait to try again
			var running sync.WaitGroup
			for _, answer := range leaktest.Answers() {
				for name, of := range whose {
					fault := tt.fault
					fault.Answer, fault.Whose = answer, of
					server := leaktest.Serve(t, httputil.NewSingleHostReverseProxy(honest), fault)
					places <- struct{}{}
					running.Add(1)
					go func() {
						defer running.Done()
						defer func() { <-places }()
						checkOutput(t, f, answer, answer.Name+" with "+name, output(server, f, tt.args...))
					}()
				}
			}
			running.Wait()
		})
	}
}

func checkOutput(t *testing.T, f *fake, answer leaktest.Answer, name, told string) {
	t.Helper()
	if !strings.Contains(told, "clock") {
		t.Errorf("%s: the checks did not come to their end:\n%s", name, told)
	}
	if form := leaktest.Tells(told, secretsOf(f, answer)...); form != "" {
		t.Errorf("%s: %q is told in:\n%s", name, form, told)
	}
	// The fake replaces refused tokens, so the present one is not all that there were.
	if token := anyToken.FindString(told); token != "" {
		t.Errorf("%s: the token %q is told in:\n%s", name, token, told)
	}
	if bad := leaktest.ControlCharacter(told); bad != "" {
		t.Errorf("%s: %s is in:\n%q", name, bad, told)
	}
}

// anyToken is how the tokens of wxphonetest and leaktest begin.
var anyToken = regexp.MustCompile(`86_[0-9A-Za-z_-]{8,}`)

func secretsOf(f *fake, answer leaktest.Answer) []string {
	secrets := []string{f.Secret(), f.Token(), "a-code-of-a-user", leaktest.Token, leaktest.Number, leaktest.Digits}
	if answer.Hidden {
		secrets = append(secrets, leaktest.Key)
	}
	return secrets
}

// output is what the program prints to both of its streams.
func output(server string, f *fake, args ...string) string {
	env := map[string]string{"WXPHONE_APPID": f.AppID(), "WXPHONE_SECRET": f.Secret()}
	var out bytes.Buffer
	err := Run(context.Background(), append([]string{"-base-url", server}, args...), func(name string) string { return env[name] }, &out)
	if err != nil {
		out.WriteString(err.Error())
	}
	return out.String()
}

// What its user gives is printed too, and may be a mistake.
func TestArgumentsAreNotPrintedAsTheyAre(t *testing.T) {
	f := newTestFake(t)
	for name, args := range map[string][]string{
		"the secret as a rid":          {"-rid", f.Secret()},
		"control characters as a rid":  {"-rid", "6b0476f6\x1b[2J\r\n-2c099d96-7fa6429e"},
		"the secret in the URL":        {"-base-url", "http://127.0.0.1:1/" + f.Secret()},
		"a password in the URL":        {"-base-url", "http://user:" + leaktest.Token + "@" + strings.TrimPrefix(f.url, "http://")},
		"the secret as the appid":      {"-appid", f.Secret()},
		"control characters, an appid": {"-appid", "wx\x1b[2J"},
		"the secret as an argument":    {f.Secret()},
		"the secret as a flag":         {"-" + f.Secret()},
	} {
		told := output(f.url, f, args...)
		if form := leaktest.Tells(told, f.Secret(), leaktest.Token); form != "" {
			t.Errorf("%s: %q is told in:\n%s", name, form, told)
		}
		if bad := leaktest.ControlCharacter(told); bad != "" {
			t.Errorf("%s: %s is in:\n%q", name, bad, told)
		}
	}
}

// The honest answers pass unharmed, so that the checks above do not hold
// because nothing is printed.
func TestHonestAnswersArePrintedWhole(t *testing.T) {
	f := newTestFake(t)
	honest, err := url.Parse(f.url)
	if err != nil {
		t.Fatal(err)
	}
	server := leaktest.Serve(t, httputil.NewSingleHostReverseProxy(honest), leaktest.Fault{Endpoint: "/none"})
	told := output(server, f, "-rid", "6b0476f6-2c099d96-7fa6429e")
	for _, want := range []string{
		" calls left today", " calls in ", "is of 2026-11-23T17:25:10Z", "rid 6b0476f6-2c099d96-7fa6429e: ", f.AppID(), server,
	} {
		if !strings.Contains(told, want) {
			t.Errorf("%q is not in:\n%s", want, told)
		}
	}
}
