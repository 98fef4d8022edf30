// Otel sends traces and metrics of wxphone to OpenTelemetry, without the
// access_tokens and secrets that are part of WeChat's URLs.
//
// It runs against a fake WeChat on this machine, redeems a few codes, with
// failures in between, and prints what the SDK's stdout exporters get:
//
//	go run .
//
// To use it in a program of yours, copy transport.go and metrics.go.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/stdout/stdoutmetric"
	"go.opentelemetry.io/otel/exporters/stdout/stdouttrace"
	"go.opentelemetry.io/otel/metric"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/wxphonetest"
)

func main() {
	if err := run(context.Background(), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "otel:", err)
		os.Exit(1)
	}
}

// run is the program without its process, so that tests can call it.
func run(ctx context.Context, stdout io.Writer) (err error) {
	spans, err := stdouttrace.New(stdouttrace.WithWriter(stdout), stdouttrace.WithPrettyPrint())
	if err != nil {
		return err
	}
	traces := sdktrace.NewTracerProvider(sdktrace.WithBatcher(spans))
	figures, err := stdoutmetric.New(stdoutmetric.WithWriter(stdout), stdoutmetric.WithPrettyPrint())
	if err != nil {
		return err
	}
	metrics := sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewPeriodicReader(figures)))
	defer func() {
		// What was not exported yet is exported now.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		err = errors.Join(err, traces.Shutdown(ctx), metrics.Shutdown(ctx))
	}()
	return demo(ctx, traces, metrics)
}

// newClient makes a client that is traced and measured.
func newClient(appID, secret string, traces trace.TracerProvider, metrics metric.MeterProvider, opts ...wxphone.Option) (*wxphone.Client, error) {
	observe, err := newObserver(metrics)
	if err != nil {
		return nil, err
	}
	// With an HTTP client of your own, the connection pool and the timeouts are
	// yours too. http.DefaultTransport keeps only two idle connections to WeChat.
	transport := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
		ForceAttemptHTTP2:     true,
		MaxIdleConnsPerHost:   64,
		IdleConnTimeout:       90 * time.Second,
		TLSHandshakeTimeout:   5 * time.Second,
		ResponseHeaderTimeout: 10 * time.Second,
	}
	return wxphone.New(appID, secret, append([]wxphone.Option{
		wxphone.WithHTTPClient(&http.Client{
			Transport: newTransport(transport, traces, metrics),
			Timeout:   15 * time.Second,
		}),
		wxphone.WithObserver(observe),
	}, opts...)...)
}

// redeem is the span around a call. Under it are one span of the transport for
// each exchange and one event of the observer.
func redeem(ctx context.Context, tracer trace.Tracer, client *wxphone.Client, code string) error {
	ctx, span := tracer.Start(ctx, "redeem code")
	defer span.End()
	_, err := client.GetPhoneNumber(ctx, code)
	if err != nil {
		span.RecordError(err) // wxphone's errors hold no secret and no number
		span.SetStatus(codes.Error, outcome(err))
		span.SetAttributes(attribute.Int("http.response.status_code", wxphone.HTTPStatus(err)))
	}
	return err
}

// demo redeems codes of a fake WeChat.
func demo(ctx context.Context, traces trace.TracerProvider, metrics metric.MeterProvider) error {
	wechat, err := wxphonetest.Start()
	if err != nil {
		return err
	}
	defer wechat.Close()
	client, err := newClient(wechat.AppID(), wechat.Secret(), traces, metrics, wxphone.WithBaseURL(wechat.URL()))
	if err != nil {
		return err
	}
	tracer := traces.Tracer(scope)

	code := tap(wechat)
	if err := redeem(ctx, tracer, client, code); err != nil {
		return err
	}
	if err := redeem(ctx, tracer, client, code); !errors.Is(err, wxphone.ErrCodeInvalid) {
		return fmt.Errorf("a code worked twice, or failed otherwise: %w", err)
	}
	wechat.RevokeToken()
	return redeem(ctx, tracer, client, tap(wechat))
}

// tap stands for a user who taps the button and agrees.
func tap(wechat *wxphonetest.Server) (code string) {
	return wechat.IssueCode(wxphone.PhoneInfo{
		PhoneNumber:     "13800000000",
		PurePhoneNumber: "13800000000",
		CountryCode:     "86",
	})
}
