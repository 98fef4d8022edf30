package otelwxphone

import (
	"context"
	"net"
	"net/http"
	"strconv"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/wxphone/wxphone"
)

// Attributes that the semantic conventions do not have.
const (
	outcomeKey = attribute.Key("wxphone.outcome")
	errcodeKey = attribute.Key("wechat.errcode")
	ridKey     = attribute.Key("wechat.rid")
)

// exchange is an observed call in the terms of the semantic conventions.
type exchange struct {
	wxphone.Call
	method  string
	outcome string
	// sent is known before the request, and received after it. Both have few
	// values, as metrics need.
	sent, received []attribute.KeyValue
}

func newExchange(call wxphone.Call) *exchange {
	x := &exchange{Call: call, method: methodOf(call.Endpoint), outcome: call.Outcome()}
	address, port := splitHost(call.Host)
	x.sent = append(make([]attribute.KeyValue, 0, 4),
		semconv.HTTPRequestMethodKey.String(x.method),
		semconv.ServerAddress(address),
		semconv.URLTemplate(call.Endpoint))
	if port > 0 {
		x.sent = append(x.sent, semconv.ServerPort(port))
	}
	if call.HTTPStatus != 0 {
		x.received = append(x.received, semconv.HTTPResponseStatusCode(call.HTTPStatus))
	}
	if call.Err != nil {
		x.received = append(x.received, semconv.ErrorTypeKey.String(x.outcome))
	}
	return x
}

// start starts the span when the request began, with all that a sampler may
// look at.
func (x *exchange) start(ctx context.Context, tracer trace.Tracer) (context.Context, trace.Span) {
	return tracer.Start(ctx, x.method+" "+x.Endpoint,
		trace.WithSpanKind(trace.SpanKindClient),
		trace.WithTimestamp(x.Start),
		trace.WithAttributes(x.sent...))
}

// end adds the result to the span and ends it.
func (x *exchange) end(span trace.Span) {
	defer span.End(trace.WithTimestamp(x.Start.Add(x.Duration)))
	if !span.IsRecording() {
		return
	}
	span.SetAttributes(x.received...)
	span.SetAttributes(outcomeKey.String(x.outcome))
	if x.Attempt > 1 {
		span.SetAttributes(semconv.HTTPRequestResendCount(x.Attempt - 1))
	}
	if x.Code != 0 && isErrcode(x.Code) {
		span.SetAttributes(errcodeKey.Int(x.Code))
	}
	if x.RID != "" {
		span.SetAttributes(ridKey.String(x.RID))
	}
	if x.Err != nil {
		// Not the error's text: what WeChat, a proxy or a transport wrote into it
		// is not for a trace.
		span.SetStatus(codes.Error, x.outcome)
	}
}

// measured returns the attributes of the exchange's duration.
func (x *exchange) measured() attribute.Set {
	all := make([]attribute.KeyValue, 0, len(x.sent)+len(x.received))
	return attribute.NewSet(append(append(all, x.sent...), x.received...)...)
}

// redeemed returns the attributes of a redemption.
func (x *exchange) redeemed() attribute.Set {
	return attribute.NewSet(semconv.URLTemplate(x.Endpoint), outcomeKey.String(x.outcome))
}

// isRedemption reports whether call is the last exchange of the redemption of a
// code or cloudID.
func isRedemption(call wxphone.Call) bool {
	switch call.Endpoint {
	case "/wxa/business/getuserphonenumber", "/wxa/getopendata":
		return !call.Retried
	default:
		return false
	}
}

// isErrcode reports whether code can be one of WeChat's, which have up to seven
// digits. A gateway could write anything there, a phone number even.
func isErrcode(code int) bool { return -1e7 < code && code < 1e7 }

// methodOf returns the HTTP method of an API, which the observer is not told.
func methodOf(endpoint string) string {
	switch endpoint {
	case "/cgi-bin/token",
		"/sns/jscode2session", "/sns/component/jscode2session",
		"/wxa/checksession", "/wxa/resetusersessionkey":
		return http.MethodGet
	default:
		return http.MethodPost
	}
}

// splitHost splits a host as it stands in a URL. The port is 0 if there is
// none.
func splitHost(host string) (address string, port int) {
	address, service, err := net.SplitHostPort(host)
	if err != nil {
		return strings.Trim(host, "[]"), 0
	}
	port, err = strconv.Atoi(service)
	if err != nil {
		return address, 0
	}
	return address, port
}
