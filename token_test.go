//go:build go1.25

package wxphone_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptrace"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/wxphonetest"
)

func TestWaitersEndOnTheirOwnContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t)
		server.SetLatency(stableTokenAPI, 2*time.Second)
		client := server.NewClient()
		code := server.IssueCode(aPhone)
		begin := time.Now()
		var group sync.WaitGroup
		group.Go(func() { // also the caller that starts the fetch
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			_, err := client.GetPhoneNumber(ctx, "unused")
			assert.ErrorIs(t, err, context.DeadlineExceeded)
			assert.Equal(t, 504, wxphone.HTTPStatus(err))
			assert.Equal(t, 50*time.Millisecond, time.Since(begin))
		})
		synctest.Wait()
		group.Go(func() {
			info, err := client.GetPhoneNumber(t.Context(), code)
			if assert.NoError(t, err) {
				assert.Equal(t, "13800000000", info.PhoneNumber)
			}
			assert.Equal(t, 2*time.Second, time.Since(begin))
		})
		group.Wait()
		assert.Equal(t, 1, server.TokenFetches())
	})
}

func TestOddExpiries(t *testing.T) {
	t.Parallel()
	tests := []struct {
		expiresIn string
		// fetches after two calls at once and one a second later
		atOnce, later int
	}{
		{`7200`, 1, 1},
		{`"7200"`, 1, 1},
		{`7200.0`, 1, 1},
		{`300`, 1, 1},
		{`5`, 1, 1},
		{`1`, 1, 2},
		{`0`, 2, 3},
		{`-1`, 2, 3},
		{`null`, 2, 3},
		{`"soon"`, 2, 3},
		{`99999999999999999999`, 2, 3},
		{`9007199254740991`, 1, 1},
	}
	for _, tt := range tests {
		t.Run(tt.expiresIn, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server := wxphonetest.NewServer(t)
				server.RespondNext(stableTokenAPI, 200, `{"access_token":"odd","expires_in":`+tt.expiresIn+`}`, -1)
				client := server.NewClient()
				for range 2 {
					token, err := client.AccessToken(t.Context())
					require.NoError(t, err)
					require.Equal(t, "odd", token.AccessToken)
				}
				assert.Equal(t, tt.atOnce, server.TokenFetches())
				time.Sleep(time.Second)
				_, err := client.AccessToken(t.Context())
				require.NoError(t, err)
				assert.Equal(t, tt.later, server.TokenFetches())
			})
		})
	}
}

func TestTokenThatIsOlderThanItLivesServesTheCallersAndIsNotKept(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t)
		server.SetLatency(stableTokenAPI, 6*time.Second)
		server.RespondNext(stableTokenAPI, 200, `{"access_token":"brief","expires_in":5}`, -1)
		client := server.NewClient()
		var group sync.WaitGroup
		for range 20 {
			group.Go(func() {
				token, err := client.AccessToken(t.Context())
				assert.NoError(t, err)
				assert.Equal(t, "brief", token.AccessToken)
			})
		}
		group.Wait()
		assert.Equal(t, 1, server.TokenFetches())
		_, err := client.AccessToken(t.Context())
		require.NoError(t, err)
		assert.Equal(t, 2, server.TokenFetches())
	})
}

func TestTokensLifeIsCountedFromTheRequestThatGotIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t)
		server.SetLatency(stableTokenAPI, 2*time.Second)
		server.FailNext(stableTokenAPI, -1, "", 2) // 4 seconds and two pauses, in which there was no token yet
		server.RespondNext(stableTokenAPI, 200, `{"access_token":"brief","expires_in":5}`, -1)
		client := server.NewClient()
		token, err := client.AccessToken(t.Context())
		require.NoError(t, err)
		require.Equal(t, 3, server.TokenFetches())
		assert.Equal(t, 5*time.Second-2*time.Second, time.Until(token.ExpiresAt), "its answer took 2 seconds")
		_, err = client.AccessToken(t.Context())
		require.NoError(t, err)
		assert.Equal(t, 3, server.TokenFetches(), "it is kept")
	})
}

func TestManyRejectionsCauseOneRefresh(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t)
		client := server.NewClient()
		_, err := client.AccessToken(t.Context())
		require.NoError(t, err)
		server.RevokeToken()
		server.SetLatency(phoneAPI, 20*time.Millisecond)
		server.SetLatency(stableTokenAPI, 100*time.Millisecond)
		var group sync.WaitGroup
		for i := range 500 {
			code := server.IssueCode(aPhone)
			group.Go(func() {
				time.Sleep(time.Duration(i) * time.Millisecond) // rejections before, during and after the refresh
				_, err := client.GetPhoneNumber(t.Context(), code)
				assert.NoError(t, err)
			})
		}
		group.Wait()
		assert.Equal(t, 2, server.TokenFetches())
	})
}

func TestRefreshIsForcedOnlyWhenWeChatHandsTheRejectedTokenBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t)
		client := server.NewClient()
		first, err := client.AccessToken(t.Context())
		require.NoError(t, err)
		server.RevokeTokenUntilForced()
		info, err := client.GetPhoneNumber(t.Context(), server.IssueCode(aPhone))
		require.NoError(t, err)
		assert.Equal(t, aPhone.PhoneNumber, info.PhoneNumber)
		assert.Equal(t, 3, server.TokenFetches(), "first, handed back, forced")
		second, err := client.AccessToken(t.Context())
		require.NoError(t, err)
		assert.NotEqual(t, first.AccessToken, second.AccessToken)
	})
}

func TestClassicTokensAreCachedToo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t)
		client := server.NewClient(wxphone.WithClassicToken())
		for range 5 {
			_, err := client.GetPhoneNumber(t.Context(), server.IssueCode(aPhone))
			require.NoError(t, err)
		}
		assert.Equal(t, 1, server.Requests(classicTokenAPI))
		assert.Zero(t, server.Requests(stableTokenAPI))
	})
}

// forcing stands between a Client and the fake WeChat and sees the forced
// refreshes, which it may answer itself.
type forcing struct {
	next   http.RoundTripper
	answer func() (*http.Response, error) // instead of WeChat, or nil

	mu    sync.Mutex
	times []time.Time
}

func (f *forcing) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Path != stableTokenAPI {
		return f.next.RoundTrip(req)
	}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	req.Body = io.NopCloser(bytes.NewReader(body))
	if !bytes.Contains(body, []byte(`"force_refresh":true`)) {
		return f.next.RoundTrip(req)
	}
	f.mu.Lock()
	f.times = append(f.times, time.Now())
	f.mu.Unlock()
	if f.answer != nil {
		return f.answer()
	}
	return f.next.RoundTrip(req)
}

func (f *forcing) forced() []time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.times
}

// watchForcing returns a client whose forced refreshes are seen.
func watchForcing(server *wxphonetest.Server, answer func() (*http.Response, error)) (*wxphone.Client, *forcing) {
	seen := &forcing{next: server.HTTPClient().Transport, answer: answer}
	return server.NewClient(wxphone.WithHTTPClient(&http.Client{Transport: seen})), seen
}

func TestRefusedTokenWithoutExpiryLeadsToAForcedRefresh(t *testing.T) {
	t.Parallel()
	for _, expiresIn := range []string{`0`, `null`, `-1`} {
		t.Run(expiresIn, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server := wxphonetest.NewServer(t)
				dead := server.Token()
				server.RevokeTokenUntilForced()
				// The first fetch, and the one after the refusal.
				server.RespondNext(stableTokenAPI, 200, `{"access_token":"`+dead+`","expires_in":`+expiresIn+`}`, 2)
				client, seen := watchForcing(server, nil)
				_, err := client.GetPhoneNumber(t.Context(), server.IssueCode(aPhone))
				require.NoError(t, err)
				assert.Len(t, seen.forced(), 1)
			})
		})
	}
}

// A forced refresh counts against WeChat's quota whether its answer arrives or
// not.
func TestForcedRefreshIsOneRequestEvenIfItFails(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]func() (*http.Response, error){
		"busy": func() (*http.Response, error) {
			return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(bytes.NewReader([]byte(`{"errcode":-1}`)))}, nil
		},
		"failed gateway": func() (*http.Response, error) {
			return &http.Response{StatusCode: http.StatusBadGateway, Body: http.NoBody}, nil
		},
		"answer lost": func() (*http.Response, error) { return nil, io.ErrUnexpectedEOF },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server := wxphonetest.NewServer(t)
				client, seen := watchForcing(server, answer)
				_, err := client.AccessToken(t.Context())
				require.NoError(t, err)
				server.RevokeTokenUntilForced()
				_, err = client.GetPhoneNumber(t.Context(), server.IssueCode(aPhone))
				require.ErrorIs(t, err, wxphone.ErrAccessToken)
				assert.Len(t, seen.forced(), 1)
			})
		})
	}
}

// The counter is plain on purpose: the race detector sees a hook that runs when
// its caller has the counter for itself again.
func TestCallersTraceHooksAreNotCalledAfterItsReturn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t)
		server.SetLatency(stableTokenAPI, 50*time.Millisecond)
		client := server.NewClient()
		hooks := 0
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
			GetConn:              func(string) { hooks++ },
			GotFirstResponseByte: func() { hooks++ },
		})
		ctx, cancel := context.WithTimeout(ctx, time.Millisecond)
		defer cancel()
		_, err := client.AccessToken(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		hooks = 0

		_, err = client.AccessToken(t.Context()) // waits for the same flight
		require.NoError(t, err)
		require.Equal(t, 1, server.TokenFetches())
		assert.Zero(t, hooks)
	})
}
