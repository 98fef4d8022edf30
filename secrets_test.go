package wxphone_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/wxphonetest"
)

// respond answers a request with what the server was told until then.
type respond func(w http.ResponseWriter, told string)

// gossip is a server that repeats what it hears, as gateways do that echo a
// request, and a phone number.
type gossip struct {
	phone, token respond
	honestTokens int  // how many fetches get a token before the others get token
	remembers    bool // repeats earlier requests too

	mu      sync.Mutex
	fetches int
	heard   []string
}

func (g *gossip) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	g.mu.Lock()
	if !g.remembers {
		g.heard = nil
	}
	g.heard = append(g.heard, fmt.Sprintf("%s %s %s %v", r.Method, r.URL, body, r.Header))
	for _, values := range r.URL.Query() {
		g.heard = append(g.heard, values...)
	}
	var sent map[string]string
	if json.Unmarshal(body, &sent) == nil {
		// A code in quotes is still a code without them.
		g.heard = append(g.heard, sent["code"], strings.Trim(sent["code"], `"`), sent["secret"])
	}
	told := someNumber + " " + strings.Join(g.heard, " ") + " " + someNumber
	fetches := g.fetches
	if r.URL.Path != phoneAPI {
		g.fetches++
	}
	g.mu.Unlock()
	switch {
	case r.URL.Path == phoneAPI:
		g.phone(w, told)
	case fetches < g.honestTokens:
		fmt.Fprintf(w, `{"access_token":%q,"expires_in":7200}`, []string{someToken, laterToken}[min(fetches, 1)])
	default:
		g.token(w, told)
	}
}

func refuse(errcode int, prefix, suffix string) respond {
	return func(w http.ResponseWriter, told string) {
		_ = json.NewEncoder(w).Encode(map[string]any{"errcode": errcode, "errmsg": prefix + told + suffix})
	}
}

func page(status int, before, after string) respond {
	return func(w http.ResponseWriter, told string) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, before+told+after)
	}
}

// raw writes bytes that are no sound HTTP, as on a connection out of step.
func raw(before, after string) respond {
	return func(w http.ResponseWriter, told string) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, before+told+after)
	}
}

// indiscretions are the ways in which a server repeats what it was told.
var indiscretions = map[string]respond{
	"refused code":    refuse(40029, "invalid code ", ""),
	"used code":       refuse(40163, "code been used\n", " rid: 61a2b3c4-0f1e2d3c-4b5a6978"),
	"busy":            refuse(-1, "", ""),
	"refused token":   refuse(40001, "", ""),
	"unknown errcode": refuse(99999, "<", ">"),
	"number as rid":   refuse(40029, "", " rid: "+someNumber+"-1-1"),
	"number as req":   refuse(40029, "", ", hints: [ req_id: "+someNumber+" ]"),
	"page":            page(http.StatusOK, "", ""),
	"failed gateway":  page(http.StatusBadGateway, "<html>", "</html>"),
	"not found":       page(http.StatusNotFound, "no page for ", ""),
	"not HTTP":        raw("", "\r\n\r\n"),
	// net/http quotes the line that it met in place of a status.
	"JSON, not HTTP": func(w http.ResponseWriter, _ string) {
		raw(`{"access_token":"`+laterToken+`","phone_info":{"phoneNumber":"`+someNumber+`"}}`, "\r\n\r\n")(w, "")
	},
	"bad header": raw("HTTP/1.1 200 OK\r\n", "\r\n\r\n"),
	"bad status": raw("HTTP/1.1 ", "\r\n\r\n"),
	"gateway's JSON": func(w http.ResponseWriter, told string) {
		w.WriteHeader(http.StatusForbidden)
		_ = json.NewEncoder(w).Encode(map[string]string{"message": told})
	},
	"redirect": func(w http.ResponseWriter, told string) {
		w.Header().Set("Location", "/?"+url.QueryEscape(told))
		w.WriteHeader(http.StatusFound)
	},
	"another app": func(w http.ResponseWriter, told string) {
		_ = json.NewEncoder(w).Encode(map[string]any{"phone_info": map[string]any{
			"phoneNumber": someNumber, "watermark": map[string]any{"appid": told},
		}})
	},
	"truncated": func(w http.ResponseWriter, told string) {
		w.Header().Set("Content-Length", "9999")
		_, _ = io.WriteString(w, told)
	},
	"string errcode": func(w http.ResponseWriter, told string) {
		_ = json.NewEncoder(w).Encode(map[string]string{"errcode": told, "errmsg": told})
	},
}

// failWith has client make a call that must fail, and checks what it tells.
func failWith(t *testing.T, code string, secrets []string, opts ...wxphone.Option) error {
	t.Helper()
	w := &witness{t: t, secrets: secrets}
	client, err := wxphone.New(someAppID, someSecret, append(w.options(), opts...)...)
	require.NoError(t, err)
	info, err := client.GetPhoneNumber(context.Background(), code)
	require.Error(t, err)
	assert.Nil(t, info)
	assert.NotZero(t, w.calls)
	w.checkError(err)
	w.checkLog()
	return err
}

func TestServerThatEchoesRequestsIsNotQuoted(t *testing.T) {
	t.Parallel()
	for name, answer := range indiscretions {
		gossiping(t, name, answer, false)
	}
}

// A server knows more than the request at hand: the secret of the token fetch,
// and the code and token of the call before.
func TestServerThatRemembersRequestsIsNotQuoted(t *testing.T) {
	t.Parallel()
	for name, answer := range indiscretions {
		gossiping(t, name, answer, true)
	}
}

func gossiping(t *testing.T, name string, answer respond, remembers bool) {
	t.Helper()
	stages := map[string]func() *gossip{
		"phone number": func() *gossip { return &gossip{phone: answer, honestTokens: 9} },
		"first token":  func() *gossip { return &gossip{token: answer} },
		"second token": func() *gossip { return &gossip{phone: refuse(40001, "", ""), token: answer, honestTokens: 1} },
	}
	kinds := map[string]wxphone.Option{"stable": wxphone.WithMaxRetries(0), "classic": wxphone.WithClassicToken()}
	for stage, newGossip := range stages {
		for kind, opt := range kinds {
			t.Run(name+"/"+stage+"/"+kind, func(t *testing.T) {
				t.Parallel()
				inVirtualTime(t, func(t *testing.T) {
					server := newGossip()
					server.remembers = remembers
					failWith(t, someCode, allSecrets, opt, overPipes(t, server), wxphone.WithMaxRetries(0))
				})
			})
		}
	}
}

func TestGossipBeforeARetryIsNotLogged(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"busy", "failed gateway", "not HTTP", "truncated"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inVirtualTime(t, func(t *testing.T) {
				server := overPipes(t, &gossip{phone: indiscretions[name], honestTokens: 1})
				failWith(t, someCode, allSecrets, server, wxphone.WithMaxRetries(1))
			})
		})
	}
}

// What the caller passes as a code need not look like one.
func TestOddCodesAreHiddenToo(t *testing.T) {
	t.Parallel()
	for name, code := range map[string]struct{ sent, secret string }{
		"quoted":       {`"` + someCode + `"`, someCode},
		"white space":  {someCode + "\n", someCode},
		"URL escapes":  {"Zm9v+YmFy/cXV4==&x y", "Zm9v+YmFy/cXV4==&x y"},
		"a path in it": {"../Zm9v?YmFy#cXV4%2b", "../Zm9v?YmFy#cXV4%2b"},
	} {
		for _, answer := range []string{"refused code", "page", "not HTTP"} {
			t.Run(name+"/"+answer, func(t *testing.T) {
				t.Parallel()
				server := overPipes(t, &gossip{phone: indiscretions[answer], honestTokens: 1})
				failWith(t, code.sent, append(slices.Clone(allSecrets), code.secret), server, wxphone.WithMaxRetries(0))
			})
		}
	}
}

// talkative is an error with a secret in it that its text does not show.
type talkative struct{ detail string }

func (talkative) Error() string { return "proxy failed" }

func TestTalkativeTransportIsCutShort(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		fail   func(told string) error
		status int
	}{
		{"text", func(told string) error { return errors.New("proxy refused " + told) }, 502},
		{"wrapped", func(told string) error { return fmt.Errorf("proxy: %w", errors.New(told)) }, 502},
		{"lost answer", func(told string) error { return fmt.Errorf("%s: %w", told, io.EOF) }, 502},
		{"timeout", func(told string) error { return fmt.Errorf("%s: %w", told, context.DeadlineExceeded) }, 504},
		{"joined", func(told string) error { return errors.Join(io.EOF, errors.New(told)) }, 502},
		{"url", func(told string) error { return &url.Error{Op: "Post", URL: "https://h/?" + told, Err: io.EOF} }, 502},
		{"url in url", func(told string) error {
			return &url.Error{Op: "Post", URL: "https://h/", Err: &url.Error{Op: "Connect", URL: told, Err: io.EOF}}
		}, 502},
		{"read", func(told string) error { return &net.OpError{Op: "read", Net: "tcp", Err: errors.New(told)} }, 502},
		{"dial", func(told string) error { return &net.OpError{Op: "dial", Net: "tcp", Err: errors.New(told)} }, 502},
		{"DNS", func(told string) error { return &net.DNSError{Err: told, Name: "api.weixin.qq.com"} }, 502},
		{"in a field", func(told string) error { return talkative{told} }, 502},
	}
	for _, tt := range tests {
		for stage, hostile := range map[string]string{"phone number": phoneAPI, "stable": stableTokenAPI, "classic": classicTokenAPI} {
			t.Run(tt.name+"/"+stage, func(t *testing.T) {
				t.Parallel()
				inVirtualTime(t, func(t *testing.T) {
					transport := roundTrip(func(r *http.Request) (*http.Response, error) {
						var body []byte
						if r.Body != nil {
							body, _ = io.ReadAll(r.Body)
						}
						if r.URL.Path == hostile {
							return nil, tt.fail(fmt.Sprintf("%s %s %s", r.URL, body, r.URL.Query()))
						}
						answer := httptest.NewRecorder()
						fmt.Fprintf(answer, `{"access_token":%q,"expires_in":7200}`, someToken)
						return answer.Result(), nil
					})
					opts := []wxphone.Option{wxphone.WithHTTPClient(&http.Client{Transport: transport}), wxphone.WithMaxRetries(0)}
					if hostile == classicTokenAPI {
						opts = append(opts, wxphone.WithClassicToken())
					}
					err := failWith(t, someCode, allSecrets, opts...)
					assert.Equal(t, tt.status, wxphone.HTTPStatus(err), "%v", err)
					var network *url.Error
					require.ErrorAs(t, err, &network)
					assert.True(t, strings.HasSuffix(network.URL, hostile), "the URL without its query: %s", network.URL)
				})
			})
		}
	}
}

// Each secret is quoted alone: among others it might be masked on their
// account.
func TestTransportThatQuotesARequestTellsNoSecretOfIt(t *testing.T) {
	t.Parallel()
	const (
		cloudID = "37.cloud.id.of-somebody"
		key     = wxphone.SessionKey("q83vASNFZ4mrze8BI0VniQ==") // whose signature has no long number
		jsCode  = "js.code.of-somebody"
	)
	ctx := context.Background()
	calls := map[string]struct {
		call    func(*wxphone.Client) error
		secrets []string
	}{
		"login": {func(c *wxphone.Client) error { _, err := c.Code2Session(ctx, jsCode); return err },
			[]string{someSecret, jsCode}},
		"check": {func(c *wxphone.Client) error { return c.CheckSessionKey(ctx, "o1", key) },
			[]string{string(key), someToken}},
		"reset": {func(c *wxphone.Client) error { _, err := c.ResetUserSessionKey(ctx, "o1", key); return err },
			[]string{string(key), someToken}},
		"cloudID": {func(c *wxphone.Client) error { _, err := c.GetPhoneNumberByCloudID(ctx, "o1", cloudID); return err },
			[]string{cloudID, someToken}},
	}
	for name, tt := range calls {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			quotes := map[string]func(*http.Request, string) string{
				"URL":  func(r *http.Request, _ string) string { return r.URL.String() },
				"body": func(_ *http.Request, body string) string { return body },
				"list": func(_ *http.Request, body string) string { return strings.Trim(body, `{}`) },
			}
			for _, parameter := range []string{"signature", "secret", "js_code", "access_token"} {
				quotes[parameter] = func(r *http.Request, _ string) string { return r.URL.Query().Get(parameter) }
			}
			for what, quote := range quotes {
				secrets := tt.secrets
				client := sendingThrough(t, roundTrip(func(r *http.Request) (*http.Response, error) {
					if own := r.URL.Query().Get("signature"); own != "" {
						secrets = append(secrets[:len(secrets):len(secrets)], own)
					}
					var body []byte
					if r.Body != nil {
						body, _ = io.ReadAll(r.Body)
					}
					return nil, errors.New("proxy refused " + quote(r, string(body)))
				}), wxphone.WithMaxRetries(0))
				err := tt.call(client)
				require.Error(t, err)
				assert.ErrorContains(t, err, "proxy refused")
				assertTellsNone(t, fmt.Sprintf("%v %+v %#v", err, err, err), secrets, "an error that quotes the %s", what)
			}
		})
	}
}

func TestOnlyARequestIDIsARequestID(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		errmsg string
		secret string // must be told nowhere; "" if there is none
		rid    string // as it is, if there is no secret
	}{
		"rid":                 {"invalid code rid: 61a2b3c4-0f1e2d3c-4b5a6978", "", "61a2b3c4-0f1e2d3c-4b5a6978"},
		"rid of digits":       {"invalid code, rid: 61021234-01234567-12345678", "", "61021234-01234567-12345678"},
		"rid as req_id":       {"invalid code, hints: [ req_id: 61a2b3c4-0f1e2d3c-4b5a6978 ]", "", "61a2b3c4-0f1e2d3c-4b5a6978"},
		"short req_id":        {"invalid code, hints: [ req_id: Xy12a-_b ]", "", "Xy12a-_b"},
		"number as req_id":    {"invalid code, hints: [ req_id: 13800138000 ]", "13800138000", ""},
		"number with an end":  {"invalid code, hints: [ req_id: 13800138000-1 ]", "13800138000", ""},
		"number at the end":   {"invalid code, hints: [ req_id: 1-13800138000 ]", "13800138000", ""},
		"number as rid":       {"invalid code rid: 13800138000-13800138000-1", "13800138000", ""},
		"number, wide groups": {"invalid code rid: 013800138000-61a2b3c4-0f1e2d3c", "13800138000", ""},
		"capital hex as rid":  {"invalid code rid: E31968A7F94CC5EE-25FAFC2A-EF2773F0", "E31968A7F94CC5EE", ""},
		"token as req_id":     {"invalid code, hints: [ req_id: " + laterToken + " ]", laterToken, ""},
		"token with an end":   {"invalid code, hints: [ req_id: " + laterToken + "-x ]", laterToken, ""},
		"own code as req_id":  {"invalid code, hints: [ req_id: " + someCode + "- ]", someCode, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			answer, err := json.Marshal(map[string]any{"errcode": 40029, "errmsg": tt.errmsg})
			require.NoError(t, err)
			var call wxphone.Call
			client := answering(t, http.StatusOK, string(answer),
				wxphone.WithObserver(func(_ context.Context, c wxphone.Call) { call = c }))
			_, err = client.GetPhoneNumber(context.Background(), someCode)
			var refusal *wxphone.APIError
			require.ErrorAs(t, err, &refusal)
			assert.Equal(t, refusal.RID, call.RID)
			if tt.secret == "" {
				assert.Equal(t, tt.rid, refusal.RID)
				assert.Equal(t, "invalid code", refusal.Message)
				return
			}
			for _, text := range []string{refusal.RID, refusal.Message, err.Error(), call.RID, fmt.Sprintf("%+v %#v", call, refusal)} {
				assertTellsNone(t, text, []string{tt.secret}, "%s", tt.errmsg)
			}
		})
	}
}

func TestSessionKeyStaysInside(t *testing.T) {
	t.Parallel()
	const key = "AAECAwQFBgcICQoLDA0ODw=="
	session := wxphone.Session{OpenID: "o-alice", UnionID: "u-alice", SessionKey: key}
	assertPrintsWithout(t, wxphone.SessionKey(key), key)
	assertPrintsWithout(t, session, key)
	assert.Equal(t, "[REDACTED]", fmt.Sprintf("%s", session.SessionKey))
	assert.Equal(t, key, string(session.SessionKey), "string(key) reveals")

	_, err := session.SessionKey.MarshalText()
	require.Error(t, err)
	for _, v := range []any{session.SessionKey, &session.SessionKey, map[string]any{"key": session.SessionKey}, []wxphone.SessionKey{key}} {
		text, err := json.Marshal(v)
		require.Error(t, err, "%s", text)
		assert.NotContains(t, err.Error(), key)
	}
	text, err := json.Marshal(session)
	require.NoError(t, err)
	assert.JSONEq(t, `{"openid":"o-alice","unionid":"u-alice"}`, string(text))
	text, err = json.Marshal(wxphone.Session{OpenID: "o-alice"})
	require.NoError(t, err)
	assert.JSONEq(t, `{"openid":"o-alice"}`, string(text))
}

// TestPlatformDoesNotQuoteWhatItSends has every API of a platform repeat what
// it was sent, and checks errors, logs and observers.
func TestPlatformDoesNotQuoteWhatItSends(t *testing.T) {
	t.Parallel()
	secrets := append([]string{someComponentSecret, someTicket, someRefreshToken, nextRefreshToken, someJSCode}, allSecrets...)
	for name, answer := range indiscretions {
		for api := range honestPlatform {
			if name == "another app" && api != phoneAPI {
				continue
			}
			t.Run(name+api, func(t *testing.T) {
				t.Parallel()
				inVirtualTime(t, func(t *testing.T) {
					w := &witness{t: t, secrets: secrets}
					err := callAt(platformAgainst(t, api, answer, w.options()...), api)
					require.Error(t, err)
					w.checkError(err)
					w.checkLog()
				})
			})
		}
	}
}

// What a database says of a failed query may hold its arguments.
func TestTalkativeDatabaseIsCutShort(t *testing.T) {
	t.Parallel()
	server := wxphonetest.NewServer(t)
	w := &witness{t: t, secrets: []string{someTicket, server.Ticket(), server.ComponentSecret()}}
	tokens := authorized(server, server.AppID())
	refreshToken, _ := tokens.stored(server.AppID())
	w.secrets = append(w.secrets, refreshToken)
	platform := server.NewComponent(w.options()...)
	tokens.fail(nil, fmt.Errorf("UPDATE SET token=%q: %w", refreshToken, errDatabase))
	_, err := clientOf(t, platform, server.AppID(), tokens).AccessToken(context.Background())
	require.NoError(t, err)
	tokens.fail(fmt.Errorf("SELECT %q: %w", refreshToken, errDatabase), nil)
	_, err = clientOf(t, platform, server.AppID(), tokens).AccessToken(context.Background())
	require.Error(t, err)
	w.checkError(err)

	tokens.fail(nil, nil)
	tokens.set(someAppID, someRefreshToken)
	talking := func(context.Context) (string, error) {
		return someTicket, fmt.Errorf("GET %q: %w", someTicket, errDatabase)
	}
	broken, err := wxphone.NewComponent(someComponentID, someComponentSecret, talking, w.options()...)
	require.NoError(t, err)
	_, err = clientOf(t, broken, someAppID, tokens).AccessToken(context.Background())
	require.Error(t, err)
	w.checkError(err)
	w.checkLog()
}

func TestTokenPrintsRedacted(t *testing.T) {
	t.Parallel()
	token := wxphone.Token{AccessToken: someToken, ExpiresAt: time.Date(2025, 1, 2, 3, 4, 5, 0, time.UTC)}
	assertPrintsWithout(t, token, someToken)
	assertPrintsWithout(t, wxphone.Token{AccessToken: someToken}, someToken)
	assert.Equal(t, "[REDACTED] until 2025-01-02T03:04:05Z", fmt.Sprintf("%#v", token))

	// Stores need the token in its JSON.
	text, err := json.Marshal(token)
	require.NoError(t, err)
	assert.JSONEq(t, `{"access_token":"`+someToken+`","expires_at":"2025-01-02T03:04:05Z"}`, string(text))
	var back wxphone.Token
	require.NoError(t, json.Unmarshal(text, &back))
	assert.Equal(t, token, back)
}
