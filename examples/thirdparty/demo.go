package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/wxphonetest"
)

// someAppID is the mini-program of the demo.
const someAppID = "wx00000000000000a1"

// demo goes through the life of an authorisation. Only the base URL differs from
// a deployed program.
func demo(ctx context.Context, stdout io.Writer) error {
	wechat, err := wxphonetest.Start()
	if err != nil {
		return err
	}
	defer wechat.Close()
	dir, err := os.MkdirTemp("", "thirdparty")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	rows, err := openStore(ctx, filepath.Join(dir, "platform.db"))
	if err != nil {
		return err
	}
	defer rows.close()
	d := &story{wechat: wechat, rows: rows, stdout: stdout}
	d.say("No address given: this is a fake WeChat at %s", wechat.URL())
	if err := d.start(); err != nil {
		return err
	}
	for _, chapter := range []func(context.Context) error{d.ticket, d.authorisation, d.tap, d.repair, d.restart, d.withdrawal} {
		if err := chapter(ctx); err != nil {
			return err
		}
	}
	return nil
}

// story is what the chapters of the demo share.
type story struct {
	wechat *wxphonetest.Server
	rows   *store
	stdout io.Writer

	platform *platform
	router   http.Handler
}

func (d *story) say(format string, args ...any) { fmt.Fprintf(d.stdout, format+"\n", args...) }

// start begins a process of the platform, and tells WeChat where to push.
func (d *story) start() error {
	var err error
	d.platform, err = newPlatform(d.wechat.ComponentAppID(), d.wechat.ComponentSecret(), d.rows,
		slog.New(slog.DiscardHandler), wxphone.WithBaseURL(d.wechat.URL()))
	if err != nil {
		return err
	}
	pushes, err := wxphone.NewPushReader(d.wechat.ComponentAppID(), d.wechat.PushToken(), d.wechat.EncodingAESKey())
	if err != nil {
		return err
	}
	d.router = newRouter(d.platform, pushes, "https://platform.example.com")
	d.wechat.PushTo("/wechat/events", d.router)
	return nil
}

func (d *story) ticket(ctx context.Context) error {
	d.say("\n1. WeChat pushes a ticket. It goes into the database.")
	pushed := d.wechat.PushTicket()
	stored, err := d.rows.latestTicket(ctx, d.platform.appID)
	if err != nil {
		return err
	}
	d.say("   in the database: %v", stored == pushed)
	return nil
}

func (d *story) authorisation(ctx context.Context) error {
	d.say("\n2. An owner opens the link and agrees. WeChat pushes a code, which is exchanged for a refresh token.")
	answer := httptest.NewRecorder()
	d.router.ServeHTTP(answer, httptest.NewRequestWithContext(ctx, http.MethodGet, "/authorize", http.NoBody))
	link, err := url.Parse(answer.Header().Get("Location"))
	if err != nil {
		return err
	}
	d.say("   link: %s%s?component_appid=…&pre_auth_code=…&redirect_uri=%s&auth_type=2",
		link.Host, link.Path, link.Query().Get("redirect_uri"))
	back, err := d.wechat.AuthorizeByURL(link.String(), someAppID)
	if err != nil {
		return err
	}
	d.router.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, http.MethodGet, back, http.NoBody))
	stored, err := d.rows.LoadRefreshToken(ctx, someAppID)
	if err != nil {
		return err
	}
	d.say("   in the database: %v", stored != "")
	return nil
}

// userTaps has a user tap the button in the owner's mini-program, and the
// platform redeem the code that the mini-program then gets.
func (d *story) userTaps(ctx context.Context) (*wxphone.PhoneInfo, error) {
	code := d.wechat.IssueCode(wxphone.PhoneInfo{
		PhoneNumber:     "13800000000",
		PurePhoneNumber: "13800000000",
		CountryCode:     "86",
	}, wxphonetest.ForApp(someAppID))
	return d.platform.phone(ctx, someAppID, code)
}

func (d *story) tap(ctx context.Context) error {
	d.say("\n3. A user of the owner's mini-program taps the button.")
	phone, err := d.userTaps(ctx)
	if err != nil {
		return err
	}
	d.say("   number in %s: %v", phone.Watermark.AppID, phone)
	return nil
}

func (d *story) repair(ctx context.Context) error {
	d.say("\n4. The refresh token dies without notice, and the access_token with it. The Client finds the current one in WeChat's list.")
	listed := d.wechat.RevokeRefreshToken(someAppID)
	d.wechat.RevokeToken()
	phone, err := d.userTaps(ctx)
	if err != nil {
		return err
	}
	stored, err := d.rows.LoadRefreshToken(ctx, someAppID)
	if err != nil {
		return err
	}
	d.say("   number: %v", phone)
	d.say("   requests of the list: %d", d.wechat.Requests("/cgi-bin/component/api_get_authorizer_list"))
	d.say("   the current one is in the database: %v", stored == listed)
	return nil
}

func (d *story) restart(ctx context.Context) error {
	d.say("\n5. The process restarts. All that it needs is in the database.")
	if err := d.start(); err != nil {
		return err
	}
	phone, err := d.userTaps(ctx)
	if err != nil {
		return err
	}
	d.say("   number: %v", phone)
	return nil
}

func (d *story) withdrawal(ctx context.Context) error {
	d.say("\n6. The owner withdraws. Until the push arrives, WeChat refuses; after it, the platform does.")
	d.wechat.PushTo("", nil)
	d.wechat.Deauthorize(someAppID)
	_, err := d.userTaps(ctx)
	if err == nil {
		return errors.New("a number without an authorisation")
	}
	d.say("   error: %v", err)
	d.say("   wxphone.HTTPStatus(err): %d", wxphone.HTTPStatus(err))
	d.say("   to do: %s", advise(err))
	d.wechat.PushTo("/wechat/events", d.router)
	d.wechat.RepeatPush()
	_, err = d.userTaps(ctx)
	if !errors.Is(err, errNotAuthorized) {
		return fmt.Errorf("the mini-program was not forgotten: %w", err)
	}
	d.say("   error: %v", err)
	return nil
}
