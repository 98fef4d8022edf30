//go:build go1.25

package wxphone_test

import (
	"bytes"
	"encoding/base64"
	"maps"
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

// securityHeaders are those of an answer.
var securityHeaders = []string{
	"Wechatmp-Appid", "Wechatmp-Timestamp", "Wechatmp-Serial", "Wechatmp-Signature",
	"Wechatmp-Serial-Deprecated", "Wechatmp-Signature-Deprecated",
}

func stripSecurity(header http.Header) {
	for _, name := range securityHeaders {
		header.Del(name)
	}
}

// unsignedSuccess is what someone on the way would like to be believed.
func unsignedSuccess(appID string) []byte {
	return []byte(strings.ReplaceAll(success, someAppID, appID))
}

func TestAnswersThatWeChatDidNotSignAreNotBelieved(t *testing.T) {
	t.Parallel()
	change := func(name string, change func(string) string) func(string, http.Header, *[]byte) {
		return func(_ string, header http.Header, _ *[]byte) { header.Set(name, change(header.Get(name))) }
	}
	to := func(value string) func(string) string { return func(string) string { return value } }
	later := func(d time.Duration) func(string) string {
		return func(timestamp string) string {
			seconds, _ := strconv.ParseInt(timestamp, 10, 64)
			return strconv.FormatInt(seconds+int64(d/time.Second), 10)
		}
	}
	for name, tt := range map[string]struct {
		alter func(appID string, header http.Header, body *[]byte)
		says  string
	}{
		"unsigned success": {func(appID string, header http.Header, body *[]byte) {
			stripSecurity(header)
			*body = unsignedSuccess(appID)
		}, "without a signature"},
		"success under the headers of another answer": {func(appID string, _ http.Header, body *[]byte) {
			*body = unsignedSuccess(appID)
		}, "not WeChat's"},
		"success with all headers but the signature": {func(appID string, header http.Header, body *[]byte) {
			header.Del("Wechatmp-Signature")
			*body = unsignedSuccess(appID)
		}, "without a signature"},
		"envelope without headers": {func(_ string, header http.Header, _ *[]byte) { stripSecurity(header) }, "without a signature"},
		"empty object":             {func(_ string, header http.Header, body *[]byte) { stripSecurity(header); *body = []byte(`{}`) }, "without a signature"},
		"errcode 0 alone": {func(_ string, header http.Header, body *[]byte) {
			stripSecurity(header)
			*body = []byte(`{"errcode":"0"}`)
		}, "without a signature"},
		"signature of nothing":        {change("Wechatmp-Signature", to("AAAA")), "not WeChat's"},
		"signature is no base64":      {change("Wechatmp-Signature", to("?")), "not WeChat's"},
		"signature only deprecated":   {change("Wechatmp-Signature", to("")), "without a signature"},
		"serial of another":           {change("Wechatmp-Serial", to("0123")), "not configured"},
		"answer for another appid":    {change("Wechatmp-Appid", to("wx0000000000000000")), "another appid"},
		"other timestamp":             {change("Wechatmp-Timestamp", later(time.Second)), "not WeChat's"},
		"stale timestamp":             {change("Wechatmp-Timestamp", later(-11*time.Minute)), "clock"},
		"timestamp of the future":     {change("Wechatmp-Timestamp", later(11*time.Minute)), "clock"},
		"no timestamp":                {change("Wechatmp-Timestamp", to("")), "Wechatmp-Timestamp"},
		"body altered after signing":  {func(_ string, _ http.Header, body *[]byte) { (*body)[40] ^= 1 }, "not WeChat's"},
		"body extended after signing": {func(_ string, _ http.Header, body *[]byte) { *body = append(*body, '\n') }, "not WeChat's"},
		"body too large": {func(_ string, _ http.Header, body *[]byte) {
			*body = append(*body, bytes.Repeat([]byte{' '}, megabyte)...)
		}, "not WeChat's"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server := wxphonetest.NewServer(t, wxphonetest.WithAPISecurity())
				wire := tap(server)
				wire.after = func(req *http.Request, resp *http.Response, body *[]byte) {
					if req.URL.Path == phonePath {
						tt.alter(server.AppID(), resp.Header, body)
					}
				}
				info, err := server.NewClient(wire.option()).GetPhoneNumber(t.Context(), server.IssueCode(somebody))
				require.ErrorIs(t, err, wxphone.ErrAPISecurity)
				assert.Nil(t, info)
				assert.ErrorContains(t, err, tt.says)
				assert.ErrorContains(t, err, phonePath)
				assert.NotContains(t, err.Error(), "\n")
				assert.Equal(t, http.StatusInternalServerError, wxphone.HTTPStatus(err))
				assert.Equal(t, 1, server.Requests(phonePath), "nothing that another attempt would mend")
			})
		})
	}
}

func TestUnsignedBodyIsBelievedAsAnErrorOnly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t, wxphonetest.WithAPISecurity())
		client := server.NewClient(wxphone.WithMaxRetries(0))
		for body, want := range map[string]error{
			`{"errcode":40234,"errmsg":"API invalid signature"}`:    wxphone.ErrAPISecurity,
			`{"errcode":"40029","errmsg":"invalid code"}`:           wxphone.ErrCodeInvalid,
			`{"errcode":-1,"errmsg":"system error"}`:                wxphone.ErrSystemBusy,
			`{"errcode":45011,"errmsg":"reach minute-quota limit"}`: wxphone.ErrRateLimited,
			`{"errcode":0,"errmsg":"ok"}`:                           wxphone.ErrAPISecurity,
			string(unsignedSuccess(server.AppID())):                 wxphone.ErrAPISecurity,
		} {
			server.RespondNext(phonePath, 200, body, 1)
			info, err := client.GetPhoneNumber(t.Context(), "code")
			require.ErrorIs(t, err, want, body)
			assert.Nil(t, info)
		}
		server.RespondNext(phonePath, 200, "<html>", 1)
		_, err := client.GetPhoneNumber(t.Context(), "code")
		var page *wxphone.ResponseError
		require.ErrorAs(t, err, &page)

		server.RespondNext(checkEncryptedPath, 200, `{"errcode":0,"errmsg":"ok","vaild":true,"create_time":1}`, 1)
		check, err := client.CheckEncryptedData(t.Context(), "data")
		require.ErrorIs(t, err, wxphone.ErrAPISecurity)
		assert.Nil(t, check)
	})
}

// An answer names neither the request nor the code that it is for, so what is
// caught of a replay is what time, API and host make of it.
func TestAnswerOfAnotherCallIsRefusedOnceItIsStaleOrElsewhere(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		replay func(then http.Header, resp *http.Response)
		opts   []wxphone.Option
		says   string
	}{
		"stale":                {func(then http.Header, resp *http.Response) { resp.Header = then }, nil, "clock"},
		"with a new timestamp": {replayFresh, nil, "not WeChat's"},
		"another host":         {replayFresh, []wxphone.Option{wxphone.WithBaseURL("https://sh.api.weixin.qq.com")}, "not WeChat's"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server := wxphonetest.NewServer(t, wxphonetest.WithAPISecurity())
				wire := tap(server)
				var header http.Header
				var answer []byte
				wire.after = func(req *http.Request, resp *http.Response, body *[]byte) {
					if req.URL.Path != phonePath {
						return
					}
					if header == nil {
						header, answer = resp.Header.Clone(), bytes.Clone(*body)
						return
					}
					tt.replay(header, resp)
					*body = answer
				}
				client := server.NewClient(wire.option())
				_, err := client.GetPhoneNumber(t.Context(), server.IssueCode(somebody))
				require.NoError(t, err)
				time.Sleep(11 * time.Minute)
				_, err = server.NewClient(append(tt.opts, wire.option())...).GetPhoneNumber(t.Context(), server.IssueCode(somebody))
				require.ErrorIs(t, err, wxphone.ErrAPISecurity)
				assert.ErrorContains(t, err, tt.says)
			})
		})
	}
}

// replayFresh takes an old answer's headers with the timestamp of now.
func replayFresh(then http.Header, resp *http.Response) {
	now := resp.Header.Get("Wechatmp-Timestamp")
	resp.Header = then.Clone()
	resp.Header.Set("Wechatmp-Timestamp", now)
}

func TestAnswerOfAnotherAPIIsRefused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t, wxphonetest.WithAPISecurity())
		wire := tap(server)
		var header http.Header
		var answer []byte
		wire.after = func(req *http.Request, resp *http.Response, body *[]byte) {
			switch req.URL.Path {
			case checkEncryptedPath:
				header, answer = resp.Header, *body
			case phonePath:
				resp.Header, *body = header, answer
			}
		}
		client := server.NewClient(wire.option())
		_, err := client.CheckEncryptedData(t.Context(), "data")
		require.NoError(t, err)
		_, err = client.GetPhoneNumber(t.Context(), server.IssueCode(somebody))
		require.ErrorIs(t, err, wxphone.ErrAPISecurity)
	})
}

func TestCertificateChangeIsSurvivedWithEitherCertificate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t, wxphonetest.WithAPISecurity())
		former := server.APISecurity()
		server.RotateCertificate()
		current := server.APISecurity()
		both := current
		both.Certificates = maps.Clone(former.Certificates)
		maps.Copy(both.Certificates, current.Certificates)
		require.Len(t, both.Certificates, 2)
		redeem := func(security wxphone.APISecurity) error {
			_, err := server.NewClient(wxphone.WithAPISecurity(security)).GetPhoneNumber(t.Context(), server.IssueCode(somebody))
			return err
		}
		for name, security := range map[string]wxphone.APISecurity{"former": former, "current": current, "both": both} {
			assert.NoError(t, redeem(security), name)
		}

		server.RotateCertificate() // now the first is not even the former one
		err := redeem(former)
		require.ErrorIs(t, err, wxphone.ErrAPISecurity)
		assert.ErrorContains(t, err, "Certificates")
		assert.NoError(t, redeem(current))
	})
}

func TestDeprecatedSignatureCountsWhereTheCurrentOneIsBroken(t *testing.T) {
	t.Parallel()
	wrong := base64.StdEncoding.EncodeToString(make([]byte, 256))
	for name, tt := range map[string]struct {
		broken    []string
		signature string
		fits      bool
	}{
		"current":         {[]string{"Wechatmp-Signature"}, wrong, true},
		"deprecated":      {[]string{"Wechatmp-Signature-Deprecated"}, wrong, true},
		"both":            {[]string{"Wechatmp-Signature", "Wechatmp-Signature-Deprecated"}, wrong, false},
		"current missing": {[]string{"Wechatmp-Signature"}, "", true},
		"both missing":    {[]string{"Wechatmp-Signature", "Wechatmp-Signature-Deprecated"}, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server := wxphonetest.NewServer(t, wxphonetest.WithAPISecurity())
				both := server.APISecurity()
				server.RotateCertificate()
				maps.Copy(both.Certificates, server.APISecurity().Certificates)
				wire := tap(server)
				wire.after = func(req *http.Request, resp *http.Response, _ *[]byte) {
					for _, name := range tt.broken {
						if req.URL.Path == phonePath {
							resp.Header.Set(name, tt.signature)
						}
					}
				}
				_, err := server.NewClient(wire.option(), wxphone.WithAPISecurity(both)).GetPhoneNumber(t.Context(), server.IssueCode(somebody))
				if tt.fits {
					require.NoError(t, err)
					return
				}
				require.ErrorIs(t, err, wxphone.ErrAPISecurity)
			})
		})
	}
}
