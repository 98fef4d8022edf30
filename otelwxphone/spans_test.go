package otelwxphone_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/otelwxphone"
	"github.com/wxphone/wxphone/wxphonetest"
)

// sent is what all spans of calls to the phone number API have.
const sent = "http.request.method=POST "

// to is what follows the result, in the order of the keys.
const to = " server.address=api.weixin.qq.com url.template=" + phoneAPI

func TestExchangeIsASpanBelowTheCallers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecorder()
		wechat := wxphonetest.NewServer(t)
		wechat.SetLatency(phoneAPI, 120*time.Millisecond)
		client := wechat.NewClient(r.option())
		began := time.Now()

		ctx, caller := r.tracers.Tracer("app").Start(context.Background(), "POST /phone")
		_, err := client.GetPhoneNumber(ctx, wechat.IssueCode(aPhone))
		caller.End()
		require.NoError(t, err)

		span := r.last(t, phoneAPI)
		assert.Equal(t, "POST "+phoneAPI, span.Name)
		assert.Equal(t, trace.SpanKindClient, span.SpanKind)
		assert.Equal(t, caller.SpanContext().SpanID(), span.Parent.SpanID())
		assert.Equal(t, caller.SpanContext().TraceID(), span.SpanContext.TraceID())
		assert.Equal(t, began, span.StartTime)
		assert.Equal(t, 120*time.Millisecond, span.EndTime.Sub(span.StartTime))
		assert.Equal(t, sent+"http.response.status_code=200"+to+" wxphone.outcome=ok", text(span.Attributes))
		assert.Equal(t, sdktrace.Status{}, span.Status)
		assert.Empty(t, span.Events)
		assert.Empty(t, span.Links)
		assert.Equal(t, "https://opentelemetry.io/schemas/1.43.0", span.InstrumentationScope.SchemaURL)
	})
}

// A token fetch can serve many callers, so none is its parent.
func TestTokenFetchIsARootSpan(t *testing.T) {
	t.Parallel()
	r := newRecorder()
	wechat := wxphonetest.NewServer(t)
	ctx, caller := r.tracers.Tracer("app").Start(context.Background(), "POST /phone")
	_, err := wechat.NewClient(r.option()).GetPhoneNumber(ctx, wechat.IssueCode(aPhone))
	require.NoError(t, err)

	assert.Equal(t, []string{"POST " + stableTokenAPI, "POST " + phoneAPI}, r.names())
	span := r.last(t, stableTokenAPI)
	assert.False(t, span.Parent.IsValid())
	assert.NotEqual(t, caller.SpanContext().TraceID(), span.SpanContext.TraceID())
	assert.Equal(t, sent+"http.response.status_code=200 server.address=api.weixin.qq.com url.template="+
		stableTokenAPI+" wxphone.outcome=ok", text(span.Attributes))
}

func TestFailureIsTheSpansStatus(t *testing.T) {
	t.Parallel()
	const rid = "61a2b3c4-0f1e2d3c-4b5a6978"
	tests := []struct {
		name    string
		fail    func(*wxphonetest.Server)
		outcome string
		want    string
	}{
		{"refused", func(s *wxphonetest.Server) { s.FailNext(phoneAPI, 40029, "invalid code rid: "+rid, 1) },
			"code_rejected", sent + "http.response.status_code=200" + to + " wechat.errcode=40029 wechat.rid=" + rid},
		{"busy", func(s *wxphonetest.Server) { s.FailNext(phoneAPI, -1, "system error rid: "+rid, 1) },
			"transient", sent + "http.response.status_code=200" + to + " wechat.errcode=-1 wechat.rid=" + rid},
		{"no rid", func(s *wxphonetest.Server) { s.RespondNext(phoneAPI, 200, `{"errcode":45011}`, 1) },
			"rate_limited", sent + "http.response.status_code=200" + to + " wechat.errcode=45011"},
		{"a gateway's page", func(s *wxphonetest.Server) { s.RespondNext(phoneAPI, 502, "<html>", 1) },
			"not_wechat", sent + "http.response.status_code=502" + to},
		{"lost", func(s *wxphonetest.Server) { s.LoseNext(phoneAPI, 1) },
			"network", sent[:len(sent)-1] + to},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newRecorder()
			wechat := wxphonetest.NewServer(t)
			tt.fail(wechat)
			_, err := wechat.NewClient(r.option(), wxphone.WithMaxRetries(0)).
				GetPhoneNumber(context.Background(), wechat.IssueCode(aPhone))
			require.Error(t, err)

			span := r.last(t, phoneAPI)
			assert.Equal(t, "error.type="+tt.outcome+" "+tt.want+" wxphone.outcome="+tt.outcome, text(span.Attributes))
			assert.Equal(t, sdktrace.Status{Code: codes.Error, Description: tt.outcome}, span.Status)
			assert.Empty(t, span.Events)
			assert.Equal(t, map[string]int64{"url.template=" + phoneAPI + " wxphone.outcome=" + tt.outcome: 1}, r.redemptions(t))
		})
	}
}

// The context of the caller is over when the exchange is observed.
func TestCallWhoseContextEndsIsRecorded(t *testing.T) {
	for outcome, end := range map[string]func() (context.Context, context.CancelFunc){
		"timeout": func() (context.Context, context.CancelFunc) {
			return context.WithTimeout(context.Background(), time.Second)
		},
		"canceled": func() (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(context.Background())
			time.AfterFunc(time.Second, cancel)
			return ctx, cancel
		},
	} {
		t.Run(outcome, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRecorder()
				wechat := wxphonetest.NewServer(t)
				wechat.SetLatency(phoneAPI, time.Minute)
				ctx, cancel := end()
				defer cancel()
				ctx, caller := r.tracers.Tracer("app").Start(ctx, "POST /phone")
				_, err := wechat.NewClient(r.option()).GetPhoneNumber(ctx, wechat.IssueCode(aPhone))
				require.Error(t, err)

				span := r.last(t, phoneAPI)
				assert.Equal(t, caller.SpanContext().SpanID(), span.Parent.SpanID())
				assert.Equal(t, time.Second, span.EndTime.Sub(span.StartTime))
				assert.Equal(t, "error.type="+outcome+" "+sent[:len(sent)-1]+to+" wxphone.outcome="+outcome, text(span.Attributes))
				assert.Equal(t, uint64(1), r.durations(t)["error.type="+outcome+" "+sent[:len(sent)-1]+to])
				assert.Equal(t, map[string]int64{"url.template=" + phoneAPI + " wxphone.outcome=" + outcome: 1}, r.redemptions(t))
			})
		})
	}
}

func TestRetriesAreSpansSideBySide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecorder()
		wechat := wxphonetest.NewServer(t)
		wechat.FailNext(phoneAPI, -1, "", 1)
		wechat.DropNext(phoneAPI, 1)
		ctx, caller := r.tracers.Tracer("app").Start(context.Background(), "POST /phone")
		_, err := wechat.NewClient(r.option()).GetPhoneNumber(ctx, wechat.IssueCode(aPhone))
		require.NoError(t, err)

		spans := r.spans()[1:] // after the token fetch
		require.Len(t, spans, 3)
		for i, want := range []struct{ outcome, resend string }{
			{"transient", ""}, {"network", "http.request.resend_count=1"}, {"ok", "http.request.resend_count=2"},
		} {
			attributes := text(spans[i].Attributes)
			assert.Equal(t, caller.SpanContext().SpanID(), spans[i].Parent.SpanID())
			assert.Contains(t, attributes, "wxphone.outcome="+want.outcome)
			assert.Contains(t, attributes, want.resend)
			assert.Equal(t, want.resend != "", strings.Contains(attributes, "resend_count"))
			if i > 0 {
				assert.Less(t, spans[i-1].EndTime, spans[i].StartTime, "the pause between them is in no span")
			}
		}
		assert.Equal(t, map[string]int64{"url.template=" + phoneAPI + " wxphone.outcome=ok": 1}, r.redemptions(t),
			"one call is one redemption")
	})
}

func TestRefusedTokenIsASpanOfEachExchange(t *testing.T) {
	t.Parallel()
	r := newRecorder()
	wechat := wxphonetest.NewServer(t)
	client := wechat.NewClient(r.option())
	_, err := client.GetPhoneNumber(context.Background(), wechat.IssueCode(aPhone))
	require.NoError(t, err)
	wechat.RevokeToken()
	_, err = client.GetPhoneNumber(context.Background(), wechat.IssueCode(aPhone))
	require.NoError(t, err)

	assert.Equal(t, []string{
		"POST " + stableTokenAPI, "POST " + phoneAPI,
		"POST " + phoneAPI, "POST " + stableTokenAPI, "POST " + phoneAPI,
	}, r.names())
	refused := r.spans()[2]
	assert.Equal(t, sdktrace.Status{Code: codes.Error, Description: "token_rejected"}, refused.Status)
	assert.Contains(t, text(refused.Attributes), "wechat.errcode=40001")
	assert.Contains(t, text(r.last(t, phoneAPI).Attributes), "http.request.resend_count=1")
	assert.Equal(t, map[string]int64{"url.template=" + phoneAPI + " wxphone.outcome=ok": 2}, r.redemptions(t))
}

// refreshTokens keeps the refresh token of one mini-program.
type refreshTokens struct {
	mu    sync.Mutex
	token string
}

func (s *refreshTokens) LoadRefreshToken(context.Context, string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.token, nil
}

func (s *refreshTokens) SaveRefreshToken(_ context.Context, _, token string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.token = token
	return nil
}

func TestMiniProgramsOfAPlatformInheritTelemetry(t *testing.T) {
	t.Parallel()
	r := newRecorder()
	wechat := wxphonetest.NewServer(t)
	client, err := wechat.NewComponent(r.option()).Client(wechat.AppID(), &refreshTokens{token: wechat.Authorize()})
	require.NoError(t, err)
	ctx, caller := r.tracers.Tracer("app").Start(context.Background(), "POST /phone")
	_, err = client.GetPhoneNumber(ctx, wechat.IssueCode(aPhone))
	require.NoError(t, err)

	assert.Equal(t, []string{
		"POST /cgi-bin/component/api_component_token", "POST /cgi-bin/component/api_authorizer_token", "POST " + phoneAPI,
	}, r.names())
	assert.False(t, r.spans()[0].Parent.IsValid())
	assert.False(t, r.spans()[1].Parent.IsValid())
	assert.Equal(t, caller.SpanContext().SpanID(), r.spans()[2].Parent.SpanID())
}

// answering is a transport that answers every request with body.
type answering string

func (a answering) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(string(a))), Request: r}, nil
}

func TestServerIsNamedWithoutItsPort(t *testing.T) {
	t.Parallel()
	for baseURL, want := range map[string]string{
		"https://sh.api.weixin.qq.com":      "server.address=sh.api.weixin.qq.com url.template",
		"http://127.0.0.1:8080/wechat":      "server.address=127.0.0.1 server.port=8080 url.template",
		"https://[2001:db8::1]:8443":        "server.address=2001:db8::1 server.port=8443 url.template",
		"https://[2001:db8::1]":             "server.address=2001:db8::1 url.template",
		"https://gateway.example.com:443/a": "server.address=gateway.example.com server.port=443 url.template",
	} {
		r := newRecorder()
		client, err := wxphone.New("wx0123456789abcdef", "secret", r.option(), wxphone.WithBaseURL(baseURL),
			wxphone.WithHTTPClient(&http.Client{Transport: answering(`{"access_token":"t","expires_in":7200}`)}))
		require.NoError(t, err)
		_, err = client.AccessToken(context.Background())
		require.NoError(t, err)
		assert.Contains(t, text(r.last(t, stableTokenAPI).Attributes), want, baseURL)
		for attributes := range r.durations(t) {
			assert.Contains(t, attributes, want, baseURL)
		}
	}
}

// A sampler decides by the attributes that a span starts with.
func TestSamplerSeesTheRequest(t *testing.T) {
	t.Parallel()
	seen := new(sampler)
	wechat := wxphonetest.NewServer(t)
	client := wechat.NewClient(otelwxphone.WithTelemetry(
		otelwxphone.WithTracerProvider(sdktrace.NewTracerProvider(sdktrace.WithSampler(seen)))))
	_, err := client.GetPhoneNumber(context.Background(), wechat.IssueCode(aPhone))
	require.NoError(t, err)
	assert.Contains(t, seen.attributes, sent[:len(sent)-1]+to)
}

// sampler drops every span.
type sampler struct {
	mu         sync.Mutex
	attributes []string
}

func (s *sampler) ShouldSample(p sdktrace.SamplingParameters) sdktrace.SamplingResult {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.attributes = append(s.attributes, text(p.Attributes))
	return sdktrace.SamplingResult{Decision: sdktrace.Drop}
}

func (*sampler) Description() string { return "sampler" }
