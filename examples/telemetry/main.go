// Telemetry sends traces of wxphone to an OpenTelemetry collector, and shows its
// metrics to Prometheus.
//
// It runs against a fake WeChat on this machine and redeems a few codes, with
// failures in between. Then it prints the spans, and some lines of the page that
// Prometheus would read:
//
//	go run .
//
// To see the spans in a collector of yours, such as Jaeger:
//
//	OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318 go run .
//
// To use it in a program of yours, copy telemetry.go.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/wxphonetest"
)

func main() {
	if err := run(context.Background(), os.Getenv, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "telemetry:", err)
		os.Exit(1)
	}
}

// run is the program without its process, so that tests can call it.
func run(ctx context.Context, getenv func(string) string, stdout io.Writer) error {
	var opts []otlptracehttp.Option
	if getenv("OTEL_EXPORTER_OTLP_ENDPOINT") == "" {
		collector := httptest.NewServer(printSpans(stdout))
		defer collector.Close()
		opts = append(opts, otlptracehttp.WithEndpointURL(collector.URL+"/v1/traces"))
	}
	metrics, stop, err := startTelemetry(ctx, opts...)
	if err != nil {
		return err
	}
	err = demo(ctx)
	page := httptest.NewRecorder()
	metrics.ServeHTTP(page, httptest.NewRequestWithContext(ctx, http.MethodGet, "/metrics", http.NoBody))

	// What was not exported yet is exported now.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	err = errors.Join(err, stop(ctx))
	for line := range strings.Lines(page.Body.String()) {
		if strings.HasPrefix(line, "wxphone_") || strings.HasPrefix(line, "http_client_request_duration_seconds_count") {
			fmt.Fprint(stdout, line)
		}
	}
	return err
}

// demo redeems codes of a fake WeChat.
func demo(ctx context.Context) error {
	wechat, err := wxphonetest.Start()
	if err != nil {
		return err
	}
	defer wechat.Close()
	client, err := newClient(wechat.AppID(), wechat.Secret(), wxphone.WithBaseURL(wechat.URL()))
	if err != nil {
		return err
	}

	code := tap(wechat)
	if err := redeem(ctx, client, code); err != nil {
		return err
	}
	if err := redeem(ctx, client, code); !errors.Is(err, wxphone.ErrCodeInvalid) {
		return fmt.Errorf("a code worked twice, or failed otherwise: %w", err)
	}
	wechat.RevokeToken()
	return redeem(ctx, client, tap(wechat))
}

// redeem stands for a handler, whose span otelhttp or a framework starts.
func redeem(ctx context.Context, client *wxphone.Client, code string) error {
	ctx, span := otel.Tracer("app").Start(ctx, "POST /phone")
	defer span.End()
	_, err := client.GetPhoneNumber(ctx, code)
	if err != nil {
		span.SetStatus(codes.Error, string(wxphone.NextStep(err)))
	}
	return err
}

// tap stands for a user who taps the button and agrees.
func tap(wechat *wxphonetest.Server) (code string) {
	return wechat.IssueCode(wxphone.PhoneInfo{
		PhoneNumber:     "13800000000",
		PurePhoneNumber: "13800000000",
		CountryCode:     "86",
	})
}
