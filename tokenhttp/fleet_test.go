//go:build go1.25

package tokenhttp_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/tokenhttp"
	"github.com/wxphone/wxphone/wxphonetest"
)

// A bubble of testing/synctest ends only when all of its goroutines have, so
// each of these tests finds a leak too.

var somebody = wxphone.PhoneInfo{PhoneNumber: "13800000000", PurePhoneNumber: "13800000000", CountryCode: "86"}

// tokenServer is one process that has the secret, and a network that may fail
// before it.
type tokenServer struct {
	wechat  *wxphonetest.Server
	handler http.Handler
	down    atomic.Bool
	gets    atomic.Int32
	posts   atomic.Int32
}

func newTokenServer(t *testing.T, opts ...wxphone.Option) *tokenServer {
	t.Helper()
	wechat := wxphonetest.NewServer(t)
	return &tokenServer{wechat: wechat, handler: newHandler(t, wechat.NewClient(opts...).TokenSource())}
}

func (s *tokenServer) RoundTrip(r *http.Request) (*http.Response, error) {
	if s.down.Load() {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	}
	if r.Method == http.MethodPost {
		s.posts.Add(1)
	} else {
		s.gets.Add(1)
	}
	return into(s.handler).RoundTrip(r)
}

// newProcess returns the Client of a process without the secret.
func (s *tokenServer) newProcess(t *testing.T) *wxphone.Client {
	t.Helper()
	client, err := wxphone.New(s.wechat.AppID(), "",
		wxphone.WithTokenSource(wxphone.CacheTokens(newSource(t, s))),
		wxphone.WithHTTPClient(s.wechat.HTTPClient()))
	require.NoError(t, err)
	return client
}

// redeem redeems a new code.
func (s *tokenServer) redeem(client *wxphone.Client) error {
	_, err := client.GetPhoneNumber(context.Background(), s.wechat.IssueCode(somebody))
	return err
}

func TestARevokedTokenIsReplacedOnceForAllProcesses(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string][]wxphone.Option{"stable": nil, "classic": {wxphone.WithClassicToken()}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server := newTokenServer(t, opts...)
				first, other := server.newProcess(t), server.newProcess(t)
				require.NoError(t, server.redeem(first))
				require.NoError(t, server.redeem(other))
				require.Equal(t, 1, server.wechat.TokenFetches())

				time.Sleep(time.Minute)
				server.wechat.RevokeToken()
				require.NoError(t, server.redeem(first))
				assert.Equal(t, 2, server.wechat.TokenFetches())
				// The other process reports the same token, which the server
				// has replaced already.
				require.NoError(t, server.redeem(other))
				assert.Equal(t, 2, server.wechat.TokenFetches())
				assert.EqualValues(t, 2, server.posts.Load())
				require.NoError(t, server.redeem(first))
				assert.EqualValues(t, 4, server.gets.Load())
			})
		})
	}
}

func TestManyProcessesCauseOneTokenRequest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := newTokenServer(t)
		server.wechat.SetLatency("/cgi-bin/stable_token", time.Second)
		processes := make([]*wxphone.Client, 50)
		for i := range processes {
			processes[i] = server.newProcess(t)
		}
		redeemAll := func() {
			var group sync.WaitGroup
			for _, client := range processes {
				for range 4 {
					group.Go(func() { assert.NoError(t, server.redeem(client)) })
				}
			}
			group.Wait()
		}
		redeemAll()
		assert.Equal(t, 1, server.wechat.TokenFetches())
		assert.EqualValues(t, len(processes), server.gets.Load())

		time.Sleep(time.Minute)
		server.wechat.RevokeToken()
		redeemAll()
		assert.Equal(t, 2, server.wechat.TokenFetches())
		assert.EqualValues(t, len(processes), server.posts.Load())
		assert.EqualValues(t, 2*len(processes), server.gets.Load())
	})
}

func TestAProcessOutlivesItsTokenServer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := newTokenServer(t)
		client := server.newProcess(t)
		require.NoError(t, server.redeem(client))
		token, err := client.AccessToken(context.Background())
		require.NoError(t, err)

		server.down.Store(true)
		for time.Until(token.ExpiresAt) > time.Minute {
			require.NoError(t, server.redeem(client))
			time.Sleep(time.Minute)
		}
		time.Sleep(time.Until(token.ExpiresAt))
		err = server.redeem(client)
		var network *url.Error
		require.ErrorAs(t, err, &network)
		require.ErrorIs(t, err, syscall.ECONNREFUSED)
		assert.ErrorContains(t, err, "the token server does not answer")
		assert.Equal(t, http.StatusBadGateway, wxphone.HTTPStatus(err))

		server.down.Store(false)
		time.Sleep(time.Minute) // the longest pause of the cache
		assert.NoError(t, server.redeem(client))
	})
}

func TestAProcessSeesWhyTheServerHasNoToken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := newTokenServer(t)
		client := server.newProcess(t)
		server.wechat.FailNext("/cgi-bin/stable_token", 40164, "invalid ip 203.0.113.7, not in whitelist", 1)
		err := server.redeem(client)
		var answer *tokenhttp.AnswerError
		require.ErrorAs(t, err, &answer)
		assert.Equal(t, http.StatusBadGateway, answer.HTTPStatus)
		require.ErrorIs(t, err, wxphone.ErrIPNotAllowed)
		assert.Equal(t, http.StatusInternalServerError, wxphone.HTTPStatus(err))
		assert.NotContains(t, err.Error(), "203.0.113.7")
		time.Sleep(5 * time.Second)
		assert.NoError(t, server.redeem(client))
	})
}

func TestAProcessWithAnotherKeyGetsNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := newTokenServer(t)
		source, err := tokenhttp.NewSource(serverURL, anotherKey, tokenhttp.WithHTTPClient(&http.Client{Transport: server}))
		require.NoError(t, err)
		_, err = wxphone.CacheTokens(source).Token(context.Background())
		require.ErrorIs(t, err, tokenhttp.ErrKeyRefused)
		assert.Equal(t, http.StatusInternalServerError, wxphone.HTTPStatus(err))
		assert.ErrorIs(t, source.InvalidateToken(context.Background(), someToken), tokenhttp.ErrKeyRefused)
		assert.Zero(t, server.wechat.TokenFetches())
	})
}

func TestClocksNeedNotAgree(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		// The server's clock is a day ahead of WeChat's and of the process's,
		// which takes only the seconds that are left.
		source := newSource(t, roundTrip(func(r *http.Request) (*http.Response, error) {
			answer, err := answering(http.StatusOK, `{"access_token":"`+someToken+`","expires_in":7140}`).RoundTrip(r)
			answer.Header.Set("Date", time.Now().Add(24*time.Hour).UTC().Format(http.TimeFormat))
			time.Sleep(10 * time.Second)
			return answer, err
		}))
		asked := time.Now()
		got, err := source.Token(context.Background())
		require.NoError(t, err)
		assert.True(t, got.ExpiresAt.Equal(asked.Add(7140*time.Second)), "counted from before the request: %v", got.ExpiresAt)
	})
}

func TestATokenThatTheAnswerOutlastedHasNoExpiry(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		got, err := newSource(t, roundTrip(func(r *http.Request) (*http.Response, error) {
			time.Sleep(5 * time.Second)
			return answering(http.StatusOK, `{"access_token":"`+someToken+`","expires_in":5}`).RoundTrip(r)
		})).Token(context.Background())
		require.NoError(t, err)
		assert.Equal(t, wxphone.Token{AccessToken: someToken}, got)
	})
}

func TestAHangingSourceIsGivenUpBeforeTheProgramGivesUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		hanging := wxphone.TokenSourceFunc(func(ctx context.Context) (wxphone.Token, error) {
			<-ctx.Done()
			return wxphone.Token{}, ctx.Err()
		})
		source := newSource(t, into(newHandler(t, hanging)))
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_, err := source.Token(ctx)
		var answer *tokenhttp.AnswerError
		require.ErrorAs(t, err, &answer)
		assert.Equal(t, http.StatusServiceUnavailable, answer.HTTPStatus)
	})
}

func TestACallEndsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source := newSource(t, roundTrip(func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		}))
		for want, end := range map[error]func(context.Context) (context.Context, context.CancelFunc){
			context.Canceled: func(ctx context.Context) (context.Context, context.CancelFunc) {
				ctx, cancel := context.WithCancel(ctx)
				time.AfterFunc(time.Second, cancel)
				return ctx, cancel
			},
			context.DeadlineExceeded: func(ctx context.Context) (context.Context, context.CancelFunc) {
				return context.WithTimeout(ctx, time.Second)
			},
		} {
			ctx, cancel := end(context.Background())
			begun := time.Now()
			_, err := source.Token(ctx)
			cancel()
			require.ErrorIs(t, err, want)
			assert.Equal(t, time.Second, time.Since(begun))
			var network *url.Error
			assert.True(t, errors.As(err, &network))
			assert.Equal(t, errors.Is(want, context.DeadlineExceeded), network.Timeout())
		}
	})
}
