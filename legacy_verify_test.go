//go:build go1.25

package wxphone_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/wxphonetest"
)

const checkEncryptedPath = "/wxa/business/checkencryptedmsg"

func TestDataThatWeChatMadeIsVerifiedAndDecrypted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t)
		client := server.NewClient()
		encryptedData, iv := server.Encrypt("o-1", aPhone)
		info, err := client.VerifyPhoneNumber(t.Context(), server.SessionKey("o-1"), encryptedData, iv)
		require.NoError(t, err)
		assert.Equal(t, aPhone.PhoneNumber, info.PhoneNumber)
		assert.Equal(t, server.AppID(), info.Watermark.AppID)

		check, err := client.CheckEncryptedData(t.Context(), encryptedData)
		require.NoError(t, err)
		assert.True(t, check.Valid)
		assert.Equal(t, time.Now().Unix(), check.CreatedAt.Unix())
	})
}

func TestForgeryWithALeakedSessionKeyIsRefused(t *testing.T) {
	t.Parallel()
	for name, option := range map[string]wxphonetest.Option{
		"errcode 1":   wxphonetest.AllowMalformed(),
		"vaild false": wxphonetest.WithUnknownDataAsInvalid(),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server := wxphonetest.NewServer(t, option)
				client := server.NewClient()
				leaked := server.SessionKey("o-1")
				forged := aPhone
				forged.PhoneNumber, forged.PurePhoneNumber = "13900000000", "13900000000"
				forged.Watermark = wxphone.Watermark{AppID: server.AppID(), Timestamp: time.Now().Unix()}
				encryptedData, iv := wxphonetest.Seal(leaked, forged)

				info, err := client.DecryptPhoneNumber(leaked, encryptedData, iv)
				require.NoError(t, err, "decryption alone believes who has the key")
				require.Equal(t, "13900000000", info.PhoneNumber)
				_, err = client.VerifyPhoneNumber(t.Context(), leaked, encryptedData, iv)
				require.ErrorIs(t, err, wxphone.ErrDecrypt)
				assert.Equal(t, 400, wxphone.HTTPStatus(err))
				check, err := client.CheckEncryptedData(t.Context(), encryptedData)
				require.NoError(t, err)
				assert.Equal(t, wxphone.EncryptedDataCheck{}, *check)
			})
		})
	}
}

// WeChat's hash does not cover the iv, so an attacker may send genuine
// encryptedData with any iv: it must never yield another number.
func TestGenuineDataWithAnotherIVIsRefused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t)
		client := server.NewClient()
		encryptedData, iv := server.Encrypt("o-1", aPhone)
		for _, other := range []string{"AAAAAAAAAAAAAAAAAAAAAA==", strings.ToUpper(iv), iv[2:] + iv[:2]} {
			if other == iv {
				continue
			}
			_, err := client.VerifyPhoneNumber(t.Context(), server.SessionKey("o-1"), encryptedData, other)
			require.ErrorIs(t, err, wxphone.ErrDecrypt)
		}
	})
}

func TestSpacesAreRepairedBeforeWeChatIsAsked(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t)
		client := server.NewClient()
		var encryptedData, iv string
		for !strings.Contains(encryptedData, "+") || !strings.Contains(iv, "+") {
			encryptedData, iv = server.Encrypt("o-1", aPhone)
		}
		spaced := strings.NewReplacer("+", " ")
		info, err := client.VerifyPhoneNumber(t.Context(), server.SessionKey("o-1"), spaced.Replace(encryptedData), spaced.Replace(iv))
		require.NoError(t, err)
		assert.Equal(t, aPhone.PhoneNumber, info.PhoneNumber)
	})
}

// WeChat counts each request, and whoever can make a server send one for any
// text uses up its quota.
func TestNothingIsSentForWhatCannotDecrypt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t)
		client := server.NewClient()
		key := string(server.SessionKey("o-1"))
		data, iv := server.Encrypt("o-1", aPhone)
		for name, c := range map[string]struct{ key, data, iv string }{
			"data of one block":       {key, data[:20] + "AA==", iv},
			"data too short":          {key, data[:128], iv},
			"data not whole blocks":   {key, data[:200], iv},
			"data not base64":         {key, "%" + data[1:], iv},
			"data with a line break":  {key, data + "\n", iv},
			"data oversized":          {key, strings.Repeat("A", 1<<20), iv},
			"iv too short":            {key, data, iv[:20]},
			"iv not base64":           {key, data, "%" + iv[1:]},
			"iv of another alphabet":  {key, data, "-_" + iv[2:]},
			"key of another length":   {key + key, data, iv},
			"key not base64":          {"%" + key[1:], data, iv},
			"key without its padding": {strings.TrimRight(key, "="), data, iv},
		} {
			_, err := client.VerifyPhoneNumber(t.Context(), wxphone.SessionKey(c.key), c.data, c.iv)
			require.ErrorIs(t, err, wxphone.ErrDecrypt, name)
		}
		for name, c := range map[string]struct{ key, data, iv string }{
			"no key": {"", data, iv}, "no data": {key, "", iv}, "no iv": {key, data, ""},
		} {
			_, err := client.VerifyPhoneNumber(t.Context(), wxphone.SessionKey(c.key), c.data, c.iv)
			require.ErrorIs(t, err, wxphone.ErrInvalidArgument, name)
		}
		_, err := client.CheckEncryptedData(t.Context(), "")
		require.ErrorIs(t, err, wxphone.ErrInvalidArgument)
		_, err = client.CheckEncryptedData(t.Context(), strings.Repeat("A", 64<<10+1))
		require.ErrorIs(t, err, wxphone.ErrInvalidArgument)
		assert.Zero(t, server.Requests(checkEncryptedPath))
		assert.Zero(t, server.TokenFetches())

		_, err = client.VerifyPhoneNumber(t.Context(), wxphone.SessionKey(key), data, iv)
		require.NoError(t, err)
		assert.Equal(t, 1, server.Requests(checkEncryptedPath))
	})
}

func TestDataOlderThanThreeDaysIsNotValid(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t)
		client := server.NewClient()
		encryptedData, iv := server.Encrypt("o-1", aPhone)
		time.Sleep(3*24*time.Hour + time.Minute)
		_, err := client.VerifyPhoneNumber(t.Context(), server.SessionKey("o-1"), encryptedData, iv)
		require.ErrorIs(t, err, wxphone.ErrDecrypt)
	})
}

func TestLoginAfterTheTapMakesTheDataUnreadable(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t)
		client := server.NewClient()
		encryptedData, iv := server.Encrypt("o-1", aPhone)
		server.RotateSessionKey("o-1") // what wx.login may do
		session, err := client.Code2Session(t.Context(), server.IssueLoginCode("o-1"))
		require.NoError(t, err)
		_, err = client.VerifyPhoneNumber(t.Context(), session.SessionKey, encryptedData, iv)
		require.ErrorIs(t, err, wxphone.ErrDecrypt)
		require.ErrorContains(t, err, "wx.login")
	})
}

func TestWhatCheckEncryptedDataMakesOfAnswers(t *testing.T) {
	t.Parallel()
	created := time.Unix(1629121902, 0)
	tests := map[string]struct {
		body string
		want *wxphone.EncryptedDataCheck
	}{
		"vaild":              {`{"errcode":0,"vaild":true,"create_time":1629121902}`, &wxphone.EncryptedDataCheck{Valid: true, CreatedAt: created}},
		"valid":              {`{"errcode":0,"valid":true,"create_time":1629121902}`, &wxphone.EncryptedDataCheck{Valid: true, CreatedAt: created}},
		"both":               {`{"vaild":true,"valid":true,"create_time":"1629121902"}`, &wxphone.EncryptedDataCheck{Valid: true, CreatedAt: created}},
		"in contradiction":   {`{"vaild":true,"valid":false}`, &wxphone.EncryptedDataCheck{}},
		"the other way":      {`{"vaild":false,"valid":true}`, &wxphone.EncryptedDataCheck{}},
		"false":              {`{"errcode":0,"vaild":false}`, &wxphone.EncryptedDataCheck{}},
		"neither":            {`{"errcode":0,"create_time":1629121902}`, nil},
		"null":               {`{"errcode":0,"vaild":null}`, nil},
		"an object for true": {`{"errcode":0,"vaild":{}}`, &wxphone.EncryptedDataCheck{}},
		"errcode 1":          {`{"errcode":1,"errmsg":"not found"}`, &wxphone.EncryptedDataCheck{}},
		"errcode 40097":      {`{"errcode":40097,"errmsg":"invalid args"}`, nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server := wxphonetest.NewServer(t)
				server.RespondNext(checkEncryptedPath, http.StatusOK, tt.body, 1)
				check, err := server.NewClient().CheckEncryptedData(t.Context(), "data")
				if tt.want == nil {
					require.Error(t, err)
					return
				}
				require.NoError(t, err)
				assert.Equal(t, tt.want.Valid, check.Valid)
				assert.True(t, tt.want.CreatedAt.Equal(check.CreatedAt))
			})
		})
	}
}

func TestWatermarkAge(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		age  time.Duration
		none bool // no timestamp at all
		ok   bool
	}{
		"now":                    {age: 0, ok: true},
		"just young enough":      {age: 10 * time.Minute, ok: true},
		"too old":                {age: 10*time.Minute + time.Second},
		"clock a little behind":  {age: -5 * time.Minute, ok: true},
		"clock far behind":       {age: -5*time.Minute - time.Second},
		"without a timestamp":    {none: true},
		"the oldest there is":    {age: 25 * 365 * 24 * time.Hour},
		"in the 23rd century on": {age: -290 * 365 * 24 * time.Hour},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server := wxphonetest.NewServer(t)
				strict := server.NewClient(wxphone.WithWatermarkMaxAge(10 * time.Minute))
				key := server.SessionKey("o-1")
				watermark := map[string]any{"appid": server.AppID(), "timestamp": time.Now().Add(-tt.age).Unix()}
				if tt.none {
					delete(watermark, "timestamp")
				}
				encryptedData, iv := wxphonetest.Seal(key, map[string]any{
					"phoneNumber": "13800000000", "purePhoneNumber": "13800000000", "countryCode": "86", "watermark": watermark,
				})
				_, err := strict.DecryptPhoneNumber(key, encryptedData, iv)
				if tt.ok {
					require.NoError(t, err)
				} else {
					require.ErrorIs(t, err, wxphone.ErrWatermarkExpired)
					assert.Equal(t, 400, wxphone.HTTPStatus(err))
				}
				_, err = server.NewClient().DecryptPhoneNumber(key, encryptedData, iv)
				require.NoError(t, err, "without a limit any age is taken")
			})
		})
	}
}

func TestUndecryptedDataIsToldFromAStaleSession(t *testing.T) {
	t.Parallel()
	const checkSessionPath = "/wxa/checksession"
	tests := map[string]struct {
		spoil  func(s *wxphonetest.Server, session *wxphone.Session) (encryptedData, iv string)
		want   error
		also   error
		status int
		step   wxphone.Step
		asked  int
	}{
		"sound": {spoil: func(*wxphonetest.Server, *wxphone.Session) (string, string) { return "", "" }, status: 200, step: wxphone.StepDone},
		"stale session": {
			spoil: func(s *wxphonetest.Server, _ *wxphone.Session) (string, string) {
				s.RotateSessionKey("o-1")
				return s.Encrypt("o-1", aPhone)
			},
			want: wxphone.ErrSessionExpired, status: 401, step: wxphone.StepLogIn, asked: 1,
		},
		"data older than the session": {
			spoil: func(s *wxphonetest.Server, session *wxphone.Session) (string, string) {
				s.RotateSessionKey("o-1")
				session.SessionKey = s.SessionKey("o-1")
				return "", ""
			},
			want: wxphone.ErrDecrypt, status: 400, step: wxphone.StepTapAgain, asked: 1,
		},
		"WeChat cannot be asked": {
			spoil: func(s *wxphonetest.Server, _ *wxphone.Session) (string, string) {
				s.RotateSessionKey("o-1")
				s.FailNext(checkSessionPath, 45011, "", 1)
				return s.Encrypt("o-1", aPhone)
			},
			want: wxphone.ErrRateLimited, also: wxphone.ErrDecrypt, status: 429, step: wxphone.StepSendAgain, asked: 1,
		},
		"WeChat cannot be asked about the data": {
			spoil: func(s *wxphonetest.Server, _ *wxphone.Session) (string, string) {
				s.FailNext(checkEncryptedPath, 45009, "", 1)
				return "", ""
			},
			want: wxphone.ErrQuotaExhausted, status: 503, step: wxphone.StepStop,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server := wxphonetest.NewServer(t)
				client := server.NewClient()
				session, err := client.Code2Session(t.Context(), server.IssueLoginCode("o-1"))
				require.NoError(t, err)
				older, olderIV := server.Encrypt("o-1", aPhone)
				encryptedData, iv := tt.spoil(server, session)
				if encryptedData == "" {
					encryptedData, iv = older, olderIV
				}
				phone, err := client.RevealPhoneNumber(t.Context(), session, encryptedData, iv)
				if tt.want == nil {
					require.NoError(t, err)
					assert.Equal(t, aPhone.PhoneNumber, phone.PhoneNumber)
				} else {
					require.ErrorIs(t, err, tt.want)
					assert.Nil(t, phone)
				}
				assert.Equal(t, tt.want == wxphone.ErrDecrypt || tt.also != nil, errors.Is(err, wxphone.ErrDecrypt)) //nolint:errorlint // identity
				assert.Equal(t, tt.status, wxphone.HTTPStatus(err))
				assert.Equal(t, tt.step, wxphone.NextStep(err))
				assert.Equal(t, tt.asked, server.Requests(checkSessionPath), "WeChat is asked about the session only if it matters")
			})
		})
	}
}

func TestRevealPhoneNumberRefusesWhatCannotBeRight(t *testing.T) {
	t.Parallel()
	client := answering(t, http.StatusOK, success)
	session := wxphone.Session{OpenID: "o-1", SessionKey: "tiihtNczf5v6AKRyjwEUhQ=="}
	noOpenID, noKey := session, session
	noOpenID.OpenID, noKey.SessionKey = "", ""
	for name, tt := range map[string]struct {
		client            *wxphone.Client
		session           *wxphone.Session
		encryptedData, iv string
	}{
		"Client":                     {nil, &session, "data", "iv"},
		"session is nil":             {client, nil, "data", "iv"},
		"session has no openid":      {client, &noOpenID, "data", "iv"},
		"session has no session_key": {client, &noKey, "data", "iv"},
		"encryptedData":              {client, &session, "", "iv"},
		"iv":                         {client, &session, "data", ""},
	} {
		_, err := tt.client.RevealPhoneNumber(t.Context(), tt.session, tt.encryptedData, tt.iv)
		assertInvalid(t, err, name)
	}
}
