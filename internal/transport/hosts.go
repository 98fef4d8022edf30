package transport

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/wxphone/wxphone/internal/wire"
)

const (
	// preference is how long the host that worked is tried first.
	preference = time.Minute

	// patience is how long a call must have waited in vain for a connection,
	// before its context ended, to count as a host that cannot be reached.
	patience = 500 * time.Millisecond
)

// Host is a base URL in the pieces that a request's URL is put together from.
type Host struct {
	Name   string // with the port if there is one
	scheme string
	path   string // without a slash at its end
	// rawPath is the path as it was written where that has escapes of its own.
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

// ParseBaseURL returns the host of a base URL that a user wrote. Its error
// quotes nothing of it, because it may hold a password.
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
		return Host{}, errors.New("the base URL's port is not a port")
	case u.User != nil || strings.ContainsAny(raw, "?#"):
		return Host{}, errors.New("the base URL is a scheme, a host and a path only")
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

// Hosts is the primary host and its fallbacks. It remembers which host to try
// first, so that an outage costs one dial timeout and not one per call.
type Hosts struct {
	list      []Host
	preferred atomic.Pointer[preferredHost]
}

type preferredHost struct {
	index int
	until time.Time
}

// NewHosts returns the hosts to ask: list[0] is the primary.
func NewHosts(list ...Host) *Hosts { return &Hosts{list: list} }

// Equal reports whether l and other are the same hosts in the same order.
func (l *Hosts) Equal(other *Hosts) bool { return slices.Equal(l.list, other.list) }

// first returns the index of the host to begin with. When a fallback's time is
// over, one caller goes to look whether the primary is back and the others
// stay with the fallback.
func (l *Hosts) first() int {
	p := l.preferred.Load()
	if p == nil {
		return 0
	}
	now := time.Now()
	if now.Before(p.until) || !l.preferred.CompareAndSwap(p, &preferredHost{p.index, now.Add(preference)}) {
		return p.index
	}
	return 0
}

// unreachable makes the host after i the one to begin with.
func (l *Hosts) unreachable(i int) {
	next := (i + 1) % len(l.list)
	if next == 0 {
		l.preferred.Store(nil)
		return
	}
	l.preferred.Store(&preferredHost{next, time.Now().Add(preference)})
}

// reached ends an outage if host i is the primary.
func (l *Hosts) reached(i int) {
	p := l.preferred.Load()
	if p == nil || i != 0 {
		return
	}
	l.preferred.CompareAndSwap(p, nil)
}

// tryHosts makes one attempt, at the next host as long as no connection could
// be made: then nothing was sent, so nothing is at risk.
func (s *Sender) tryHosts(ctx context.Context, req *Request, token string, progress *Progress) (wire.Answer, *failure) {
	first, n := s.Hosts.first(), len(s.Hosts.list)
	var unreached *failure
	for i := range n {
		index := (first + i) % n
		host := &s.Hosts.list[index]
		answer, failed := s.exchange(ctx, req, token, host, progress)
		if failed == nil || !failed.neverSent {
			s.Hosts.reached(index)
			return answer, failed
		}
		if ctx.Err() == nil || failed.waited >= patience {
			s.Hosts.unreachable(index)
		}
		if errors.Is(ctx.Err(), context.Canceled) {
			return nil, failed
		}
		unreached = failed.after(unreached)
		if ctx.Err() != nil {
			break
		}
		s.Log.WarnContext(ctx, "wxphone: host not reached",
			"endpoint", req.Path, "host", host.Name, "error", failed.err)
	}
	return nil, unreached
}

// after joins f to what an earlier host failed with.
func (f *failure) after(earlier *failure) *failure {
	if earlier == nil {
		return f
	}
	joined := *f
	joined.err = fmt.Errorf("%w; then: %w", earlier.err, f.err)
	joined.retry = f.retry || earlier.retry
	return &joined
}
