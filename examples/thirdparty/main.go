// Thirdparty is a third-party platform (服务商) that redeems the codes of its
// owners' mini-programs. Tickets and refresh tokens are in a database.
//
// Without an address it runs against a fake WeChat on this machine, goes through
// the life of an authorisation and ends:
//
//	go run .
//
// With one it serves WeChat's pushes, owners and users until SIGINT or
// SIGTERM. What it needs is in the platform's console:
//
//	export WXPHONE_COMPONENT_APPID=... WXPHONE_COMPONENT_SECRET=...
//	export WXPHONE_PUSH_TOKEN=... WXPHONE_PUSH_AESKEY=...
//	go run . -addr=:8080 -db=platform.db -site=https://platform.example.com
//
// WXPHONE_BASE_URL leads it elsewhere, such as to "wxphone fake".
//
// The authorisation event URL (授权事件接收URL) is then
// https://platform.example.com/wechat/events.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/wxphone/wxphone"
)

const (
	envAppID     = "WXPHONE_COMPONENT_APPID"
	envSecret    = "WXPHONE_COMPONENT_SECRET"
	envPushToken = "WXPHONE_PUSH_TOKEN"
	envPushKey   = "WXPHONE_PUSH_AESKEY"
	envBaseURL   = "WXPHONE_BASE_URL"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal does not wait for the shutdown
	err := run(ctx, os.Args[1:], os.Getenv, os.Stdout)
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "thirdparty:", err)
		os.Exit(1)
	}
}

// run is the program without its process, so that tests can call it.
func run(ctx context.Context, args []string, getenv func(string) string, stdout io.Writer) error {
	flags := flag.NewFlagSet("thirdparty", flag.ContinueOnError)
	flags.SetOutput(stdout)
	addr := flags.String("addr", "", "serve at this `address`, for the platform "+envAppID)
	database := flags.String("db", "platform.db", "keep tickets and refresh tokens in this `file`")
	site := flags.String("site", "http://localhost:8080", "the `URL` at which browsers reach this program")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *addr == "" {
		return demo(ctx, stdout)
	}
	logger := slog.New(slog.NewJSONHandler(os.Stderr, nil))
	for _, name := range []string{envAppID, envSecret, envPushToken, envPushKey} {
		if getenv(name) == "" {
			return fmt.Errorf("%w: %s is not set", wxphone.ErrInvalidArgument, name)
		}
	}
	pushes, err := wxphone.NewPushReader(getenv(envAppID), getenv(envPushToken), getenv(envPushKey))
	if err != nil {
		return fmt.Errorf("%s, %s and %s: %w", envAppID, envPushToken, envPushKey, err)
	}
	rows, err := openStore(ctx, *database)
	if err != nil {
		return err
	}
	defer rows.close()
	opts := []wxphone.Option{wxphone.WithLogger(logger)}
	if base := getenv(envBaseURL); base != "" {
		opts = append(opts, wxphone.WithBaseURL(base))
	}
	p, err := newPlatform(getenv(envAppID), getenv(envSecret), rows, logger, opts...)
	if err != nil {
		return fmt.Errorf("%s, %s and %s: %w", envAppID, envSecret, envBaseURL, err)
	}
	return serve(ctx, *addr, newRouter(p, pushes, *site))
}

func serve(ctx context.Context, addr string, handler http.Handler) error {
	server := &http.Server{
		Addr: addr, Handler: handler,
		ReadTimeout: 10 * time.Second, WriteTimeout: 15 * time.Second, IdleTimeout: time.Minute,
	}
	failed := make(chan error, 1)
	go func() { failed <- server.ListenAndServe() }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 15*time.Second)
	defer cancel()
	return server.Shutdown(ctx)
}
