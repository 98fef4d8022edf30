package doctor

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"flag"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/wxphonetest"
)

func noEnv(string) string { return "" }

// changing is what differs from one run to the next.
var changing = regexp.MustCompile(`127\.0\.0\.1:\d+|\(rid [0-9a-f-]+\)|[0-9a-f]{8}(-[0-9a-f]{8}){2}|` +
	`\d{4}-\d\d-\d\dT[0-9:]+Z|hint: \[[\w-]+\]|\d+ ms`)

const want = `These are fakes.

Examining the mini-program wx7b3c1f0e9d5a2468 at http://…

ok       access_token: appid and AppSecret are right and this address may ask; the token is good for 2h0m0s
ok       kind of token: stable. A second client got the same token, so processes need no shared store
ok       permission: the account may call getuserphonenumber; it refused a made-up code, as it should
ok       quota of the API: 9,999,997 of 10,000,000 calls left today
         at most 300 calls in 1 s
ok       rid …: WeChat took …; it came from 192.0.2.1
         it is of …
         sent: query access_token, body code
         answer: errcode 40029 "invalid code … rid: …": ask the user to tap the button again and send e.detail.code; a code lives 5 minutes, works once, and only for the appid it was made for
ok       clock: agrees with WeChat's

The next one's address is not on the whitelist.
Examining the mini-program wx7b3c1f0e9d5a2468 at http://…

PROBLEM  access_token: wxphone: /cgi-bin/stable_token: errcode 40164 "invalid ip 203.0.113.7 ipv6 ::ffff:203.0.113.7, not in whitelist" …: add this server's public IP address to the IP whitelist in the mini-program console
         -> add 203.0.113.7 in the console under 开发管理, 开发设置, IP 白名单
ok       clock: agrees with WeChat's

The next one may not ask for phone numbers, and used its calls up trying.
Examining the mini-program wx7b3c1f0e9d5a2468 at http://…

ok       access_token: appid and AppSecret are right and this address may ask; the token is good for 2h0m0s
ok       kind of token: stable. A second client got the same token, so processes need no shared store
PROBLEM  permission: wxphone: /wxa/business/getuserphonenumber: errcode 48001 "api unauthorized" …: this account has not been granted the API, or the access_token is of another kind of account
         -> only verified mini-programs that are not a person's may ask for phone numbers
PROBLEM  quota of the API: all 3 calls of today are used up
         -> wait for midnight in Beijing, or reset it with clear_quota, which works 10 times a month
ok       clock: agrees with WeChat's
`

func TestFakeRun(t *testing.T) {
	var stdout bytes.Buffer
	if err := Run(context.Background(), []string{"-fake"}, noEnv, &stdout); err != nil {
		t.Fatal(err)
	}
	if got := changing.ReplaceAllString(stdout.String(), "…"); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

// fake is a WeChat whose answers can tell another time.
type fake struct {
	*wxphonetest.Server
	url  string
	date string // instead of the present time
	rid  string // of a code that was redeemed twice
}

func newTestFake(t *testing.T) *fake {
	t.Helper()
	f := &fake{Server: wxphonetest.NewServer(t)}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if f.date != "" {
			w.Header().Set("Date", f.date)
		}
		f.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	f.url = server.URL
	var err error
	if f.rid, err = redeemTwice(context.Background(), f.Server); err != nil {
		t.Fatal(err)
	}
	return f
}

func (f *fake) config() config {
	return config{appID: f.AppID(), secret: f.Secret(), baseURL: f.url}
}

// examined runs the program on a fake, as its user would.
func examined(t *testing.T, f *fake, args ...string) (stdout string, err error) {
	t.Helper()
	env := map[string]string{"WXPHONE_APPID": f.AppID(), "WXPHONE_SECRET": f.Secret()}
	var out bytes.Buffer
	err = Run(context.Background(), append([]string{"-base-url", f.url}, args...),
		func(name string) string { return env[name] }, &out)
	text := out.String()
	if err != nil {
		text += err.Error()
	}
	code := usedCode.FindString(f.Exchanges()[1].Body)
	for _, secret := range []string{f.Secret(), f.Token(), code} {
		if strings.Contains(text, secret) {
			t.Errorf("the output holds %q:\n%s", secret, text)
		}
	}
	return out.String(), err
}

var usedCode = regexp.MustCompile(`[0-9a-f]{64}`)

func TestProblems(t *testing.T) {
	const token = "/cgi-bin/stable_token"
	tests := []struct {
		name  string
		ail   func(*fake)
		args  []string
		shows []string
		fails bool
	}{
		{name: "none", ail: func(*fake) {}, shows: []string{"ok       clock"}},
		{
			name:  "classic token",
			ail:   func(*fake) {},
			args:  []string{"-classic"},
			shows: []string{"ok       kind of token: classic. This fetch retired"},
		},
		{
			name:  "wrong secret",
			ail:   func(f *fake) { f.FailNext(token, 40125, "", 1) },
			shows: []string{"PROBLEM  access_token", "-> is WXPHONE_SECRET the AppSecret"},
			fails: true,
		},
		{
			name:  "wrong appid",
			ail:   func(f *fake) { f.FailNext(token, 40013, "", 1) },
			shows: []string{"-> is it the appid of the mini-program"},
			fails: true,
		},
		{
			name:  "IP address without its value",
			ail:   func(f *fake) { f.FailNext(token, 89503, "", 1) },
			shows: []string{"-> add the address of this machine"},
			fails: true,
		},
		{
			name:  "frozen account",
			ail:   func(f *fake) { f.FailNext(token, 50007, "", 1) },
			shows: []string{"PROBLEM  access_token", "50007"},
			fails: true,
		},
		{
			name:  "proxy",
			ail:   func(f *fake) { f.RespondNext(token, 403, "<html>Blocked", 1) },
			shows: []string{"-> something other than WeChat answers here"},
			fails: true,
		},
		{
			name:  "tokens that are refused",
			ail:   func(f *fake) { f.FailNext(phoneEndpoint, 40001, "", 2) },
			shows: []string{"-> does another program fetch classic tokens"},
			fails: true,
		},
		{
			name:  "API security",
			ail:   func(f *fake) { f.FailNext(phoneEndpoint, 40234, "", 1) },
			shows: []string{"-> API security is switched on"},
			fails: true,
		},
		{
			name:  "a busy WeChat",
			ail:   func(f *fake) { f.FailNext(phoneEndpoint, 45011, "", 1) },
			shows: []string{"PROBLEM  permission", "45011"},
			fails: true,
		},
		{
			name: "a mock",
			ail: func(f *fake) {
				f.RespondNext(phoneEndpoint, 200, `{"errcode":0,"phone_info":{"phoneNumber":"13800000000"}}`, 1)
			},
			shows: []string{"-> is WXPHONE_BASE_URL a mock?"},
			fails: true,
		},
		{
			name:  "clock ahead",
			ail:   func(f *fake) { f.date = time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat) },
			shows: []string{"PROBLEM  clock: 1h0m", "ahead"},
			fails: true,
		},
		{
			name:  "clock behind",
			ail:   func(f *fake) { f.date = time.Now().Add(time.Hour).UTC().Format(http.TimeFormat) },
			shows: []string{"PROBLEM  clock: ", "behind"},
			fails: true,
		},
		{
			name:  "no time",
			ail:   func(f *fake) { f.date = "lunch" },
			shows: []string{"unknown  clock"},
		},
		{
			name:  "another kind of account",
			ail:   func(f *fake) { f.FailNext(quotaEndpoint, 76022, "", 1) },
			shows: []string{"PROBLEM  quota of the API", "-> the appid is of a kind of account"},
			fails: true,
		},
		{
			name:  "unknown path",
			ail:   func(f *fake) { f.FailNext(quotaEndpoint, 76021, "", 1) },
			shows: []string{"unknown  quota of the API: WeChat does not know the API by this path"},
		},
		{
			name:  "busy quota API",
			ail:   func(f *fake) { f.FailNext(quotaEndpoint, -1, "", 1) },
			shows: []string{"unknown  quota of the API: wxphone: /cgi-bin/openapi/quota/get: errcode -1"},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := newTestFake(t)
			test.ail(f)
			stdout, err := examined(t, f, test.args...)
			for _, text := range test.shows {
				if !strings.Contains(stdout, text) {
					t.Errorf("%q is not in:\n%s", text, stdout)
				}
			}
			if (err != nil) != test.fails {
				t.Errorf("got the error %v", err)
			}
		})
	}
}

func TestRIDs(t *testing.T) {
	tests := []struct {
		rid   string // of a code that was redeemed twice if empty
		code  int
		shows string
	}{
		{"", 0, "answer: errcode 40029"},
		{"7fffffff-2c099d96-7fa6429e", 0, "WeChat does not know it"},
		{"00000000-2c099d96-7fa6429e", 0, "it is older than 7 days"},
		{"00000000-2c099d96-7fa6429e", 0, "is of 1970-01-01T00:00:00Z"},
		{"", 76002, "that is no rid"},
		{"", 76003, "it belongs to another account"},
		{"", 76022, "it is of a login"},
		{"", 45009, ": wxphone: /cgi-bin/openapi/rid/get: errcode 45009"},
	}
	for _, test := range tests {
		f := newTestFake(t)
		if test.code != 0 {
			f.FailNext(ridEndpoint, test.code, "", 1)
		}
		stdout, err := examined(t, f, "-rid", cmp.Or(test.rid, f.rid))
		if err != nil {
			t.Error(err)
		}
		if !strings.Contains(stdout, test.shows) {
			t.Errorf("%q is not in:\n%s", test.shows, stdout)
		}
	}
}

// A token that another program retires between two checks is replaced.
func TestCallReplacesARefusedToken(t *testing.T) {
	f := newTestFake(t)
	d, err := newDoctor(f.config(), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.client.AccessToken(context.Background()); err != nil {
		t.Fatal(err)
	}
	f.RevokeToken()
	var answer map[string]any
	err = d.call(context.Background(), quotaEndpoint, map[string]string{"cgi_path": phoneEndpoint}, &answer)
	if err != nil || answer["quota"] == nil {
		t.Errorf("got %v and %v", answer, err)
	}
}

func TestCallKeepsTheTokenOutOfErrors(t *testing.T) {
	f := newTestFake(t)
	d, err := newDoctor(f.config(), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	if _, err := d.client.AccessToken(ctx); err != nil {
		t.Fatal(err)
	}
	cancel()
	err = d.callOnce(ctx, quotaEndpoint, f.Token(), struct{}{}, new(any))
	if !errors.Is(err, context.Canceled) || strings.Contains(err.Error(), f.Token()) {
		t.Errorf("got %v", err)
	}
}

func TestUnreachable(t *testing.T) {
	f := newTestFake(t)
	f.url = "http://127.0.0.1:1" // nothing listens there
	stdout, err := examined(t, f)
	if err == nil || !strings.Contains(stdout, "-> can this machine reach the host?") {
		t.Errorf("got %v and:\n%s", err, stdout)
	}
}

func TestFlags(t *testing.T) {
	var stdout bytes.Buffer
	getenv := func(name string) string { return "value-of-" + name }
	if err := Run(context.Background(), []string{"-help"}, getenv, &stdout); !errors.Is(err, flag.ErrHelp) {
		t.Errorf("got %v, want flag.ErrHelp", err)
	}
	for _, name := range []string{"-appid", "-base-url", "-rid", "-classic", "-fake"} {
		if !strings.Contains(stdout.String(), name) {
			t.Errorf("the help does not name %s", name)
		}
	}
	if strings.Contains(stdout.String(), "value-of-WXPHONE_SECRET") {
		t.Error("the help prints the secret")
	}

	for _, args := range [][]string{{}, {"stray"}, {"-unknown"}, {"-rid", "1-2-3"}} {
		var wrong *UsageError
		if err := Run(context.Background(), args, noEnv, io.Discard); !errors.As(err, &wrong) {
			t.Errorf("%q: got %v, want a UsageError", args, err)
		}
	}
	err := Run(context.Background(), []string{"-appid", "wx0123456789abcdef"}, noEnv, io.Discard)
	if !errors.Is(err, wxphone.ErrInvalidArgument) {
		t.Errorf("without a secret: got %v, want ErrInvalidArgument", err)
	}
}
