package transport

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/wxphone/wxphone/internal/wire"
)

const (
	// lookInterval is how often the primary host is checked during its outage.
	lookInterval = time.Minute
	lookTimeout  = 3 * time.Second
)

// Host is a base URL, split into the parts of a request's URL.
type Host struct {
	Name   string // includes the port if there is one
	scheme string
	path   string // without a trailing slash
	// rawPath is the escaped path if it differs from the default encoding of
	// path.
	rawPath string
}

// NewHost returns the host of a base URL without a path.
func NewHost(scheme, name string) Host { return Host{Name: name, scheme: scheme} }

func (h *Host) url(path string) string {
	if h.rawPath != "" {
		return h.scheme + "://" + h.Name + h.rawPath + path
	}
	return h.scheme + "://" + h.Name + h.path + path
}

// ParseBaseURL returns the host of a base URL written by a user. The error does
// not quote the URL, which may contain a password.
func ParseBaseURL(raw string) (Host, error) {
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return Host{}, errors.New("not a URL")
	case u.Scheme != "http" && u.Scheme != "https":
		return Host{}, errors.New("the base URL needs a scheme, http or https")
	case u.Hostname() == "":
		return Host{}, errors.New("the base URL needs a host")
	case u.Port() != "" && !isPort(u.Port()):
		return Host{}, errors.New("the base URL has an invalid port")
	case u.User != nil || strings.ContainsAny(raw, "?#"):
		return Host{}, errors.New("the base URL may have only a scheme, a host and a path")
	}
	h := Host{Name: u.Host, scheme: u.Scheme, path: strings.TrimRight(u.Path, "/")}
	if escaped := strings.TrimRight(u.EscapedPath(), "/"); escaped != h.path {
		h.rawPath = escaped
		h.path, _ = url.PathUnescape(escaped)
	}
	return h, nil
}

func isPort(port string) bool {
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && n > 0
}

// Hosts holds the primary host and its fallbacks. It remembers an outage of the
// primary, so that not every call has to detect it.
type Hosts struct {
	list    []Host
	waiters []waiters // exchanges waiting for the host with the same index
	outage  atomic.Pointer[outage]
}

// outage describes an outage of the primary host.
type outage struct {
	first  int // the host to try first
	lookAt time.Time
}

// NewHosts returns the hosts in list, of which list[0] is the primary.
func NewHosts(list ...Host) *Hosts {
	l := &Hosts{list: list, waiters: make([]waiters, len(list))}
	for i := range l.waiters {
		l.waiters[i].dead = func() { l.dead(i) }
	}
	return l
}

// Equal reports whether l and other have the same hosts in the same order.
func (l *Hosts) Equal(other *Hosts) bool { return slices.Equal(l.list, other.list) }

// first returns the index of the host to try first. During an outage, look is
// true for one caller per lookInterval, which must have the primary checked.
func (l *Hosts) first() (index int, look bool) {
	o := l.outage.Load()
	if o == nil {
		return 0, false
	}
	now := time.Now()
	look = !now.Before(o.lookAt) && l.outage.CompareAndSwap(o, &outage{o.first, now.Add(lookInterval)})
	return o.first, look
}

// dead makes the host after i the first one, and moves on the exchanges that
// wait for a connection to i. After the last host comes the primary.
func (l *Hosts) dead(i int) {
	var o *outage
	if next := (i + 1) % len(l.list); next > 0 {
		o = &outage{next, time.Now().Add(lookInterval)}
	}
	l.outage.Store(o)
	l.waiters[i].moveOn()
}

// answered ends an outage if host i is the primary. Only an HTTP answer does
// so, because a host that fails under load may leave open connections.
func (l *Hosts) answered(i int) {
	if o := l.outage.Load(); o != nil && i == 0 {
		l.outage.CompareAndSwap(o, nil)
	}
}

// tryHosts makes one attempt. It tries the next host only if no connection
// could be established, because then nothing was sent.
func (s *Sender) tryHosts(ctx context.Context, req *Request, token string, progress *Progress) (wire.Answer, *failure) {
	first, look := s.Hosts.first()
	if look {
		go s.lookAtPrimary() //nolint:gosec // it must not end with this caller's context
	}
	n := len(s.Hosts.list)
	var unreached *failure
	for i := range n {
		index := (first + i) % n
		answer, failed := s.exchange(ctx, req, token, index, i == n-1, progress)
		switch {
		case failed == nil || failed.httpStatus > 0:
			s.Hosts.answered(index)
		case failed.silent:
			s.HTTP.dropIdle(time.Now())
		}
		if failed == nil || !failed.noConnection {
			return answer, failed
		}
		unreached = failed.after(unreached)
		if ctx.Err() != nil {
			break
		}
		if !failed.movedOn && n > 1 {
			s.Hosts.dead(index)
		}
		s.Log.WarnContext(ctx, "wxphone: host not reached",
			"endpoint", req.Path, "host", s.Hosts.list[index].Name, "error", failed.err)
	}
	return nil, unreached
}

// after joins f with the failure of an earlier host.
func (f *failure) after(earlier *failure) *failure {
	if earlier == nil {
		return f
	}
	joined := *f
	joined.err = fmt.Errorf("%w; then: %w", earlier.err, f.err)
	joined.retry = f.retry || earlier.retry
	joined.mayHaveTaken = f.mayHaveTaken || earlier.mayHaveTaken
	joined.parts = [2]*failure{earlier, f}
	return &joined
}

// includes reports whether f is other or joins it.
func (f *failure) includes(other *failure) bool {
	return f == other || f.parts[0] != nil && (f.parts[0].includes(other) || f.parts[1].includes(other))
}

// lookAtPrimary sends a request without a token to the primary host. It runs in
// its own goroutine, so that no call waits for it.
func (s *Sender) lookAtPrimary() {
	ctx, cancel := context.WithTimeout(context.Background(), lookTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, s.Hosts.list[0].url("/"), http.NoBody)
	if err != nil {
		return // not possible, because ParseBaseURL checked the URL
	}
	req.Header.Set("User-Agent", userAgent)
	resp, err := s.HTTP.http.Do(req)
	if err != nil {
		return
	}
	_ = resp.Body.Close()
	s.Hosts.answered(0)
	s.Log.InfoContext(ctx, "wxphone: host answers again", "host", s.Hosts.list[0].Name)
}
