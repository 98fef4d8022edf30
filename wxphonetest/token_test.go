package wxphonetest_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/wxphone/wxphone/wxphonetest"
)

func TestStableTokenIsTheSameForEverybody(t *testing.T) {
	t.Parallel()
	s := wxphonetest.NewServer(t)
	first := fetchStable(t, s, false)
	assert.NotContains(t, first.raw, "errcode")
	assert.InDelta(t, 7200, first.ExpiresIn, 1)
	assert.Equal(t, first.AccessToken, fetchStable(t, s, false).AccessToken)
	assert.Equal(t, first.AccessToken, s.Token())
	assert.Equal(t, works, use(t, s, first.AccessToken))
}

func TestTokenKindsAreSeparate(t *testing.T) {
	t.Parallel()
	s := wxphonetest.NewServer(t)
	stable := fetchStable(t, s, false).AccessToken
	classic := fetchClassic(t, s)
	assert.NotEqual(t, stable, classic.AccessToken)
	assert.Equal(t, 7200, classic.ExpiresIn)

	forced := fetchStable(t, s, true).AccessToken
	for range 3 {
		classic = fetchClassic(t, s)
	}
	assert.Equal(t, works, use(t, s, forced))
	assert.Equal(t, works, use(t, s, classic.AccessToken))
	assert.Equal(t, 40001, use(t, s, stable))
}

func TestClassicTokenRetiresAllButItsPredecessor(t *testing.T) {
	t.Parallel()
	s := wxphonetest.NewServer(t)
	first := fetchClassic(t, s).AccessToken
	second := fetchClassic(t, s).AccessToken
	assert.Equal(t, works, use(t, s, first))
	third := fetchClassic(t, s).AccessToken
	assert.Equal(t, 40001, use(t, s, first))
	assert.Equal(t, works, use(t, s, second))
	assert.Equal(t, works, use(t, s, third))
}

func TestCredentialsAreChecked(t *testing.T) {
	t.Parallel()
	s := wxphonetest.NewServer(t)
	for name, tc := range map[string]struct {
		appid, secret string
		want          int
		message       string
	}{
		"right":        {s.AppID(), s.Secret(), 0, "^$"},
		"wrong appid":  {"wx0", s.Secret(), 40013, "^invalid appid rid: "},
		"wrong secret": {s.AppID(), "wrong", 40125, "^invalid appsecret rid: "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			stable := post(t, s, stableToken, nil, map[string]string{
				"grant_type": "client_credential", "appid": tc.appid, "secret": tc.secret,
			})
			classic := get(t, s, classicToken, values(
				"grant_type", "client_credential", "appid", tc.appid, "secret", tc.secret))
			for _, a := range []answer{stable, classic} {
				assert.Equal(t, tc.want, a.ErrCode)
				assert.Regexp(t, tc.message, a.ErrMsg)
			}
		})
	}
}

func TestRefusedTokenIsExplained(t *testing.T) {
	t.Parallel()
	s := wxphonetest.NewServer(t)
	a := post(t, s, phoneNumber, values("access_token", "old"), `{"code":"1"}`)
	assert.Regexp(t, `^invalid credential, access_token is invalid or not latest, .* rid: [0-9a-f]{8}-[0-9a-f]{8}-[0-9a-f]{8}$`, a.ErrMsg)
}

func TestRevokeTokenEndsBothKinds(t *testing.T) {
	t.Parallel()
	s := wxphonetest.NewServer(t)
	stable, classic := fetchStable(t, s, false).AccessToken, fetchClassic(t, s).AccessToken
	s.RevokeToken()
	assert.Equal(t, 40001, use(t, s, stable))
	assert.Equal(t, 40001, use(t, s, classic))

	fresh := fetchStable(t, s, false).AccessToken
	assert.NotEqual(t, stable, fresh)
	assert.Equal(t, works, use(t, s, fresh))
	assert.Equal(t, works, use(t, s, fetchClassic(t, s).AccessToken))
}

func TestRevokeTokenUntilForcedKeepsHandingItOut(t *testing.T) {
	t.Parallel()
	s := wxphonetest.NewServer(t)
	dead := fetchStable(t, s, false).AccessToken
	s.RevokeTokenUntilForced()
	assert.Equal(t, 40001, use(t, s, dead))
	assert.Equal(t, dead, fetchStable(t, s, false).AccessToken)

	fresh := fetchStable(t, s, true).AccessToken
	assert.NotEqual(t, dead, fresh)
	assert.Equal(t, works, use(t, s, fresh))
	assert.Equal(t, fresh, fetchStable(t, s, false).AccessToken)
}

func TestTokenLifetimeIsAnOption(t *testing.T) {
	t.Parallel()
	s := wxphonetest.NewServer(t, wxphonetest.WithTokenLifetime(time.Minute))
	first := fetchStable(t, s, false)
	assert.InDelta(t, 60, first.ExpiresIn, 1)
	second := fetchStable(t, s, false)
	assert.NotEqual(t, first.AccessToken, second.AccessToken, "its whole life is the renewal's overlap")
	assert.Equal(t, works, use(t, s, first.AccessToken))
	assert.Equal(t, works, use(t, s, second.AccessToken))
}

func TestClassicTokenHasADailyQuota(t *testing.T) {
	t.Parallel()
	s := wxphonetest.NewServer(t)
	for range 2000 {
		fetchClassic(t, s)
	}
	assert.Equal(t, 45009, fetchClassic(t, s).ErrCode)
	assert.Zero(t, fetchStable(t, s, false).ErrCode)
}
