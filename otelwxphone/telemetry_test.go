package otelwxphone_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/metric/metricdata/metricdatatest"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/otelwxphone"
	"github.com/wxphone/wxphone/wxphonetest"
)

func TestMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecorder()
		wechat := wxphonetest.NewServer(t)
		wechat.SetLatency(phoneAPI, 80*time.Millisecond)
		client := wechat.NewClient(r.option())
		for range 2 {
			_, err := client.GetPhoneNumber(context.Background(), wechat.IssueCode(aPhone))
			require.NoError(t, err)
		}
		_, err := client.GetPhoneNumber(context.Background(), "unknown code")
		require.ErrorIs(t, err, wxphone.ErrCodeInvalid)

		attributes := func(endpoint string, more ...attribute.KeyValue) attribute.Set {
			return attribute.NewSet(append(more,
				attribute.String("http.request.method", "POST"), attribute.String("server.address", "api.weixin.qq.com"),
				attribute.Int("http.response.status_code", 200), attribute.String("url.template", endpoint))...)
		}
		metricdatatest.AssertEqual(t, metricdata.Metrics{
			Name: "http.client.request.duration", Unit: "s", Description: "Duration of HTTP client requests.",
			Data: metricdata.Histogram[float64]{
				Temporality: metricdata.CumulativeTemporality,
				DataPoints: []metricdata.HistogramDataPoint[float64]{
					durations(attributes(stableTokenAPI), 0),
					durations(attributes(phoneAPI), 0.08, 0.08),
					durations(attributes(phoneAPI, attribute.String("error.type", "code_rejected")), 0.08),
				},
			},
		}, r.metrics(t)["http.client.request.duration"], metricdatatest.IgnoreTimestamp(), metricdatatest.IgnoreExemplars())

		redeemed := func(outcome string, n int64) metricdata.DataPoint[int64] {
			return metricdata.DataPoint[int64]{Value: n, Attributes: attribute.NewSet(
				attribute.String("url.template", phoneAPI), attribute.String("wxphone.outcome", outcome))}
		}
		metricdatatest.AssertEqual(t, metricdata.Metrics{
			Name: "wxphone.redemptions", Unit: "{redemption}",
			Description: "Number of codes and cloudIDs that WeChat was asked to redeem.",
			Data: metricdata.Sum[int64]{
				Temporality: metricdata.CumulativeTemporality, IsMonotonic: true,
				DataPoints: []metricdata.DataPoint[int64]{redeemed("ok", 2), redeemed("code_rejected", 1)},
			},
		}, r.metrics(t)["wxphone.redemptions"], metricdatatest.IgnoreTimestamp(), metricdatatest.IgnoreExemplars())
	})
}

// durations returns the data point of some equal durations of less than 0.1
// seconds.
func durations(attributes attribute.Set, values ...float64) metricdata.HistogramDataPoint[float64] {
	bounds := []float64{0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10}
	point := metricdata.HistogramDataPoint[float64]{
		Attributes:   attributes,
		Bounds:       bounds,
		BucketCounts: make([]uint64, len(bounds)+1),
		Count:        uint64(len(values)),
		Min:          metricdata.NewExtrema(values[0]),
		Max:          metricdata.NewExtrema(values[0]),
	}
	for _, value := range values {
		point.Sum += value
		for i, bound := range bounds {
			if value <= bound {
				point.BucketCounts[i]++
				break
			}
		}
	}
	return point
}

func TestDurationHasTheSpanAsExemplar(t *testing.T) {
	t.Parallel()
	r := newRecorder()
	wechat := wxphonetest.NewServer(t)
	_, err := wechat.NewClient(r.option()).AccessToken(context.Background())
	require.NoError(t, err)

	points := r.metrics(t)["http.client.request.duration"].Data.(metricdata.Histogram[float64]).DataPoints
	require.Len(t, points, 1)
	require.Len(t, points[0].Exemplars, 1)
	id := r.last(t, stableTokenAPI).SpanContext.SpanID()
	assert.Equal(t, id[:], points[0].Exemplars[0].SpanID)
}

func TestCodesThatDoNotReachWeChatAreNoRedemptions(t *testing.T) {
	t.Parallel()
	r := newRecorder()
	wechat := wxphonetest.NewServer(t)
	client := wechat.NewClient(r.option(), wxphone.WithDuplicateWindow(time.Minute))
	code := wechat.IssueCode(aPhone)
	for range 3 { // one of which asks WeChat
		_, err := client.GetPhoneNumber(context.Background(), code)
		require.NoError(t, err)
	}
	wechat.FailNext(stableTokenAPI, 40125, "", -1)
	_, err := wechat.NewClient(r.option()).GetPhoneNumber(context.Background(), wechat.IssueCode(aPhone))
	require.ErrorIs(t, err, wxphone.ErrSecretInvalid)

	assert.Equal(t, map[string]int64{"url.template=" + phoneAPI + " wxphone.outcome=ok": 1}, r.redemptions(t))
	assert.Equal(t, "misconfigured", r.last(t, stableTokenAPI).Status.Description)
}

func TestCloudIDsAreRedemptions(t *testing.T) {
	t.Parallel()
	r := newRecorder()
	wechat := wxphonetest.NewServer(t)
	client := wechat.NewClient(r.option())
	_, err := client.GetPhoneNumberByCloudID(context.Background(), "openid-of-alice", wechat.IssueCloudID("openid-of-alice", aPhone))
	require.NoError(t, err)
	_, err = client.Code2Session(context.Background(), wechat.IssueLoginCode("openid-of-alice"))
	require.NoError(t, err)
	assert.Equal(t, map[string]int64{"url.template=" + cloudIDAPI + " wxphone.outcome=ok": 1}, r.redemptions(t))
}

func TestObserversAndTelemetrySeeEveryExchange(t *testing.T) {
	t.Parallel()
	first, second := newRecorder(), newRecorder()
	var before, after []string
	observer := func(seen *[]string) wxphone.Option {
		return wxphone.WithObserver(func(_ context.Context, call wxphone.Call) { *seen = append(*seen, "POST "+call.Endpoint) })
	}
	wechat := wxphonetest.NewServer(t)
	client := wechat.NewClient(observer(&before), first.option(), second.option(), observer(&after))
	_, err := client.GetPhoneNumber(context.Background(), wechat.IssueCode(aPhone))
	require.NoError(t, err)

	want := []string{"POST " + stableTokenAPI, "POST " + phoneAPI}
	assert.Equal(t, want, before)
	assert.Equal(t, want, after)
	for _, r := range []*recorder{first, second} {
		assert.Equal(t, want, r.names())
		assert.Equal(t, map[string]int64{"url.template=" + phoneAPI + " wxphone.outcome=ok": 1}, r.redemptions(t))
	}
}

// An option can be made once and given to many Clients.
func TestClientsShareAnOption(t *testing.T) {
	t.Parallel()
	r := newRecorder()
	option := r.option()
	wechat := wxphonetest.NewServer(t)
	var calls sync.WaitGroup
	for range 8 {
		client := wechat.NewClient(option)
		for range 8 {
			calls.Go(func() {
				_, err := client.GetPhoneNumber(context.Background(), wechat.IssueCode(aPhone))
				assert.NoError(t, err)
			})
		}
	}
	calls.Wait()
	assert.Equal(t, map[string]int64{"url.template=" + phoneAPI + " wxphone.outcome=ok": 64}, r.redemptions(t))
	assert.Len(t, r.spans(), 64+8)
}

func TestInvalidOptionsAreErrorsOfNew(t *testing.T) {
	t.Parallel()
	for want, option := range map[string]otelwxphone.Option{
		"WithTracerProvider has a nil provider": otelwxphone.WithTracerProvider(nil),
		"WithMeterProvider has a nil provider":  otelwxphone.WithMeterProvider(nil),
		"option is nil":                         nil,
	} {
		client, err := wxphone.New("wx0123456789abcdef", "secret", otelwxphone.WithTelemetry(option))
		assert.Nil(t, client)
		require.ErrorIs(t, err, wxphone.ErrInvalidArgument)
		assert.EqualError(t, err, "wxphone: invalid argument: otelwxphone: "+want)
	}
}

func TestGlobalProvidersAreTheDefault(t *testing.T) {
	r := newRecorder()
	tracers, meters := otel.GetTracerProvider(), otel.GetMeterProvider()
	t.Cleanup(func() {
		otel.SetTracerProvider(tracers)
		otel.SetMeterProvider(meters)
	})
	otel.SetTracerProvider(r.tracers)
	otel.SetMeterProvider(r.meters)
	wechat := wxphonetest.NewServer(t)
	client := wechat.NewClient(otelwxphone.WithTelemetry())
	_, err := client.GetPhoneNumber(context.Background(), wechat.IssueCode(aPhone))
	require.NoError(t, err)

	assert.Len(t, r.spans(), 2)
	assert.Equal(t, map[string]int64{"url.template=" + phoneAPI + " wxphone.outcome=ok": 1}, r.redemptions(t))
}

var errInstrument = errors.New("no such instrument here")

// refusing is a MeterProvider whose meter makes no instruments.
type refusing struct{ metricnoop.MeterProvider }

func (refusing) Meter(string, ...metric.MeterOption) metric.Meter { return refusingMeter{} }

type refusingMeter struct{ metricnoop.Meter }

func (refusingMeter) Int64Counter(string, ...metric.Int64CounterOption) (metric.Int64Counter, error) {
	return nil, errInstrument
}

func (refusingMeter) Float64Histogram(string, ...metric.Float64HistogramOption) (metric.Float64Histogram, error) {
	return nil, errInstrument
}

func TestClientWorksWithoutInstruments(t *testing.T) {
	var handled []error
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { handled = append(handled, err) }))
	r := newRecorder()
	wechat := wxphonetest.NewServer(t)
	client := wechat.NewClient(otelwxphone.WithTelemetry(
		otelwxphone.WithTracerProvider(r.tracers), otelwxphone.WithMeterProvider(refusing{})))
	_, err := client.GetPhoneNumber(context.Background(), wechat.IssueCode(aPhone))
	require.NoError(t, err)

	assert.Equal(t, []error{errInstrument, errInstrument}, handled)
	assert.Equal(t, []string{"POST " + stableTokenAPI, "POST " + phoneAPI}, r.names())
}
