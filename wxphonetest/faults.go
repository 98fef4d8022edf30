package wxphonetest

import (
	"bytes"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

// FaultKind is the effect of a [Fault] on a request.
type FaultKind string

// The kinds, and the methods that set them.
const (
	FaultErrcode FaultKind = "errcode" // FailNext
	FaultStatus  FaultKind = "status"  // RespondNext
	FaultDrop    FaultKind = "drop"    // DropNext
	FaultLose    FaultKind = "lose"    // LoseNext
)

// Fault describes a failure that was set for the next requests to an endpoint.
// [Server.Faults] returns them.
type Fault struct {
	Endpoint string
	Kind     FaultKind
	// Code and Message are the errcode and the errmsg of a FaultErrcode. An
	// empty Message stands for a text such as WeChat's.
	Code    int
	Message string
	// Status and Body are those of a FaultStatus.
	Status int
	Body   string
	// Left is how many requests it is for. Below zero it stays until the next
	// fault of this endpoint.
	Left int
}

// fault is a Fault with what it needs to happen.
type fault struct {
	Fault
	// processes reports whether the request takes effect.
	processes bool
	// sealed reports whether API security applies to the answer.
	sealed bool
	// what describes the fault in words.
	what string
	// answer is nil if the connection is cut.
	answer func(endpoint string) reply
}

// reason returns the reason for c in the journal.
func (f *fault) reason(c *call) string {
	text := "a fault was set: " + f.what
	if c.reason != "" {
		text += "; the request was refused: " + c.reason
	}
	return text
}

// FailNext makes the next times requests to endpoint fail with errcode. The
// requests take no effect: a code remains unused.
//
// If errmsg is empty, the answer has a text like WeChat's. A rid is added to an
// errmsg that has none.
//
// Under [WithAPISecurity], the answer to a signed call is encrypted and signed,
// unless errcode is one of 40230 to 40240.
//
// endpoint is the path of the API with a leading slash, such as
// "/wxa/business/getuserphonenumber". Faults of an endpoint apply in the order
// in which they were added. A negative times means all requests until the next
// call of FailNext, RespondNext, DropNext or LoseNext for this endpoint. A
// times of zero adds no fault, but ends such a fault. The same applies to those
// methods.
func (s *Server) FailNext(endpoint string, errcode int, errmsg string, times int) {
	answer := func(endpoint string) reply {
		body := encodeAnswer(endpoint, failure(endpoint, errcode, errmsg, time.Now()))
		return reply{status: http.StatusOK, contentType: contentTypeOf(endpoint, body), body: body}
	}
	s.addFault(&fault{
		Fault:  Fault{Endpoint: endpoint, Kind: FaultErrcode, Code: errcode, Message: errmsg, Left: times},
		sealed: !comesInTheClear(errcode),
		what:   fmt.Sprintf("errcode %d", errcode),
		answer: answer,
	})
}

// RespondNext answers the next times requests to endpoint with the given HTTP
// status and body, never encrypted or signed. The requests take no effect. It
// panics if status is not from 200 to 599.
func (s *Server) RespondNext(endpoint string, status int, body string, times int) {
	if status < 200 || status > 599 {
		panic(fmt.Sprintf("wxphonetest: RespondNext: %d is not the HTTP status of an answer", status))
	}
	answer := func(endpoint string) reply {
		return reply{status: status, contentType: contentTypeOf(endpoint, []byte(body)), body: []byte(body)}
	}
	s.addFault(&fault{
		Fault:  Fault{Endpoint: endpoint, Kind: FaultStatus, Status: status, Body: body, Left: times},
		what:   fmt.Sprintf("HTTP %d", status),
		answer: answer,
	})
}

// DropNext cuts the connection of the next times requests to endpoint after
// they were read, but before they take effect: a code remains unused.
//
// On a real connection that was used before, net/http repeats a GET itself and
// may hide one such cut.
func (s *Server) DropNext(endpoint string, times int) {
	s.addFault(&fault{
		Fault: Fault{Endpoint: endpoint, Kind: FaultDrop, Left: times},
		what:  "the connection was cut before the request took effect",
	})
}

// LoseNext lets the next times requests to endpoint take effect, but cuts the
// connection before the answer: a code is used up, and the caller does not
// learn of it. Under [Server.SetLatency] the requests take effect at once and
// the connection is cut after the delay.
func (s *Server) LoseNext(endpoint string, times int) {
	s.addFault(&fault{
		Fault:     Fault{Endpoint: endpoint, Kind: FaultLose, Left: times},
		processes: true,
		what:      "the connection was cut after the request was served",
	})
}

// Faults returns the faults that requests have yet to meet, by endpoint and in
// the order in which they will come.
func (s *Server) Faults() []Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	var faults []Fault
	for _, endpoint := range slices.Sorted(maps.Keys(s.faults)) {
		for _, f := range s.faults[endpoint] {
			faults = append(faults, f.Fault)
		}
	}
	return faults
}

// ClearFaults takes back the faults of endpoint that no request has met yet.
// Its latency stays.
func (s *Server) ClearFaults(endpoint string) {
	mustBePath(endpoint)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.faults, endpoint)
}

// SetLatency delays every request to endpoint by d. Zero removes the delay. A
// request whose caller gives up during the delay takes no effect.
func (s *Server) SetLatency(endpoint string, d time.Duration) {
	mustBePath(endpoint)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.latency[endpoint] = d
	s.requests[endpoint] += 0
}

// Latencies returns the latency of each endpoint that has one.
func (s *Server) Latencies() map[string]time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	latencies := make(map[string]time.Duration)
	for endpoint, d := range s.latency {
		if d > 0 {
			latencies[endpoint] = d
		}
	}
	return latencies
}

// Endpoints returns the paths of the APIs that the server has, sorted.
func (s *Server) Endpoints() []string { return slices.Sorted(maps.Keys(routes)) }

// Requests returns the number of requests to endpoint, including failed and
// dropped ones.
func (s *Server) Requests(endpoint string) int {
	mustBePath(endpoint)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests[endpoint]
}

// TokenFetches returns the number of requests to stable_token and to the
// classic token API together.
func (s *Server) TokenFetches() int {
	return s.Requests(pathStableToken) + s.Requests(pathClassicToken)
}

func (s *Server) addFault(f *fault) {
	endpoint := f.Endpoint
	mustBePath(endpoint)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests[endpoint] += 0 // reportMisspelt checks the endpoints in this map
	queue := s.faults[endpoint]
	if n := len(queue); n > 0 && queue[n-1].Left < 0 {
		queue = queue[:n-1]
	}
	if f.Left != 0 {
		queue = append(queue, f)
	}
	s.faults[endpoint] = queue
}

// arrive counts a request and returns its fault, if any, and its delay.
func (s *Server) arrive(endpoint string) (*fault, time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests[endpoint]++

	queue := s.faults[endpoint]
	if len(queue) == 0 {
		return nil, s.latency[endpoint]
	}
	f := queue[0]
	if f.Left > 0 {
		f.Left--
	}
	if f.Left == 0 {
		s.faults[endpoint] = queue[1:]
	}
	return f, s.latency[endpoint]
}

// reportMisspelt fails a test that set a fault for an endpoint that is not an API
// and got no request, because the fault had no effect.
func (s *Server) reportMisspelt() {
	if s.allowMalformed {
		return
	}
	for _, endpoint := range s.namedInVain() {
		s.reporter.warn("wxphonetest: a fault was set for an endpoint that is not an API of this server and got no request",
			slog.String("endpoint", endpoint))
		s.reporter.errorf("wxphonetest: a fault was set for %q, which is no API of this server and got no request; check its spelling", endpoint)
	}
}

func (s *Server) namedInVain() (endpoints []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for endpoint, requests := range s.requests {
		if _, known := routes[endpoint]; !known && requests == 0 {
			endpoints = append(endpoints, endpoint)
		}
	}
	return endpoints
}

// mustBePath panics if endpoint is not a path, because it would have no effect.
func mustBePath(endpoint string) {
	if !strings.HasPrefix(endpoint, "/") {
		panic(fmt.Sprintf("wxphonetest: endpoint %q is not a path; write it like %q", endpoint, pathPhoneNumber))
	}
}

// contentTypeOf returns the endpoint's Content-Type for JSON, and a detected
// one for any other body.
func contentTypeOf(endpoint string, body []byte) string {
	if len(body) == 0 {
		return ""
	}
	if !bytes.HasPrefix(body, []byte("{")) {
		return http.DetectContentType(body)
	}
	if rt, ok := routes[endpoint]; ok {
		return rt.contentType
	}
	return typeJSON
}
