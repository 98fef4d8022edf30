package main

import (
	"context"
	"errors"
	"flag"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/cmd/wxphone/internal/doctor"
)

// doctor leaves its flags to the package, which also says what they mean.
func (p *program) doctor(ctx context.Context, _ *flag.FlagSet, args []string) error {
	secret := p.env(envSecret)
	if p.env(envSecretFile) != "" {
		var err error
		if secret, err = p.secret(); err != nil {
			return err
		}
	}
	env := func(name string) string {
		if name == envSecret {
			return secret
		}
		return p.env(name)
	}
	err := doctor.Run(ctx, args, env, p.stdout)
	var wrong *doctor.UsageError
	switch {
	case errors.Is(err, flag.ErrHelp):
		return nil
	case errors.Is(err, wxphone.ErrInvalidArgument) && p.checkBaseURL() != nil:
		return p.checkBaseURL()
	case errors.As(err, &wrong):
		return wrongUse("doctor: %v", wrong)
	default:
		return err
	}
}
