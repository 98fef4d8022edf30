package doctor

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/wxphone/wxphone"
)

// doctor runs the checks and counts the problems.
type doctor struct {
	cfg      config
	client   *wxphone.Client
	wire     *wire
	stdout   io.Writer
	problems int
}

func (d *doctor) ok(check, format string, args ...any) {
	d.printf("ok       %s: %s\n", check, fmt.Sprintf(format, args...))
}

// problem prints what was found and, if advice is not empty, what to do.
func (d *doctor) problem(check string, found any, advice string) {
	d.problems++
	d.printf("PROBLEM  %s: %v\n", check, found)
	if advice != "" {
		d.printf("         -> %s\n", advice)
	}
}

// unknown is for a check that could not be made and says nothing about phone
// numbers.
func (d *doctor) unknown(check string, why any) {
	d.printf("unknown  %s: %v\n", check, why)
}

// token checks credentials, IP whitelist and network by fetching a token. It
// reports whether there is one for the other checks.
func (d *doctor) token(ctx context.Context) bool {
	token, err := d.client.AccessToken(ctx)
	if err != nil {
		d.problem("access_token", err, tokenAdvice(err))
		return false
	}
	d.ok("access_token", "appid and AppSecret are right and this address may ask; the token is good for %s",
		time.Until(token.ExpiresAt).Round(time.Minute))
	return true
}

// tokenAdvice says what the text of the error does not.
func tokenAdvice(err error) string {
	var refusal *wxphone.APIError
	switch {
	case errors.Is(err, wxphone.ErrIPNotAllowed):
		const where = "in the console under 开发管理, 开发设置, IP 白名单"
		if errors.As(err, &refusal) {
			// WeChat names the address that it sees, which behind a NAT or a proxy
			// is none of this machine's.
			if ip := address.FindString(refusal.Message); ip != "" {
				return "add " + ip + " " + where
			}
		}
		return "add the address of this machine, as the internet sees it, " + where
	case errors.Is(err, wxphone.ErrSecretInvalid):
		return "is WXPHONE_SECRET the AppSecret of this appid? Whoever resets it in the console ends the old one at once"
	case errors.Is(err, wxphone.ErrAppIDMismatch):
		return "is it the appid of the mini-program, not of an official account or an app?"
	case errors.As(err, &refusal):
		return ""
	case errors.Is(err, context.DeadlineExceeded):
		return "does a firewall drop connections to the host?"
	}
	var strange *wxphone.ResponseError
	if errors.As(err, &strange) {
		return "something other than WeChat answers here: a proxy, or a wrong WXPHONE_BASE_URL"
	}
	return "can this machine reach the host? Check DNS, proxy and certificates, say with curl -v " +
		"from inside the same container"
}

var address = regexp.MustCompile(`\b\d{1,3}(\.\d{1,3}){3}\b`)

// tokenKind checks that another process would get the same token.
func (d *doctor) tokenKind(ctx context.Context) {
	const check = "kind of token"
	if d.cfg.classic {
		d.ok(check, "classic. This fetch retired the token before it, so every program of this appid "+
			"must take its token from one shared store (WithTokenStore)")
		return
	}
	other, err := d.newClient()
	if err != nil {
		d.unknown(check, err)
		return
	}
	first, err := d.client.AccessToken(ctx)
	if err != nil {
		d.unknown(check, err)
		return
	}
	second, err := other.AccessToken(ctx)
	switch {
	case err != nil:
		d.unknown(check, err)
	case first.AccessToken == second.AccessToken:
		d.ok(check, "stable. A second client got the same token, so processes need no shared store")
	default:
		d.problem(check, "a second fetch gave another token",
			"run this again in 5 minutes; if it stays so, a program with force_refresh is at work, or WXPHONE_BASE_URL is not WeChat")
	}
}

// permission sends a code that cannot exist. The right answer is that it is
// invalid: then the account may call the API, and WeChat takes our token.
func (d *doctor) permission(ctx context.Context) {
	const check = "permission"
	_, err := d.client.GetPhoneNumber(ctx, strings.Repeat("0", 64))
	switch {
	case errors.Is(err, wxphone.ErrCodeInvalid):
		d.ok(check, "the account may call getuserphonenumber; it refused a made-up code, as it should")
	case errors.Is(err, wxphone.ErrUnauthorized):
		d.problem(check, err, "only verified mini-programs that are not a person's may ask for phone numbers")
	case errors.Is(err, wxphone.ErrAccessToken):
		d.problem(check, err, "does another program fetch classic tokens for this appid, or force refreshes?")
	case errors.Is(err, wxphone.ErrAPISecurity):
		d.problem(check, err, "API security is switched on for this account: your program needs WithAPISecurity")
	case err == nil:
		d.problem(check, "a made-up code was taken", "is WXPHONE_BASE_URL a mock?")
	default:
		d.problem(check, err, "")
	}
}

const (
	quotaEndpoint = "/cgi-bin/openapi/quota/get"
	ridEndpoint   = "/cgi-bin/openapi/rid/get"
	phoneEndpoint = "/wxa/business/getuserphonenumber"
)

// quota asks how many calls of getuserphonenumber are left today. That is not
// the number of phone numbers which the account has paid for: when those are
// used up, the mini-program gets errno 1400001 and no code.
func (d *doctor) quota(ctx context.Context) {
	const check = "quota of the API"
	var answer struct {
		Quota struct {
			DailyLimit int64 `json:"daily_limit"`
			Used       int64 `json:"used"`
			Remain     int64 `json:"remain"`
		} `json:"quota"`
		RateLimit struct {
			CallCount     int64 `json:"call_count"`
			RefreshSecond int64 `json:"refresh_second"`
		} `json:"rate_limit"`
	}
	err := d.call(ctx, quotaEndpoint, map[string]string{"cgi_path": phoneEndpoint}, &answer)
	quota, rate := answer.Quota, answer.RateLimit
	switch {
	case errcode(err) == 76021:
		d.unknown(check, "WeChat does not know the API by this path")
	case errcode(err) == 76022:
		d.problem(check, err, "the appid is of a kind of account that has no phone numbers; take the mini-program's")
	case err != nil:
		d.unknown(check, err)
	case quota.DailyLimit > 0 && quota.Remain <= 0:
		d.problem(check, fmt.Sprintf("all %s calls of today are used up", count(quota.DailyLimit)),
			"wait for midnight in Beijing, or reset it with clear_quota, which works 10 times a month")
	default:
		d.ok(check, "%s of %s calls left today", count(quota.Remain), count(quota.DailyLimit))
		if rate.CallCount > 0 {
			d.printf("         at most %s calls in %s s\n", count(rate.CallCount), count(rate.RefreshSecond))
		}
	}
}

// explain asks WeChat what became of the call with the rid of -rid.
func (d *doctor) explain(ctx context.Context) {
	if d.cfg.rid == "" {
		return
	}
	rid := d.own(d.cfg.rid)
	check := "rid " + rid
	var answer struct {
		Request struct {
			CostInMS     int64  `json:"cost_in_ms"`
			RequestURL   string `json:"request_url"`
			RequestBody  string `json:"request_body"`
			ResponseBody string `json:"response_body"`
			ClientIP     string `json:"client_ip"`
		} `json:"request"`
	}
	err := d.call(ctx, ridEndpoint, map[string]string{"rid": d.cfg.rid}, &answer)
	switch errcode(err) {
	case 0:
	case 76001:
		d.unknown(check, "WeChat does not know it; logins (/sns/...) cannot be looked up")
	case 76002:
		d.unknown(check, "that is no rid; it is in the text of the error, as in 6b0476f6-2c099d96-7fa6429e")
	case 76003:
		d.unknown(check, "it belongs to another account; run this with the appid that made the call")
	case 76004:
		d.unknown(check, "it is older than 7 days")
	case 76022:
		d.unknown(check, "it is of a login (/sns/...), which WeChat does not explain")
	default:
		d.unknown(check, err)
	}
	request := answer.Request
	if err == nil {
		d.ok(check, "WeChat took %s ms; it came from %s", count(request.CostInMS), addressOr(request.ClientIP, "an unknown address"))
	}
	// The first group of a rid is its time.
	if at, ok := ridTime(d.cfg.rid); ok {
		d.printf("         it is of %s\n", at.UTC().Format(time.RFC3339))
	}
	if err != nil {
		return
	}
	// The URL holds the access_token, the body a code, and the answer perhaps a
	// phone number: names may be shown, values not.
	d.printf("         sent: query %s, body %s\n", queryNames(request.RequestURL), bodyNames(request.RequestBody))
	var response struct {
		Errcode int32  `json:"errcode"`
		Errmsg  string `json:"errmsg"`
	}
	switch err := json.Unmarshal([]byte(request.ResponseBody), &response); {
	case err != nil:
		d.printf("         answer: not readable\n")
	case response.Errcode == 0:
		d.printf("         answer: success\n")
	default:
		// APIError knows what to do about an errcode, whoever received it.
		refusal := &wxphone.APIError{Endpoint: "answer", Code: int(response.Errcode), Message: d.clean(response.Errmsg)}
		d.printf("         %s\n", strings.TrimPrefix(refusal.Error(), "wxphone: "))
	}
}

// ridTime returns the time in a rid, whose first group is Unix seconds in hex.
func ridTime(rid string) (time.Time, bool) {
	group, _, _ := strings.Cut(rid, "-")
	b, err := hex.DecodeString(group)
	if err != nil || len(b) != 4 {
		return time.Time{}, false
	}
	seconds := int64(b[0])<<24 | int64(b[1])<<16 | int64(b[2])<<8 | int64(b[3])
	return time.Unix(seconds, 0), true
}

// queryNames returns the names in a query, or in a whole URL.
func queryNames(query string) string {
	if _, after, ok := strings.Cut(query, "?"); ok {
		query = after
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		return "not readable"
	}
	return names(values)
}

func bodyNames(body string) string {
	var values map[string]json.RawMessage
	if err := json.Unmarshal([]byte(body), &values); err != nil {
		return "not JSON"
	}
	return names(values)
}

// tolerance is far above the time that an answer takes, and below what is
// dangerous: an age limit bears 5 minutes, API security 10.
const tolerance = time.Minute

// clock compares this machine's clock with WeChat's, which is in the head of
// every answer. Phone numbers by code do not need it, but WithWatermarkMaxAge
// and API security do.
func (d *doctor) clock() {
	const check = "clock"
	ahead, known := d.wire.clockAhead()
	switch {
	case !known:
		d.unknown(check, "no answer told the time")
	case ahead > tolerance:
		d.problem(check, fmt.Sprintf("%s ahead of WeChat's", ahead.Round(time.Second)), "synchronise it, say with chrony")
	case ahead < -tolerance:
		d.problem(check, fmt.Sprintf("%s behind WeChat's", -ahead.Round(time.Second)), "synchronise it, say with chrony")
	default:
		d.ok(check, "agrees with WeChat's")
	}
}
