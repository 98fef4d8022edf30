package wxphone

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/wxphone/wxphone/internal/apisec"
	"github.com/wxphone/wxphone/internal/transport"
)

// Option changes how a [Client] works. [New] reports an option that cannot be
// right, or that excludes another, as [ErrInvalidArgument].
type Option func(*options) error

// options is what the Options of one New add up to.
type options struct {
	httpClient *transport.Client
	baseURL    *transport.Host
	fallbacks  []transport.Host
	source     TokenSource
	store      TokenStore
	classic    bool
	tokenless  bool
	maxRetries int
	log        *slog.Logger
	observe    func(context.Context, Call)

	duplicateWindow time.Duration  // 0 to remember nothing
	duplicateStore  DuplicateStore // nil for this process alone
	watermarkMaxAge time.Duration
	security        *apisec.Scheme // nil without API security
}

const (
	primaryHost  = "api.weixin.qq.com"
	fallbackHost = "api2.weixin.qq.com"

	defaultRetries = 2
)

func newOptions(opts []Option) (*options, error) {
	o := &options{maxRetries: defaultRetries, log: slog.New(discard{})}
	for _, opt := range opts {
		if opt == nil {
			return nil, invalid("option", "is nil")
		}
		if err := opt(o); err != nil {
			return nil, err
		}
	}
	return o, o.conflict()
}

// conflict reports options that exclude each other.
func (o *options) conflict() error {
	switch {
	case o.source != nil && o.store != nil:
		return invalid("WithTokenStore", "excludes WithTokenSource; give the store to CacheTokens")
	case o.source != nil && o.classic:
		return invalid("WithClassicToken", "excludes WithTokenSource")
	case o.source != nil && o.tokenless:
		return invalid("WithoutAccessToken", "excludes WithTokenSource")
	case o.classic && o.tokenless:
		return invalid("WithoutAccessToken", "excludes WithClassicToken")
	case o.duplicateStore != nil && o.duplicateWindow == 0:
		return invalid("WithDuplicateStore", "needs WithDuplicateWindow")
	}
	return nil
}

// hosts returns the hosts to ask, the primary first.
func (o *options) hosts() *transport.Hosts {
	primary, fallbacks := transport.NewHost("https", primaryHost), o.fallbacks
	switch {
	case o.baseURL != nil:
		primary = *o.baseURL
	case o.tokenless:
		primary = transport.NewHost("http", primaryHost)
	case fallbacks == nil:
		fallbacks = []transport.Host{transport.NewHost("https", fallbackHost)}
	}
	return transport.NewHosts(append([]transport.Host{primary}, fallbacks...)...)
}

// sender returns what sends the requests of appID.
func (o *options) sender(appID string) *transport.Sender {
	sender := &transport.Sender{
		HTTP:     o.httpClient,
		Hosts:    o.hosts(),
		Log:      o.log,
		Errors:   transportErrors,
		AppID:    appID,
		Security: o.security,
	}
	if sender.HTTP == nil {
		sender.HTTP = transport.DefaultClient()
	}
	if o.observe != nil {
		sender.Observe = func(ctx context.Context, x transport.Exchange) { o.observe(ctx, Call(x)) }
	}
	return sender
}

// invalid returns an ErrInvalidArgument that names what is wrong.
func invalid(name, problem string) error {
	return fmt.Errorf("%w: %s %s", ErrInvalidArgument, name, problem)
}

// WithHTTPClient sends requests through c, say one with a proxy, with
// OpenTelemetry's transport or with a mock. The Client uses a shallow copy of
// c that does not follow redirects; timeouts and the connection pool are c's.
// A transport for many concurrent calls needs a MaxIdleConnsPerHost of their
// number: net/http's default of 2 makes most of them pay a TLS handshake.
func WithHTTPClient(c *http.Client) Option {
	return func(o *options) error {
		if c == nil {
			return invalid("WithHTTPClient", "has a nil client")
		}
		own := *c
		own.CheckRedirect = transport.NoRedirects
		o.httpClient = transport.NewClient(&own)
		return nil
	}
}

// WithBaseURL sends requests to another host than https://api.weixin.qq.com:
// a region's (https://sh.api.weixin.qq.com), a proxy of your own or a test
// server. It switches the default fallback host off.
func WithBaseURL(baseURL string) Option {
	return func(o *options) error {
		host, err := parseBaseURL("WithBaseURL", baseURL)
		if err != nil {
			return err
		}
		o.baseURL = &host
		return nil
	}
}

func parseBaseURL(option, raw string) (transport.Host, error) {
	host, err := transport.ParseBaseURL(raw)
	if err != nil {
		return host, fmt.Errorf("%w: %s: %w", ErrInvalidArgument, option, err)
	}
	return host, nil
}

// WithFallbackURLs names the hosts to try, in this order, when no connection
// to the base URL can be made. Without this option that is
// https://api2.weixin.qq.com, WeChat's domain for disaster recovery; with no
// baseURLs there is no fallback. An attempt that got a connection is never
// repeated at another host, only retried as [WithMaxRetries] says.
//
// The domains: https://developers.weixin.qq.com/doc/oplatform/developers/domain
func WithFallbackURLs(baseURLs ...string) Option {
	return func(o *options) error {
		o.fallbacks = make([]transport.Host, 0, len(baseURLs))
		for _, baseURL := range baseURLs {
			host, err := parseBaseURL("WithFallbackURLs", baseURL)
			if err != nil {
				return err
			}
			o.fallbacks = append(o.fallbacks, host)
		}
		return nil
	}
}

// WithTokenSource takes access_tokens from src: a token service of your own,
// or the authorizer_access_token of a third-party platform. The Client asks
// src for every call; wrap it in [CacheTokens] if it does not cache itself.
func WithTokenSource(src TokenSource) Option {
	return func(o *options) error {
		if f, ok := src.(TokenSourceFunc); src == nil || ok && f == nil {
			return invalid("WithTokenSource", "has a nil source")
		}
		if cache, ok := src.(*tokenCache); ok && cache.broken != nil {
			return cache.broken
		}
		o.source = src
		return nil
	}
}

// WithTokenStore shares the access_token with other processes through store,
// under a key with the appid and the kind of token. Processes with stable
// tokens do without: each gets the same token from WeChat, and a store that is
// down only costs requests. With [WithClassicToken] the store is what keeps
// processes from retiring each other's token; it should be a [TokenLocker],
// and while it is down no process fetches.
func WithTokenStore(store TokenStore) Option {
	return func(o *options) error {
		if store == nil {
			return invalid("WithTokenStore", "has a nil store")
		}
		o.store = store
		return nil
	}
}

// WithClassicToken fetches access_tokens from /cgi-bin/token instead of
// /cgi-bin/stable_token. Each fetch of a classic token retires the one before,
// so processes that fetch on their own cut each other off.
//
// See https://developers.weixin.qq.com/miniprogram/dev/OpenApiDoc/mp-access-token/getAccessToken.html
func WithClassicToken() Option {
	return func(o *options) error {
		o.classic = true
		return nil
	}
}

// WithoutAccessToken sends no access_token, for services on WeChat cloud
// hosting, where the platform adds the caller's identity. The base URL is then
// http://api.weixin.qq.com, plain because the traffic does not leave the
// platform, and there is no fallback host.
func WithoutAccessToken() Option {
	return func(o *options) error {
		o.tokenless = true
		return nil
	}
}

// WithMaxRetries sets how often a call that met errcode -1 or lost its answer
// is tried again, 2 by default. 0 never tries again; the one repeat after a
// refused access_token happens even then.
func WithMaxRetries(n int) Option {
	return func(o *options) error {
		if n < 0 {
			return invalid("WithMaxRetries", "is negative")
		}
		o.maxRetries = n
		return nil
	}
}

// WithLogger logs retries, fallbacks and token changes to l, and every
// exchange at debug level. No record holds a secret or a phone number. By
// default nothing is logged. A source wrapped in [CacheTokens] has a logger of
// its own: [WithCacheLogger].
func WithLogger(l *slog.Logger) Option {
	return func(o *options) error {
		if l == nil {
			return invalid("WithLogger", "has a nil logger")
		}
		o.log = l
		return nil
	}
}

// WithObserver calls observe after every HTTP exchange, token fetches
// included, for metrics and tracing. It is called from several goroutines at
// once, and the call waits for it. A token fetch is many callers' at once: its
// context is none of theirs.
func WithObserver(observe func(context.Context, Call)) Option {
	return func(o *options) error {
		if observe == nil {
			return invalid("WithObserver", "has a nil function")
		}
		o.observe = observe
		return nil
	}
}

// WithWatermarkMaxAge makes [Client.DecryptPhoneNumber] and
// [Client.VerifyPhoneNumber] refuse data whose watermark is older than d, or
// lies more than 5 minutes in the future, as [ErrWatermarkExpired]. Without
// it, data of any age is taken.
func WithWatermarkMaxAge(d time.Duration) Option {
	return func(o *options) error {
		if d <= 0 {
			return invalid("WithWatermarkMaxAge", "is not positive")
		}
		o.watermarkMaxAge = d
		return nil
	}
}

// discard is a slog handler for a Client that was given no logger.
type discard struct{}

func (discard) Enabled(context.Context, slog.Level) bool  { return false }
func (discard) Handle(context.Context, slog.Record) error { return nil }
func (d discard) WithAttrs([]slog.Attr) slog.Handler      { return d }
func (d discard) WithGroup(string) slog.Handler           { return d }
