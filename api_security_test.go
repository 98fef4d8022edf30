//go:build go1.25

package wxphone_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/wxphonetest"
)

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
		server := wxphonetest.NewServer(t, wxphonetest.WithAPISecurity())
		wire := tap(server)
		client := server.NewClient(wire.option())
		code := server.IssueCode(somebody, wxphonetest.ForOpenID("o-alice"))
		info, err := client.GetPhoneNumber(t.Context(), code, wxphone.WithOpenID("o-alice"))
		require.NoError(t, err)
		assert.Equal(t, "+8613800000000", info.E164())
		assert.Equal(t, server.AppID(), info.Watermark.AppID)

		requests := wire.of(phonePath)
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
		server := wxphonetest.NewServer(t, wxphonetest.WithAPISecurity())
		wire := tap(server)
		client := server.NewClient(wire.option())
		session, err := client.Code2Session(t.Context(), server.IssueLoginCode("o-alice"))
		require.NoError(t, err)
		require.NoError(t, client.CheckSessionKey(t.Context(), "o-alice", session.SessionKey))
		data, iv := server.Encrypt("o-alice", somebody)
		info, err := client.VerifyPhoneNumber(t.Context(), session.SessionKey, data, iv)
		require.NoError(t, err)
		assert.Equal(t, "+8613800000000", info.E164())
		forged, iv := wxphonetest.Seal(session.SessionKey, info)
		check, err := client.CheckEncryptedData(t.Context(), forged)
		require.NoError(t, err)
		assert.False(t, check.Valid, "errcode 1 in an envelope")
		_, err = client.VerifyPhoneNumber(t.Context(), session.SessionKey, forged, iv)
		require.ErrorIs(t, err, wxphone.ErrDecrypt)
		_, err = client.GetPhoneNumberByCloudID(t.Context(), "o-alice", server.IssueCloudID("o-alice", somebody))
		require.NoError(t, err)
		_, err = client.ResetUserSessionKey(t.Context(), "o-alice", session.SessionKey)
		require.NoError(t, err)

		paths := map[string]bool{}
		for _, request := range wire.requests {
			paths[request.path] = request.secured()
		}
		assert.Equal(t, map[string]bool{
			checkEncryptedPath: true, stablePath: false, openDataPath: false,
			"/sns/jscode2session": false, "/wxa/checksession": false, "/wxa/resetusersessionkey": false,
		}, paths)

		classic := server.NewClient(wxphone.WithClassicToken())
		_, err = classic.GetPhoneNumber(t.Context(), server.IssueCode(somebody))
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
		server := wxphonetest.NewServer(t, wxphonetest.WithAPISecurity())
		wire := tap(server)
		client := server.NewClient(wire.option(), wxphone.WithMaxRetries(3))
		_, err := client.AccessToken(t.Context())
		require.NoError(t, err)
		server.FailNext(phonePath, -1, "", 1)                               // in an envelope
		server.RespondNext(phonePath, 200, `{"errcode":-1,"errmsg":""}`, 1) // in the clear
		server.RespondNext(phonePath, 502, badGateway, 1)
		// Or two attempts might have the same timestamp.
		wire.after = func(*http.Request, *http.Response, *[]byte) { time.Sleep(time.Second) }
		info, err := client.GetPhoneNumber(t.Context(), server.IssueCode(somebody))
		require.NoError(t, err)
		assert.Equal(t, "+8613800000000", info.E164())

		requests := wire.of(phonePath)
		require.Len(t, requests, 4)
		nonces, timestamps, signatures := map[string]bool{}, map[string]bool{}, map[string]bool{}
		for _, request := range requests {
			nonces[ivOf(t, request.body)] = true
			timestamps[request.header.Get("Wechatmp-TimeStamp")] = true
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
		server := wxphonetest.NewServer(t, wxphonetest.WithAPISecurity())
		out := newOutage(server, primary)
		wire := tap(server)
		wire.next, out.next = out, wire.next
		client := server.NewClient(wire.option())
		// The fake takes a signature only over the host that was asked.
		_, err := client.GetPhoneNumber(t.Context(), server.IssueCode(somebody))
		require.NoError(t, err)
		out.restore(primary)
		out.down[fallback] = io.ErrUnexpectedEOF
		_, err = client.GetPhoneNumber(t.Context(), server.IssueCode(somebody))
		require.NoError(t, err)
		nonces, hosts := map[string]bool{}, []string{}
		for _, request := range wire.of(phonePath) {
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
		"in an envelope": func(s *wxphonetest.Server) { s.RevokeToken(); s.FailNext(phonePath, 40001, "", 1) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server := wxphonetest.NewServer(t, wxphonetest.WithAPISecurity())
				wire := tap(server)
				client := server.NewClient(wire.option())
				_, err := client.AccessToken(t.Context())
				require.NoError(t, err)
				refuse(server)
				_, err = client.GetPhoneNumber(t.Context(), server.IssueCode(somebody))
				require.NoError(t, err)
				requests := wire.of(phonePath)
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
				server := wxphonetest.NewServer(t, wxphonetest.WithAPISecurity())
				wire := tap(server)
				client := server.NewClient(wire.option(), wxphone.WithMaxRetries(0))
				server.FailNext(phonePath, code, "", 2)
				_, err := client.GetPhoneNumber(t.Context(), server.IssueCode(somebody))
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
		server := wxphonetest.NewServer(t, wxphonetest.WithAPISecurity())
		server.LoseNext(phonePath, 1)
		_, err := server.NewClient().GetPhoneNumber(t.Context(), server.IssueCode(somebody))
		require.ErrorIs(t, err, wxphone.ErrCodeUsed)
		assert.ErrorContains(t, err, "the first attempt may have consumed the code")
	})
}

func TestPlainCallToASecuredAccountIsRefusedWithAdvice(t *testing.T) {
	t.Parallel()
	server := wxphonetest.NewServer(t, wxphonetest.WithAPISecurity())
	client, err := wxphone.New(server.AppID(), server.Secret(), wxphone.WithHTTPClient(server.HTTPClient()))
	require.NoError(t, err)
	_, err = client.GetPhoneNumber(t.Context(), server.IssueCode(somebody))
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
				server := wxphonetest.NewServer(t, wxphonetest.WithAPISecurity())
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
