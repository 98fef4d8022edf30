package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/wxphonetest"
)

const (
	phoneEndpoint = "/wxa/business/getuserphonenumber"
	openID        = "openid-of-alice"
)

// collector keeps in memory what would be exported.
type collector struct {
	spans   *tracetest.InMemoryExporter
	traces  *sdktrace.TracerProvider
	reader  *sdkmetric.ManualReader
	metrics *sdkmetric.MeterProvider
}

func newCollector() *collector {
	c := &collector{spans: tracetest.NewInMemoryExporter(), reader: sdkmetric.NewManualReader()}
	c.traces = sdktrace.NewTracerProvider(sdktrace.WithSyncer(c.spans))
	c.metrics = sdkmetric.NewMeterProvider(sdkmetric.WithReader(c.reader))
	return c
}

func (c *collector) collect(t *testing.T) metricdata.ResourceMetrics {
	t.Helper()
	var collected metricdata.ResourceMetrics
	if err := c.reader.Collect(context.Background(), &collected); err != nil {
		t.Fatal(err)
	}
	return collected
}

// text is all that was collected, with every attribute of every event.
func (c *collector) text(t *testing.T) string {
	t.Helper()
	spans, err := json.Marshal(c.spans.GetSpans().Snapshots())
	if err != nil {
		t.Fatal(err)
	}
	metrics, err := json.Marshal(c.collect(t))
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	fmt.Fprintf(&text, "%s\n%s\n", spans, metrics)
	// JSON leaves unexported fields out and escapes; this does not.
	for _, span := range c.spans.GetSpans() {
		fmt.Fprintf(&text, "%s %s %s\n", span.Name, span.Status.Description, list(span.Attributes))
		for _, event := range span.Events {
			fmt.Fprintf(&text, "  %s %s\n", event.Name, list(event.Attributes))
		}
	}
	return text.String()
}

func list(attributes []attribute.KeyValue) string {
	texts := make([]string, 0, len(attributes))
	for _, a := range attributes {
		texts = append(texts, string(a.Key)+"="+a.Value.String())
	}
	return strings.Join(texts, ",")
}

// TestNothingSecretIsCollected makes every kind of call, with failures, since
// errors have texts of their own.
func TestNothingSecretIsCollected(t *testing.T) {
	ctx := context.Background()
	c := newCollector()
	wechat := wxphonetest.NewServer(t)
	client, err := newClient(wechat.AppID(), wechat.Secret(), c.traces, c.metrics,
		wxphone.WithBaseURL(wechat.URL()), wxphone.WithMaxRetries(0))
	if err != nil {
		t.Fatal(err)
	}
	secrets := []string{wechat.Secret(), "13800000000", "access_token=", "secret=", "js_code="}
	redeemTap := func() error {
		code := tap(wechat)
		secrets = append(secrets, code)
		return redeem(ctx, c.traces.Tracer(scope), client, code)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
	}
	fails := func(err error) {
		t.Helper()
		if err == nil {
			t.Error("no error")
		}
	}

	must(redeemTap())
	secrets = append(secrets, wechat.Token())
	wechat.RevokeToken()
	must(redeemTap())
	secrets = append(secrets, wechat.Token())
	wechat.DropNext(phoneEndpoint, 1)
	fails(redeemTap())
	wechat.RespondNext(phoneEndpoint, 502, "<html>", 1)
	fails(redeemTap())
	wechat.FailNext(phoneEndpoint, 45011, "", 1)
	fails(redeemTap())

	jsCode := wechat.IssueLoginCode(openID)
	wechat.DropNext("/sns/jscode2session", -1) // once is not enough: net/http repeats a GET by itself
	_, err = client.Code2Session(ctx, jsCode)
	fails(err)
	wechat.DropNext("/sns/jscode2session", 0)
	_, err = client.Code2Session(ctx, jsCode)
	must(err)
	key := wechat.SessionKey(openID)
	must(client.CheckSessionKey(ctx, openID, key))
	wechat.RotateSessionKey(openID)
	fails(client.CheckSessionKey(ctx, openID, key))
	secrets = append(secrets, jsCode, string(key), string(wechat.SessionKey(openID)))

	unreachable, err := newClient(wechat.AppID(), wechat.Secret(), c.traces, c.metrics,
		wxphone.WithBaseURL("http://127.0.0.1:1"), wxphone.WithMaxRetries(0))
	if err != nil {
		t.Fatal(err)
	}
	_, err = unreachable.Code2Session(ctx, jsCode)
	fails(err)

	text := c.text(t)
	for _, secret := range secrets {
		for _, form := range []string{secret, url.QueryEscape(secret)} {
			if strings.Contains(text, form) {
				t.Errorf("%q was collected", form)
			}
		}
	}
	for _, want := range []string{
		"POST " + phoneEndpoint, "GET /sns/jscode2session", "POST /cgi-bin/stable_token",
		"url.full=" + wechat.URL() + phoneEndpoint + ",",
		"wechat.errcode=45011", "wechat.errcode=40001", "wechat.attempt=2", "exception.message=wxphone: ",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q was not collected", want)
		}
	}
	if t.Failed() {
		t.Log(text)
	}
}

// TestPlainTransportShowsTheToken is why newTransport exists, and proves that
// the test above would notice. When it fails, otelhttp has learned better.
func TestPlainTransportShowsTheToken(t *testing.T) {
	c := newCollector()
	wechat := wxphonetest.NewServer(t)
	plain := otelhttp.NewTransport(wechat.HTTPClient().Transport, otelhttp.WithTracerProvider(c.traces))
	client := wechat.NewClient(wxphone.WithHTTPClient(&http.Client{Transport: plain}))
	if err := redeem(context.Background(), c.traces.Tracer(scope), client, tap(wechat)); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(c.text(t), "access_token="+url.QueryEscape(wechat.Token())) {
		t.Error("otelhttp did not record the token")
	}
}

func TestSpansOfACall(t *testing.T) {
	c := newCollector()
	wechat := wxphonetest.NewServer(t)
	client, err := newClient(wechat.AppID(), wechat.Secret(), c.traces, c.metrics, wxphone.WithBaseURL(wechat.URL()))
	if err != nil {
		t.Fatal(err)
	}
	wechat.FailNext(phoneEndpoint, -1, "", 1)
	if err := redeem(context.Background(), c.traces.Tracer(scope), client, tap(wechat)); err != nil {
		t.Fatal(err)
	}

	spans := c.spans.GetSpans()
	var call tracetest.SpanStub
	for _, span := range spans {
		if span.Name == "redeem code" {
			call = span
		}
	}
	if n := len(call.Events); n != 2 {
		t.Errorf("%d events, want one per attempt", n)
	}
	children := 0
	for _, span := range spans {
		if span.Name == "POST "+phoneEndpoint && span.Parent.SpanID() == call.SpanContext.SpanID() {
			children++
		}
	}
	if children != 2 {
		t.Errorf("%d spans under the call, want one per attempt", children)
	}
}

func TestMetrics(t *testing.T) {
	c := newCollector()
	if err := demo(context.Background(), c.traces, c.metrics); err != nil {
		t.Fatal(err)
	}
	counts := make(map[string]int64)
	timed := make(map[string]uint64)
	for _, scopeMetrics := range c.collect(t).ScopeMetrics {
		for _, m := range scopeMetrics.Metrics {
			switch data := m.Data.(type) {
			case metricdata.Sum[int64]:
				for _, point := range data.DataPoints {
					counts[m.Name+" "+list(point.Attributes.ToSlice())] = point.Value
				}
			case metricdata.Histogram[float64]:
				for _, point := range data.DataPoints {
					timed[m.Name+" "+list(point.Attributes.ToSlice())] = point.Count
				}
			}
		}
	}
	want := map[string]int64{
		"outcome=ok,wechat.endpoint=/cgi-bin/stable_token,wechat.errcode=0":                 2,
		"outcome=ok,wechat.endpoint=" + phoneEndpoint + ",wechat.errcode=0":                 2,
		"outcome=code rejected,wechat.endpoint=" + phoneEndpoint + ",wechat.errcode=40029":  1,
		"outcome=token rejected,wechat.endpoint=" + phoneEndpoint + ",wechat.errcode=40001": 1,
	}
	for labels, n := range want {
		if got := counts["wxphone.exchanges "+labels]; got != n {
			t.Errorf("%s: %d counted, want %d", labels, got, n)
		}
		if got := timed["wxphone.exchange.duration "+labels]; int64(got) != n {
			t.Errorf("%s: %d timed, want %d", labels, got, n)
		}
	}
	if len(counts) != len(want) {
		t.Errorf("counted %v", counts)
	}
}

func TestOutcomes(t *testing.T) {
	tests := map[string]error{
		"ok":                  nil,
		"rate limited":        &wxphone.APIError{Code: 45011},
		"not WeChat's answer": &wxphone.ResponseError{},
		"cancelled":           context.Canceled,
		"timeout":             &url.Error{Err: context.DeadlineExceeded},
		"no phone number":     fmt.Errorf("wrapped: %w", wxphone.ErrNoPhoneNumber),
		"network":             io.ErrUnexpectedEOF,
	}
	for want, err := range tests {
		if got := outcome(err); got != want {
			t.Errorf("%v: %q, want %q", err, got, want)
		}
	}
}

// headers is a transport that keeps the last request.
type headers struct{ request *http.Request }

func (h *headers) RoundTrip(r *http.Request) (*http.Response, error) {
	h.request = r
	return nil, errors.New("no network")
}

func TestWeChatGetsTheQueryAndNoTraceHeaders(t *testing.T) {
	otel.SetTextMapPropagator(propagation.TraceContext{})
	c := newCollector()
	base := new(headers)
	request, err := http.NewRequest(http.MethodGet, "https://api.weixin.qq.com/wxa/checksession?a=1&b=%2B", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := newTransport(base, c.traces, c.metrics).RoundTrip(request)
	if err == nil {
		response.Body.Close()
		t.Fatal("no error")
	}
	if got := base.request.URL.String(); got != request.URL.String() {
		t.Errorf("sent to %s", got)
	}
	if len(base.request.Header) != 0 {
		t.Errorf("sent with %v", base.request.Header)
	}
}

func TestRunPrintsSpansAndMetrics(t *testing.T) {
	var stdout bytes.Buffer
	if err := run(context.Background(), &stdout); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"Name": "redeem code"`, `"Name": "POST ` + phoneEndpoint + `"`, `"Name": "wxphone.exchange.duration"`, `40029`,
	} {
		if !strings.Contains(stdout.String(), want) {
			t.Errorf("no %s in the output", want)
		}
	}
	for _, secret := range []string{"access_token=", "13800000000"} {
		if strings.Contains(stdout.String(), secret) {
			t.Errorf("the output holds %s", secret)
		}
	}
}
