package tokenhttp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/internal/redact"
	"github.com/wxphone/wxphone/internal/transport"
	"github.com/wxphone/wxphone/internal/wire"
)

const (
	// maxAnswer is the largest accepted answer, in bytes.
	maxAnswer = 64 << 10
	// maxLife limits an implausible expires_in. WeChat's is 7200 seconds.
	maxLife = 24 * time.Hour
)

// Source gets tokens from a token server. It implements [wxphone.TokenSource]
// and [wxphone.TokenInvalidator]. It does not cache; wrap it in
// [wxphone.CacheTokens].
//
// Create it with [NewSource]. It is safe for concurrent use by multiple
// goroutines and does not need to be closed.
type Source struct { //nolint:recvcheck // Format has a value receiver, so that a copied Source prints no key
	settings *settings // nil in a Source that NewSource did not make
}

var (
	_ wxphone.TokenSource      = (*Source)(nil)
	_ wxphone.TokenInvalidator = (*Source)(nil)
)

type settings struct {
	url, path string
	key       redact.Hidden[string]
	http      *http.Client
}

// Option configures a [Source].
type Option func(*settings) error

// WithHTTPClient sends requests through c, for example to trust the token
// server's own certificate authority. The Source uses a shallow copy of c that
// does not follow redirects. The timeouts are those of c. Without this option,
// a request ends after 15 seconds, or earlier with its context.
func WithHTTPClient(c *http.Client) Option {
	return func(s *settings) error {
		if c == nil {
			return invalid("WithHTTPClient", "has a nil client")
		}
		own := *c
		own.CheckRedirect = transport.NoRedirects
		s.http = &own
		return nil
	}
}

// NewSource returns a Source that gets tokens from the handler at url with its
// key. The url consists of a scheme, a host and a path. Use https: over http,
// the key and the token can be read on the network.
//
// NewSource makes no requests. It returns an error that matches
// [wxphone.ErrInvalidArgument] if an argument or option is not valid.
func NewSource(url, key string, opts ...Option) (*Source, error) {
	path, err := checkURL(url)
	if err != nil {
		return nil, err
	}
	if err := checkKey(key); err != nil {
		return nil, err
	}
	s := &settings{url: url, path: path, key: redact.Conceal(key), http: transport.DefaultClient().HTTP()}
	for _, opt := range opts {
		if opt == nil {
			return nil, invalid("option", "is nil")
		}
		if err := opt(s); err != nil {
			return nil, err
		}
	}
	return &Source{s}, nil
}

// checkURL returns the path of a URL. The error does not quote the URL, which
// may contain a password.
func checkURL(raw string) (path string, err error) {
	if _, err := transport.ParseBaseURL(raw); err != nil {
		return "", fmt.Errorf("%w: url: %w", wxphone.ErrInvalidArgument, err)
	}
	u, err := url.Parse(raw)
	if err != nil {
		return "", invalid("url", "is not a URL")
	}
	return u.Path, nil
}

// Format implements [fmt.Formatter]. Every verb prints the URL and no key.
func (s Source) Format(f fmt.State, _ rune) {
	text := "tokenhttp.Source"
	if s.settings != nil {
		text += "(" + s.settings.url + ")"
	}
	_, _ = io.WriteString(f, text)
}

// Token implements [wxphone.TokenSource]. It returns the token server's token.
//
// The error is a [*net/url.Error] if the token server does not answer, and an
// [*AnswerError] if the answer is not a token. Errors contain no key and no
// token.
func (s *Source) Token(ctx context.Context) (wxphone.Token, error) {
	if err := s.check(ctx); err != nil {
		return wxphone.Token{}, err
	}
	asked := time.Now()
	status, body, err := s.settings.exchange(ctx, http.MethodGet, nil)
	if err != nil {
		return wxphone.Token{}, err
	}
	var got tokenAnswer
	if status != http.StatusOK || !decode(body, &got) || got.AccessToken == "" {
		return wxphone.Token{}, s.settings.answerError(status, body, "get a token")
	}
	return got.token(asked), nil
}

// InvalidateToken implements [wxphone.TokenInvalidator]. It reports to the
// token server that WeChat rejected the token rejected. The server does nothing
// if it has already replaced that token.
//
// The errors are those of [Source.Token]. The error matches
// [errors.ErrUnsupported] if the token server's source does not accept reports.
func (s *Source) InvalidateToken(ctx context.Context, rejected string) error {
	if err := s.check(ctx); err != nil {
		return err
	}
	if rejected == "" {
		return invalid("rejected", "is empty")
	}
	report := wire.Object("access_token", rejected)
	status, body, err := s.settings.exchange(ctx, http.MethodPost, report, rejected)
	if err != nil {
		return err
	}
	if status != http.StatusNoContent {
		return s.settings.answerError(status, body, "replace a refused token")
	}
	return nil
}

// check rejects a Source or context that would cause a panic later.
func (s *Source) check(ctx context.Context) error {
	switch {
	case s == nil || s.settings == nil:
		return invalid("Source", "was not made by NewSource")
	case ctx == nil:
		return invalid("ctx", "is nil")
	}
	return nil
}

// exchange returns the status and the body of an answer. The body is nil if it
// is too long. secrets are the values, besides the key, that no error may
// contain.
func (s *settings) exchange(ctx context.Context, method string, body []byte, secrets ...string) (int, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, s.url, bytes.NewReader(body))
	if err != nil {
		return 0, nil, s.networkError(method, err, secrets)
	}
	req.Header.Set("Authorization", scheme+" "+s.key.Reveal())
	req.Header.Set("Accept", "application/json")
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := s.http.Do(req)
	if err != nil {
		return 0, nil, s.networkError(method, err, secrets)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return 0, nil, s.networkError(method, err, secrets)
	}
	if len(got) > maxAnswer {
		got = nil
	}
	return resp.StatusCode, got, nil
}

// networkError rebuilds net/http's error without text that a transport may have
// added.
func (s *settings) networkError(method string, err error, secrets []string) error {
	var given *url.Error
	if errors.As(err, &given) {
		err = given.Err
	}
	return fmt.Errorf("tokenhttp: the token server does not answer: %w",
		&url.Error{Op: method, URL: s.url, Err: redact.NetworkError(err, append(secrets, s.key.Reveal()))})
}

// tokenAnswer is a token as a Source decodes it.
type tokenAnswer struct {
	AccessToken wire.Text `json:"access_token"`
	ExpiresIn   wire.Int  `json:"expires_in"`
}

// token measures the lifetime from before the request, so that a slow answer
// does not make the token appear younger than it is. The expiry is unknown if
// expires_in is not usable or has passed before the answer arrived.
func (a *tokenAnswer) token(asked time.Time) wxphone.Token {
	t := wxphone.Token{AccessToken: string(a.AccessToken)}
	if seconds := a.ExpiresIn.Value; seconds > 0 {
		life := time.Duration(min(seconds, int64(maxLife/time.Second))) * time.Second
		if expires := asked.Add(life); expires.After(time.Now()) {
			t.ExpiresAt = expires
		}
	}
	return t
}

// decode decodes a body that is one JSON object. It returns no error, because a
// decoder's error would quote the body.
func decode(body []byte, into any) bool { return json.Unmarshal(body, into) == nil }
