package wxphone_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/wxphonetest"
)

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

// failure is an error of a type that callers look for.
type failure struct{ text string }

func (f *failure) Error() string { return f.text }

func TestTransportErrorIsOneLineAndStillItself(t *testing.T) {
	t.Parallel()
	for name, given := range map[string]error{
		"plain":   &failure{"proxy failed:\n\tno route\r\nto host"},
		"wrapped": fmt.Errorf("proxy:\n%w", &failure{"no\nroute"}),
		"joined":  errors.Join(io.EOF, &failure{"no route"}),
		"in URL":  &url.Error{Op: "Post", URL: "https://h/", Err: &failure{"no\nroute"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := sendingThrough(t, roundTrip(func(*http.Request) (*http.Response, error) { return nil, given }),
				wxphone.WithMaxRetries(0))
			_, err := client.GetPhoneNumber(context.Background(), someCode)
			require.Error(t, err)
			assert.NotContains(t, err.Error(), "\n")
			assert.NotContains(t, err.Error(), "\r")
			assert.ErrorContains(t, err, "route")
			var inner *failure
			require.ErrorAs(t, err, &inner)
			assert.ErrorIs(t, err, given)
			var network *url.Error
			require.ErrorAs(t, err, &network)
		})
	}
}

func TestTimeoutAmongOtherErrorsIsATimeout(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		given error
		want  int
	}{
		"joined deadline":     {errors.Join(errors.New("x"), context.DeadlineExceeded), 504},
		"deadline first":      {errors.Join(context.DeadlineExceeded, errors.New("x")), 504},
		"deep":                {fmt.Errorf("a: %w", errors.Join(io.EOF, fmt.Errorf("b: %w", context.DeadlineExceeded))), 504},
		"joined cancellation": {errors.Join(errors.New("x"), context.Canceled), 503},
		"no timeout":          {errors.Join(errors.New("x"), io.EOF), 502},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			assert.Equal(t, tt.want, wxphone.HTTPStatus(&url.Error{Op: "Post", URL: "https://h/", Err: tt.given}))
			client := sendingThrough(t, roundTrip(func(*http.Request) (*http.Response, error) { return nil, tt.given }),
				wxphone.WithMaxRetries(0))
			_, err := client.GetPhoneNumber(context.Background(), someCode)
			assert.Equal(t, tt.want, wxphone.HTTPStatus(err), "%v", err)
		})
	}
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

func TestNilSourceIsNoticedWhereverItIsWrapped(t *testing.T) {
	t.Parallel()
	_, err := wxphone.New(someAppID, "", wxphone.WithTokenSource(wxphone.CacheTokens(nil)))
	require.ErrorIs(t, err, wxphone.ErrInvalidArgument)
	_, err = wxphone.New(someAppID, "", wxphone.WithTokenSource(wxphone.TokenSourceFunc(nil)))
	require.ErrorIs(t, err, wxphone.ErrInvalidArgument)
	_, err = wxphone.CacheTokens(wxphone.TokenSourceFunc(nil)).Token(context.Background())
	require.ErrorIs(t, err, wxphone.ErrInvalidArgument)
}

func TestByteOrderMarkBeforeAnAnswerIsSkipped(t *testing.T) {
	t.Parallel()
	info, err := answering(t, http.StatusOK, "\ufeff"+success).GetPhoneNumber(context.Background(), someCode)
	require.NoError(t, err)
	assert.Equal(t, someNumber, info.PhoneNumber)
	_, err = answering(t, http.StatusOK, "\ufeff "+`{"errcode":40029}`).GetPhoneNumber(context.Background(), someCode)
	require.ErrorIs(t, err, wxphone.ErrCodeInvalid)
	_, err = answering(t, http.StatusOK, "\ufeff\ufeff"+success).GetPhoneNumber(context.Background(), someCode)
	var notAnswer *wxphone.ResponseError
	require.ErrorAs(t, err, &notAnswer, "one mark is enough")
}

// A gateway's own JSON must not pass for WeChat's, whose answers with such a
// status have an errcode.
func TestStatusBeyond299NeedsAnErrcode(t *testing.T) {
	t.Parallel()
	const phone = `"phone_info":{"phoneNumber":"13800000000"}`
	for _, status := range []int{300, 302, 304, 400, 404} {
		for _, body := range []string{`{}`, `{"message":"moved"}`, `{` + phone + `}`, `{"errcode":null,` + phone + `}`} {
			_, err := answering(t, status, body).GetPhoneNumber(context.Background(), someCode)
			var notAnswer *wxphone.ResponseError
			require.ErrorAs(t, err, &notAnswer, "%d %s", status, body)
			assert.Equal(t, status, notAnswer.HTTPStatus)
		}
		_, err := answering(t, status, `{"errcode":40029}`).GetPhoneNumber(context.Background(), someCode)
		require.ErrorIs(t, err, wxphone.ErrCodeInvalid)
	}
	_, err := answering(t, 299, `{`+phone+`}`).GetPhoneNumber(context.Background(), someCode)
	require.NoError(t, err)
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

func TestCloudIDsOuterErrcodeComesBeforeItsOwn(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		body string
		want int
	}{
		"both":       {`{"errcode":45009,"errmsg":"outer","data_list":[{"json":{"errCode":-601006,"errMsg":"inner"}}]}`, 45009},
		"outer only": {`{"errcode":45009,"errmsg":"outer","data_list":[{"json":{"errCode":0}}]}`, 45009},
		"inner only": {`{"errcode":0,"errmsg":"ok","data_list":[{"json":{"errCode":-601006,"errMsg":"inner"}}]}`, -601006},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := answering(t, http.StatusOK, tt.body).GetPhoneNumberByCloudID(context.Background(), "o1", "cloud-id")
			var refusal *wxphone.APIError
			require.ErrorAs(t, err, &refusal)
			assert.Equal(t, tt.want, refusal.Code)
		})
	}
}
