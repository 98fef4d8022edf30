package unittest_test

import (
	"encoding/json"
	"io"
	"net/http"
	"testing"

	"github.com/jarcoal/httpmock"

	"github.com/wxphone/wxphone"
)

// With httpmock, a test writes WeChat's answers itself, byte for byte, and sees
// the requests. It is for an answer that somebody sent you, or for a project
// whose tests have httpmock already.

// mocked returns a client whose requests are answered by a transport of its
// own. httpmock.Activate would replace http.DefaultTransport, which the client
// does not use.
func mocked(t *testing.T) (*wxphone.Client, *httpmock.MockTransport) {
	t.Helper()
	mock := httpmock.NewMockTransport()
	mock.RegisterResponder(http.MethodPost, "https://api.weixin.qq.com/cgi-bin/stable_token",
		httpmock.NewStringResponder(http.StatusOK, `{"access_token":"ACCESS_TOKEN","expires_in":7200}`))
	client, err := wxphone.New("wx0123456789abcdef", "secret",
		wxphone.WithHTTPClient(&http.Client{Transport: mock}))
	if err != nil {
		t.Fatal(err)
	}
	return client, mock
}

func TestHTTPMockRequestAndAnswer(t *testing.T) {
	client, mock := mocked(t)
	// The responder's URL has the query that the client is to send.
	mock.RegisterResponder(http.MethodPost,
		"https://api.weixin.qq.com/wxa/business/getuserphonenumber?access_token=ACCESS_TOKEN",
		func(r *http.Request) (*http.Response, error) {
			var sent struct{ Code string }
			body, err := io.ReadAll(r.Body)
			if err != nil {
				return nil, err
			}
			if err := json.Unmarshal(body, &sent); err != nil || sent.Code != "CODE" {
				t.Errorf("the client sent %s", body)
			}
			return httpmock.NewStringResponse(http.StatusOK, `{
				"errcode": 0,
				"errmsg": "ok",
				"phone_info": {
					"phoneNumber": "13800000000",
					"purePhoneNumber": "13800000000",
					"countryCode": 86,
					"watermark": {"timestamp": 1637744274, "appid": "wx0123456789abcdef"}
				}
			}`), nil
		})
	db := new(database)

	status, answer := bind(client, db, alice, `{"code":"CODE"}`)
	if status != http.StatusOK || answer != `{"phone":"+86 138****0000"}` {
		t.Errorf("got %d %s", status, answer)
	}
	if got := db.numbers["alice"]; got != "+8613800000000" {
		t.Errorf("saved %q, want +8613800000000", got)
	}
	if n := mock.GetTotalCallCount(); n != 2 {
		t.Errorf("%d requests, want one for the token and one for the number", n)
	}
}

func TestHTTPMockErrcodes(t *testing.T) {
	tests := []struct {
		name, answer string
		want         int
	}{
		{"code invalid", `{"errcode":40029,"errmsg":"invalid code"}`, http.StatusBadRequest},
		{"minute quota", `{"errcode":45011,"errmsg":"api minute-quota reach limit"}`, http.StatusTooManyRequests},
		{"not granted", `{"errcode":48001,"errmsg":"api unauthorized"}`, http.StatusInternalServerError},
		{"unknown errcode", `{"errcode":99999,"errmsg":"?"}`, http.StatusBadGateway},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			client, mock := mocked(t)
			mock.RegisterResponder(http.MethodPost, "https://api.weixin.qq.com/wxa/business/getuserphonenumber",
				httpmock.NewStringResponder(http.StatusOK, test.answer))
			if status, _ := bind(client, new(database), alice, `{"code":"CODE"}`); status != test.want {
				t.Errorf("status %d, want %d", status, test.want)
			}
		})
	}
}
