package wxphone_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/wxphonetest"
)

func TestE164(t *testing.T) {
	t.Parallel()
	tests := []struct {
		phone, pure, country, want string
	}{
		{"13800000000", "13800000000", "86", "+8613800000000"},
		{"+85251234567", "51234567", "852", "+85251234567"},
		// Made from the two fields that are known to be without prefixes.
		{"", "51234567", "852", "+85251234567"},
		{"13800000000", "", "86", ""},
		{"13800000000", "13800000000", "", ""},
		{"13800000000", "13800000000", "+86", ""},
		{"13800000000", "138 0000 0000", "86", ""},
		{"13800000000", "+13800000000", "86", ""},
		{"13800000000", "138****0000", "86", ""},
		{"13800000000", "١٣٨٠٠", "86", ""},
		{"", "", "", ""},
	}
	for _, tt := range tests {
		p := wxphone.PhoneInfo{PhoneNumber: tt.phone, PurePhoneNumber: tt.pure, CountryCode: tt.country}
		assert.Equal(t, tt.want, p.E164(), "country %q, number %q", tt.country, tt.pure)
	}
}

func TestWatermarkTime(t *testing.T) {
	t.Parallel()
	want := time.Date(2023, 11, 14, 22, 13, 20, 0, time.UTC)
	assert.True(t, want.Equal(wxphone.Watermark{Timestamp: 1700000000}.Time()))
	assert.True(t, wxphone.Watermark{}.Time().IsZero(), "no timestamp is not 1970")
}

func TestPhoneInfoReadsNumbersAndStrings(t *testing.T) {
	t.Parallel()
	want := aPhone
	want.Watermark = wxphone.Watermark{AppID: someAppID, Timestamp: 1700000000}
	for name, text := range map[string]string{
		"as documented": `{"phoneNumber":"13800000000","purePhoneNumber":"13800000000","countryCode":"86",
			"watermark":{"timestamp":1700000000,"appid":"wx0123456789abcdef"}}`,
		"countryCode a number":  `{"phoneNumber":"13800000000","purePhoneNumber":"13800000000","countryCode":86,"watermark":{"timestamp":1700000000,"appid":"wx0123456789abcdef"}}`,
		"timestamp a string":    `{"phoneNumber":"13800000000","purePhoneNumber":"13800000000","countryCode":"86","watermark":{"timestamp":"1700000000","appid":"wx0123456789abcdef"}}`,
		"everything a number":   `{"phoneNumber":13800000000,"purePhoneNumber":13800000000,"countryCode":86,"watermark":{"timestamp":1700000000,"appid":"wx0123456789abcdef"}}`,
		"another order, extras": `{"new":[],"watermark":{"appid":"wx0123456789abcdef","timestamp":1700000000,"x":1},"countryCode":"86","purePhoneNumber":"13800000000","phoneNumber":"13800000000"}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// A field that the JSON lacks must not keep an old value.
			got := wxphone.PhoneInfo{PhoneNumber: "old", Watermark: wxphone.Watermark{AppID: "old", Timestamp: 1}}
			require.NoError(t, json.Unmarshal([]byte(text), &got))
			assert.Equal(t, want, got)
		})
	}
}

func TestPhoneInfoRefusesWhatIsNoObject(t *testing.T) {
	t.Parallel()
	for _, text := range []string{`"13800000000"`, `13800000000`, `[]`, `{"phoneNumber":"138`, `{"watermark":13800000000}`} {
		var got wxphone.PhoneInfo
		err := json.Unmarshal([]byte(text), &got)
		require.Error(t, err, text)
		assert.NotContains(t, err.Error(), "13800000000")
	}
}

func TestPhoneInfoJSONRoundTrip(t *testing.T) {
	t.Parallel()
	want := aPhone
	want.Watermark = wxphone.Watermark{AppID: someAppID, Timestamp: 1700000000}
	text, err := json.Marshal(want)
	require.NoError(t, err)
	assert.JSONEq(t, `{"phoneNumber":"13800000000","purePhoneNumber":"13800000000","countryCode":"86",
		"watermark":{"timestamp":1700000000,"appid":"wx0123456789abcdef"}}`, string(text))
	var got wxphone.PhoneInfo
	require.NoError(t, json.Unmarshal(text, &got))
	assert.Equal(t, want, got)

	// Inside another value too, and through a pointer.
	outer := struct{ Phone *wxphone.PhoneInfo }{&want}
	text, err = json.Marshal(outer)
	require.NoError(t, err)
	outer.Phone = nil
	require.NoError(t, json.Unmarshal(text, &outer))
	assert.Equal(t, &want, outer.Phone)
}

func TestGetPhoneNumberRedeemsTheCode(t *testing.T) {
	t.Parallel()
	server := wxphonetest.NewServer(t)
	client := server.NewClient()
	want := aPhone
	want.Watermark = wxphone.Watermark{AppID: server.AppID(), Timestamp: 1700000000}
	got, err := client.GetPhoneNumber(context.Background(), server.IssueCode(want))
	require.NoError(t, err)
	assert.Equal(t, &want, got)

	foreign := wxphone.PhoneInfo{PhoneNumber: "+85251234567", PurePhoneNumber: "51234567", CountryCode: "852"}
	got, err = client.GetPhoneNumber(context.Background(), server.IssueCode(foreign))
	require.NoError(t, err)
	assert.Equal(t, "+85251234567", got.E164())
	assert.Equal(t, 1, server.TokenFetches(), "one token serves both")
}

func TestUsedCodeMatchesErrCodeInvalid(t *testing.T) {
	t.Parallel()
	server := wxphonetest.NewServer(t)
	client := server.NewClient()
	code := server.IssueCode(aPhone)
	_, err := client.GetPhoneNumber(context.Background(), code)
	require.NoError(t, err)

	info, err := client.GetPhoneNumber(context.Background(), code)

	assert.Nil(t, info)
	require.ErrorIs(t, err, wxphone.ErrCodeUsed)
	require.ErrorIs(t, err, wxphone.ErrCodeInvalid)
	var refusal *wxphone.APIError
	require.ErrorAs(t, err, &refusal)
	assert.Equal(t, phoneAPI, refusal.Endpoint)
	assert.Equal(t, 40163, refusal.Code)
	assert.Equal(t, http.StatusOK, refusal.HTTPStatus)
	assert.NotEmpty(t, refusal.RID)
	assert.NotContains(t, refusal.Message, refusal.RID)
	assert.Equal(t, http.StatusBadRequest, wxphone.HTTPStatus(err))
	assert.Equal(t, 2, server.Requests(phoneAPI))
}

func TestOpenIDIsCheckedAgainstTheCode(t *testing.T) {
	t.Parallel()
	server := wxphonetest.NewServer(t)
	client := server.NewClient()
	code := server.IssueCode(aPhone, wxphonetest.ForOpenID("o-alice"))

	_, err := client.GetPhoneNumber(context.Background(), code, wxphone.WithOpenID("o-mallory"))
	require.ErrorIs(t, err, wxphone.ErrCodeInvalid)

	info, err := client.GetPhoneNumber(context.Background(), code, wxphone.WithOpenID("o-alice"))
	require.NoError(t, err)
	assert.Equal(t, "13800000000", info.PhoneNumber)
}

func TestAnswerForAnotherAppIsErrWatermark(t *testing.T) {
	t.Parallel()
	server := wxphonetest.NewServer(t)
	foreign := aPhone
	foreign.Watermark = wxphone.Watermark{AppID: "wxffffffffffffffff", Timestamp: time.Now().Unix()}
	info, err := server.NewClient().GetPhoneNumber(context.Background(), server.IssueCode(foreign))
	assert.Nil(t, info)
	require.ErrorIs(t, err, wxphone.ErrWatermark)
	assert.NotErrorIs(t, err, wxphone.ErrDecrypt)
	assert.Equal(t, http.StatusBadGateway, wxphone.HTTPStatus(err))
	assert.Equal(t, 1, server.Requests(phoneAPI))
}

func TestAnswersOfTheNewFlow(t *testing.T) {
	t.Parallel()
	withWatermark := aPhone
	withWatermark.Watermark = wxphone.Watermark{AppID: someAppID, Timestamp: 1700000000}
	tests := []struct {
		name   string
		status int
		body   string
		want   *wxphone.PhoneInfo
		err    error
	}{
		{"success", 200, success, &withWatermark, nil},
		{"HTTP 500", 500, success, &withWatermark, nil},
		{"no errcode", 200, `{"phone_info":{"phoneNumber":"13800000000"}}`, &wxphone.PhoneInfo{PhoneNumber: "13800000000"}, nil},
		{"string errcode 0", 200, `{"errcode":"0","phone_info":{"phoneNumber":"13800000000"}}`, &wxphone.PhoneInfo{PhoneNumber: "13800000000"}, nil},
		{
			"countryCode a number, timestamp a string", 200,
			`{"errcode":0,"phone_info":{"phoneNumber":"13800000000","purePhoneNumber":"13800000000","countryCode":86,"watermark":{"timestamp":"1700000000","appid":"wx0123456789abcdef"}}}`,
			&withWatermark, nil,
		},
		{
			"no watermark", 200,
			`{"errcode":0,"phone_info":{"phoneNumber":"13800000000","purePhoneNumber":"13800000000","countryCode":"86"}}`,
			&aPhone, nil,
		},
		{
			"empty watermark", 200,
			`{"errcode":0,"phone_info":{"phoneNumber":"13800000000","purePhoneNumber":"13800000000","countryCode":"86","watermark":{}}}`,
			&aPhone, nil,
		},

		{"no phone_info", 200, `{"errcode":0,"errmsg":"ok"}`, nil, wxphone.ErrNoPhoneNumber},
		{"empty object", 200, `{}`, nil, wxphone.ErrNoPhoneNumber},
		{"phone_info null", 200, `{"errcode":0,"phone_info":null}`, nil, wxphone.ErrNoPhoneNumber},
		{"empty number", 200, `{"errcode":0,"phone_info":{"phoneNumber":"","purePhoneNumber":"13800000000"}}`, nil, wxphone.ErrNoPhoneNumber},
		{"number null", 200, `{"errcode":0,"phone_info":{"phoneNumber":null}}`, nil, wxphone.ErrNoPhoneNumber},
		{"number an object", 200, `{"errcode":0,"phone_info":{"phoneNumber":{}}}`, nil, wxphone.ErrNoPhoneNumber},
		{"no number and a foreign watermark", 200, `{"phone_info":{"watermark":{"appid":"wxf"}}}`, nil, wxphone.ErrNoPhoneNumber},
		{"foreign watermark without a time", 200, `{"phone_info":{"phoneNumber":"1","watermark":{"appid":"wxf"}}}`, nil, wxphone.ErrWatermark},

		{"string errcode", 200, `{"errcode":"40029","errmsg":"invalid code"}`, nil, wxphone.ErrCodeInvalid},
		{"HTTP 500 with an errcode", 500, `{"errcode":40029,"errmsg":"invalid code"}`, nil, wxphone.ErrCodeInvalid},
		{"HTTP 403 with an errcode", 403, `{"errcode":40164,"errmsg":"not in whitelist"}`, nil, wxphone.ErrIPNotAllowed},
		{"a number beside a refusal", 200, `{"errcode":40013,"phone_info":{"phoneNumber":"13800000000"}}`, nil, wxphone.ErrAppIDMismatch},
		{"odd phone_info beside a refusal", 200, `{"errcode":45011,"phone_info":[]}`, nil, wxphone.ErrRateLimited},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for _, contentType := range []string{"application/json; encoding=utf-8", "text/plain", "text/html"} {
				server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					w.Header().Set("Content-Type", contentType)
					w.WriteHeader(tt.status)
					_, _ = w.Write([]byte(tt.body))
				}))
				t.Cleanup(server.Close)
				client, err := wxphone.New(someAppID, "", wxphone.WithBaseURL(server.URL),
					wxphone.WithTokenSource(fixedToken(someToken)), wxphone.WithMaxRetries(0))
				require.NoError(t, err)
				got, err := client.GetPhoneNumber(context.Background(), someCode)
				if tt.err == nil {
					require.NoError(t, err, contentType)
					assert.Equal(t, tt.want, got)
					continue
				}
				assert.Nil(t, got)
				require.ErrorIs(t, err, tt.err, contentType)
				assert.NotContains(t, err.Error(), "13800000000")
				var refusal *wxphone.APIError
				if errors.As(err, &refusal) {
					assert.Equal(t, tt.status, refusal.HTTPStatus)
				}
			}
		})
	}
}

func TestPhoneInfoPrintsMasked(t *testing.T) {
	t.Parallel()
	assertPrintsWithout(t, aPhone, "13800000000", "3800000")
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x"} {
		assert.Equal(t, "+86 138****0000", fmt.Sprintf(verb, aPhone), verb)
		assert.Equal(t, "+86 138****0000", fmt.Sprintf(verb, &aPhone), verb)
	}
	var out bytes.Buffer
	slog.New(slog.NewTextHandler(&out, nil)).Info("bound", "phone", aPhone, "same", &aPhone)
	slog.New(slog.NewJSONHandler(&out, nil)).Info("bound", "phone", aPhone, "same", &aPhone)
	assert.Equal(t, 4, strings.Count(out.String(), `"+86 138****0000"`), out.String())
}

func TestMaskedNumberNamesNobody(t *testing.T) {
	t.Parallel()
	tests := []struct {
		phone, pure, country, want string
	}{
		{"13800000000", "13800000000", "86", "+86 138****0000"},
		{"13812345678", "13812345678", "", "138****5678"},
		{"+85251234567", "51234567", "852", "+852 51****67"},
		{"13812345678", "", "86", "+86 138****5678"},
		// A country code that is none might be a number in the wrong field.
		{"", "13812345678", "13812345678", "138****5678"},
		{"", "13812345678", "+86", "138****5678"},
		{"", "123", "1", "+1 ****"},
		{"", "12345678901234567890", "86", "+86 123****7890"},
		{"", "", "86", "(no phone number)"},
	}
	for _, tt := range tests {
		p := wxphone.PhoneInfo{PhoneNumber: tt.phone, PurePhoneNumber: tt.pure, CountryCode: tt.country}
		assert.Equal(t, tt.want, p.String())
	}
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

// valueSource is a token source that fmt could look into.
type valueSource struct{ token string }

func (s valueSource) Token(context.Context) (wxphone.Token, error) {
	return wxphone.Token{AccessToken: s.token, ExpiresAt: time.Now().Add(time.Hour)}, nil
}

func TestClientPrintsNoSecret(t *testing.T) {
	t.Parallel()
	server := wxphonetest.NewServer(t)
	for name, opts := range map[string][]wxphone.Option{
		"stable": nil, "classic": {wxphone.WithClassicToken()}, "source": {wxphone.WithTokenSource(valueSource{server.Token()})},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := server.NewClient(opts...)
			token, err := client.AccessToken(context.Background())
			require.NoError(t, err)
			assertPrintsWithout(t, client, server.Secret(), token.AccessToken)
			assertPrintsWithout(t, *client, server.Secret(), token.AccessToken)
		})
	}
}
