package wxphonetest

import (
	"regexp"
	"strconv"
	"time"
)

const pathGetRID = "/cgi-bin/openapi/rid/get"

// ridLifetime is how long WeChat can look up a rid.
const ridLifetime = 7 * 24 * time.Hour

const ridPattern = `([0-9a-f]{8})-[0-9a-f]{8}-[0-9a-f]{8}`

var (
	ridForm  = regexp.MustCompile(`^` + ridPattern + `$`)
	ridLabel = regexp.MustCompile(`rid: (` + ridPattern + `)`)
)

// ridTime returns the time in a rid, whose first group is Unix seconds in hex.
func ridTime(rid string) (made time.Time, ok bool) {
	groups := ridForm.FindStringSubmatch(rid)
	if groups == nil {
		return time.Time{}, false
	}
	seconds, err := strconv.ParseInt(groups[1], 16, 64)
	return time.Unix(seconds, 0), err == nil
}

func (s *Server) serveGetRID(c *call) any {
	var body struct {
		RID string `json:"rid"`
	}
	if refusal := c.decode(&body); refusal != nil {
		return refusal
	}
	made, ok := ridTime(body.RID)
	if !ok {
		return c.fail(76002, "%q is not a rid; a rid has three groups of eight hex digits", body.RID)
	}
	if c.now.Sub(made) > ridLifetime {
		return c.fail(76004, "this rid was made %s; WeChat explains one for 7 days", ago(c.now, made))
	}
	e, ok := s.journal.byRID(body.RID)
	switch {
	case !ok:
		return c.fail(76001, "this rid is not in the last %d exchanges of the server", journalLength)
	case isLogin(e.Endpoint):
		return c.fail(76001, "this rid is of %s; WeChat explains none of a login", e.Endpoint)
	case e.appID != "" && e.appID != c.appID:
		return c.fail(76003, "this rid is of the account %s; the access_token is for %s", e.appID, c.appID)
	}
	type request struct {
		InvokeTime   int64  `json:"invoke_time"`
		CostInMS     int64  `json:"cost_in_ms"`
		RequestURL   string `json:"request_url"`
		RequestBody  string `json:"request_body"`
		ResponseBody string `json:"response_body"`
		ClientIP     string `json:"client_ip"`
	}
	return struct {
		outcome
		Request request `json:"request"`
	}{success, request{
		e.arrived.Unix(), e.Time.Sub(e.arrived).Milliseconds(), e.Query, e.Body, e.Answer, e.clientIP,
	}}
}

// byRID returns the exchange whose answer has the rid.
func (j *journal) byRID(rid string) (entry, bool) {
	for _, e := range j.entries {
		if e.rid == rid {
			return e, true
		}
	}
	return entry{}, false
}
