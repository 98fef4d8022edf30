package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/wxphone/wxphone"
)

// platform serves the mini-programs that have authorised it.
type platform struct {
	appID     string
	component *wxphone.Component
	rows      *store
	logger    *slog.Logger

	mu      sync.Mutex
	clients map[string]*wxphone.Client
}

// newPlatform is called once per process.
func newPlatform(appID, secret string, rows *store, logger *slog.Logger, opts ...wxphone.Option) (*platform, error) {
	p := &platform{appID: appID, rows: rows, logger: logger, clients: make(map[string]*wxphone.Client)}
	latestTicket := func(ctx context.Context) (string, error) { return rows.latestTicket(ctx, appID) }
	var err error
	p.component, err = wxphone.NewComponent(appID, secret, latestTicket, opts...)
	return p, err
}

// onPush does what a push asks for. If it fails, WeChat pushes again.
func (p *platform) onPush(ctx context.Context, push *wxphone.Push) error {
	var err error
	switch push.InfoType {
	case wxphone.PushTicket:
		err = p.rows.saveTicket(ctx, p.appID, push.Ticket, push.CreatedAt)
	case wxphone.PushAuthorized, wxphone.PushUpdated:
		err = p.authorize(ctx, push)
	case wxphone.PushUnauthorized:
		err = p.forget(ctx, push.AuthorizerAppID, push.CreatedAt)
	}
	if err != nil {
		p.logger.ErrorContext(ctx, "push not handled", "push", *push, "error", err) // prints without secrets
	}
	return err
}

// authorize exchanges the code of a push and saves the refresh token. That is
// one request and one statement, well within the 5 seconds that WeChat waits.
func (p *platform) authorize(ctx context.Context, push *wxphone.Push) error {
	authorization, err := p.component.QueryAuthorization(ctx, push.AuthorizationCode)
	var refusal *wxphone.APIError
	if errors.As(err, &refusal) && refusal.Code == 61010 {
		return p.restore(ctx, push.AuthorizerAppID)
	}
	if err != nil {
		return err
	}
	if !authorization.CanGetPhoneNumbers() {
		p.logger.WarnContext(ctx, "authorised without permission set 18", "appid", authorization.AppID)
	}
	return p.rows.saveAuthorization(ctx, authorization.AppID, authorization.RefreshToken, push.CreatedAt)
}

// restore is for a code that was exchanged before. Mostly its push came twice.
// But if the answer was lost or the database was down, WeChat's list has the
// refresh token.
func (p *platform) restore(ctx context.Context, appID string) error {
	if refreshToken, err := p.rows.LoadRefreshToken(ctx, appID); err != nil || refreshToken != "" {
		return err
	}
	for authorizer, err := range p.component.Authorizers(ctx) {
		if err != nil {
			return err
		}
		if authorizer.AppID == appID && authorizer.RefreshToken != "" {
			return p.rows.saveAuthorization(ctx, appID, authorizer.RefreshToken, authorizer.AuthorizedAt)
		}
	}
	return nil // an old push of an authorisation that has ended
}

// forget ends an authorisation, unless the owner authorised the platform
// again after the push was made.
func (p *platform) forget(ctx context.Context, appID string, withdrawnAt time.Time) error {
	deleted, err := p.rows.deleteAuthorization(ctx, appID, withdrawnAt)
	if deleted {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.clients, appID)
	}
	return err
}

// client returns the one Client of a mini-program. It is small, and shares its
// connections with the others.
func (p *platform) client(appID string) (*wxphone.Client, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if client := p.clients[appID]; client != nil {
		return client, nil
	}
	client, err := p.component.Client(appID, p.rows)
	if err != nil {
		return nil, err
	}
	p.clients[appID] = client
	return client, nil
}

var errNotAuthorized = errors.New("this mini-program has not authorised the platform")

// phone redeems the code of a tap in the mini-program appID.
func (p *platform) phone(ctx context.Context, appID, code string) (*wxphone.PhoneInfo, error) {
	// Not everyone who names an appid gets a Client made for it.
	refreshToken, err := p.rows.LoadRefreshToken(ctx, appID)
	if err != nil {
		return nil, fmt.Errorf("database: %w", err)
	}
	if refreshToken == "" {
		return nil, errNotAuthorized
	}
	client, err := p.client(appID)
	if err != nil {
		return nil, err
	}
	return client.GetPhoneNumber(ctx, code)
}

// advise says what the platform does about an error besides answering its
// user with wxphone.HTTPStatus(err).
func advise(err error) string {
	var refusal *wxphone.APIError
	if !errors.As(err, &refusal) || refusal.Kind() != wxphone.KindPlatform {
		return "not an error of the platform; see the text"
	}
	switch refusal.Code {
	case 61003, 61007, 61023: // not authorised, or without set 18, or no refresh token helps
		return "show the owner the authorisation page again; no retry will help"
	case 61005, 61006: // the ticket expired, or is not one
		return "check that the pushes arrive; StartTicketPush starts them"
	default:
		return "check the platform's settings"
	}
}
