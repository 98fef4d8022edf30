package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptrace"
	"strings"
	"testing"
	"time"

	"github.com/wxphone/wxphone/internal/wire"
)

// phoneAnswer is the answer that the requests of these tests wait for.
type phoneAnswer struct {
	wire.Status
	Number wire.Text `json:"number"`
}

func (a *phoneAnswer) Complete() bool { return a.Number != "" }

const goodAnswer = `{"errcode":0,"number":"13800000000"}`

// refused is an errcode, notAnswer an answer that is not WeChat's.
type (
	refused   struct{ Refusal }
	notAnswer struct {
		status  int
		snippet string
	}
)

func (e *refused) Error() string   { return fmt.Sprintf("errcode %d", e.Code) }
func (e *notAnswer) Error() string { return fmt.Sprintf("HTTP %d", e.status) }

const busyCode = -1

var testErrors = Errors{
	Refused: func(r Refusal) (Remedy, error) {
		if r.Code == busyCode {
			return Time, &refused{r}
		}
		return None, &refused{r}
	},
	NotAnswer: func(_ string, status int, snippet string) error { return &notAnswer{status, snippet} },
}

var (
	errMaybeUsed = errors.New("maybe used")
	errCut       = errors.New("connection cut")
)

// newRequest is of a call that redeems a code.
func newRequest() *Request {
	return &Request{
		Method: http.MethodPost, Path: "/redeem", Body: []byte(`{"code":"code-1"}`), OneTime: "code-1",
		Effect: &Effect{Done: "taken the code", Maybe: errMaybeUsed}, NewAnswer: func() wire.Answer { return new(phoneAnswer) },
	}
}

// newSender sends through rt to two hosts, a.test and b.test.
func newSender(rt http.RoundTripper) *Sender {
	return &Sender{
		HTTP:   NewClient(&http.Client{Transport: rt}),
		Hosts:  NewHosts(NewHost("http", "a.test"), NewHost("http", "b.test")),
		Log:    slog.New(slog.NewTextHandler(io.Discard, nil)),
		Errors: testErrors,
	}
}

// sendOver is a function as a transport.
type sendOver func(*http.Request, *httptrace.ClientTrace) (*http.Response, error)

func (f sendOver) RoundTrip(req *http.Request) (*http.Response, error) {
	return f(req, httptrace.ContextClientTrace(req.Context()))
}

// answerWith is an answer as a transport returns it.
func answerWith(req *http.Request, status int, body string) *http.Response {
	return &http.Response{
		StatusCode: status, Header: http.Header{}, ContentLength: int64(len(body)),
		Body: io.NopCloser(strings.NewReader(body)), Request: req,
	}
}

// sent is what the hooks see of a request that is written to a connection.
func sent(hooks *httptrace.ClientTrace, info httptrace.GotConnInfo) {
	hooks.GetConn("a.test:80")
	hooks.GotConn(info)
	hooks.WroteRequest(httptrace.WroteRequestInfo{})
}

// waitingExchange is an exchange that may wait so long for a connection to the
// host of w. The context is done when it is moved on.
func waitingExchange(t *testing.T, w *waiters, allowed time.Duration, queues bool) (*exchange, context.Context) {
	t.Helper()
	ctx, cancel := context.WithCancelCause(context.Background())
	t.Cleanup(func() { cancel(nil) })
	host := NewHost("https", "a.test")
	x := &exchange{sender: &Sender{HTTP: &Client{queues: queues}}, req: newRequest(), host: &host, waiters: w}
	x.wait.allowed, x.wait.cancel = allowed, cancel
	return x, ctx
}
