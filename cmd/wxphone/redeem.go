package main

import (
	"context"
	"flag"
	"fmt"
	"time"

	"github.com/wxphone/wxphone"
)

// patience bounds a command that asks WeChat and ends.
const patience = 30 * time.Second

func (p *program) redeem(ctx context.Context, flags *flag.FlagSet, args []string) error {
	show := flags.Bool("show", false, "print the number in full")
	openid := flags.String("openid", "", "have WeChat check that the code is of the user with this `openid`")
	operands, err := p.parse(flags, args, 1)
	if err != nil {
		return helped(err)
	}
	client, err := p.client()
	if err != nil {
		return err
	}
	var opts []wxphone.PhoneOption
	if *openid != "" {
		opts = append(opts, wxphone.WithOpenID(*openid))
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	phone, err := client.GetPhoneNumber(ctx, operands[0], opts...)
	if err != nil {
		return err
	}
	p.print(phone, *show)
	return nil
}

// print writes a number, masked unless it is to be shown.
func (p *program) print(phone *wxphone.PhoneInfo, show bool) {
	number := phone.String()
	if show {
		if number = phone.E164(); number == "" {
			number = phone.PhoneNumber
		}
	}
	fmt.Fprintln(p.stdout, number)
}
