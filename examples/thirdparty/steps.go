package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/wxphonetest"
)

// run shows two mini-programs with a platform, of which one withdraws its
// authorisation. Only the base URL differs from a deployed program.
func run(ctx context.Context, stdout io.Writer) error {
	wechat, err := wxphonetest.Start()
	if err != nil {
		return err
	}
	defer wechat.Close()
	fmt.Fprintln(stdout, "This is a fake WeChat at", wechat.URL())

	dir, err := os.MkdirTemp("", "thirdparty")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	tokens := &tokenFile{path: filepath.Join(dir, "refresh_tokens.json")}
	p, err := newPlatform(wechat.ComponentAppID(), wechat.ComponentSecret(), tokens, wxphone.WithBaseURL(wechat.URL()))
	if err != nil {
		return err
	}
	p.onTicket(wechat.PushTicket())

	fmt.Fprintln(stdout, "\n0. The ticket was pushed, and two mini-programs authorise the platform. A user of each taps.")
	shops := []string{"wx00000000000000a1", "wx00000000000000b2"}
	for _, appID := range shops {
		// The authorisation code of the push is exchanged with api_query_auth,
		// whose answer has the refresh token.
		if err := p.tokens.SaveRefreshToken(ctx, appID, wechat.AuthorizeApp(appID)); err != nil {
			return err
		}
		phone, err := p.phone(ctx, appID, tap(wechat, appID))
		if err != nil {
			return err
		}
		fmt.Fprintf(stdout, "   number in %s: %v\n", phone.Watermark.AppID, phone)
	}
	fmt.Fprintf(stdout, "   token requests: %d for the platform, %d for its mini-programs\n",
		wechat.Requests("/cgi-bin/component/api_component_token"), wechat.Requests("/cgi-bin/component/api_authorizer_token"))

	fmt.Fprintln(stdout, "\n1. A user logs in with wx.login. There is no AppSecret: the platform's token stands for it.")
	client, err := p.client(shops[0])
	if err != nil {
		return err
	}
	session, err := client.Code2Session(ctx, wechat.IssueLoginCodeForApp(shops[0], "openid-of-alice"))
	if err != nil {
		return err
	}
	fmt.Fprintln(stdout, "  ", session) // without the session_key

	fmt.Fprintln(stdout, "\n2. The owner of the second mini-program withdraws the authorisation. The first one does not notice.")
	wechat.Deauthorize(shops[1])
	_, err = p.phone(ctx, shops[1], tap(wechat, shops[1]))
	if err == nil {
		return errors.New("a number without an authorisation")
	}
	fmt.Fprintln(stdout, "   error:", err)
	fmt.Fprintln(stdout, "   errors.Is(err, wxphone.ErrUnauthorized):", errors.Is(err, wxphone.ErrUnauthorized))
	fmt.Fprintln(stdout, "   wxphone.HTTPStatus(err):", wxphone.HTTPStatus(err))
	fmt.Fprintln(stdout, "   to do:", advise(err))
	if _, err := p.phone(ctx, shops[0], tap(wechat, shops[0])); err != nil {
		return err
	}

	fmt.Fprintln(stdout, "\n3. The owner authorises the platform again. The new refresh token is saved, and the Client goes on.")
	if err := p.tokens.SaveRefreshToken(ctx, shops[1], wechat.AuthorizeApp(shops[1])); err != nil {
		return err
	}
	phone, err := p.phone(ctx, shops[1], tap(wechat, shops[1]))
	if err != nil {
		return err
	}
	fmt.Fprintln(stdout, "   number:", phone)
	return nil
}

// tap stands for a user who taps the button in the mini-program appID and
// agrees: it returns the code that the mini-program then gets.
func tap(wechat *wxphonetest.Server, appID string) string {
	return wechat.IssueCode(wxphone.PhoneInfo{
		PhoneNumber:     "13800000000",
		PurePhoneNumber: "13800000000",
		CountryCode:     "86",
	}, wxphonetest.ForApp(appID))
}
