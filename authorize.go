package wxphone

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/wxphone/wxphone/internal/transport"
	"github.com/wxphone/wxphone/internal/wire"
)

// AuthorizationLink says where an authorisation link leads.
type AuthorizationLink struct {
	// RedirectURI is where the browser goes once the owner has agreed, with
	// auth_code and expires_in added to its query. It is an absolute http or
	// https URL, of the domain that the platform registered.
	RedirectURI string
	// ForPhone makes a link to be opened in WeChat on a phone. Without it the
	// link shows a QR code on a computer.
	ForPhone bool
	// AppID, if it is not empty, is the only account that can be authorised
	// with the link. Without it the owner chooses one of their mini-programs.
	AppID string
}

// The pages on which an owner agrees.
const (
	pageForComputers = "https://mp.weixin.qq.com/cgi-bin/componentloginpage?"
	pageForPhones    = "https://open.weixin.qq.com/wxaopen/safe/bindcomponent?action=bindcomponent&no_scan=1&"
)

type preAuthCodeAnswer struct {
	wire.Status
	PreAuthCode wire.Text `json:"pre_auth_code"`
}

// Complete makes an answer without a code a ResponseError.
func (a *preAuthCodeAnswer) Complete() bool { return a.PreAuthCode != "" }

// AuthorizationURL returns a link for the owner of a mini-program, who agrees
// there that the platform calls WeChat for it. It fetches a pre_auth_code for
// each link, because one works once, and for about 10 to 30 minutes: make the
// link when the owner asks for it.
//
// WeChat looks at the Referer. So the owner must come from a page of the domain
// that the platform registered, not from a bookmark or a mail. When the owner
// has agreed, the auth_code that RedirectURI gets and the [PushAuthorized] both
// lead to [Component.QueryAuthorization].
//
// See https://developers.weixin.qq.com/doc/oplatform/Third-party_Platforms/2.0/api/Before_Develop/Authorization_Process_Technical_Description.html
func (c *Component) AuthorizationURL(ctx context.Context, link AuthorizationLink) (string, error) {
	if err := c.check(ctx); err != nil {
		return "", err
	}
	if err := checkRedirect(link.RedirectURI); err != nil {
		return "", err
	}
	if link.AppID != "" {
		if err := checkCredential("AppID", link.AppID); err != nil {
			return "", err
		}
	}
	answer, err := c.api.call(ctx, &transport.Request{
		Method:    http.MethodPost,
		Path:      pathPreAuthCode,
		Body:      wire.Object("component_appid", c.account.appID),
		NewAnswer: func() wire.Answer { return new(preAuthCodeAnswer) },
	})
	if err != nil {
		return "", err
	}
	return link.url(c.account.appID, string(answer.(*preAuthCodeAnswer).PreAuthCode)), nil
}

func checkRedirect(redirect string) error {
	const name = "RedirectURI"
	if err := checkCredential(name, redirect); err != nil {
		return err
	}
	u, err := url.Parse(redirect)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" {
		return invalid(name, "is no absolute http or https URL")
	}
	return nil
}

// url writes the parameters in the order of WeChat's documentation.
func (l AuthorizationLink) url(componentAppID, preAuthCode string) string {
	page, end := pageForComputers, ""
	if l.ForPhone {
		page, end = pageForPhones, "#wechat_redirect"
	}
	// WeChat refuses a link that has both.
	which := "auth_type=2" // mini-programs
	if l.AppID != "" {
		which = "biz_appid=" + url.QueryEscape(l.AppID)
	}
	return page + "component_appid=" + url.QueryEscape(componentAppID) + "&pre_auth_code=" + url.QueryEscape(preAuthCode) +
		"&redirect_uri=" + url.QueryEscape(l.RedirectURI) + "&" + which + end
}

// phonePermission is the permission set with the phone number.
const phonePermission = 18

// Authorization is what the owner of a mini-program granted a platform.
//
// It prints without tokens under every fmt verb and in log/slog, and cannot be
// encoded as text or JSON: RefreshToken is good until the owner withdraws. It
// belongs in a database and not in a log. Store its fields, not the
// Authorization.
type Authorization struct {
	// AppID is the mini-program.
	AppID string
	// RefreshToken is what the [RefreshTokens] of [Component.Client] keep.
	RefreshToken string
	// Token is an authorizer_access_token. A [Client] does not take it over: it
	// fetches one of its own, which WeChat hands out beside this one.
	Token Token
	// PermissionSets are the ids of what the owner granted.
	PermissionSets []int
}

// CanGetPhoneNumbers reports whether the owner granted permission set 18,
// without which calls for phone numbers are errcode 61007 or 48001. Only one
// platform at a time can have it.
func (a Authorization) CanGetPhoneNumbers() bool {
	return slices.Contains(a.PermissionSets, phonePermission)
}

// Format implements [fmt.Formatter]: every verb prints the appid and the
// permission sets.
func (a Authorization) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, a.describe()) }

// LogValue implements [slog.LogValuer].
func (a Authorization) LogValue() slog.Value { return slog.StringValue(a.describe()) }

// MarshalText implements [encoding.TextMarshaler] and always fails, so that a
// refresh token inside a larger value is not written to a log as JSON.
func (a Authorization) MarshalText() ([]byte, error) {
	return nil, errors.New("wxphone: an Authorization cannot be encoded, because it holds tokens; take the fields you need")
}

func (a Authorization) describe() string {
	return fmt.Sprintf("wxphone.Authorization(%s %v)", a.AppID, a.PermissionSets)
}

type queryAuthAnswer struct {
	wire.Status
	Info struct {
		authorizerAnswer
		AppID       wire.Text `json:"authorizer_appid"`
		Permissions []struct {
			Category struct {
				ID wire.Int `json:"id"`
			} `json:"funcscope_category"`
		} `json:"func_info"`
	} `json:"authorization_info"`
}

// Complete makes an answer that is no authorisation a ResponseError.
func (a *queryAuthAnswer) Complete() bool { return a.Info.AppID != "" && a.Info.RefreshToken != "" }

func (a *queryAuthAnswer) authorization(asked time.Time) *Authorization {
	authorization := &Authorization{
		AppID:        string(a.Info.AppID),
		RefreshToken: string(a.Info.RefreshToken),
		Token:        a.Info.authorizerToken(asked),
	}
	for _, p := range a.Info.Permissions {
		if id := p.Category.ID; id.Present && !id.Invalid {
			authorization.PermissionSets = append(authorization.PermissionSets, int(id.Value))
		}
	}
	return authorization
}

// QueryAuthorization exchanges the authorization_code of a [PushAuthorized] or
// [PushUpdated], or the auth_code that the browser brought, for the
// mini-program's authorisation. Save its RefreshToken before anything else.
//
// A code works once. One that was used or expired is errcode 61010. If an
// answer was lost, the error matches [ErrCodeMaybeUsed]: [Component.Authorizers]
// then has the refresh token if WeChat took the code, and otherwise the code
// still works.
//
// See https://developers.weixin.qq.com/doc/oplatform/openApi/OpenApiDoc/ticket-token/getAuthorizerRefreshToken.html
func (c *Component) QueryAuthorization(ctx context.Context, authorizationCode string) (*Authorization, error) {
	if err := c.check(ctx); err != nil {
		return nil, err
	}
	if strings.TrimSpace(authorizationCode) == "" {
		return nil, invalid("authorizationCode", "is empty")
	}
	asked := time.Now()
	answer, err := c.api.call(ctx, &transport.Request{
		Method:    http.MethodPost,
		Path:      pathQueryAuth,
		Body:      wire.Object("component_appid", c.account.appID, "authorization_code", authorizationCode),
		OneTime:   authorizationCode,
		Effect:    consumedCode,
		NewAnswer: func() wire.Answer { return new(queryAuthAnswer) },
	})
	if err != nil {
		return nil, err
	}
	return answer.(*queryAuthAnswer).authorization(asked), nil
}

// Authorizer is a mini-program that has authorised the platform, as
// [Component.Authorizers] lists it.
//
// It prints without the token under every fmt verb and in log/slog, and cannot
// be encoded as text or JSON, for the same reason as an [Authorization].
type Authorizer struct {
	// AppID is the mini-program.
	AppID string
	// RefreshToken is its current one. It is empty if the authorization_code
	// was never exchanged with [Component.QueryAuthorization].
	RefreshToken string
	// AuthorizedAt is when the owner authorised the platform, or the zero time
	// if WeChat does not say.
	AuthorizedAt time.Time
}

// Format implements [fmt.Formatter]: every verb prints the appid and the time.
func (a Authorizer) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, a.describe()) }

// LogValue implements [slog.LogValuer].
func (a Authorizer) LogValue() slog.Value { return slog.StringValue(a.describe()) }

// MarshalText implements [encoding.TextMarshaler] and always fails.
func (a Authorizer) MarshalText() ([]byte, error) {
	return nil, errors.New("wxphone: an Authorizer cannot be encoded, because it holds a token; take the fields you need")
}

func (a Authorizer) describe() string {
	if a.AuthorizedAt.IsZero() {
		return "wxphone.Authorizer(" + a.AppID + ")"
	}
	return "wxphone.Authorizer(" + a.AppID + " " + a.AuthorizedAt.UTC().Format(time.RFC3339) + ")"
}

// authorizersPerPage is the most that one request may ask for.
const authorizersPerPage = 500

type authorizerListAnswer struct {
	wire.Status
	Total wire.Int          `json:"total_count"`
	List  []authorizerEntry `json:"list"`
}

// Complete makes an answer without a list a ResponseError, so that it does not
// pass for a platform whose mini-programs have all gone.
func (a *authorizerListAnswer) Complete() bool {
	return a.List != nil || a.Total.Present && a.Total.Value == 0
}

type authorizerEntry struct {
	AppID        wire.Text `json:"authorizer_appid"`
	RefreshToken wire.Text `json:"refresh_token"`
	AuthTime     wire.Int  `json:"auth_time"`
}

func (e *authorizerEntry) authorizer() Authorizer {
	a := Authorizer{AppID: string(e.AppID), RefreshToken: string(e.RefreshToken)}
	if e.AuthTime.Value > 0 {
		a.AuthorizedAt = time.Unix(e.AuthTime.Value, 0)
	}
	return a
}

// Authorizers returns an iterator over the mini-programs that have authorised
// the platform, each once. It asks WeChat for 500 at a time, when the loop gets
// there, and begins anew each time it is used. An error ends the loop:
//
//	for authorizer, err := range platform.Authorizers(ctx) {
//		if err != nil {
//			return err
//		}
//		…
//	}
//
// It is for a platform that lost its database, and for a look at what it has. A
// [Client] finds a refresh token that WeChat replaced by itself.
//
// See https://developers.weixin.qq.com/doc/oplatform/openApi/OpenApiDoc/authorization-management/getAuthorizerList.html
func (c *Component) Authorizers(ctx context.Context) iter.Seq2[Authorizer, error] {
	return func(yield func(Authorizer, error) bool) {
		if err := c.check(ctx); err != nil {
			yield(Authorizer{}, err)
			return
		}
		c.eachAuthorizer(ctx, yield)
	}
}

// eachAuthorizer calls yield for each mini-program until that returns false. It
// does not take WeChat's total_count for granted: a full page is followed by
// another, and a page that brings nothing new is the last.
func (c *Component) eachAuthorizer(ctx context.Context, yield func(Authorizer, error) bool) {
	seen := make(map[wire.Text]bool)
	for offset := 0; ; {
		page, err := c.authorizersFrom(ctx, offset)
		if err != nil {
			yield(Authorizer{}, err)
			return
		}
		before := len(seen)
		for _, entry := range page.List {
			if entry.AppID == "" || seen[entry.AppID] {
				continue
			}
			seen[entry.AppID] = true
			if !yield(entry.authorizer(), nil) {
				return
			}
		}
		offset += len(page.List)
		full := len(page.List) >= authorizersPerPage
		if len(seen) == before || !full && int64(offset) >= page.Total.Value {
			return
		}
	}
}

func (c *Component) authorizersFrom(ctx context.Context, offset int) (*authorizerListAnswer, error) {
	body := wire.Object("component_appid", c.account.appID)
	answer, err := c.api.call(ctx, &transport.Request{
		Method:    http.MethodPost,
		Path:      pathAuthorizerList,
		Body:      fmt.Appendf(body[:len(body)-1], `,"offset":%d,"count":%d}`, offset, authorizersPerPage),
		NewAnswer: func() wire.Answer { return new(authorizerListAnswer) },
	})
	if err != nil {
		return nil, err
	}
	return answer.(*authorizerListAnswer), nil
}

// StartTicketPush makes WeChat push component_verify_tickets again, after it
// stopped because too many were not answered with "success". It needs no token.
// If WeChat had not stopped, nothing changes and the result is nil, too. The
// next ticket comes within 10 minutes.
//
// See https://developers.weixin.qq.com/doc/oplatform/openApi/OpenApiDoc/ticket-token/startPushTicket.html
func (c *Component) StartTicketPush(ctx context.Context) error {
	if err := c.check(ctx); err != nil {
		return err
	}
	_, err := c.api.callWithoutToken(ctx, &transport.Request{
		Method:    http.MethodPost,
		Path:      pathStartTicketPush,
		Body:      wire.Object("component_appid", c.account.appID, "component_secret", c.account.secret.Reveal()),
		Secrets:   []string{c.account.secret.Reveal()},
		NewAnswer: func() wire.Answer { return new(startTicketPushAnswer) },
	})
	return err
}

// startTicketPushAnswer says by its errcode alone that WeChat pushes, so it
// must have one. With errcode 0 its errmsg is "ok" or "in a normal state".
type startTicketPushAnswer struct{ wire.Status }

// Complete makes an answer without an errcode a ResponseError.
func (a *startTicketPushAnswer) Complete() bool { return a.ErrCode.Present }
