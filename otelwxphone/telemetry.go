// Package otelwxphone sends spans and metrics of wxphone to OpenTelemetry.
//
// [WithTelemetry] is an option of [wxphone.New] and [wxphone.NewComponent]:
//
//	client, err := wxphone.New(appID, secret, otelwxphone.WithTelemetry())
//
// It is told of each HTTP exchange with WeChat by [wxphone.WithObserver], and
// leaves the http.Client and its connection pool alone. Nothing that it sends
// contains a secret, a code, an openid or a phone number. An instrumented
// http.Client, such as one with otelhttp, would send the whole URL, and with it
// the access_token, the AppSecret and the code of wx.login.
//
// # Spans
//
// Each exchange is a span of kind client, named by the method and the API, such
// as "POST /wxa/business/getuserphonenumber". It is a child of the span in the
// caller's context. A token fetch can serve many callers, so its span is a root
// span. The attributes follow the semantic conventions for HTTP:
//
//	http.request.method        the method that wxphone uses for the API
//	server.address             such as "api.weixin.qq.com"
//	server.port                if the base URL has a port
//	url.template               the path of the API
//	http.request.resend_count  from the second exchange of a call on
//	http.response.status_code  if there was an answer
//	error.type                 the outcome, if the exchange failed
//	wxphone.outcome            [wxphone.Call.Outcome]
//	wechat.errcode             if WeChat refused
//	wechat.rid                 WeChat's id of the request, if it gave one
//
// A failed exchange has the status Error, and the outcome as its description.
// The text of the error is left out, because WeChat wrote parts of it.
//
// # Metrics
//
// The histogram http.client.request.duration, in seconds, has one value for each
// exchange, with the attributes of the span but http.request.resend_count,
// wxphone.outcome, wechat.errcode and wechat.rid.
//
// The counter wxphone.redemptions counts the redemptions of codes and cloudIDs
// by url.template and wxphone.outcome. Exchanges that are retried are left out,
// so that a call counts once. A call is not counted if it had no access_token,
// so that its code was not sent, if another call with the same code had asked
// WeChat, or if its context ended before a retry. The outcome is WeChat's
// answer: "ok" includes answers that wxphone then returns as
// [wxphone.ErrNoPhoneNumber] or [wxphone.ErrWatermark].
package otelwxphone

import (
	"context"
	"fmt"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/wxphone/wxphone"
)

// scope is the name of the source of the spans and metrics.
const scope = "github.com/wxphone/wxphone/otelwxphone"

// Option configures [WithTelemetry].
type Option func(*config) error

type config struct {
	tracers trace.TracerProvider
	meters  metric.MeterProvider
}

// WithTracerProvider takes the tracer from p. The default is the global
// provider of package otel.
func WithTracerProvider(p trace.TracerProvider) Option {
	return func(c *config) error {
		if p == nil {
			return invalid("WithTracerProvider", "has a nil provider")
		}
		c.tracers = p
		return nil
	}
}

// WithMeterProvider takes the meter from p. The default is the global provider
// of package otel.
func WithMeterProvider(p metric.MeterProvider) Option {
	return func(c *config) error {
		if p == nil {
			return invalid("WithMeterProvider", "has a nil provider")
		}
		c.meters = p
		return nil
	}
}

// WithTelemetry sends a span and metrics of every HTTP exchange with WeChat,
// including token fetches, to OpenTelemetry. [wxphone.New] returns an error that
// matches [wxphone.ErrInvalidArgument] if an option is not valid. If the meter
// refuses an instrument, its error goes to [otel.Handle] and the Client works
// without the instrument.
//
// WithTelemetry and [wxphone.WithObserver] can be given together and more than
// once; each sees every exchange.
func WithTelemetry(opts ...Option) wxphone.Option {
	t, err := newTelemetry(opts)
	if err != nil {
		return failing(wxphone.Option(nil), err)
	}
	return wxphone.WithObserver(t.observe)
}

// failing returns an option that returns err. Its first parameter only tells
// the type, because the options of package wxphone have a parameter that no
// other package can name.
func failing[Options any](_ func(Options) error, err error) func(Options) error {
	return func(Options) error { return err }
}

func invalid(name, problem string) error {
	return fmt.Errorf("%w: otelwxphone: %s %s", wxphone.ErrInvalidArgument, name, problem)
}

// telemetry is where the spans and metrics of exchanges go.
type telemetry struct {
	tracer      trace.Tracer
	duration    metric.Float64Histogram
	redemptions metric.Int64Counter
}

func newTelemetry(opts []Option) (*telemetry, error) {
	c := &config{tracers: otel.GetTracerProvider(), meters: otel.GetMeterProvider()}
	for _, opt := range opts {
		if opt == nil {
			return nil, invalid("option", "is nil")
		}
		if err := opt(c); err != nil {
			return nil, err
		}
	}
	meter := c.meters.Meter(scope, metric.WithSchemaURL(semconv.SchemaURL))
	return &telemetry{
		tracer:      c.tracers.Tracer(scope, trace.WithSchemaURL(semconv.SchemaURL)),
		duration:    newDuration(meter),
		redemptions: newRedemptions(meter),
	}, nil
}

// newDuration returns the histogram that the semantic conventions define for
// HTTP clients.
func newDuration(meter metric.Meter) metric.Float64Histogram {
	duration, err := meter.Float64Histogram("http.client.request.duration",
		metric.WithUnit("s"),
		metric.WithDescription("Duration of HTTP client requests."),
		metric.WithExplicitBucketBoundaries(0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10))
	if err != nil {
		otel.Handle(err)
	}
	if duration == nil {
		return metricnoop.Float64Histogram{}
	}
	return duration
}

func newRedemptions(meter metric.Meter) metric.Int64Counter {
	redemptions, err := meter.Int64Counter("wxphone.redemptions",
		metric.WithUnit("{redemption}"),
		metric.WithDescription("Number of codes and cloudIDs that WeChat was asked to redeem."))
	if err != nil {
		otel.Handle(err)
	}
	if redemptions == nil {
		return metricnoop.Int64Counter{}
	}
	return redemptions
}

// observe is the observer of [wxphone.WithObserver].
func (t *telemetry) observe(ctx context.Context, call wxphone.Call) {
	x := newExchange(call)
	ctx, span := x.start(ctx, t.tracer)
	// With the context of the span, so that the metrics have it as an exemplar.
	t.duration.Record(ctx, call.Duration.Seconds(), metric.WithAttributeSet(x.measured()))
	if isRedemption(call) {
		t.redemptions.Add(ctx, 1, metric.WithAttributeSet(x.redeemed()))
	}
	x.end(span)
}
