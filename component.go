package wxphone

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"

	"github.com/wxphone/wxphone/internal/redact"
	"github.com/wxphone/wxphone/internal/transport"
	"github.com/wxphone/wxphone/internal/wire"
)

// Component is a third-party platform (服务商) that calls WeChat for the
// mini-programs that authorised it. Make it with [NewComponent], once per
// process, and one [Client] for each mini-program with [Component.Client].
//
// See https://developers.weixin.qq.com/doc/oplatform/Third-party_Platforms/2.0/product/Third_party_platform_appid.html
type Component struct { //nolint:recvcheck // Format has a value receiver, so that a copied Component prints no secret either
	account *account
	options []Option
	api     *api // with the component_access_token
}

// RefreshTokens keeps the authorizer_refresh_token of each mini-program, which
// stands for its authorisation. The first one comes with the authorisation, from
// [Component.QueryAuthorization].
//
// The methods are called from many goroutines at once and must honour ctx,
// whose deadline is short. A refresh token is a secret.
type RefreshTokens interface {
	// LoadRefreshToken returns the token that was saved last, or "" if there
	// is none.
	LoadRefreshToken(ctx context.Context, authorizerAppID string) (string, error)
	// SaveRefreshToken keeps refreshToken for good. It is called after every
	// refresh, mostly with the token that is kept already. If it fails three
	// times the Client works on with the token in its memory, unless another
	// one is stored meanwhile, and saves it at the next refresh.
	SaveRefreshToken(ctx context.Context, authorizerAppID, refreshToken string) error
}

// NewComponent returns the third-party platform appID. ticket returns the
// component_verify_ticket that WeChat pushed last, to a [PushReader]: WeChat
// pushes one every 10 minutes, and each is good for 12 hours. A missing ticket
// is reported as errcode 61005.
//
// The component_access_token is fetched when it is first needed and cached as
// [CacheTokens] does; with [WithTokenStore], processes share it. The platform's
// Clients inherit opts. Options about where a Client's token comes from do not
// fit a platform and are [ErrInvalidArgument], as is an empty argument.
func NewComponent(appID, secret string, ticket func(context.Context) (string, error), opts ...Option) (*Component, error) {
	o, err := newComponentOptions(opts)
	if err != nil {
		return nil, err
	}
	if err := checkAppID("component_appid", appID); err != nil {
		return nil, err
	}
	if err := checkCredential("component_appsecret", secret); err != nil {
		return nil, err
	}
	if ticket == nil {
		return nil, invalid("ticket", "is nil")
	}
	o.log = o.log.With("appid", appID)
	c := &Component{
		account: &account{appID: appID, secret: redact.Conceal(secret)},
		options: append([]Option(nil), opts...),
		api:     &api{sender: o.sender(appID), maxRetries: o.maxRetries},
	}
	source := &componentSource{c.api, c.account, ticket}
	c.api.tokens = newTokenCache(source, o.cacheOptions("wxphone:component:"+appID)...)
	return c, nil
}

func newComponentOptions(opts []Option) (*options, error) {
	o, err := newOptions(opts)
	if err != nil {
		return nil, err
	}
	const misfit = "does not fit a third-party platform, which has its own tokens"
	switch {
	case o.source != nil:
		return nil, invalid("WithTokenSource", misfit)
	case o.classic:
		return nil, invalid("WithClassicToken", misfit)
	case o.tokenless:
		return nil, invalid("WithoutAccessToken", misfit)
	}
	return o, nil
}

// Format implements [fmt.Formatter]: every verb prints the appid and no
// secret.
func (c Component) Format(f fmt.State, _ rune) {
	if c.account == nil {
		_, _ = io.WriteString(f, "wxphone.Component()")
		return
	}
	_, _ = io.WriteString(f, "wxphone.Component("+c.account.appID+")")
}

// check refuses a Component and a context that would panic further down.
func (c *Component) check(ctx context.Context) error {
	switch {
	case c == nil || c.api == nil:
		return invalid("Component", "was not made by NewComponent")
	case ctx == nil:
		return invalid("ctx", "is nil")
	}
	return nil
}

// AccessToken returns the component_access_token that the Component itself
// uses, for calls of other APIs of a platform, from its cache while it is
// fresh. Report a token that WeChat refuses with
// [Component.InvalidateAccessToken] and ask again.
func (c *Component) AccessToken(ctx context.Context) (Token, error) {
	if err := c.check(ctx); err != nil {
		return Token{}, err
	}
	return c.api.tokens.Token(ctx)
}

// InvalidateAccessToken reports that WeChat refused the component_access_token
// rejected (errcode 40001, 40014, 40094 or 42001), so that the next call
// fetches another. It does nothing if the Component has replaced that token
// already.
func (c *Component) InvalidateAccessToken(ctx context.Context, rejected string) error {
	if err := c.check(ctx); err != nil {
		return err
	}
	if rejected == "" {
		return invalid("rejected", "is empty")
	}
	return c.api.tokens.(TokenInvalidator).InvalidateToken(ctx, rejected)
}

// Client returns a Client for the mini-program authorizerAppID, which must
// have authorised the platform with permission set 18. Keep it: its
// authorizer_access_token is cached in it. tokens is asked for the refresh
// token at every fetch, and given the new one.
//
// The Client inherits the platform's options; opts come after them. Clients
// share everything but the token and what opts change, so a process can have
// thousands. Code2Session goes through /sns/component/jscode2session. Log
// records of the Client name the mini-program as "appid", as those of any Client
// do, and as "authorizer", which only a platform's have.
//
// WeChat replaces a refresh token at times and says nothing. When the one that
// tokens has is refused with 61023, the Client looks the mini-program up in the
// list that [Component.Authorizers] reads, saves the token that it finds there,
// and tries once more. It reads at most 10,000 mini-programs, for at most 6
// seconds. If that does not help, the error says why, and it is not tried again
// for 10 minutes. A new token in tokens is tried at once.
//
// An [APIError] of [KindPlatform] says that the authorisation needs repair:
// 61003, 61007 and a lasting 61023 need the mini-program's owner. A refresh
// token that tokens does not have, or fails to load, is reported as 61023
// without asking WeChat.
func (c *Component) Client(authorizerAppID string, tokens RefreshTokens, opts ...Option) (*Client, error) {
	if c == nil || c.api == nil {
		return nil, invalid("Component", "was not made by NewComponent")
	}
	if err := checkAppID("authorizer_appid", authorizerAppID); err != nil {
		return nil, err
	}
	if tokens == nil {
		return nil, invalid("tokens", "is nil")
	}
	var inherited options
	all := append(slices.Clone(c.options), func(o *options) error { inherited = *o; return nil })
	o, err := newComponentOptions(append(all, opts...))
	if err != nil {
		return nil, err
	}
	o.log = o.log.With("appid", authorizerAppID, "authorizer", authorizerAppID)
	own := &api{sender: o.sender(authorizerAppID), maxRetries: o.maxRetries}
	c.shareHosts(own.sender, o.httpClient == inherited.httpClient)
	client := &Client{
		appID:     authorizerAppID,
		account:   &account{appID: authorizerAppID},
		api:       own,
		component: c.through(own),

		duplicates:      o.duplicates(authorizerAppID),
		watermarkMaxAge: o.watermarkMaxAge,
	}
	source := &authorizerSource{platform: client.component, appID: authorizerAppID, refreshTokens: tokens, log: o.log}
	key := "wxphone:authorizer:" + c.account.appID + ":" + authorizerAppID
	client.api.tokens = newTokenCache(source, o.cacheOptions(key)...)
	return client, nil
}

// shareHosts gives a mini-program's requests the platform's view of the hosts,
// if they are the same and asked in the same way, so that an outage is met once
// and not once for each mini-program.
func (c *Component) shareHosts(sender *transport.Sender, sameHTTPClient bool) {
	platform := c.api.sender
	if sameHTTPClient && sender.Hosts.Equal(platform.Hosts) {
		sender.HTTP, sender.Hosts = platform.HTTP, platform.Hosts
	}
}

// through returns the platform as one mini-program's Client calls it: with the
// platform's token, but the Client's hosts, retries, logger and observer.
func (c *Component) through(own *api) *Component {
	return &Component{account: c.account, api: &api{sender: own.sender, tokens: c.api.tokens, maxRetries: own.maxRetries}}
}

// code2Session is the platform's variant of [Client.Code2Session].
func (c *Component) code2Session(ctx context.Context, authorizerAppID, jsCode string) (wire.Answer, error) {
	return c.api.call(ctx, &transport.Request{
		Method: http.MethodGet,
		Path:   pathComponentCode2Session,
		Query: url.Values{
			"appid":           {authorizerAppID},
			"js_code":         {jsCode},
			"grant_type":      {"authorization_code"},
			"component_appid": {c.account.appID},
		}.Encode(),
		TokenName: "component_access_token",
		OneTime:   jsCode,
		Effect:    consumedCode,
		NewAnswer: func() wire.Answer { return new(sessionAnswer) },
	})
}

// isComponentTokenRefused tells the refusals that only a platform's APIs use
// for their token.
func isComponentTokenRefused(refusal *APIError) bool {
	if refusal.Code != 40094 {
		return false
	}
	switch refusal.Endpoint {
	case pathAuthorizerToken, pathComponentCode2Session, pathPreAuthCode, pathQueryAuth, pathAuthorizerList:
		return true
	}
	return false
}
