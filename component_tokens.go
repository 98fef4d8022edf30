package wxphone

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/wxphone/wxphone/internal/guarded"
	"github.com/wxphone/wxphone/internal/redact"
	"github.com/wxphone/wxphone/internal/tokencache"
	"github.com/wxphone/wxphone/internal/transport"
	"github.com/wxphone/wxphone/internal/wire"
)

// componentSource fetches the component_access_token.
//
// See https://developers.weixin.qq.com/doc/oplatform/openApi/OpenApiDoc/ticket-token/getComponentAccessToken.html
type componentSource struct {
	api     *api
	account *account
	ticket  func(context.Context) (string, error)
}

type componentAnswer struct {
	tokenAnswer
	Token wire.Text `json:"component_access_token"`
}

// Complete makes an answer without a token a ResponseError.
func (a *componentAnswer) Complete() bool { return a.Token != "" }

// endpoint names the source in log records.
func (s *componentSource) endpoint() string { return pathComponentToken }

func (s *componentSource) Token(ctx context.Context) (Token, error) {
	ticket, err := s.ticket(ctx)
	if err != nil {
		return Token{}, notHad(pathComponentToken, errcodeTicketExpired, "component_verify_ticket", redact.Error(err, []string{ticket}))
	}
	if ticket = strings.TrimSpace(ticket); ticket == "" {
		return Token{}, notHad(pathComponentToken, errcodeTicketExpired, "component_verify_ticket", errNotStored)
	}
	asked := time.Now()
	answer, err := s.api.callWithoutToken(ctx, &transport.Request{
		Method: http.MethodPost,
		Path:   pathComponentToken,
		Body: wire.Object("component_appid", s.account.appID, "component_appsecret", s.account.secret.Reveal(),
			"component_verify_ticket", ticket),
		Secrets:   []string{s.account.secret.Reveal(), ticket},
		Urgent:    true,
		NewAnswer: func() wire.Answer { return new(componentAnswer) },
	})
	if err != nil {
		return Token{}, err
	}
	a := answer.(*componentAnswer)
	a.AccessToken = a.Token
	return a.token(asked), nil
}

var errNotStored = errors.New("none is stored")

// notHad is what is needed for a token and could not be had: WeChat would say
// the same, and what to do is the same.
func notHad(endpoint string, errcode int, what string, cause error) error {
	return tokencache.Unasked(fmt.Errorf("%w: %w",
		&APIError{Endpoint: endpoint, Code: errcode, Message: "no " + what + " to send"}, cause))
}

// authorizerSource fetches a mini-program's authorizer_access_token.
//
// See https://developers.weixin.qq.com/doc/oplatform/openApi/OpenApiDoc/ticket-token/getAuthorizerAccessToken.html
type authorizerSource struct {
	platform      *Component
	appID         string
	refreshTokens RefreshTokens
	log           *slog.Logger

	mu      sync.Mutex
	unsaved unsavedToken
	// beyondRepair is why a dead refresh token could not be replaced, and is
	// good until the look-up may be repeated.
	beyondRepair      error
	beyondRepairUntil time.Time
}

// unsavedToken is a refresh token that could not be saved yet, and the one that
// is stored in its place.
type unsavedToken struct{ token, stored string }

type authorizerAnswer struct {
	tokenAnswer
	Token        wire.Text `json:"authorizer_access_token"`
	RefreshToken wire.Text `json:"authorizer_refresh_token"`
}

// Complete makes an answer without a token a ResponseError.
func (a *authorizerAnswer) Complete() bool { return a.Token != "" }

// authorizerToken returns the authorizer_access_token.
func (a *authorizerAnswer) authorizerToken(asked time.Time) Token {
	a.AccessToken = a.Token
	return a.token(asked)
}

func (s *authorizerSource) endpoint() string { return pathAuthorizerToken }

func (s *authorizerSource) Token(ctx context.Context) (Token, error) {
	refreshToken, stored, err := s.load(ctx)
	if err != nil {
		return Token{}, err
	}
	token, err := s.fetch(ctx, refreshToken, stored)
	if !isRefreshTokenDead(err) {
		return token, err
	}
	s.keep(unsavedToken{}) // the stored one is all that is left to try
	// Another process or a new authorisation may have stored one meanwhile.
	if changed, storedNow, loadErr := s.load(ctx); loadErr == nil && changed != refreshToken {
		refreshToken, stored = changed, storedNow
		if token, err = s.fetch(ctx, refreshToken, stored); !isRefreshTokenDead(err) {
			return token, err
		}
	}
	return s.repair(ctx, refreshToken, stored, err)
}

func isRefreshTokenDead(err error) bool {
	var refusal *APIError
	return errors.As(err, &refusal) && refusal.Code == errcodeRefreshToken
}

// fetch has WeChat make an access_token, and saves the refresh token that comes
// with it.
func (s *authorizerSource) fetch(ctx context.Context, refreshToken, stored string) (Token, error) {
	asked := time.Now()
	answer, err := s.platform.api.call(ctx, &transport.Request{
		Method: http.MethodPost,
		Path:   pathAuthorizerToken,
		Body: wire.Object("component_appid", s.platform.account.appID, "authorizer_appid", s.appID,
			"authorizer_refresh_token", refreshToken),
		Secrets:   []string{refreshToken},
		Urgent:    true,
		NewAnswer: func() wire.Answer { return new(authorizerAnswer) },
	})
	if err != nil {
		return Token{}, err
	}
	a := answer.(*authorizerAnswer)
	if a.RefreshToken != "" {
		refreshToken = string(a.RefreshToken)
	}
	s.giveUp(nil)
	s.save(ctx, refreshToken, stored)
	return a.authorizerToken(asked), nil
}

// refreshTokensCode bounds each call of a RefreshTokens: one that hangs is down.
var refreshTokensCode = guarded.Code{Name: "RefreshTokens", Limit: time.Second}

// load returns the refresh token to send, and the one that is stored. They
// differ if the newest could not be saved; but a store that has changed since
// then has a newer one, say of a new authorisation.
func (s *authorizerSource) load(ctx context.Context) (refreshToken, stored string, err error) {
	stored, err = guarded.Call(ctx, &refreshTokensCode, func(ctx context.Context) (string, error) {
		stored, err := s.refreshTokens.LoadRefreshToken(ctx, s.appID)
		if err != nil {
			err = redact.Error(err, []string{stored})
		}
		return stored, err
	})
	s.mu.Lock()
	unsaved := s.unsaved
	s.mu.Unlock()
	switch {
	case err == nil && stored == "":
		err = errNotStored
	case err == nil && stored != unsaved.stored:
		return stored, stored, nil
	case unsaved.token != "":
		return unsaved.token, unsaved.stored, nil
	}
	return "", "", notHad(pathAuthorizerToken, errcodeRefreshToken, "authorizer_refresh_token", err)
}

const saveTries = 3

// save does not fail the fetch: the access token is good for two hours, in
// which the refresh token waits in memory for the next chance. Nor does the
// end of the fetch end it: WeChat has answered, and may not tell this refresh
// token again. It returns the token that is stored after it.
func (s *authorizerSource) save(ctx context.Context, refreshToken, stored string) (storedNow string) {
	ctx = context.WithoutCancel(ctx)
	var err error
	for try := range saveTries {
		if try > 0 {
			_ = transport.Sleep(ctx, transport.Backoff(try-1)) // nothing ends this context
		}
		err = guarded.Do(ctx, &refreshTokensCode, func(ctx context.Context) error {
			return s.refreshTokens.SaveRefreshToken(ctx, s.appID, refreshToken)
		})
		if err == nil {
			s.keep(unsavedToken{})
			return refreshToken
		}
	}
	s.keep(unsavedToken{refreshToken, stored})
	err = redact.Error(err, []string{refreshToken, stored})
	if refreshToken == stored {
		s.log.WarnContext(ctx, "wxphone: authorizer_refresh_token not saved; it is the one that was stored", "error", err)
		return stored
	}
	s.log.ErrorContext(ctx, "wxphone: authorizer_refresh_token not saved; until it is, it exists in this process only", "error", err)
	return stored
}

func (s *authorizerSource) keep(unsaved unsavedToken) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unsaved = unsaved
}

const (
	// repairPause is how long a repair is not tried again if it did not help.
	repairPause = 10 * time.Minute
	// repairLimit bounds the look-up. A fetch under the lock of a token store
	// has 12 s, of which this leaves enough to save the token and to fetch with
	// it.
	repairLimit = 6 * time.Second
	// repairEntries bounds it too: 20 pages.
	repairEntries = 20 * authorizersPerPage
)

// Why a dead refresh token could not be replaced.
var (
	errAuthorisationGone = errors.New("WeChat does not list the mini-program, so its authorisation is gone")
	errNeverQueried      = errors.New("WeChat lists the mini-program without a refresh token, because the authorization_code was never exchanged; the owner must authorise again")
	errListedIsSame      = errors.New("WeChat lists the same refresh token")
	errListedIsDead      = errors.New("it is the one that WeChat lists")
	errListTooLong       = fmt.Errorf("the mini-program is not among the first %d that WeChat lists", repairEntries)
)

// repair replaces a dead refresh token by the one that WeChat lists, and tries
// that once. refusal is what the dead one was refused with.
//
// It reads the list and does not ask for the one mini-program with
// api_get_authorizer_info, because WeChat promises a refresh token only there.
func (s *authorizerSource) repair(ctx context.Context, dead, stored string, refusal error) (Token, error) {
	if why := s.whyGivenUp(); why != nil {
		return Token{}, fmt.Errorf("%w; %w", refusal, why)
	}
	listed, why := s.lookUp(ctx, dead)
	if why == nil {
		s.log.WarnContext(ctx, "wxphone: replacing the dead authorizer_refresh_token by the one that WeChat lists")
		stored = s.save(ctx, listed, stored)
		token, err := s.fetch(ctx, listed, stored)
		if !isRefreshTokenDead(err) {
			return token, err
		}
		refusal, why = err, errListedIsDead
	}
	s.giveUp(why)
	s.log.WarnContext(ctx, "wxphone: the authorizer_refresh_token is dead and could not be replaced",
		"error", why, "next_try", repairPause)
	return Token{}, fmt.Errorf("%w; %w", refusal, why)
}

// lookUp returns the refresh token that WeChat lists for the mini-program, or
// why that is of no use.
func (s *authorizerSource) lookUp(ctx context.Context, dead string) (listed string, why error) {
	ctx, cancel := context.WithTimeout(ctx, repairLimit)
	defer cancel()
	read := 0
	for a, err := range s.platform.Authorizers(ctx) {
		read++
		switch {
		case err != nil:
			return "", fmt.Errorf("looking it up failed: %w", err)
		case a.AppID != s.appID && read == repairEntries:
			return "", errListTooLong
		case a.AppID != s.appID:
		case a.RefreshToken == "":
			return "", errNeverQueried
		case a.RefreshToken == dead:
			return "", errListedIsSame
		default:
			return a.RefreshToken, nil
		}
	}
	return "", errAuthorisationGone
}

// giveUp has no repair tried for some time, or anew if why is nil.
func (s *authorizerSource) giveUp(why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.beyondRepair, s.beyondRepairUntil = why, time.Now().Add(repairPause)
}

// whyGivenUp returns nil if a repair may be tried.
func (s *authorizerSource) whyGivenUp() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Now().Before(s.beyondRepairUntil) {
		return s.beyondRepair
	}
	return nil
}
