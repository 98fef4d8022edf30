package desk_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/cmd/wxphone/internal/desk"
)

const phoneNumber = "/wxa/business/getuserphonenumber"

// server is a Desk behind a socket, with a client of WeChat's side.
type server struct {
	t      *testing.T
	url    string
	client *wxphone.Client
}

func start(t *testing.T, config desk.Config) server {
	t.Helper()
	d, err := desk.New(config)
	require.NoError(t, err)
	listener := httptest.NewServer(d)
	t.Cleanup(listener.Close)
	client, err := wxphone.New(d.AppID(), d.Secret(), wxphone.WithBaseURL(listener.URL), wxphone.WithMaxRetries(0))
	require.NoError(t, err)
	return server{t, listener.URL, client}
}

// ask sends a request below /_fake/ and returns the status and the JSON.
func (s server) ask(method, path, body string) (int, map[string]any) {
	s.t.Helper()
	status, text := s.raw(method, "/_fake/"+path, body, nil)
	var answer map[string]any
	require.NoError(s.t, json.Unmarshal(text, &answer), "%s %s: %s", method, path, text)
	return status, answer
}

func (s server) raw(method, path, body string, header http.Header) (int, []byte) {
	s.t.Helper()
	resp := s.send(method, path, body, header)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(s.t, err)
	return resp.StatusCode, text
}

func (s server) send(method, path, body string, header http.Header) *http.Response {
	s.t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), method, s.url+path, bytes.NewReader([]byte(body)))
	require.NoError(s.t, err)
	for name, values := range header {
		req.Header[name] = values
	}
	if host := header.Get("Host"); host != "" {
		req.Host = host
	}
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	require.NoError(s.t, err)
	return resp
}

// must is ask for what has to succeed.
func (s server) must(method, path, body string) map[string]any {
	s.t.Helper()
	status, answer := s.ask(method, path, body)
	require.Equal(s.t, http.StatusOK, status, "%v", answer)
	return answer
}

func TestTapsAreRedeemed(t *testing.T) {
	t.Parallel()
	s := start(t, desk.Config{})
	for name, tc := range map[string]struct{ body, want string }{
		"number alone": {`{"phoneNumber":"13800000000"}`, "+8613800000000"},
		"all fields":   {`{"phoneNumber":"+85251234567","purePhoneNumber":"51234567","countryCode":"852","openid":"o"}`, "+85251234567"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			code := s.must(http.MethodPost, "codes", tc.body)["code"].(string)
			phone, err := s.client.GetPhoneNumber(context.Background(), code, wxphone.WithOpenID("o"))
			require.NoError(t, err)
			assert.Equal(t, tc.want, phone.E164())
		})
	}
}

func TestACodeOfAnotherUserIsRefused(t *testing.T) {
	t.Parallel()
	s := start(t, desk.Config{})
	code := s.must(http.MethodPost, "codes", `{"phoneNumber":"13800000000","openid":"alice"}`)["code"].(string)
	_, err := s.client.GetPhoneNumber(context.Background(), code, wxphone.WithOpenID("bob"))
	require.ErrorIs(t, err, wxphone.ErrCodeInvalid)
}

func TestLegacyFlow(t *testing.T) {
	t.Parallel()
	s := start(t, desk.Config{})
	session, err := s.client.Code2Session(context.Background(), s.must(http.MethodPost, "login-codes", `{"openid":"alice"}`)["code"].(string))
	require.NoError(t, err)
	require.Equal(t, "alice", session.OpenID)

	sealed := s.must(http.MethodPost, "encrypted", `{"openid":"alice","phoneNumber":"13800000000"}`)
	phone, err := s.client.VerifyPhoneNumber(context.Background(), session.SessionKey, sealed["encryptedData"].(string), sealed["iv"].(string))
	require.NoError(t, err)
	assert.Equal(t, "+8613800000000", phone.E164())

	s.must(http.MethodPost, "session-keys/rotate", `{"openid":"alice"}`)
	require.ErrorIs(t, s.client.CheckSessionKey(context.Background(), "alice", session.SessionKey), wxphone.ErrSessionExpired)

	id := s.must(http.MethodPost, "cloud-ids", `{"openid":"alice","phoneNumber":"13800000000"}`)["cloudID"].(string)
	phone, err = s.client.GetPhoneNumberByCloudID(context.Background(), "alice", id)
	require.NoError(t, err)
	assert.Equal(t, "+8613800000000", phone.E164())
}

func TestRevokedTokensAreRefused(t *testing.T) {
	t.Parallel()
	s := start(t, desk.Config{})
	_, err := s.client.AccessToken(context.Background())
	require.NoError(t, err)
	s.must(http.MethodPost, "tokens/revoke", "")
	_, err = s.client.GetPhoneNumber(context.Background(), "1")
	require.ErrorIs(t, err, wxphone.ErrCodeInvalid, "the client took another token")
	requests := s.must(http.MethodGet, "requests", "")["requests"].([]any)
	assert.EqualValues(t, 40001, requests[1].(map[string]any)["errcode"])
}

func TestFaultsHappenAsOftenAsAsked(t *testing.T) {
	t.Parallel()
	s := start(t, desk.Config{})
	redeem := func() error {
		code := s.must(http.MethodPost, "codes", `{"phoneNumber":"13800000000"}`)["code"].(string)
		_, err := s.client.GetPhoneNumber(context.Background(), code)
		return err
	}
	for name, tc := range map[string]struct {
		fault string
		check func(t *testing.T, err error)
	}{
		"errcode": {`"kind":"errcode","errcode":45011`, func(t *testing.T, err error) {
			t.Helper()
			require.ErrorIs(t, err, wxphone.ErrRateLimited)
		}},
		"status": {`"kind":"status","status":502,"body":"<html>"`, func(t *testing.T, err error) {
			t.Helper()
			var strange *wxphone.ResponseError
			require.ErrorAs(t, err, &strange)
		}},
		"drop": {`"kind":"drop"`, func(t *testing.T, err error) { t.Helper(); require.ErrorIs(t, err, io.EOF) }},
		"lose": {`"kind":"lose"`, func(t *testing.T, err error) { t.Helper(); require.ErrorIs(t, err, io.EOF) }},
	} {
		t.Run(name, func(t *testing.T) {
			answer := s.must(http.MethodPut, "faults", `{"endpoint":"`+phoneNumber+`",`+tc.fault+`,"times":2}`)
			require.Len(t, answer["faults"], 1)
			tc.check(t, redeem())
			left := s.must(http.MethodGet, "faults", "")["faults"].([]any)[0].(map[string]any)
			assert.EqualValues(t, 1, left["times"])
			assert.Equal(t, name, left["kind"])
			tc.check(t, redeem())
			require.NoError(t, redeem())
		})
	}
	t.Run("taken back", func(t *testing.T) {
		s.must(http.MethodPut, "faults", `{"endpoint":"`+phoneNumber+`","kind":"drop","times":-1}`)
		require.Error(t, redeem())
		assert.Empty(t, s.must(http.MethodPut, "faults", `{"endpoint":"`+phoneNumber+`","times":0}`)["faults"])
		require.NoError(t, redeem())
	})
}

func TestLatencyLastsUntilItIsEnded(t *testing.T) {
	t.Parallel()
	s := start(t, desk.Config{})
	answer := s.must(http.MethodPut, "latency", `{"endpoint":"`+phoneNumber+`","milliseconds":60000}`)
	assert.Equal(t, []any{map[string]any{"endpoint": phoneNumber, "milliseconds": 60000.0}}, answer["latencies"])
	_, err := s.client.AccessToken(context.Background())
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	_, err = s.client.GetPhoneNumber(ctx, "1")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	assert.Empty(t, s.must(http.MethodPut, "latency", `{"endpoint":"`+phoneNumber+`","milliseconds":0}`)["latencies"])
	_, err = s.client.GetPhoneNumber(context.Background(), "1")
	require.ErrorIs(t, err, wxphone.ErrCodeInvalid)
}

func TestMistakesAreNamed(t *testing.T) {
	t.Parallel()
	s := start(t, desk.Config{})
	const put, post, end = http.MethodPut, http.MethodPost, `"endpoint":"` + phoneNumber + `"`
	for _, tc := range []struct{ method, path, body, want string }{
		{post, "codes", `{}`, "phoneNumber is missing"},
		{post, "codes", `{"phoneNumber":""}`, "phoneNumber is missing"},
		{post, "codes", `{"phoneNumber":13800000000}`, "phoneNumber must be a string"},
		{post, "codes", `{"phoneNumber":null}`, "phoneNumber must be a string"},
		{post, "codes", `{"phoneNumber":"abc"}`, "phoneNumber must be digits"},
		{post, "codes", `{"phoneNumber":"138","purePhoneNumber":"x"}`, "purePhoneNumber must be digits"},
		{post, "codes", `{"phoneNumber":"138","countryCode":"CN"}`, "countryCode must be"},
		{post, "codes", `{"phoneNumber":"138","openid":"a b"}`, "openid must be"},
		{post, "codes", `{"phonenumber":"138"}`, `unknown field "phonenumber"; the fields are phoneNumber, purePhoneNumber, countryCode, openid`},
		{post, "codes", `{"phoneNumber":"138","openId":"a"}`, `unknown field "openId"`},
		{post, "codes", `phoneNumber=138`, "the body is not a JSON object; it looks like a form"},
		{post, "codes", `["138"]`, "the body is not a JSON object"},
		{post, "codes", `null`, "the body is not a JSON object"},
		{post, "codes", `{"phoneNumber":"138"} {}`, "the body is not a JSON object"},
		{post, "login-codes", ``, "openid is missing"},
		{post, "encrypted", `{"phoneNumber":"138"}`, "openid is missing"},
		{post, "cloud-ids", `{"openid":"a"}`, "phoneNumber is missing"},
		{post, "session-keys/rotate", `{}`, "openid is missing"},
		{post, "tokens/revoke", `{"all":true}`, `unknown field "all"; this takes none`},
		{post, "reset", `{"hard":true}`, `unknown field "hard"`},
		{put, "faults", `{}`, "endpoint is missing"},
		{put, "faults", `{"endpoint":"/wxa/business/getuserphonenumbers"}`, `endpoint "/wxa/business/getuserphonenumbers" is none of the fake's`},
		{put, "faults", `{` + end + `}`, "kind is missing"},
		{put, "faults", `{` + end + `,"kind":"errorcode"}`, `kind must be errcode, status, drop or lose, not "errorcode"`},
		{put, "faults", `{` + end + `,"kind":"errcode"}`, "errcode is missing"},
		{put, "faults", `{` + end + `,"kind":"errcode","errcode":0}`, "errcode must not be 0"},
		{put, "faults", `{` + end + `,"kind":"errcode","errcode":1.5}`, "errcode must be a whole number"},
		{put, "faults", `{` + end + `,"kind":"errcode","errcode":"-1"}`, "errcode must be a whole number"},
		{put, "faults", `{` + end + `,"kind":"errcode","errcode":-1,"status":500}`, "status does not belong to a fault of kind errcode"},
		{put, "faults", `{` + end + `,"kind":"drop","errcode":-1}`, "errcode does not belong to a fault of kind drop"},
		{put, "faults", `{` + end + `,"kind":"status"}`, "status is missing"},
		{put, "faults", `{` + end + `,"kind":"status","status":99}`, "status must be 200 to 599"},
		{put, "faults", `{` + end + `,"kind":"drop","times":-2}`, "times must be"},
		{put, "latency", `{` + end + `}`, "milliseconds is missing"},
		{put, "latency", `{` + end + `,"milliseconds":-1}`, "milliseconds must be 0 to"},
		{put, "latency", `{"endpoint":"getuserphonenumber","milliseconds":1}`, `endpoint "getuserphonenumber" is none`},
	} {
		status, answer := s.ask(tc.method, tc.path, tc.body)
		assert.Equal(t, http.StatusBadRequest, status, "%s %s", tc.path, tc.body)
		assert.Contains(t, answer["error"], tc.want, "%s %s", tc.path, tc.body)
		assert.NotContains(t, answer["error"], "\n")
	}
	assert.Empty(t, s.must(http.MethodGet, "faults", "")["faults"])
}

func TestListedFaultsHaveTheErrmsgThatIsSent(t *testing.T) {
	t.Parallel()
	s := start(t, desk.Config{})
	s.must(http.MethodPut, "faults", `{"endpoint":"`+phoneNumber+`","kind":"errcode","errcode":45011}`)
	answer := s.must(http.MethodPut, "faults", `{"endpoint":"`+phoneNumber+`","kind":"errcode","errcode":45011,"errmsg":"slow down"}`)
	faults := answer["faults"].([]any)
	require.Len(t, faults, 2)
	assert.NotContains(t, faults[0], "errmsg", "it is WeChat's, with another rid each time")
	assert.Equal(t, "slow down", faults[1].(map[string]any)["errmsg"])
}

func TestOtherPathsAndMethodsAreRefused(t *testing.T) {
	t.Parallel()
	s := start(t, desk.Config{})
	status, answer := s.ask(http.MethodGet, "code", "")
	assert.Equal(t, http.StatusNotFound, status)
	assert.Contains(t, answer["error"], "openapi.json")

	resp := s.send(http.MethodGet, "/_fake/codes", "", nil)
	resp.Body.Close()
	assert.Equal(t, http.StatusMethodNotAllowed, resp.StatusCode)
	assert.Equal(t, "POST", resp.Header.Get("Allow"))
}

func TestRootLeadsToThePage(t *testing.T) {
	t.Parallel()
	s := start(t, desk.Config{})
	for _, path := range []string{"/", "/_fake"} {
		resp := s.send(http.MethodGet, path, "", nil)
		resp.Body.Close()
		assert.Equal(t, http.StatusFound, resp.StatusCode)
		assert.Equal(t, "/_fake/", resp.Header.Get("Location"))
	}
	resp := s.send(http.MethodGet, "/_fake/", "", nil)
	defer resp.Body.Close()
	page, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	assert.Contains(t, resp.Header.Get("Content-Type"), "text/html")
	policy := resp.Header.Get("Content-Security-Policy")
	assert.Contains(t, policy, "default-src 'none'")
	assert.NotContains(t, policy, "unsafe")
	const nameSpace = "http://www.w3.org/2000/svg" // of the icon, and never fetched
	assert.False(t, strings.Contains(strings.ReplaceAll(string(page), nameSpace, ""), "://"), "the page names another site")
}

func TestInfoHasWhatAClientNeeds(t *testing.T) {
	t.Parallel()
	s := start(t, desk.Config{AppID: "wx0123456789abcdef", Secret: "made-up", TokenLifetime: time.Hour, CloudHosting: true})
	info := s.must(http.MethodGet, "info", "")
	assert.Equal(t, "wx0123456789abcdef", info["appid"])
	assert.Equal(t, "made-up", info["secret"])
	assert.EqualValues(t, 3600, info["tokenLifetime"])
	assert.Equal(t, true, info["cloudHosting"])
	assert.Contains(t, info["endpoints"], phoneNumber)
	assert.NotContains(t, info, "apiSecurity")
	assert.Equal(t, map[string]any{"status": "ok"}, s.must(http.MethodGet, "health", ""))
}

// TestInfoSetsUpAPISecurity makes a client of nothing but what info says.
func TestInfoSetsUpAPISecurity(t *testing.T) {
	t.Parallel()
	s := start(t, desk.Config{APISecurity: true})
	var info struct {
		AppID, Secret string
		APISecurity   struct {
			SymmetricKeySN, SymmetricKey, PrivateKey string
			Certificates                             map[string]string
		}
	}
	_, text := s.raw(http.MethodGet, "/_fake/info", "", nil)
	require.NoError(t, json.Unmarshal(text, &info))
	key, err := x509.ParsePKCS8PrivateKey(derOf(t, info.APISecurity.PrivateKey))
	require.NoError(t, err)
	security := wxphone.APISecurity{
		SymmetricKeySN: info.APISecurity.SymmetricKeySN,
		SymmetricKey:   info.APISecurity.SymmetricKey,
		PrivateKey:     key.(crypto.Signer),
		Certificates:   make(map[string]*x509.Certificate),
	}
	for number, text := range info.APISecurity.Certificates {
		security.Certificates[number], err = x509.ParseCertificate(derOf(t, text))
		require.NoError(t, err)
	}
	client, err := wxphone.New(info.AppID, info.Secret, wxphone.WithBaseURL(s.url), wxphone.WithAPISecurity(security))
	require.NoError(t, err)
	code := s.must(http.MethodPost, "codes", `{"phoneNumber":"13800000000"}`)["code"].(string)
	phone, err := client.GetPhoneNumber(context.Background(), code)
	require.NoError(t, err)
	assert.Equal(t, "+8613800000000", phone.E164())
}

func derOf(t *testing.T, text string) []byte {
	t.Helper()
	block, rest := pem.Decode([]byte(text))
	require.NotNil(t, block)
	require.Empty(t, rest)
	return block.Bytes
}

// TestCloudHostingNeedsNoToken calls as a service inside WeChat cloud hosting.
func TestCloudHostingNeedsNoToken(t *testing.T) {
	t.Parallel()
	s := start(t, desk.Config{CloudHosting: true})
	client, err := wxphone.New("wx7b3c1f0e9d5a2468", "", wxphone.WithBaseURL(s.url), wxphone.WithoutAccessToken())
	require.NoError(t, err)
	code := s.must(http.MethodPost, "codes", `{"phoneNumber":"13800000000"}`)["code"].(string)
	_, err = client.GetPhoneNumber(context.Background(), code)
	require.NoError(t, err)
}

func TestResetForgetsAll(t *testing.T) {
	t.Parallel()
	s := start(t, desk.Config{})
	code := s.must(http.MethodPost, "codes", `{"phoneNumber":"13800000000"}`)["code"].(string)
	s.must(http.MethodPut, "faults", `{"endpoint":"`+phoneNumber+`","kind":"drop","times":-1}`)
	_, err := s.client.AccessToken(context.Background())
	require.NoError(t, err)
	s.must(http.MethodPost, "reset", "{}")
	assert.Empty(t, s.must(http.MethodGet, "faults", "")["faults"])
	assert.Empty(t, s.must(http.MethodGet, "requests", "")["requests"])
	_, err = s.client.GetPhoneNumber(context.Background(), code)
	require.ErrorIs(t, err, wxphone.ErrCodeInvalid)
}

func TestWrongConfigIsRefused(t *testing.T) {
	t.Parallel()
	for _, config := range []desk.Config{{AppID: "wx0123456789abcdef"}, {TokenLifetime: time.Millisecond}} {
		_, err := desk.New(config)
		require.Error(t, err)
	}
}
