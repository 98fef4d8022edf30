// Wxphone redeems WeChat's phone number codes from a shell, and puts a fake
// WeChat on a developer's desk:
//
//	go run github.com/wxphone/wxphone/cmd/wxphone@latest fake
//
// It takes its settings from the environment, so that no list of processes
// shows a secret, and prints phone numbers masked unless -show is given. The
// exit status is 0, 1 after a failure, and 2 if it was called wrongly.
// "wxphone help" lists the commands.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/wxphone/wxphone"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	os.Exit(run(ctx, os.Args[1:], os.Getenv, os.Stdin, os.Stdout, os.Stderr))
}

// program is one run of a command.
type program struct {
	env            func(string) string
	stdin          io.Reader
	stdout, stderr io.Writer
}

// command is what the first argument names.
type command struct {
	name, arguments, summary string
	run                      func(p *program, ctx context.Context, flags *flag.FlagSet, args []string) error
}

// commands is filled by init, because help lists them.
var commands []command

func init() {
	commands = []command{
		{"fake", "", "run a fake WeChat with a page, for development and tests", (*program).fake},
		{"doctor", "", "find out why a backend gets no phone numbers", (*program).doctor},
		{"redeem", "CODE", "redeem the code of the phone number button", (*program).redeem},
		{"decrypt", "", "decrypt the phone number of the legacy flow, from JSON on standard input", (*program).decrypt},
		{"token", "", "show kind and expiry of the access_token, or serve it to other programs", (*program).token},
		{"version", "", "print the version of this program", (*program).version},
		{"help", "[COMMAND]", "describe the commands, or one of them", (*program).help},
	}
}

// run is the program without its process.
func run(ctx context.Context, args []string, env func(string) string, stdin io.Reader, stdout, stderr io.Writer) int {
	p := &program{env, stdin, stdout, stderr}
	err := p.dispatch(ctx, args)
	var wrong *usageError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &wrong), errors.Is(err, wxphone.ErrInvalidArgument):
		fmt.Fprintln(stderr, oneLine(err))
		if wrong != nil && wrong.listCommands {
			p.list(stderr)
		}
		return 2
	default:
		fmt.Fprintln(stderr, oneLine(err))
		return 1
	}
}

// oneLine returns the text of an error, with the program's name in front once.
func oneLine(err error) string {
	text := strings.Join(strings.Fields(err.Error()), " ")
	return "wxphone: " + strings.TrimPrefix(text, "wxphone: ")
}

// usageError is the error of a program that was called wrongly.
type usageError struct {
	text         string
	listCommands bool
}

func (e *usageError) Error() string { return e.text }

func wrongUse(format string, args ...any) error {
	return &usageError{text: fmt.Sprintf(format, args...)}
}

func (p *program) dispatch(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return &usageError{"a command is missing", true}
	}
	name := args[0]
	switch name {
	case "-h", "-help", "--help":
		name = "help"
	case "-version", "--version":
		name = "version"
	}
	c, ok := lookUp(name)
	if !ok {
		return &usageError{fmt.Sprintf("there is no command %q", name), true}
	}
	return c.run(p, ctx, newFlags(c), args[1:])
}

func lookUp(name string) (command, bool) {
	for _, c := range commands {
		if c.name == name {
			return c, true
		}
	}
	return command{}, false
}

func newFlags(c command) *flag.FlagSet {
	flags := flag.NewFlagSet(c.name, flag.ContinueOnError)
	flags.SetOutput(io.Discard) // run prints the error
	return flags
}

// errHelped is returned where help was asked for and given.
var errHelped = errors.New("help was given")

// parse reads the flags of a command, before and after its n arguments.
func (p *program) parse(flags *flag.FlagSet, args []string, n int) ([]string, error) {
	var operands []string
	for {
		err := flags.Parse(args)
		if errors.Is(err, flag.ErrHelp) {
			c, _ := lookUp(flags.Name())
			p.describe(c, flags)
			return nil, errHelped
		}
		if err != nil {
			return nil, wrongUse("%s: %v; see \"wxphone help %s\"", flags.Name(), err, flags.Name())
		}
		if flags.NArg() == 0 {
			break
		}
		operands = append(operands, flags.Arg(0))
		args = flags.Args()[1:]
	}
	c, _ := lookUp(flags.Name())
	switch {
	case len(operands) < n:
		return nil, wrongUse("%s: %s is missing", c.name, c.arguments)
	case len(operands) > n:
		return nil, wrongUse("%s: %s too many", c.name, counted(len(operands)-n, "argument"))
	}
	return operands, nil
}

func counted(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}

// helped turns errHelped into success.
func helped(err error) error {
	if errors.Is(err, errHelped) {
		return nil
	}
	return err
}

func (p *program) list(w io.Writer) {
	fmt.Fprintf(w, "Usage: wxphone COMMAND [flags]\n\nCommands:\n")
	for _, c := range commands {
		fmt.Fprintf(w, "  %-8s %s\n", c.name, c.summary)
	}
}

func (p *program) describe(c command, flags *flag.FlagSet) {
	fmt.Fprintf(p.stdout, "Usage: wxphone %s\n\n%s.\n", strings.Join(strings.Fields(c.name+" [flags] "+c.arguments), " "),
		strings.ToUpper(c.summary[:1])+c.summary[1:])
	n := 0
	flags.VisitAll(func(*flag.Flag) { n++ })
	if n > 0 {
		fmt.Fprintf(p.stdout, "\nFlags:\n")
		flags.SetOutput(p.stdout)
		flags.PrintDefaults()
	}
}

const environment = `
Environment:
  WXPHONE_APPID        the appid of the mini-program
  WXPHONE_SECRET       its AppSecret
  WXPHONE_SECRET_FILE  a file that holds the AppSecret, instead of WXPHONE_SECRET
  WXPHONE_BASE_URL     another host than https://api.weixin.qq.com, such as a fake
  WXPHONE_KEY          the key of "token -serve", 32 bytes or more
  WXPHONE_FAKE_...     the flags of fake, such as WXPHONE_FAKE_ADDR
`

func (p *program) help(ctx context.Context, flags *flag.FlagSet, args []string) error {
	if len(args) > 1 {
		return wrongUse("help: %s too many", counted(len(args)-1, "argument"))
	}
	if len(args) == 0 || strings.HasPrefix(args[0], "-") {
		p.list(p.stdout)
		fmt.Fprint(p.stdout, environment)
		return nil
	}
	c, ok := lookUp(args[0])
	if !ok {
		return &usageError{fmt.Sprintf("there is no command %q", args[0]), true}
	}
	if c.name == flags.Name() {
		p.describe(c, flags)
		return nil
	}
	return c.run(p, ctx, newFlags(c), []string{"-h"})
}
