package interop

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"log"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/internal/desktest"
)

var command string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	var err error
	if scratch, err = os.MkdirTemp("", "interop"); err != nil {
		log.Print(err)
		return 1
	}
	defer os.RemoveAll(scratch)
	if command, err = desktest.Build(scratch); err != nil {
		log.Print(err)
		return 1
	}
	return m.Run()
}

// contestant is one client, by the name that it has in the table.
type contestant struct {
	name string
	make func(t *testing.T, s settings) client
}

var contestants = []contestant{
	{"silenceper/wechat v2.1.10", func(_ *testing.T, s settings) client { return newSilenceper(s) }},
	{"co-wechat-api 3.11.0", func(t *testing.T, s settings) client {
		t.Helper()
		return startNode(t, "co-wechat-api", s)
	}},
	{"node-easywechat 3.6.2", func(t *testing.T, s settings) client {
		t.Helper()
		return startNode(t, "node-easywechat", s)
	}},
	{"nest-wechat 0.2.50", func(t *testing.T, s settings) client {
		t.Helper()
		return startNode(t, "nest-wechat", s, asWeixin(t, s.baseURL)...)
	}},
}

const (
	openid = "openid-of-alice"
	number = "13800000000"
)

var alice = map[string]string{"phoneNumber": number, "openid": openid}

// scenarios are the columns of the table, and what a client makes of each.
var scenarios = []struct {
	column string
	play   func(t *testing.T, fake *desktest.Fake, c contestant) string
}{
	{"classic token", func(t *testing.T, fake *desktest.Fake, c contestant) string {
		t.Helper()
		return tokenWorks(t, fake, c.with(t, fake).Classic)
	}},
	{"stable token", func(t *testing.T, fake *desktest.Fake, c contestant) string {
		t.Helper()
		return tokenWorks(t, fake, c.with(t, fake).Stable)
	}},
	{"code to number", func(t *testing.T, fake *desktest.Fake, c contestant) string {
		t.Helper()
		got, err := c.with(t, fake).Number(tap(t, fake))
		return is(t, err, got, number)
	}},
	{"login", func(t *testing.T, fake *desktest.Fake, c contestant) string {
		t.Helper()
		got, err := c.with(t, fake).Login(login(t, fake))
		return is(t, err, got.OpenID, openid)
	}},
	{"key with a slash", keyWithASlash},
	{"decryption", func(t *testing.T, fake *desktest.Fake, c contestant) string {
		t.Helper()
		key := keyOf(t, fake)
		sealed := fake.Post(t, "encrypted", alice)
		got, err := c.with(t, fake).Decrypt(key, sealed["encryptedData"], sealed["iv"])
		return is(t, err, got, number)
	}},
	{"checkencryptedmsg", func(t *testing.T, fake *desktest.Fake, c contestant) string {
		t.Helper()
		sum := sha256.Sum256([]byte(fake.Post(t, "encrypted", alice)["encryptedData"]))
		valid, err := c.with(t, fake).Check(hex.EncodeToString(sum[:]))
		return is(t, err, strconv.FormatBool(valid), "true")
	}},
	{"used code", func(t *testing.T, fake *desktest.Fake, c contestant) string {
		t.Helper()
		client, code := c.with(t, fake), tap(t, fake)
		_, err := client.Number(code)
		_ = is(t, err, "", "")
		_, err = client.Number(code)
		return outcome(err)
	}},
	{"wrong secret", func(t *testing.T, fake *desktest.Fake, c contestant) string {
		t.Helper()
		client := c.make(t, settings{fake.URL, fake.AppID, strings.Repeat("0", 32)})
		_, err := client.Number(tap(t, fake))
		return outcome(err)
	}},
	{"revoked token", func(t *testing.T, fake *desktest.Fake, c contestant) string {
		t.Helper()
		client := c.with(t, fake)
		_, err := client.Number(tap(t, fake))
		_ = is(t, err, "", "")
		fake.Post(t, "tokens/revoke", map[string]string{})
		got, err := client.Number(tap(t, fake))
		if err != nil {
			return outcome(err)
		}
		return is(t, err, got, number)
	}},
}

// TestClientsDoWhatTheTableSays plays every scenario with every client, and
// compares with the table that users read.
func TestClientsDoWhatTheTableSays(t *testing.T) {
	rows := table(t)
	header := rows["client"]
	if len(header) != len(scenarios) {
		t.Fatalf("the table has the columns %q", header)
	}
	for _, c := range contestants {
		t.Run(c.name, func(t *testing.T) {
			row, ok := rows[c.name]
			if !ok {
				t.Fatalf("the table has no row %q", c.name)
			}
			for i, s := range scenarios {
				t.Run(s.column, func(t *testing.T) {
					if header[i] != s.column {
						t.Errorf("column %d of the table is %q", i, header[i])
					}
					fake := desktest.Start(t, command)
					if got := s.play(t, fake, c); got != row[i] {
						t.Errorf("%q, and the table says %q", got, row[i])
					}
					if t.Failed() {
						for _, r := range fake.Requests(t) {
							t.Logf("%+v", r)
						}
					}
				})
			}
		})
	}
}

// TestSilenceperSendsAFormToCheckencryptedmsg says why its cell is no "yes": the
// API takes JSON.
func TestSilenceperSendsAFormToCheckencryptedmsg(t *testing.T) {
	fake := desktest.Start(t, command)
	_, err := newSilenceper(settings{fake.URL, fake.AppID, fake.Secret}).Check(strings.Repeat("0", 64))
	if errcodeOf(err) != 47001 {
		t.Errorf("%v", err)
	}
	requests := fake.Requests(t)
	last := requests[len(requests)-1]
	if last.Body != "encrypted_msg_hash="+strings.Repeat("0", 64) || last.Reason != "the body is not a JSON object" {
		t.Errorf("the fake saw %+v", last)
	}
}

// TestNestWechatHidesAWrongSecret says why its cell is 40001: getToken drops the
// answer of stable_token, and the next call goes out with the token "undefined".
func TestNestWechatHidesAWrongSecret(t *testing.T) {
	fake := desktest.Start(t, command)
	s := settings{fake.URL, fake.AppID, strings.Repeat("0", 32)}
	_, err := startNode(t, "nest-wechat", s, asWeixin(t, fake.URL)...).Number("1")
	requests := fake.Requests(t)
	if len(requests) != 2 || requests[0].ErrCode != 40125 || requests[1].ErrCode != errcodeOf(err) {
		t.Errorf("%v after %+v", err, requests)
	}
}

// keyWithASlash logs a user in whose session_key has a slash, which WeChat's
// login writes as \/.
func keyWithASlash(t *testing.T, fake *desktest.Fake, c contestant) string {
	t.Helper()
	key := keyOf(t, fake)
	for !strings.Contains(key, "/") { // every third or so has one
		fake.Post(t, "session-keys/rotate", map[string]string{"openid": openid})
		key = keyOf(t, fake)
	}
	got, err := c.with(t, fake).Login(login(t, fake))
	return is(t, err, got.SessionKey, key)
}

func (c contestant) with(t *testing.T, fake *desktest.Fake) client {
	t.Helper()
	return c.make(t, settings{fake.URL, fake.AppID, fake.Secret})
}

// is returns a call's outcome, and fails the test if it succeeded with another
// result than is right.
func is(t *testing.T, err error, got, want string) string {
	t.Helper()
	if err == nil && got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	return outcome(err)
}

// tokenWorks returns the outcome of a fetch whose token is then used.
func tokenWorks(t *testing.T, fake *desktest.Fake, fetch func() (string, error)) string {
	t.Helper()
	token, err := fetch()
	if err != nil {
		return outcome(err)
	}
	own := wxphone.TokenSourceFunc(func(context.Context) (wxphone.Token, error) { return wxphone.Token{AccessToken: token}, nil })
	_, err = newWxphone(t, fake, wxphone.WithTokenSource(own)).GetPhoneNumber(context.Background(), tap(t, fake))
	return outcome(err)
}

func tap(t *testing.T, fake *desktest.Fake) string {
	t.Helper()
	return fake.Post(t, "codes", alice)["code"]
}

func login(t *testing.T, fake *desktest.Fake) string {
	t.Helper()
	return fake.Post(t, "login-codes", map[string]string{"openid": openid})["code"]
}

// keyOf returns the user's session_key, as wxphone gets it.
func keyOf(t *testing.T, fake *desktest.Fake) string {
	t.Helper()
	session, err := newWxphone(t, fake).Code2Session(context.Background(), login(t, fake))
	if err != nil {
		t.Fatal(err)
	}
	return string(session.SessionKey)
}

// table returns the cells of the table in docs/fake.md, by the first cell of
// their row.
func table(t *testing.T) map[string][]string {
	t.Helper()
	text, err := os.ReadFile("../../docs/fake.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := make(map[string][]string)
	for _, line := range regexp.MustCompile(`(?m)^\| (.*) \|$`).FindAllStringSubmatch(string(text), -1) {
		cells := strings.Split(line[1], " | ")
		for i, cell := range cells {
			cells[i] = strings.ReplaceAll(strings.TrimSpace(cell), "`", "")
		}
		rows[cells[0]] = cells[1:]
	}
	return rows
}
