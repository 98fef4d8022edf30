//go:build go1.25

package wxphone_test

import (
	"encoding/json"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/wxphonetest"
)

const (
	loginPath = "/sns/jscode2session"
	checkPath = "/wxa/checksession"
	resetPath = "/wxa/resetusersessionkey"
)

func TestLoginCodeBecomesASession(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t)
		server.SetUnionID("o-1", "u-1")
		session, err := server.NewClient().Code2Session(t.Context(), server.IssueLoginCode("o-1"))
		require.NoError(t, err)
		assert.Equal(t, wxphone.Session{OpenID: "o-1", UnionID: "u-1", SessionKey: server.SessionKey("o-1")}, *session)
		assert.Zero(t, server.TokenFetches(), "login takes no access_token")
	})
}

func TestLoginCodeIsEscaped(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t, wxphonetest.WithCredentials("wx0123456789abcdef", "se cret&appid=other#+%"))
		client := server.NewClient()
		_, err := client.Code2Session(t.Context(), server.IssueLoginCode("o-1"))
		require.NoError(t, err)
		_, err = client.Code2Session(t.Context(), "a&js_code=b c")
		require.ErrorIs(t, err, wxphone.ErrCodeInvalid)
	})
}

func TestLoginFailures(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		body   string
		want   error
		status int
	}{
		"string errcode":    {`{"errcode":"40029","errmsg":"invalid code"}`, wxphone.ErrCodeInvalid, 400},
		"used":              {`{"errcode":40163,"errmsg":"code been used"}`, wxphone.ErrCodeUsed, 400},
		"blocked":           {`{"errcode":40226,"errmsg":"code blocked"}`, wxphone.ErrUserBlocked, 403},
		"wrong secret":      {`{"errcode":40125,"errmsg":"invalid appsecret"}`, wxphone.ErrSecretInvalid, 500},
		"no openid":         {`{"session_key":"AAECAwQFBgcICQoLDA0ODw=="}`, nil, 502},
		"no session_key":    {`{"openid":"o-1"}`, nil, 502},
		"empty session_key": {`{"openid":"o-1","session_key":""}`, nil, 502},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server := wxphonetest.NewServer(t)
				server.RespondNext(loginPath, 200, tt.body, 1)
				session, err := server.NewClient().Code2Session(t.Context(), "code")
				require.Error(t, err)
				assert.Nil(t, session)
				assert.Equal(t, tt.status, wxphone.HTTPStatus(err))
				if tt.want == nil {
					var answer *wxphone.ResponseError
					require.ErrorAs(t, err, &answer)
					assert.Empty(t, answer.Snippet)
					return
				}
				require.ErrorIs(t, err, tt.want)
			})
		})
	}
}

func TestRefusedLoginCodeIsExplainedAsALoginCode(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t)
		client := server.NewClient()
		_, err := client.Code2Session(t.Context(), server.IssueCode(aPhone))
		require.ErrorContains(t, err, "wx.login")
		require.ErrorContains(t, err, "looks like the phone button's")
		assert.NotContains(t, err.Error(), "e.detail.code")
		_, err = client.GetPhoneNumber(t.Context(), server.IssueLoginCode("o-1"))
		require.ErrorContains(t, err, "looks like one of wx.login's")
	})
}

func TestLoginCodeConsumedByALostAnswerIsToldApart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t)
		server.LoseNext(loginPath, 1)
		_, err := server.NewClient().Code2Session(t.Context(), server.IssueLoginCode("o-1"))
		require.ErrorIs(t, err, wxphone.ErrCodeUsed)
		require.ErrorContains(t, err, "the first attempt may have consumed the code")
	})
}

func TestSessionKeyIsCheckedWithWeChat(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t)
		client := server.NewClient()
		key := server.SessionKey("o-1")
		require.NoError(t, client.CheckSessionKey(t.Context(), "o-1", key))
		server.RotateSessionKey("o-1")
		err := client.CheckSessionKey(t.Context(), "o-1", key)
		require.ErrorIs(t, err, wxphone.ErrSessionExpired)
		assert.Equal(t, 401, wxphone.HTTPStatus(err))
	})
}

func TestAnswerWithoutErrcodeDoesNotMakeASessionValid(t *testing.T) {
	t.Parallel()
	for _, body := range []string{`{}`, `{"errmsg":"ok"}`, `{"errcode":null}`, `{"errcode":""}`, `{"openid":"o-1"}`} {
		synctest.Test(t, func(t *testing.T) {
			server := wxphonetest.NewServer(t)
			server.RespondNext(checkPath, 200, body, 1)
			err := server.NewClient().CheckSessionKey(t.Context(), "o-1", server.SessionKey("o-1"))
			var answer *wxphone.ResponseError
			require.ErrorAs(t, err, &answer, body)
		})
	}
}

func TestResetReplacesTheSessionKey(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t)
		client := server.NewClient()
		old := server.SessionKey("o-1")
		session, err := client.ResetUserSessionKey(t.Context(), "o-1", old)
		require.NoError(t, err)
		assert.Equal(t, "o-1", session.OpenID)
		assert.NotEqual(t, old, session.SessionKey)
		assert.Equal(t, server.SessionKey("o-1"), session.SessionKey)
		_, err = client.ResetUserSessionKey(t.Context(), "o-1", old)
		require.ErrorIs(t, err, wxphone.ErrSessionExpired)
		assert.NotContains(t, err.Error(), "first attempt")
	})
}

func TestResetWhoseAnswerWasLostSaysSo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t)
		server.LoseNext(resetPath, 1)
		_, err := server.NewClient().ResetUserSessionKey(t.Context(), "o-1", server.SessionKey("o-1"))
		require.ErrorIs(t, err, wxphone.ErrSessionExpired)
		require.ErrorContains(t, err, "the first attempt may have reset the session_key")
	})
}

func TestSessionCallsNeedTheirArguments(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t)
		client, ctx := server.NewClient(), t.Context()
		key := server.SessionKey("o-1")
		keyless, err := wxphone.New(server.AppID(), "", wxphone.WithHTTPClient(server.HTTPClient()), wxphone.WithoutAccessToken())
		require.NoError(t, err)
		calls := map[string]func() error{
			"jsCode":        func() error { _, err := client.Code2Session(ctx, ""); return err },
			"secret":        func() error { _, err := keyless.Code2Session(ctx, "code"); return err },
			"openid":        func() error { return client.CheckSessionKey(ctx, "", key) },
			"key":           func() error { return client.CheckSessionKey(ctx, "o-1", "") },
			"openid ":       func() error { _, err := client.ResetUserSessionKey(ctx, "", key); return err },
			"key ":          func() error { _, err := client.ResetUserSessionKey(ctx, "o-1", ""); return err },
			"encryptedData": func() error { _, err := client.CheckEncryptedData(ctx, ""); return err },
			"key is":        func() error { _, err := client.VerifyPhoneNumber(ctx, "", "e", "i"); return err },
			"iv":            func() error { _, err := client.VerifyPhoneNumber(ctx, key, "e", ""); return err },
			"openid is":     func() error { _, err := client.GetPhoneNumberByCloudID(ctx, "", "c"); return err },
			"cloudID":       func() error { _, err := client.GetPhoneNumberByCloudID(ctx, "o-1", " "); return err },
			"ctx":           func() error { _, err := client.Code2Session(nil, "c"); return err }, //nolint:staticcheck // nil is the point
			"New":           func() error { return new(wxphone.Client).CheckSessionKey(ctx, "o-1", key) },
			"by New":        func() error { _, err := new(wxphone.Client).DecryptPhoneNumber(key, "e", "i"); return err },
		}
		for name, call := range calls {
			err := call()
			require.ErrorIs(t, err, wxphone.ErrInvalidArgument, name)
			require.ErrorContains(t, err, name)
		}
		for _, path := range []string{loginPath, checkPath, resetPath, checkEncryptedPath, openDataPath, stableTokenAPI} {
			assert.Zero(t, server.Requests(path))
		}
	})
}

func TestSessionAsJSONLeavesTheKeyOut(t *testing.T) {
	t.Parallel()
	session := wxphone.Session{OpenID: "o-1", UnionID: "u-1", SessionKey: "AAECAwQFBgcICQoLDA0ODw=="}
	text, err := json.Marshal(session)
	require.NoError(t, err)
	assert.JSONEq(t, `{"openid":"o-1","unionid":"u-1"}`, string(text))
	_, err = json.Marshal(map[string]any{"key": session.SessionKey})
	require.Error(t, err, "encoded by accident")
	assert.NotContains(t, err.Error(), string(session.SessionKey))
}
