//go:build go1.25

package wxphone_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/wxphonetest"
)

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

// A caller in a hurry says nothing about a host, one that waited long does.
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
		dial  time.Duration
		err   error
		want  string // the host that the next caller asks first
	}{
		"short deadline":   {deadline, 5 * time.Millisecond, 50 * time.Millisecond, context.DeadlineExceeded, primary},
		"early cancel":     {cancelled, 5 * time.Millisecond, 50 * time.Millisecond, context.Canceled, primary},
		"almost patient":   {deadline, 499 * time.Millisecond, 3 * time.Second, context.DeadlineExceeded, primary},
		"patient deadline": {deadline, 500 * time.Millisecond, 3 * time.Second, context.DeadlineExceeded, fallback},
		"late cancel":      {cancelled, 500 * time.Millisecond, 3 * time.Second, context.Canceled, fallback},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server := wxphonetest.NewServer(t)
				out := newOutage(server)
				client := behindOutage(t, server, out)
				out.breakDown(primary, tt.dial)
				ctx, cancel := tt.limit(t.Context(), tt.after)
				defer cancel()
				_, err := client.GetPhoneNumber(ctx, server.IssueCode(somebody))
				require.ErrorIs(t, err, tt.err)
				require.Zero(t, out.dialled(fallback), "its time was up")

				out.restore(primary)
				before := out.dialled(tt.want)
				_, err = client.GetPhoneNumber(t.Context(), server.IssueCode(somebody))
				require.NoError(t, err)
				assert.Equal(t, 2, out.dialled(primary)+out.dialled(fallback))
				assert.Equal(t, before+1, out.dialled(tt.want))
			})
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
			_, err := client.GetPhoneNumber(t.Context(), server.IssueCode(somebody))
			require.NoError(t, err)
			return [3]int{out.dialled(primary) - before[0], out.dialled(fallback) - before[1], out.dialled(last) - before[2]}
		}
		require.Equal(t, [3]int{1, 1, 1}, ask())
		require.Equal(t, [3]int{0, 0, 1}, ask(), "the last one is remembered")
		out.restore(primary)
		out.breakDown(last, 0)
		require.Equal(t, [3]int{1, 0, 1}, ask())
		require.Equal(t, [3]int{1, 0, 0}, ask(), "the primary is remembered")

		// A caller whose time is up at the last one leaves the primary to others.
		out.breakDown(primary, 0)
		out.restore(last)
		require.Equal(t, [3]int{1, 1, 1}, ask())
		out.restore(primary)
		out.breakDown(last, 3*time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := client.GetPhoneNumber(ctx, "code")
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, [3]int{1, 0, 0}, ask())
	})
}

// WeChat's refusal is as good a sign of life as any other answer.
func TestRefusalByThePrimaryEndsTheOutage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t)
		out := newOutage(server, primary)
		client := behindOutage(t, server, out)
		_, err := client.GetPhoneNumber(t.Context(), server.IssueCode(somebody))
		require.NoError(t, err)
		require.Equal(t, 1, out.dialled(fallback))

		out.restore(primary)
		time.Sleep(time.Minute)
		server.FailNext(phonePath, 40029, "", 1)
		_, err = client.GetPhoneNumber(t.Context(), "code")
		require.ErrorIs(t, err, wxphone.ErrCodeInvalid)
		_, err = client.GetPhoneNumber(t.Context(), server.IssueCode(somebody))
		require.NoError(t, err)
		assert.Equal(t, 3, out.dialled(primary))
		assert.Equal(t, 1, out.dialled(fallback))
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

func TestBaseURLIsUsedAsItIsWritten(t *testing.T) {
	t.Parallel()
	for base, want := range map[string]string{
		"http://h":                "http://h",
		"http://h/":               "http://h",
		"https://h:65535/a/b//":   "https://h:65535/a/b",
		"http://h/a%2Fb":          "http://h/a%2Fb",
		"http://h/a%2Fb/":         "http://h/a%2Fb",
		"http://h/a%2Fb%2F/":      "http://h/a%2Fb%2F",
		"http://h/a%20b":          "http://h/a%20b",
		"http://h/%E5%BE%AE":      "http://h/%E5%BE%AE",
		"http://127.0.0.1:80":     "http://127.0.0.1:80",
		"http://[::1]":            "http://[::1]",
		"https://[2001:db8::1]:8": "https://[2001:db8::1]:8",
	} {
		t.Run(base, func(t *testing.T) {
			t.Parallel()
			var target, host string
			client := sendingThrough(t, roundTrip(func(req *http.Request) (*http.Response, error) {
				target, host = req.URL.Scheme+"://"+req.URL.Host+req.URL.EscapedPath(), req.Host
				assert.Equal(t, req.URL.Host, req.Host)
				return nil, errors.New("failed")
			}), wxphone.WithBaseURL(base), wxphone.WithMaxRetries(0))
			_, err := client.GetPhoneNumber(t.Context(), "code")
			assert.Equal(t, want+phonePath, target)
			assert.NotEmpty(t, host)
			require.ErrorContains(t, err, `"`+want+phonePath+`"`, "the error names what was asked")
		})
	}
}

func TestBaseURLThatCannotBeRightIsRefused(t *testing.T) {
	t.Parallel()
	for _, base := range []string{
		"http://h:99999", "http://h:65536", "http://h:0", "http://h:-1", "http://h:http",
		"http://h?", "http://h/?", "http://h/a?b=c", "http://h#", "http://h/#", "http://h/a#b",
		"http://", "http://:80", "h", "//h", "ftp://h", "http://user:password@h", "http://[::1", "http://a b",
	} {
		for name, option := range map[string]wxphone.Option{
			"WithBaseURL": wxphone.WithBaseURL(base), "WithFallbackURLs": wxphone.WithFallbackURLs("https://h", base),
		} {
			_, err := wxphone.New(someAppID, someSecret, option)
			require.ErrorIs(t, err, wxphone.ErrInvalidArgument, base)
			assert.ErrorContains(t, err, name)
			assert.NotContains(t, err.Error(), "password")
		}
	}
}

func TestIPv6HostIsReached(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Skip("no IPv6 here: ", err)
	}
	server := &http.Server{Handler: wxphonetest.NewServer(t), ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { server.Close() })
	fake := server.Handler.(*wxphonetest.Server)
	client := fake.NewClient(wxphone.WithHTTPClient(new(http.Client)), wxphone.WithBaseURL("http://"+listener.Addr().String()))
	_, err = client.GetPhoneNumber(t.Context(), fake.IssueCode(somebody))
	require.NoError(t, err)
}
