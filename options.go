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

// Option configures a [Client]. [New] returns an error that matches
// [ErrInvalidArgument] if an option is not valid or cannot be combined with
// another.
type Option func(*options) error

// options is the result of applying the Options passed to New.
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
	observers  []func(context.Context, Call)

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

// conflict returns an error if two options cannot be combined.
func (o *options) conflict() error {
	switch {
	case o.source != nil && o.store != nil:
		return invalid("WithTokenStore", "cannot be combined with WithTokenSource; pass the store to CacheTokens")
	case o.source != nil && o.classic:
		return invalid("WithClassicToken", "cannot be combined with WithTokenSource")
	case o.source != nil && o.tokenless:
		return invalid("WithoutAccessToken", "cannot be combined with WithTokenSource")
	case o.classic && o.tokenless:
		return invalid("WithoutAccessToken", "cannot be combined with WithClassicToken")
	case o.duplicateStore != nil && o.duplicateWindow == 0:
		return invalid("WithDuplicateStore", "needs WithDuplicateWindow")
	}
	return nil
}

// hosts returns the hosts to send requests to, the primary host first.
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

// sender returns the Sender for the requests of appID.
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
	if len(o.observers) > 0 {
		sender.Observe = func(ctx context.Context, x transport.Exchange) {
			for _, observe := range o.observers {
				observe(ctx, Call(x))
			}
		}
	}
	return sender
}

// invalid returns an error that matches ErrInvalidArgument and names what is
// wrong.
func invalid(name, problem string) error {
	return fmt.Errorf("%w: %s %s", ErrInvalidArgument, name, problem)
}

// WithHTTPClient sends requests through c, for example to use a proxy or a mock.
// A transport that records URLs records secrets with them; for traces, use the
// module otelwxphone. The Client uses a shallow copy of c that does not follow
// redirects. The timeouts and the connection pool are those of c. For many
// concurrent calls, set MaxIdleConnsPerHost of the transport to their number:
// with net/http's default of 2, most calls need a new TLS handshake.
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

// WithBaseURL sends requests to baseURL instead of https://api.weixin.qq.com.
// It can be a regional host (https://sh.api.weixin.qq.com), a proxy or a test
// server. WithBaseURL disables the default fallback host.
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

// WithFallbackURLs sets the hosts to try, in order, when no connection to the
// base URL can be made. The default is https://api2.weixin.qq.com, WeChat's
// domain for disaster recovery. With no arguments there is no fallback host. A
// request that had a connection is not sent to another host; it is only retried
// as described at [WithMaxRetries].
//
// See https://developers.weixin.qq.com/doc/oplatform/developers/domain
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

// WithTokenSource takes access_tokens from src, for example from a token
// service or, for a third-party platform, the mini-program's
// authorizer_access_token. The Client asks src for every call. Wrap src in
// [CacheTokens] if it does not cache.
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
// under a key that contains the appid and the kind of token.
//
// Stable tokens, the default, do not need a store: WeChat returns the same
// token to every process. If the store fails, each process fetches the token
// itself. With [WithClassicToken], the store prevents processes from
// invalidating each other's tokens. It should implement [TokenLocker], and no
// process fetches a token while the store is unavailable.
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
// /cgi-bin/stable_token. Each fetch of a classic token invalidates the previous
// one, so processes that do not share a store invalidate each other's tokens.
//
// See https://developers.weixin.qq.com/miniprogram/dev/OpenApiDoc/mp-access-token/getAccessToken.html
func WithClassicToken() Option {
	return func(o *options) error {
		o.classic = true
		return nil
	}
}

// WithoutAccessToken sends requests without an access_token, for services on
// WeChat cloud hosting, where the platform adds the caller's identity. The
// default base URL is then http://api.weixin.qq.com, without TLS because the
// traffic does not leave the platform, and there is no fallback host.
func WithoutAccessToken() Option {
	return func(o *options) error {
		o.tokenless = true
		return nil
	}
}

// WithMaxRetries sets how many times a call is retried after errcode -1 or a
// lost answer. The default is 2; 0 disables retries. A call whose access_token
// was rejected is repeated with another token even if n is 0, and requests of
// tokens keep their own retries.
func WithMaxRetries(n int) Option {
	return func(o *options) error {
		if n < 0 {
			return invalid("WithMaxRetries", "is negative")
		}
		o.maxRetries = n
		return nil
	}
}

// WithLogger logs retries, fallbacks and token changes to l, and every HTTP
// exchange at debug level. Records contain no secrets or phone numbers. By
// default nothing is logged. A source wrapped in [CacheTokens] has its own
// logger; see [WithCacheLogger].
func WithLogger(l *slog.Logger) Option {
	return func(o *options) error {
		if l == nil {
			return invalid("WithLogger", "has a nil logger")
		}
		o.log = l
		return nil
	}
}

// WithObserver calls observe after every HTTP exchange, including token
// fetches, for metrics and tracing. If another exchange of the same call may
// follow a failure, observe is called once that is decided, which can be after
// the pause before a retry or the fetch of another token. It is called by
// multiple goroutines concurrently, and the call waits for it. A token fetch can
// serve many callers, so its context is not derived from any caller's. If the
// option is given more than once, each function sees every exchange.
func WithObserver(observe func(context.Context, Call)) Option {
	return func(o *options) error {
		if observe == nil {
			return invalid("WithObserver", "has a nil function")
		}
		o.observers = append(o.observers, observe)
		return nil
	}
}

// WithWatermarkMaxAge makes [Client.DecryptPhoneNumber],
// [Client.VerifyPhoneNumber] and [Client.RevealPhoneNumber] reject data whose
// watermark is older than d, or more than 5 minutes in the future. The error
// matches [ErrWatermarkExpired]. By default, data of any age is accepted.
func WithWatermarkMaxAge(d time.Duration) Option {
	return func(o *options) error {
		if d <= 0 {
			return invalid("WithWatermarkMaxAge", "is not positive")
		}
		o.watermarkMaxAge = d
		return nil
	}
}

// discard is the slog handler of a Client without a logger.
type discard struct{}

func (discard) Enabled(context.Context, slog.Level) bool  { return false }
func (discard) Handle(context.Context, slog.Record) error { return nil }
func (d discard) WithAttrs([]slog.Attr) slog.Handler      { return d }
func (d discard) WithGroup(string) slog.Handler           { return d }
