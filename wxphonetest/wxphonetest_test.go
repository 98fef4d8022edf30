package wxphonetest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/wxphonetest"
)

const (
	classicToken      = "/cgi-bin/token"
	stableToken       = "/cgi-bin/stable_token"
	phoneNumber       = "/wxa/business/getuserphonenumber"
	code2Session      = "/sns/jscode2session"
	checkSession      = "/wxa/checksession"
	resetSessionKey   = "/wxa/resetusersessionkey"
	checkEncryptedMsg = "/wxa/business/checkencryptedmsg"
	getOpenData       = "/wxa/getopendata"

	host = "https://api.weixin.qq.com"
)

var somePhone = wxphone.PhoneInfo{PhoneNumber: "13800000000", PurePhoneNumber: "13800000000", CountryCode: "86"}

// answer is the union of what the APIs answer.
type answer struct {
	ErrCode     int    `json:"errcode"`
	ErrMsg      string `json:"errmsg"`
	AccessToken string `json:"access_token"`
	ExpiresIn   int    `json:"expires_in"`
	OpenID      string `json:"openid"`
	UnionID     string `json:"unionid"`
	SessionKey  string `json:"session_key"`
	Valid       *bool  `json:"vaild"`
	CreateTime  int64  `json:"create_time"`
	PhoneInfo   struct {
		PhoneNumber string `json:"phoneNumber"`
		CountryCode string `json:"countryCode"`
	} `json:"phone_info"`
	DataList []struct {
		CloudID string          `json:"cloud_id"`
		JSON    json.RawMessage `json:"json"`
	} `json:"data_list"`

	raw         string
	contentType string
}

func send(t *testing.T, s *wxphonetest.Server, method, endpoint string, query url.Values, body string) (answer, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), method, host+endpoint+"?"+query.Encode(), strings.NewReader(body))
	require.NoError(t, err)
	resp, err := s.HTTPClient().Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	a := answer{raw: string(raw), contentType: resp.Header.Get("Content-Type")}
	require.NoError(t, json.Unmarshal(raw, &a), "body: %s", raw)
	return a, nil
}

func get(t *testing.T, s *wxphonetest.Server, endpoint string, query url.Values) answer {
	t.Helper()
	a, err := send(t, s, http.MethodGet, endpoint, query, "")
	require.NoError(t, err)
	return a
}

func post(t *testing.T, s *wxphonetest.Server, endpoint string, query url.Values, body any) answer {
	t.Helper()
	text, isText := body.(string)
	if !isText {
		b, err := json.Marshal(body)
		require.NoError(t, err)
		text = string(b)
	}
	a, err := send(t, s, http.MethodPost, endpoint, query, text)
	require.NoError(t, err)
	return a
}

// withToken is a query with the server's access_token and more pairs.
func withToken(s *wxphonetest.Server, pairs ...string) url.Values {
	return values(append([]string{"access_token", s.Token()}, pairs...)...)
}

func values(pairs ...string) url.Values {
	v := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		v.Set(pairs[i], pairs[i+1])
	}
	return v
}

func redeem(t *testing.T, s *wxphonetest.Server, code string) answer {
	t.Helper()
	return post(t, s, phoneNumber, withToken(s), map[string]string{"code": code})
}

// use makes a business call with a token and returns the errcode that the token
// got: 40029 means that the token was fine and the code was not.
func use(t *testing.T, s *wxphonetest.Server, token string) int {
	t.Helper()
	return post(t, s, phoneNumber, values("access_token", token), map[string]string{"code": "unknown"}).ErrCode
}

const works = 40029

func fetchStable(t *testing.T, s *wxphonetest.Server, force bool) answer {
	t.Helper()
	return post(t, s, stableToken, nil, map[string]any{
		"grant_type": "client_credential", "appid": s.AppID(), "secret": s.Secret(), "force_refresh": force,
	})
}

func fetchClassic(t *testing.T, s *wxphonetest.Server) answer {
	t.Helper()
	return get(t, s, classicToken, values("grant_type", "client_credential", "appid", s.AppID(), "secret", s.Secret()))
}

// spy is a TB that takes down what a server says to it.
type spy struct {
	mu       sync.Mutex
	errors   []string
	cleanups []func()
}

func (*spy) Helper()             {}
func (*spy) Logf(string, ...any) {}

func (s *spy) Cleanup(f func()) { s.cleanups = append(s.cleanups, f) }

func (s *spy) Errorf(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.errors = append(s.errors, fmt.Sprintf(format, args...))
}

func (s *spy) Fatalf(format string, args ...any) { panic("fatal: " + fmt.Sprintf(format, args...)) }

func (s *spy) end() {
	for _, f := range s.cleanups {
		f()
	}
}

func (s *spy) reports() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.errors...)
}
