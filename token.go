package wxphone

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/wxphone/wxphone/internal/redact"
	"github.com/wxphone/wxphone/internal/transport"
	"github.com/wxphone/wxphone/internal/wire"
)

// Token is an access_token and its expiry.
//
// It prints redacted with every fmt verb and in log/slog. Its JSON encoding
// contains the token, because token stores need it.
type Token struct {
	AccessToken string `json:"access_token"`
	// ExpiresAt is the time after which WeChat rejects the token. The zero time
	// means that it is not known; such a token is not cached.
	ExpiresAt time.Time `json:"expires_at"`
}

// String returns "[REDACTED]" in place of the token, and the expiry.
func (t Token) String() string {
	if t.ExpiresAt.IsZero() {
		return redact.Mark
	}
	return redact.Mark + " until " + t.ExpiresAt.UTC().Format(time.RFC3339)
}

// Format implements [fmt.Formatter]. No verb prints the token.
func (t Token) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, t.String()) }

// LogValue implements [slog.LogValuer].
func (t Token) LogValue() slog.Value { return slog.StringValue(t.String()) }

// TokenSource supplies access_tokens.
//
// Token is called by multiple goroutines concurrently and must honour ctx. It
// returns a token that WeChat currently accepts. The caller may use the token
// until ExpiresAt.
type TokenSource interface {
	Token(ctx context.Context) (Token, error)
}

// TokenSourceFunc is an adapter that allows the use of a function as a
// [TokenSource].
type TokenSourceFunc func(ctx context.Context) (Token, error)

// Token calls f(ctx).
func (f TokenSourceFunc) Token(ctx context.Context) (Token, error) { return f(ctx) }

// TokenInvalidator is an optional interface of a [TokenSource]. The Client
// calls InvalidateToken when WeChat rejects a token.
//
// InvalidateToken must compare: if the source would still return rejected, the
// next call of Token must fetch another token; otherwise InvalidateToken does
// nothing. Many calls may report the same token concurrently.
type TokenInvalidator interface {
	InvalidateToken(ctx context.Context, rejected string) error
}

// maxTokenLife limits an implausible expires_in. WeChat's is 7200 seconds.
const maxTokenLife = 24 * time.Hour

// tokenAnswer is the answer of both token APIs.
type tokenAnswer struct {
	wire.Status
	AccessToken wire.Text `json:"access_token"`
	ExpiresIn   wire.Int  `json:"expires_in"`
}

// Complete reports whether the answer contains a token. Otherwise the call
// returns a ResponseError.
func (a *tokenAnswer) Complete() bool { return a.AccessToken != "" }

// token measures the lifetime from before the request, so that a slow answer
// does not make the token appear younger than it is. The expiry is unknown if
// expires_in is not usable or has passed before the answer arrived.
func (a *tokenAnswer) token(asked time.Time) Token {
	t := Token{AccessToken: string(a.AccessToken)}
	if seconds := a.ExpiresIn.Value; seconds > 0 {
		life := time.Duration(min(seconds, int64(maxTokenLife/time.Second))) * time.Second
		if expires := asked.Add(life); expires.After(time.Now()) {
			t.ExpiresAt = expires
		}
	}
	return t
}

// stableSource fetches from stable_token, which returns the same token to every
// process of an account and invalidates none.
//
// See https://developers.weixin.qq.com/miniprogram/dev/OpenApiDoc/mp-access-token/getStableAccessToken.html
type stableSource struct {
	sender  *transport.Sender
	account *account
}

// endpoint names the source in log records.
func (s *stableSource) endpoint() string { return pathStableToken }

func (s *stableSource) Token(ctx context.Context) (Token, error) {
	token, _, err := fetchToken(ctx, s.sender, s.request())
	return token, err
}

// forceToken makes WeChat replace the token that it currently returns.
func (s *stableSource) forceToken(ctx context.Context) (token Token, sent bool, err error) {
	req := s.request()
	req.Body = append(req.Body[:len(req.Body)-1], `,"force_refresh":true}`...)
	req.Retries = 0 // each attempt counts against the day's quota
	return fetchToken(ctx, s.sender, req)
}

func (s *stableSource) request() *transport.Request {
	return &transport.Request{
		Method:  http.MethodPost,
		Path:    pathStableToken,
		Body:    wire.Object("grant_type", "client_credential", "appid", s.account.appID, "secret", s.account.secret.Reveal()),
		Retries: defaultRetries,
		Secrets: []string{s.account.secret.Reveal()},
	}
}

// classicSource fetches from /cgi-bin/token, where every fetch creates a new
// token and invalidates the previous one.
type classicSource struct {
	sender  *transport.Sender
	account *account
}

func (s *classicSource) endpoint() string { return pathClassicToken }

func (s *classicSource) Token(ctx context.Context) (Token, error) {
	token, _, err := fetchToken(ctx, s.sender, &transport.Request{
		Method: http.MethodGet,
		Path:   pathClassicToken,
		Query: url.Values{
			"grant_type": {"client_credential"},
			"appid":      {s.account.appID},
			"secret":     {s.account.secret.Reveal()},
		}.Encode(),
		Retries: defaultRetries,
		Secrets: []string{s.account.secret.Reveal()},
	})
	return token, err
}

// fetchToken also reports whether WeChat may have received the request.
func fetchToken(ctx context.Context, sender *transport.Sender, req *transport.Request) (token Token, sent bool, err error) {
	req.NewAnswer = func() wire.Answer { return new(tokenAnswer) }
	req.Urgent = true
	var progress transport.Progress
	answer, err := sender.Send(ctx, req, "", &progress)
	if err != nil {
		return Token{}, progress.Sent(), err
	}
	return answer.(*tokenAnswer).token(progress.SentAt), true, nil
}
