package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/wxphonetest"
)

// curls is what to try by hand; %[1]s is the server.
const curls = `
  # What the button hands to the mini-program, sent on to /phone:
  curl -s %[1]s/fake/tap | curl -s %[1]s/phone -d @-

  # The legacy flow: wx.login first, then the tap.
  curl -s %[1]s/fake/login | curl -s %[1]s/login -d @-
  curl -s %[1]s/fake/legacy-tap | curl -s %[1]s/phone/legacy -H 'X-Session: ...' -d @-

`

const openID = "openid-of-alice"

// consented is what the user of the fake WeChat agrees to share.
var consented = wxphone.PhoneInfo{
	PhoneNumber:     "13800000000",
	PurePhoneNumber: "13800000000",
	CountryCode:     "86",
}

// fakeMiniProgram stands for the mini-program and its user: it answers with
// the bodies that the mini-program would send to this server.
func fakeMiniProgram(wechat *wxphonetest.Server) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /fake/tap", func(w http.ResponseWriter, _ *http.Request) {
		code := wechat.IssueCode(consented, wxphonetest.ForOpenID(openID))
		answer(w, http.StatusOK, map[string]string{"code": code})
	})
	mux.HandleFunc("GET /fake/login", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, map[string]string{"code": wechat.IssueLoginCode(openID)})
	})
	mux.HandleFunc("GET /fake/legacy-tap", func(w http.ResponseWriter, _ *http.Request) {
		encryptedData, iv := wechat.Encrypt(openID, consented)
		answer(w, http.StatusOK, map[string]string{"encryptedData": encryptedData, "iv": iv})
	})
	return mux
}

// demo serves while it plays the mini-program, over the network like any other
// client.
func demo(ctx context.Context, listener net.Listener, handler http.Handler, logger *slog.Logger, stdout io.Writer) error {
	ctx, stop := context.WithCancel(ctx)
	served := make(chan error, 1)
	go func() { served <- serve(ctx, listener, handler, logger) }()

	visitor := &visitor{url: "http://" + listener.Addr().String(), stdout: stdout}
	err := visitor.visit(ctx)
	visitor.http.CloseIdleConnections()
	stop()
	if stopped := <-served; err == nil {
		err = stopped
	}
	return err
}

// visitor is the mini-program of the demo.
type visitor struct {
	url    string
	http   http.Client
	stdout io.Writer
}

func (v *visitor) visit(ctx context.Context) error {
	fmt.Fprintln(v.stdout, "\n0. The user taps the button; the mini-program sends e.detail.code.")
	tap, err := v.get(ctx, "/fake/tap")
	if err != nil {
		return err
	}
	if _, err := v.post(ctx, "/phone", tap, ""); err != nil {
		return err
	}

	fmt.Fprintln(v.stdout, "\n1. The same code again, as when the answer was lost. WeChat takes it once; the server remembers the number.")
	if _, err := v.post(ctx, "/phone", tap, ""); err != nil {
		return err
	}

	fmt.Fprintln(v.stdout, "\n2. A code that WeChat does not take. The answer says what to do.")
	if _, err := v.post(ctx, "/phone", map[string]string{"code": "an old code"}, ""); err != nil {
		return err
	}

	fmt.Fprintln(v.stdout, "\n3. An old mini-program logs in first; its session stays on the server.")
	login, err := v.get(ctx, "/fake/login")
	if err != nil {
		return err
	}
	session, err := v.post(ctx, "/login", login, "")
	if err != nil {
		return err
	}

	fmt.Fprintln(v.stdout, "\n4. Then the user taps, and it sends encryptedData and iv.")
	tap, err = v.get(ctx, "/fake/legacy-tap")
	if err != nil {
		return err
	}
	_, err = v.post(ctx, "/phone/legacy", tap, session["session"])
	return err
}

func (v *visitor) get(ctx context.Context, path string) (map[string]string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, v.url+path, nil)
	if err != nil {
		return nil, err
	}
	_, answer, err := v.do(request)
	return answer, err
}

// post prints the request as curl would take it, and the answer. Values are
// cut short: they are long, and nobody's business.
func (v *visitor) post(ctx context.Context, path string, body map[string]string, session string) (map[string]string, error) {
	text, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, v.url+path, strings.NewReader(string(text)))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	header := ""
	if session != "" {
		request.Header.Set(sessionHeader, session)
		header = fmt.Sprintf(" -H '%s: %s'", sessionHeader, short(session))
	}
	shown, err := json.Marshal(shorten(body))
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(v.stdout, "   $ curl %s%s -d '%s'\n", path, header, shown)

	status, answer, err := v.do(request)
	if err != nil {
		return nil, err
	}
	if shown, err = json.Marshal(shorten(answer)); err != nil {
		return nil, err
	}
	fmt.Fprintf(v.stdout, "   %d %s\n", status, shown)
	return answer, nil
}

func (v *visitor) do(request *http.Request) (status int, answer map[string]string, err error) {
	response, err := v.http.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return 0, nil, err
	}
	return response.StatusCode, answer, nil
}

func shorten(values map[string]string) map[string]string {
	shown := make(map[string]string, len(values))
	for name, value := range values {
		shown[name] = short(value)
	}
	return shown
}

func short(value string) string {
	if len(value) <= 20 {
		return value
	}
	return value[:4] + "..."
}
