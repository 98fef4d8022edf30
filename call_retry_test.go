//go:build go1.25

package wxphone_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/wxphonetest"
)

func TestPassingFailuresAreHealedUnseen(t *testing.T) {
	t.Parallel()
	tests := map[string]func(*wxphonetest.Server){
		"busy once":              func(s *wxphonetest.Server) { s.FailNext(phoneAPI, -1, "", 1) },
		"busy twice":             func(s *wxphonetest.Server) { s.FailNext(phoneAPI, -1, "", 2) },
		"connection cut":         func(s *wxphonetest.Server) { s.DropNext(phoneAPI, 2) },
		"502 page":               func(s *wxphonetest.Server) { s.RespondNext(phoneAPI, 502, badGateway, 1) },
		"503 empty":              func(s *wxphonetest.Server) { s.RespondNext(phoneAPI, 503, "", 2) },
		"504 in foreign JSON":    func(s *wxphonetest.Server) { s.RespondNext(phoneAPI, 504, `{"message":"timeout"}`, 1) },
		"busy, cut":              func(s *wxphonetest.Server) { s.FailNext(phoneAPI, -1, "", 1); s.DropNext(phoneAPI, 1) },
		"token endpoint busy":    func(s *wxphonetest.Server) { s.FailNext(stableTokenAPI, -1, "", 2) },
		"token endpoint cut off": func(s *wxphonetest.Server) { s.DropNext(stableTokenAPI, 2) },
	}
	for name, fail := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server := wxphonetest.NewServer(t)
				fail(server)
				info, err := server.NewClient().GetPhoneNumber(t.Context(), server.IssueCode(aPhone))
				require.NoError(t, err)
				assert.Equal(t, "+8613800000000", info.E164())
			})
		})
	}
}

func TestRetriesEnd(t *testing.T) {
	t.Parallel()
	for retries := range 5 {
		synctest.Test(t, func(t *testing.T) {
			server := wxphonetest.NewServer(t)
			server.FailNext(phoneAPI, -1, "", -1)
			client := server.NewClient(wxphone.WithMaxRetries(retries))
			_, err := client.GetPhoneNumber(t.Context(), "code")
			require.ErrorIs(t, err, wxphone.ErrSystemBusy)
			assert.Equal(t, 503, wxphone.HTTPStatus(err))
			assert.Equal(t, 1+retries, server.Requests(phoneAPI))
		})
	}
}

func TestRefusalsAreNotRetried(t *testing.T) {
	t.Parallel()
	for _, errcode := range []int{40029, 40163, 40013, 45011, 45009, 40226, 48001, 47001, 99999} {
		synctest.Test(t, func(t *testing.T) {
			server := wxphonetest.NewServer(t)
			server.FailNext(phoneAPI, errcode, "", 1)
			begin := time.Now()
			_, err := server.NewClient().GetPhoneNumber(t.Context(), "code")
			var refusal *wxphone.APIError
			require.ErrorAs(t, err, &refusal)
			assert.Equal(t, errcode, refusal.Code)
			assert.Equal(t, 1, server.Requests(phoneAPI))
			assert.Zero(t, time.Since(begin))
		})
	}
}

func TestCodeConsumedByALostAnswerIsToldApart(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		fail  func(*wxphonetest.Server)
		first any // what the first attempt failed with
	}{
		"answer lost": {
			func(s *wxphonetest.Server) { s.LoseNext(phoneAPI, 1) }, nil,
		},
		"busy, then 40029": {
			func(s *wxphonetest.Server) {
				s.FailNext(phoneAPI, -1, "", 1)
				s.FailNext(phoneAPI, 40029, "", 1)
			}, new(*wxphone.APIError),
		},
		"502, then 40163": {
			func(s *wxphonetest.Server) {
				s.RespondNext(phoneAPI, 502, badGateway, 1)
				s.FailNext(phoneAPI, 40163, "", 1)
			}, new(*wxphone.ResponseError),
		},
		"lost, token refused, then 40163": {
			func(s *wxphonetest.Server) {
				s.DropNext(phoneAPI, 1)
				s.FailNext(phoneAPI, 42001, "", 1)
				s.FailNext(phoneAPI, 40163, "", 1)
			}, nil,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server := wxphonetest.NewServer(t)
				tt.fail(server)
				client := server.NewClient(wxphone.WithTokenSource(&countingTokens{server: server}))
				_, err := client.GetPhoneNumber(t.Context(), server.IssueCode(aPhone))
				require.ErrorIs(t, err, wxphone.ErrCodeInvalid)
				require.ErrorContains(t, err, "the first attempt may have consumed the code")
				assert.Equal(t, 400, wxphone.HTTPStatus(err))
				var refusal *wxphone.APIError
				require.ErrorAs(t, err, &refusal)
				assert.Equal(t, wxphone.KindCodeRejected, refusal.Kind(), "the refusal comes first")
				switch first := tt.first.(type) {
				case nil:
					assert.ErrorIs(t, err, io.EOF)
				case **wxphone.APIError:
					assert.ErrorIs(t, err, wxphone.ErrSystemBusy)
				case **wxphone.ResponseError:
					assert.ErrorAs(t, err, first)
				}
				assert.NotContains(t, err.Error(), "\n")
			})
		})
	}
}

// countingTokens hands out a token that works, another one each time.
type countingTokens struct{ server *wxphonetest.Server }

func (s *countingTokens) Token(ctx context.Context) (wxphone.Token, error) {
	s.server.RevokeToken()
	return s.server.NewClient().AccessToken(ctx)
}

func TestRefusedCodeAloneSaysNothingOfAnEarlierAttempt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t)
		server.FailNext(phoneAPI, 42001, "", 1) // refused tokens consume nothing
		server.FailNext(phoneAPI, 40163, "", 1)
		client := server.NewClient(wxphone.WithTokenSource(&countingTokens{server: server}))
		_, err := client.GetPhoneNumber(t.Context(), "code")
		require.ErrorIs(t, err, wxphone.ErrCodeUsed)
		assert.NotContains(t, err.Error(), "first attempt")
	})
}

func TestContextThatEndsDuringBackoffReturnsAtOnceWithBothErrors(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t)
		server.FailNext(phoneAPI, -1, "", -1)
		client := server.NewClient(wxphone.WithMaxRetries(100))
		begin := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		_, err := client.GetPhoneNumber(ctx, "code")
		assert.Equal(t, 5*time.Second, time.Since(begin))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorIs(t, err, wxphone.ErrSystemBusy)
		assert.Equal(t, 504, wxphone.HTTPStatus(err))

		ctx, cancel = context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		_, err = client.GetPhoneNumber(ctx, "code")
		require.ErrorIs(t, err, context.Canceled)
		require.ErrorIs(t, err, wxphone.ErrSystemBusy)
		assert.Equal(t, 503, wxphone.HTTPStatus(err))
	})
}

func TestContextThatEndsDuringAnAttemptTellsWhatWentBefore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t)
		client := server.NewClient()
		_, err := client.AccessToken(t.Context())
		require.NoError(t, err)
		server.SetLatency(phoneAPI, 2*time.Second)
		server.FailNext(phoneAPI, -1, "", 1)
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		_, err = client.GetPhoneNumber(ctx, "code")
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorIs(t, err, wxphone.ErrSystemBusy)
		assert.Equal(t, 504, wxphone.HTTPStatus(err))
		assert.Equal(t, 2, server.Requests(phoneAPI))
	})
}

func TestEndedContextSendsNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := server.NewClient().GetPhoneNumber(ctx, "code")
		require.ErrorIs(t, err, context.Canceled)
		synctest.Wait()
		assert.Zero(t, server.Requests(phoneAPI))
	})
}

func TestObserverSeesEveryExchangeOfACall(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t)
		server.SetLatency(phoneAPI, 30*time.Millisecond)
		server.FailNext(phoneAPI, -1, "system error rid: 65a1b2c3-01234567-89abcdef", 1)
		server.FailNext(phoneAPI, 42001, "", 1)
		var calls []wxphone.Call
		client := server.NewClient(wxphone.WithObserver(func(ctx context.Context, call wxphone.Call) {
			if call.Endpoint == phoneAPI {
				assert.Equal(t, "kept", ctx.Value(contextKey{}), "the caller's context values")
			} else {
				assert.Nil(t, ctx.Value(contextKey{}), "a token fetch is no single caller's")
			}
			calls = append(calls, call)
		}))
		ctx := context.WithValue(t.Context(), contextKey{}, "kept")
		first, err := client.AccessToken(ctx)
		require.NoError(t, err)
		go func() { // the refused token must really differ from the next
			time.Sleep(time.Millisecond)
			server.RevokeToken()
		}()
		_, err = client.GetPhoneNumber(ctx, server.IssueCode(aPhone))
		require.NoError(t, err)
		slices.SortStableFunc(calls, func(a, b wxphone.Call) int { return a.Start.Compare(b.Start) })
		var got []string
		for _, call := range calls {
			got = append(got, strings.Join([]string{call.Endpoint, call.Host, call.RID}, " "))
			assert.NotContains(t, fmt.Sprintf("%+v", call), first.AccessToken)
		}
		require.Equal(t, []string{
			stableTokenAPI + " api.weixin.qq.com ",
			phoneAPI + " api.weixin.qq.com 65a1b2c3-01234567-89abcdef",
			phoneAPI + " api.weixin.qq.com " + calls[2].RID,
			stableTokenAPI + " api.weixin.qq.com ",
			phoneAPI + " api.weixin.qq.com ",
		}, got)
		assert.Equal(t, []int{1, 1, 2, 1, 3},
			[]int{calls[0].Attempt, calls[1].Attempt, calls[2].Attempt, calls[3].Attempt, calls[4].Attempt})
		assert.Equal(t, []int{-1, 42001, 0}, []int{calls[1].Code, calls[2].Code, calls[4].Code})
		assert.ErrorIs(t, calls[1].Err, wxphone.ErrSystemBusy)
		assert.NoError(t, calls[4].Err)
		assert.Equal(t, 30*time.Millisecond, calls[4].Duration)
		assert.Equal(t, http.StatusOK, calls[1].HTTPStatus)
	})
}

type contextKey struct{}

func TestContextThatEndsDuringBackoffTellsThatTheCodeMayBeGone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t)
		server.RespondNext(phoneAPI, 502, badGateway, 1)
		server.FailNext(phoneAPI, -1, "", -1)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		_, err := server.NewClient(wxphone.WithMaxRetries(100)).GetPhoneNumber(ctx, "code")
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorIs(t, err, wxphone.ErrSystemBusy)
		var lost *wxphone.ResponseError
		require.ErrorAs(t, err, &lost, "the first answer was lost")
		assert.ErrorContains(t, err, "may have consumed the code")
		assert.Equal(t, 504, wxphone.HTTPStatus(err))
	})
}

func TestRetryAfterIsRespectedWithinTheContext(t *testing.T) {
	t.Parallel()
	const page = "<html>slow down</html>"
	for name, tt := range map[string]struct {
		status     int
		retryAfter string
		deadline   time.Duration // 0 for none
		wait       time.Duration // until the second request; 0 if there is none
		want       int           // HTTPStatus
	}{
		"503 with seconds":               {503, "3", time.Minute, 3 * time.Second, 200},
		"503 with a date":                {503, "date", time.Minute, 4 * time.Second, 200},
		"503 without a deadline":         {503, "3", 0, 3 * time.Second, 200},
		"503, longer than the deadline":  {503, "3", 2 * time.Second, 0, 502},
		"503, long and without deadline": {503, "3600", 0, 0, 502},
		"429 with seconds":               {429, "3", time.Minute, 3 * time.Second, 200},
		"429, longer than the deadline":  {429, "3", 2 * time.Second, 0, 429},
		"429 without seconds":            {429, "", time.Minute, 0, 429},
		"429 with nonsense":              {429, "soon", time.Minute, 0, 429},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				begin := time.Now()
				var asked []time.Duration
				client := sendingThrough(t, roundTrip(func(req *http.Request) (*http.Response, error) {
					asked = append(asked, time.Since(begin))
					if len(asked) > 1 {
						return answerTo(req, success), nil
					}
					answer := answerTo(req, page)
					answer.StatusCode = tt.status
					switch tt.retryAfter {
					case "":
					case "date":
						answer.Header.Set("Retry-After", begin.Add(4*time.Second).UTC().Format(http.TimeFormat))
					default:
						answer.Header.Set("Retry-After", tt.retryAfter)
					}
					return answer, nil
				}))
				ctx, cancel := t.Context(), context.CancelFunc(func() {})
				if tt.deadline > 0 {
					ctx, cancel = context.WithTimeout(ctx, tt.deadline)
				}
				defer cancel()
				_, err := client.GetPhoneNumber(ctx, someCode)
				assert.Equal(t, tt.want, wxphone.HTTPStatus(err), "%v", err)
				assert.Equal(t, tt.want == 429, errors.Is(err, wxphone.ErrRateLimited))
				if tt.wait == 0 {
					assert.Len(t, asked, 1)
					assert.Zero(t, time.Since(begin), "it returns at once")
					return
				}
				require.Len(t, asked, 2)
				assert.GreaterOrEqual(t, asked[1], tt.wait)
				assert.Less(t, asked[1], tt.wait+time.Second)
			})
		})
	}
}

func TestRejectedTokenIsRefreshedOnce(t *testing.T) {
	t.Parallel()
	for _, errcode := range []int{40001, 40014, 42001, 41001} {
		synctest.Test(t, func(t *testing.T) {
			server := wxphonetest.NewServer(t)
			client := server.NewClient(wxphone.WithMaxRetries(0))
			_, err := client.AccessToken(t.Context())
			require.NoError(t, err)
			server.RevokeToken()
			server.FailNext(phoneAPI, errcode, "", 1)
			info, err := client.GetPhoneNumber(t.Context(), server.IssueCode(aPhone))
			require.NoError(t, err)
			assert.Equal(t, "13800000000", info.PurePhoneNumber)
			assert.Equal(t, 2, server.TokenFetches())
			assert.Equal(t, 2, server.Requests(phoneAPI))
		})
	}
}

func TestCallIsRepeatedTwiceAtMostAfterARejectedToken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t)
		client := server.NewClient()
		_, err := client.AccessToken(t.Context())
		require.NoError(t, err)
		server.RevokeToken()
		server.FailNext(phoneAPI, 40001, "", -1)
		_, err = client.GetPhoneNumber(t.Context(), "code")
		require.ErrorIs(t, err, wxphone.ErrAccessToken)
		assert.Equal(t, 503, wxphone.HTTPStatus(err))
		assert.Equal(t, 3, server.Requests(phoneAPI))
	})
}

// The source has another token although it cannot take the news.
func TestSourceThatCannotBeToldOfARefusalLosesNoCall(t *testing.T) {
	t.Parallel()
	for name, wrap := range map[string]func(wxphone.TokenSource) wxphone.TokenSource{
		"bare":   func(src wxphone.TokenSource) wxphone.TokenSource { return src },
		"cached": func(src wxphone.TokenSource) wxphone.TokenSource { return wxphone.CacheTokens(src) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server := wxphonetest.NewServer(t)
				client := server.NewClient(wxphone.WithTokenSource(wrap(deafSource{server.NewClient()})))
				_, err := client.AccessToken(t.Context())
				require.NoError(t, err)
				server.RevokeToken()
				_, err = client.GetPhoneNumber(t.Context(), server.IssueCode(aPhone))
				require.NoError(t, err)
			})
		})
	}
}

// deafSource replaces a refused token, and says that it could not.
type deafSource struct{ client *wxphone.Client }

func (s deafSource) Token(ctx context.Context) (wxphone.Token, error) {
	return s.client.AccessToken(ctx)
}

func (s deafSource) InvalidateToken(ctx context.Context, rejected string) error {
	_ = s.client.InvalidateAccessToken(ctx, rejected)
	return errors.New("no connection")
}

// Whoever refuses the last token too is heard: the next call sends another.
func TestRefusalOfTheLastRepeatIsReported(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t)
		source := &tellingSource{}
		client := server.NewClient(wxphone.WithTokenSource(source))
		_, err := client.GetPhoneNumber(t.Context(), "code")
		require.ErrorIs(t, err, wxphone.ErrAccessToken)
		assert.Equal(t, []string{"token-1", "token-2", "token-3"}, source.told)
	})
}

// tellingSource hands out a token that nobody takes, another one after each
// refusal.
type tellingSource struct{ told []string }

func (s *tellingSource) Token(context.Context) (wxphone.Token, error) {
	return wxphone.Token{AccessToken: fmt.Sprintf("token-%d", len(s.told)+1)}, nil
}

func (s *tellingSource) InvalidateToken(_ context.Context, rejected string) error {
	s.told = append(s.told, rejected)
	return nil
}

func TestTokenRequestsKeepTheirRetriesWithoutThoseOfCalls(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t)
		client := server.NewClient(wxphone.WithMaxRetries(0))
		server.FailNext(stableTokenAPI, -1, "", 2)
		_, err := client.GetPhoneNumber(t.Context(), server.IssueCode(aPhone))
		require.NoError(t, err)
	})
}

func TestBareTokenSourceIsAskedForEveryCall(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t)
		fake := server.NewClient()
		var asked atomic.Int32
		source := wxphone.TokenSourceFunc(func(ctx context.Context) (wxphone.Token, error) {
			asked.Add(1)
			return fake.AccessToken(ctx)
		})
		client := server.NewClient(wxphone.WithTokenSource(source))
		for range 3 {
			_, err := client.GetPhoneNumber(t.Context(), server.IssueCode(aPhone))
			require.NoError(t, err)
		}
		assert.EqualValues(t, 3, asked.Load())
		assert.Equal(t, 1, server.TokenFetches())
	})
}

func TestBareSourceWithANewTokenIsRepeatedAndWithTheOldOneIsNot(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t)
		good, err := server.NewClient().AccessToken(t.Context())
		require.NoError(t, err)
		answers := []string{"stale", good.AccessToken, "stale", "stale"}
		source := wxphone.TokenSourceFunc(func(context.Context) (wxphone.Token, error) {
			token := wxphone.Token{AccessToken: answers[0]}
			answers = answers[1:]
			return token, nil
		})
		client := server.NewClient(wxphone.WithTokenSource(source))
		_, err = client.GetPhoneNumber(t.Context(), server.IssueCode(aPhone))
		require.NoError(t, err)
		require.Equal(t, 2, server.Requests(phoneAPI))
		_, err = client.GetPhoneNumber(t.Context(), server.IssueCode(aPhone))
		require.ErrorIs(t, err, wxphone.ErrAccessToken)
		assert.Equal(t, 3, server.Requests(phoneAPI), "repeated with the same token")
	})
}

// stuckTokens cannot replace the token that it has.
type stuckTokens struct{ token string }

func (s stuckTokens) Token(context.Context) (wxphone.Token, error) {
	return wxphone.Token{AccessToken: s.token}, nil
}

func (s stuckTokens) InvalidateToken(_ context.Context, rejected string) error {
	return fmt.Errorf("no way to replace %s", rejected)
}

func TestSourceThatCannotReplaceARefusedTokenFailsTheCallWithTheRefusal(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t)
		client := server.NewClient(wxphone.WithTokenSource(stuckTokens{someToken}))
		_, err := client.GetPhoneNumber(t.Context(), server.IssueCode(aPhone))
		require.ErrorIs(t, err, wxphone.ErrAccessToken)
		assert.NotContains(t, err.Error(), someToken)
		assert.Equal(t, 1, server.Requests(phoneAPI))
	})
}

func TestRefreshThatFailsSaysWhyItWasNeeded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t)
		client := server.NewClient()
		_, err := client.AccessToken(t.Context())
		require.NoError(t, err)
		server.RevokeToken()
		server.FailNext(stableTokenAPI, 40125, "", -1)
		_, err = client.GetPhoneNumber(t.Context(), "code")
		require.ErrorIs(t, err, wxphone.ErrSecretInvalid)
		require.ErrorIs(t, err, wxphone.ErrAccessToken)
		assert.Equal(t, 500, wxphone.HTTPStatus(err), "what must be mended counts first")
	})
}

func TestObserverIsToldWhichExchangeIsTheLast(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		fail func(*wxphonetest.Server)
		want []bool // Retried of each exchange of the phone API
	}{
		"success at once": {func(*wxphonetest.Server) {}, []bool{false}},
		"refused":         {func(s *wxphonetest.Server) { s.FailNext(phoneAPI, 40029, "", 1) }, []bool{false}},
		"busy, busy":      {func(s *wxphonetest.Server) { s.FailNext(phoneAPI, -1, "", 2) }, []bool{true, true, false}},
		"busy for ever":   {func(s *wxphonetest.Server) { s.FailNext(phoneAPI, -1, "", -1) }, []bool{true, true, false}},
		"lost":            {func(s *wxphonetest.Server) { s.DropNext(phoneAPI, 1) }, []bool{true, false}},
		"token refused":   {func(s *wxphonetest.Server) { s.RevokeToken() }, []bool{true, false}},
		// The token source has no other one.
		"every token refused": {func(s *wxphonetest.Server) { s.FailNext(phoneAPI, 40001, "", -1) }, []bool{true, false}},
		"no other token": {func(s *wxphonetest.Server) {
			s.RevokeToken()
			s.FailNext(stableTokenAPI, 40125, "", -1)
		}, []bool{false}},
		"over during the pause": {func(s *wxphonetest.Server) {
			s.FailNext(phoneAPI, -1, "", -1)
			s.SetLatency(phoneAPI, 2*time.Second)
		}, []bool{true, false}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server := wxphonetest.NewServer(t)
				var retried []bool
				client := server.NewClient(wxphone.WithObserver(func(_ context.Context, call wxphone.Call) {
					if call.Endpoint == phoneAPI {
						retried = append(retried, call.Retried)
					}
				}))
				_, err := client.AccessToken(t.Context())
				require.NoError(t, err)
				tt.fail(server)
				ctx, cancel := context.WithTimeout(t.Context(), 4100*time.Millisecond)
				defer cancel()
				_, _ = client.GetPhoneNumber(ctx, server.IssueCode(aPhone))
				assert.Equal(t, tt.want, retried)
			})
		})
	}
}

func TestObserverIsToldOfTheLastRepeatThatIsAllowed(t *testing.T) {
	t.Parallel()
	server := wxphonetest.NewServer(t)
	server.FailNext(phoneAPI, 40001, "", -1)
	var retried []bool
	client := server.NewClient(wxphone.WithTokenSource(new(numberedTokens)),
		wxphone.WithObserver(func(_ context.Context, call wxphone.Call) { retried = append(retried, call.Retried) }))
	_, err := client.GetPhoneNumber(t.Context(), server.IssueCode(aPhone))
	require.ErrorIs(t, err, wxphone.ErrAccessToken)
	assert.Equal(t, []bool{true, true, false}, retried)
}

func TestSeveralObserversSeeEveryExchange(t *testing.T) {
	t.Parallel()
	server := wxphonetest.NewServer(t)
	var first, second []string
	client := server.NewClient(
		wxphone.WithObserver(func(_ context.Context, call wxphone.Call) { first = append(first, call.Endpoint) }),
		wxphone.WithObserver(func(_ context.Context, call wxphone.Call) { second = append(second, call.Endpoint) }),
	)
	_, err := client.GetPhoneNumber(t.Context(), server.IssueCode(aPhone))
	require.NoError(t, err)
	assert.Equal(t, []string{stableTokenAPI, phoneAPI}, first)
	assert.Equal(t, first, second)
}

// Several Clients may share a logger.
func TestEveryRecordOfAClientNamesItsAppID(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t)
		var log strings.Builder
		store := new(wxphonetest.MemoryStore)
		client := server.NewClient(wxphone.WithTokenStore(store),
			wxphone.WithLogger(slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))))
		server.FailNext(phoneAPI, -1, "", 1)
		_, err := client.GetPhoneNumber(t.Context(), server.IssueCode(aPhone))
		require.NoError(t, err)
		server.RevokeTokenUntilForced()
		_, err = client.GetPhoneNumber(t.Context(), server.IssueCode(aPhone))
		require.NoError(t, err)
		store.SetDown(errors.New("no connection"))
		require.NoError(t, client.InvalidateAccessToken(t.Context(), server.Token()))
		_, err = client.AccessToken(t.Context())
		require.NoError(t, err)

		records := strings.Split(strings.TrimSpace(log.String()), "\n")
		require.Greater(t, len(records), 8)
		for _, record := range records {
			var fields map[string]any
			require.NoError(t, json.Unmarshal([]byte(record), &fields))
			assert.Equal(t, server.AppID(), fields["appid"], record)
			for name, value := range fields {
				if text, ok := value.(string); ok && (name == "wait" || name == "duration" || name == "age") {
					_, err := time.ParseDuration(text)
					assert.NoError(t, err, record)
				} else {
					assert.NotContains(t, []string{"wait", "duration", "age", "within"}, name, "a number of nanoseconds: %s", record)
				}
			}
		}
	})
}

func TestLogSaysWhereATokenCameFrom(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t)
		store := new(wxphonetest.MemoryStore)
		for _, want := range []string{`from=/cgi-bin/stable_token`, `from="the store"`} {
			var log strings.Builder
			client := server.NewClient(wxphone.WithTokenStore(store), wxphone.WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
			_, err := client.AccessToken(t.Context())
			require.NoError(t, err)
			assert.Contains(t, log.String(), want)
		}

		var log strings.Builder
		insisting := wxphone.CacheTokens(fixedToken("token"), wxphone.WithCacheLogger(slog.New(slog.NewTextHandler(&log, nil))))
		token, err := insisting.Token(t.Context())
		require.NoError(t, err)
		assert.Contains(t, log.String(), `from="the TokenSource"`)
		require.NoError(t, insisting.(wxphone.TokenInvalidator).InvalidateToken(t.Context(), token.AccessToken))
		_, err = insisting.Token(t.Context())
		require.NoError(t, err)
		assert.Contains(t, log.String(), `insists on the access_token that WeChat refused" source="the TokenSource"`)
	})
}
