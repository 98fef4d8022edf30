package main

import (
	"context"
	"crypto/tls"
	"flag"
	"fmt"
	"strings"
	"time"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/tokenhttp"
)

func (p *program) token(ctx context.Context, flags *flag.FlagSet, args []string) error {
	classic := flags.Bool("classic", false, "fetch from /cgi-bin/token, which retires the classic token that your programs use now")
	address := flags.String("serve", "", "serve the token at this `address` to programs that have the key of "+envKey)
	certificate := flags.String("tls-cert", "", "serve with TLS, with the certificate in this `file`")
	key := flags.String("tls-key", "", "the certificate's key, in this `file`")
	if _, err := p.parse(flags, args, 0); err != nil {
		return helped(err)
	}
	switch {
	case (*certificate == "") != (*key == ""):
		return wrongUse("token: -tls-cert and -tls-key belong together")
	case *certificate != "" && *address == "":
		return wrongUse("token: -tls-cert is for -serve")
	}
	var opts []wxphone.Option
	kind := "stable_token"
	if *classic {
		opts, kind = append(opts, wxphone.WithClassicToken()), "classic token"
	}
	if *address != "" {
		opts = append(opts, wxphone.WithLogger(p.logger()))
	}
	client, err := p.client(opts...)
	if err != nil {
		return err
	}
	if *address != "" {
		return p.serveToken(ctx, client, *address, *certificate, *key)
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	token, err := client.AccessToken(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(p.stdout, "%s, expires at %s, in %s\n", kind,
		token.ExpiresAt.UTC().Format(time.RFC3339), time.Until(token.ExpiresAt).Round(time.Second))
	return nil
}

// serveToken is the token server of package tokenhttp.
func (p *program) serveToken(ctx context.Context, client *wxphone.Client, address, certificate, key string) error {
	if p.env(envKey) == "" {
		return wrongUse("%s is not set; it is what other programs show to get the token, and \"openssl rand -hex 32\" makes one", envKey)
	}
	handler, err := tokenhttp.NewHandler(client.TokenSource(), p.env(envKey))
	if err != nil {
		return fmt.Errorf("%s: %w", envKey, err)
	}
	var config *tls.Config
	scheme := "http"
	if certificate != "" {
		pair, err := tls.LoadX509KeyPair(certificate, key)
		if err != nil {
			return wrongUse("token: -tls-cert and -tls-key: %v", err)
		}
		config, scheme = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}, "https"
	}
	listener, err := listen(ctx, "-serve", address)
	if err != nil {
		return err
	}
	if config == nil && !isLoopback(listener.Addr()) {
		fmt.Fprintln(p.stderr, "wxphone: serving without TLS: who listens on the way can read the key and the token")
	}
	fmt.Fprintf(p.stdout, "Serving the access_token at %s://%s\n", scheme, reachable(listener.Addr()))
	if config != nil {
		listener = tls.NewListener(listener, config)
	}
	asked := make(chan struct{})
	go func() {
		defer close(asked)
		p.warnWithoutToken(ctx, client)
	}()
	err = serve(ctx, listener, handler)
	<-asked
	return err
}

// warnWithoutToken fetches the token before a program asks for it, so that a
// wrong setting shows when the server starts.
func (p *program) warnWithoutToken(ctx context.Context, client *wxphone.Client) {
	asking, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if _, err := client.AccessToken(asking); err != nil && ctx.Err() == nil {
		fmt.Fprintf(p.stderr, "wxphone: no token yet: %s\n", strings.TrimPrefix(oneLine(err), "wxphone: "))
	}
}
