package browsertest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/internal/desktest"
)

func newClient(t *testing.T, fake *desktest.Fake) *wxphone.Client {
	t.Helper()
	client, err := wxphone.New(fake.AppID, fake.Secret, wxphone.WithBaseURL(fake.URL), wxphone.WithMaxRetries(0))
	if err != nil {
		t.Fatal(err)
	}
	return client
}

const newest = `document.querySelector("#journal > li")`

// TestTapRedeemFailAndRead is a developer's first five minutes with the page.
func TestTapRedeemFailAndRead(t *testing.T) {
	p, fake := visit(t, wide)
	client := newClient(t, fake)
	if got := p.text(`location.pathname`); got != "/_fake/" {
		t.Errorf("the root leads to %s", got)
	}

	p.do(
		grantClipboard(fake.URL),
		enter(`[name=phoneNumber]`, "13912345678"),
		enter(`[name=openid]`, "openid-of-bob"),
		chromedp.Click("#tap-button"),
		chromedp.Click("#given button"),
	)
	p.until(`document.querySelector("#given button").textContent === "Copied"`)
	var code string
	p.do(chromedp.Evaluate(`navigator.clipboard.readText()`, &code, awaited))
	if len(code) != 64 {
		t.Fatalf("the clipboard has %q", code)
	}

	phone, err := client.GetPhoneNumber(p.ctx, code, wxphone.WithOpenID("openid-of-bob"))
	if err != nil || phone.E164() != "+8613912345678" {
		t.Fatalf("%v, %v", phone, err)
	}
	p.until(newest + `?.textContent.includes("getuserphonenumber")`)
	if got := p.text(newest + `.querySelector(".badge").textContent`); got != "OK" {
		t.Errorf("the badge says %q", got)
	}
	p.until(`document.querySelector("#given li.spent") !== null`)

	if _, err := client.GetPhoneNumber(p.ctx, code); err == nil {
		t.Error("a code worked twice")
	}
	p.until(newest + `.querySelector(".reason")?.textContent.startsWith("this code was redeemed ")`)

	p.do(
		enter(`#fault [name=errcode]`, "45009"),
		chromedp.Click(`#fault button`),
	)
	p.until(`document.querySelector("#faults li")?.textContent.includes("errcode 45009 · 1 more")`)
	if _, err := client.GetPhoneNumber(p.ctx, code); err == nil {
		t.Error("the fault did nothing")
	}
	p.until(newest + `.querySelector(".reason").textContent === "a fault was set: errcode 45009"`)
	p.until(`document.querySelectorAll("#faults li").length === 0`)

	p.do(chromedp.Click(newestSummary))
	p.until(newest + `.querySelector("pre") !== null`)
	if got := p.text(newest + `.querySelector(".inside").textContent`); !strings.Contains(got, code) || !strings.Contains(got, `"errcode": 45009`) {
		t.Errorf("the row holds %q", got)
	}

	p.do(chromedp.Click("#reset"), chromedp.Click("#reset"))
	p.until(`document.querySelectorAll("#journal > li").length === 0 && !document.getElementById("empty").hidden`)
	if n := len(fake.Requests(t)); n != 0 {
		t.Errorf("%d requests after the reset", n)
	}
}

const newestSummary = "#journal > li:first-child summary"

// TestEveryButtonHandsOutWhatWorks redeems what the other buttons give.
func TestEveryButtonHandsOutWhatWorks(t *testing.T) {
	p, fake := visit(t, wide)
	client := newClient(t, fake)
	given := func(button string, n int) []string {
		t.Helper()
		p.do(chromedp.Click(button))
		p.until(fmt.Sprintf(`document.querySelectorAll("#given > li").length === %d`, n))
		return strings.Split(p.text(`[...document.querySelectorAll("#given > li:first-child code")].map(c => c.textContent).join(" ")`), " ")
	}

	session, err := client.Code2Session(p.ctx, given("#login", 1)[0])
	if err != nil || session.OpenID != "openid-of-alice" {
		t.Fatalf("%v, %v", session, err)
	}
	sealed := given("#seal", 2)
	phone, err := client.VerifyPhoneNumber(p.ctx, session.SessionKey, sealed[0], sealed[1])
	if err != nil || phone.E164() != "+8613800000000" {
		t.Errorf("encryptedData: %v, %v", phone, err)
	}
	phone, err = client.GetPhoneNumberByCloudID(p.ctx, session.OpenID, given("#cloud", 3)[0])
	if err != nil || phone.E164() != "+8613800000000" {
		t.Errorf("cloudID: %v, %v", phone, err)
	}

	p.do(chromedp.Click("#rotate"))
	p.until(`document.getElementById("said").textContent.includes("session_key")`)
	if err := client.CheckSessionKey(p.ctx, session.OpenID, session.SessionKey); err == nil {
		t.Error("the session_key was not replaced")
	}
	token, err := client.AccessToken(p.ctx)
	if err != nil {
		t.Fatal(err)
	}
	p.do(chromedp.Click("#revoke"))
	p.until(`document.getElementById("said").textContent.includes("40001")`)
	if err := client.InvalidateAccessToken(p.ctx, token.AccessToken); err != nil {
		t.Fatal(err)
	}
	if next, err := client.AccessToken(p.ctx); err != nil || next.AccessToken == token.AccessToken {
		t.Errorf("the token was not revoked: %v", err)
	}
}

// TestRefusalsAreShown puts what is wrong into the forms.
func TestRefusalsAreShown(t *testing.T) {
	p, _ := visit(t, wide)
	for _, tc := range []struct{ field, value, button, place, want string }{
		{`#tap [name=phoneNumber]`, "no number", "#tap-button", "tap-error", "phoneNumber must be digits"},
		{`#tap [name=openid]`, "", "#login", "tap-error", "openid is missing"},
		{`#fault [name=errcode]`, "busy", "#fault button", "fault-error", "errcode must be a whole number"},
		{`#fault [name=errcode]`, "0", "#fault button", "fault-error", "errcode must not be 0"},
	} {
		p.do(enter(tc.field, tc.value), chromedp.Click(tc.button))
		p.until(fmt.Sprintf(`document.getElementById(%q).textContent.startsWith(%q)`, tc.place, tc.want))
	}
}

// TestPageWorksByKeyboard taps, sets a fault and opens a row without a mouse.
func TestPageWorksByKeyboard(t *testing.T) {
	p, fake := visit(t, wide)
	tabTo := func(selector string) {
		t.Helper()
		for range 60 {
			if p.text(fmt.Sprintf(`document.activeElement.matches(%q)`, selector)) == "true" {
				return
			}
			p.press(kb.Tab)
		}
		t.Fatalf("no number of tabs leads to %s", selector)
	}
	p.press(kb.Tab)
	if got := p.text(`document.activeElement.className`); got != "skip" {
		t.Errorf("the first stop is %q, no link to the requests", got)
	}
	tabTo("#tap-button")
	p.press(kb.Enter)
	p.until(`document.querySelector("#given code") !== null`)
	tabTo("#fault [name=always]")
	p.press(" ")
	tabTo("#fault button")
	p.press(kb.Enter)
	p.until(`document.querySelector("#faults li")?.textContent.includes("every time")`)

	if _, err := newClient(t, fake).GetPhoneNumber(p.ctx, "1"); err == nil {
		t.Error("the fault did nothing")
	}
	p.until(newest + `?.textContent.includes("45011")`)
	tabTo("summary")
	p.press(kb.Enter)
	p.until(newest + `.querySelector("details").open`)
	tabTo("#faults button")
	p.press(kb.Enter)
	p.until(`document.querySelectorAll("#faults li").length === 0`)
	if got := p.text(`document.activeElement.name`); got != "endpoint" {
		t.Errorf("the focus went to %q with the button that had it", got)
	}
}

// TestPageSpeaksTheBrowsersLanguage starts in Chinese and switches.
func TestPageSpeaksTheBrowsersLanguage(t *testing.T) {
	p, fake := visit(t, look{language: "zh-CN", width: 1280, height: 900})
	if got := p.text(`document.documentElement.lang + " " + document.getElementById("tap-button").textContent`); got != "zh-CN 点击“使用我的手机号”" {
		t.Errorf("the page says %q", got)
	}
	if _, err := newClient(t, fake).GetPhoneNumber(p.ctx, "1"); err == nil {
		t.Error("a made-up code was taken")
	}
	p.until(`document.getElementById("count").textContent === "2 个请求"`)
	p.do(chromedp.Click("#language"))
	p.until(`document.getElementById("count").textContent === "2 requests" && document.documentElement.lang === "en"`)
	p.do(chromedp.Reload())
	p.until(`document.getElementById("count").textContent === "2 requests"`)
}

// TestBothLanguagesSayEverything compares what the page has in each.
func TestBothLanguagesSayEverything(t *testing.T) {
	p, _ := visit(t, wide)
	if missing := p.text(`Object.keys(words.en).filter(k => !(k in words.zh)).concat(Object.keys(words.zh).filter(k => !(k in words.en))).join()`); missing != "" {
		t.Errorf("only one language has %s", missing)
	}
	if empty := p.text(`[...document.querySelectorAll("[data-t]")].filter(e => e.textContent === "" || e.textContent === "undefined").map(e => e.dataset.t).join()`); empty != "" {
		t.Errorf("there are no words for %s", empty)
	}
	if unnamed := p.text(`[...document.querySelectorAll("input, select, textarea")].filter(e => !e.labels.length || e.labels[0].textContent.trim() === "").map(e => e.name).join()`); unnamed != "" {
		t.Errorf("no label for %s", unnamed)
	}
}

// TestPageLoadsNothingFromElsewhere reads what the browser has fetched, and
// that a script that is not the page's own does not run.
func TestPageLoadsNothingFromElsewhere(t *testing.T) {
	p, fake := visit(t, wide)
	for _, url := range strings.Fields(p.text(`performance.getEntriesByType("resource").map(e => e.name).join(" ")`)) {
		if !strings.HasPrefix(url, fake.URL+"/_fake/") && !strings.HasPrefix(url, "data:") {
			t.Errorf("the page loads %s", url)
		}
	}
	p.do(chromedp.Evaluate(`document.body.append(Object.assign(document.createElement("script"), {textContent: "window.foreign = true"}))`, nil))
	if got := p.text(`window.foreign`); got != "undefined" {
		t.Error("the policy lets a foreign script run")
	}
}

// TestJournalIsTextOnly sends a path that would be markup.
func TestJournalIsTextOnly(t *testing.T) {
	p, fake := visit(t, wide)
	resp, err := get(fake.URL + "/%3Cimg%20src=x%20onerror=%22window.foreign=true%22%3E")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	p.until(newest + `?.querySelector(".endpoint").textContent.startsWith("/<img")`)
	if got := p.text(`document.querySelectorAll("#journal img").length`); got != "0" {
		t.Error("a path became markup")
	}
}

// TestPageInEveryLook fills the page and looks that nothing sticks out.
func TestPageInEveryLook(t *testing.T) {
	for name, l := range map[string]look{
		"wide-light":   wide,
		"wide-dark":    {language: "en-US", width: 1280, height: 900, dark: true},
		"narrow-light": {language: "en-US", width: 390, height: 844},
		"narrow-dark":  {language: "zh-CN", width: 390, height: 844, dark: true},
		"wide-chinese": {language: "zh-CN", width: 1280, height: 900},
	} {
		t.Run(name, func(t *testing.T) {
			p, fake := visit(t, l)
			fill(p, fake)
			if got := p.text(`document.documentElement.scrollWidth <= innerWidth`); got != "true" {
				t.Errorf("the page is %s wide on a screen of %d", p.text(`document.documentElement.scrollWidth`), l.width)
			}
			dir := os.Getenv("WXPHONE_SHOTS")
			if dir == "" {
				return
			}
			var shot []byte
			p.do(chromedp.FullScreenshot(&shot, 100))
			if err := os.WriteFile(filepath.Join(dir, name+".png"), shot, 0o600); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// fill brings the page into a state with something of everything.
func fill(p tab, fake *desktest.Fake) {
	t := p.t
	t.Helper()
	client := newClient(t, fake)
	tap := map[string]string{"phoneNumber": "13800000000", "openid": "openid-of-alice"}
	code := fake.Post(t, "codes", tap)["code"]
	for range 2 {
		_, _ = client.GetPhoneNumber(p.ctx, code)
	}
	_, _ = client.GetPhoneNumber(p.ctx, fake.Post(t, "login-codes", map[string]string{"openid": "openid-of-alice"})["code"])
	const phone = "/wxa/business/getuserphonenumber"
	for _, fault := range []map[string]any{
		{"endpoint": phone, "kind": "errcode", "errcode": -1},
		{"endpoint": phone, "kind": "status", "status": 502, "body": "<html>Bad Gateway</html>"},
		{"endpoint": phone, "kind": "drop"},
	} {
		fake.Put(t, "faults", fault)
		_, _ = client.GetPhoneNumber(p.ctx, code)
	}
	fake.Put(t, "faults", map[string]any{"endpoint": phone, "kind": "errcode", "errcode": 45011, "times": 3})
	fake.Put(t, "faults", map[string]any{"endpoint": "/cgi-bin/stable_token", "kind": "lose", "times": -1})
	fake.Put(t, "latency", map[string]any{"endpoint": phone, "milliseconds": 3000})
	p.do(chromedp.Click("#seal"), chromedp.Click("#tap-button"))
	p.until(`document.querySelectorAll("#given > li").length === 2`)
	p.do(chromedp.Evaluate(`document.querySelector("#journal > li:nth-child(4) summary").click(); refresh()`, nil))
	p.until(`document.querySelectorAll("#faults li").length === 3`)
}
