package wxphonetest_test

import (
	"context"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wxphone/wxphone/wxphonetest"
)

func TestFailNextFailsSoManyRequests(t *testing.T) {
	t.Parallel()
	s := wxphonetest.NewServer(t)
	code := s.IssueCode(somePhone)
	s.FailNext(phoneNumber, -1, "", 2)

	for range 2 {
		a := redeem(t, s, code)
		assert.Equal(t, -1, a.ErrCode)
		assert.Regexp(t, `^system error rid: [0-9a-f]{8}-[0-9a-f]{8}-[0-9a-f]{8}$`, a.ErrMsg)
		assert.Equal(t, "application/json; encoding=utf-8", a.contentType)
	}
	assert.Zero(t, redeem(t, s, code).ErrCode, "failures left the code unused")
	assert.Equal(t, 3, s.Requests(phoneNumber))
}

func TestFailNextMessages(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		errcode int
		errmsg  string
		want    string
	}{
		"own text":     {40097, "bad things", `^bad things rid: \S+$`},
		"own rid":      {40097, "bad things, rid: 1-2-3", `^bad things, rid: 1-2-3$`},
		"known code":   {45011, "", `^api minute-quota reach limit.* rid: \S+$`},
		"unknown code": {12345, "", `^error 12345 rid: \S+$`},
		"format error": {47001, "", `^data format error hint: \[\w{6}-\w{5}\] rid: \S+$`},
		"code":         {40029, "", `^invalid code hint: \[\w{6}-\w{5}\] rid: \S+$`},
		"token":        {40001, "", `^invalid credential, [^\[]* rid: \S+$`},
		"success":      {0, "", `^ok$`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := wxphonetest.NewServer(t)
			s.FailNext(phoneNumber, tc.errcode, tc.errmsg, 1)
			a := redeem(t, s, "1")
			assert.Equal(t, tc.errcode, a.ErrCode)
			assert.Regexp(t, tc.want, a.ErrMsg)
		})
	}
}

func TestFaultsComeInOrder(t *testing.T) {
	t.Parallel()
	s := wxphonetest.NewServer(t)
	s.FailNext(phoneNumber, -1, "", 1)
	s.FailNext(phoneNumber, 45011, "", 1)
	s.DropNext(phoneNumber, 1)
	s.FailNext(stableToken, 45009, "", 1)

	assert.Equal(t, -1, redeem(t, s, "1").ErrCode)
	assert.Equal(t, 45011, redeem(t, s, "1").ErrCode)
	_, err := send(t, s, http.MethodPost, phoneNumber, nil, "{}")
	require.Error(t, err)
	assert.Equal(t, 40029, redeem(t, s, "1").ErrCode)
	assert.Equal(t, 45009, fetchStable(t, s, false).ErrCode, "endpoints have faults of their own")
}

func TestNegativeTimesLastUntilTheNextFault(t *testing.T) {
	t.Parallel()
	s := wxphonetest.NewServer(t)
	s.FailNext(phoneNumber, -1, "", -1)
	for range 5 {
		assert.Equal(t, -1, redeem(t, s, "1").ErrCode)
	}
	s.FailNext(phoneNumber, 45011, "", 1)
	assert.Equal(t, 45011, redeem(t, s, "1").ErrCode)
	assert.Equal(t, 40029, redeem(t, s, "1").ErrCode)

	s.DropNext(phoneNumber, -1)
	s.DropNext(phoneNumber, 0)
	assert.Equal(t, 40029, redeem(t, s, "1").ErrCode)
}

func TestRespondNextAnswersAsGiven(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		status      int
		body        string
		contentType string
	}{
		"gateway page": {502, "<html><body>Bad Gateway</body></html>", "text/html; charset=utf-8"},
		"empty":        {412, "", ""},
		"odd types":    {200, `{"errcode":"40029"}`, "text/plain"},
		"cut short":    {200, `{"session_key":"`, "text/plain"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := wxphonetest.NewServer(t)
			s.RespondNext(code2Session, tc.status, tc.body, 1)
			resp, err := s.HTTPClient().Get(host + code2Session)
			require.NoError(t, err)
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			assert.Equal(t, tc.status, resp.StatusCode)
			assert.Equal(t, tc.body, string(body))
			assert.Equal(t, tc.contentType, resp.Header.Get("Content-Type"))
		})
	}
}

func TestDropAndLoseDifferInEffect(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		cut   func(*wxphonetest.Server)
		after int
	}{
		"dropped before it took effect": {func(s *wxphonetest.Server) { s.DropNext(phoneNumber, 1) }, 0},
		"lost after it took effect":     {func(s *wxphonetest.Server) { s.LoseNext(phoneNumber, 1) }, 40029},
	} {
		for way, base := range map[string]func(*wxphonetest.Server) (*http.Client, string){
			"in process": func(s *wxphonetest.Server) (*http.Client, string) { return s.HTTPClient(), host },
			"loopback":   func(s *wxphonetest.Server) (*http.Client, string) { return &http.Client{}, s.URL() },
		} {
			t.Run(name+" "+way, func(t *testing.T) {
				t.Parallel()
				s := wxphonetest.NewServer(t)
				code := s.IssueCode(somePhone)
				tc.cut(s)
				client, address := base(s)
				resp, err := client.Post(address+phoneNumber+"?access_token="+s.Token(), "", jsonBody(`{"code":"`+code+`"}`))
				if err == nil {
					resp.Body.Close()
				}
				require.ErrorIs(t, err, io.EOF)
				assert.Equal(t, tc.after, redeem(t, s, code).ErrCode)
				assert.Equal(t, 2, s.Requests(phoneNumber))
			})
		}
	}
}

func TestLatencyEndsWithTheCaller(t *testing.T) {
	t.Parallel()
	s := wxphonetest.NewServer(t)
	s.SetLatency(phoneNumber, time.Hour)
	code := s.IssueCode(somePhone)
	for name, client := range map[string]struct {
		*http.Client
		base string
	}{
		"in process": {s.HTTPClient(), host},
		"loopback":   {http.DefaultClient, s.URL()},
	} {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
		req, err := http.NewRequestWithContext(ctx, http.MethodPost,
			client.base+phoneNumber+"?access_token="+s.Token(), jsonBody(`{"code":"`+code+`"}`))
		require.NoError(t, err)
		resp, err := client.Do(req)
		if err == nil {
			resp.Body.Close()
		}
		cancel()
		require.ErrorIs(t, err, context.DeadlineExceeded, name)
	}
	s.SetLatency(phoneNumber, 0)
	assert.Zero(t, redeem(t, s, code).ErrCode, "a request given up during the delay takes no effect")
}

func TestEndpointsArePaths(t *testing.T) {
	t.Parallel()
	s := wxphonetest.NewServer(t)
	for name, misuse := range map[string]func(){
		"FailNext":    func() { s.FailNext("getuserphonenumber", -1, "", 1) },
		"RespondNext": func() { s.RespondNext("", 200, "", 1) },
		"DropNext":    func() { s.DropNext("sns/jscode2session", 1) },
		"LoseNext":    func() { s.LoseNext("sns/jscode2session", 1) },
		"SetLatency":  func() { s.SetLatency("token", 1) },
		"Requests":    func() { s.Requests("token") },
		"status 0":    func() { s.RespondNext(phoneNumber, 0, "", 1) },
		"interim 100": func() { s.RespondNext(phoneNumber, 100, "", 1) },
	} {
		assert.Panics(t, misuse, name)
	}
}

func TestTokenFetchesCountsBothKinds(t *testing.T) {
	t.Parallel()
	s := wxphonetest.NewServer(t)
	fetchStable(t, s, false)
	fetchClassic(t, s)
	s.FailNext(stableToken, -1, "", 1)
	fetchStable(t, s, false)
	s.Token()
	assert.Equal(t, 3, s.TokenFetches())
}

func TestServerIsSafeForConcurrentUse(t *testing.T) {
	t.Parallel()
	s := wxphonetest.NewServer(t)
	s.FailNext(phoneNumber, -1, "", 10)
	var wg sync.WaitGroup
	var mu sync.Mutex
	codes := make(map[int]int)
	for range 20 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			a := redeem(t, s, s.IssueCode(somePhone))
			fetchClassic(t, s)
			s.Encrypt("o", somePhone)
			s.RotateSessionKey("o")
			mu.Lock()
			defer mu.Unlock()
			codes[a.ErrCode]++
		}()
	}
	wg.Wait()
	assert.Equal(t, map[int]int{-1: 10, 0: 10}, codes)
	assert.Equal(t, 20, s.Requests(phoneNumber))
}

func TestFaultsListsWhatIsStillToCome(t *testing.T) {
	t.Parallel()
	s := wxphonetest.NewServer(t)
	assert.Empty(t, s.Faults())

	s.FailNext(phoneNumber, -1, "busy", 2)
	s.RespondNext(phoneNumber, http.StatusBadGateway, "<html>", 1)
	s.LoseNext(phoneNumber, -1)
	s.DropNext(stableToken, 1)
	assert.Equal(t, []wxphonetest.Fault{
		{Endpoint: stableToken, Kind: wxphonetest.FaultDrop, Left: 1},
		{Endpoint: phoneNumber, Kind: wxphonetest.FaultErrcode, Code: -1, Message: "busy", Left: 2},
		{Endpoint: phoneNumber, Kind: wxphonetest.FaultStatus, Status: http.StatusBadGateway, Body: "<html>", Left: 1},
		{Endpoint: phoneNumber, Kind: wxphonetest.FaultLose, Left: -1},
	}, s.Faults())

	redeem(t, s, "1")
	assert.Equal(t, 1, s.Faults()[1].Left, "one of two was met")
	redeem(t, s, "1")
	assert.Equal(t, wxphonetest.FaultStatus, s.Faults()[1].Kind, "both were met")
}

func TestClearFaultsLeavesOtherEndpointsAndTheLatency(t *testing.T) {
	t.Parallel()
	s := wxphonetest.NewServer(t)
	s.FailNext(phoneNumber, -1, "", 1)
	s.LoseNext(phoneNumber, -1)
	s.FailNext(stableToken, -1, "", 1)
	s.SetLatency(phoneNumber, time.Millisecond)

	s.ClearFaults(phoneNumber)
	assert.Equal(t, works, redeem(t, s, "1").ErrCode)
	assert.Len(t, s.Faults(), 1)
	assert.Equal(t, map[string]time.Duration{phoneNumber: time.Millisecond}, s.Latencies())

	s.SetLatency(phoneNumber, 0)
	assert.Empty(t, s.Latencies())
	s.ClearFaults(stableToken)
}

func TestEndpointsAreWhatTheServerAnswers(t *testing.T) {
	t.Parallel()
	s := wxphonetest.NewServer(t, wxphonetest.AllowMalformed())
	endpoints := s.Endpoints()
	assert.Contains(t, endpoints, phoneNumber)
	assert.IsIncreasing(t, endpoints)
	for _, endpoint := range append(endpoints, "/wxa/nosuch") {
		resp, err := s.HTTPClient().Get(host + endpoint)
		require.NoError(t, err)
		resp.Body.Close()
	}
	for i, e := range s.Exchanges() {
		assert.Equal(t, i == len(endpoints), e.Code == 40066, e.Endpoint)
	}
}
