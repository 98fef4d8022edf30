//go:build go1.25

package simulation_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/wxphone/wxphone/wxphonetest"
)

// A day of one process: a call every second, tokens that live two hours, one
// revocation, and ten minutes in which WeChat answers nothing but 502.
func TestADayInTheLifeOfAProcess(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t)
		client := server.NewClient()
		begin := time.Now()
		calls, failed, failedOutside := 0, 0, 0
		for second := range 24 * 60 * 60 {
			switch second {
			case 5 * 60 * 60:
				server.RevokeToken()
			case 12 * 60 * 60:
				server.RespondNext(phonePath, 502, badGateway, -1)
				server.RespondNext(stablePath, 502, badGateway, -1)
			case 12*60*60 + 10*60:
				server.RespondNext(phonePath, 502, "", 0)
				server.RespondNext(stablePath, 502, "", 0)
			}
			calls++
			outage := second >= 12*60*60 && second < 12*60*60+10*60
			if _, err := client.GetPhoneNumber(t.Context(), server.IssueCode(somebody)); err != nil {
				failed++
				if !outage {
					failedOutside++
				}
			}
			time.Sleep(time.Until(begin.Add(time.Duration(second+1) * time.Second)))
		}
		t.Logf("calls %d, failed %d (outside the outage %d), token requests %d", calls, failed, failedOutside, server.TokenFetches())
		assert.LessOrEqual(t, failed, 10*60, "only calls during the outage may fail")
		assert.Zero(t, failedOutside)
		assert.LessOrEqual(t, server.TokenFetches(), 12+2+30)
	})
}
