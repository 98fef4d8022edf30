package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/wxphonetest"
)

func noEnv(string) string { return "" }

// changing is what differs from one run to the next.
var changing = regexp.MustCompile(`127\.0\.0\.1:\d+|rid [0-9a-f-]+|hint: \[[\w-]+\]`)

func normalise(s string) string { return changing.ReplaceAllString(s, "…") }

func TestFakeRunPrintsWhatDocsShow(t *testing.T) {
	var stdout bytes.Buffer
	if err := run(context.Background(), nil, noEnv, &stdout); err != nil {
		t.Fatal(err)
	}

	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "errors.md"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(normalise(string(page)), normalise(stdout.String())) {
		t.Errorf("docs/errors.md does not show this output:\n%s", stdout.String())
	}
}

func TestRealRun(t *testing.T) {
	wechat := wxphonetest.NewServer(t)
	env := map[string]string{"WXPHONE_APPID": wechat.AppID(), "WXPHONE_SECRET": wechat.Secret()}
	getenv := func(name string) string { return env[name] }

	t.Run("masks the number", func(t *testing.T) {
		var stdout bytes.Buffer
		args := []string{"-base-url", wechat.URL(), "-code", tap(wechat)}
		if err := run(context.Background(), args, getenv, &stdout); err != nil {
			t.Fatal(err)
		}
		if got, want := stdout.String(), "   number: +86 138****0000\n"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})

	t.Run("shows the number on demand", func(t *testing.T) {
		var stdout bytes.Buffer
		args := []string{"-base-url", wechat.URL(), "-code", tap(wechat), "-show"}
		if err := run(context.Background(), args, getenv, &stdout); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(stdout.String(), "+8613800000000") {
			t.Errorf("no E.164 form in %q", stdout.String())
		}
	})

	t.Run("takes flags rather than the environment", func(t *testing.T) {
		args := []string{"-base-url", wechat.URL(), "-code", tap(wechat), "-secret", "another"}
		err := run(context.Background(), args, getenv, new(bytes.Buffer))
		if !errors.Is(err, wxphone.ErrSecretInvalid) {
			t.Errorf("got %v, want ErrSecretInvalid", err)
		}
	})

	t.Run("passes an invalid option on", func(t *testing.T) {
		args := []string{"-base-url", "not a URL", "-code", "c"}
		err := run(context.Background(), args, getenv, new(bytes.Buffer))
		if !errors.Is(err, wxphone.ErrInvalidArgument) {
			t.Errorf("got %v, want ErrInvalidArgument", err)
		}
	})
}

func TestMissingValuesAreNamed(t *testing.T) {
	tests := []struct {
		name    string
		args    []string
		missing []string
	}{
		{"only the appid", []string{"-appid", "wx1"}, []string{"-secret (or WXPHONE_SECRET)", "-code"}},
		{"only the secret", []string{"-secret", "s"}, []string{"-appid (or WXPHONE_APPID)", "-code"}},
		{"only the code", []string{"-code", "c"}, []string{"-appid", "-secret"}},
		{"no code", []string{"-appid", "wx1", "-secret", "s"}, []string{"-code"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			err := run(context.Background(), test.args, noEnv, new(bytes.Buffer))
			if err == nil {
				t.Fatal("no error")
			}
			for _, name := range test.missing {
				if !strings.Contains(err.Error(), name) {
					t.Errorf("%q does not name %s", err, name)
				}
			}
		})
	}
}

func TestHelpNamesEveryFlagButNoSecret(t *testing.T) {
	getenv := func(name string) string { return "value-of-" + name }
	var stdout bytes.Buffer
	err := run(context.Background(), []string{"-help"}, getenv, &stdout)
	if !errors.Is(err, flag.ErrHelp) {
		t.Fatalf("got %v, want flag.ErrHelp", err)
	}
	for _, name := range []string{"-appid", "-secret", "-code", "-base-url", "-show"} {
		if !strings.Contains(stdout.String(), name) {
			t.Errorf("the help does not name %s", name)
		}
	}
	if strings.Contains(stdout.String(), "value-of-WXPHONE_SECRET") {
		t.Error("the help prints the secret")
	}
}

func TestStrayArgumentsAreRefused(t *testing.T) {
	for _, args := range [][]string{{"a-code-without-flag"}, {"-unknown"}} {
		if err := run(context.Background(), args, noEnv, new(bytes.Buffer)); err == nil {
			t.Errorf("%q: no error", args)
		}
	}
}

func TestRunAtTheBaseURLOfTheEnvironment(t *testing.T) {
	wechat := wxphonetest.NewServer(t)
	environment := map[string]string{
		"WXPHONE_APPID": wechat.AppID(), "WXPHONE_SECRET": wechat.Secret(), "WXPHONE_BASE_URL": wechat.URL(),
	}
	var stdout bytes.Buffer
	err := run(context.Background(), []string{"-code", tap(wechat)}, func(name string) string { return environment[name] }, &stdout)
	if err != nil || !strings.Contains(stdout.String(), "+86 138****0000") {
		t.Errorf("got %v and %q", err, stdout.String())
	}
}
