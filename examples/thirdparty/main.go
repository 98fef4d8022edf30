// Thirdparty is a third-party platform (服务商) that serves two mini-programs,
// against a fake WeChat on this machine.
//
//	go run ./examples/thirdparty
//
// A platform needs two things that WeChat pushes to it, to the URL for
// authorisation events: the component_verify_ticket, every 10 minutes, and the
// news that a mini-program authorised the platform. The pushes are encrypted
// XML, and are answered with "success". Decrypting them is no part of wxphone;
// here, variables and method calls stand for them.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"

	"github.com/wxphone/wxphone"
)

func main() {
	if err := run(context.Background(), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "thirdparty:", err)
		os.Exit(1)
	}
}

// platform is what the program keeps for all its mini-programs.
type platform struct {
	component *wxphone.Component
	tokens    *tokenFile

	mu      sync.Mutex
	ticket  string
	clients map[string]*wxphone.Client
}

// newPlatform is called once per process.
func newPlatform(appID, secret string, tokens *tokenFile, opts ...wxphone.Option) (*platform, error) {
	p := &platform{tokens: tokens, clients: make(map[string]*wxphone.Client)}
	var err error
	p.component, err = wxphone.NewComponent(appID, secret, p.latestTicket, opts...)
	return p, err
}

// latestTicket is asked when a new component_access_token is needed. With
// several processes, keep the ticket where all of them find it.
func (p *platform) latestTicket(context.Context) (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ticket, nil
}

// onTicket is what the handler of WeChat's pushes does with a new ticket.
func (p *platform) onTicket(ticket string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ticket = ticket
}

// client returns the one Client of a mini-program. It is small, and shares its
// connections with the others.
func (p *platform) client(appID string) (*wxphone.Client, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if client := p.clients[appID]; client != nil {
		return client, nil
	}
	client, err := p.component.Client(appID, p.tokens)
	if err != nil {
		return nil, err
	}
	p.clients[appID] = client
	return client, nil
}

// phone redeems the code of a tap in the mini-program appID.
func (p *platform) phone(ctx context.Context, appID, code string) (*wxphone.PhoneInfo, error) {
	client, err := p.client(appID)
	if err != nil {
		return nil, err
	}
	return client.GetPhoneNumber(ctx, code)
}

// tokenFile keeps the mini-programs' refresh tokens in a JSON file. It
// implements wxphone.RefreshTokens; a platform with several processes uses a
// table of its database.
type tokenFile struct {
	path string
	mu   sync.Mutex
}

func (f *tokenFile) LoadRefreshToken(_ context.Context, appID string) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	tokens, err := f.read()
	return tokens[appID], err
}

func (f *tokenFile) SaveRefreshToken(_ context.Context, appID, refreshToken string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	tokens, err := f.read()
	if err != nil {
		return err
	}
	tokens[appID] = refreshToken
	text, err := json.Marshal(tokens)
	if err != nil {
		return err
	}
	// A crash leaves the old file or the new one, never half of one.
	if err := os.WriteFile(f.path+".new", text, 0o600); err != nil {
		return err
	}
	return os.Rename(f.path+".new", f.path)
}

func (f *tokenFile) read() (map[string]string, error) {
	tokens := make(map[string]string)
	text, err := os.ReadFile(f.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return tokens, nil
	case err != nil:
		return nil, err
	}
	return tokens, json.Unmarshal(text, &tokens)
}

// advise says what the platform does about an error besides answering its
// user with wxphone.HTTPStatus(err).
func advise(err error) string {
	var refusal *wxphone.APIError
	if !errors.As(err, &refusal) || refusal.Kind() != wxphone.KindPlatform {
		return "see the other examples"
	}
	switch refusal.Code {
	case 61003, 61007: // not authorised, or without permission set 18
		return "show the owner the authorisation page again; no retry will help"
	case 61023: // the refresh token is not valid
		return "save the current refresh token from api_get_authorizer_list"
	case 61005, 61006: // the ticket expired, or is not one
		return "check that the pushes arrive; api_start_push_ticket starts them"
	default:
		return "check the platform's settings"
	}
}
