package main

import (
	"context"
	"flag"
	"fmt"
	"runtime"
	"runtime/debug"
)

// version prints what the program was built from: a release, or a commit of a
// clone.
func (p *program) version(_ context.Context, flags *flag.FlagSet, args []string) error {
	if _, err := p.parse(flags, args, 0); err != nil {
		return helped(err)
	}
	version := "(unknown)"
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		version = info.Main.Version
	}
	fmt.Fprintf(p.stdout, "wxphone %s, %s\n", version, runtime.Version())
	return nil
}
