package cli

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/org/imagebuild-action/internal/build"
	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/guest"
	"github.com/org/imagebuild-action/internal/tty"
)

// onError turns --on-error into options. A shell needs somebody at a terminal,
// which is better known before the build than after an hour of it.
func (a *app) onError(text string, options *build.Options) error {
	var err error
	if options.OnError, err = build.ParseOnError(text); err != nil || options.OnError != build.Shell {
		return err
	}
	if err := tty.Check(a.console()); err != nil {
		return fault.Errorf(fault.Input, "--on-error shell: %w; run it in a terminal, or use --on-error keep", err)
	}
	options.ShowShell = a.showShell
	return nil
}

// console is the user's terminal. Standard output is the result's, and may be
// a file; standard error shows everything else.
func (a *app) console() guest.Console {
	stdin, _ := a.Stdin.(*os.File)
	stderr, _ := a.Stderr.(*os.File)
	term, _ := a.LookupEnv("TERM")
	return guest.Console{Stdin: stdin, Stdout: stderr, Term: term}
}

// showShell lets the user look around in the failing guest.
func (a *app) showShell(ctx context.Context, g guest.Sheller, failed error) error {
	a.stopReport()
	a.printError(failed)
	fmt.Fprintln(a.Stderr, "This is a shell in the failing guest, as root. What you change there goes away with it; exit goes on with the clean-up.")
	resized := make(chan os.Signal, 1)
	signal.Notify(resized, syscall.SIGWINCH)
	defer signal.Stop(resized)
	console := a.console()
	console.Resized = resized
	return g.Shell(ctx, console)
}
