package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/wxphonetest"
)

const (
	phonePath   = "/wxa/business/getuserphonenumber"
	stablePath  = "/cgi-bin/stable_token"
	classicPath = "/cgi-bin/token"

	// As slow as the real WeChat, so that the processes do meet.
	tokenLatency = 200 * time.Millisecond
	phoneLatency = 20 * time.Millisecond
)

// fleet is a fake WeChat and the processes that call it.
type fleet struct {
	wechat    *wxphonetest.Server
	tokenPath string
	redis     *redisServer // nil if the processes share none
	workers   []*worker
	// fetching gets the number of the process whose token request has come in.
	fetching chan int
}

// worker is one process, as this one sees it. It has an address of the fake
// WeChat to itself, which tells whose request comes in.
type worker struct {
	address *httptest.Server
	process *exec.Cmd
	orders  *json.Encoder
	reports *json.Decoder
	stderr  bytes.Buffer // to be read when the process has ended
}

// startFleet returns when all processes are ready for orders. None has a token
// yet.
func startFleet(ctx context.Context, processes int, classic bool, shared *redisServer) (_ *fleet, err error) {
	// An appid of its own keeps a Redis that is not ours from knowing tokens.
	appID := fmt.Sprintf("wxfleet%d", time.Now().UnixNano())
	wechat, err := wxphonetest.Start(wxphonetest.WithCredentials(appID, "secret-of-the-fleet"))
	if err != nil {
		return nil, err
	}
	f := &fleet{wechat: wechat, tokenPath: stablePath, redis: shared, fetching: make(chan int, 10*processes)}
	defer func() {
		if err != nil {
			f.stop()
		}
	}()
	if classic {
		f.tokenPath = classicPath
	}
	wechat.SetLatency(f.tokenPath, tokenLatency)
	wechat.SetLatency(phonePath, phoneLatency)
	cfg := workerConfig{AppID: wechat.AppID(), Secret: wechat.Secret(), Classic: classic}
	if shared != nil {
		cfg.RedisURL = shared.url
	}
	for i := range processes {
		w := &worker{address: httptest.NewServer(f.listen(i))}
		f.workers = append(f.workers, w)
		cfg.BaseURL = w.address.URL
		if err := w.start(ctx, cfg); err != nil {
			return nil, err
		}
	}
	for _, w := range f.workers {
		if _, err := w.await(); err != nil {
			return nil, err
		}
	}
	return f, nil
}

// listen is the fake WeChat at the address of process i.
func (f *fleet) listen(i int) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == f.tokenPath {
			select {
			case f.fetching <- i:
			default: // nobody asks any more
			}
		}
		f.wechat.ServeHTTP(w, r)
	})
}

func (f *fleet) stop() {
	for _, w := range f.workers {
		w.stop()
	}
	f.wechat.Close()
}

func (w *worker) start(ctx context.Context, cfg workerConfig) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	process := exec.CommandContext(ctx, self) //nolint:gosec // this program
	process.Env = append(os.Environ(), workerEnv+"=1")
	process.Stderr = &w.stderr
	stdin, err := process.StdinPipe()
	if err != nil {
		return err
	}
	stdout, err := process.StdoutPipe()
	if err != nil {
		return err
	}
	if err := process.Start(); err != nil {
		return err
	}
	w.process = process
	w.orders, w.reports = json.NewEncoder(stdin), json.NewDecoder(stdout)
	return w.orders.Encode(cfg) //nolint:gosec // the secret of a fake
}

// await returns the worker's next report.
func (w *worker) await() (report, error) {
	var r report
	if err := w.reports.Decode(&r); err != nil {
		w.kill()
		return r, fmt.Errorf("a process ended unasked (%w): %s", err, strings.TrimSpace(w.stderr.String()))
	}
	return r, nil
}

// kill is SIGKILL: the process cannot say goodbye to anybody.
func (w *worker) kill() {
	if w.process != nil {
		_ = w.process.Process.Kill() // it may have ended already
		_ = w.process.Wait()         // says that it was killed
		w.process = nil
	}
}

func (w *worker) stop() {
	w.kill() // it may be in the middle of an order
	w.address.CloseClientConnections()
	w.address.Close()
}

// tap returns n codes, as from as many users who tapped the button.
func (f *fleet) tap(n int) []string {
	codes := make([]string, n)
	for i := range codes {
		codes[i] = f.wechat.IssueCode(wxphone.PhoneInfo{
			PhoneNumber:     "13800000000",
			PurePhoneNumber: "13800000000",
			CountryCode:     "86",
		})
	}
	return codes
}

// calls are under way in every process.
type calls struct {
	fleet   *fleet
	begin   time.Time
	fetches int // at the beginning
	perEach int
	over    time.Duration
}

// call has every process make n calls, spread over a time. What they came to
// is known from wait.
func (f *fleet) call(n int, over time.Duration) (*calls, error) {
	orders := make([]order, len(f.workers))
	for i := range orders {
		orders[i] = order{Codes: f.tap(n), Over: over}
	}
	c := &calls{fleet: f, begin: time.Now(), fetches: f.wechat.TokenFetches(), perEach: n, over: over}
	for i, w := range f.workers {
		if err := w.orders.Encode(orders[i]); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// wait returns what the calls came to, without those of dead, which is nil or
// a process that was killed.
func (c *calls) wait(title string, maxFetches int, dead *worker) (result, error) {
	r := result{title: title, maxFetches: maxFetches}
	reports := make([]report, len(c.fleet.workers))
	errs := make([]error, len(c.fleet.workers))
	var alive sync.WaitGroup
	for i, w := range c.fleet.workers {
		if w == dead {
			continue
		}
		alive.Add(1)
		go func() {
			defer alive.Done()
			reports[i], errs[i] = w.await()
		}()
	}
	alive.Wait()
	for i, w := range c.fleet.workers {
		if errs[i] != nil {
			return result{}, errs[i]
		}
		if w == dead {
			continue
		}
		r.calls += c.perEach
		r.failed += reports[i].Failed
		if reports[i].FirstError != "" {
			r.firstError = reports[i].FirstError
		}
		r.slowest = max(r.slowest, reports[i].Slowest)
		if first := reports[i].First.Sub(c.begin); c.over == 0 && !reports[i].First.IsZero() && (r.first == 0 || first < r.first) {
			r.first = first
		}
	}
	r.fetches = c.fleet.wechat.TokenFetches() - c.fetches
	return r, nil
}
