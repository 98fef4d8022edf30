package main

import (
	"context"
	"errors"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/wxphone/wxphone"
)

// scope names the source of these spans and metrics.
const scope = "github.com/wxphone/wxphone/examples/otel"

// newObserver returns a function for wxphone.WithObserver. otelhttp measures
// HTTP, and there nearly all of WeChat's failures are a 200: the errcode is in
// the body. The observer is told the errcode.
func newObserver(metrics metric.MeterProvider) (func(context.Context, wxphone.Call), error) {
	meter := metrics.Meter(scope)
	exchanges, err := meter.Int64Counter("wxphone.exchanges",
		metric.WithUnit("{exchange}"),
		metric.WithDescription("HTTP exchanges with WeChat, retries and token fetches included."))
	if err != nil {
		return nil, err
	}
	duration, err := meter.Float64Histogram("wxphone.exchange.duration",
		metric.WithUnit("s"),
		metric.WithDescription("Duration of an HTTP exchange with WeChat."),
		metric.WithExplicitBucketBoundaries(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15))
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, call wxphone.Call) {
		// These three have few values. The rid has one per failure, so it goes to
		// the span only.
		labels := []attribute.KeyValue{
			attribute.String("wechat.endpoint", call.Endpoint),
			attribute.Int("wechat.errcode", call.Code),
			attribute.String("outcome", outcome(call.Err)),
		}
		set := metric.WithAttributeSet(attribute.NewSet(labels...))
		exchanges.Add(ctx, 1, set)
		duration.Record(ctx, call.Duration.Seconds(), set)

		// The span is the caller's, around the call. A token fetch has none: it is
		// many callers' at once.
		trace.SpanFromContext(ctx).AddEvent("wechat exchange", trace.WithAttributes(append(labels,
			attribute.Int("wechat.attempt", call.Attempt),
			attribute.String("wechat.rid", call.RID),
		)...))
	}, nil
}

// outcome sorts errors into a few words.
func outcome(err error) string {
	var refusal *wxphone.APIError
	var strange *wxphone.ResponseError
	var timeout interface{ Timeout() bool }
	switch {
	case err == nil:
		return "ok"
	case errors.As(err, &refusal):
		return refusal.Kind().String()
	case errors.As(err, &strange):
		return "not WeChat's answer"
	case errors.Is(err, context.Canceled):
		return "cancelled"
	case errors.As(err, &timeout) && timeout.Timeout():
		return "timeout"
	case errors.Is(err, wxphone.ErrNoPhoneNumber), errors.Is(err, wxphone.ErrWatermark):
		return "no phone number"
	default:
		return "network"
	}
}
