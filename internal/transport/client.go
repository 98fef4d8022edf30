package transport

import (
	"crypto/tls"
	"net"
	"net/http"
	"sync"
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
)

// DefaultClient returns the http.Client that serves all who bring none of their
// own. There is one in a process, so that a thousand mini-programs do not open
// a thousand connection pools.
func DefaultClient() *http.Client { return defaultClient() }

var defaultClient = sync.OnceValue(newDefaultClient)

func newDefaultClient() *http.Client {
	dialer := &net.Dialer{Timeout: dialTimeout, KeepAlive: 15 * time.Second}
	return &http.Client{
		Timeout:       callTimeout,
		CheckRedirect: NoRedirects,
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
}

// NoRedirects hands a redirect to the caller: following it would send the
// access_token to whatever host it names.
func NoRedirects(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
