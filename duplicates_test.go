//go:build go1.25

package wxphone_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/wxphonetest"
)

// redeemed is how one call ended.
type redeemed struct {
	phone *wxphone.PhoneInfo
	err   error
}

// redeemAtOnce makes calls with one code at the same time.
func redeemAtOnce(ctx context.Context, calls int, code string, clients ...*wxphone.Client) []redeemed {
	results := make([]redeemed, calls)
	var group sync.WaitGroup
	for i := range results {
		group.Go(func() {
			phone, err := clients[i%len(clients)].GetPhoneNumber(ctx, code)
			results[i] = redeemed{phone, err}
		})
	}
	group.Wait()
	return results
}

func wantSomebody(t *testing.T, results ...redeemed) {
	t.Helper()
	for _, result := range results {
		require.NoError(t, result.err)
		assert.Equal(t, "+8613800000000", result.phone.E164())
	}
}

func TestCallsWithOneCodeAtTheSameTimeAreOneRedemption(t *testing.T) {
	t.Parallel()
	for name, newServer := range map[string]func(testing.TB) (*wxphonetest.Server, *wxphone.Client){
		"plain": func(tb testing.TB) (*wxphonetest.Server, *wxphone.Client) {
			tb.Helper()
			server := wxphonetest.NewServer(tb)
			return server, server.NewClient()
		},
		"API security": func(tb testing.TB) (*wxphonetest.Server, *wxphone.Client) {
			tb.Helper()
			server := wxphonetest.NewServer(tb, wxphonetest.WithAPISecurity())
			return server, server.NewClient(wxphone.WithAPISecurity(server.APISecurity()))
		},
		"third-party platform": func(tb testing.TB) (*wxphonetest.Server, *wxphone.Client) {
			tb.Helper()
			server := wxphonetest.NewServer(tb)
			tokens := authorized(server, server.AppID())
			return server, clientOf(tb, server.NewComponent(), server.AppID(), tokens)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server, client := newServer(t)
				server.SetLatency(phoneAPI, time.Second)
				results := redeemAtOnce(t.Context(), 10, server.IssueCode(aPhone), client)
				wantSomebody(t, results...)
				assert.Equal(t, 1, server.Requests(phoneAPI))
				results[0].phone.PurePhoneNumber = "changed"
				wantSomebody(t, results[1:]...)
			})
		})
	}
}

func TestAnotherOpenIDIsAnotherCall(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t)
		server.SetLatency(phoneAPI, time.Second)
		client := server.NewClient(wxphone.WithDuplicateWindow(time.Minute))
		code := server.IssueCode(aPhone, wxphonetest.ForOpenID("o-alice"))
		var group sync.WaitGroup
		for _, opts := range [][]wxphone.PhoneOption{{wxphone.WithOpenID("o-alice")}, {wxphone.WithOpenID("o-bob")}, nil} {
			group.Go(func() { _, _ = client.GetPhoneNumber(t.Context(), code, opts...) })
		}
		group.Wait()
		assert.Equal(t, 3, server.Requests(phoneAPI))
		_, err := client.GetPhoneNumber(t.Context(), code, wxphone.WithOpenID("o-bob"))
		require.ErrorIs(t, err, wxphone.ErrCodeInvalid, "what Alice's call brought is not for Bob")
	})
}

func TestNextCallTakesOverWhenTheFirstGivesUp(t *testing.T) {
	t.Parallel()
	for name, newContext := range map[string]func(context.Context) (context.Context, context.CancelFunc){
		"cancelled": func(ctx context.Context) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(ctx)
			time.AfterFunc(time.Second, cancel)
			return ctx, cancel
		},
		"deadline": func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, time.Second)
		},
		"cause": func(ctx context.Context) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancelCause(ctx)
			time.AfterFunc(time.Second, func() { cancel(errDatabase) })
			return ctx, func() { cancel(nil) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				arrived := make(chan struct{}, 10)
				client := sendingThrough(t, roundTrip(func(r *http.Request) (*http.Response, error) {
					arrived <- struct{}{}
					select {
					case <-time.After(2 * time.Second):
						return answerTo(r, success), nil
					case <-r.Context().Done():
						return nil, context.Cause(r.Context())
					}
				}))
				ctx, cancel := newContext(t.Context())
				defer cancel()
				first := make(chan error)
				go func() {
					_, err := client.GetPhoneNumber(ctx, someCode)
					first <- err
				}()
				<-arrived
				others := redeemAtOnce(t.Context(), 9, someCode, client)
				wantSomebody(t, others...)
				require.Error(t, <-first)
				assert.Len(t, arrived, 1, "one of the nine sent a request")
			})
		})
	}
}

// The code may be gone with the request of the call that gave up: who takes over
// is told so, and not whose context it was.
func TestWhoTakesOverIsToldThatTheCodeMayBeUsed(t *testing.T) {
	t.Parallel()
	for name, sent := range map[string]bool{"sent": true, "not sent": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server := wxphonetest.NewServer(t)
				server.SetLatency(stableTokenAPI, 2*time.Second)
				client := server.NewClient()
				if sent {
					server.SetLatency(phoneAPI, 2*time.Second)
					_, err := client.AccessToken(t.Context())
					require.NoError(t, err)
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				first := make(chan error)
				go func() {
					_, err := client.GetPhoneNumber(ctx, "unknown")
					first <- err
				}()
				synctest.Wait()
				results := redeemAtOnce(t.Context(), 3, "unknown", client)
				assert.Equal(t, sent, errors.Is(<-first, wxphone.ErrCodeMaybeUsed))
				for _, result := range results {
					require.ErrorIs(t, result.err, wxphone.ErrCodeInvalid)
					assert.Equal(t, sent, errors.Is(result.err, wxphone.ErrCodeMaybeUsed), "%v", result.err)
					assert.NotErrorIs(t, result.err, context.DeadlineExceeded)
					assert.Equal(t, wxphone.StepTapAgain, wxphone.NextStep(result.err))
				}
			})
		})
	}
}

// That the second dies before it sends anything does not undo what the first
// sent.
func TestWhoTakesOverFromSeveralIsToldOfAnyThatSentTheCode(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t)
		server.SetLatency(phoneAPI, 2*time.Second)
		token, err := server.NewClient().AccessToken(t.Context())
		require.NoError(t, err)
		asked := 0
		client := server.NewClient(wxphone.WithTokenSource(wxphone.TokenSourceFunc(func(context.Context) (wxphone.Token, error) {
			if asked++; asked == 2 {
				panic("the token source is broken")
			}
			return token, nil
		})))
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		for _, ctx := range []context.Context{short, t.Context()} {
			go func() {
				defer func() { _ = recover() }()
				_, _ = client.GetPhoneNumber(ctx, "unknown")
			}()
			synctest.Wait()
		}
		result := redeemAtOnce(t.Context(), 1, "unknown", client)[0]
		require.ErrorIs(t, result.err, wxphone.ErrCodeInvalid)
		assert.ErrorIs(t, result.err, wxphone.ErrCodeMaybeUsed)
		assert.Equal(t, 2, server.Requests(phoneAPI), "the second sent nothing")
	})
}

func TestNextCallTakesOverWhenTheFirstDies(t *testing.T) {
	t.Parallel()
	for name, die := range map[string]func(){
		"panic": func() { panic("the token source is broken") },
		"exit":  runtime.Goexit,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server := wxphonetest.NewServer(t)
				good := server.NewClient()
				var asked atomic.Int32
				client := server.NewClient(wxphone.WithTokenSource(wxphone.TokenSourceFunc(func(ctx context.Context) (wxphone.Token, error) {
					if asked.Add(1) == 1 {
						time.Sleep(time.Second)
						die()
					}
					return good.AccessToken(ctx)
				})))
				code := server.IssueCode(aPhone)
				go func() {
					defer func() { _ = recover() }()
					_, _ = client.GetPhoneNumber(t.Context(), code)
				}()
				synctest.Wait()
				wantSomebody(t, redeemAtOnce(t.Context(), 5, code, client)...)
				assert.Equal(t, 1, server.Requests(phoneAPI))
			})
		})
	}
}

// Callers that come and go in any order: each gets the number or ends with its
// own context, at its own time.
func TestCallersThatComeAndGoHangNobody(t *testing.T) {
	t.Parallel()
	for round := range 20 {
		synctest.Test(t, func(t *testing.T) {
			var atOnce, most atomic.Int32
			client := sendingThrough(t, roundTrip(func(r *http.Request) (*http.Response, error) {
				if n := atOnce.Add(1); n > most.Load() {
					most.Store(n)
				}
				defer atOnce.Add(-1)
				select {
				case <-time.After(500 * time.Millisecond):
					return answerTo(r, success), nil
				case <-r.Context().Done():
					return nil, r.Context().Err()
				}
			}))
			random := rand.New(rand.NewPCG(uint64(round), 0))
			var group sync.WaitGroup
			for range 50 {
				begin, patience := time.Duration(random.IntN(2000))*time.Millisecond, time.Duration(random.IntN(600))*time.Millisecond
				group.Go(func() {
					time.Sleep(begin)
					begun := time.Now()
					ctx, cancel := context.WithTimeout(t.Context(), patience)
					defer cancel()
					if phone, err := client.GetPhoneNumber(ctx, someCode); err == nil {
						wantSomebody(t, redeemed{phone, err})
					} else {
						assert.ErrorIs(t, err, context.DeadlineExceeded)
						assert.Equal(t, patience, time.Since(begun), "its own deadline")
					}
				})
			}
			group.Wait()
			assert.Equal(t, int32(1), most.Load(), "one request at a time")
			phone, err := client.GetPhoneNumber(t.Context(), someCode)
			wantSomebody(t, redeemed{phone, err})
		})
	}
}

func TestWaitingCallEndsWithItsOwnContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t)
		server.SetLatency(phoneAPI, 3*time.Second)
		client, code := server.NewClient(), server.IssueCode(aPhone)
		first := make(chan redeemed)
		go func() {
			phone, err := client.GetPhoneNumber(t.Context(), code)
			first <- redeemed{phone, err}
		}()
		synctest.Wait()
		begun := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := client.GetPhoneNumber(ctx, code)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.ErrorContains(t, err, phoneAPI)
		assert.Equal(t, time.Second, time.Since(begun))
		assert.Equal(t, 504, wxphone.HTTPStatus(err))
		assert.Equal(t, wxphone.StepSendAgain, wxphone.NextStep(err))
		wantSomebody(t, <-first)
	})
}

func TestFailureIsSharedByAllWhoWait(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		fail     func(*wxphonetest.Server)
		code     string
		requests int
	}{
		"refused code":    {func(*wxphonetest.Server) {}, "unknown", 1},
		"busy throughout": {func(s *wxphonetest.Server) { s.FailNext(phoneAPI, -1, "", 3) }, "", 3},
		"a gateway's 404": {func(s *wxphonetest.Server) { s.RespondNext(phoneAPI, 404, "not found", 1) }, "", 1},
		"no number":       {func(s *wxphonetest.Server) { s.RespondNext(phoneAPI, 200, `{"errcode":0}`, 1) }, "", 1},
		"lost answers":    {func(s *wxphonetest.Server) { s.DropNext(phoneAPI, 3) }, "", 3},
		"no token":        {func(s *wxphonetest.Server) { s.FailNext(stableTokenAPI, 40164, "", 1) }, "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server := wxphonetest.NewServer(t)
				server.SetLatency(phoneAPI, time.Second)
				server.SetLatency(stableTokenAPI, time.Second)
				tt.fail(server)
				code := tt.code
				if code == "" {
					code = server.IssueCode(aPhone)
				}
				results := redeemAtOnce(t.Context(), 10, code, server.NewClient(wxphone.WithDuplicateWindow(time.Minute)))
				for _, result := range results {
					require.Error(t, result.err)
					assert.Nil(t, result.phone)
					assert.Equal(t, results[0].err.Error(), result.err.Error())
				}
				assert.Equal(t, tt.requests, server.Requests(phoneAPI))
			})
		})
	}
}

// What WeChat said is the same for all, although the call that asked has lost
// its user meanwhile.
func TestVerdictIsSharedAlthoughTheFirstGaveUp(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		status   int
		body     string
		requests int32
	}{
		"refused code": {200, `{"errcode":40029,"errmsg":"invalid code"}`, 1},
		"no number":    {200, `{"errcode":0,"errmsg":"ok"}`, 1},
		"no answer":    {404, "not found", 1},
		"number":       {200, success, 1},
		"busy":         {200, `{"errcode":-1,"errmsg":"busy"}`, 2}, // which may pass
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				var requests atomic.Int32
				client := sendingThrough(t, roundTrip(func(r *http.Request) (*http.Response, error) {
					requests.Add(1)
					time.Sleep(time.Second)
					cancel()
					answer := answerTo(r, tt.body)
					answer.StatusCode = tt.status
					return answer, nil
				}), wxphone.WithMaxRetries(0))
				go func() { _, _ = client.GetPhoneNumber(ctx, someCode) }()
				synctest.Wait()
				_, err := client.GetPhoneNumber(t.Context(), someCode)
				assert.NotErrorIs(t, err, context.Canceled)
				assert.Equal(t, tt.requests, requests.Load())
			})
		})
	}
}

func TestRedeemedCodeIsRememberedForTheWindow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t)
		var calls atomic.Int32
		var log bytes.Buffer
		client := server.NewClient(wxphone.WithDuplicateWindow(time.Minute),
			wxphone.WithLogger(slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))),
			wxphone.WithObserver(func(_ context.Context, call wxphone.Call) {
				if call.Endpoint == phoneAPI {
					calls.Add(1)
				}
			}))
		code := server.IssueCode(aPhone)
		for range 6 { // a repeat every 11.8 seconds does not prolong the minute
			phone, err := client.GetPhoneNumber(t.Context(), code)
			wantSomebody(t, redeemed{phone, err})
			phone.PurePhoneNumber = "changed"
			time.Sleep(11800 * time.Millisecond)
		}
		assert.Equal(t, 1, server.Requests(phoneAPI))
		assert.Equal(t, int32(1), calls.Load(), "what sends nothing is no Call")
		assert.Contains(t, log.String(), "level=DEBUG msg=\"wxphone: the code was redeemed before")
		assertTellsNone(t, log.String(), []string{code, someNumber}, "the log")
		_, err := client.GetPhoneNumber(t.Context(), code)
		require.ErrorIs(t, err, wxphone.ErrCodeInvalid)
		assert.Equal(t, 2, server.Requests(phoneAPI))
	})
}

func TestFailureIsNotRemembered(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t)
		server.FailNext(phoneAPI, 45011, "", 1)
		client, code := server.NewClient(wxphone.WithDuplicateWindow(time.Hour)), server.IssueCode(aPhone)
		_, err := client.GetPhoneNumber(t.Context(), code)
		require.ErrorIs(t, err, wxphone.ErrRateLimited)
		phone, err := client.GetPhoneNumber(t.Context(), code)
		wantSomebody(t, redeemed{phone, err})
	})
}

func TestWithoutAWindowNothingIsRemembered(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t)
		client, code := server.NewClient(), server.IssueCode(aPhone)
		phone, err := client.GetPhoneNumber(t.Context(), code)
		wantSomebody(t, redeemed{phone, err})
		_, err = client.GetPhoneNumber(t.Context(), code)
		require.ErrorIs(t, err, wxphone.ErrCodeInvalid)
	})
}

func TestOldestOfTenThousandCodesIsForgotten(t *testing.T) {
	t.Parallel()
	var requests atomic.Int32
	client := sendingThrough(t, roundTrip(func(r *http.Request) (*http.Response, error) {
		requests.Add(1)
		return answerTo(r, success), nil
	}), wxphone.WithDuplicateWindow(time.Hour))
	redeem := func(i int) {
		_, err := client.GetPhoneNumber(t.Context(), fmt.Sprint("code ", i))
		require.NoError(t, err)
	}
	const most = 10_000
	for i := range most + 1 {
		redeem(i)
	}
	for i := range 100 {
		redeem(most - i) // the latest are known
	}
	assert.Equal(t, int32(most+1), requests.Load())
	redeem(0) // the oldest is not
	assert.Equal(t, int32(most+2), requests.Load())
}

func TestOnlyPhoneCodesAreMerged(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t)
		client := server.NewClient(wxphone.WithDuplicateWindow(time.Hour))
		jsCode, cloudID := server.IssueLoginCode("o-alice"), server.IssueCloudID("o-alice", aPhone)
		for range 2 {
			_, _ = client.Code2Session(t.Context(), jsCode)
			_, _ = client.GetPhoneNumberByCloudID(t.Context(), "o-alice", cloudID)
		}
		assert.Equal(t, 2, server.Requests("/sns/jscode2session"))
		assert.Equal(t, 2, server.Requests("/wxa/getopendata"))
	})
}

func TestDuplicateOptionsAreChecked(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string][]wxphone.Option{
		"WithDuplicateWindow":                       {wxphone.WithDuplicateWindow(0)},
		"WithDuplicateWindow is":                    {wxphone.WithDuplicateWindow(-time.Second)},
		"WithDuplicateWindow is not more":           {wxphone.WithDuplicateWindow(time.Hour + 1)},
		"WithDuplicateStore has a nil store":        {wxphone.WithDuplicateWindow(time.Minute), wxphone.WithDuplicateStore(nil)},
		"WithDuplicateStore needs WithDuplicateWin": {wxphone.WithDuplicateStore(new(wxphonetest.MemoryStore))},
	} {
		_, err := wxphone.New(someAppID, someSecret, opts...)
		assertInvalid(t, err, name)
		_, err = wxphone.NewComponent(someComponentID, someComponentSecret, latestTicket, opts...)
		assertInvalid(t, err, name)
	}
	_, err := wxphone.New(someAppID, someSecret,
		wxphone.WithDuplicateStore(new(wxphonetest.MemoryStore)), wxphone.WithDuplicateWindow(time.Hour))
	require.NoError(t, err, "in any order")
}

func TestClientPrintsNothingOfWhatItRemembers(t *testing.T) {
	t.Parallel()
	client := answering(t, http.StatusOK, success, wxphone.WithDuplicateWindow(time.Minute))
	_, err := client.GetPhoneNumber(t.Context(), someCode)
	require.NoError(t, err)
	assertPrintsWithout(t, *client, someNumber, someCode, someSecret)
}
