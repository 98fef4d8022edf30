package wxphonetest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/wxphonetest"
)

// last returns the newest exchange.
func last(t *testing.T, s *wxphonetest.Server) wxphonetest.Exchange {
	t.Helper()
	all := s.Exchanges()
	require.NotEmpty(t, all)
	return all[len(all)-1]
}

func TestJournalTellsWhatHappened(t *testing.T) {
	t.Parallel()
	s := wxphonetest.NewServer(t)
	assert.Empty(t, s.Exchanges())
	token, code := s.Token(), s.IssueCode(somePhone)
	before := time.Now()
	bought, again := redeem(t, s, code), redeem(t, s, code)
	logIn(t, s, s.IssueLoginCode("o"))

	all := s.Exchanges()
	require.Len(t, all, 3)
	assert.Equal(t, wxphonetest.Exchange{
		Endpoint: phoneNumber, Method: http.MethodPost, Status: 200, Time: all[0].Time,
		Query: url.Values{"access_token": {token}}.Encode(), Body: `{"code":"` + code + `"}`, Answer: bought.raw,
	}, all[0])
	assert.WithinRange(t, all[0].Time, before, time.Now())
	assert.Equal(t, 40029, all[1].Code)
	assert.Equal(t, "this code was redeemed less than a second ago; a code works once", all[1].Reason)
	assert.Equal(t, again.raw, all[1].Answer)
	assert.Equal(t, code2Session, all[2].Endpoint)
	assert.Empty(t, all[2].Body)

	all[0].Endpoint = "changed"
	assert.Equal(t, phoneNumber, s.Exchanges()[0].Endpoint, "the caller's own slice")
}

func TestJournalHoldsTheLastThousand(t *testing.T) {
	t.Parallel()
	s := wxphonetest.NewServer(t)
	for i := range 1100 {
		redeem(t, s, strconv.Itoa(i))
	}
	all := s.Exchanges()
	require.Len(t, all, 1000)
	for i, e := range all {
		require.Equal(t, `{"code":"`+strconv.Itoa(i+100)+`"}`, e.Body, "the oldest comes first")
	}
}

func TestJournalCutsLongTexts(t *testing.T) {
	t.Parallel()
	s := wxphonetest.NewServer(t)
	redeem(t, s, strings.Repeat("微", 10_000))
	body := last(t, s).Body
	assert.Less(t, len(body), 9<<10)
	assert.True(t, strings.HasSuffix(body, "微…"))
}

func TestJournalNamesFaults(t *testing.T) {
	t.Parallel()
	s := wxphonetest.NewServer(t)
	code := s.IssueCode(somePhone)
	ask := func() wxphonetest.Exchange {
		resp, err := s.HTTPClient().Post(host+phoneNumber+"?access_token="+s.Token(), "", jsonBody(`{"code":"`+code+`"}`))
		if err == nil {
			resp.Body.Close()
		}
		return last(t, s)
	}
	for _, tc := range []struct {
		set          func()
		status, code int
		reason       string
	}{
		{func() { s.FailNext(phoneNumber, -1, "", 1) }, 200, -1, "a fault was set: errcode -1"},
		{func() { s.RespondNext(phoneNumber, 502, "<html>", 1) }, 502, 0, "a fault was set: HTTP 502"},
		{func() { s.RespondNext(phoneNumber, 200, `{"errcode":"40029"}`, 1) }, 200, 40029, "a fault was set: HTTP 200"},
		{func() { s.DropNext(phoneNumber, 1) }, 0, 0, "a fault was set: the connection was cut before the request took effect"},
		{func() { s.LoseNext(phoneNumber, 1) }, 0, 0, "a fault was set: the connection was cut after the request was served"},
		{func() { s.LoseNext(phoneNumber, 1) }, 0, 40029, "a fault was set: the connection was cut after the request was served; " +
			"the request was refused: this code was redeemed less than a second ago; a code works once"},
	} {
		tc.set()
		e := ask()
		assert.Equal(t, tc.reason, e.Reason)
		assert.Equal(t, tc.status, e.Status, tc.reason)
		assert.Equal(t, tc.code, e.Code, tc.reason)
	}
	lost := s.Exchanges()[4]
	assert.Contains(t, lost.Answer, `"phoneNumber":"13800000000"`, "what got lost")
}

func TestJournalTellsOfCallersWhoGaveUp(t *testing.T) {
	t.Parallel()
	s := wxphonetest.NewServer(t)
	s.SetLatency(phoneNumber, time.Hour)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, host+phoneNumber, jsonBody(`{}`))
	require.NoError(t, err)
	_, err = s.HTTPClient().Do(req) //nolint:bodyclose // there is none
	require.ErrorIs(t, err, context.DeadlineExceeded)
	e := last(t, s)
	assert.Zero(t, e.Status)
	assert.Equal(t, "the caller gave up during the latency of 1h0m0s", e.Reason)
	assert.Equal(t, `{}`, e.Body)
}

func TestJournalShowsWhatAPISecurityHides(t *testing.T) {
	t.Parallel()
	s := wxphonetest.NewServer(t, wxphonetest.WithAPISecurity())
	code := s.IssueCode(somePhone)
	_, err := s.NewClient().GetPhoneNumber(context.Background(), code)
	require.NoError(t, err)
	e := last(t, s)
	assert.Contains(t, e.Body, `"code":"`+code+`"`)
	assert.Contains(t, e.Answer, `"phoneNumber":"13800000000"`)
}

func TestMalformedRequestsHaveTheirReasonInTheJournal(t *testing.T) {
	t.Parallel()
	s, err := wxphonetest.Start()
	require.NoError(t, err)
	defer s.Close()
	post(t, s, phoneNumber, nil, `{"code":"1"}`)
	assert.Equal(t, "the query has no access_token", last(t, s).Reason)
	resp, err := s.HTTPClient().Post(host+phoneNumber, "", io.MultiReader(strings.NewReader("{}")))
	require.NoError(t, err)
	defer resp.Body.Close()
	assert.Equal(t, 412, last(t, s).Status)
	assert.Contains(t, last(t, s).Reason, "no Content-Length")
}

func TestLoggerHearsWhatWouldFailATest(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	logger := slog.New(slog.NewJSONHandler(&log, nil))
	s, err := wxphonetest.Start(wxphonetest.WithLogger(logger))
	require.NoError(t, err)
	redeem(t, s, "unknown")
	assert.Empty(t, log.String(), "an ordinary refusal")

	post(t, s, phoneNumber, nil, `{"code":"1"}`)
	var record map[string]any
	require.NoError(t, json.Unmarshal(log.Bytes(), &record))
	delete(record, "time")
	assert.Equal(t, map[string]any{
		"level": "WARN", "msg": "wxphonetest: malformed request",
		"method": "POST", "endpoint": phoneNumber, "reason": "the query has no access_token",
	}, record)

	log.Reset()
	s.FailNext("/wxa/misspelt", -1, "", 1)
	s.Close()
	assert.Contains(t, log.String(), `"endpoint":"/wxa/misspelt"`)

	log.Reset()
	lenient, err := wxphonetest.Start(wxphonetest.WithLogger(logger), wxphonetest.AllowMalformed())
	require.NoError(t, err)
	defer lenient.Close()
	post(t, lenient, phoneNumber, nil, `{"code":"1"}`)
	assert.Empty(t, log.String())
}

func TestObserverSeesAnExchangeBeforeItsAnswer(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var seen []wxphonetest.Exchange
	var s *wxphonetest.Server
	s = wxphonetest.NewServer(t, wxphonetest.WithObserver(func(e wxphonetest.Exchange) {
		assert.Contains(t, s.Exchanges(), e, "the server's methods may be called")
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, e)
	}))
	for i := range 3 {
		redeem(t, s, strconv.Itoa(i))
		assert.Len(t, seen, i+1)
	}
	s.DropNext(phoneNumber, 1)
	_, err := send(t, s, http.MethodPost, phoneNumber, nil, "{}")
	require.Error(t, err)
	assert.Equal(t, s.Exchanges(), seen)
}

func TestLookWhetherTheHostIsUpIsNoRequest(t *testing.T) {
	t.Parallel()
	s := wxphonetest.NewServer(t)
	for base, client := range map[string]*http.Client{host: s.HTTPClient(), s.URL(): http.DefaultClient} {
		resp, err := client.Head(base + "/")
		require.NoError(t, err)
		resp.Body.Close()
		assert.Equal(t, http.StatusOK, resp.StatusCode)
	}
	assert.Zero(t, s.Requests("/"))
	assert.Empty(t, s.Exchanges())
}

func TestResetForgetsWhatHappened(t *testing.T) {
	t.Parallel()
	s := wxphonetest.NewServer(t, wxphonetest.WithAPISecurity())
	address, security := s.URL(), s.APISecurity()
	s.RotateCertificate()
	token, code, loginCode := s.Token(), s.IssueCode(somePhone), s.IssueLoginCode("o")
	sessionKey, cloudID := s.SessionKey("o"), s.IssueCloudID("o", somePhone)
	data, _ := s.Encrypt("o", somePhone)
	s.Authorize()
	ticket := s.Ticket()
	s.SetDailyLimit(stableToken, 0)
	s.FailNext(phoneNumber, -1, "", -1)
	s.SetLatency(stableToken, time.Hour)
	post(t, s, phoneNumber, nil, "{}")

	s.Reset()

	assert.Zero(t, s.Requests(phoneNumber))
	assert.Empty(t, s.Exchanges())
	assert.NotEqual(t, token, s.Token())
	assert.NotEqual(t, ticket, s.Ticket())
	assert.NotEqual(t, sessionKey, s.SessionKey("o"))
	assert.Equal(t, 40029, logIn(t, s, loginCode).ErrCode)
	assert.Contains(t, openCloudIDs(t, s, "o", cloudID).raw, "-601005")
	assert.Zero(t, fetchStable(t, s, false).ErrCode)
	assert.Panics(t, func() { s.RotateRefreshToken(s.AppID()) }, "nobody has authorised the platform")

	assert.Equal(t, address, s.URL())
	assert.Equal(t, security, s.APISecurity())
	client := s.NewClient(wxphone.WithAPISecurity(security))
	_, err := client.GetPhoneNumber(context.Background(), code)
	require.ErrorIs(t, err, wxphone.ErrCodeInvalid)
	check, err := client.CheckEncryptedData(context.Background(), data)
	require.NoError(t, err)
	assert.False(t, check.Valid)
	_, err = client.GetPhoneNumber(context.Background(), s.IssueCode(somePhone))
	require.NoError(t, err)
}

func TestResetReportsMisspeltEndpoints(t *testing.T) {
	t.Parallel()
	tb := new(spy)
	s := wxphonetest.NewServer(tb)
	s.FailNext("/wxa/misspelt", -1, "", 1)
	s.Reset()
	assert.Len(t, tb.reports(), 1)
	tb.end()
	assert.Len(t, tb.reports(), 1, "only once")
}
