package desk

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/wxphone/wxphone/wxphonetest"
)

// journalLength is how many requests are remembered.
const journalLength = 1000

// request is one request to WeChat's paths and what became of it. It is told in
// the clear, since its secrets are fakes.
type request struct {
	Time     time.Time `json:"time"`
	Endpoint string    `json:"endpoint"`
	Method   string    `json:"method"`
	Query    string    `json:"query"`
	Body     string    `json:"body"`
	Status   int       `json:"status"` // 0 if the connection was cut
	ErrCode  int       `json:"errcode"`
	Answer   string    `json:"answer"`
	Reason   string    `json:"reason"`
}

// journal numbers the requests, so that who watches them misses none and gets
// none twice.
type journal struct {
	mu sync.Mutex
	// era changes at a start and at a reset, when numbers begin anew.
	era     string
	last    int       // the number of the newest entry
	entries []request // the newest last
	changed chan struct{}
}

func newJournal() *journal { return &journal{era: newEra(), changed: make(chan struct{})} }

func newEra() string { return strconv.FormatInt(time.Now().UnixNano(), 36) }

func (j *journal) add(e wxphonetest.Exchange) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.entries) == journalLength {
		j.entries = append(j.entries[:0], j.entries[1:]...)
	}
	j.entries = append(j.entries, request{
		Time:     e.Time,
		Endpoint: e.Endpoint,
		Method:   e.Method,
		Query:    e.Query,
		Body:     e.Body,
		Status:   e.Status,
		ErrCode:  e.Code,
		Answer:   e.Answer,
		Reason:   e.Reason,
	})
	j.last++
	j.wake()
}

func (j *journal) reset() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.era, j.last, j.entries = newEra(), 0, nil
	j.wake()
}

// wake tells everybody who watches. It is called with mu held.
func (j *journal) wake() {
	close(j.changed)
	j.changed = make(chan struct{})
}

func (j *journal) all() []request {
	j.mu.Lock()
	defer j.mu.Unlock()
	return append([]request{}, j.entries...)
}

// news is what came after a place in the journal.
type news struct {
	era      string
	first    int // the number of requests[0]
	requests []request
	changed  <-chan struct{} // closed when there is more
}

// after returns what came after the request with this number. What it was in
// another era does not count.
func (j *journal) after(era string, number int) news {
	j.mu.Lock()
	defer j.mu.Unlock()
	if era != j.era || number > j.last {
		number = 0
	}
	known := min(j.last-number, len(j.entries))
	return news{
		era:      j.era,
		first:    j.last - known + 1,
		requests: append([]request{}, j.entries[len(j.entries)-known:]...),
		changed:  j.changed,
	}
}

type requestsAnswer struct {
	Requests []request `json:"requests"`
}

func (d *Desk) requests() requestsAnswer { return requestsAnswer{d.journal.all()} }

// stillThere is how often a line is sent on a stream without news, so that
// nothing on the way takes it for dead.
const stillThere = 15 * time.Second

// serveEvents sends the journal so far and then every request as it comes, as
// server-sent events. An event "reset" says that what came before is forgotten.
// Who comes back with Last-Event-ID gets what came since.
func (d *Desk) serveEvents(w http.ResponseWriter, r *http.Request) {
	stream := http.NewResponseController(w)
	w.Header().Set("Content-Type", "text/event-stream")
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodHead {
		return
	}
	era, number := parseEventID(r.Header.Get("Last-Event-ID"))
	pulse := time.NewTicker(stillThere)
	defer pulse.Stop()
	for {
		n := d.journal.after(era, number)
		if era != "" && n.era != era {
			fmt.Fprint(w, "event: reset\ndata: {}\n\n")
		}
		era, number = n.era, n.first+len(n.requests)-1
		for i, q := range n.requests {
			text, err := json.Marshal(q)
			if err != nil {
				panic("desk: a request has no JSON form: " + err.Error())
			}
			fmt.Fprintf(w, "id: %s-%d\ndata: %s\n\n", era, n.first+i, text)
		}
		if stream.Flush() != nil {
			return
		}
		select {
		case <-n.changed:
		case <-pulse.C:
			fmt.Fprint(w, ": still there\n\n")
		case <-r.Context().Done():
			return
		}
	}
}

// parseEventID reads what serveEvents wrote as an id.
func parseEventID(id string) (era string, number int) {
	era, digits, _ := strings.Cut(id, "-")
	number, err := strconv.Atoi(digits)
	if err != nil || number < 0 {
		return era, 0
	}
	return era, number
}
