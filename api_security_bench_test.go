package wxphone_test

import (
	"context"
	"net/http"
	"testing"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/wxphonetest"
)

// BenchmarkSecureCall times a call with API security, the fake's half of the
// work included: each side signs once and verifies once.
func BenchmarkSecureCall(b *testing.B) {
	server := wxphonetest.NewServer(b, wxphonetest.WithAPISecurity())
	client := server.NewClient()
	benchmarkChecks(b, client)
}

// BenchmarkSecureCallPlain is the same call without API security.
func BenchmarkSecureCallPlain(b *testing.B) {
	benchmarkChecks(b, wxphonetest.NewServer(b).NewClient())
}

// BenchmarkSecureRequest times what a request costs the Client alone: sealing
// and signing it. The transport refuses it at once.
func BenchmarkSecureRequest(b *testing.B) {
	server := wxphonetest.NewServer(b, wxphonetest.WithAPISecurity())
	client := answering(b, http.StatusOK, `{"errcode":1,"errmsg":"no such data"}`, wxphone.WithAPISecurity(server.APISecurity()))
	benchmarkChecks(b, client)
}

func benchmarkChecks(b *testing.B, client *wxphone.Client) {
	b.Helper()
	ctx := context.Background()
	b.ReportAllocs()
	b.ResetTimer()
	for i := 0; i < b.N; i++ {
		if _, err := client.CheckEncryptedData(ctx, "data"); err != nil {
			b.Fatal(err)
		}
	}
}
