package wxphone_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/url"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/wxphonetest"
)

// refreshTokenTable stands for a table of your database.
type refreshTokenTable map[string]string

func (t refreshTokenTable) LoadRefreshToken(_ context.Context, appID string) (string, error) {
	return t[appID], nil
}

func (t refreshTokenTable) SaveRefreshToken(_ context.Context, appID, refreshToken string) error {
	t[appID] = refreshToken
	return nil
}

// A platform is made once per process, and a Client once for each mini-program
// that authorised it.
func ExampleNewComponent() {
	wechat, err := wxphonetest.Start()
	if err != nil {
		log.Fatal(err)
	}
	defer wechat.Close()
	appID := wechat.AppID()
	tokens := refreshTokenTable{appID: wechat.Authorize()} // from QueryAuthorization
	latestTicket := func(context.Context) (string, error) { return wechat.Ticket(), nil }
	httpClient := wxphone.WithHTTPClient(wechat.HTTPClient())
	code := wechat.IssueCode(wxphone.PhoneInfo{
		PhoneNumber:     "13800000000",
		PurePhoneNumber: "13800000000",
		CountryCode:     "86",
	})
	ctx := context.Background()

	platform, err := wxphone.NewComponent(wechat.ComponentAppID(), wechat.ComponentSecret(), latestTicket, httpClient)
	if err != nil {
		log.Fatal(err)
	}
	client, err := platform.Client(appID, tokens)
	if err != nil {
		log.Fatal(err)
	}
	phone, err := client.GetPhoneNumber(ctx, code)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(phone)
	// Output:
	// +86 138****0000
}

func ExampleComponent_Client() {
	wechat, err := wxphonetest.Start()
	if err != nil {
		log.Fatal(err)
	}
	defer wechat.Close()
	appID := wechat.AppID()
	tokens := refreshTokenTable{appID: wechat.Authorize()}
	ctx, platform := context.Background(), wechat.NewComponent()
	client, err := platform.Client(appID, tokens)
	if err != nil {
		log.Fatal(err)
	}

	wechat.Deauthorize(appID) // by the mini-program's owner
	_, err = client.Code2Session(ctx, wechat.IssueLoginCode("openid-of-alice"))

	var refusal *wxphone.APIError
	if errors.As(err, &refusal) && refusal.Kind() == wxphone.KindPlatform {
		switch refusal.Code {
		case 61003, 61007, 61023: // the Client has looked for another refresh token
			fmt.Println("show the owner the authorisation page again")
		case 61005, 61006:
			fmt.Println("check that the ticket's pushes arrive")
		}
	}
	// Output:
	// show the owner the authorisation page again
}

// The owner of a mini-program opens a link, agrees, and comes back with a code.
func ExampleComponent_QueryAuthorization() {
	wechat, err := wxphonetest.Start()
	if err != nil {
		log.Fatal(err)
	}
	defer wechat.Close()
	tokens := make(refreshTokenTable)
	ctx, platform := context.Background(), wechat.NewComponent()

	link, err := platform.AuthorizationURL(ctx, wxphone.AuthorizationLink{
		RedirectURI: "https://platform.example.com/authorized",
	})
	if err != nil {
		log.Fatal(err)
	}
	redirect, err := wechat.AuthorizeByURL(link, wechat.AppID()) // by the owner's browser
	if err != nil {
		log.Fatal(err)
	}
	back, err := url.Parse(redirect)
	if err != nil {
		log.Fatal(err)
	}

	authorization, err := platform.QueryAuthorization(ctx, back.Query().Get("auth_code"))
	if err != nil {
		log.Fatal(err)
	}
	if err := tokens.SaveRefreshToken(ctx, authorization.AppID, authorization.RefreshToken); err != nil {
		log.Fatal(err)
	}
	fmt.Println(authorization, authorization.CanGetPhoneNumbers())
	// Output:
	// wxphone.Authorization(wx7b3c1f0e9d5a2468 [17 18 30]) true
}

func ExampleComponent_Authorizers() {
	wechat, err := wxphonetest.Start()
	if err != nil {
		log.Fatal(err)
	}
	defer wechat.Close()
	wechat.AuthorizeApp("wx00000000000000a1")
	wechat.AuthorizeApp("wx00000000000000b2")
	ctx, platform := context.Background(), wechat.NewComponent()

	for authorizer, err := range platform.Authorizers(ctx) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(authorizer.AppID, authorizer.RefreshToken != "")
	}
	// Unordered output:
	// wx00000000000000a1 true
	// wx00000000000000b2 true
}

func ExampleWithoutAccessToken() {
	wechat, err := wxphonetest.Start(wxphonetest.WithCloudHosting())
	if err != nil {
		log.Fatal(err)
	}
	defer wechat.Close()
	code := wechat.IssueCode(wxphone.PhoneInfo{
		PhoneNumber:     "13800000000",
		PurePhoneNumber: "13800000000",
		CountryCode:     "86",
	})
	ctx, fake := context.Background(), wxphone.WithHTTPClient(wechat.HTTPClient())

	// In cloud hosting there is neither an AppSecret nor an access_token.
	client, err := wxphone.New(wechat.AppID(), "", wxphone.WithoutAccessToken(), fake)
	if err != nil {
		log.Fatal(err)
	}
	phone, err := client.GetPhoneNumber(ctx, code)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(phone, "with", wechat.TokenFetches(), "token requests")
	// Output:
	// +86 138****0000 with 0 token requests
}
