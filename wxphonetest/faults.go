package wxphonetest

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"
)

// fault is what happens to a request instead of its proper answer.
type fault struct {
	// left is how many requests it is for. Below zero it stays.
	left int
	// processes is whether the request takes effect all the same.
	processes bool
	// sealed is whether API security applies to the answer.
	sealed bool
	// what it does, in words for people.
	what string
	// answer is nil where the connection is cut.
	answer func(endpoint string) reply
}

// reason says for the journal what became of c.
func (f *fault) reason(c *call) string {
	text := "a fault was set: " + f.what
	if c.reason != "" {
		text += "; the request was refused: " + c.reason
	}
	return text
}

// FailNext makes the next times requests to endpoint fail with errcode. The
// requests take no effect: a code stays unused.
//
// An empty errmsg stands for a text such as WeChat's. A rid is added to an
// errmsg that has none.
//
// Under [WithAPISecurity] the answer to a signed call is encrypted and signed,
// unless errcode is one of 40230 to 40240.
//
// endpoint is the path of the API with its slash, as in
// "/wxa/business/getuserphonenumber". Faults of one endpoint come in the order
// in which they were asked for. Below zero, times means until the next call of
// FailNext, RespondNext, DropNext or LoseNext for this endpoint; zero adds no
// fault and so only ends that. The same goes for those methods.
func (s *Server) FailNext(endpoint string, errcode int, errmsg string, times int) {
	answer := func(endpoint string) reply {
		body := encodeAnswer(endpoint, failure(endpoint, errcode, errmsg, time.Now()))
		return reply{status: http.StatusOK, contentType: contentTypeOf(endpoint, body), body: body}
	}
	what := fmt.Sprintf("FailNext answers errcode %d", errcode)
	s.addFault(endpoint, &fault{left: times, sealed: !comesInTheClear(errcode), what: what, answer: answer})
}

// RespondNext answers the next times requests to endpoint with an HTTP status
// and a body just as given, never encrypted or signed. The requests take no
// effect.
func (s *Server) RespondNext(endpoint string, status int, body string, times int) {
	if status < 200 || status > 599 {
		panic(fmt.Sprintf("wxphonetest: RespondNext: %d is not the HTTP status of an answer", status))
	}
	answer := func(endpoint string) reply {
		return reply{status: status, contentType: contentTypeOf(endpoint, []byte(body)), body: []byte(body)}
	}
	s.addFault(endpoint, &fault{left: times, what: fmt.Sprintf("RespondNext answers HTTP %d", status), answer: answer})
}

// DropNext cuts the connection on the next times requests to endpoint, after
// they were read but before they take effect: a code stays unused.
//
// Over a real connection that was used before, net/http repeats a GET by itself
// and so may hide one such cut.
func (s *Server) DropNext(endpoint string, times int) {
	s.addFault(endpoint, &fault{left: times, what: "DropNext cut the connection before the request took effect"})
}

// LoseNext lets the next times requests to endpoint take effect but cuts the
// connection before the answer: a code is used up, and the caller cannot know.
// Under [Server.SetLatency] they take effect at once and the cut comes later.
func (s *Server) LoseNext(endpoint string, times int) {
	s.addFault(endpoint, &fault{left: times, processes: true, what: "LoseNext cut the connection after the request was served"})
}

// SetLatency delays every request to endpoint by d; zero ends that. A request
// whose caller gives up during the delay takes no effect.
func (s *Server) SetLatency(endpoint string, d time.Duration) {
	mustBePath(endpoint)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.latency[endpoint] = d
	s.requests[endpoint] += 0
}

// Requests returns how many requests have come in at endpoint, the failed and
// the dropped ones included.
func (s *Server) Requests(endpoint string) int {
	mustBePath(endpoint)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests[endpoint]
}

// TokenFetches returns how many requests have come in at stable_token and at
// the classic token API together.
func (s *Server) TokenFetches() int {
	return s.Requests(pathStableToken) + s.Requests(pathClassicToken)
}

func (s *Server) addFault(endpoint string, f *fault) {
	mustBePath(endpoint)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests[endpoint] += 0 // reportMisspelt looks at what was named
	queue := s.faults[endpoint]
	if n := len(queue); n > 0 && queue[n-1].left < 0 {
		queue = queue[:n-1]
	}
	if f.left != 0 {
		queue = append(queue, f)
	}
	s.faults[endpoint] = queue
}

// arrive counts a request and says what is to happen to it.
func (s *Server) arrive(endpoint string) (*fault, time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests[endpoint]++

	queue := s.faults[endpoint]
	if len(queue) == 0 {
		return nil, s.latency[endpoint]
	}
	f := queue[0]
	if f.left > 0 {
		f.left--
	}
	if f.left == 0 {
		s.faults[endpoint] = queue[1:]
	}
	return f, s.latency[endpoint]
}

// reportMisspelt fails a test that named an endpoint in vain: its fault was
// never met, so the test has shown nothing.
func (s *Server) reportMisspelt() {
	if s.allowMalformed {
		return
	}
	for _, endpoint := range s.namedInVain() {
		s.reporter.warn("wxphonetest: a fault was set for an endpoint that is no API of this server and got no request",
			slog.String("endpoint", endpoint))
		s.reporter.errorf("wxphonetest: a fault was set for %q, which is no API of this server and got no request; is it misspelt?", endpoint)
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

// mustBePath stops a test that would otherwise wait in vain for an effect.
func mustBePath(endpoint string) {
	if !strings.HasPrefix(endpoint, "/") {
		panic(fmt.Sprintf("wxphonetest: endpoint %q is not a path; write it like %q", endpoint, pathPhoneNumber))
	}
}

// contentTypeOf returns the endpoint's own Content-Type for JSON, and the
// apparent one for a gateway's page.
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
