// Package cli is the front for a person's shell: it parses arguments, prints
// results on stdout and everything else on stderr, and turns an error into an
// exit code. What a command does lives below, in internal/build and its parts.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/org/imagebuild-action/internal/build"
	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/redact"
	"github.com/org/imagebuild-action/internal/report"
	"github.com/org/imagebuild-action/internal/run"
)

// Process is what the operating system gives to a program.
type Process struct {
	Argv      []string // the program's name and its arguments
	Environ   []string // as name=value, to start the program anew
	LookupEnv func(name string) (string, bool)
	Stdin     io.Reader
	Stdout    io.Writer
	Stderr    io.Writer
	Terminal  bool // whether Stderr is one
}

// Main runs the command line and returns the exit code.
func Main(ctx context.Context, p Process) int {
	a := &app{Process: p, secrets: &redact.Set{}}
	root := a.root()
	root.SetArgs(p.Argv[1:])
	root.SetIn(p.Stdin)
	root.SetOut(p.Stdout)
	root.SetErr(p.Stderr)
	err := root.ExecuteContext(ctx)
	a.stopReport()
	if err == nil {
		return 0
	}
	switch {
	case ctx.Err() != nil && errors.Is(err, build.ErrLeft):
		err = fault.Errorf(fault.Remote, "cancelled; %w", err)
	case ctx.Err() != nil:
		err = fault.Wrap(fault.Cancelled, errors.New("cancelled; everything that was begun has been removed"))
	}
	a.printError(err)
	return fault.ExitCode(err)
}

// app is one run of the command line.
type app struct {
	Process
	secrets  *redact.Set
	colour   string
	stopLive func()
}

const rootLong = `imagebuild builds one operating-system image for every platform from one
template: the same disk for VirtualBox, VMware, libvirt and EC2, made from
packages alone, booted to prove it, and the same bytes when you build it again.

  imagebuild init        write a starter template and the workflow beside it
  imagebuild validate    say everything that is wrong with a template, at once
  imagebuild build       build, boot and check the images of a template
  imagebuild release     publish what was built on a GitHub release

In a GitHub workflow, "uses: org/imagebuild-action@v1" runs the same program:
its container starts it as "imagebuild action".

Exit codes: 0 done, 2 input, 3 environment, 4 guest, 5 remote, 6 bug,
130 cancelled.`

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:               "imagebuild",
		Short:             "One template in, the same image out for every platform",
		Long:              rootLong,
		SilenceErrors:     true,
		SilenceUsage:      true,
		DisableAutoGenTag: true,
		PersistentPreRunE: func(*cobra.Command, []string) error { return a.checkColour() },
		Args:              knownCommand,
		RunE:              func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.PersistentFlags().StringVar(&a.colour, "color", "auto", "colour the output: auto, always or never")
	_ = root.RegisterFlagCompletionFunc("color", cobra.FixedCompletions([]string{"auto", "always", "never"}, cobra.ShellCompDirectiveNoFileComp))
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return fault.Errorf(fault.Input, "%w\nsee: %s --help", err, c.CommandPath())
	})
	root.AddCommand(a.initCommand(), a.validateCommand(), a.planCommand(), a.buildCommand(), a.testCommand(),
		a.diffCommand(), a.releaseCommand(), a.gcCommand(), a.policyCommand(), a.schemaCommand(), a.versionCommand(), a.docsCommand())
	for _, c := range root.Commands() {
		c.Args = asInput(c.Args)
	}
	return root
}

// knownCommand refuses what is no command, and offers what was meant.
func knownCommand(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	text := fmt.Sprintf("unknown command %q", args[0])
	if meant := c.SuggestionsFor(args[0]); len(meant) > 0 {
		text += "; did you mean " + strings.Join(meant, " or ") + "?"
	}
	return fault.Errorf(fault.Input, "%s\nsee: %s --help", text, c.CommandPath())
}

// asInput says that a wrong number of arguments is the user's to mend.
func asInput(rule cobra.PositionalArgs) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if rule == nil {
			return nil
		}
		if err := rule(c, args); err != nil {
			return fault.Errorf(fault.Input, "%w\nsee: %s --help", err, c.CommandPath())
		}
		return nil
	}
}

func (a *app) checkColour() error {
	switch a.colour {
	case "auto", "always", "never":
		return nil
	}
	return fault.Errorf(fault.Input, "--color %q: want auto, always or never", a.colour)
}

// coloured follows the NO_COLOR convention (no-color.org) under auto.
func (a *app) coloured() bool {
	if a.colour != "auto" {
		return a.colour == "always"
	}
	none, set := a.LookupEnv("NO_COLOR")
	term, _ := a.LookupEnv("TERM")
	return a.Terminal && (!set || none == "") && term != "dumb"
}

// reporter is live on a terminal and plain in a log.
func (a *app) reporter() report.Reporter {
	if term, _ := a.LookupEnv("TERM"); !a.Terminal || term == "dumb" {
		return report.Plain(a.Stderr, a.secrets)
	}
	r, stop := report.Live(a.Stderr, a.secrets, a.coloured())
	a.stopLive = stop
	return r
}

func (a *app) stopReport() {
	if a.stopLive != nil {
		a.stopLive()
	}
}

func (a *app) printError(err error) {
	prefix := "imagebuild: "
	if a.coloured() {
		prefix = "\x1b[31mimagebuild:\x1b[0m "
	}
	text := run.Printable(a.secrets.String(err.Error())) // it may quote a guest
	var list fault.List
	if errors.As(err, &list) {
		fmt.Fprintf(a.Stderr, "%s\n%s%s in the template\n", text, prefix, count(len(list), "fault"))
		return
	}
	fmt.Fprintf(a.Stderr, "%s%s\n", prefix, text)
	if fault.KindOf(err) == fault.Bug {
		fmt.Fprintln(a.Stderr, "This is a mistake in imagebuild itself; please report it with the output above.")
	}
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// templateArgument takes the optional template argument: a file, or a folder
// with an imagebuild.yml in it.
func templateArgument(args []string) (string, error) {
	name := build.DefaultTemplate
	if len(args) > 0 {
		name = args[0]
	}
	info, err := os.Stat(name)
	if err == nil && info.IsDir() {
		name = filepath.Join(name, build.DefaultTemplate)
		_, err = os.Stat(name)
	}
	switch {
	case errors.Is(err, os.ErrNotExist) && len(args) == 0:
		return "", fault.Errorf(fault.Input, "there is no %s in this folder; name a template, or run: imagebuild init", build.DefaultTemplate)
	case err != nil:
		return "", fault.Wrap(fault.Input, err)
	}
	return name, nil
}

// oneTemplate is the argument rule of commands that take a template.
func oneTemplate(c *cobra.Command, args []string) error {
	if len(args) > 1 {
		return fault.Errorf(fault.Input, "%s takes one template, got %d: %s", c.CommandPath(), len(args), strings.Join(args, " "))
	}
	return nil
}

func completeTemplate(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return []string{"yml", "yaml"}, cobra.ShellCompDirectiveFilterFileExt
}
