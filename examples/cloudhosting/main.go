// Cloudhosting redeems codes inside WeChat cloud hosting, where calls of
// WeChat's APIs carry no access_token: the platform adds the identity of the
// mini-program that the service belongs to.
//
// Without flags it runs against a fake WeChat on this machine, and shows the
// two mistakes that a new service makes:
//
//	go run ./examples/cloudhosting
//
// In a container of cloud hosting it is a server on $PORT, or 80:
//
//	WXPHONE_APPID=... cloudhosting -serve
//
// WXPHONE_BASE_URL leads it elsewhere, such as to "wxphone fake -cloud-hosting".
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/wxphonetest"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Getenv, os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "cloudhosting:", err)
		stop()
		os.Exit(1) //nolint:gocritic // stop has run
	}
}

// run is the program without its process, so that tests can call it.
func run(ctx context.Context, args []string, getenv func(string) string, stdout io.Writer) error {
	flags := flag.NewFlagSet("cloudhosting", flag.ContinueOnError)
	flags.SetOutput(stdout)
	inside := flags.Bool("serve", false, "serve inside cloud hosting, on $PORT or 80, for the mini-program WXPHONE_APPID")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if !*inside {
		return runFake(ctx, stdout)
	}
	client, err := clientOf(getenv)
	if err != nil {
		return err
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address(getenv))
	if err != nil {
		return err
	}
	return serve(ctx, listener, client, logNumber)
}

// clientOf returns the client of the environment.
func clientOf(getenv func(string) string) (*wxphone.Client, error) {
	var opts []wxphone.Option
	if base := getenv("WXPHONE_BASE_URL"); base != "" {
		opts = append(opts, wxphone.WithBaseURL(base))
	}
	return newClient(getenv("WXPHONE_APPID"), opts...)
}

// newClient needs no AppSecret. The base URL is http://api.weixin.qq.com: plain,
// since the traffic does not leave the platform.
func newClient(appID string, opts ...wxphone.Option) (*wxphone.Client, error) {
	return wxphone.New(appID, "", append([]wxphone.Option{wxphone.WithoutAccessToken()}, opts...)...)
}

func address(getenv func(string) string) string {
	if port := getenv("PORT"); port != "" {
		return ":" + port
	}
	return ":80"
}

// saver keeps the number of the user openid, in your database.
type saver func(ctx context.Context, openid string, phone *wxphone.PhoneInfo) error

// logNumber stands for a database.
func logNumber(_ context.Context, openid string, phone *wxphone.PhoneInfo) error {
	log.Printf("%q has the number %v", openid, phone) //nolint:gosec // quoted, and the number is masked
	return nil
}

// phoneHandler takes {"code": "..."} that the mini-program sent with
// wx.cloud.callContainer. WeChat then says in a header which user it was.
//
// Anyone can write that header who reaches the service in another way, so
// switch its access from the internet off.
func phoneHandler(client *wxphone.Client, save saver) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		openid := r.Header.Get("X-WX-OPENID")
		if openid == "" {
			http.Error(w, "call this with wx.cloud.callContainer", http.StatusUnauthorized)
			return
		}
		var body struct {
			Code string `json:"code"`
		}
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 4096)).Decode(&body); err != nil {
			http.Error(w, `send {"code": "..."}`, http.StatusBadRequest)
			return
		}
		// A code works once. Finish and save the number even if the caller hangs up.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), 10*time.Second)
		defer cancel()
		// WeChat refuses a code that is another user's.
		phone, err := client.GetPhoneNumber(ctx, body.Code, wxphone.WithOpenID(openid))
		if err == nil {
			err = save(ctx, openid, phone)
		}
		w.Header().Set("Content-Type", "application/json")
		if err != nil {
			log.Print(err) // holds no secret and no number
			w.WriteHeader(wxphone.HTTPStatus(err))
			_ = json.NewEncoder(w).Encode(map[string]wxphone.Step{"step": wxphone.NextStep(err)})
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]string{"phone": phone.String()}) // masked
	}
}

// serve answers until ctx ends, as it does when cloud hosting stops the
// container.
func serve(ctx context.Context, listener net.Listener, client *wxphone.Client, save saver) error {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /phone", phoneHandler(client, save))
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	drained := make(chan error, 1)
	context.AfterFunc(ctx, func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		drained <- server.Shutdown(ctx)
	})
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-drained
}

// runFake shows one success and the two errors of a service that is not set up
// yet. Only the base URL differs from a deployed program.
func runFake(ctx context.Context, stdout io.Writer) error {
	wechat, err := wxphonetest.Start(wxphonetest.WithCloudHosting())
	if err != nil {
		return err
	}
	defer wechat.Close()
	client, err := newClient(wechat.AppID(), wxphone.WithBaseURL(wechat.URL()))
	if err != nil {
		return err
	}
	fmt.Fprintln(stdout, "No flags given: this is a fake WeChat cloud hosting at", wechat.URL())

	fmt.Fprintln(stdout, "\n0. The user taps the button; the mini-program calls the container with e.detail.code.")
	answer, err := call(ctx, phoneHandler(client, logNumber), alice, tap(wechat))
	if err != nil {
		return err
	}
	fmt.Fprint(stdout, "   answer: ", answer)
	fmt.Fprintln(stdout, "   token requests:", wechat.TokenFetches())

	const phoneEndpoint = "/wxa/business/getuserphonenumber"
	for i, mistake := range []struct {
		errcode int
		about   string
	}{
		{41001, "The open interface service is off, so nobody adds the identity. There is no token to replace."},
		{85107, "The service is on, but the path is not on its whitelist."},
	} {
		wechat.FailNext(phoneEndpoint, mistake.errcode, "", 1)
		_, err := client.GetPhoneNumber(ctx, tap(wechat))
		if err == nil {
			return errors.New("a number from a service that is not set up")
		}
		fmt.Fprintf(stdout, "\n%d. %s\n", i+1, mistake.about)
		fmt.Fprintln(stdout, "   error:", err)
		fmt.Fprintln(stdout, "   wxphone.HTTPStatus(err):", wxphone.HTTPStatus(err))
	}
	return nil
}

const alice = "openid-of-alice"

// tap stands for a user who taps the button and agrees: it returns the code
// that the mini-program then gets.
func tap(wechat *wxphonetest.Server) string {
	return wechat.IssueCode(wxphone.PhoneInfo{
		PhoneNumber:     "13800000000",
		PurePhoneNumber: "13800000000",
		CountryCode:     "86",
	}, wxphonetest.ForOpenID(alice))
}
