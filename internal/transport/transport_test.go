//go:build go1.25

package transport_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/wxphonetest"
)

func TestBackoffGrowsAndIsJittered(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t)
		server.FailNext(phoneAPI, -1, "", -1)
		var times []time.Time
		client := server.NewClient(wxphone.WithMaxRetries(8), wxphone.WithObserver(func(_ context.Context, call wxphone.Call) {
			if call.Endpoint == phoneAPI {
				times = append(times, call.Start)
			}
		}))
		waits := map[time.Duration]bool{}
		for range 20 {
			times = nil
			_, err := client.GetPhoneNumber(t.Context(), "code")
			require.Error(t, err)
			require.Len(t, times, 9)
			for i, base := range []time.Duration{150, 300, 600, 1200, 2000, 2000, 2000, 2000} {
				wait := times[i+1].Sub(times[i])
				require.GreaterOrEqual(t, wait, base*time.Millisecond/2)
				require.Less(t, wait, base*time.Millisecond*3/2)
				waits[wait] = true
			}
		}
		assert.Greater(t, len(waits), 100, "callers of an outage would come back in step")
	})
}
