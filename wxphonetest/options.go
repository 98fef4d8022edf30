package wxphonetest

import (
	"errors"
	"fmt"
	"log/slog"
	"time"
)

type options struct {
	appID, secret  string
	tokenLifetime  time.Duration
	allowMalformed bool
	cloudHosting   bool
	cloudIDObjects bool
	unknownIsFalse bool
	apiSecurity    bool
	log            *slog.Logger
	observe        func(Exchange)

	pushToken, encodingAESKey string
}

func newOptions(opts []Option) (options, error) {
	o := options{
		appID:         "wx7b3c1f0e9d5a2468",
		secret:        "5f2d8c1a0b9e4d7786f3a1c2e4b6d809",
		tokenLifetime: 2 * time.Hour,

		pushToken:      defaultPushToken,
		encodingAESKey: defaultEncodingAESKey,
	}
	for _, opt := range opts {
		if err := opt(&o); err != nil {
			return options{}, err
		}
	}
	return o, nil
}

// Option configures a [Server].
type Option func(*options) error

// WithCredentials sets the appid and AppSecret that the server accepts. By
// default they are fixed fictitious values.
func WithCredentials(appID, secret string) Option {
	return func(o *options) error {
		if appID == "" || secret == "" {
			return errors.New("wxphonetest: WithCredentials needs an appid and a secret")
		}
		o.appID, o.secret = appID, secret
		return nil
	}
}

// WithTokenLifetime sets the lifetime of access_tokens. The default is two
// hours.
//
// stable_token renews a token in its last five minutes. With a lifetime of five
// minutes or less, every call therefore returns a new token.
func WithTokenLifetime(d time.Duration) Option {
	return func(o *options) error {
		if d < time.Second {
			return fmt.Errorf("wxphonetest: WithTokenLifetime(%v): expires_in is at least one second", d)
		}
		o.tokenLifetime = d
		return nil
	}
}

// AllowMalformed prevents malformed requests from failing the test and from
// being logged. The caller still gets WeChat's errcode.
func AllowMalformed() Option {
	return func(o *options) error {
		o.allowMalformed = true
		return nil
	}
}

// WithLogger logs a warning to l for everything that fails a test of
// [NewServer]: a malformed request, and a fault that was set for an unknown
// endpoint. It also logs a push that was not answered with "success".
func WithLogger(l *slog.Logger) Option {
	return func(o *options) error {
		if l == nil {
			return errors.New("wxphonetest: WithLogger has a nil logger")
		}
		o.log = l
		return nil
	}
}

// WithObserver calls observe with each [Exchange] that the server has finished,
// before the answer is sent. It is called by multiple goroutines concurrently,
// and the request waits until it returns. observe may call the server's
// methods.
func WithObserver(observe func(Exchange)) Option {
	return func(o *options) error {
		if observe == nil {
			return errors.New("wxphonetest: WithObserver has a nil function")
		}
		o.observe = observe
		return nil
	}
}

// WithCloudHosting makes the server behave like WeChat inside its cloud
// hosting: it accepts plain HTTP and calls without an access_token. It is the
// counterpart of [wxphone.WithoutAccessToken].
func WithCloudHosting() Option {
	return func(o *options) error {
		o.cloudHosting = true
		return nil
	}
}

// WithCloudIDObjects makes getopendata return its json field as an object, as
// in an example of WeChat's documentation, instead of as a string.
func WithCloudIDObjects() Option {
	return func(o *options) error {
		o.cloudIDObjects = true
		return nil
	}
}

// WithUnknownDataAsInvalid makes checkencryptedmsg answer with vaild false for
// unknown data, instead of with errcode 1.
func WithUnknownDataAsInvalid() Option {
	return func(o *options) error {
		o.unknownIsFalse = true
		return nil
	}
}
