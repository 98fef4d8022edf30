//go:build go1.25

package wxphone_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/wxphonetest"
)

func newSecuredServer(tb testing.TB) *wxphonetest.Server {
	tb.Helper()
	return wxphonetest.NewServer(tb, wxphonetest.WithAPISecurity())
}

// sent is a request as it was on the wire.
type sent struct {
	host, path, body string
	header           http.Header
}

func (s *sent) secured() bool { return s.header.Get("Wechatmp-Signature") != "" }

// wiretap stands between a Client and the fake WeChat, notes what passes, and
// may change it.
type wiretap struct {
	next http.RoundTripper
	// before runs ahead of each request, after on each answer, if not nil.
	before func(*http.Request)
	after  func(*http.Request, *http.Response, *[]byte)

	mu       sync.Mutex
	requests []sent
	answers  []string
}

func tap(server *wxphonetest.Server) *wiretap {
	return &wiretap{next: server.HTTPClient().Transport}
}

func (w *wiretap) option() wxphone.Option {
	return wxphone.WithHTTPClient(&http.Client{Transport: w})
}

func (w *wiretap) RoundTrip(req *http.Request) (*http.Response, error) {
	note := sent{host: req.URL.Host, path: req.URL.Path, header: req.Header.Clone()}
	if req.Body != nil {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return nil, err
		}
		note.body = string(body)
		req = req.Clone(req.Context())
		req.Body = io.NopCloser(bytes.NewReader(body))
	}
	w.mu.Lock()
	w.requests = append(w.requests, note)
	w.mu.Unlock()
	if w.before != nil {
		w.before(req)
	}
	resp, err := w.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	w.answers = append(w.answers, string(body))
	w.mu.Unlock()
	if w.after != nil {
		w.after(req, resp, &body)
	}
	resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	return resp, nil
}

// of returns the requests for one API.
func (w *wiretap) of(path string) (requests []sent) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, request := range w.requests {
		if request.path == path {
			requests = append(requests, request)
		}
	}
	return requests
}

func TestPhoneNumberTravelsEncryptedBothWays(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := newSecuredServer(t)
		wire := tap(server)
		client := server.NewClient(wire.option())
		code := server.IssueCode(aPhone, wxphonetest.ForOpenID("o-alice"))
		info, err := client.GetPhoneNumber(t.Context(), code, wxphone.WithOpenID("o-alice"))
		require.NoError(t, err)
		assert.Equal(t, "+8613800000000", info.E164())
		assert.Equal(t, server.AppID(), info.Watermark.AppID)

		requests := wire.of(phoneAPI)
		require.Len(t, requests, 1)
		assert.True(t, requests[0].secured())
		assert.Equal(t, "application/json", requests[0].header.Get("Content-Type"))
		for _, text := range append(wire.answers, requests[0].body) {
			for _, secret := range []string{code, "o-alice", "13800000000"} {
				assert.NotContains(t, text, secret)
			}
		}
	})
}

func TestLegacyDataIsCheckedEncryptedAndTheRestStaysPlain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := newSecuredServer(t)
		wire := tap(server)
		client := server.NewClient(wire.option())
		session, err := client.Code2Session(t.Context(), server.IssueLoginCode("o-alice"))
		require.NoError(t, err)
		require.NoError(t, client.CheckSessionKey(t.Context(), "o-alice", session.SessionKey))
		data, iv := server.Encrypt("o-alice", aPhone)
		info, err := client.VerifyPhoneNumber(t.Context(), session.SessionKey, data, iv)
		require.NoError(t, err)
		assert.Equal(t, "+8613800000000", info.E164())
		forged, iv := wxphonetest.Seal(session.SessionKey, info)
		check, err := client.CheckEncryptedData(t.Context(), forged)
		require.NoError(t, err)
		assert.False(t, check.Valid, "errcode 1 in an envelope")
		_, err = client.VerifyPhoneNumber(t.Context(), session.SessionKey, forged, iv)
		require.ErrorIs(t, err, wxphone.ErrDecrypt)
		_, err = client.GetPhoneNumberByCloudID(t.Context(), "o-alice", server.IssueCloudID("o-alice", aPhone))
		require.NoError(t, err)
		_, err = client.ResetUserSessionKey(t.Context(), "o-alice", session.SessionKey)
		require.NoError(t, err)

		paths := map[string]bool{}
		for _, request := range wire.requests {
			paths[request.path] = request.secured()
		}
		assert.Equal(t, map[string]bool{
			checkEncryptedPath: true, stableTokenAPI: false, openDataPath: false,
			"/sns/jscode2session": false, "/wxa/checksession": false, "/wxa/resetusersessionkey": false,
		}, paths)

		classic := server.NewClient(wxphone.WithClassicToken())
		_, err = classic.GetPhoneNumber(t.Context(), server.IssueCode(aPhone))
		require.NoError(t, err)
	})
}

// ivOf returns the nonce of an envelope on the wire.
func ivOf(t *testing.T, body string) string {
	t.Helper()
	var envelope struct{ IV string }
	require.NoError(t, json.Unmarshal([]byte(body), &envelope))
	require.Len(t, envelope.IV, 16)
	return envelope.IV
}

func TestEveryAttemptIsSealedAnew(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := newSecuredServer(t)
		wire := tap(server)
		client := server.NewClient(wire.option(), wxphone.WithMaxRetries(3))
		_, err := client.AccessToken(t.Context())
		require.NoError(t, err)
		server.FailNext(phoneAPI, -1, "", 1)                               // in an envelope
		server.RespondNext(phoneAPI, 200, `{"errcode":-1,"errmsg":""}`, 1) // in the clear
		server.RespondNext(phoneAPI, 502, badGateway, 1)
		// Or two attempts might have the same timestamp.
		wire.after = func(*http.Request, *http.Response, *[]byte) { time.Sleep(time.Second) }
		info, err := client.GetPhoneNumber(t.Context(), server.IssueCode(aPhone))
		require.NoError(t, err)
		assert.Equal(t, "+8613800000000", info.E164())

		requests := wire.of(phoneAPI)
		require.Len(t, requests, 4)
		nonces, timestamps, signatures := map[string]bool{}, map[string]bool{}, map[string]bool{}
		for _, request := range requests {
			nonces[ivOf(t, request.body)] = true
			timestamps[request.header["Wechatmp-TimeStamp"][0]] = true
			signatures[request.header.Get("Wechatmp-Signature")] = true
		}
		assert.Len(t, nonces, 4)
		assert.Len(t, timestamps, 4)
		assert.Len(t, signatures, 4)
	})
}

func TestFallbackHostGetsASignatureOfItsOwn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := newSecuredServer(t)
		down := map[string]bool{primary: true}
		wire := tap(server)
		wire.next = without(down, wire.next)
		client := server.NewClient(wire.option())
		// The fake takes a signature only over the host that was asked.
		_, err := client.GetPhoneNumber(t.Context(), server.IssueCode(aPhone))
		require.NoError(t, err)
		down[primary], down[fallback] = false, true
		_, err = client.GetPhoneNumber(t.Context(), server.IssueCode(aPhone))
		require.NoError(t, err)
		nonces, hosts := map[string]bool{}, []string{}
		for _, request := range wire.of(phoneAPI) {
			nonces[ivOf(t, request.body)] = true
			hosts = append(hosts, request.host)
		}
		assert.Equal(t, []string{fallback, fallback, primary}, hosts)
		assert.Len(t, nonces, 3)
	})
}

func TestRefusedTokenIsReplacedUnderAPISecurity(t *testing.T) {
	t.Parallel()
	for name, refuse := range map[string]func(*wxphonetest.Server){
		"in the clear":   func(s *wxphonetest.Server) { s.RevokeToken() },
		"in an envelope": func(s *wxphonetest.Server) { s.RevokeToken(); s.FailNext(phoneAPI, 40001, "", 1) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server := newSecuredServer(t)
				wire := tap(server)
				client := server.NewClient(wire.option())
				_, err := client.AccessToken(t.Context())
				require.NoError(t, err)
				refuse(server)
				_, err = client.GetPhoneNumber(t.Context(), server.IssueCode(aPhone))
				require.NoError(t, err)
				requests := wire.of(phoneAPI)
				require.Len(t, requests, 2)
				assert.NotEqual(t, ivOf(t, requests[0].body), ivOf(t, requests[1].body))
			})
		})
	}
}

func TestErrcodesMapAsUsualUnderAPISecurity(t *testing.T) {
	t.Parallel()
	for _, group := range errcodes {
		for _, code := range group.codes {
			synctest.Test(t, func(t *testing.T) {
				server := newSecuredServer(t)
				wire := tap(server)
				client := server.NewClient(wire.option(), wxphone.WithMaxRetries(0))
				server.FailNext(phoneAPI, code, "", 2)
				_, err := client.GetPhoneNumber(t.Context(), server.IssueCode(aPhone))
				var refusal *wxphone.APIError
				require.ErrorAs(t, err, &refusal)
				assert.Equal(t, code, refusal.Code)
				assert.Equal(t, group.kind, refusal.Kind())
				assert.NotEmpty(t, refusal.RID)
				inTheClear := strings.Contains(strings.Join(wire.answers, ""), "errmsg")
				assert.Equal(t, 40230 <= code && code <= 40240, inTheClear)
			})
		}
	}
}

func TestLostAnswerThenUsedCodeIsToldUnderAPISecurity(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := newSecuredServer(t)
		server.LoseNext(phoneAPI, 1)
		_, err := server.NewClient().GetPhoneNumber(t.Context(), server.IssueCode(aPhone))
		require.ErrorIs(t, err, wxphone.ErrCodeInvalid)
		assert.ErrorContains(t, err, "the first attempt may have consumed the code")
	})
}

func TestPlainCallToASecuredAccountIsRefusedWithAdvice(t *testing.T) {
	t.Parallel()
	server := newSecuredServer(t)
	client, err := wxphone.New(server.AppID(), server.Secret(), wxphone.WithHTTPClient(server.HTTPClient()))
	require.NoError(t, err)
	_, err = client.GetPhoneNumber(t.Context(), server.IssueCode(aPhone))
	require.ErrorIs(t, err, wxphone.ErrAPISecurity)
	var refusal *wxphone.APIError
	require.ErrorAs(t, err, &refusal)
	assert.Equal(t, 40232, refusal.Code)
	assert.ErrorContains(t, err, "WithAPISecurity")
	assert.Equal(t, http.StatusInternalServerError, wxphone.HTTPStatus(err))
}

func TestClockThatIsOffIsNamed(t *testing.T) {
	t.Parallel()
	for name, meddle := range map[string]func(*wiretap){
		// What WeChat sees of a clock that is an hour behind it.
		"at WeChat": func(w *wiretap) { w.before = func(*http.Request) { time.Sleep(time.Hour) } },
		// What the client sees of a clock that is an hour ahead of WeChat's.
		"here": func(w *wiretap) {
			w.after = func(*http.Request, *http.Response, *[]byte) { time.Sleep(time.Hour) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server := newSecuredServer(t)
				wire := tap(server)
				client := server.NewClient(wire.option())
				_, err := client.AccessToken(t.Context())
				require.NoError(t, err)
				meddle(wire)
				_, err = client.CheckEncryptedData(t.Context(), "data")
				require.ErrorIs(t, err, wxphone.ErrAPISecurity)
				assert.ErrorContains(t, err, "clock")
				assert.ErrorContains(t, err, "NTP")
				assert.Equal(t, http.StatusInternalServerError, wxphone.HTTPStatus(err))
			})
		})
	}
}

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
		"no timestamp":                {change("Wechatmp-Timestamp", to("")), "Wechatmp-TimeStamp"},
		"body altered after signing":  {func(_ string, _ http.Header, body *[]byte) { (*body)[40] ^= 1 }, "not WeChat's"},
		"body extended after signing": {func(_ string, _ http.Header, body *[]byte) { *body = append(*body, '\n') }, "not WeChat's"},
		"body too large": {func(_ string, _ http.Header, body *[]byte) {
			*body = append(*body, bytes.Repeat([]byte{' '}, megabyte)...)
		}, "not WeChat's"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server := newSecuredServer(t)
				wire := tap(server)
				wire.after = func(req *http.Request, resp *http.Response, body *[]byte) {
					if req.URL.Path == phoneAPI {
						tt.alter(server.AppID(), resp.Header, body)
					}
				}
				info, err := server.NewClient(wire.option()).GetPhoneNumber(t.Context(), server.IssueCode(aPhone))
				require.ErrorIs(t, err, wxphone.ErrAPISecurity)
				require.ErrorIs(t, err, wxphone.ErrCodeMaybeUsed, "WeChat may have answered something else")
				assert.Nil(t, info)
				assert.ErrorContains(t, err, tt.says)
				assert.ErrorContains(t, err, phoneAPI)
				assert.NotContains(t, err.Error(), "\n")
				assert.Equal(t, http.StatusInternalServerError, wxphone.HTTPStatus(err))
				assert.Equal(t, 1, server.Requests(phoneAPI), "nothing that another attempt would mend")
			})
		})
	}
}

func TestUnsignedBodyIsBelievedAsAnErrorOnly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := newSecuredServer(t)
		client := server.NewClient(wxphone.WithMaxRetries(0))
		for body, want := range map[string]error{
			`{"errcode":40234,"errmsg":"API invalid signature"}`:    wxphone.ErrAPISecurity,
			`{"errcode":"40029","errmsg":"invalid code"}`:           wxphone.ErrCodeInvalid,
			`{"errcode":-1,"errmsg":"system error"}`:                wxphone.ErrSystemBusy,
			`{"errcode":45011,"errmsg":"reach minute-quota limit"}`: wxphone.ErrRateLimited,
			`{"errcode":0,"errmsg":"ok"}`:                           wxphone.ErrAPISecurity,
			string(unsignedSuccess(server.AppID())):                 wxphone.ErrAPISecurity,
		} {
			server.RespondNext(phoneAPI, 200, body, 1)
			info, err := client.GetPhoneNumber(t.Context(), "code")
			require.ErrorIs(t, err, want, body)
			assert.Nil(t, info)
		}
		server.RespondNext(phoneAPI, 200, "<html>", 1)
		_, err := client.GetPhoneNumber(t.Context(), "code")
		var page *wxphone.ResponseError
		require.ErrorAs(t, err, &page)

		server.RespondNext(checkEncryptedPath, 200, `{"errcode":0,"errmsg":"ok","vaild":true,"create_time":1}`, 1)
		check, err := client.CheckEncryptedData(t.Context(), "data")
		require.ErrorIs(t, err, wxphone.ErrAPISecurity)
		assert.Nil(t, check)
	})
}

// Whoever has broken TLS would give one user the number of another.
func TestRecordedAnswerIsNotBelievedForAnotherCode(t *testing.T) {
	t.Parallel()
	for _, later := range []time.Duration{0, time.Second, 9 * time.Minute} {
		t.Run(later.String(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server := newSecuredServer(t)
				wire := tap(server)
				var header http.Header
				var recorded []byte
				replaying := false
				wire.after = func(req *http.Request, resp *http.Response, body *[]byte) {
					switch {
					case req.URL.Path != phoneAPI:
					case replaying:
						resp.Header, *body = header.Clone(), bytes.Clone(recorded)
					default:
						header, recorded = resp.Header.Clone(), bytes.Clone(*body)
					}
				}
				client := server.NewClient(wire.option())
				_, err := client.GetPhoneNumber(t.Context(), server.IssueCode(aPhone))
				require.NoError(t, err)
				time.Sleep(later)
				replaying = true
				info, err := client.GetPhoneNumber(t.Context(), server.IssueCode(wxphone.PhoneInfo{
					PhoneNumber: "13900000000", PurePhoneNumber: "13900000000", CountryCode: "86",
				}))
				require.ErrorIs(t, err, wxphone.ErrAPISecurity)
				require.ErrorIs(t, err, wxphone.ErrCodeMaybeUsed)
				assert.ErrorContains(t, err, "the answer came before")
				assert.NotContains(t, err.Error(), "\n")
				assert.Nil(t, info)
				replaying = false
				_, err = client.GetPhoneNumber(t.Context(), server.IssueCode(aPhone))
				require.NoError(t, err, "the next answer is a new one")
			})
		})
	}
}

// An answer names neither the request nor the code that it is for, so what is
// caught of a replay to another process is what time, API and host make of it.
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
				server := newSecuredServer(t)
				wire := tap(server)
				var header http.Header
				var answer []byte
				wire.after = func(req *http.Request, resp *http.Response, body *[]byte) {
					if req.URL.Path != phoneAPI {
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
				_, err := client.GetPhoneNumber(t.Context(), server.IssueCode(aPhone))
				require.NoError(t, err)
				time.Sleep(11 * time.Minute)
				_, err = server.NewClient(append(tt.opts, wire.option())...).GetPhoneNumber(t.Context(), server.IssueCode(aPhone))
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
		server := newSecuredServer(t)
		wire := tap(server)
		var header http.Header
		var answer []byte
		wire.after = func(req *http.Request, resp *http.Response, body *[]byte) {
			switch req.URL.Path {
			case checkEncryptedPath:
				header, answer = resp.Header, *body
			case phoneAPI:
				resp.Header, *body = header, answer
			}
		}
		client := server.NewClient(wire.option())
		_, err := client.CheckEncryptedData(t.Context(), "data")
		require.NoError(t, err)
		_, err = client.GetPhoneNumber(t.Context(), server.IssueCode(aPhone))
		require.ErrorIs(t, err, wxphone.ErrAPISecurity)
	})
}

func TestCertificateChangeIsSurvivedWithEitherCertificate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := newSecuredServer(t)
		former := server.APISecurity()
		server.RotateCertificate()
		current := server.APISecurity()
		both := current
		both.Certificates = maps.Clone(former.Certificates)
		maps.Copy(both.Certificates, current.Certificates)
		require.Len(t, both.Certificates, 2)
		redeem := func(security wxphone.APISecurity) error {
			_, err := server.NewClient(wxphone.WithAPISecurity(security)).GetPhoneNumber(t.Context(), server.IssueCode(aPhone))
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
				server := newSecuredServer(t)
				both := server.APISecurity()
				server.RotateCertificate()
				maps.Copy(both.Certificates, server.APISecurity().Certificates)
				wire := tap(server)
				wire.after = func(req *http.Request, resp *http.Response, _ *[]byte) {
					for _, name := range tt.broken {
						if req.URL.Path == phoneAPI {
							resp.Header.Set(name, tt.signature)
						}
					}
				}
				_, err := server.NewClient(wire.option(), wxphone.WithAPISecurity(both)).GetPhoneNumber(t.Context(), server.IssueCode(aPhone))
				if tt.fits {
					require.NoError(t, err)
					return
				}
				require.ErrorIs(t, err, wxphone.ErrAPISecurity)
			})
		})
	}
}

// kms is a key that signs elsewhere, as a key management service does.
type kms struct {
	public crypto.PublicKey
	sign   func(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error)
	calls  atomic.Int32
}

func (k *kms) Public() crypto.PublicKey { return k.public }

func (k *kms) Sign(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	k.calls.Add(1)
	return k.sign(random, digest, opts)
}

func TestKeysThatCannotBeRightAreRefused(t *testing.T) {
	t.Parallel()
	server := newSecuredServer(t)
	good := server.APISecurity()
	for says, spoil := range map[string]func(*wxphone.APISecurity){
		": SymmetricKeySN is empty":                  func(s *wxphone.APISecurity) { *s = wxphone.APISecurity{} },
		": SymmetricKeySN has white space around it": func(s *wxphone.APISecurity) { s.SymmetricKeySN += "\n" },
		" has a SymmetricKey that is not base64 of 32 bytes": func(s *wxphone.APISecurity) {
			s.SymmetricKey = strings.TrimRight(s.SymmetricKey, "=")
		},
		" has a Cipher without nonces of 12 and tags of 16 bytes": func(s *wxphone.APISecurity) {
			s.Cipher = shortTags{}
		},
		" has no PrivateKey": func(s *wxphone.APISecurity) { s.PrivateKey = nil },
		" has a PrivateKey that is empty or broken": func(s *wxphone.APISecurity) {
			s.PrivateKey = new(rsa.PrivateKey)
		},
		" has a PrivateKey that is not RSA of 2048 bits or more":   func(s *wxphone.APISecurity) { s.PrivateKey = &kms{} },
		" has no Certificates; download WeChat's from the console": func(s *wxphone.APISecurity) { s.Certificates = nil },
		": the number of a certificate is empty":                   func(s *wxphone.APISecurity) { s.Certificates[""] = new(x509.Certificate) },
		": the number of a certificate has white space around it":  func(s *wxphone.APISecurity) { s.Certificates[" 1"] = nil },
		" has the number of a certificate without the certificate": func(s *wxphone.APISecurity) { s.Certificates["1"] = nil },
		" has a certificate whose key is not RSA of 2048 bits or more": func(s *wxphone.APISecurity) {
			s.Certificates["1"] = new(x509.Certificate)
		},
	} {
		t.Run(says, func(t *testing.T) {
			t.Parallel()
			bad := good
			bad.Certificates = maps.Clone(good.Certificates)
			spoil(&bad)
			client, err := wxphone.New(someAppID, someSecret, wxphone.WithAPISecurity(bad))
			assert.Nil(t, client)
			require.ErrorIs(t, err, wxphone.ErrInvalidArgument)
			assert.EqualError(t, err, "wxphone: invalid argument: WithAPISecurity"+says)
		})
	}
}

// shortTags is an AEAD by its sizes only.
type shortTags struct{ cipher.AEAD }

func (shortTags) NonceSize() int { return 12 }
func (shortTags) Overhead() int  { return 12 }

func TestKeysMayChangeHandsAfterNew(t *testing.T) {
	t.Parallel()
	server := newSecuredServer(t)
	config := server.APISecurity()
	client := server.NewClient(wxphone.WithAPISecurity(config))
	clear(config.Certificates)
	_, err := client.GetPhoneNumber(context.Background(), server.IssueCode(aPhone))
	assert.NoError(t, err)
}

func TestKeyInAKMSSigns(t *testing.T) {
	t.Parallel()
	server := newSecuredServer(t)
	config := server.APISecurity()
	key := &kms{public: config.PrivateKey.Public(), sign: func(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
		return server.APISecurity().PrivateKey.Sign(random, digest, opts)
	}}
	config.PrivateKey = key
	client := server.NewClient(wxphone.WithAPISecurity(config))
	for range 3 {
		_, err := client.GetPhoneNumber(context.Background(), server.IssueCode(aPhone))
		require.NoError(t, err)
	}
	assert.EqualValues(t, 3, key.calls.Load(), "once for every request that is secured")
}

func TestKMSThatFailsSendsNothing(t *testing.T) {
	t.Parallel()
	down := errors.New("the KMS is down")
	for name, signature := range map[string]func() ([]byte, error){
		"error": func() ([]byte, error) { return nil, down },
		"empty": func() ([]byte, error) { return nil, nil },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := newSecuredServer(t)
			config := server.APISecurity()
			config.PrivateKey = &kms{public: config.PrivateKey.Public(), sign: func(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
				return signature()
			}}
			code := server.IssueCode(aPhone)
			_, err := server.NewClient(wxphone.WithAPISecurity(config)).GetPhoneNumber(context.Background(), code)
			require.ErrorIs(t, err, wxphone.ErrAPISecurity)
			assert.ErrorContains(t, err, "not signed")
			assert.Equal(t, http.StatusInternalServerError, wxphone.HTTPStatus(err))
			assert.Zero(t, server.Requests(phoneAPI))
			if name == "error" {
				assert.ErrorIs(t, err, down)
			}
			_, err = server.NewClient().GetPhoneNumber(context.Background(), code)
			assert.NoError(t, err, "the code is unspent")
		})
	}
}

func TestNothingIsSignedForACallerWhoHasGone(t *testing.T) {
	t.Parallel()
	server := newSecuredServer(t)
	config := server.APISecurity()
	key := &kms{public: config.PrivateKey.Public()}
	config.PrivateKey = key
	client := server.NewClient(wxphone.WithAPISecurity(config))
	_, err := client.AccessToken(context.Background())
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = client.GetPhoneNumber(ctx, server.IssueCode(aPhone))
	require.ErrorIs(t, err, context.Canceled)
	assert.Equal(t, http.StatusServiceUnavailable, wxphone.HTTPStatus(err))
	assert.Zero(t, key.calls.Load())
	assert.Zero(t, server.Requests(phoneAPI))
}

func TestWrongKeysAreRefusedByWeChatAsAPISecurity(t *testing.T) {
	t.Parallel()
	another, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	for name, tt := range map[string]struct {
		spoil func(*wxphone.APISecurity)
		code  int
	}{
		"private key":   {func(s *wxphone.APISecurity) { s.PrivateKey = another }, 40234},
		"symmetric key": {func(s *wxphone.APISecurity) { s.SymmetricKey = strings.Repeat("A", 43) + "=" }, 40235},
		"its number":    {func(s *wxphone.APISecurity) { s.SymmetricKeySN = "0123" }, 40235},
		"PKCS#1 v1.5": {func(s *wxphone.APISecurity) {
			key := s.PrivateKey
			s.PrivateKey = &kms{public: key.Public(), sign: func(random io.Reader, digest []byte, _ crypto.SignerOpts) ([]byte, error) {
				return key.Sign(random, digest, crypto.SHA256)
			}}
		}, 40234},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := newSecuredServer(t)
			config := server.APISecurity()
			tt.spoil(&config)
			_, err := server.NewClient(wxphone.WithAPISecurity(config)).GetPhoneNumber(context.Background(), server.IssueCode(aPhone))
			var refusal *wxphone.APIError
			require.ErrorAs(t, err, &refusal)
			assert.Equal(t, tt.code, refusal.Code)
			require.ErrorIs(t, err, wxphone.ErrAPISecurity)
			assert.ErrorContains(t, err, "console")
		})
	}
}

func TestAPISecurityPrintsNoKey(t *testing.T) {
	t.Parallel()
	server := newSecuredServer(t)
	config := server.APISecurity()
	private := config.PrivateKey.(*rsa.PrivateKey)
	secrets := []string{config.SymmetricKey, private.D.String(), private.Primes[0].String(), private.D.Text(16)}
	assertPrintsWithout(t, config, secrets...)
	for name, v := range map[string]any{"value": config, "pointer": &config, "inside": struct{ Security wxphone.APISecurity }{config}} {
		text, err := json.Marshal(v)
		require.Error(t, err, name)
		assert.Empty(t, text)
		assertTellsNone(t, err.Error(), secrets, "the error of json.Marshal")
	}
	client := server.NewClient()
	assertPrintsWithout(t, client, secrets...)
	assertPrintsWithout(t, *client, secrets...)
	assertPrintsWithout(t, wxphone.WithAPISecurity(config), secrets...)

	secrets = append(secrets, server.Secret(), server.Token())
	w := &witness{t: t, secrets: secrets}
	server.RespondNext(phoneAPI, http.StatusOK, success, 1)
	_, err := server.NewClient(w.options()...).GetPhoneNumber(context.Background(), someCode)
	require.ErrorIs(t, err, wxphone.ErrAPISecurity)
	w.checkError(err)
	w.checkLog()
}

// refreshTokenOfTest is the refresh token of every mini-program of a test.
type refreshTokenOfTest string

func (r refreshTokenOfTest) LoadRefreshToken(context.Context, string) (string, error) {
	return string(r), nil
}

func (refreshTokenOfTest) SaveRefreshToken(context.Context, string, string) error { return nil }

func TestClientsOfAPlatformInheritAPISecurity(t *testing.T) {
	t.Parallel()
	server := newSecuredServer(t)
	ticket := func(context.Context) (string, error) { return server.Ticket(), nil }
	platform, err := wxphone.NewComponent(server.ComponentAppID(), server.ComponentSecret(), ticket,
		wxphone.WithHTTPClient(server.HTTPClient()), wxphone.WithAPISecurity(server.APISecurity()))
	require.NoError(t, err)
	const another = "wx00000000000000aa"
	for appID, refreshToken := range map[string]string{server.AppID(): server.Authorize(), another: server.AuthorizeApp(another)} {
		client, err := platform.Client(appID, refreshTokenOfTest(refreshToken))
		require.NoError(t, err)
		info, err := client.GetPhoneNumber(context.Background(), server.IssueCode(aPhone, wxphonetest.ForApp(appID)))
		require.NoError(t, err)
		assert.Equal(t, appID, info.Watermark.AppID, "signed and encrypted for the mini-program, not the platform")
	}
}

// hmacSigner stands for a scheme of signatures that the standard library
// lacks. It signs as one and verifies as the other.
type hmacSigner struct{ own, others []byte }

var errForged = errors.New("the HMAC differs")

func (s hmacSigner) Sign(message []byte) ([]byte, error) { return mac(s.own, message), nil }

func (s hmacSigner) Verify(serial string, message, signature []byte) error {
	if serial != "platform" || !hmac.Equal(mac(s.others, message), signature) {
		return errForged
	}
	return nil
}

func mac(key, message []byte) []byte {
	hash := hmac.New(sha256.New, key)
	hash.Write(message)
	return hash.Sum(nil)
}

// invertedGCM stands for a cipher that the standard library lacks: GCM with
// every bit inverted.
type invertedGCM struct{ cipher.AEAD }

func newInvertedGCM(tb testing.TB) invertedGCM {
	tb.Helper()
	block, err := aes.NewCipher(make([]byte, 16))
	require.NoError(tb, err)
	gcm, err := cipher.NewGCM(block)
	require.NoError(tb, err)
	return invertedGCM{gcm}
}

func (c invertedGCM) Seal(dst, nonce, plaintext, data []byte) []byte {
	return append(dst, invert(c.AEAD.Seal(nil, nonce, plaintext, data))...)
}

func (c invertedGCM) Open(dst, nonce, sealed, data []byte) ([]byte, error) {
	return c.AEAD.Open(dst, nonce, invert(bytes.Clone(sealed)), data)
}

func invert(b []byte) []byte {
	for i := range b {
		b[i] ^= 0xff
	}
	return b
}

// schemeServer is WeChat with another scheme than the standard library's.
type schemeServer struct {
	t      *testing.T
	cipher cipher.AEAD
	signer hmacSigner
	codes  []string // that arrived
}

type schemeEnvelope struct {
	IV      []byte `json:"iv"`
	Data    []byte `json:"data"`
	AuthTag []byte `json:"authtag"`
}

func (s *schemeServer) RoundTrip(req *http.Request) (*http.Response, error) {
	const urlpath = "https://" + "api.weixin.qq.com" + phoneAPI
	assert.Equal(s.t, urlpath, "https://"+req.URL.Host+req.URL.Path)
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	signed := func(timestamp string, body []byte) []byte {
		return []byte(urlpath + "\n" + someAppID + "\n" + timestamp + "\n" + string(body))
	}
	data := func(timestamp string) []byte { return []byte(urlpath + "|" + someAppID + "|" + timestamp + "|sm4-1") }

	timestamp := req.Header["Wechatmp-TimeStamp"][0]
	signature, err := base64.StdEncoding.DecodeString(req.Header.Get("Wechatmp-Signature"))
	require.NoError(s.t, err)
	assert.True(s.t, hmac.Equal(signature, mac(s.signer.others, signed(timestamp, body))))
	var sealed schemeEnvelope
	require.NoError(s.t, json.Unmarshal(body, &sealed))
	plaintext, err := s.cipher.Open(nil, sealed.IV, append(sealed.Data, sealed.AuthTag...), data(timestamp))
	require.NoError(s.t, err)
	var sent struct{ Code string }
	require.NoError(s.t, json.Unmarshal(plaintext, &sent))
	s.codes = append(s.codes, sent.Code)

	timestamp = strconv.FormatInt(time.Now().Unix(), 10)
	answer := `{"_n":"ShYZpqdVgY+yQVAxNSWhYg","_appid":"` + someAppID + `","_timestamp":` + timestamp + "," + success[1:]
	raw := s.cipher.Seal(nil, make([]byte, 12), []byte(answer), data(timestamp))
	body, err = json.Marshal(schemeEnvelope{make([]byte, 12), raw[:len(raw)-16], raw[len(raw)-16:]})
	require.NoError(s.t, err)
	signature, _ = s.signer.Sign(signed(timestamp, body))
	header := http.Header{}
	header.Set("Wechatmp-Appid", someAppID)
	header.Set("Wechatmp-TimeStamp", timestamp)
	header.Set("Wechatmp-Serial", "platform")
	header.Set("Wechatmp-Signature", base64.StdEncoding.EncodeToString(signature))
	return &http.Response{
		StatusCode: http.StatusOK, Header: header, ContentLength: int64(len(body)),
		Body: io.NopCloser(bytes.NewReader(body)), Request: req,
	}, nil
}

func TestSchemeOfOnesOwnEncryptsAndSigns(t *testing.T) {
	t.Parallel()
	developer, platform := []byte("the developer's"), []byte("the platform's")
	gcm := newInvertedGCM(t)
	redeem := func(server *schemeServer) error {
		client, err := wxphone.New(someAppID, "", wxphone.WithTokenSource(fixedToken(someToken)),
			wxphone.WithHTTPClient(&http.Client{Transport: server}),
			wxphone.WithAPISecurity(wxphone.APISecurity{SymmetricKeySN: "sm4-1", Cipher: gcm, Signer: hmacSigner{developer, platform}}))
		require.NoError(t, err)
		info, err := client.GetPhoneNumber(context.Background(), someCode)
		assert.Equal(t, []string{someCode}, server.codes)
		if err == nil {
			assert.Equal(t, "+8613800000000", info.E164())
		}
		return err
	}
	require.NoError(t, redeem(&schemeServer{t: t, cipher: gcm, signer: hmacSigner{platform, developer}}))

	err := redeem(&schemeServer{t: t, cipher: gcm, signer: hmacSigner{[]byte("somebody else's"), developer}})
	require.ErrorIs(t, err, wxphone.ErrAPISecurity)
	require.ErrorIs(t, err, errForged, "why a signer of one's own refuses is told")
}

// BenchmarkSecureCall times a call with API security, the fake's half of the
// work included: each side signs once and verifies once.
func BenchmarkSecureCall(b *testing.B) {
	server := newSecuredServer(b)
	client := server.NewClient()
	benchmarkChecks(b, client)
}

// BenchmarkSecureCallPlain is the same call without API security.
func BenchmarkSecureCallPlain(b *testing.B) {
	benchmarkChecks(b, wxphonetest.NewServer(b).NewClient())
}

// BenchmarkSecureRequest times what a request costs the Client alone: sealing
// and signing it. The transport refuses it at once.
func BenchmarkSecureRequest(b *testing.B) {
	server := newSecuredServer(b)
	client := answering(b, http.StatusOK, `{"errcode":1,"errmsg":"no such data"}`, wxphone.WithAPISecurity(server.APISecurity()))
	benchmarkChecks(b, client)
}

func benchmarkChecks(b *testing.B, client *wxphone.Client) {
	b.Helper()
	ctx := context.Background()
	b.ReportAllocs()
	b.ResetTimer()
	for i := 0; i < b.N; i++ {
		if _, err := client.CheckEncryptedData(ctx, "data"); err != nil {
			b.Fatal(err)
		}
	}
}
