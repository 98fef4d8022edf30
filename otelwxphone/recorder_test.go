package otelwxphone_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/otelwxphone"
)

const (
	stableTokenAPI = "/cgi-bin/stable_token"
	phoneAPI       = "/wxa/business/getuserphonenumber"
	cloudIDAPI     = "/wxa/getopendata"
)

var aPhone = wxphone.PhoneInfo{PhoneNumber: "+8613912345678", PurePhoneNumber: "13912345678", CountryCode: "86"}

// recorder keeps what a Client sends to OpenTelemetry.
type recorder struct {
	exporter *tracetest.InMemoryExporter
	reader   *sdkmetric.ManualReader
	tracers  *sdktrace.TracerProvider
	meters   *sdkmetric.MeterProvider
}

func newRecorder() *recorder {
	r := &recorder{exporter: tracetest.NewInMemoryExporter(), reader: sdkmetric.NewManualReader()}
	r.tracers = sdktrace.NewTracerProvider(sdktrace.WithSyncer(r.exporter))
	r.meters = sdkmetric.NewMeterProvider(sdkmetric.WithReader(r.reader))
	return r
}

// option is the option under test.
func (r *recorder) option() wxphone.Option {
	return otelwxphone.WithTelemetry(
		otelwxphone.WithTracerProvider(r.tracers), otelwxphone.WithMeterProvider(r.meters))
}

// spans returns the spans of the exchanges in the order in which they began.
func (r *recorder) spans() tracetest.SpanStubs {
	var ours tracetest.SpanStubs
	for _, span := range r.exporter.GetSpans() {
		if span.InstrumentationScope.Name == "github.com/wxphone/wxphone/otelwxphone" {
			ours = append(ours, span)
		}
	}
	slices.SortStableFunc(ours, func(a, b tracetest.SpanStub) int { return a.StartTime.Compare(b.StartTime) })
	return ours
}

// names returns the names of the spans of the exchanges.
func (r *recorder) names() []string {
	var names []string
	for _, span := range r.spans() {
		names = append(names, span.Name)
	}
	return names
}

// last returns the span of the last exchange with an API.
func (r *recorder) last(t *testing.T, endpoint string) tracetest.SpanStub {
	t.Helper()
	spans := r.spans()
	for i := len(spans) - 1; i >= 0; i-- {
		if strings.HasSuffix(spans[i].Name, " "+endpoint) {
			return spans[i]
		}
	}
	require.Failf(t, "no span", "%s is not among %q", endpoint, r.names())
	return tracetest.SpanStub{}
}

// metrics returns the metrics by name.
func (r *recorder) metrics(t *testing.T) map[string]metricdata.Metrics {
	t.Helper()
	metrics := make(map[string]metricdata.Metrics)
	for _, scope := range r.collect(t).ScopeMetrics {
		for _, m := range scope.Metrics {
			metrics[m.Name] = m
		}
	}
	return metrics
}

func (r *recorder) collect(t *testing.T) metricdata.ResourceMetrics {
	t.Helper()
	var collected metricdata.ResourceMetrics
	assert.NoError(t, r.reader.Collect(context.Background(), &collected))
	return collected
}

// redemptions returns the values of wxphone.redemptions by their attributes.
func (r *recorder) redemptions(t *testing.T) map[string]int64 {
	t.Helper()
	counted := make(map[string]int64)
	metric, ok := r.metrics(t)["wxphone.redemptions"]
	if !ok {
		return counted
	}
	for _, point := range metric.Data.(metricdata.Sum[int64]).DataPoints {
		counted[text(point.Attributes.ToSlice())] = point.Value
	}
	return counted
}

// durations returns how many durations were recorded, by their attributes.
func (r *recorder) durations(t *testing.T) map[string]uint64 {
	t.Helper()
	counted := make(map[string]uint64)
	metric := r.metrics(t)["http.client.request.duration"]
	for _, point := range metric.Data.(metricdata.Histogram[float64]).DataPoints {
		counted[text(point.Attributes.ToSlice())] = point.Count
	}
	return counted
}

// text returns attributes in the order of their keys.
func text(attributes []attribute.KeyValue) string {
	set := attribute.NewSet(attributes...)
	var all []string
	for _, a := range set.ToSlice() {
		all = append(all, fmt.Sprintf("%s=%s", a.Key, a.Value.String()))
	}
	return strings.Join(all, " ")
}
