package wxphonetest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	// journalLength is how many exchanges a Server keeps.
	journalLength = 1000
	// maxRecorded is how many bytes of a query, a body or an answer it keeps.
	maxRecorded = 8 << 10
)

// An Exchange is a request to a [Server] and its result.
//
// Query, Body and Answer contain secrets, codes and phone numbers, which are
// those of the fake server. Only the first 8 KiB of each are kept.
type Exchange struct {
	// Endpoint is the path of the API, such as
	// "/wxa/business/getuserphonenumber". For a push, which
	// goes the other way, it is "push authorized" or the like.
	Endpoint string
	Method   string
	// Status is the HTTP status, or 0 if the caller got no answer.
	Status int
	// Code is the errcode of the answer. It is 0 on success.
	Code int
	// Reason describes why the server rejected the request, such as "this code
	// was redeemed 12 s ago". For the fault of [Server.FailNext] or a similar
	// method, it starts with "a fault was set". It is empty on success. The
	// text is not stable.
	Reason string
	// Time is when the server finished the request.
	Time time.Time
	// Query is the query of the URL.
	Query string
	// Body is the body of the request. Under [WithAPISecurity] it is decrypted
	// if the decryption succeeded. For a push it is the message.
	Body string
	// Answer is the body of the answer before encryption. After
	// [Server.LoseNext] it is the answer that was lost.
	Answer string
}

// Exchanges returns the last 1,000 finished requests, the oldest first. A
// request is included before its answer is sent.
func (s *Server) Exchanges() []Exchange {
	s.mu.Lock()
	defer s.mu.Unlock()
	exchanges := make([]Exchange, 0, len(s.journal.entries))
	for _, e := range s.journal.inOrder() {
		exchanges = append(exchanges, e.Exchange)
	}
	return exchanges
}

// entry is an exchange with additional values for rid/get.
type entry struct {
	Exchange
	rid, appID string
	arrived    time.Time
	clientIP   string
}

// journal holds the last entries. Once full, it is a ring buffer, and next is
// the index of the oldest.
type journal struct {
	entries []entry
	next    int
}

func (j *journal) add(e entry) {
	if len(j.entries) < journalLength {
		j.entries = append(j.entries, e)
		return
	}
	j.entries[j.next] = e
	j.next = (j.next + 1) % journalLength
}

func (j *journal) inOrder() []entry { return slices.Concat(j.entries[j.next:], j.entries[:j.next]) }

// record adds an exchange to the journal and calls the observer. status is 0 if
// the caller gets no answer.
func (s *Server) record(c *call, status int, answer []byte, reason string) {
	errcode, rid := statusOf(answer)
	e := entry{
		Exchange: Exchange{
			Endpoint: c.endpoint,
			Method:   c.method,
			Status:   status,
			Code:     errcode,
			Reason:   reason,
			Query:    recorded(c.rawQuery),
			Body:     recorded(string(c.body)),
			Answer:   recorded(string(answer)),
		},
		rid:      rid,
		appID:    c.appID,
		arrived:  c.arrived,
		clientIP: c.clientIP,
	}
	s.mu.Lock()
	e.Time = time.Now()
	s.journal.add(e)
	s.mu.Unlock()
	if s.observe != nil {
		s.observe(e.Exchange)
	}
}

// recorded returns text, truncated if it is long.
func recorded(text string) string {
	if len(text) <= maxRecorded {
		return text
	}
	return strings.ToValidUTF8(text[:maxRecorded], "") + "…"
}

// statusOf returns the errcode of an answer, which some APIs write as a string,
// and the rid in its errmsg.
func statusOf(answer []byte) (errcode int, rid string) {
	var status struct {
		ErrCode json.RawMessage `json:"errcode"`
		ErrMsg  string          `json:"errmsg"`
	}
	if json.Unmarshal(answer, &status) != nil {
		return 0, ""
	}
	errcode, err := strconv.Atoi(string(bytes.Trim(status.ErrCode, `"`)))
	if err != nil {
		return 0, ""
	}
	if found := ridLabel.FindStringSubmatch(status.ErrMsg); found != nil {
		rid = found[1]
	}
	return errcode, rid
}

// ago returns the time since then in words, such as "12 s ago".
func ago(now, then time.Time) string { return span(now.Sub(then)) + " ago" }

// span returns d in words, with a suitable precision.
func span(d time.Duration) string {
	seconds := int(d / time.Second)
	switch {
	case seconds < 1:
		return "less than a second"
	case seconds < 60:
		return fmt.Sprintf("%d s", seconds)
	case seconds < 60*60:
		return fmt.Sprintf("%d min %d s", seconds/60, seconds%60)
	default:
		return fmt.Sprintf("%d h %d min", seconds/(60*60), seconds/60%60)
	}
}
