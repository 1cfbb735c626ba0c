// Package action is the front for a GitHub job: it reads what the runner hands
// to a container action, builds the cell of the matrix that the job stands
// for, and on a tag publishes it.
//
//	main   internal/action.Main with StageMain   inputs, event -> build -> release
//	post   internal/action.Main with StagePost   sweeps what a killed main left
//
// The job's log is read by the runner for commands, so everything goes through
// one console that keeps commands switched off except while it writes one of
// its own: what a guest prints can never drive the runner.
//
// It refuses to run the code of a pull request under pull_request_target, to
// read a template outside the workspace, and to publish under a tag that is
// not a version.
package action

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"

	"github.com/org/imagebuild-action/internal/container"
	"github.com/org/imagebuild-action/internal/fault"
)

// Stage is the part of an action's life that the runner has started.
type Stage string

// The stages.
const (
	StageMain Stage = "main"
	StagePost Stage = "post"
)

// The names of the entry points in the container image. They are links to the
// program: a docker action can be given a path to start, but no arguments that
// would differ between its stages.
const (
	MainName = "imagebuild-action"
	PostName = "imagebuild-action-post"
)

// Invoked tells whether argv asks for this front, and for which stage: by the
// name of the program, or as "imagebuild action [--post]".
func Invoked(argv []string) (Stage, bool) {
	switch filepath.Base(argv[0]) {
	case MainName:
		return StageMain, true
	case PostName:
		return StagePost, true
	}
	switch rest := argv[1:]; {
	case slices.Equal(rest, []string{"action"}):
		return StageMain, true
	case slices.Equal(rest, []string{"action", "--post"}):
		return StagePost, true
	}
	return "", false
}

// Process is what the operating system gives to a program.
type Process struct {
	Argv      []string
	Environ   []string
	LookupEnv func(name string) (string, bool)
	Stdin     io.Reader // of a sibling container: open as long as its parent lives
	Stdout    io.Writer // the job's log; the runner reads both streams alike
	Generator string    // program and version, for the records
}

// Main runs a stage and returns the exit code.
func Main(ctx context.Context, p Process, stage Stage) int {
	j := newJob(p)
	defer j.console.resume()
	if _, sibling := container.Granted(p.Environ); sibling {
		var cancel context.CancelFunc
		ctx, cancel = container.Tether(ctx, p.Stdin)
		defer cancel()
	}
	var err error
	if stage == StagePost {
		err = j.post(ctx)
	} else {
		err = j.main(ctx)
	}
	var sibling siblingExit
	if errors.As(err, &sibling) {
		return int(sibling) // it has said everything
	}
	if err == nil {
		return 0
	}
	if ctx.Err() != nil {
		err = fault.Wrap(fault.Cancelled, fmt.Errorf("cancelled; everything that was begun has been removed (%w)", err))
	}
	j.console.explain(err, j.workspace)
	return fault.ExitCode(err)
}

// siblingExit is the exit code of the container that did the work instead.
type siblingExit int

func (e siblingExit) Error() string {
	return fmt.Sprintf("the sibling container exited with %d", int(e))
}
