package main

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/cmd/wxphone/internal/desk"
	"github.com/wxphone/wxphone/wxphonetest"
)

// outcome is what a run of the program left behind.
type outcome struct {
	status         int
	stdout, stderr string
}

// wxphoneWith runs the program with an environment and a standard input.
func wxphoneWith(t *testing.T, env map[string]string, stdin string, args ...string) outcome {
	t.Helper()
	var stdout, stderr bytes.Buffer
	status := run(context.Background(), args, func(name string) string { return env[name] }, strings.NewReader(stdin), &stdout, &stderr)
	return outcome{status, stdout.String(), stderr.String()}
}

// environmentOf is the environment of a program that uses a fake.
func environmentOf(s *wxphonetest.Server) map[string]string {
	return map[string]string{"WXPHONE_APPID": s.AppID(), "WXPHONE_SECRET": s.Secret(), "WXPHONE_BASE_URL": s.URL()}
}

var alice = wxphone.PhoneInfo{PhoneNumber: "13800000000", PurePhoneNumber: "13800000000", CountryCode: "86"}

func TestWrongCallsListTheCommands(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{}, {"fakes"}, {"--versions"}, {"help", "fakes"}} {
		got := wxphoneWith(t, nil, "", args...)
		assert.Equal(t, 2, got.status, args)
		assert.Empty(t, got.stdout)
		first, rest, _ := strings.Cut(got.stderr, "\n")
		assert.True(t, strings.HasPrefix(first, "wxphone: "), first)
		for _, c := range commands {
			assert.Contains(t, rest, "\n  "+c.name+" ")
		}
	}
}

func TestHelpDescribesEveryCommand(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"help"}, {"-h"}, {"--help"}, {"help", "-h"}} {
		got := wxphoneWith(t, nil, "", args...)
		assert.Zero(t, got.status, args)
		assert.Empty(t, got.stderr)
		assert.Contains(t, got.stdout, "WXPHONE_SECRET_FILE")
	}
	for _, c := range commands {
		for _, args := range [][]string{{"help", c.name}, {c.name, "-h"}} {
			got := wxphoneWith(t, nil, "", args...)
			assert.Zero(t, got.status, "%v: %s", args, got.stderr)
			if c.name != "help" { // that one describes all
				assert.Contains(t, got.stdout, "Usage: wxphone "+c.name+" ", args)
			}
		}
	}
}

func TestHelpNeedsNoRightSettings(t *testing.T) {
	t.Parallel()
	wrong := map[string]string{"WXPHONE_BASE_URL": "127.0.0.1:1", "WXPHONE_FAKE_TOKEN_LIFETIME": "soon"}
	for _, c := range commands {
		got := wxphoneWith(t, wrong, "", "help", c.name)
		assert.Zero(t, got.status, "%s: %s", c.name, got.stderr)
	}
}

// TestNoFlagTakesARealSecret looks through the flags of all commands.
func TestNoFlagTakesARealSecret(t *testing.T) {
	t.Parallel()
	for _, c := range commands {
		if c.name == "fake" {
			continue // its secret is made up
		}
		got := wxphoneWith(t, nil, "", "help", c.name)
		assert.NotRegexp(t, `(?m)^  -(secret|key)\b`, got.stdout, c.name)
	}
}

func TestWrongUse(t *testing.T) {
	t.Parallel()
	set := func(pairs ...string) map[string]string {
		env := map[string]string{"WXPHONE_APPID": "wx0123456789abcdef", "WXPHONE_SECRET": "top-secret"}
		for i := 0; i < len(pairs); i += 2 {
			env[pairs[i]] = pairs[i+1]
		}
		return env
	}
	for want, tc := range map[string]struct {
		env   map[string]string
		stdin string
		args  []string
	}{
		"redeem: CODE is missing":                                  {set(), "", []string{"redeem"}},
		"redeem: 1 argument too many":                              {set(), "", []string{"redeem", "a", "b"}},
		"redeem: flag provided but not defined":                    {set(), "", []string{"redeem", "a", "-code"}},
		"help: 1 argument too many":                                {nil, "", []string{"help", "fake", "token"}},
		"WXPHONE_APPID is not set":                                 {nil, "", []string{"redeem", "a"}},
		"WXPHONE_SECRET is not set":                                {map[string]string{"WXPHONE_APPID": "wx0123456789abcdef"}, "", []string{"token"}},
		"WXPHONE_SECRET and WXPHONE_SECRET_FILE are":               {set("WXPHONE_SECRET_FILE", "x"), "", []string{"token"}},
		"WXPHONE_SECRET_FILE: open /nowhere":                       {set("WXPHONE_SECRET", "", "WXPHONE_SECRET_FILE", "/nowhere"), "", []string{"token"}},
		"redeem: 2 arguments too many":                             {set(), "", []string{"redeem", "a", "b", "c"}},
		"-code; see \"wxphone help redeem\"":                       {set(), "", []string{"redeem", "a", "-code"}},
		"-x; see \"wxphone help doctor\"":                          {set(), "", []string{"doctor", "-x"}},
		"write it like http://127.0.0.1:1":                         {set("WXPHONE_BASE_URL", "127.0.0.1:1"), "", []string{"token"}},
		"write it like http://localhost:8089":                      {set("WXPHONE_BASE_URL", "localhost:8089"), "", []string{"doctor"}},
		"\"x\" is no value for -token-lifetime; write it like 10m": {map[string]string{"WXPHONE_FAKE_TOKEN_LIFETIME": "x"}, "", []string{"fake"}},
		"session_key has 2 bytes, not 16":                          {set(), `{"session_key":"YWI=","encryptedData":"b","iv":"c"}`, []string{"decrypt"}},
		"session_key is not base64":                                {set(), `{"session_key":"a b","encryptedData":"b","iv":"c"}`, []string{"decrypt"}},
		"doctor: -rid: \"1-2-3\" is no rid":                        {set(), "", []string{"doctor", "-rid", "1-2-3"}},
		"doctor: -rid does not go with -fake":                      {set(), "", []string{"doctor", "-fake", "-rid", "6b0476f6-2c099d96-7fa6429e"}},
		"WXPHONE_BASE_URL: ":                                       {set("WXPHONE_BASE_URL", "no url"), "", []string{"token"}},
		"WXPHONE_KEY is not set":                                   {set(), "", []string{"token", "-serve", "127.0.0.1:0"}},
		"WXPHONE_KEY: ":                                            {set("WXPHONE_KEY", "short"), "", []string{"token", "-serve", "127.0.0.1:0"}},
		"-serve: \"8443\" is not a host and a port":                {set("WXPHONE_KEY", strings.Repeat("k", 32)), "", []string{"token", "-serve", "8443"}},
		"token: -tls-cert and -tls-key belong":                     {set(), "", []string{"token", "-tls-cert", "x"}},
		"token: -tls-cert is for -serve":                           {set(), "", []string{"token", "-tls-cert", "x", "-tls-key", "y"}},
		"decrypt: standard input is not the JSON":                  {set(), "encryptedData=1", []string{"decrypt"}},
		"decrypt: session_key is missing":                          {set(), "{}", []string{"decrypt"}},
		"decrypt: encryptedData is missing":                        {set(), `{"session_key":"AAAAAAAAAAAAAAAAAAAAAA=="}`, []string{"decrypt"}},
		"decrypt: iv is missing":                                   {set(), `{"session_key":"AAAAAAAAAAAAAAAAAAAAAA==","encryptedData":"b"}`, []string{"decrypt"}},
		"decrypt: iv must be a string":                             {set(), `{"iv":1}`, []string{"decrypt"}},
		"fake: -appid and -secret belong together":                 {nil, "", []string{"fake", "-appid", "wx0123456789abcdef"}},
		"fake: -token-lifetime must be at least":                   {nil, "", []string{"fake", "-token-lifetime", "1ms"}},
		"fake: invalid value \"often\" for flag":                   {nil, "", []string{"fake", "-token-lifetime", "often"}},
		"-addr: \"localhost\" is not a host and":                   {nil, "", []string{"fake", "-addr", "localhost"}},
		"-addr: \"localhost:99999\" is not a host and":             {nil, "", []string{"fake", "-addr", "localhost:99999"}},
		"WXPHONE_FAKE_API_SECURITY: \"perhaps\" is no":             {map[string]string{"WXPHONE_FAKE_API_SECURITY": "perhaps"}, "", []string{"fake"}},
	} {
		got := wxphoneWith(t, tc.env, tc.stdin, tc.args...)
		assert.Equal(t, 2, got.status, "%v: %s", tc.args, got.stderr)
		assert.Empty(t, got.stdout)
		assert.Contains(t, got.stderr, want)
		assert.Equal(t, 1, strings.Count(got.stderr, "\n"), got.stderr)
		assert.NotContains(t, got.stderr, "top-secret")
	}
}

func TestRedeemMasksTheNumber(t *testing.T) {
	t.Parallel()
	s := wxphonetest.NewServer(t)
	for _, tc := range []struct {
		args []string
		want string
	}{
		{nil, "+86 138****0000\n"},
		{[]string{"-show"}, "+8613800000000\n"},
		{[]string{"-show", "-openid", "alice"}, "+8613800000000\n"},
	} {
		code := s.IssueCode(alice, wxphonetest.ForOpenID("alice"))
		got := wxphoneWith(t, environmentOf(s), "", append([]string{"redeem", code}, tc.args...)...)
		assert.Equal(t, outcome{0, tc.want, ""}, got)
	}
}

func TestRedeemOfARefusedCodeFails(t *testing.T) {
	t.Parallel()
	s := wxphonetest.NewServer(t)
	code := s.IssueCode(alice, wxphonetest.ForOpenID("alice"))
	for _, args := range [][]string{{code, "-openid", "bob"}, {"no-code"}} {
		got := wxphoneWith(t, environmentOf(s), "", append([]string{"redeem"}, args...)...)
		assert.Equal(t, 1, got.status)
		assert.Empty(t, got.stdout)
		assert.Regexp(t, `^wxphone: /wxa/business/getuserphonenumber: .*40029.*\n$`, got.stderr)
		assert.NotContains(t, got.stderr, code)
	}
}

func TestSecretFromAFile(t *testing.T) {
	t.Parallel()
	s := wxphonetest.NewServer(t)
	env := environmentOf(s)
	delete(env, "WXPHONE_SECRET")
	env["WXPHONE_SECRET_FILE"] = writeFile(t, s.Secret()+"\n")
	assert.Zero(t, wxphoneWith(t, env, "", "token").status)

	env["WXPHONE_SECRET_FILE"] = writeFile(t, " \n")
	got := wxphoneWith(t, env, "", "token")
	assert.Equal(t, 2, got.status)
	assert.Contains(t, got.stderr, "is empty")
}

func TestDecrypt(t *testing.T) {
	t.Parallel()
	s := wxphonetest.NewServer(t)
	data, iv := s.Encrypt("alice", alice)
	stdin := `{"session_key":"` + string(s.SessionKey("alice")) + `","encryptedData":"` + data + `","iv":"` + iv + `"}`
	env := map[string]string{"WXPHONE_APPID": s.AppID()}
	assert.Equal(t, outcome{0, "+86 138****0000\n", ""}, wxphoneWith(t, env, stdin, "decrypt"))
	assert.Equal(t, outcome{0, "+8613800000000\n", ""}, wxphoneWith(t, env, stdin, "decrypt", "-show"))

	s.RotateSessionKey("alice")
	stale := `{"session_key":"` + string(s.SessionKey("alice")) + `","encryptedData":"` + data + `","iv":"` + iv + `"}`
	got := wxphoneWith(t, env, stale, "decrypt")
	assert.Equal(t, 1, got.status)
	assert.Regexp(t, `^wxphone: .*session_key.*; or WXPHONE_APPID is another mini-program's\n$`, got.stderr)

	got = wxphoneWith(t, env, strings.Replace(stdin, `"iv"`, `"IV2"`, 1), "decrypt")
	assert.Equal(t, 2, got.status, "an unknown field is a misspelt one")
}

func TestTokenTellsKindAndExpiryOnly(t *testing.T) {
	t.Parallel()
	s := wxphonetest.NewServer(t)
	for kind, args := range map[string][]string{"stable_token": {"token"}, "classic token": {"token", "-classic"}} {
		got := wxphoneWith(t, environmentOf(s), "", args...)
		require.Zero(t, got.status, got.stderr)
		assert.Regexp(t, "^"+kind+`, expires at \S+Z, in (2h0m0s|1h59m5\ds)\n$`, got.stdout)
		assert.NotContains(t, got.stdout, s.Token())
	}

	env := environmentOf(s)
	env["WXPHONE_SECRET"] = "another-secret-of-32-characters-1"
	got := wxphoneWith(t, env, "", "token")
	assert.Equal(t, 1, got.status)
	assert.Regexp(t, `^wxphone: .*40125.*\n$`, got.stderr)
	assert.NotContains(t, got.stderr, "another-secret")
}

func TestDoctorTakesTheEnvironment(t *testing.T) {
	t.Parallel()
	s := wxphonetest.NewServer(t)
	env := environmentOf(s)
	delete(env, "WXPHONE_SECRET")
	env["WXPHONE_SECRET_FILE"] = writeFile(t, s.Secret())
	got := wxphoneWith(t, env, "", "doctor")
	assert.Zero(t, got.status, got.stderr)
	assert.Contains(t, got.stdout, "ok       permission")

	s.FailNext("/wxa/business/getuserphonenumber", 48001, "", 1)
	got = wxphoneWith(t, env, "", "doctor")
	assert.Equal(t, outcome{1, got.stdout, "wxphone: 1 problem found\n"}, got)
	assert.Contains(t, got.stdout, "PROBLEM  permission")

	for _, args := range [][]string{{"doctor"}, {"doctor", "-unknown"}, {"doctor", "stray"}} {
		got = wxphoneWith(t, nil, "", args...)
		assert.Equal(t, 2, got.status)
		assert.Regexp(t, `^wxphone: doctor: .*\n$`, got.stderr)
	}
}

func TestVersion(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"version"}, {"-version"}, {"--version"}} {
		got := wxphoneWith(t, nil, "", args...)
		assert.Zero(t, got.status, got.stderr)
		assert.Regexp(t, `^wxphone \S+( \S+)?, go\S+\n$`, got.stdout)
	}
}

func TestHelpSaysWhatToWrite(t *testing.T) {
	t.Parallel()
	made, err := desk.New(desk.Config{})
	require.NoError(t, err)
	for command, wants := range map[string][]string{
		"fake":    {"-token-lifetime duration", "(default " + made.AppID() + ")", "(default " + made.Secret() + ")"},
		"doctor":  {"-base-url url"},
		"decrypt": {`{"session_key": "...", "encryptedData": "...", "iv": "..."}`},
	} {
		for _, want := range wants {
			assert.Contains(t, wxphoneWith(t, nil, "", "help", command).stdout, want)
		}
	}
	got := wxphoneWith(t, nil, "", "help").stdout
	assert.Contains(t, got, "WXPHONE_KEY")
	assert.Contains(t, got, "such as WXPHONE_FAKE_ADDR")
}
