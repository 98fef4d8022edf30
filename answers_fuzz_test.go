package wxphone_test

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/wxphone/wxphone"
)

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
