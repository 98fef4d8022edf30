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
}

func newOptions(opts []Option) (options, error) {
	o := options{
		appID:         "wx7b3c1f0e9d5a2468",
		secret:        "5f2d8c1a0b9e4d7786f3a1c2e4b6d809",
		tokenLifetime: 2 * time.Hour,
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

// WithCredentials sets the appid and AppSecret that the server takes. The
// default is a made-up pair.
func WithCredentials(appID, secret string) Option {
	return func(o *options) error {
		if appID == "" || secret == "" {
			return errors.New("wxphonetest: WithCredentials needs an appid and a secret")
		}
		o.appID, o.secret = appID, secret
		return nil
	}
}

// WithTokenLifetime sets how long an access_token lives, instead of two hours.
//
// A lifetime of up to five minutes is wholly inside the span in which
// stable_token renews: every call then gives another token.
func WithTokenLifetime(d time.Duration) Option {
	return func(o *options) error {
		if d < time.Second {
			return fmt.Errorf("wxphonetest: WithTokenLifetime(%v): expires_in counts whole seconds, from one", d)
		}
		o.tokenLifetime = d
		return nil
	}
}

// AllowMalformed stops the server from failing the test, and from logging, when
// a request is malformed. The caller still gets WeChat's errcode.
func AllowMalformed() Option {
	return func(o *options) error {
		o.allowMalformed = true
		return nil
	}
}

// WithLogger makes the server warn, through l, about what fails a test of
// [NewServer]: a malformed request, and a fault that was set for an endpoint
// that nobody knows.
func WithLogger(l *slog.Logger) Option {
	return func(o *options) error {
		if l == nil {
			return errors.New("wxphonetest: WithLogger has a nil logger")
		}
		o.log = l
		return nil
	}
}

// WithObserver calls observe with each [Exchange] when the server is done with
// it, before the answer is sent, so that a program can show requests as they
// come. It is called from several goroutines at once, and the request waits for
// it. It may call the server's methods.
func WithObserver(observe func(Exchange)) Option {
	return func(o *options) error {
		if observe == nil {
			return errors.New("wxphonetest: WithObserver has a nil function")
		}
		o.observe = observe
		return nil
	}
}

// WithCloudHosting makes the server behave as WeChat does inside its cloud
// hosting: plain HTTP is taken, and a call without access_token is the
// service's own. It is the counterpart of [wxphone.WithoutAccessToken].
func WithCloudHosting() Option {
	return func(o *options) error {
		o.cloudHosting = true
		return nil
	}
}

// WithCloudIDObjects makes getopendata send its json field as an object, which
// WeChat's documentation shows in an example, instead of as a string.
func WithCloudIDObjects() Option {
	return func(o *options) error {
		o.cloudIDObjects = true
		return nil
	}
}

// WithUnknownDataAsInvalid makes checkencryptedmsg answer with vaild false for
// data that it does not know, instead of with errcode 1.
func WithUnknownDataAsInvalid() Option {
	return func(o *options) error {
		o.unknownIsFalse = true
		return nil
	}
}
