package main

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
)

const phoneAPI = "/wxa/business/getuserphonenumber"

func TestRunPrintsSpansAndMetrics(t *testing.T) {
	var stdout bytes.Buffer
	if err := run(context.Background(), func(string) string { return "" }, &stdout); err != nil {
		t.Fatal(err)
	}
	for pattern, want := range map[string]int{
		// A root span of each handler and of each token fetch.
		`parent : POST /phone,`:                                                                 3,
		`parent : POST /cgi-bin/stable_token,`:                                                  2,
		`parent \w{8}: POST ` + phoneAPI + `, `:                                                 4,
		`http\.request\.resend_count=1`:                                                         1,
		`ERROR tap_again`:                                                                       1,
		`wechat\.errcode=40029 wechat\.rid=\S+ ERROR code_rejected`:                             1,
		`wechat\.errcode=40001 wechat\.rid=\S+ ERROR token_rejected`:                            1,
		`wxphone_redemptions_total\{.*url_template="` + phoneAPI + `",wxphone_outcome="ok"\} 2`: 1,
		`wxphone_redemptions_total\{.*wxphone_outcome="code_rejected"\} 1`:                      1,
		`http_client_request_duration_seconds_count\{error_type="token_rejected",.*url_template="` + phoneAPI + `"\} 1`: 1,
		`http_client_request_duration_seconds_count\{http_.*url_template="/cgi-bin/stable_token"\} 2`:                   1,
	} {
		if got := len(regexp.MustCompile(pattern).FindAllString(stdout.String(), -1)); got != want {
			t.Errorf("%d times %s, want %d", got, pattern, want)
		}
	}
	for _, secret := range []string{"access_token=", "13800000000"} {
		if strings.Contains(stdout.String(), secret) {
			t.Errorf("the output holds %s", secret)
		}
	}
	if t.Failed() {
		t.Log(stdout.String())
	}
}

func TestSpansGoToTheCollectorOfTheEnvironment(t *testing.T) {
	var sent atomic.Int64
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/traces" {
			sent.Add(r.ContentLength)
		}
	}))
	defer collector.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL)
	var stdout bytes.Buffer
	if err := run(context.Background(), func(string) string { return collector.URL }, &stdout); err != nil {
		t.Fatal(err)
	}
	if sent.Load() == 0 {
		t.Error("no spans arrived")
	}
	if strings.Contains(stdout.String(), "span ") {
		t.Error("spans were printed too")
	}
}

func TestCollectorRefusesWhatIsNoSpans(t *testing.T) {
	w := httptest.NewRecorder()
	printSpans(new(bytes.Buffer)).ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/v1/traces", strings.NewReader("spans")))
	if w.Code != http.StatusBadRequest {
		t.Errorf("status %d", w.Code)
	}
}
