package wxphonetest_test

import (
	"encoding/json"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wxphone/wxphone/wxphonetest"
)

const getRID = "/cgi-bin/openapi/rid/get"

func ridOf(t *testing.T, a answer) string {
	t.Helper()
	rid := regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{8}-[0-9a-f]{8}$`).FindString(a.ErrMsg)
	require.NotEmpty(t, rid, a.ErrMsg)
	return rid
}

func explain(t *testing.T, s *wxphonetest.Server, rid string) answer {
	t.Helper()
	return post(t, s, getRID, withToken(s), map[string]string{"rid": rid})
}

func TestRIDExplainsAnExchange(t *testing.T) {
	t.Parallel()
	s := wxphonetest.NewServer(t)
	before := time.Now().Unix()
	refused := redeem(t, s, "unknown")
	a := explain(t, s, ridOf(t, refused))
	assert.Zero(t, a.ErrCode)
	var got struct {
		Request map[string]any `json:"request"`
	}
	require.NoError(t, json.Unmarshal([]byte(a.raw), &got))
	assert.InDelta(t, before, got.Request["invoke_time"], 10)
	delete(got.Request, "invoke_time")
	assert.IsType(t, 0.0, got.Request["cost_in_ms"])
	delete(got.Request, "cost_in_ms")
	assert.Equal(t, map[string]any{
		"request_url":   "access_token=" + s.Token(),
		"request_body":  `{"code":"unknown"}`,
		"response_body": refused.raw,
		"client_ip":     "192.0.2.1",
	}, got.Request)
}

func TestRIDsThatAreNotExplained(t *testing.T) {
	t.Parallel()
	s := wxphonetest.NewServer(t)
	now := strconv.FormatInt(time.Now().Unix(), 16)
	weekAgo := strconv.FormatInt(time.Now().Add(-7*24*time.Hour-time.Minute).Unix(), 16)
	for name, tc := range map[string]struct {
		rid     string
		errcode int
	}{
		"empty":            {"", 76002},
		"two groups":       {now + "-2c099d96", 76002},
		"a label before":   {"rid: " + now + "-2c099d96-7fa6429e", 76002},
		"upper case":       {strings.ToUpper(now + "-2c099d96-7fa6429e"), 76002},
		"unknown":          {now + "-2c099d96-7fa6429e", 76001},
		"of a login":       {ridOf(t, logIn(t, s, "unknown")), 76001},
		"more than 7 days": {weekAgo + "-2c099d96-7fa6429e", 76004},
	} {
		assert.Equal(t, tc.errcode, explain(t, s, tc.rid).ErrCode, name)
	}
}

func TestRIDIsExplainedToItsOwnAccount(t *testing.T) {
	t.Parallel()
	s := wxphonetest.NewServer(t)
	component := fetchComponent(t, s)
	a := platformCall(t, s, "POST", authorizerToken, url.Values{"component_access_token": {component}},
		authorizerBody(s, otherApp, s.AuthorizeApp(otherApp)))
	other := values("access_token", a.AuthorizerToken)
	rid := ridOf(t, post(t, s, phoneNumber, other, map[string]string{"code": "unknown"}))
	assert.Equal(t, 76003, explain(t, s, rid).ErrCode)
	assert.Zero(t, post(t, s, getRID, other, map[string]string{"rid": rid}).ErrCode)

	// A dead token tells whose the call was.
	s.RevokeToken()
	rid = ridOf(t, post(t, s, phoneNumber, other, map[string]string{"code": "unknown"}))
	assert.Equal(t, 76003, explain(t, s, rid).ErrCode)

	// A fault comes before anybody knows.
	s.FailNext(phoneNumber, 48001, "", 1)
	assert.Zero(t, explain(t, s, ridOf(t, redeem(t, s, "1"))).ErrCode)
}
