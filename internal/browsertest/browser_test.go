package browsertest

import (
	"context"
	"log"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/wxphone/wxphone/internal/desktest"
)

// What all tests share: the command, and a browser of which each has a tab.
var (
	command  string
	chromium context.Context
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "browsertest")
	if err != nil {
		log.Print(err)
		return 1
	}
	defer os.RemoveAll(dir)
	if command, err = desktest.Build(dir); err != nil {
		log.Print(err)
		return 1
	}
	options := []chromedp.ExecAllocatorOption{
		chromedp.NoFirstRun,
		chromedp.NoSandbox, // tests run as root in containers
		chromedp.Headless,
		chromedp.DisableGPU,
		chromedp.UserDataDir(dir + "/profile"),
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-sync", true),
		chromedp.Flag("disable-dev-shm-usage", true),
		chromedp.WSURLReadTimeout(time.Minute),
	}
	allocator, stop := chromedp.NewExecAllocator(context.Background(), options...)
	defer stop()
	own, quit := chromedp.NewContext(allocator, chromedp.WithErrorf(logError))
	defer quit()
	chromium = own //nolint:fatcontext // it is set once, for all tests
	if err := chromedp.Run(chromium); err != nil {
		log.Print("no browser: ", err)
		return 1
	}
	return m.Run()
}

// logError leaves out that a browser newer than the library sends events that it
// does not know.
func logError(format string, args ...any) {
	if !strings.Contains(format, "could not unmarshal event") {
		log.Printf(format, args...)
	}
}

// look is how a visitor sees the page.
type look struct {
	language      string
	width, height int64
	dark          bool
}

var wide = look{language: "en-US", width: 1280, height: 900}

// visit opens the page of a new fake in a tab of its own.
func visit(t *testing.T, l look) (tab, *desktest.Fake) {
	t.Helper()
	fake := desktest.Start(t, command)
	ctx, closeTab := chromedp.NewContext(chromium, chromedp.WithNewBrowserContext())
	t.Cleanup(closeTab)
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	t.Cleanup(cancel)
	p := tab{t, ctx}

	scheme := "light"
	if l.dark {
		scheme = "dark"
	}
	chromedp.ListenTarget(ctx, func(event any) {
		if thrown, ok := event.(*runtime.EventExceptionThrown); ok {
			t.Errorf("the page threw %s", thrown.ExceptionDetails.Error())
		}
	})
	p.do(
		emulation.SetLocaleOverride().WithLocale(l.language),
		emulation.SetUserAgentOverride("").WithAcceptLanguage(l.language),
		emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}),
		chromedp.EmulateViewport(l.width, l.height),
		chromedp.Navigate(fake.URL+"/"),
	)
	p.until(`document.querySelector("#live.on") !== null && document.getElementById("appid").textContent !== ""`)
	return p, fake
}

// tab is one open page.
type tab struct {
	t   *testing.T
	ctx context.Context
}

func (p tab) do(actions ...chromedp.Action) {
	p.t.Helper()
	if err := chromedp.Run(p.ctx, actions...); err != nil {
		p.t.Fatal(err)
	}
}

// until waits for an expression to be true.
func (p tab) until(expression string) {
	p.t.Helper()
	if err := chromedp.Run(p.ctx, chromedp.Poll(expression, nil, chromedp.WithPollingTimeout(20*time.Second))); err != nil {
		p.t.Fatalf("%s never came true: %v", expression, err)
	}
}

// text returns an expression's value as text.
func (p tab) text(expression string) (value string) {
	p.t.Helper()
	p.do(chromedp.Evaluate("String("+expression+")", &value))
	return value
}

// press uses the keyboard only.
func (p tab) press(keys string) { p.t.Helper(); p.do(chromedp.KeyEvent(keys)) }
