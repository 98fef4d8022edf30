// Server is a backend for a mini-program that asks for phone numbers, on
// net/http alone:
//
//	POST /phone         {"code"}: the code of the phone number button
//	POST /login         {"code"}: the code of wx.login, for the legacy flow
//	POST /phone/legacy  {"encryptedData", "iv"}: what an old button hands out
//
// /login answers with {"session"}, which goes into the header X-Session of the
// other two: /phone/legacy needs it, and at /phone it binds the code to its
// user. A failure is {"step"}, with what the mini-program is to do next: see
// wxphone.NextStep.
//
// Without flags it starts on a free port with a fake WeChat behind it, sends
// itself a few requests, prints them and exits:
//
//	go run ./examples/server
//
// With an address it serves until SIGINT or SIGTERM. Without an appid there is
// the fake WeChat behind it, and it prints what to try with curl:
//
//	go run ./examples/server -addr=127.0.0.1:8080
//
// This one serves users:
//
//	export WXPHONE_APPID=... WXPHONE_SECRET=...
//	go run ./examples/server -addr=:8080
//
// WXPHONE_BASE_URL leads it elsewhere, such as to "wxphone fake".
//
// The logs are JSON on stderr and hold no secret, no code and no number.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
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
	context.AfterFunc(ctx, stop) // a second signal does not wait for the shutdown
	err := run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr)
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "server:", err)
		os.Exit(1)
	}
}

// run is the program without its process, so that tests can call it.
func run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) error {
	cfg, err := parse(args, getenv, stdout)
	if err != nil {
		return err
	}
	logger := slog.New(slog.NewJSONHandler(stderr, nil))
	if cfg.fake {
		return runFake(ctx, cfg, logger, stdout)
	}
	return runReal(ctx, cfg, logger, stdout)
}

func runReal(ctx context.Context, cfg config, logger *slog.Logger, stdout io.Writer) error {
	opts := options(logger)
	if cfg.baseURL != "" {
		opts = append(opts, wxphone.WithBaseURL(cfg.baseURL))
	}
	client, err := wxphone.New(cfg.appID, cfg.secret, opts...)
	if err != nil {
		return err
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", cfg.addr)
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "Serving http://%s for the mini-program %s.\n", listener.Addr(), cfg.appID)
	return serve(ctx, listener, newHandler(client, logger), logger)
}

func options(logger *slog.Logger) []wxphone.Option {
	return []wxphone.Option{
		wxphone.WithLogger(logger),
		wxphone.WithDuplicateWindow(duplicateWindow),
		wxphone.WithWatermarkMaxAge(watermarkMaxAge),
	}
}

// runFake serves with a fake WeChat behind it. Only the base URL of the client
// and the routes under /fake/ differ from a deployed server.
func runFake(ctx context.Context, cfg config, logger *slog.Logger, stdout io.Writer) error {
	wechat, err := wxphonetest.Start()
	if err != nil {
		return err
	}
	defer wechat.Close()
	client, err := wxphone.New(wechat.AppID(), wechat.Secret(), append(options(logger), wxphone.WithBaseURL(wechat.URL()))...)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("/", newHandler(client, logger))
	mux.Handle("/fake/", fakeMiniProgram(wechat))

	addr := cfg.addr
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	url := "http://" + listener.Addr().String()
	if cfg.addr == "" {
		fmt.Fprintf(stdout, "No address given: this server is at %s, with a fake WeChat behind it.\n", url)
		return demo(ctx, listener, mux, logger, stdout)
	}
	fmt.Fprintf(stdout, "Serving %s, with a fake WeChat behind it. Try:\n%s", url, fmt.Sprintf(curls, url))
	return serve(ctx, listener, mux, logger)
}

// What a slow or hostile client may take of the server. A handler's own time
// is less than the time to write, so that its answer always gets out.
const (
	readTimeout    = 10 * time.Second
	writeTimeout   = handlerTimeout + 5*time.Second
	idleTimeout    = time.Minute
	maxHeaderBytes = 16 << 10
)

// serve answers until ctx ends. Then it takes no new request and waits for
// those that it has: a code that was sent to WeChat works only once, so its
// answer should still reach the user.
func serve(ctx context.Context, listener net.Listener, handler http.Handler, logger *slog.Logger) error {
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: readTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelError),
	}
	drained := make(chan error, 1)
	context.AfterFunc(ctx, func() {
		logger.Info("shutting down")
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), readTimeout+writeTimeout)
		defer cancel()
		drained <- server.Shutdown(ctx)
	})
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-drained
}

// config is what the flags and the environment say.
type config struct {
	addr          string
	appID, secret string
	baseURL       string
	fake          bool
}

func parse(args []string, getenv func(string) string, stdout io.Writer) (config, error) {
	// The AppSecret is no flag, since other users of the machine can read those.
	cfg := config{secret: getenv("WXPHONE_SECRET")}
	flags := flag.NewFlagSet("server", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // main prints the error
	flags.StringVar(&cfg.addr, "addr", "",
		"serve at this `address`, as in :8080; without it, show a few requests and exit")
	flags.StringVar(&cfg.appID, "appid", getenv("WXPHONE_APPID"),
		"`appid` of the mini-program, or WXPHONE_APPID; its AppSecret is WXPHONE_SECRET")
	flags.StringVar(&cfg.baseURL, "base-url", getenv("WXPHONE_BASE_URL"),
		"ask this `url`, or WXPHONE_BASE_URL, instead of https://api.weixin.qq.com")
	flags.BoolVar(&cfg.fake, "fake", false,
		"put a fake WeChat behind the server, as without an appid")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(stdout, "Serves phone numbers to a mini-program.")
			flags.SetOutput(stdout)
			flags.PrintDefaults()
		}
		return config{}, err
	}
	if flags.NArg() > 0 {
		return config{}, fmt.Errorf("%d argument(s) without a flag; write -addr=ADDRESS", flags.NArg())
	}
	if cfg.addr == "" || cfg.appID == "" {
		cfg.fake = true
	}
	if !cfg.fake && cfg.secret == "" {
		return config{}, errors.New("missing WXPHONE_SECRET; with -fake there is a fake WeChat behind the server")
	}
	return cfg, nil
}
