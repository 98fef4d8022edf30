package wxphone

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	dialTimeout   = 3 * time.Second
	tlsTimeout    = 5 * time.Second
	headerTimeout = 10 * time.Second
	// callTimeout bounds a whole exchange, body included, for callers whose
	// context has no deadline.
	callTimeout = 15 * time.Second

	// hostConns is how many connections one host gets, and how many of them
	// stay open. net/http keeps only 2 by default, so that every further
	// concurrent call pays a TLS handshake; and without an upper limit a burst
	// of callers opens several each, most of which nobody waits for any more.
	hostConns = 384
	// idleTimeout is short because WeChat closes idle connections unannounced,
	// and a request that meets the closing may lose its answer.
	idleTimeout = 30 * time.Second

	// preference is how long the host that worked is tried first.
	preference = time.Minute
)

// sharedHTTPClient serves all Clients of a process that bring none, so that a
// thousand mini-programs do not open a thousand connection pools.
var sharedHTTPClient = sync.OnceValue(func() *http.Client {
	dialer := &net.Dialer{Timeout: dialTimeout, KeepAlive: 15 * time.Second}
	return &http.Client{
		Timeout:       callTimeout,
		CheckRedirect: noRedirects,
		Transport: &http.Transport{
			Proxy:       http.ProxyFromEnvironment,
			DialContext: dialer.DialContext,
			TLSClientConfig: &tls.Config{
				MinVersion: tls.VersionTLS12,
				// A burst of callers opens many connections at once; resumed
				// handshakes cost a fraction of full ones.
				ClientSessionCache: tls.NewLRUClientSessionCache(0),
			},
			TLSHandshakeTimeout:   tlsTimeout,
			ResponseHeaderTimeout: headerTimeout,
			ExpectContinueTimeout: time.Second,
			MaxConnsPerHost:       hostConns,
			MaxIdleConnsPerHost:   hostConns,
			MaxIdleConns:          2 * hostConns,
			IdleConnTimeout:       idleTimeout,
			DisableCompression:    true,
			// HTTP/1.1 on purpose: a connection that breaks loses one answer,
			// and with it at most one code, rather than all under way.
			ForceAttemptHTTP2: false,
			TLSNextProto:      map[string]func(string, *tls.Conn) http.RoundTripper{},
		},
	}
})

// noRedirects hands a redirect to the caller: following it would send the
// access_token to whatever host it names.
func noRedirects(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// host is a base URL in the pieces that a request's URL is put together from.
type host struct {
	scheme string
	name   string // with the port if there is one
	path   string // without a slash at its end
	// rawPath is the path as it was written where that has escapes of its own.
	rawPath string
}

func (h *host) url(path string) string {
	if h.rawPath != "" {
		return h.scheme + "://" + h.name + h.rawPath + path
	}
	return h.scheme + "://" + h.name + h.path + path
}

func parseBaseURL(option, raw string) (host, error) {
	u, err := url.Parse(raw)
	if err != nil {
		// The error quotes the URL, which may hold a password.
		return host{}, fmt.Errorf("%w: %s: not a URL", ErrInvalidArgument, option)
	}
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		err = fmt.Errorf("%w: %s: the base URL needs a scheme, http or https", ErrInvalidArgument, option)
	case u.Hostname() == "":
		err = fmt.Errorf("%w: %s: the base URL needs a host", ErrInvalidArgument, option)
	case u.Port() != "" && !isPort(u.Port()):
		err = fmt.Errorf("%w: %s: the base URL's port is not a port", ErrInvalidArgument, option)
	case u.User != nil || strings.ContainsAny(raw, "?#"):
		err = fmt.Errorf("%w: %s: the base URL is a scheme, a host and a path only", ErrInvalidArgument, option)
	}
	h := host{scheme: u.Scheme, name: u.Host, path: strings.TrimRight(u.Path, "/")}
	if escaped := strings.TrimRight(u.EscapedPath(), "/"); escaped != h.path {
		h.rawPath = escaped
		h.path, _ = url.PathUnescape(escaped)
	}
	return h, err
}

func isPort(port string) bool {
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && n > 0
}

// hostList is the primary host and its fallbacks. It remembers which host to
// try first, so that an outage costs one dial timeout and not one per call.
type hostList struct {
	hosts     []host
	preferred atomic.Pointer[preferredHost]
}

type preferredHost struct {
	index int
	until time.Time
}

// first returns the index of the host to begin with. When a fallback's time is
// over, one caller goes to look whether the primary is back and the others
// stay with the fallback.
func (l *hostList) first() int {
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
func (l *hostList) unreachable(i int) {
	l.prefer((i + 1) % len(l.hosts))
}

// reached ends an outage if host i is the primary.
func (l *hostList) reached(i int) {
	p := l.preferred.Load()
	if p == nil || i != 0 {
		return
	}
	l.preferred.CompareAndSwap(p, nil)
}

func (l *hostList) prefer(i int) {
	if i == 0 {
		l.preferred.Store(nil)
		return
	}
	l.preferred.Store(&preferredHost{i, time.Now().Add(preference)})
}
