package main

import (
	"context"
	"errors"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	otelprometheus "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/trace"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/otelwxphone"
)

// startTelemetry sets the global providers. It sends spans to a collector, by
// default the one at OTEL_EXPORTER_OTLP_ENDPOINT, and returns the page that
// Prometheus reads. stop sends what is left.
func startTelemetry(ctx context.Context, opts ...otlptracehttp.Option) (
	page http.Handler, stop func(context.Context) error, err error,
) {
	spans, err := otlptracehttp.New(ctx, opts...)
	if err != nil {
		return nil, nil, err
	}
	registry := prometheus.NewRegistry()
	figures, err := otelprometheus.New(otelprometheus.WithRegisterer(registry))
	if err != nil {
		return nil, nil, err
	}
	traces := trace.NewTracerProvider(trace.WithBatcher(spans))
	metrics := metric.NewMeterProvider(metric.WithReader(figures))
	otel.SetTracerProvider(traces)
	otel.SetMeterProvider(metrics)
	stop = func(ctx context.Context) error {
		return errors.Join(traces.Shutdown(ctx), metrics.Shutdown(ctx))
	}
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{}), stop, nil
}

// newClient makes a Client that is traced and measured.
func newClient(appID, secret string, opts ...wxphone.Option) (*wxphone.Client, error) {
	return wxphone.New(appID, secret, append(opts, otelwxphone.WithTelemetry())...)
}
