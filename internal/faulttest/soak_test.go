package faulttest

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/wxphonetest"
)

var soakCalls = flag.Int("soak", 20_000, "how many calls the soak makes; a million is a thorough one")

const (
	soakCallers = 128
	faultEvery  = 100 // requests
	heapSlack   = 4 << 20
)

// soak sends calls to one fake after the other: a fake remembers every code,
// and in the end its memory would be all that is measured. To the client the
// next fake is a WeChat that has forgotten its tokens, and each fake revokes them
// once more.
type soak struct {
	fake     atomic.Pointer[wxphonetest.Server]
	client   *wxphone.Client
	requests atomic.Int64
	outcomes map[string]int
	mu       sync.Mutex
}

// RoundTrip implements [http.RoundTripper]. One request in faultEvery meets a
// fault, of each kind in turn. The faults are made here and not by the fake, so
// that the client alone meets them.
func (s *soak) RoundTrip(req *http.Request) (*http.Response, error) {
	next := s.fake.Load().HTTPClient().Transport
	n := s.requests.Add(1)
	if n%faultEvery != 0 {
		return next.RoundTrip(req)
	}
	kinds := []func(*http.Request, http.RoundTripper) (*http.Response, error){busy, drop, lose, badGateway}
	return kinds[n/faultEvery%int64(len(kinds))](req, next)
}

func busy(req *http.Request, _ http.RoundTripper) (*http.Response, error) {
	return answer(req, http.StatusOK, `{"errcode":-1,"errmsg":"system error"}`), nil
}

func badGateway(req *http.Request, _ http.RoundTripper) (*http.Response, error) {
	return answer(req, http.StatusBadGateway, "<html><h1>502 Bad Gateway</h1></html>"), nil
}

// answer is one that did not come from WeChat: the request has no effect.
func answer(req *http.Request, status int, body string) *http.Response {
	sent(req)
	return &http.Response{
		Request: req, StatusCode: status, ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{},
		ContentLength: int64(len(body)), Body: io.NopCloser(strings.NewReader(body)),
	}
}

func drop(req *http.Request, _ http.RoundTripper) (*http.Response, error) {
	sent(req)
	return nil, io.EOF
}

// lose lets the request have its effect.
func lose(req *http.Request, next http.RoundTripper) (*http.Response, error) {
	resp, err := next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	resp.Body.Close()
	return nil, io.EOF
}

// sent tells the client that its request went out whole.
func sent(req *http.Request) {
	if req.Body != nil {
		req.Body.Close()
	}
	if trace := httptrace.ContextClientTrace(req.Context()); trace != nil {
		trace.GetConn(req.URL.Host)
		trace.GotConn(httptrace.GotConnInfo{})
		trace.WroteRequest(httptrace.WroteRequestInfo{})
	}
}

// shiftTB ends with a shift, so that its fake can be forgotten.
type shiftTB struct {
	*testing.T
	cleanups []func()
}

func (s *shiftTB) Cleanup(f func()) { s.cleanups = append(s.cleanups, f) }

func (s *shiftTB) end() {
	for _, f := range s.cleanups {
		f()
	}
}

func TestSoak(t *testing.T) {
	t.Parallel()
	s := &soak{outcomes: map[string]int{}}
	tb := &shiftTB{T: t}
	first := wxphonetest.NewServer(tb)
	s.fake.Store(first)
	s.client = first.NewClient(wxphone.WithHTTPClient(&http.Client{Transport: s}))
	tb.end()

	// A shift ends with the waits of its last retries, so a short soak has few.
	shifts := 4 * max(1, *soakCalls/200_000)
	perShift := max(1, *soakCalls/shifts)
	var baseline, end uint64
	begin := time.Now()
	for shift := range shifts {
		s.work(t, shift*perShift, perShift)
		require.False(t, t.Failed(), "calls are not accounted for")
		switch shift + 1 {
		case shifts / 4: // from here on it must not grow
			baseline = heapInUse()
		case shifts:
			end = heapInUse()
		}
	}
	took := time.Since(begin)

	calls := perShift * shifts
	t.Logf("%d calls in %v, %.0f/s; heap %d KiB after a quarter, %d KiB at the end; %d goroutines; %d requests",
		calls, took.Round(time.Millisecond), float64(calls)/took.Seconds(), baseline>>10, end>>10, runtime.NumGoroutine(), s.requests.Load())
	sum, consumed := 0, 0
	for outcome, n := range s.outcomes {
		t.Logf("%8d %s", n, outcome)
		sum += n
		if strings.HasPrefix(outcome, consumedOutcome) {
			consumed += n
		}
	}
	assert.Equal(t, calls, sum, "every code is accounted for")
	assert.LessOrEqual(t, end, baseline+heapSlack, "memory grows")
	lost := s.requests.Load()/faultEvery/4 + 1
	assert.LessOrEqual(t, int64(consumed), lost, "no code is lost but by a lost answer")
	// A call that meets three faults in a row, or two rotations, gives up.
	assert.LessOrEqual(t, calls-s.outcomes[obtainedOutcome]-consumed, calls/200)
}

const (
	obtainedOutcome = "numbers obtained"
	consumedOutcome = "codes consumed, the answer lost"
)

// work makes the calls from number first on, against a fake of their own.
func (s *soak) work(t *testing.T, first, n int) {
	t.Helper()
	tb := &shiftTB{T: t}
	defer tb.end()
	fake := wxphonetest.NewServer(tb)
	s.fake.Store(fake)
	judge := fake.NewClient()
	var next atomic.Int64
	var group sync.WaitGroup
	for range min(soakCallers, n) {
		group.Add(1)
		go func() {
			defer group.Done()
			outcomes := map[string]int{}
			for i := int(next.Add(1)) - 1; i < n && !t.Failed(); i = int(next.Add(1)) - 1 {
				if i == n/2 {
					fake.RevokeToken()
				}
				outcomes[s.call(t, fake, judge, first+i)]++
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			for outcome, n := range outcomes {
				s.outcomes[outcome] += n
			}
		}()
	}
	group.Wait()
	s.fake.Store(nil) // or it would be measured
}

// call redeems a code and returns what became of it.
func (s *soak) call(t *testing.T, fake *wxphonetest.Server, judge *wxphone.Client, number int) string {
	t.Helper()
	ctx := context.Background()
	somebody := numbered(number)
	code := fake.IssueCode(somebody)
	info, err := s.client.GetPhoneNumber(ctx, code)
	if err == nil {
		if info.PhoneNumber != somebody.PhoneNumber {
			t.Errorf("call %d got somebody else's number", number)
		}
		return obtainedOutcome
	}
	assertTyped(t, err)
	again := wxphone.ErrAccessToken
	for errors.Is(again, wxphone.ErrAccessToken) { // it dies for the judge too
		_, again = judge.GetPhoneNumber(ctx, code)
	}
	switch {
	case errors.Is(err, wxphone.ErrCodeInvalid):
		assert.ErrorIs(t, err, wxphone.ErrCodeMaybeUsed)
		assert.ErrorIs(t, again, wxphone.ErrCodeInvalid)
		return consumedOutcome
	case errors.Is(again, wxphone.ErrCodeInvalid):
		return consumedOutcome + ", then " + kindOf(err)
	case again == nil:
		return "codes given up that still work, after " + kindOf(err)
	default:
		t.Errorf("call %d: %v; the judge: %v", number, err, again)
		return "unaccounted for"
	}
}

func kindOf(err error) string {
	var refusal *wxphone.APIError
	if errors.As(err, &refusal) {
		return fmt.Sprintf("errcode %d", refusal.Code)
	}
	return fmt.Sprintf("what HTTPStatus calls %d", wxphone.HTTPStatus(err))
}

func heapInUse() uint64 {
	runtime.GC()
	runtime.GC() // empties the pools that survive one
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}
