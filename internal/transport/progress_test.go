package transport

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptrace"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What a call's last error tells of the attempts before it.
func TestLastErrorNamesTheAttemptThatMayHaveTakenTheCode(t *testing.T) {
	t.Parallel()
	lost := func(name string) *failure { return &failure{err: errors.New(name), answerLost: true} }
	busy := func(name string) *failure { return &failure{err: errors.New(name), code: busyCode} }
	refusal := &failure{err: errors.New("refused"), code: 40029}
	for name, tt := range map[string]struct {
		noted []*failure // by attempt; nil is one after which nothing can have happened
		last  *failure   // nil for the last of noted
		want  string
		maybe bool
	}{
		"nothing sent before":   {[]*failure{nil, nil}, refusal, "refused", false},
		"itself alone":          {[]*failure{lost("lost")}, nil, "lost; WeChat may have taken the code all the same", true},
		"itself, second":        {[]*failure{nil, lost("lost")}, nil, "lost; WeChat may have taken the code all the same", true},
		"the first":             {[]*failure{lost("lost")}, refusal, "refused; the first attempt may have taken the code, it had failed with: lost", true},
		"an earlier one":        {[]*failure{nil, lost("lost"), nil}, refusal, "refused; an earlier attempt may have taken the code, it had failed with: lost", true},
		"the first of two lost": {[]*failure{lost("A"), lost("B")}, refusal, "refused; the first attempt may have taken the code, it had failed with: A", true},
		"lost before busy":      {[]*failure{busy("busy"), lost("lost")}, refusal, "refused; an earlier attempt may have taken the code, it had failed with: lost", true},
		"lost, then busy":       {[]*failure{lost("lost"), busy("busy")}, refusal, "refused; the first attempt may have taken the code, it had failed with: lost", true},
		"busy, then lost last":  {[]*failure{busy("busy"), lost("lost")}, nil, "lost; the first attempt may have taken the code, it had failed with: busy", true},
		"lost, then lost last":  {[]*failure{lost("A"), lost("B")}, nil, "B; the first attempt may have taken the code, it had failed with: A", true},
		"busy every time":       {[]*failure{busy("busy"), busy("busy")}, nil, "busy; WeChat may have taken the code all the same", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var progress Progress
			for _, failed := range tt.noted {
				progress.exchanges++
				if failed != nil {
					progress.note(failed)
				}
			}
			last := tt.last
			if last == nil {
				last = tt.noted[len(tt.noted)-1]
			}
			err := progress.withEffect(newRequest(), last)
			require.EqualError(t, err, tt.want)
			assert.ErrorIs(t, err, last.err)
			assert.Equal(t, tt.maybe, errors.Is(err, errMaybeUsed))
		})
	}
}

func TestEffectWithoutAnErrorOfItsOwnIsToldInWords(t *testing.T) {
	t.Parallel()
	req := newRequest()
	req.Effect = &Effect{Done: "sent the message"}
	failed := &failure{err: errCut, answerLost: true}
	progress := Progress{exchanges: 1}
	progress.note(failed)
	err := progress.withEffect(req, failed)
	require.EqualError(t, err, "connection cut; WeChat may have sent the message all the same")
	require.ErrorIs(t, err, errCut)
	require.NotErrorIs(t, err, errMaybeUsed)
}

func TestInterruptedCallTellsItsContextOnce(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	var progress Progress
	err := progress.interrupted(ctx, newRequest(), &failure{err: fmt.Errorf("post: %w", context.Canceled)})
	require.EqualError(t, err, "post: context canceled")
	err = progress.interrupted(ctx, newRequest(), &failure{err: errCut})
	require.EqualError(t, err, "wxphone: /redeem: context canceled after: connection cut")
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, err, errCut)
}

func TestFailureOfACancelledCallMatchesBoth(t *testing.T) {
	t.Parallel()
	for retries := range 2 {
		ctx, cancel := context.WithCancel(context.Background())
		s := newSender(sendOver(func(_ *http.Request, hooks *httptrace.ClientTrace) (*http.Response, error) {
			sent(hooks, httptrace.GotConnInfo{})
			cancel()
			return nil, errCut
		}))
		req := newRequest()
		req.Retries = retries
		_, err := s.Send(ctx, req, "", new(Progress))
		require.ErrorIs(t, err, context.Canceled)
		require.ErrorIs(t, err, errCut)
		require.ErrorIs(t, err, errMaybeUsed)
		assert.NotContains(t, err.Error(), "waiting to try again")
	}
}

func TestSecondSendGoesOnWithTheProgressOfTheFirst(t *testing.T) {
	t.Parallel()
	var answers []string
	s := newSender(sendOver(func(req *http.Request, hooks *httptrace.ClientTrace) (*http.Response, error) {
		sent(hooks, httptrace.GotConnInfo{})
		if len(answers) == 0 {
			return nil, errCut
		}
		body := answers[0]
		answers = answers[1:]
		return answerWith(req, 200, body), nil
	}))
	var progress Progress
	before := time.Now()
	_, err := s.Send(context.Background(), newRequest(), "first", &progress)
	require.ErrorIs(t, err, errMaybeUsed)
	assert.False(t, progress.SentAt.Before(before))
	answers = []string{`{"errcode":40029}`}
	_, err = s.Send(context.Background(), newRequest(), "second", &progress)
	require.ErrorContains(t, err, "errcode 40029; the first attempt may have taken the code")
	require.ErrorIs(t, err, errCut)
	assert.Equal(t, 2, progress.exchanges)
}

// What has no effect can be lost without a word.
func TestLostAnswerWithoutAnEffectIsJustAFailure(t *testing.T) {
	t.Parallel()
	s := newSender(sendOver(func(_ *http.Request, hooks *httptrace.ClientTrace) (*http.Response, error) {
		sent(hooks, httptrace.GotConnInfo{})
		return nil, errCut
	}))
	req := newRequest()
	req.Effect = nil
	_, err := s.Send(context.Background(), req, "", new(Progress))
	require.ErrorIs(t, err, errCut)
	assert.NotContains(t, err.Error(), "may have")
}

func TestBackoffDoublesUpToItsEnd(t *testing.T) {
	t.Parallel()
	for retries, middle := range map[int]time.Duration{
		0: 150 * time.Millisecond, 1: 300 * time.Millisecond, 2: 600 * time.Millisecond, 3: 1200 * time.Millisecond,
		4: 2 * time.Second, 5: 2 * time.Second, 62: 2 * time.Second, 63: 2 * time.Second, 1 << 40: 2 * time.Second,
	} {
		var low, high bool
		for range 200 {
			wait := Backoff(retries)
			require.GreaterOrEqual(t, wait, middle/2)
			require.Less(t, wait, middle*3/2)
			low, high = low || wait < middle, high || wait > middle
		}
		assert.True(t, low && high, "spread to both sides")
	}
}

func TestSleepEndsWithItsContext(t *testing.T) {
	t.Parallel()
	require.NoError(t, Sleep(context.Background(), 0))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	require.ErrorIs(t, Sleep(ctx, time.Hour), context.Canceled)
}

func TestTimeForARetryAfter(t *testing.T) {
	t.Parallel()
	assert.True(t, hasTime(context.Background(), longestRetryAfter))
	assert.False(t, hasTime(context.Background(), longestRetryAfter+1))
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	assert.True(t, hasTime(ctx, time.Minute))
	assert.False(t, hasTime(ctx, time.Hour))
}

// The last failure of two hosts is a joined copy, so it is not known again as
// the one that was noted: its text comes twice, and the last attempt is called
// an earlier one.
func TestJoinedFailureIsToldOnce(t *testing.T) {
	t.Parallel()
	s := newSender(sendOver(func(req *http.Request, hooks *httptrace.ClientTrace) (*http.Response, error) {
		hooks.GetConn("h:80")
		if req.URL.Host == "b.test" {
			hooks.GotConn(httptrace.GotConnInfo{Reused: true})
			hooks.WroteRequest(httptrace.WroteRequestInfo{})
			hooks.GetConn("h:80")
		}
		return nil, errRefusedDial
	}))
	s.HTTP.standard = true
	_, err := s.Send(context.Background(), newRequest(), "", new(Progress))
	require.ErrorIs(t, err, errMaybeUsed)
	assert.ErrorContains(t, err, "WeChat may have taken the code all the same")
	assert.NotContains(t, err.Error(), "an earlier attempt")
}
