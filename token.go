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

// Token is an access_token and the time it expires.
//
// It prints redacted under every fmt verb and in log/slog. Its JSON holds the
// token itself, because token stores need it.
type Token struct {
	AccessToken string `json:"access_token"`
	// ExpiresAt is when WeChat stops taking the token. The zero time means
	// that it is not known; such a token is never cached.
	ExpiresAt time.Time `json:"expires_at"`
}

// String returns the expiry and "[REDACTED]" for the token.
func (t Token) String() string {
	if t.ExpiresAt.IsZero() {
		return redact.Mark
	}
	return redact.Mark + " until " + t.ExpiresAt.UTC().Format(time.RFC3339)
}

// Format implements [fmt.Formatter]: no verb prints the token.
func (t Token) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, t.String()) }

// LogValue implements [slog.LogValuer].
func (t Token) LogValue() slog.Value { return slog.StringValue(t.String()) }

// TokenSource supplies access_tokens.
//
// Token is called from many goroutines at once and must honour ctx. It returns
// a token that WeChat takes now; its caller may hold it until ExpiresAt.
type TokenSource interface {
	Token(ctx context.Context) (Token, error)
}

// TokenSourceFunc is a function as a [TokenSource].
type TokenSourceFunc func(ctx context.Context) (Token, error)

// Token calls f.
func (f TokenSourceFunc) Token(ctx context.Context) (Token, error) { return f(ctx) }

// TokenInvalidator is an ability a [TokenSource] may have: to be told that
// WeChat refused a token.
//
// InvalidateToken must compare: only if the source would still hand out
// rejected does it fetch another one for the next call of Token. Many calls
// report the same token at once.
type TokenInvalidator interface {
	InvalidateToken(ctx context.Context, rejected string) error
}

// maxTokenLife caps an absurd expires_in; WeChat's is 7200 s.
const maxTokenLife = 24 * time.Hour

// tokenAnswer is the answer of both token APIs.
type tokenAnswer struct {
	wire.Status
	AccessToken wire.Text `json:"access_token"`
	ExpiresIn   wire.Int  `json:"expires_in"`
}

// Complete makes an answer without a token a ResponseError.
func (a *tokenAnswer) Complete() bool { return a.AccessToken != "" }

// token counts the life from before the request, so that a slow answer does
// not make the token look younger than it is. Without a usable expires_in, or
// with one that the answer outlasted, the expiry is unknown.
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

// stableSource fetches from stable_token, which hands every process of an
// account the same token and retires none.
//
// See https://developers.weixin.qq.com/miniprogram/dev/OpenApiDoc/mp-access-token/getStableAccessToken.html
type stableSource struct {
	sender  *transport.Sender
	account *account
}

func (s *stableSource) Token(ctx context.Context) (Token, error) {
	token, _, err := fetchToken(ctx, s.sender, s.request())
	return token, err
}

// forceToken makes WeChat retire the token that it would hand out.
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
		Body:    wire.Object("grant_type", "client_credential", "appid", s.account.appID, "secret", s.account.secret),
		Retries: defaultRetries,
		Secrets: []string{s.account.secret},
	}
}

// classicSource fetches from /cgi-bin/token, where every fetch makes a new
// token and retires the one before.
type classicSource struct {
	sender  *transport.Sender
	account *account
}

func (s *classicSource) Token(ctx context.Context) (Token, error) {
	token, _, err := fetchToken(ctx, s.sender, &transport.Request{
		Method: http.MethodGet,
		Path:   pathClassicToken,
		Query: url.Values{
			"grant_type": {"client_credential"},
			"appid":      {s.account.appID},
			"secret":     {s.account.secret},
		}.Encode(),
		Retries: defaultRetries,
		Secrets: []string{s.account.secret},
	})
	return token, err
}

// fetchToken also reports whether WeChat may have got the request.
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
