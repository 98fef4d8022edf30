//go:build go1.25

package wxphonetest_test

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/wxphonetest"
)

// inBubble runs a test on virtual time.
func inBubble(t *testing.T, test func(*testing.T, *wxphonetest.Server), opts ...wxphonetest.Option) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { test(t, wxphonetest.NewServer(t, opts...)) })
}

func TestCodesLiveFiveMinutes(t *testing.T) {
	inBubble(t, func(t *testing.T, s *wxphonetest.Server) {
		early, late := s.IssueCode(somePhone), s.IssueCode(somePhone)
		earlyLogin, lateLogin := s.IssueLoginCode("o"), s.IssueLoginCode("o")
		cloud := s.IssueCloudID("o", somePhone)

		time.Sleep(5*time.Minute - 1)
		assert.Zero(t, redeem(t, s, early).ErrCode)
		assert.Zero(t, logIn(t, s, earlyLogin).ErrCode)
		assert.NotContains(t, openCloudIDs(t, s, "o", cloud).raw, "errCode")

		time.Sleep(1)
		assert.Equal(t, 40029, redeem(t, s, late).ErrCode)
		assert.Equal(t, 40029, redeem(t, s, early).ErrCode, "used and expired is expired")
		assert.Equal(t, 40029, logIn(t, s, lateLogin).ErrCode)
		assert.Contains(t, openCloudIDs(t, s, "o", cloud).raw, "-601006")
	})
}

func TestTokenExpires(t *testing.T) {
	inBubble(t, func(t *testing.T, s *wxphonetest.Server) {
		stable, classic := fetchStable(t, s, false).AccessToken, fetchClassic(t, s).AccessToken
		time.Sleep(2*time.Hour - 1)
		assert.Equal(t, works, use(t, s, stable))
		assert.Equal(t, works, use(t, s, classic))
		time.Sleep(1)
		assert.Equal(t, 42001, use(t, s, stable))
		assert.Equal(t, 42001, use(t, s, classic))
	})
}

func TestStableTokenRenewsInItsLastFiveMinutes(t *testing.T) {
	inBubble(t, func(t *testing.T, s *wxphonetest.Server) {
		old := fetchStable(t, s, false)
		time.Sleep(115*time.Minute - time.Second)
		again := fetchStable(t, s, false)
		assert.Equal(t, old.AccessToken, again.AccessToken)
		assert.Equal(t, 301, again.ExpiresIn, "what is left of it")

		time.Sleep(time.Second)
		fresh := fetchStable(t, s, false)
		assert.NotEqual(t, old.AccessToken, fresh.AccessToken)
		assert.Equal(t, 7200, fresh.ExpiresIn)
		assert.Equal(t, fresh.AccessToken, fetchStable(t, s, false).AccessToken)

		time.Sleep(5*time.Minute - 1)
		assert.Equal(t, works, use(t, s, old.AccessToken))
		assert.Equal(t, works, use(t, s, fresh.AccessToken))
		time.Sleep(1)
		assert.Equal(t, 42001, use(t, s, old.AccessToken))
		assert.Equal(t, works, use(t, s, fresh.AccessToken))
	})
}

func TestForcedRefreshKillsTheOldTokenAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, s *wxphonetest.Server) {
		first := fetchStable(t, s, false).AccessToken
		time.Sleep(116 * time.Minute)
		second := fetchStable(t, s, false).AccessToken
		assert.Equal(t, works, use(t, s, first))

		third := fetchStable(t, s, true).AccessToken
		assert.Equal(t, 40001, use(t, s, first), "the one before the last dies with it")
		assert.Equal(t, 40001, use(t, s, second))
		assert.Equal(t, works, use(t, s, third))
	})
}

func TestForcedRefreshesNeedThirtySecondsBetween(t *testing.T) {
	inBubble(t, func(t *testing.T, s *wxphonetest.Server) {
		first := fetchStable(t, s, true).AccessToken
		time.Sleep(30*time.Second - 1)
		assert.Equal(t, first, fetchStable(t, s, true).AccessToken)
		time.Sleep(1)
		second := fetchStable(t, s, true).AccessToken
		assert.NotEqual(t, first, second)
		assert.Equal(t, 40001, use(t, s, first))
	})
}

func TestForcedRefreshesAreTwentyADay(t *testing.T) {
	inBubble(t, func(t *testing.T, s *wxphonetest.Server) {
		// The bubble's clock starts at midnight UTC, eight o'clock in China.
		for range 20 {
			assert.Zero(t, fetchStable(t, s, true).ErrCode)
			assert.Zero(t, fetchStable(t, s, true).ErrCode, "within 30 seconds it does not count")
			time.Sleep(time.Minute)
		}
		assert.Equal(t, 45009, fetchStable(t, s, true).ErrCode)
		assert.Zero(t, fetchStable(t, s, false).ErrCode)

		time.Sleep(16*time.Hour - 21*time.Minute)
		assert.Equal(t, 45009, fetchStable(t, s, true).ErrCode)
		time.Sleep(time.Minute)
		assert.Zero(t, fetchStable(t, s, true).ErrCode, "it is midnight in China")
	})
}

func TestStableTokenIsLimitedPerMinute(t *testing.T) {
	inBubble(t, func(t *testing.T, s *wxphonetest.Server) {
		for range 10_000 {
			fetchStable(t, s, false)
		}
		assert.Equal(t, 45011, fetchStable(t, s, false).ErrCode)
		time.Sleep(time.Minute)
		assert.Zero(t, fetchStable(t, s, false).ErrCode)
	})
}

func TestClassicTokenOutlivesItsSuccessorByFiveMinutes(t *testing.T) {
	inBubble(t, func(t *testing.T, s *wxphonetest.Server) {
		first, second := fetchClassic(t, s).AccessToken, fetchClassic(t, s).AccessToken
		time.Sleep(5*time.Minute - 1)
		assert.Equal(t, works, use(t, s, first))
		time.Sleep(1)
		assert.Equal(t, 40001, use(t, s, first))
		assert.Equal(t, works, use(t, s, second))
	})
}

func TestEncryptedDataIsKnownForThreeDays(t *testing.T) {
	inBubble(t, func(t *testing.T, s *wxphonetest.Server) {
		data, _ := s.Encrypt("o", somePhone)
		madeAt := time.Now().Unix()
		time.Sleep(72 * time.Hour)
		assert.Equal(t, madeAt, checkData(t, s, data).CreateTime)
		time.Sleep(1)
		assert.Equal(t, 1, checkData(t, s, data).ErrCode)
	})
}

func TestLatencyPassesInVirtualTime(t *testing.T) {
	inBubble(t, func(t *testing.T, s *wxphonetest.Server) {
		s.SetLatency(phoneNumber, time.Hour)
		start := time.Now()
		code := s.IssueCode(somePhone)
		assert.Equal(t, 40029, redeem(t, s, code).ErrCode, "the code expired on the way")
		assert.Equal(t, time.Hour, time.Since(start))
	})
}

func TestLostAnswerTakesEffectBeforeTheLatency(t *testing.T) {
	inBubble(t, func(t *testing.T, s *wxphonetest.Server) {
		code := s.IssueCode(somePhone)
		s.SetLatency(phoneNumber, time.Hour)
		s.LoseNext(phoneNumber, 1)
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodPost,
			host+phoneNumber+"?access_token="+s.Token(), strings.NewReader(`{"code":"`+code+`"}`))
		require.NoError(t, err)
		_, err = s.HTTPClient().Do(req) //nolint:bodyclose // there is none
		require.ErrorIs(t, err, context.DeadlineExceeded)

		s.SetLatency(phoneNumber, 0)
		assert.Equal(t, 40029, redeem(t, s, code).ErrCode, "the code is used up")
	})
}

func TestRIDStartsWithTheTime(t *testing.T) {
	inBubble(t, func(t *testing.T, s *wxphonetest.Server) {
		time.Sleep(1234 * time.Second)
		want := " rid: " + strconv.FormatInt(time.Now().Unix(), 16) + "-"
		assert.Contains(t, redeem(t, s, "unknown").ErrMsg, want)
	})
}

func TestRIDIsExplainedForSevenDays(t *testing.T) {
	inBubble(t, func(t *testing.T, s *wxphonetest.Server) {
		rid := ridOf(t, redeem(t, s, "unknown"))
		time.Sleep(7 * 24 * time.Hour)
		assert.Zero(t, explain(t, s, rid).ErrCode)
		time.Sleep(time.Second)
		assert.Equal(t, 76004, explain(t, s, rid).ErrCode)
	})
}

func TestQuotasBeginAnewAtMidnightInChina(t *testing.T) {
	inBubble(t, func(t *testing.T, s *wxphonetest.Server) {
		// The bubble's clock starts on the first of January, at eight o'clock in
		// China.
		s.SetDailyLimit(phoneNumber, 1)
		redeem(t, s, "1")
		for range 10 {
			post(t, s, clearQuotaV2, nil, map[string]string{"appid": s.AppID(), "appsecret": s.Secret()})
		}
		redeem(t, s, "1")
		time.Sleep(16*time.Hour - 1)
		assert.Equal(t, 45009, redeem(t, s, "1").ErrCode)
		time.Sleep(1)
		assert.Zero(t, quotaOf(t, s, phoneNumber).Quota.Used)
		assert.Equal(t, 40029, redeem(t, s, "1").ErrCode)

		clearIt := func() int {
			return post(t, s, clearQuotaV2, nil, map[string]string{"appid": s.AppID(), "appsecret": s.Secret()}).ErrCode
		}
		time.Sleep(30*24*time.Hour - 1)
		assert.Equal(t, 48006, clearIt())
		time.Sleep(1)
		assert.Zero(t, clearIt(), "it is February")
	})
}

func TestWatermarkIsOfTheTap(t *testing.T) {
	inBubble(t, func(t *testing.T, s *wxphonetest.Server) {
		code := s.IssueCode(somePhone)
		tapped := strconv.FormatInt(time.Now().Unix(), 10)
		time.Sleep(time.Minute)
		assert.Contains(t, redeem(t, s, code).raw, `"timestamp":`+tapped)
	})
}

func TestClientWorksInABubble(t *testing.T) {
	inBubble(t, func(t *testing.T, s *wxphonetest.Server) {
		c := s.NewClient()
		var last *wxphone.PhoneInfo
		for range 3 {
			info, err := c.GetPhoneNumber(context.Background(), s.IssueCode(somePhone))
			require.NoError(t, err)
			last = info
			time.Sleep(2 * time.Hour)
		}
		assert.Equal(t, "13800000000", last.PhoneNumber)
	})
}
