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
	// journalLength is how many exchanges a Server remembers.
	journalLength = 1000
	// maxRecorded is how much of a query, a body or an answer it remembers.
	maxRecorded = 8 << 10
)

// Exchange is one request to a [Server] and what became of it.
//
// Query, Body and Answer hold secrets, codes and phone numbers in the clear.
// They are the fake's own, and a developer who looks for a mistake wants to see
// them. Of each only the first 8 KiB are kept.
type Exchange struct {
	// Endpoint is the path of the API: "/wxa/business/getuserphonenumber".
	Endpoint string
	Method   string
	// Status is the HTTP status, or 0 if the caller got no answer.
	Status int
	// Code is the errcode of the answer, 0 for a success.
	Code int
	// Reason says in words why the server refused the request: "this code was
	// redeemed 12 s ago". After [Server.FailNext] and its like it starts with
	// "a fault was set". It is empty for a success. Its text is for people and
	// may change.
	Reason string
	// Time is when the server was done with the request.
	Time time.Time
	// Query is the query of the URL.
	Query string
	// Body is the body of the request. Under [WithAPISecurity] it is the
	// decrypted one, where decryption got that far.
	Body string
	// Answer is the body of the answer, before it was encrypted. After
	// [Server.LoseNext] it is the answer that got lost.
	Answer string
}

// Exchanges returns the last 1,000 requests that the server is done with, the
// oldest first. A request is among them before its answer is sent.
func (s *Server) Exchanges() []Exchange {
	s.mu.Lock()
	defer s.mu.Unlock()
	exchanges := make([]Exchange, 0, len(s.journal.entries))
	for _, e := range s.journal.inOrder() {
		exchanges = append(exchanges, e.Exchange)
	}
	return exchanges
}

// entry is an exchange with what rid/get tells of it besides.
type entry struct {
	Exchange
	rid, appID string
	arrived    time.Time
	clientIP   string
}

// journal is the last entries. When it is full it is a ring, and next is the
// oldest.
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

// record takes an exchange down and tells the observers. status is 0 where the
// caller gets no answer.
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

// recorded returns text, or its beginning if it is long.
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

// ago says how long before now something happened: "12 s ago".
func ago(now, then time.Time) string { return span(now.Sub(then)) + " ago" }

// span returns d in words, as exactly as a reader needs it.
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
