//go:build go1.25

package transport

import (
	"context"
	"net/http"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestPrimaryIsLookedAtOnceAMinuteByOneCaller(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := threeHosts()
		l.dead(0)
		l.dead(1)
		looks := func() int {
			var group sync.WaitGroup
			var n atomic.Int32
			for range 100 {
				group.Go(func() {
					index, look := l.first()
					assert.Equal(t, 2, index)
					if look {
						n.Add(1)
					}
				})
			}
			group.Wait()
			return int(n.Load())
		}
		assert.Zero(t, looks())
		time.Sleep(time.Minute - 1)
		assert.Zero(t, looks())
		for range 5 {
			time.Sleep(1)
			assert.Equal(t, 1, looks())
			assert.Zero(t, looks())
			time.Sleep(time.Minute - 1)
			assert.Zero(t, looks())
		}
	})
}

func TestLookAtThePrimary(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		status int // 0 if none comes
		took   time.Duration
		back   bool
	}{
		"answers":       {200, time.Second, true},
		"has no page":   {404, time.Second, true},
		"fails":         {502, time.Second, true},
		"does not":      {0, lookTimeout, false},
		"takes so long": {200, lookTimeout + 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				begin := time.Now()
				s := newSender(sendOver(func(req *http.Request, _ *httptrace.ClientTrace) (*http.Response, error) {
					assert.Equal(t, http.MethodHead, req.Method)
					assert.Equal(t, "http://a.test/", req.URL.String(), "without a token")
					assert.Equal(t, userAgent, req.Header.Get("User-Agent"))
					select {
					case <-time.After(tt.took):
					case <-req.Context().Done():
						assert.Equal(t, lookTimeout, time.Since(begin))
						return nil, req.Context().Err()
					}
					if tt.status == 0 {
						return nil, errCut
					}
					return answerWith(req, tt.status, ""), nil
				}))
				s.Hosts.dead(0)
				s.lookAtPrimary()
				assert.Equal(t, tt.back, s.Hosts.outage.Load() == nil)
			})
		})
	}
}

func TestCallDoesNotWaitForTheLookThatItCauses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSender(sendOver(func(req *http.Request, _ *httptrace.ClientTrace) (*http.Response, error) {
			if req.URL.Host == "a.test" {
				<-req.Context().Done()
				return nil, req.Context().Err()
			}
			return answerWith(req, 200, goodAnswer), nil
		}))
		s.Hosts.dead(0)
		time.Sleep(time.Minute)
		begin := time.Now()
		_, err := s.Send(t.Context(), newRequest(), "", new(Progress))
		require.NoError(t, err)
		assert.Zero(t, time.Since(begin))
		time.Sleep(lookTimeout)
	})
}

func TestPoolIsEmptiedAfterASecondWithoutAnAnswerOnAConnectionOfIt(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		limit  time.Duration
		reused bool
		closed int
	}{
		{shortestSilence - 1, true, 0},
		{shortestSilence, true, 1},
		{time.Minute, true, 1},
		{time.Minute, false, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			pool := &idle{}
			pool.sendOver = func(req *http.Request, hooks *httptrace.ClientTrace) (*http.Response, error) {
				sent(hooks, httptrace.GotConnInfo{Reused: tt.reused})
				<-req.Context().Done()
				return nil, req.Context().Err()
			}
			s := newSender(pool)
			ctx, cancel := context.WithTimeout(t.Context(), tt.limit)
			defer cancel()
			_, err := s.Send(ctx, newRequest(), "", new(Progress))
			require.ErrorIs(t, err, context.DeadlineExceeded)
			require.ErrorIs(t, err, errMaybeUsed)
			assert.Equal(t, tt.closed, pool.closed, "%+v", tt)
			assert.Nil(t, s.Hosts.outage.Load(), "the next host is for lack of a connection")
		})
	}
}

func TestCallMovesOnAfterAThirdOfItsTime(t *testing.T) {
	t.Parallel()
	for limit, want := range map[time.Duration]time.Duration{
		30 * time.Millisecond: 10 * time.Millisecond, 600 * time.Millisecond: 200 * time.Millisecond, time.Hour: time.Second,
	} {
		synctest.Test(t, func(t *testing.T) {
			begin := time.Now()
			s := newSender(sendOver(func(req *http.Request, hooks *httptrace.ClientTrace) (*http.Response, error) {
				if req.URL.Host == "a.test" {
					hooks.GetConn("a.test:80")
					<-req.Context().Done()
					return nil, context.Cause(req.Context())
				}
				assert.Equal(t, want, time.Since(begin))
				return answerWith(req, 200, goodAnswer), nil
			}))
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			_, err := s.Send(ctx, newRequest(), "", new(Progress))
			require.NoError(t, err)
			first, _ := s.Hosts.first()
			assert.Equal(t, want >= shortestVerdict, first == 1)
		})
	}
}

func TestLastHostIsWaitedForToTheEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		s := newSender(sendOver(func(req *http.Request, hooks *httptrace.ClientTrace) (*http.Response, error) {
			hooks.GetConn(req.URL.Host)
			select {
			case <-time.After(8 * time.Second):
				hooks.GotConn(httptrace.GotConnInfo{})
				return answerWith(req, 200, goodAnswer), nil
			case <-req.Context().Done():
				return nil, context.Cause(req.Context())
			}
		}))
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		_, err := s.Send(ctx, newRequest(), "", new(Progress))
		require.NoError(t, err)
		assert.Equal(t, longestWait+8*time.Second, time.Since(begin))
	})
}

func TestRetryAfterPutsTheNextAttemptOff(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		header   string
		deadline time.Duration
		requests int
	}{
		"in time":  {"5", 20 * time.Second, 2},
		"too late": {"5", 5 * time.Second, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var asked []time.Duration
				begin := time.Now()
				s := newSender(sendOver(func(req *http.Request, _ *httptrace.ClientTrace) (*http.Response, error) {
					asked = append(asked, time.Since(begin))
					if len(asked) > 1 {
						return answerWith(req, 200, goodAnswer), nil
					}
					answer := answerWith(req, 503, "busy")
					answer.Header.Set("Retry-After", tt.header)
					return answer, nil
				}))
				ctx, cancel := context.WithTimeout(t.Context(), tt.deadline)
				defer cancel()
				req := newRequest()
				req.Retries = 1
				_, err := s.Send(ctx, req, "", new(Progress))
				require.Len(t, asked, tt.requests)
				if tt.requests == 1 {
					var unavailable *notAnswer
					require.ErrorAs(t, err, &unavailable)
					require.ErrorIs(t, err, errMaybeUsed)
					assert.Zero(t, time.Since(begin), "it does not wait in vain")
					return
				}
				require.NoError(t, err)
				assert.Equal(t, 5*time.Second, asked[1])
			})
		})
	}
}
