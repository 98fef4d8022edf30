package redact_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wxphone/wxphone/internal/redact"
)

const target = "https://api.weixin.qq.com/cgi-bin/token?secret=" + secret

// talkative tells its secret in another way than its text.
type talkative struct{ URL string }

func (talkative) Error() string { return "request failed" }

// verbose tells its secret under %+v only, as errors with stacks do.
type verbose struct{ detail string }

func (*verbose) Error() string { return "request failed" }

func (v *verbose) Format(f fmt.State, _ rune) {
	_, _ = io.WriteString(f, v.Error())
	if f.Flag('+') {
		_, _ = io.WriteString(f, ": "+v.detail)
	}
}

// emptyWrapper unwraps to nothing, as a wrapper may.
type emptyWrapper struct{}

func (emptyWrapper) Error() string { return "wrapper " + secret }
func (emptyWrapper) Unwrap() error { return nil }

type emptyWrappers struct{}

func (emptyWrappers) Error() string   { return "wrappers" }
func (emptyWrappers) Unwrap() []error { return []error{nil, errors.New(secret)} }

func TestErrorWithoutASecretStaysItself(t *testing.T) {
	t.Parallel()
	for name, err := range map[string]error{
		"plain":   errors.New("connection refused"),
		"timeout": context.DeadlineExceeded,
		"op":      &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED},
		"url":     &url.Error{Op: "Get", URL: "https://api.weixin.qq.com/cgi-bin/token", Err: io.EOF},
		"joined":  errors.Join(io.EOF, fmt.Errorf("again: %w", io.ErrUnexpectedEOF)),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			assert.True(t, redact.Error(err, secrets) == err, "callers match it by type and identity") //nolint:errorlint // identity is the point
		})
	}
}

func TestNetworkErrorEndsWhereItQuotes(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]string{
		`bad Content-Length "` + odd + `"`:                             "bad Content-Length",
		"net/http: broken: too many transfer encodings: [\"a\" \"b\"]": "net/http: broken: too many transfer encodings: [",
		`failed to parse Location header "x": parse "x": first path`:   "failed to parse Location header",
		"malformed MIME header: missing colon: `x`":                    redact.Mark,
		`"x"`: redact.Mark,
		`proxy: Post "https://h/p?token=x": dial tcp: connection refused`: "proxy: Post: dial tcp: connection refused",
		`Get "https://u:p@h/": EOF`:                                       "Get: EOF",
		`Get "https://h/\"https://h/": bad Content-Length "x"`:            "Get: bad Content-Length",
		`header "Post \"https://h/\": x"`:                                 "header",
		`dial h: Xq3` + strings.Repeat("a", 24) + `: no route`:            "dial h: " + redact.Mark + ": no route",
		"told 138-0013-8000":                                              "told ***",
		"proxy\nsays 138 0013 8000 no":                                    "proxy says *** no",
	} {
		clean := redact.NetworkError(errors.New(given), secrets)
		assert.Equal(t, want, clean.Error())
		assert.NotContains(t, fmt.Sprintf("%+v %#v", clean, clean), "13800")
		nested := redact.NetworkError(fmt.Errorf("sending: %w", &quiet{errors.New(given)}), secrets)
		assert.Equal(t, "sending: sending failed", nested.Error(), "what it wraps is hidden too")
		assertWrapsNothing(t, nested)
	}
}

func assertWrapsNothing(t *testing.T, err error) {
	t.Helper()
	assert.NoError(t, errors.Unwrap(err), "the quotation must not be reached")
}

func TestNetworkErrorWithoutAQuotationStaysItself(t *testing.T) {
	t.Parallel()
	for _, err := range []error{
		&net.OpError{Op: "dial", Net: "tcp", Addr: &net.TCPAddr{IP: net.IPv4(192, 168, 100, 200), Port: 44321}, Err: syscall.ECONNREFUSED},
		&net.DNSError{Err: "no such host", Name: "api.weixin.qq.com", Server: "100.100.2.136:53"},
		fmt.Errorf("proxy: %w", &url.Error{Op: "Post", URL: "https://h/path", Err: io.EOF}),
		&url.Error{Op: "Get", URL: "https://192.168.100.200:8443/", Err: context.DeadlineExceeded},
		errors.New("net/http: HTTP/1.x transport connection broken"),
	} {
		assert.True(t, redact.NetworkError(err, secrets) == err, "%v", err) //nolint:errorlint // identity is the point
	}
}

func TestErrorHidesSecretsInTheWholeTree(t *testing.T) {
	t.Parallel()
	told := errors.New("proxy refused " + target)
	for name, err := range map[string]error{
		"text":             told,
		"wrapped":          fmt.Errorf("sending: %w", told),
		"hidden by a wrap": &quiet{told},
		"url":              &url.Error{Op: "Get", URL: target, Err: io.EOF},
		"url, escaped":     &url.Error{Op: "Get", URL: "https://h/?t=" + url.QueryEscape(odd), Err: io.EOF},
		"joined":           errors.Join(io.EOF, told),
		"first of two":     fmt.Errorf("%w, %w", told, io.EOF),
		"deep":             fmt.Errorf("a: %w", errors.Join(io.EOF, fmt.Errorf("b: %w", &quiet{told}))),
		"unwraps to nil":   emptyWrapper{},
		"nil among many":   emptyWrappers{},
		"in a field":       &url.Error{Op: "Get", URL: "https://h/", Err: talkative{target}},
		"under %+v":        fmt.Errorf("sending: %w", &verbose{target}),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			clean := redact.Error(err, secrets)
			require.Error(t, clean)
			assert.NotEmpty(t, clean.Error())
			assertSilent(t, clean)
		})
	}
}

// quiet leaves what it wraps out of its text.
type quiet struct{ err error }

func (*quiet) Error() string   { return "sending failed" }
func (q *quiet) Unwrap() error { return q.err }

func assertSilent(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		return
	}
	for _, verb := range []string{"%v", "%s", "%q", "%+v", "%#v"} {
		text := fmt.Sprintf(verb, err)
		for _, s := range []string{secret, odd, url.QueryEscape(odd)} {
			assert.NotContains(t, text, s, "%T under %s", err, verb)
		}
	}
	switch wrapper := err.(type) { //nolint:errorlint // this walks the tree
	case interface{ Unwrap() error }:
		assertSilent(t, wrapper.Unwrap())
	case interface{ Unwrap() []error }:
		for _, inner := range wrapper.Unwrap() {
			assertSilent(t, inner)
		}
	}
}

func TestScrubbedErrorStillSaysTheRest(t *testing.T) {
	t.Parallel()
	clean := redact.Error(fmt.Errorf("proxy says\nno to %s for 13800000000", target), secrets)
	assert.Equal(t, "proxy says no to https://api.weixin.qq.com/cgi-bin/token?secret="+redact.Mark+" for ***", clean.Error())
}

func TestScrubbedErrorStillMatches(t *testing.T) {
	t.Parallel()
	known := []error{
		context.Canceled, context.DeadlineExceeded, os.ErrDeadlineExceeded,
		io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, syscall.ECONNRESET, syscall.ECONNREFUSED, syscall.EPIPE,
	}
	for _, cause := range known {
		t.Run(cause.Error(), func(t *testing.T) {
			t.Parallel()
			for _, err := range []error{
				fmt.Errorf("%s: %w", target, cause),
				errors.Join(errors.New(target), cause),
				&url.Error{Op: "Get", URL: target, Err: cause},
			} {
				clean := redact.Error(err, secrets)
				assertSilent(t, clean)
				for _, other := range known {
					assert.Equal(t, errors.Is(err, other), errors.Is(clean, other), "%v", other)
				}
				var before, after interface{ Timeout() bool }
				wasTimeout := errors.As(err, &before) && before.Timeout()
				isTimeout := errors.As(clean, &after) && after.Timeout()
				assert.Equal(t, wasTimeout, isTimeout)
			}
		})
	}
}

func TestScrubbedTimeoutIsANetError(t *testing.T) {
	t.Parallel()
	clean := redact.Error(&url.Error{Op: "Get", URL: target, Err: os.ErrDeadlineExceeded}, secrets)
	var network net.Error
	require.ErrorAs(t, clean, &network)
	assert.True(t, network.Timeout())

	// url.Error asks its own cause, so a scrubbed cause has to answer.
	outer := &url.Error{Op: "Get", URL: "https://h/", Err: redact.Error(fmt.Errorf("%s: %w", target, os.ErrDeadlineExceeded), secrets)}
	assert.True(t, outer.Timeout())
}
