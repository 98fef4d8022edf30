package main

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	trace "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// printSpans stands for a collector. It prints the spans that it is sent.
func printSpans(stdout io.Writer) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var request collector.ExportTraceServiceRequest
		if err != nil || proto.Unmarshal(body, &request) != nil {
			http.Error(w, "no spans", http.StatusBadRequest)
			return
		}
		for _, resource := range request.GetResourceSpans() {
			for _, scope := range resource.GetScopeSpans() {
				for _, span := range scope.GetSpans() {
					fmt.Fprintln(stdout, line(span))
				}
			}
		}
	})
}

func line(span *trace.Span) string {
	var b strings.Builder
	fmt.Fprintf(&b, "trace %x span %x parent %x: %s, %v", span.GetTraceId()[:4], span.GetSpanId()[:4], short(span.GetParentSpanId()),
		span.GetName(), time.Duration(span.GetEndTimeUnixNano()-span.GetStartTimeUnixNano()).Round(time.Microsecond)) //nolint:gosec // spans are short
	for _, attribute := range span.GetAttributes() {
		fmt.Fprintf(&b, " %s=%s", attribute.GetKey(), value(attribute.GetValue()))
	}
	if status := span.GetStatus(); status.GetCode() == trace.Status_STATUS_CODE_ERROR {
		fmt.Fprintf(&b, " ERROR %s", status.GetMessage())
	}
	return b.String()
}

func short(id []byte) []byte { return id[:min(4, len(id))] }

func value(v *common.AnyValue) string {
	if number, ok := v.GetValue().(*common.AnyValue_IntValue); ok {
		return fmt.Sprint(number.IntValue)
	}
	return v.GetStringValue()
}
