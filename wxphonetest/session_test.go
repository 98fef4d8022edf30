package wxphonetest_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/wxphonetest"
)

func logIn(t *testing.T, s *wxphonetest.Server, jsCode string) answer {
	t.Helper()
	return get(t, s, code2Session, values(
		"appid", s.AppID(), "secret", s.Secret(), "js_code", jsCode, "grant_type", "authorization_code"))
}

func sign(key []byte) string {
	return hex.EncodeToString(hmac.New(sha256.New, key).Sum(nil))
}

func checkKey(t *testing.T, s *wxphonetest.Server, openid string, key wxphone.SessionKey) answer {
	t.Helper()
	return get(t, s, checkSession, withToken(s, "openid", openid, "signature", sign([]byte(key)), "sig_method", "hmac_sha256"))
}

func resetKey(t *testing.T, s *wxphonetest.Server, openid string, key wxphone.SessionKey) answer {
	t.Helper()
	return get(t, s, resetSessionKey, withToken(s, "openid", openid, "signature", sign([]byte(key)), "sig_method", "hmac_sha256"))
}

// The server must agree with the published vectors, and so must this file's own
// signer, by which the server is judged.
func TestSignatureVectors(t *testing.T) {
	t.Parallel()
	assert.Equal(t, "46e043c5525c2d817c44be603d30837a808a1d930d038f6fdc3e62a201fed128", sign([]byte("o0q0otL8aEzpcZL/FT9WsQ==")))
	assert.Equal(t, "75c022993d64e3ac224c1c9d6f2b4c6eb53f22f6c7aa6be94428577d11d12fd5", sign([]byte("AAECAwQFBgcICQoLDA0ODw==")))
}

func TestLoginCodeBuysASessionOnce(t *testing.T) {
	t.Parallel()
	s := wxphonetest.NewServer(t)
	jsCode := s.IssueLoginCode("o-1")
	assert.Regexp(t, `^[0-9A-Za-z]{32}$`, jsCode)

	a := logIn(t, s, jsCode)
	assert.NotContains(t, a.raw, "errcode")
	assert.NotContains(t, a.raw, "unionid")
	assert.Equal(t, "o-1", a.OpenID)
	assert.Equal(t, string(s.SessionKey("o-1")), a.SessionKey)
	raw, err := base64.StdEncoding.DecodeString(a.SessionKey)
	require.NoError(t, err)
	assert.Len(t, raw, 16)

	again := logIn(t, s, jsCode)
	assert.Equal(t, 40163, again.ErrCode)
	assert.Regexp(t, `^code been used, rid: [0-9a-f]{8}-[0-9a-f]{8}-[0-9a-f]{8}$`, again.ErrMsg)
	assert.Equal(t, 40029, logIn(t, s, "unknown").ErrCode)
}

func TestLoginAnswersEscapeSlashes(t *testing.T) {
	t.Parallel()
	s := wxphonetest.NewServer(t)
	for range 200 {
		key := string(s.SessionKey("o"))
		if !strings.Contains(key, "/") {
			s.RotateSessionKey("o")
			continue
		}
		a := logIn(t, s, s.IssueLoginCode("o"))
		assert.Contains(t, a.raw, strings.ReplaceAll(key, "/", `\/`))
		assert.Equal(t, key, a.SessionKey)

		reset := resetKey(t, s, "o", s.SessionKey("o"))
		assert.NotContains(t, reset.raw, `\/`, "only the APIs under /sns/ do so")
		return
	}
	t.Fatal("no session_key has a slash")
}

func TestLoginKeepsTheSessionKeyUntilItRotates(t *testing.T) {
	t.Parallel()
	s := wxphonetest.NewServer(t)
	first := logIn(t, s, s.IssueLoginCode("o")).SessionKey
	assert.Equal(t, first, logIn(t, s, s.IssueLoginCode("o")).SessionKey)
	s.RotateSessionKey("o")
	assert.NotEqual(t, first, logIn(t, s, s.IssueLoginCode("o")).SessionKey)
	assert.NotEqual(t, s.SessionKey("o"), s.SessionKey("other"))
}

func TestLoginCarriesTheUnionID(t *testing.T) {
	t.Parallel()
	s := wxphonetest.NewServer(t)
	s.SetUnionID("o", "u")
	assert.Equal(t, "u", logIn(t, s, s.IssueLoginCode("o")).UnionID)
}

func TestLoginChecksCredentials(t *testing.T) {
	t.Parallel()
	s := wxphonetest.NewServer(t)
	for name, tc := range map[string]struct {
		appid, secret string
		errcode       int
	}{
		"wrong appid":  {"wx0", s.Secret(), 40013},
		"wrong secret": {s.AppID(), "wrong", 40125},
	} {
		jsCode := s.IssueLoginCode("o")
		assert.Equal(t, tc.errcode, get(t, s, code2Session, values(
			"appid", tc.appid, "secret", tc.secret, "js_code", jsCode, "grant_type", "authorization_code")).ErrCode, name)
		assert.Zero(t, logIn(t, s, jsCode).ErrCode, "%s: the code is still good", name)
	}
}

func TestCheckSessionKnowsTheCurrentKey(t *testing.T) {
	t.Parallel()
	s := wxphonetest.NewServer(t)
	key := s.SessionKey("o")
	assert.Equal(t, `{"errcode":0,"errmsg":"ok"}`, checkKey(t, s, "o", key).raw)

	raw, err := base64.StdEncoding.DecodeString(string(key))
	require.NoError(t, err)
	assert.Equal(t, 87009, checkKey(t, s, "o", wxphone.SessionKey(raw)).ErrCode, "the key is its base64 text")
	assert.Equal(t, 87009, checkKey(t, s, "nobody", key).ErrCode)
	s.RotateSessionKey("o")
	assert.Equal(t, 87009, checkKey(t, s, "o", key).ErrCode)
}

func TestResetSessionKeyMakesANewOne(t *testing.T) {
	t.Parallel()
	s := wxphonetest.NewServer(t)
	old := s.SessionKey("o")
	a := resetKey(t, s, "o", old)
	assert.Zero(t, a.ErrCode)
	assert.Equal(t, "ok", a.ErrMsg)
	assert.Equal(t, "o", a.OpenID)
	assert.NotEqual(t, string(old), a.SessionKey)
	assert.Equal(t, string(s.SessionKey("o")), a.SessionKey)

	assert.Equal(t, 87009, resetKey(t, s, "o", old).ErrCode)
	assert.Equal(t, 87007, resetKey(t, s, "nobody", old).ErrCode)
}
