package faulttest

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wxphone/wxphone"
)

// brokenHandshakes are the ways in which no connection comes about.
var brokenHandshakes = map[string]greeting{
	"reset when accepted":        resetAtOnce,
	"closed when accepted":       closeAtOnce,
	"reset in the handshake":     resetAfterHello,
	"closed in the handshake":    closeAfterHello,
	"plain HTTP on the TLS port": speakPlainHTTP,
}

func TestConnectionsThatBreakInTheHandshakeAreRetried(t *testing.T) {
	checkLeaks(t)
	for name, broken := range brokenHandshakes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFront(t)
			f.greet(broken, broken)
			var books ledger
			books.redeem(context.Background(), t, f.fake, f.client(t))
			books.want(t, 1, 0, 0)
			f.requireIdle(t)
		})
	}
}

// Without TLS the request is sent into a connection that is gone already.
func TestPlainConnectionsThatAreResetWhenAcceptedAreRetried(t *testing.T) {
	checkLeaks(t)
	for name, broken := range map[string]greeting{"reset": resetAtOnce, "closed": closeAtOnce} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := startFront(t, false)
			f.greet(broken, broken)
			var books ledger
			books.redeem(context.Background(), t, f.fake, f.client(t))
			books.want(t, 1, 0, 0)
			f.requireIdle(t)
		})
	}
}

func TestConnectionResetAmidTheRequestIsRetried(t *testing.T) {
	checkLeaks(t)
	f := newFront(t)
	client := f.warmClient(t)
	f.requireIdle(t)
	idle, _ := f.idle()
	require.Len(t, idle, 1)
	idle[0].dead.Store(true) // it takes 10 bytes of the request
	var books ledger
	books.redeem(context.Background(), t, f.fake, client)
	books.want(t, 1, 0, 0)
	f.requireIdle(t)
}

// A request that is still being written when the connection breaks was not
// understood by anybody, and the error must not say otherwise.
func TestConnectionResetWhileTheRequestIsWritten(t *testing.T) {
	checkLeaks(t)
	f := newFront(t)
	client := f.warmClient(t, wxphone.WithMaxRetries(1))
	// No socket buffers that much, and the reset comes before it is read.
	openid := wxphone.WithOpenID(strings.Repeat("o", 16<<20))
	// The fake takes no such body, so the refusal speaks for it.
	f.next(phonePath, resetBefore, refuse(40029))
	var books ledger
	err := books.redeem(context.Background(), t, f.fake, client, openid)
	require.ErrorIs(t, err, wxphone.ErrCodeInvalid)
	assert.NotContains(t, err.Error(), "may have consumed")
	books.want(t, 0, 0, 1)
	f.requireIdle(t)
}

// callOnce makes two requests at most: net/http itself repeats a GET on a
// pooled connection that breaks.
func callOnce(t *testing.T, f *front, broken fault) (*wxphone.Session, []wxphone.Call, error) {
	t.Helper()
	var calls []wxphone.Call
	client := f.warmClient(t, wxphone.WithMaxRetries(0), wxphone.WithObserver(func(_ context.Context, call wxphone.Call) {
		if call.Endpoint == loginPath {
			calls = append(calls, call)
		}
	}))
	f.next(loginPath, broken)
	session, err := client.Code2Session(context.Background(), f.fake.IssueLoginCode("o1"))
	return session, calls, err
}

func TestSilentReplayOfAGETSaysThatItMayHaveConsumedTheCode(t *testing.T) {
	checkLeaks(t)
	for name, broken := range map[string]fault{
		"reset": resetAfter, "closed": closeAfter,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFront(t)
			_, calls, err := callOnce(t, f, broken)
			require.ErrorIs(t, err, wxphone.ErrCodeUsed)
			assert.ErrorContains(t, err, "the first attempt may have consumed the code")
			assert.Equal(t, http.StatusBadRequest, wxphone.HTTPStatus(err))
			assert.Len(t, calls, 1, "the replay is not ours")
			assert.Equal(t, 2, f.fake.Requests(loginPath), "but it was sent")
			f.requireIdle(t)
		})
	}
}

func TestSilentReplayOfAGETSavesACodeThatIsUnused(t *testing.T) {
	checkLeaks(t)
	for name, broken := range map[string]fault{"reset": resetBefore, "closed": closeBefore} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFront(t)
			session, calls, err := callOnce(t, f, broken)
			require.NoError(t, err)
			assert.Equal(t, "o1", session.OpenID)
			assert.Len(t, calls, 1)
			f.requireIdle(t)
		})
	}
}
