//go:build go1.25

package wxphonetest_test

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/wxphone/wxphone/wxphonetest"
)

func TestTicketsChangeAndExpire(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := wxphonetest.NewServer(t)
		first := s.Ticket()
		time.Sleep(10*time.Minute - 1)
		assert.Equal(t, first, s.Ticket())
		time.Sleep(1)
		assert.NotEqual(t, first, s.Ticket())

		old := with(componentBody(s), "component_verify_ticket", first)
		time.Sleep(12*time.Hour - 10*time.Minute - 1)
		assert.Nil(t, platformCall(t, s, http.MethodPost, componentToken, nil, old).ErrCode)
		time.Sleep(1)
		assert.Equal(t, any(61005.0), platformCall(t, s, http.MethodPost, componentToken, nil, old).ErrCode)
	})
}

func TestPlatformsTokensExpireAndSucceedEachOther(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := wxphonetest.NewServer(t)
		refreshToken := s.Authorize()
		refresh := func(component, refreshToken string) platformAnswer {
			return platformCall(t, s, http.MethodPost, authorizerToken, values("access_token", component), authorizerBody(s, s.AppID(), refreshToken))
		}
		first := fetchComponent(t, s)
		second := fetchComponent(t, s)
		assert.NotEqual(t, first, second)
		s.RotateRefreshToken(s.AppID())
		a := refresh(first, refreshToken)
		assert.Nil(t, a.ErrCode)
		b := refresh(second, a.RefreshToken)
		assert.Equal(t, works, use(t, s, a.AuthorizerToken))

		time.Sleep(5 * time.Minute)
		assert.Equal(t, any(40001.0), refresh(first, a.RefreshToken).ErrCode, "the former token")
		assert.Equal(t, any(61023.0), refresh(second, refreshToken).ErrCode, "the former refresh token")
		assert.Equal(t, 40001, use(t, s, a.AuthorizerToken), "the former token")
		assert.Equal(t, works, use(t, s, b.AuthorizerToken))

		time.Sleep(115*time.Minute - 1)
		assert.Nil(t, refresh(second, a.RefreshToken).ErrCode)
		time.Sleep(1)
		assert.Equal(t, any(42001.0), refresh(second, a.RefreshToken).ErrCode)
		assert.Equal(t, 42001, use(t, s, b.AuthorizerToken))
	})
}
