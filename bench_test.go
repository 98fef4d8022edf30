package wxphone_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/wxphone/wxphone"
)

const (
	benchAppID  = "wx0123456789abcdef"
	benchCode   = "e31968a7f94cc5ee25fafc2aef2773f0bb8c3937b22520eb8ee345274d00c144"
	benchToken  = "61_" + "kZ5nXUJ8oqWfQ0y3bR7dLhVtMgC2sEaP4xN6uTiYwSrDvBmFjKpHzGeQc9O1lAI8"
	benchAnswer = `{"errcode":0,"errmsg":"ok","phone_info":{"phoneNumber":"13800000000","purePhoneNumber":"13800000000",` +
		`"countryCode":"86","watermark":{"timestamp":1700000000,"appid":"` + benchAppID + `"}}}`
)

// inMemory answers every request at once, so that only the client's own work
// is timed.
type inMemory struct{}

func (inMemory) RoundTrip(req *http.Request) (*http.Response, error) {
	_, _ = io.Copy(io.Discard, req.Body)
	return &http.Response{
		StatusCode:    http.StatusOK,
		Header:        http.Header{"Content-Type": {"application/json"}},
		Body:          io.NopCloser(strings.NewReader(benchAnswer)),
		ContentLength: int64(len(benchAnswer)),
		Request:       req,
	}, nil
}

func newBenchClient(b *testing.B) *wxphone.Client {
	b.Helper()
	source := wxphone.CacheTokens(wxphone.TokenSourceFunc(func(context.Context) (wxphone.Token, error) {
		return wxphone.Token{AccessToken: benchToken, ExpiresAt: time.Now().Add(2 * time.Hour)}, nil
	}))
	client, err := wxphone.New(benchAppID, "", wxphone.WithTokenSource(source),
		wxphone.WithHTTPClient(&http.Client{Transport: inMemory{}}))
	if err != nil {
		b.Fatal(err)
	}
	return client
}

func BenchmarkGetPhoneNumber(b *testing.B) {
	client := newBenchClient(b)
	ctx := context.Background()
	b.ReportAllocs()
	b.ResetTimer()
	for i := 0; i < b.N; i++ {
		info, err := client.GetPhoneNumber(ctx, benchCode)
		if err != nil || info.PurePhoneNumber != "13800000000" {
			b.Fatal(info, err)
		}
	}
}

// BenchmarkGetPhoneNumberBare is the least that a caller could write by hand:
// no retries, no checks, no redaction.
func BenchmarkGetPhoneNumberBare(b *testing.B) {
	client := &http.Client{Transport: inMemory{}}
	ctx := context.Background()
	b.ReportAllocs()
	b.ResetTimer()
	for i := 0; i < b.N; i++ {
		body, err := json.Marshal(map[string]string{"code": benchCode})
		if err != nil {
			b.Fatal(err)
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodPost,
			"https://api.weixin.qq.com/wxa/business/getuserphonenumber?access_token="+benchToken, bytes.NewReader(body))
		if err != nil {
			b.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		resp, err := client.Do(req)
		if err != nil {
			b.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			b.Fatal(err)
		}
		var answer struct {
			ErrCode   int           `json:"errcode"`
			ErrMsg    string        `json:"errmsg"`
			PhoneInfo barePhoneInfo `json:"phone_info"`
		}
		if err := json.Unmarshal(text, &answer); err != nil || answer.PhoneInfo.PurePhoneNumber != "13800000000" {
			b.Fatal(answer, err)
		}
	}
}

// barePhoneInfo has PhoneInfo's fields without its tolerant decoding.
type barePhoneInfo struct {
	PhoneNumber     string `json:"phoneNumber"`
	PurePhoneNumber string `json:"purePhoneNumber"`
	CountryCode     string `json:"countryCode"`
	Watermark       struct {
		AppID     string `json:"appid"`
		Timestamp int64  `json:"timestamp"`
	} `json:"watermark"`
}

func BenchmarkCachedAccessToken(b *testing.B) {
	client := newBenchClient(b)
	ctx := context.Background()
	if _, err := client.AccessToken(ctx); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.ResetTimer()
	for i := 0; i < b.N; i++ {
		if _, err := client.AccessToken(ctx); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkTimeNow(b *testing.B) {
	for i := 0; i < b.N; i++ {
		sink = time.Now()
	}
}

var sink time.Time
