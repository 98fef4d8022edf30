package main

import (
	"context"
	"net/http"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// newTransport traces requests to WeChat. WeChat wants access_token, secret and
// js_code in the query, and otelhttp records the whole URL as url.full. So the
// query is taken away before otelhttp sees the request, and put back after:
//
//	wxphone -> hideQuery -> otelhttp -> showQuery -> base
//
// A filter of attributes in a SpanProcessor or in a collector would do it too,
// but each new attribute or exporter would be another way around it.
func newTransport(base http.RoundTripper, traces trace.TracerProvider, metrics metric.MeterProvider) http.RoundTripper {
	return hideQuery{otelhttp.NewTransport(showQuery{base},
		otelhttp.WithTracerProvider(traces),
		otelhttp.WithMeterProvider(metrics),
		// No traceparent and no baggage: WeChat is not a part of your system.
		otelhttp.WithPropagators(propagation.NewCompositeTextMapPropagator()),
		otelhttp.WithSpanNameFormatter(func(_ string, r *http.Request) string {
			return r.Method + " " + r.URL.Path // a few fixed paths
		}),
	)}
}

type queryKey struct{}

type hideQuery struct{ next http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (t hideQuery) RoundTrip(r *http.Request) (*http.Response, error) {
	hidden := r.Clone(context.WithValue(r.Context(), queryKey{}, r.URL.RawQuery))
	hidden.URL.RawQuery = ""
	response, err := t.next.RoundTrip(hidden)
	if response != nil {
		response.Request = r
	}
	return response, err
}

type showQuery struct{ next http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (t showQuery) RoundTrip(r *http.Request) (*http.Response, error) {
	shown := r.Clone(r.Context())
	shown.URL.RawQuery, _ = r.Context().Value(queryKey{}).(string)
	return t.next.RoundTrip(shown)
}
