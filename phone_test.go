package wxphone_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
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

func TestWatermarkFarFromNowHasASensibleMessage(t *testing.T) {
	t.Parallel()
	client, err := wxphone.New(someAppID, someSecret, wxphone.WithWatermarkMaxAge(time.Hour))
	require.NoError(t, err)
	const key wxphone.SessionKey = "AAECAwQFBgcICQoLDA0ODw=="
	now := time.Now().Unix()
	for name, tt := range map[string]struct {
		timestamp int64
		want      string
	}{
		"an hour ahead":      {now + 3600, "in the future"},
		"a century ahead":    {now + 100*365*24*3600, "in the future"},
		"a millennium ahead": {now + 1000*365*24*3600, "in the future"},
		"milliseconds":       {now * 1000, "in the future"},
		"nearly an overflow": {999_999_999_999_999_999, "in the future"},
		"decades behind":     {1, "old"},
		"two hours behind":   {now - 7200, " 2h"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			encryptedData, iv := wxphonetest.Seal(key, map[string]any{
				"phoneNumber": "13800000000", "purePhoneNumber": "13800000000", "countryCode": "86",
				"watermark": map[string]any{"timestamp": tt.timestamp, "appid": someAppID},
			})
			_, err := client.DecryptPhoneNumber(key, encryptedData, iv)
			require.ErrorIs(t, err, wxphone.ErrWatermarkExpired)
			assert.ErrorContains(t, err, tt.want)
			assert.NotRegexp(t, `-[0-9]`, err.Error())
		})
	}
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

func TestNullLeavesAPhoneInfoAsItWas(t *testing.T) {
	t.Parallel()
	before := wxphone.PhoneInfo{
		PhoneNumber: "13800000000", PurePhoneNumber: "13800000000", CountryCode: "86",
		Watermark: wxphone.Watermark{AppID: someAppID, Timestamp: 1},
	}
	info := before
	require.NoError(t, info.UnmarshalJSON([]byte("null")))
	assert.True(t, info == before)
	holder := struct{ Phone wxphone.PhoneInfo }{before}
	require.NoError(t, json.Unmarshal([]byte(`{"Phone":null}`), &holder))
	assert.True(t, holder.Phone == before)
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

func TestCodeIsSentAsItIs(t *testing.T) {
	t.Parallel()
	// A code is opaque: its shape is a hint for error messages, never a rule.
	for _, code := range []string{"x", "0a3BcD1f2gH4iJ5kL6mN7oP8qR9sT0uV", `<a&b>"c"`, "微信"} {
		var sent string
		client := sendingThrough(t, roundTrip(func(r *http.Request) (*http.Response, error) {
			body, err := io.ReadAll(r.Body)
			sent = string(body)
			return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody}, err
		}))
		_, _ = client.GetPhoneNumber(context.Background(), code, wxphone.WithOpenID("o-alice"))
		var got map[string]string
		require.NoError(t, json.Unmarshal([]byte(sent), &got))
		assert.Equal(t, map[string]string{"code": code, "openid": "o-alice"}, got)
		assert.NotContains(t, sent, `\u`)
	}
}

func TestUsedCodeIsErrCodeInvalid(t *testing.T) {
	t.Parallel()
	server := wxphonetest.NewServer(t)
	client := server.NewClient()
	code := server.IssueCode(aPhone)
	_, err := client.GetPhoneNumber(context.Background(), code)
	require.NoError(t, err)

	info, err := client.GetPhoneNumber(context.Background(), code)

	assert.Nil(t, info)
	require.ErrorIs(t, err, wxphone.ErrCodeInvalid)
	var refusal *wxphone.APIError
	require.ErrorAs(t, err, &refusal)
	assert.Equal(t, phoneAPI, refusal.Endpoint)
	assert.Equal(t, 40029, refusal.Code)
	assert.Equal(t, http.StatusOK, refusal.HTTPStatus)
	assert.NotEmpty(t, refusal.RID)
	assert.NotContains(t, refusal.Message, refusal.RID)
	assert.Equal(t, http.StatusBadRequest, wxphone.HTTPStatus(err))
	assert.Equal(t, 2, server.Requests(phoneAPI))
}

func TestRefusedCodeHintsAtWhatWasSent(t *testing.T) {
	t.Parallel()
	const login, quoted = "wx.login", "quotes or braces"
	hex64 := strings.Repeat("e31968a7f94cc5ee", 4)
	tests := []struct {
		name, code, hint string
	}{
		{"a code of wx.login", "0a3BcD1f2gH4iJ5kL6mN7oP8qR9sT0uV", login},
		{"a code of the button", hex64, ""},
		{"another length", "0a3BcD", ""},
		{"in quotes", `"` + hex64 + `"`, quoted},
		{"as JSON", `{"code":"` + hex64 + `"}`, quoted},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			client := answering(t, http.StatusOK, `{"errcode":40029,"errmsg":"invalid code"}`)
			_, err := client.GetPhoneNumber(context.Background(), tt.code)
			require.ErrorIs(t, err, wxphone.ErrCodeInvalid)
			for _, hint := range []string{login, quoted} {
				assert.Equal(t, hint == tt.hint, strings.Contains(err.Error(), hint), "%q in %v", hint, err)
			}
			assert.NotContains(t, err.Error(), tt.code)
		})
	}
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

func TestRefusalWithAnOpenIDSaysThatTheCodeMayBeAnotherUsers(t *testing.T) {
	t.Parallel()
	const hint = "the code may be another user's"
	for code, says := range map[int]bool{40029: true, 40003: true, 40097: true, 47001: true, 40013: false, 45011: false, 48001: false} {
		client := answering(t, http.StatusOK, fmt.Sprintf(`{"errcode":%d,"errmsg":"refused"}`, code))
		_, err := client.GetPhoneNumber(context.Background(), someCode, wxphone.WithOpenID("o-alice"))
		assert.Equal(t, says, strings.Contains(err.Error(), hint), "%v", err)
		assert.NotContains(t, err.Error(), "o-alice")
		_, err = client.GetPhoneNumber(context.Background(), someCode)
		assert.NotContains(t, err.Error(), hint)
	}
	_, err := answering(t, http.StatusOK, `{"errcode":40003}`).GetPhoneNumberByCloudID(context.Background(), "o-alice", "cloudID")
	assert.NotContains(t, err.Error(), hint, "there it is said in other words")
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

// FuzzGetPhoneNumberAnswer looks for answers that are taken for a success
// without a number, that panic, or whose error tells what was sent.
func FuzzGetPhoneNumberAnswer(f *testing.F) {
	for _, body := range []string{
		success,
		strings.Replace(success, `"86"`, `86`, 1),
		strings.Replace(success, `1700000000`, `"1700000000"`, 1),
		strings.Replace(success, someAppID, "wxffffffffffffffff", 1),
		strings.Replace(success, someAppID, someToken, 1),
		`{"errcode":0,"errmsg":"ok","phone_info":{"phoneNumber":"+85251234567","purePhoneNumber":"51234567","countryCode":"852"}}`,
		`{"errcode":0,"errmsg":"ok","phone_info":{"phoneNumber":""}}`,
		`{"errcode":0,"errmsg":"ok","phone_info":null}`,
		`{"errcode":0,"errmsg":"ok","phone_info":[]}`,
		`{"errcode":-1,"errmsg":"system error"}`,
		`{"errcode":40001,"errmsg":"invalid credential, access_token is invalid or not latest rid: 61a2b3c4-0f1e2d3c-4b5a6978"}`,
		`{"errcode":40029,"errmsg":"invalid code ` + someCode + `, hints: [ req_id: Xy12a ]"}`,
		`{"errcode":"40163","errmsg":"code been used"}`,
		`{"errcode":45011,"errmsg":"api minute-quota reach limit, must slower, retry next minute"}`,
		`{"errcode":47001,"errmsg":"data format error hint: [Xy12_a-Bc3] rid: 61a2b3c4-0f1e2d3c-4b5a6978"}`,
		"<html><head><title>502 Bad Gateway</title></head></html>",
		"", "null", "[]", "{}", success[:100], success + "x",
	} {
		f.Add(http.StatusOK, body)
	}
	f.Add(http.StatusPreconditionFailed, "")
	f.Add(http.StatusFound, "<a href=\"/\">Found</a>")
	f.Add(http.StatusBadGateway, "<html>"+someCode+" "+someToken+"</html>")
	f.Add(http.StatusInternalServerError, success)
	f.Add(http.StatusForbidden, `{"message":"forbidden"}`)

	f.Fuzz(func(t *testing.T, status int, body string) {
		if status < 200 || status > 599 {
			t.Skip("not the status of an answer")
		}
		client := answering(t, status, body)
		info, err := client.GetPhoneNumber(context.Background(), someCode)
		if err == nil {
			assert.NotEmpty(t, info.PhoneNumber)
			assert.Contains(t, []string{"", someAppID}, info.Watermark.AppID)
			return
		}
		assert.Nil(t, info)
		assert.Contains(t, []int{400, 401, 403, 429, 500, 502, 503}, wxphone.HTTPStatus(err))
		for _, verb := range []string{"%v", "%+v", "%#v"} {
			assertTellsNone(t, fmt.Sprintf(verb, err), []string{someCode, someToken}, "the error")
		}
		assert.NotContains(t, err.Error(), "\n")
		rest := regexp.MustCompile(`errcode -?[0-9]+`).ReplaceAllString(err.Error(), "")
		assert.NotRegexp(t, `[0-9]{9}`, rest, "a rid has groups of 8 hex digits, a phone number has more")
	})
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
