package frameworks

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	fiber2 "github.com/gofiber/fiber/v2"
	fiber3 "github.com/gofiber/fiber/v3"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/wxphonetest"
)

func TestMain(m *testing.M) {
	gin.SetMode(gin.TestMode)
	log.SetOutput(io.Discard)
	os.Exit(m.Run())
}

const phoneEndpoint = "/wxa/business/getuserphonenumber"

var consented = wxphone.PhoneInfo{
	PhoneNumber:     "13800000000",
	PurePhoneNumber: "13800000000",
	CountryCode:     "86",
}

// sessionKey is where the middleware of these tests leaves the user.
type sessionKey struct{}

const (
	user = "alice"
	// local is what fiber and gin keep in their own contexts under a string.
	local = "local"
)

// A framework is one handler, behind a middleware that puts the user into the
// context of the request.
type framework struct {
	name string
	// serve starts the handler. gone, if not nil, is called when the server
	// notices that a client went away.
	serve    func(t *testing.T, b *Backend, gone func()) (addr string)
	tooLarge int
	// notices is whether the server ends a request's context when its client
	// goes away.
	notices bool
}

var all = []framework{
	{"nethttp", overNetHTTP(NetHTTP), 400, true},
	{"chi", overNetHTTP(Chi), 400, true},
	{"gin", overNetHTTP(func(b *Backend) http.Handler { return Gin(b) }), 400, true},
	{"echo", overNetHTTP(func(b *Backend) http.Handler { return Echo(b) }), 413, true},
	{"fiber2", serveFiber2, 413, false},
	{"fiber3", serveFiber3, 413, false},
}

func overNetHTTP(handler func(*Backend) http.Handler) func(*testing.T, *Backend, func()) string {
	return func(t *testing.T, b *Backend, gone func()) string {
		t.Helper()
		next := handler(b)
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if gone != nil {
				context.AfterFunc(r.Context(), gone)
			}
			next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), sessionKey{}, user)))
		}))
		t.Cleanup(server.Close)
		return server.Listener.Addr().String()
	}
}

func serveFiber2(t *testing.T, b *Backend, _ func()) string {
	t.Helper()
	handler := Fiber2(b)
	// A mounted app's limit does not count.
	app := fiber2.New(fiber2.Config{BodyLimit: handler.Config().BodyLimit, DisableStartupMessage: true})
	app.Use(func(c *fiber2.Ctx) error {
		c.Locals(local, user)
		c.SetUserContext(context.WithValue(c.UserContext(), sessionKey{}, user))
		return c.Next()
	})
	app.Mount("/", handler)
	return serveFiber(t, app.Listener, app.Shutdown)
}

func serveFiber3(t *testing.T, b *Backend, _ func()) string {
	t.Helper()
	handler := Fiber3(b)
	app := fiber3.New(fiber3.Config{BodyLimit: handler.Config().BodyLimit})
	app.Use(func(c fiber3.Ctx) error {
		c.Locals(local, user)
		c.SetContext(context.WithValue(c.Context(), sessionKey{}, user))
		return c.Next()
	})
	app.Use("/", handler)
	return serveFiber(t, func(listener net.Listener) error {
		return app.Listener(listener, fiber3.ListenConfig{DisableStartupMessage: true})
	}, app.Shutdown)
}

func serveFiber(t *testing.T, serve func(net.Listener) error, shutdown func() error) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- serve(listener) }()
	t.Cleanup(func() {
		if err := shutdown(); err != nil {
			t.Error(err)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return listener.Addr().String()
}

// saves keeps what a handler saved.
type saves struct {
	numbers chan string
	err     error
}

func newSaves() *saves { return &saves{numbers: make(chan string, 16)} }

func (s *saves) save(ctx context.Context, phone *wxphone.PhoneInfo) error {
	if s.err != nil {
		return s.err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	s.numbers <- fmt.Sprint(ctx.Value(sessionKey{}), " ", phone.E164())
	return nil
}

// eachFramework runs test for every framework, each with a WeChat of its own.
func eachFramework(t *testing.T, test func(t *testing.T, f framework, wechat *wxphonetest.Server)) {
	t.Helper()
	for _, f := range all {
		t.Run(f.name, func(t *testing.T) { test(t, f, wxphonetest.NewServer(t)) })
	}
}

// post sends body to /phone and returns the answer.
func post(t *testing.T, addr string, body io.Reader, header ...string) (status int, answer string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+addr+"/phone", body)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

func tapped(wechat *wxphonetest.Server) string {
	return `{"code":"` + wechat.IssueCode(consented) + `"}`
}

func TestTapGivesANumberOnce(t *testing.T) {
	eachFramework(t, func(t *testing.T, f framework, wechat *wxphonetest.Server) {
		saved := newSaves()
		addr := f.serve(t, &Backend{Client: wechat.NewClient(), Save: saved.save}, nil)
		body := tapped(wechat)

		status, answer := post(t, addr, strings.NewReader(body))
		if status != http.StatusOK || !strings.Contains(answer, "+86 138****0000") {
			t.Errorf("got %d %s, want the masked number", status, answer)
		}
		if got, want := <-saved.numbers, user+" +8613800000000"; got != want {
			t.Errorf("saved %q, want %q", got, want)
		}
		status, answer = post(t, addr, strings.NewReader(body))
		if status != http.StatusBadRequest || strings.Contains(answer, "invalid code") {
			t.Errorf("the used code: got %d %s, want 400 and nothing of WeChat's", status, answer)
		}
		if n := len(saved.numbers); n != 0 {
			t.Errorf("%d more numbers were saved", n)
		}
	})
}

func TestFailuresAnswerTheirStatus(t *testing.T) {
	eachFramework(t, func(t *testing.T, f framework, wechat *wxphonetest.Server) {
		saved := newSaves()
		addr := f.serve(t, &Backend{Client: wechat.NewClient(), Save: saved.save}, nil)
		for errcode, want := range map[int]int{40029: 400, 40226: 403, 45011: 429, 48001: 500, 45009: 503} {
			wechat.FailNext(phoneEndpoint, errcode, "", 1)
			if status, answer := post(t, addr, strings.NewReader(tapped(wechat))); status != want {
				t.Errorf("errcode %d: got %d %s, want %d", errcode, status, answer, want)
			}
		}
	})
}

func TestNumberThatWasNotSavedIsSentAgain(t *testing.T) {
	eachFramework(t, func(t *testing.T, f framework, wechat *wxphonetest.Server) {
		saved := newSaves()
		client := wechat.NewClient(wxphone.WithDuplicateWindow(time.Minute))
		addr := f.serve(t, &Backend{Client: client, Save: saved.save}, nil)
		body := tapped(wechat)

		saved.err = errors.New("the database is down")
		status, answer := post(t, addr, strings.NewReader(body))
		if status != http.StatusServiceUnavailable || strings.TrimSpace(answer) != `{"step":"send_again"}` {
			t.Errorf("a failed save: got %d %s, want 503 and send_again", status, answer)
		}
		saved.err = nil
		if status, answer := post(t, addr, strings.NewReader(body)); status != http.StatusOK {
			t.Errorf("the same code again: got %d %s, want 200", status, answer)
		}
		if got, want := <-saved.numbers, user+" +8613800000000"; got != want {
			t.Errorf("saved %q, want %q", got, want)
		}
	})
}

func TestBadBodiesNeverReachWeChat(t *testing.T) {
	bodies := []string{``, `code=CODE`, `[]`, `{}`, `{"code":1}`, `{"code":" "}`, `{"code":"CODE`}
	eachFramework(t, func(t *testing.T, f framework, wechat *wxphonetest.Server) {
		addr := f.serve(t, &Backend{Client: wechat.NewClient(), Save: newSaves().save}, nil)
		for _, body := range bodies {
			if status, answer := post(t, addr, strings.NewReader(body)); status != http.StatusBadRequest {
				t.Errorf("%q: got %d %s, want 400", body, status, answer)
			}
		}
		if n := wechat.Requests(phoneEndpoint); n != 0 {
			t.Errorf("WeChat got %d requests", n)
		}
	})
}

func TestLargeBodiesAreRefused(t *testing.T) {
	eachFramework(t, func(t *testing.T, f framework, wechat *wxphonetest.Server) {
		addr := f.serve(t, &Backend{Client: wechat.NewClient(), Save: newSaves().save}, nil)
		body := `{"code":"` + strings.Repeat("1", maxBody) + `"}`
		if status, answer := post(t, addr, strings.NewReader(body)); status != f.tooLarge {
			t.Errorf("got %d %s, want %d", status, answer, f.tooLarge)
		}
		// A reader of no known length is sent in chunks.
		if status, answer := post(t, addr, io.MultiReader(strings.NewReader(body))); status != f.tooLarge {
			t.Errorf("in chunks: got %d %s, want %d", status, answer, f.tooLarge)
		}
		if n := wechat.Requests(phoneEndpoint); n != 0 {
			t.Errorf("WeChat got %d requests", n)
		}
	})
}

// A limit on what is received says nothing about what gzip makes of it.
func TestCompressedBodiesAreNotUnpacked(t *testing.T) {
	eachFramework(t, func(t *testing.T, f framework, wechat *wxphonetest.Server) {
		addr := f.serve(t, &Backend{Client: wechat.NewClient(), Save: newSaves().save}, nil)
		var packed bytes.Buffer
		w := gzip.NewWriter(&packed)
		if _, err := io.WriteString(w, tapped(wechat)); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if status, answer := post(t, addr, &packed, "Content-Encoding", "gzip"); status != http.StatusBadRequest {
			t.Errorf("got %d %s, want 400", status, answer)
		}
	})
}

// transport is a function that is an http.RoundTripper.
type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// newClient calls before with every request for a phone number, before WeChat
// gets it.
func newClient(wechat *wxphonetest.Server, before func(*http.Request)) *wxphone.Client {
	next := wechat.HTTPClient().Transport
	return wechat.NewClient(wxphone.WithHTTPClient(&http.Client{
		Transport: transport(func(r *http.Request) (*http.Response, error) {
			if r.URL.Path == phoneEndpoint {
				before(r)
			}
			return next.RoundTrip(r)
		}),
	}))
}

func TestClientThatHangsUpLosesNoNumber(t *testing.T) {
	eachFramework(t, func(t *testing.T, f framework, wechat *wxphonetest.Server) {
		var conn net.Conn
		noticed := make(chan struct{})
		client := newClient(wechat, func(*http.Request) {
			conn.Close()
			if f.notices {
				<-noticed
			}
		})
		saved := newSaves()
		addr := f.serve(t, &Backend{Client: client, Save: saved.save}, sync.OnceFunc(func() { close(noticed) }))

		body := tapped(wechat)
		var err error
		conn, err = net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		request := bufio.NewWriter(conn)
		fmt.Fprintf(request, "POST /phone HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
			addr, len(body), body)
		if err := request.Flush(); err != nil {
			t.Fatal(err)
		}
		select {
		case got := <-saved.numbers:
			if want := user + " +8613800000000"; got != want {
				t.Errorf("saved %q, want %q", got, want)
			}
		case <-time.After(20 * time.Second):
			t.Error("no number was saved")
		}
	})
}

// What net/http does in the background, such as dialling, may read the values
// of a context after the handler returned. So it must not be a context that the
// framework recycles; with one, the race detector finds its fault here.
func TestContextMayBeReadAfterTheRequest(t *testing.T) {
	eachFramework(t, func(t *testing.T, f framework, wechat *wxphonetest.Server) {
		over := make(chan struct{})
		var late sync.WaitGroup
		client := newClient(wechat, func(r *http.Request) {
			if r.Context().Value(local) != nil {
				t.Error("the context is the framework's own")
			}
			late.Add(1)
			go func() {
				defer late.Done()
				<-over
				if r.Context().Value(local) != nil || r.Context().Value(sessionKey{}) != user {
					t.Error("the context has become another request's")
				}
			}()
		})
		addr := f.serve(t, &Backend{Client: client, Save: newSaves().save}, nil)
		for range 3 {
			if status, answer := post(t, addr, strings.NewReader(tapped(wechat))); status != http.StatusOK {
				t.Errorf("got %d %s", status, answer)
			}
		}
		close(over)
		late.Wait()
	})
}
