//go:build go1.25

package transport_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
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

func TestFallbackHostIsAskedWhenNoConnectionCanBeMade(t *testing.T) {
	t.Parallel()
	failures := map[string]error{
		"refused":             &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")},
		"DNS":                 &net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Err: "no such host", Name: primary}},
		"TLS handshake":       tls.RecordHeaderError{Msg: "first record does not look like a TLS handshake"},
		"TLS certificate":     &tls.CertificateVerificationError{Err: errors.New("unknown authority")},
		"EOF in handshake":    errors.New("EOF"),
		"dial timeout":        context.DeadlineExceeded,
		"handshake timed out": errors.New("net/http: TLS handshake timeout"),
	}
	for name, failure := range failures {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server := wxphonetest.NewServer(t)
				out := newOutage(server, primary)
				out.down[primary] = failure
				client := server.NewClient(wxphone.WithHTTPClient(out.client()), wxphone.WithMaxRetries(0))
				_, err := client.GetPhoneNumber(t.Context(), server.IssueCode(aPhone))
				require.NoError(t, err)
				assert.Equal(t, 1, server.Requests(phoneAPI))
			})
		})
	}
}

func TestLostAnswerIsNotTakenToAnotherHost(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t)
		out := newOutage(server)
		client := server.NewClient(wxphone.WithHTTPClient(out.client()))
		server.DropNext(phoneAPI, -1)
		_, err := client.GetPhoneNumber(t.Context(), server.IssueCode(aPhone))
		require.Error(t, err)
		assert.Equal(t, 502, wxphone.HTTPStatus(err))
		assert.Equal(t, 3, server.Requests(phoneAPI))
		assert.Zero(t, out.dialled(fallback))
	})
}

func TestAnOutageCostsOneWaitAndNobodyPaysForLookingAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t)
		out := newOutage(server, primary)
		out.slow[primary] = 3 * time.Second
		client := server.NewClient(wxphone.WithHTTPClient(out.client()))
		begin, slowCalls := time.Now(), 0
		for range 100 {
			called := time.Now()
			_, err := client.GetPhoneNumber(t.Context(), server.IssueCode(aPhone))
			require.NoError(t, err)
			if time.Since(called) > 0 {
				slowCalls++
			}
			time.Sleep(3 * time.Second)
		}
		minutes := int(time.Since(begin) / time.Minute)
		assert.Equal(t, 1, slowCalls)
		assert.LessOrEqual(t, out.dialled(primary), 2+minutes, "it is looked at once a minute")

		out.restore(primary)
		time.Sleep(time.Minute)
		_, err := client.GetPhoneNumber(t.Context(), server.IssueCode(aPhone)) // has it looked at
		require.NoError(t, err)
		synctest.Wait()
		before := out.dialled(fallback)
		for range 50 {
			_, err := client.GetPhoneNumber(t.Context(), server.IssueCode(aPhone))
			require.NoError(t, err)
			time.Sleep(3 * time.Second)
		}
		assert.Equal(t, before, out.dialled(fallback), "the primary is back")
	})
}

func TestOnlyOneOfManyCallersHasThePrimaryLookedAt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t)
		out := newOutage(server, primary)
		out.slow[primary] = 3 * time.Second
		client := server.NewClient(wxphone.WithHTTPClient(out.client()))
		_, err := client.AccessToken(t.Context())
		require.NoError(t, err)
		_, err = client.GetPhoneNumber(t.Context(), server.IssueCode(aPhone))
		require.NoError(t, err)
		time.Sleep(time.Minute + time.Second)
		before := out.dialled(primary)
		var group sync.WaitGroup
		var delayed atomic.Int32
		for range 200 {
			code := server.IssueCode(aPhone)
			group.Go(func() {
				begin := time.Now()
				_, err := client.GetPhoneNumber(t.Context(), code)
				assert.NoError(t, err)
				if time.Since(begin) > 0 {
					delayed.Add(1)
				}
			})
		}
		group.Wait()
		time.Sleep(time.Minute) // until the look has ended
		assert.Zero(t, delayed.Load())
		assert.Equal(t, before+1, out.dialled(primary))
	})
}

// behindOutage returns a client whose calls go through out. It has a token, so
// that only the phone number's hosts are asked.
func behindOutage(t *testing.T, server *wxphonetest.Server, out *outage, opts ...wxphone.Option) *wxphone.Client {
	t.Helper()
	token, err := server.NewClient().AccessToken(t.Context())
	require.NoError(t, err)
	return server.NewClient(append([]wxphone.Option{
		wxphone.WithHTTPClient(out.client()), wxphone.WithTokenSource(fixedToken(token.AccessToken)),
	}, opts...)...)
}

// A caller in a hurry goes on by itself, one that waited speaks for the others.
func TestOnlyACallerThatWaitedMovesTheOthersToTheFallback(t *testing.T) {
	t.Parallel()
	deadline := context.WithTimeout
	cancelled := func(parent context.Context, d time.Duration) (context.Context, context.CancelFunc) {
		ctx, cancel := context.WithCancel(parent)
		time.AfterFunc(d, cancel)
		return ctx, cancel
	}
	for name, tt := range map[string]struct {
		limit func(context.Context, time.Duration) (context.Context, context.CancelFunc)
		after time.Duration
		err   error
		want  string // the host that the next caller asks first
	}{
		"short deadline":    {deadline, 5 * time.Millisecond, nil, primary},
		"early cancel":      {cancelled, 5 * time.Millisecond, context.Canceled, primary},
		"almost a verdict":  {deadline, 299 * time.Millisecond, nil, primary},
		"just a verdict":    {deadline, 300 * time.Millisecond, nil, fallback},
		"cancel before":     {cancelled, 999 * time.Millisecond, context.Canceled, primary},
		"cancel much later": {cancelled, 2 * time.Second, nil, fallback},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server := wxphonetest.NewServer(t)
				out := newOutage(server)
				client := behindOutage(t, server, out)
				out.breakDown(primary, 3*time.Second)
				ctx, cancel := tt.limit(t.Context(), tt.after)
				defer cancel()
				_, err := client.GetPhoneNumber(ctx, server.IssueCode(aPhone))
				require.ErrorIs(t, err, tt.err)

				before := map[string]int{primary: out.dialled(primary), fallback: out.dialled(fallback)}
				out.restore(primary)
				_, err = client.GetPhoneNumber(t.Context(), server.IssueCode(aPhone))
				require.NoError(t, err)
				assert.Equal(t, before[tt.want]+1, out.dialled(tt.want))
			})
		})
	}
}

func TestCallersWithShortDeadlinesLeaveAnUnreachableHostToo(t *testing.T) {
	t.Parallel()
	for _, limit := range []time.Duration{10 * time.Millisecond, 400 * time.Millisecond, time.Second, 2900 * time.Millisecond} {
		synctest.Test(t, func(t *testing.T) {
			server := wxphonetest.NewServer(t)
			out := newOutage(server, primary)
			out.slow[primary] = 3 * time.Second
			client := behindOutage(t, server, out)
			for range 20 {
				ctx, cancel := context.WithTimeout(t.Context(), limit)
				_, err := client.GetPhoneNumber(ctx, server.IssueCode(aPhone))
				cancel()
				require.NoError(t, err)
			}
		})
	}
}

func TestAfterTheLastFallbackComesThePrimary(t *testing.T) {
	t.Parallel()
	const last = "api3.example"
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t)
		out := newOutage(server, primary, fallback)
		client := behindOutage(t, server, out, wxphone.WithFallbackURLs("https://"+fallback, "https://"+last))
		ask := func() (dialled [3]int) {
			before := [3]int{out.dialled(primary), out.dialled(fallback), out.dialled(last)}
			_, err := client.GetPhoneNumber(t.Context(), server.IssueCode(aPhone))
			require.NoError(t, err)
			return [3]int{out.dialled(primary) - before[0], out.dialled(fallback) - before[1], out.dialled(last) - before[2]}
		}
		require.Equal(t, [3]int{1, 1, 1}, ask())
		require.Equal(t, [3]int{0, 0, 1}, ask(), "the last one is remembered")
		out.restore(primary)
		out.breakDown(last, 0)
		require.Equal(t, [3]int{1, 0, 1}, ask())
		require.Equal(t, [3]int{1, 0, 0}, ask(), "the primary is remembered")

		// Waiting in vain for the last one leads to the primary too.
		out.breakDown(primary, 0)
		out.restore(last)
		require.Equal(t, [3]int{1, 1, 1}, ask())
		out.restore(primary)
		out.breakDown(last, 3*time.Second)
		require.Equal(t, [3]int{1, 0, 1}, ask())
		require.Equal(t, [3]int{1, 0, 0}, ask())
	})
}

// WeChat's refusal is as good a sign of life as any other answer.
func TestRefusalByThePrimaryEndsTheOutage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const last = "api3.example"
		server := wxphonetest.NewServer(t)
		out := newOutage(server, primary, fallback)
		client := behindOutage(t, server, out, wxphone.WithFallbackURLs("https://"+fallback, "https://"+last))
		_, err := client.GetPhoneNumber(t.Context(), server.IssueCode(aPhone))
		require.NoError(t, err)

		// The last host is gone too, so that the primary is asked.
		out.restore(primary)
		out.breakDown(last, 0)
		server.FailNext(phoneAPI, 40029, "", 1)
		_, err = client.GetPhoneNumber(t.Context(), "code")
		require.ErrorIs(t, err, wxphone.ErrCodeInvalid)
		before := out.dialled(primary)
		_, err = client.GetPhoneNumber(t.Context(), server.IssueCode(aPhone))
		require.NoError(t, err)
		assert.Equal(t, before+1, out.dialled(primary))
	})
}

func TestAllHostsUnreachableIsRetriedAndNamesThemAll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t)
		out := newOutage(server, primary, fallback)
		client := server.NewClient(wxphone.WithHTTPClient(out.client()))
		_, err := client.AccessToken(t.Context())
		require.Error(t, err)
		assert.Equal(t, 502, wxphone.HTTPStatus(err))
		assert.ErrorContains(t, err, "https://"+primary)
		assert.ErrorContains(t, err, "https://"+fallback)
		assert.Equal(t, 3, out.dialled(primary))
		assert.Equal(t, 3, out.dialled(fallback))
		assert.Zero(t, server.TokenFetches())
	})
}

func TestBadCertificateIsNotRetried(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t)
		out := newOutage(server, primary, fallback)
		for host := range out.down {
			out.down[host] = &tls.CertificateVerificationError{Err: errors.New("unknown authority")}
		}
		client := server.NewClient(wxphone.WithHTTPClient(out.client()))
		_, err := client.AccessToken(t.Context())
		var certificate *tls.CertificateVerificationError
		require.ErrorAs(t, err, &certificate)
		assert.Equal(t, 1, out.dialled(primary))
	})
}

// One host may come back although the other one will not.
func TestCallIsTriedAgainIfAnyHostMayComeBack(t *testing.T) {
	t.Parallel()
	refused := &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}
	untrusted := &tls.CertificateVerificationError{Err: errors.New("unknown authority")}
	for name, tt := range map[string]struct {
		primary, fallback error
		rounds            int
	}{
		"the first may": {refused, untrusted, 3},
		"the last may":  {untrusted, refused, 3},
		"neither may":   {untrusted, untrusted, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server := wxphonetest.NewServer(t)
				out := newOutage(server)
				client := behindOutage(t, server, out)
				out.down[primary], out.down[fallback] = tt.primary, tt.fallback
				_, err := client.GetPhoneNumber(t.Context(), "code")
				require.ErrorIs(t, err, tt.primary)
				require.ErrorIs(t, err, tt.fallback)
				assert.Equal(t, tt.rounds, out.dialled(primary))
				assert.Equal(t, tt.rounds, out.dialled(fallback))
			})
		})
	}
}
