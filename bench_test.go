package wxphone_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/internal/tlstest"
)

// inMemory answers every request at once, so that only the client's own work
// is timed.
type inMemory struct{}

func (inMemory) RoundTrip(req *http.Request) (*http.Response, error) {
	_, _ = io.Copy(io.Discard, req.Body)
	return &http.Response{
		StatusCode:    http.StatusOK,
		Header:        http.Header{"Content-Type": {"application/json"}},
		Body:          io.NopCloser(strings.NewReader(success)),
		ContentLength: int64(len(success)),
		Request:       req,
	}, nil
}

func newBenchClient(b *testing.B) *wxphone.Client {
	b.Helper()
	return sendingThrough(b, inMemory{}, wxphone.WithTokenSource(wxphone.CacheTokens(fixedToken(someToken))))
}

func BenchmarkGetPhoneNumber(b *testing.B) {
	client := newBenchClient(b)
	ctx := context.Background()
	b.ReportAllocs()
	b.ResetTimer()
	for i := 0; i < b.N; i++ {
		info, err := client.GetPhoneNumber(ctx, someCode)
		if err != nil || info.PurePhoneNumber != "13800000000" {
			b.Fatal(info, err)
		}
	}
}

// BenchmarkGetPhoneNumberUnmerged is GetPhoneNumber without the merging of
// calls with the same code, which must cost next to nothing.
func BenchmarkGetPhoneNumberUnmerged(b *testing.B) {
	client := newBenchClient(b)
	ctx := context.Background()
	b.ReportAllocs()
	b.ResetTimer()
	for i := 0; i < b.N; i++ {
		info, err := client.RedeemUnmerged(ctx, someCode)
		if err != nil || info.PurePhoneNumber != "13800000000" {
			b.Fatal(info, err)
		}
	}
}

// BenchmarkRememberedPhoneNumber is a repeat within the window.
func BenchmarkRememberedPhoneNumber(b *testing.B) {
	client := sendingThrough(b, inMemory{}, wxphone.WithDuplicateWindow(time.Hour))
	ctx := context.Background()
	b.ReportAllocs()
	for i := 0; i < b.N; i++ {
		if _, err := client.GetPhoneNumber(ctx, someCode); err != nil {
			b.Fatal(err)
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
		body, err := json.Marshal(map[string]string{"code": someCode})
		if err != nil {
			b.Fatal(err)
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodPost,
			"https://api.weixin.qq.com/wxa/business/getuserphonenumber?access_token="+someToken, bytes.NewReader(body))
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

// BenchmarkConcurrentCallers has 256 callers over loopback TLS and a server
// that takes 20 ms, on the default transport.
func BenchmarkConcurrentCallers(b *testing.B) {
	const callers, latency = 256, 20 * time.Millisecond
	server, httpClient, connections := tlstest.NewServer(b, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		time.Sleep(latency)
		_, _ = w.Write([]byte(success))
	}))
	client, err := wxphone.New(someAppID, "", wxphone.WithTokenSource(fixedToken(someToken)),
		wxphone.WithHTTPClient(httpClient), wxphone.WithBaseURL(server.URL))
	require.NoError(b, err)
	jobs := make(chan string) // a code each: calls with the same one would be merged
	var group sync.WaitGroup
	b.ResetTimer()
	for range callers {
		group.Add(1)
		go func() {
			defer group.Done()
			for code := range jobs {
				if _, err := client.GetPhoneNumber(context.Background(), code); err != nil {
					b.Error(err)
				}
			}
		}()
	}
	for i := 0; i < b.N; i++ {
		jobs <- fmt.Sprintf("%064x", i)
	}
	close(jobs)
	group.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "req/s")
	b.ReportMetric(float64(connections.Load()), "connections")
}

// A process with a thousand mini-programs: what a Client costs, and what all
// of them share.

const manyApps = 1000

var manyAppIDs = func() []string {
	appIDs := make([]string, manyApps)
	for i := range appIDs {
		appIDs[i] = fmt.Sprintf("wx%016x", i)
	}
	return appIDs
}()

// anyApp answers each API of New's and of a platform's Clients for every appid.
func anyApp(path string) string {
	switch path {
	case phoneAPI:
		return `{"errcode":0,"errmsg":"ok","phone_info":{"phoneNumber":"13800000000","purePhoneNumber":"13800000000","countryCode":"86"}}`
	case stableTokenAPI:
		return `{"access_token":"` + someToken + `","expires_in":7200}`
	default:
		return honestPlatform[path]
	}
}

// inProcess is a transport for anyApp's answers.
var inProcess = roundTrip(func(r *http.Request) (*http.Response, error) { return answerTo(r, anyApp(r.URL.Path)), nil })

// oneRefreshToken is the RefreshTokens of every mini-program.
type oneRefreshToken struct{}

func (oneRefreshToken) LoadRefreshToken(context.Context, string) (string, error) {
	return someRefreshToken, nil
}
func (oneRefreshToken) SaveRefreshToken(context.Context, string, string) error { return nil }

type makeClient func(appID string) (*wxphone.Client, error)

func plainClients(opts ...wxphone.Option) makeClient {
	return func(appID string) (*wxphone.Client, error) { return wxphone.New(appID, someSecret, opts...) }
}

func platformClients(tb testing.TB, opts ...wxphone.Option) makeClient {
	tb.Helper()
	platform, err := wxphone.NewComponent(someComponentID, someComponentSecret, latestTicket, opts...)
	require.NoError(tb, err)
	return func(appID string) (*wxphone.Client, error) { return platform.Client(appID, oneRefreshToken{}) }
}

func makeAll(tb testing.TB, newClient makeClient) []*wxphone.Client {
	tb.Helper()
	clients := make([]*wxphone.Client, len(manyAppIDs))
	for i, appID := range manyAppIDs {
		client, err := newClient(appID)
		if err != nil {
			tb.Fatal(err)
		}
		clients[i] = client
	}
	return clients
}

func useAll(tb testing.TB, clients []*wxphone.Client) {
	tb.Helper()
	for _, client := range clients {
		if _, err := client.GetPhoneNumber(context.Background(), someCode); err != nil {
			tb.Fatal(err)
		}
	}
}

func heap() uint64 {
	runtime.GC()
	runtime.GC() // for what the first one had finalised
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// perClient measures what a Client keeps, new and with its access_token.
func perClient(tb testing.TB, newClient makeClient) (made, warm float64) {
	tb.Helper()
	useAll(tb, makeAll(tb, newClient)[:1]) // what the first call sets up for all
	before := heap()
	clients := makeAll(tb, newClient)
	afterMaking := heap()
	useAll(tb, clients)
	afterUse := heap()
	runtime.KeepAlive(clients)
	n := float64(len(clients))
	return (float64(afterMaking) - float64(before)) / n, (float64(afterUse) - float64(before)) / n
}

func benchmarkManyClients(b *testing.B, newClient makeClient) {
	b.Helper()
	made, warm := perClient(b, newClient)
	b.ReportAllocs()
	b.ResetTimer()
	for i := 0; i < b.N; i++ {
		makeAll(b, newClient)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/manyApps, "ns/Client")
	b.ReportMetric(made, "B/Client")
	b.ReportMetric(warm, "B/warm-Client")
}

// An operation is a thousand Clients.
func BenchmarkThousandClients(b *testing.B) {
	benchmarkManyClients(b, plainClients(wxphone.WithHTTPClient(&http.Client{Transport: inProcess})))
}

func BenchmarkComponentClient(b *testing.B) {
	benchmarkManyClients(b, platformClients(b, wxphone.WithHTTPClient(&http.Client{Transport: inProcess})))
}

func TestAClientIsSmall(t *testing.T) {
	// Not parallel: other tests' memory would count.
	transport := wxphone.WithHTTPClient(&http.Client{Transport: inProcess})
	for name, newClient := range map[string]makeClient{"New": plainClients(transport), "Component.Client": platformClients(t, transport)} {
		made, warm := perClient(t, newClient)
		t.Logf("%s: %.0f bytes, %.0f with an access_token", name, made, warm)
		assert.Less(t, made, 4096.0, name)
		assert.Less(t, warm, 8192.0, name)
	}
}

// listen serves anyApp on the loopback interface and counts the connections.
func listen(t *testing.T, delay time.Duration) (baseURL string, connections *atomic.Int32) {
	t.Helper()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		time.Sleep(delay)
		_, _ = io.WriteString(w, anyApp(r.URL.Path))
	}))
	connections = tlstest.CountConnections(server)
	server.Start()
	t.Cleanup(server.Close)
	return server.URL, connections
}

func TestThousandClientsShareTheirConnections(t *testing.T) {
	t.Parallel()
	for name, newClients := range map[string]func(...wxphone.Option) makeClient{
		"New":              plainClients,
		"Component.Client": func(opts ...wxphone.Option) makeClient { return platformClients(t, opts...) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			baseURL, connections := listen(t, 0)
			clients := makeAll(t, newClients(wxphone.WithBaseURL(baseURL)))
			useAll(t, clients)
			assert.LessOrEqual(t, connections.Load(), int32(5), "one after the other")

			baseURL, connections = listen(t, time.Millisecond)
			clients = makeAll(t, newClients(wxphone.WithBaseURL(baseURL)))
			var group sync.WaitGroup
			for _, client := range clients {
				group.Add(1)
				go func() {
					defer group.Done()
					_, err := client.GetPhoneNumber(context.Background(), someCode)
					assert.NoError(t, err)
				}()
			}
			group.Wait()
			assert.LessOrEqual(t, connections.Load(), int32(1500), "all at once, where each on its own makes 2,000")
			t.Logf("all at once: %d connections", connections.Load())
		})
	}
}

// BenchmarkCrowd has 1,536 callers over loopback TLS and a server that takes
// 200 ms, on the default transport and on one that has no limits, in turn, each
// from its first connection on. It reports what the default makes of the other's
// throughput and 99th percentile, and how many connections a cold burst of 512
// callers makes.
func BenchmarkCrowd(b *testing.B) {
	const callers, latency = 1536, 200 * time.Millisecond
	var ours, unlimited crowd
	for range b.N {
		for i := range 4 {
			if i%2 == 0 {
				ours.meet(b, false, callers, 10, latency)
			}
			unlimited.meet(b, true, callers, 10, latency)
			if i%2 == 1 {
				ours.meet(b, false, callers, 10, latency)
			}
		}
	}
	b.ReportMetric(ours.throughput()/unlimited.throughput(), "throughput-ratio")
	b.ReportMetric(ours.p99()/unlimited.p99(), "p99-ratio")
	b.ReportMetric(ours.throughput(), "calls/s")
	b.ReportMetric(1000*ours.p99(), "p99-ms")
	b.ReportMetric(ours.connectionsEach(), "connections/caller")
	b.ReportMetric(unlimited.connectionsEach(), "unlimited-connections/caller")
	var burst crowd
	burst.meet(b, false, 512, 1, 20*time.Millisecond)
	b.ReportMetric(burst.connectionsEach(), "burst-connections/caller")
}

// crowd is what many callers met, over all rounds.
type crowd struct {
	callers, connections int
	took                 time.Duration
	calls                []time.Duration
}

func (c *crowd) throughput() float64      { return float64(len(c.calls)) / c.took.Seconds() }
func (c *crowd) connectionsEach() float64 { return float64(c.connections) / float64(c.callers) }

func (c *crowd) p99() float64 {
	slices.Sort(c.calls)
	return c.calls[len(c.calls)*99/100].Seconds()
}

// meet has callers make their calls, one after the other, on a transport that
// has no connection yet.
func (c *crowd) meet(b *testing.B, unlimited bool, callers, callsEach int, latency time.Duration) {
	b.Helper()
	server, httpClient, connections := tlstest.NewServer(b, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		time.Sleep(latency)
		_, _ = w.Write([]byte(success))
	}))
	defer server.Close()
	if unlimited {
		transport := httpClient.Transport.(*http.Transport).Clone()
		transport.DialContext = nil
		transport.MaxIdleConns, transport.MaxIdleConnsPerHost = 0, 1<<20
		httpClient = &http.Client{Transport: transport}
	}
	defer httpClient.CloseIdleConnections()
	client, err := wxphone.New(someAppID, "", wxphone.WithTokenSource(fixedToken(someToken)),
		wxphone.WithHTTPClient(httpClient), wxphone.WithBaseURL(server.URL))
	require.NoError(b, err)
	calls := make([]time.Duration, callers*callsEach)
	var group sync.WaitGroup
	begin := time.Now()
	for caller := range callers {
		group.Add(1)
		go func() {
			defer group.Done()
			for call := range callsEach {
				code := strconv.Itoa(caller*callsEach + call) // calls with one code are merged
				called := time.Now()
				if _, err := client.GetPhoneNumber(context.Background(), code); err != nil {
					b.Error(err)
				}
				calls[caller*callsEach+call] = time.Since(called)
			}
		}()
	}
	group.Wait()
	c.took += time.Since(begin)
	c.callers += callers
	c.connections += int(connections.Load())
	c.calls = append(c.calls, calls...)
}
