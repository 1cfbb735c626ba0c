// Command imagebuild builds one operating-system image for every platform
// from one template. See README.md, or run: imagebuild help
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/term"

	"github.com/org/imagebuild-action/internal/action"
	"github.com/org/imagebuild-action/internal/cli"
	"github.com/org/imagebuild-action/internal/guestweb"
)

func main() { os.Exit(run()) }

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	// Only what is ours decides the modes of the files that we make.
	syscall.Umask(0o022)
	// QEMU starts us when an installer opens a connection to its answers.
	if guestweb.Invoked(os.Args) {
		if guestweb.Relay(ctx, os.Args, os.Stdin, os.Stdout) != nil {
			return 1
		}
		return 0
	}
	// The runner sends SIGINT, and SIGTERM 7.5 s later: the clean-up that the
	// first one began goes on.
	if stage, invoked := action.Invoked(os.Args); invoked {
		return action.Main(ctx, action.Process{
			Argv:      os.Args,
			Environ:   os.Environ(),
			LookupEnv: os.LookupEnv,
			Stdin:     os.Stdin,
			Stdout:    os.Stdout,
			Generator: cli.Generator(),
		}, stage)
	}
	// The first signal cancels and everything is cleaned up; a second one gets
	// its default action, and the guards of internal/run clean up after us.
	context.AfterFunc(ctx, stop)
	return cli.Main(ctx, cli.Process{
		Argv:      os.Args,
		Environ:   os.Environ(),
		LookupEnv: os.LookupEnv,
		Stdin:     os.Stdin,
		Stdout:    os.Stdout,
		Stderr:    os.Stderr,
		Terminal:  term.IsTerminal(int(os.Stderr.Fd())),
	})
}
