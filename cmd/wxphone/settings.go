package main

import (
	"fmt"
	"log/slog"
	"os"
	"regexp"
	"strings"

	"github.com/wxphone/wxphone"
)

const (
	envAppID      = "WXPHONE_APPID"
	envSecret     = "WXPHONE_SECRET"
	envSecretFile = "WXPHONE_SECRET_FILE"
	envBaseURL    = "WXPHONE_BASE_URL"
	envKey        = "WXPHONE_KEY"
)

func (p *program) appID() (string, error) {
	if appID := p.env(envAppID); appID != "" {
		return appID, nil
	}
	return "", wrongUse("%s is not set; it is the appid of the mini-program", envAppID)
}

// secret is no flag, since other users of the machine can read those.
func (p *program) secret() (string, error) {
	secret, file := p.env(envSecret), p.env(envSecretFile)
	switch {
	case secret != "" && file != "":
		return "", wrongUse("%s and %s are both set; set one of them", envSecret, envSecretFile)
	case secret != "":
		return secret, nil
	case file == "":
		return "", wrongUse("%s is not set, and %s is not either", envSecret, envSecretFile)
	}
	text, err := os.ReadFile(file) //nolint:gosec // G304: the file is the user's choice
	if err != nil {
		return "", wrongUse("%s: %v", envSecretFile, err)
	}
	if secret = strings.TrimSpace(string(text)); secret == "" {
		return "", wrongUse("%s: %s is empty", envSecretFile, file)
	}
	return secret, nil
}

// hostAndPort is a base URL of which the scheme was forgotten. It holds no
// password, so it may be quoted.
var hostAndPort = regexp.MustCompile(`^[\w.-]+(:\d+)?$`)

func (p *program) checkBaseURL() error {
	base := p.env(envBaseURL)
	if hostAndPort.MatchString(base) {
		return wrongUse("%s: the scheme is missing; write it like http://%s", envBaseURL, base)
	}
	return nil
}

// client returns a Client as the environment says.
func (p *program) client(opts ...wxphone.Option) (*wxphone.Client, error) {
	appID, err := p.appID()
	if err != nil {
		return nil, err
	}
	secret, err := p.secret()
	if err != nil {
		return nil, err
	}
	if err := p.checkBaseURL(); err != nil {
		return nil, err
	}
	plain, err := wxphone.New(appID, secret, opts...)
	base := p.env(envBaseURL)
	if err != nil || base == "" {
		return plain, err
	}
	client, err := wxphone.New(appID, secret, append(opts, wxphone.WithBaseURL(base))...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", envBaseURL, err)
	}
	return client, nil
}

// logger is for a command that runs on, where an error is no longer told by the
// exit status.
func (p *program) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(p.stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
}
