package otelwxphone_test

import (
	"context"
	"fmt"
	"log"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/otelwxphone"
	"github.com/wxphone/wxphone/wxphonetest"
)

// A program sets the global providers and passes WithTelemetry() to New. This
// example has a provider of its own, and prints what that gets.
func ExampleWithTelemetry() {
	wechat, err := wxphonetest.Start()
	if err != nil {
		log.Fatal(err)
	}
	defer wechat.Close()
	code := wechat.IssueCode(wxphone.PhoneInfo{PhoneNumber: "13800000000"})
	wechat.FailNext("/wxa/business/getuserphonenumber", -1, "", 1)
	spans := tracetest.NewInMemoryExporter()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans))

	client := wechat.NewClient(otelwxphone.WithTelemetry(otelwxphone.WithTracerProvider(provider)))

	if _, err := client.GetPhoneNumber(context.Background(), code); err != nil {
		log.Fatal(err)
	}
	for _, span := range spans.GetSpans() {
		fmt.Println(span.Name, span.Status.Code)
	}
	// Output:
	// POST /cgi-bin/stable_token Unset
	// POST /wxa/business/getuserphonenumber Error
	// POST /wxa/business/getuserphonenumber Unset
}
