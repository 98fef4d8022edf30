package faulttest

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wxphone/wxphone"
)

// The waits here are the transport's own, so they cannot be shortened; they
// run side by side.
func TestTransportGivesUpInTimeForAnotherAttempt(t *testing.T) {
	if testing.Short() {
		t.Skip("takes as long as the transport's timeouts")
	}
	t.Parallel()
	tests := map[string]struct {
		prepare func(*front, *front) (primary string)
		bound   time.Duration // on one attempt
	}{
		// There is another host to go on to, so nobody waits for the transport.
		"name server silent": {func(*front, *front) string { return "https://" + silentName }, time.Second},
		"handshake silent": {func(primary, _ *front) string {
			primary.greet(staySilent)
			return primary.URL
		}, time.Second},
		"answer never begins": {func(_, f *front) string {
			f.next(phonePath, sayNothing)
			return f.URL
		}, 10 * time.Second},
		"header drips": {func(_, f *front) string {
			f.next(phonePath, dripHeader)
			return f.URL
		}, 10 * time.Second},
		"body drips": {func(_, f *front) string {
			f.next(phonePath, dripBody)
			return f.URL
		}, 15 * time.Second},
		"token's body drips": {func(_, f *front) string {
			f.next(stablePath, dripBody)
			return f.URL
		}, 15 * time.Second},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			primary, f := newFront(t), newFront(t)
			client, err := wxphone.New(f.fake.AppID(), f.fake.Secret(), wxphone.WithMaxRetries(1),
				wxphone.WithBaseURL(tt.prepare(primary, f)), wxphone.WithFallbackURLs(f.URL))
			require.NoError(t, err)
			var books ledger
			begin := time.Now()
			books.redeem(context.Background(), t, f.fake, client)
			took := time.Since(begin)
			books.want(t, 1, 0, 0)
			assert.GreaterOrEqual(t, took, tt.bound-100*time.Millisecond, "the fault did not happen")
			assert.Less(t, took, tt.bound+5*time.Second)
			primary.requireIdle(t)
			f.requireIdle(t)
		})
	}
}
