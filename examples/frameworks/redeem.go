// Package frameworks redeems the code of a mini-program's phone number button
// in handlers of net/http, gin, echo, chi and fiber.
//
// Take redeem.go and the file of your framework. docs/frameworks.md says which
// context each framework hands over, and why.
package frameworks

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/wxphone/wxphone"
)

// maxBody is more than a code needs.
const maxBody = 4 << 10

// tap is what the mini-program sends: {"code": "..."}.
type tap struct {
	Code string `json:"code"`
}

// Backend is what a program makes once and its handlers share.
type Backend struct {
	Client *wxphone.Client
	// Save keeps the number for the user whose session ctx carries.
	Save func(ctx context.Context, phone *wxphone.PhoneInfo) error
}

var errNotSaved = errors.New("the number is not saved")

// redeem turns the code of one tap into a saved number. The code is spent even
// if the phone hangs up, so the end of ctx does not end the redemption.
func (b *Backend) redeem(ctx context.Context, code string) (*wxphone.PhoneInfo, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	phone, err := b.Client.GetPhoneNumber(ctx, code)
	if err != nil {
		return nil, err
	}
	if err := b.Save(ctx, phone); err != nil {
		return nil, fmt.Errorf("%w: %w", errNotSaved, err)
	}
	return phone, nil
}

// reply is what a failure is answered with. The code of a number that is not
// saved is spent: with WithDuplicateWindow, sending it again brings the number.
func reply(err error) (status int, body map[string]wxphone.Step) {
	status, step := wxphone.HTTPStatus(err), wxphone.NextStep(err)
	if errors.Is(err, errNotSaved) {
		status, step = http.StatusServiceUnavailable, wxphone.StepSendAgain
	}
	return status, map[string]wxphone.Step{"step": step}
}
