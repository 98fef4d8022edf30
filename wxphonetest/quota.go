package wxphonetest

import (
	"fmt"
	"maps"
	"strings"
	"time"
)

const (
	pathGetQuota     = "/cgi-bin/openapi/quota/get"
	pathClearOne     = "/cgi-bin/openapi/quota/clear"
	pathClearQuota   = "/cgi-bin/clear_quota"
	pathClearQuotaV2 = "/cgi-bin/clear_quota/v2"
)

const (
	// defaultPerDay is the limit of APIs for which WeChat publishes none.
	defaultPerDay = 10_000_000

	clearsPerMonth    = 10
	clearOnesPerMonth = 50
)

// dailyLimits are the published limits.
var dailyLimits = map[string]int{
	pathClassicToken:   classicPerDay,
	pathStableToken:    stablePerDay,
	pathComponentToken: 10_000,
}

// quota counts calls in a period of time.
type quota struct {
	span int64
	used int
}

// take reports whether a call is left in the period, and counts it.
func (q *quota) take(span int64, limit int) bool {
	if q.usedIn(span) >= limit {
		return false
	}
	q.used++
	return true
}

// usedIn returns the number of calls in the period. It resets the count if the
// period is new.
func (q *quota) usedIn(span int64) int {
	if q.span != span {
		*q = quota{span: span}
	}
	return q.used
}

func minuteOf(now time.Time) int64 { return now.Unix() / 60 }

// chinaAhead is the offset of China's time from UTC. The days and months of
// WeChat's quotas start at midnight in China.
const chinaAhead = 8 * time.Hour

func dayOf(now time.Time) int64 { return now.Add(chinaAhead).Unix() / (24 * 60 * 60) }

func monthOf(now time.Time) int64 {
	year, month, _ := now.UTC().Add(chinaAhead).Date()
	return int64(year)*12 + int64(month)
}

// usage is an account's use of one API.
type usage struct{ appID, endpoint string }

// quotaBook holds the counts of days and months.
type quotaBook struct {
	limits map[string]int // set by SetDailyLimit
	days   map[usage]*quota
	months map[usage]*quota // of the APIs that clear quotas
}

func newQuotaBook() quotaBook {
	return quotaBook{
		limits: make(map[string]int),
		days:   make(map[usage]*quota),
		months: make(map[usage]*quota),
	}
}

func (b *quotaBook) limit(endpoint string) int {
	if limit, ok := b.limits[endpoint]; ok {
		return limit
	}
	if limit, ok := dailyLimits[endpoint]; ok {
		return limit
	}
	return defaultPerDay
}

// countOf returns the count of u, which it creates if needed.
func countOf(counts map[usage]*quota, u usage) *quota {
	if counts[u] == nil {
		counts[u] = new(quota)
	}
	return counts[u]
}

// SetDailyLimit sets the number of calls of endpoint that an account may make
// per day. Further calls are answered with 45009 until midnight in China or
// until the quota is cleared. [Server.Reset] also clears it and removes the
// limit. Calls rejected because of their token, their credentials or a fault do
// not count. SetDailyLimit panics if calls is negative.
//
// By default, the limits are those that WeChat publishes, or 10 million.
func (s *Server) SetDailyLimit(endpoint string, calls int) {
	mustBePath(endpoint)
	if calls < 0 {
		panic(fmt.Sprintf("wxphonetest: SetDailyLimit: %d calls", calls))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.quotas.limits[endpoint] = calls
	s.requests[endpoint] += 0 // reportMisspelt checks the endpoints in this map
}

// takeCall counts a call against the account's daily quota. It returns nil if
// one was left, and otherwise the answer.
func (s *Server) takeCall(c *call) any {
	limit := s.quotas.limit(c.endpoint)
	if countOf(s.quotas.days, usage{c.appID, c.endpoint}).take(dayOf(c.now), limit) {
		return nil
	}
	return c.fail(45009, "the limit of %d a day is used up; the next day begins at midnight in China", limit)
}

// checkQuotaPath returns nil if path is valid as a cgi_path, and otherwise the
// answer.
func (s *Server) checkQuotaPath(c *call, path string) any {
	_, known := routes[path]
	ofPlatform := strings.HasPrefix(path, "/cgi-bin/component/")
	switch {
	case isLogin(path):
		return c.fail(76022, "the APIs under /sns/ have no quota that can be asked for")
	case !known:
		return c.fail(76021, "the cgi_path %q is no API of the server; it is a path with its slash, without host and query", path)
	case ofPlatform && c.appID != componentAppID:
		return c.fail(76022, "%s is the platform's; ask with its component_access_token", path)
	case !ofPlatform && c.appID == componentAppID:
		return c.fail(76022, "%s is a mini-program's; ask with its access_token", path)
	default:
		return nil
	}
}

// pathBody is the body of the APIs for the quota of one API.
type pathBody struct {
	Path string `json:"cgi_path"`
}

func (s *Server) serveGetQuota(c *call) any {
	var body pathBody
	if refusal := c.decode(&body); refusal != nil {
		return refusal
	}
	if refusal := s.checkQuotaPath(c, body.Path); refusal != nil {
		return refusal
	}
	type dailyQuota struct {
		DailyLimit int `json:"daily_limit"`
		Used       int `json:"used"`
		Remain     int `json:"remain"`
	}
	type rateLimit struct {
		CallCount     int `json:"call_count"`
		RefreshSecond int `json:"refresh_second"`
	}
	limit := s.quotas.limit(body.Path)
	used := countOf(s.quotas.days, usage{c.appID, body.Path}).usedIn(dayOf(c.now))
	// A rate that has been reported for WeChat. The server does not enforce it.
	rate := rateLimit{CallCount: 300, RefreshSecond: 1}
	if body.Path == pathStableToken {
		rate = rateLimit{CallCount: stablePerMinute, RefreshSecond: 60}
	}
	return struct {
		outcome
		Quota         dailyQuota `json:"quota"`
		Rate          rateLimit  `json:"rate_limit"`
		ComponentRate rateLimit  `json:"component_rate_limit"`
	}{success, dailyQuota{limit, used, max(limit-used, 0)}, rate, rate}
}

// serveClearOne clears the quota of one API.
func (s *Server) serveClearOne(c *call) any {
	var body pathBody
	if refusal := c.decode(&body); refusal != nil {
		return refusal
	}
	if refusal := s.checkQuotaPath(c, body.Path); refusal != nil {
		return refusal
	}
	if !countOf(s.quotas.months, usage{c.appID, pathClearOne}).take(monthOf(c.now), clearOnesPerMonth) {
		return c.fail(48006, "all %d calls of this month are used up", clearOnesPerMonth)
	}
	delete(s.quotas.days, usage{c.appID, body.Path})
	return success
}

func (s *Server) serveClearQuota(c *call) any {
	var body struct {
		AppID string `json:"appid"`
	}
	if refusal := c.decode(&body); refusal != nil {
		return refusal
	}
	switch body.AppID {
	case "":
		return c.reject(41002, "appid is missing")
	case c.appID:
		return s.clearQuotas(c)
	default:
		return c.fail(40013, "the appid is %q; the access_token is for %s", body.AppID, c.appID)
	}
}

func (s *Server) serveClearQuotaV2(c *call) any {
	var body struct {
		AppID  string `json:"appid"`
		Secret string `json:"appsecret"`
	}
	if refusal := c.decode(&body); refusal != nil {
		return refusal
	}
	if refusal := s.checkAppSecret(c, body.AppID, body.Secret); refusal != nil {
		return refusal
	}
	return s.clearQuotas(c)
}

// clearQuotas clears all daily quotas of the account.
func (s *Server) clearQuotas(c *call) any {
	if !countOf(s.quotas.months, usage{c.appID, pathClearQuota}).take(monthOf(c.now), clearsPerMonth) {
		return c.fail(48006, "all %d calls of this month, of clear_quota and clear_quota/v2 together, are used up", clearsPerMonth)
	}
	maps.DeleteFunc(s.quotas.days, func(u usage, _ *quota) bool { return u.appID == c.appID })
	return success
}
