// Gin redeems the code of a mini-program's phone number button in a gin
// handler.
//
// Without an address it runs against a fake WeChat on this machine, sends
// itself two requests and exits:
//
//	go run .
//
// With one it serves users until SIGINT or SIGTERM:
//
//	export WXPHONE_APPID=... WXPHONE_SECRET=...
//	go run . -addr=:8080
//
// WXPHONE_BASE_URL leads it elsewhere, such as to "wxphone fake".
//
// What else a deployed backend needs, such as the legacy flow and logs, is in
// examples/server; it is the same with gin.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/wxphonetest"
)

func main() {
	gin.SetMode(gin.ReleaseMode)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal does not wait for the shutdown
	err := run(ctx, os.Args[1:], os.Getenv, os.Stdout)
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "gin:", err)
		os.Exit(1)
	}
}

// PhoneGetter is what the handler needs of a *wxphone.Client.
type PhoneGetter interface {
	GetPhoneNumber(ctx context.Context, code string, opts ...wxphone.PhoneOption) (*wxphone.PhoneInfo, error)
}

// Saver keeps a number for the user whose session ctx carries.
type Saver func(ctx context.Context, phone *wxphone.PhoneInfo) error

// logNumber stands for a database.
func logNumber(logger *slog.Logger) Saver {
	return func(ctx context.Context, phone *wxphone.PhoneInfo) error {
		logger.InfoContext(ctx, "saved", "phone", phone) // masked
		return nil
	}
}

// newRouter takes the client, which a program makes once.
func newRouter(phones PhoneGetter, save Saver, logger *slog.Logger) *gin.Engine {
	router := gin.New() // gin.Default would log the URL as the client wrote it
	router.Use(gin.Recovery(), limitBody(4096), answerErrors(logger))
	router.POST("/phone", postPhone(phones, save))
	return router
}

// postPhone takes {"code": "..."}, the code of the phone number button.
func postPhone(phones PhoneGetter, save Saver) gin.HandlerFunc {
	return func(c *gin.Context) {
		var body struct {
			Code string `json:"code" binding:"required"`
		}
		if err := c.ShouldBindJSON(&body); err != nil {
			// The error of the JSON package may quote the body.
			c.AbortWithStatusJSON(http.StatusBadRequest, gin.H{"step": wxphone.StepStop})
			return
		}
		// A code works once. Finish and save the number even if the phone hangs up.
		// The parent is not c itself, although it is a context.Context: gin uses c
		// for the next request when this handler has returned.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(c.Request.Context()), 10*time.Second)
		defer cancel()

		phone, err := phones.GetPhoneNumber(ctx, body.Code)
		if err == nil {
			err = save(ctx, phone)
		}
		if err != nil {
			_ = c.Error(err) // for answerErrors
			return
		}
		c.JSON(http.StatusOK, gin.H{"phone": phone.String()}) // masked
	}
}

// answerErrors logs what a handler left with c.Error, and answers with the step
// that the mini-program is to take.
func answerErrors(logger *slog.Logger) gin.HandlerFunc {
	return func(c *gin.Context) {
		c.Next()
		last := c.Errors.Last()
		if last == nil {
			return
		}
		status := wxphone.HTTPStatus(last.Err)
		level := slog.LevelError
		if status < http.StatusInternalServerError {
			level = slog.LevelInfo // the user's or the mini-program's, and no alarm
		}
		// The error holds no secret and no number.
		logger.LogAttrs(c.Request.Context(), level, "refused",
			slog.String("route", c.FullPath()), slog.Int("status", status), slog.Any("err", last.Err))
		c.AbortWithStatusJSON(status, gin.H{"step": wxphone.NextStep(last.Err)})
	}
}

func limitBody(n int64) gin.HandlerFunc {
	return func(c *gin.Context) {
		c.Request.Body = http.MaxBytesReader(c.Writer, c.Request.Body, n)
	}
}

// run is the program without its process, so that tests can call it.
func run(ctx context.Context, args []string, getenv func(string) string, stdout io.Writer) error {
	flags := flag.NewFlagSet("gin", flag.ContinueOnError)
	flags.SetOutput(stdout)
	addr := flags.String("addr", "", "serve users at this `address`, for the mini-program WXPHONE_APPID with WXPHONE_SECRET")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *addr == "" {
		return demo(ctx, stdout)
	}
	logger := slog.New(slog.NewJSONHandler(os.Stderr, nil))
	client, err := newClient(getenv, logger)
	if err != nil {
		return err
	}
	return serve(ctx, *addr, newRouter(client, logNumber(logger), logger))
}

// newClient returns the client of the environment.
func newClient(getenv func(string) string, logger *slog.Logger) (*wxphone.Client, error) {
	opts := []wxphone.Option{wxphone.WithLogger(logger)}
	if base := getenv("WXPHONE_BASE_URL"); base != "" {
		opts = append(opts, wxphone.WithBaseURL(base))
	}
	return wxphone.New(getenv("WXPHONE_APPID"), getenv("WXPHONE_SECRET"), opts...)
}

// serve is used instead of gin's own Run, which has no timeouts and does not
// wait for requests when the program ends.
func serve(ctx context.Context, addr string, handler http.Handler) error {
	server := &http.Server{
		Addr:              addr,
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      15 * time.Second, // longer than the handler's own limit
		IdleTimeout:       time.Minute,
	}
	drained := make(chan error, 1)
	context.AfterFunc(ctx, func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
		defer cancel()
		drained <- server.Shutdown(ctx)
	})
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-drained
}

// demo sends the router two requests, with a fake WeChat behind it.
func demo(ctx context.Context, stdout io.Writer) error {
	wechat, err := wxphonetest.Start()
	if err != nil {
		return err
	}
	defer wechat.Close()
	client, err := wxphone.New(wechat.AppID(), wechat.Secret(), wxphone.WithBaseURL(wechat.URL()))
	if err != nil {
		return err
	}
	logger := slog.New(slog.NewTextHandler(stdout, &slog.HandlerOptions{ReplaceAttr: withoutTime}))
	router := newRouter(client, logNumber(logger), logger)
	fmt.Fprintln(stdout, "No address given: this is a fake WeChat at", wechat.URL())

	body := `{"code":"` + wechat.IssueCode(wxphone.PhoneInfo{
		PhoneNumber:     "13800000000",
		PurePhoneNumber: "13800000000",
		CountryCode:     "86",
	}) + `"}`
	for _, what := range []string{"The user taps the button", "The same code comes in again"} {
		request := httptest.NewRequestWithContext(ctx, http.MethodPost, "/phone", strings.NewReader(body))
		recorder := httptest.NewRecorder()
		router.ServeHTTP(recorder, request)
		fmt.Fprintf(stdout, "%s: %d %s\n", what, recorder.Code, recorder.Body)
	}
	return nil
}

func withoutTime(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && a.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return a
}
