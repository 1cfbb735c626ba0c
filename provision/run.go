package provision

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/guest"
	"github.com/org/imagebuild-action/internal/report"
	"github.com/org/imagebuild-action/internal/retry"
)

// DefaultTimeout bounds one try of a step that says nothing else, so that a
// step that hangs does not hold a runner for hours.
const DefaultTimeout = 30 * time.Minute

// firstPause is the time before the first retry; it doubles up to maxPause.
const (
	firstPause = time.Second
	maxPause   = 30 * time.Second
)

// Step is one provisioner with its place in the template and its common keys.
type Step struct {
	Number, Total int    // from one; Total may be zero
	Name          string // empty means what the provisioner says
	Dir           string // the template's folder
	Provisioner   Provisioner
	Timeout       time.Duration // of one try; zero means DefaultTimeout
	Retries       int           // after the first try
	Env           []string      // KEY=value
	// Failed is called once when the step has failed for good, while the guest
	// is as the step left it; nil does nothing.
	Failed Failed
	// Pause waits between tries; nil waits for real. For tests.
	Pause func(ctx context.Context, d time.Duration) error
}

// Failed is told of a step's failure. ctx is the build's, not the step's.
type Failed func(ctx context.Context, g guest.Guest, task report.Task, err error)

// Environ turns a step's env key into a list in the order of its names.
func Environ(env map[string]string) []string {
	list := make([]string, 0, len(env))
	for _, name := range slices.Sorted(maps.Keys(env)) {
		list = append(list, name+"="+env[name])
	}
	return list
}

// Title names the step, as in `step 2 of 6 "Clean NIC information"`.
func (s Step) Title() string {
	title := fmt.Sprintf("step %d", s.Number)
	if s.Total > 0 {
		title += fmt.Sprintf(" of %d", s.Total)
	}
	return fmt.Sprintf("%s %q", title, s.label())
}

func (s Step) label() string {
	if s.Name != "" {
		return s.Name
	}
	return s.Provisioner.String()
}

// Check runs the provisioner's Check and says which step it was.
func (s Step) Check(ctx context.Context) error {
	if err := s.Provisioner.Check(ctx, Job{Dir: s.Dir, Env: s.Env}); err != nil {
		return fmt.Errorf("%s: %w", s.Title(), err)
	}
	return nil
}

// Error is a step that failed in the guest.
type Error struct {
	Step  string // its title
	Tries int
	Tail  []string // its last lines of output
	Err   error
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Error says which step failed how, and quotes its last lines.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %v", e.Step, e.Err)
	if e.Tries > 1 {
		fmt.Fprintf(&b, " (after %d tries)", e.Tries)
	}
	if len(e.Tail) > 0 {
		b.WriteString("; its last lines:")
		for _, line := range e.Tail {
			b.WriteString("\n    " + line)
		}
	}
	return b.String()
}

// errTimeout tells a step's own time limit from a cancelled build.
var errTimeout = errors.New("timed out")

// Run runs one step: a task named after it, every line of output passed on,
// failed tries repeated. A failure is an *Error classified as the guest's,
// unless its cause was classified already; a cancellation is passed through.
func Run(ctx context.Context, s Step, g guest.Guest, r report.Reporter) error {
	task := r.Begin(s.label())
	err := s.Do(ctx, g, task)
	task.End(err)
	return err
}

// Do is Run for a caller that has a task for the step already.
func (s Step) Do(ctx context.Context, g guest.Guest, task report.Task) error {
	pause := firstPause
	for try := 1; ; try++ {
		tail, err := s.try(ctx, g, task)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%s: %w", s.Title(), context.Cause(ctx))
		}
		if try > s.Retries || !worthRetrying(err) {
			err = fault.Wrap(fault.Guest, &Error{Step: s.Title(), Tries: try, Tail: tail, Err: err})
			if s.Failed != nil {
				s.Failed(ctx, g, task, err)
			}
			return err
		}
		task.Warn("try %d of %d failed: %v; trying again in %s", try, s.Retries+1, err, pause)
		wait := s.Pause
		if wait == nil {
			wait = retry.Sleep
		}
		if err := wait(ctx, pause); err != nil {
			return fmt.Errorf("%s: %w", s.Title(), err)
		}
		pause = min(2*pause, maxPause)
	}
}

func (s Step) try(ctx context.Context, g guest.Guest, task report.Task) (tail []string, err error) {
	limit := s.Timeout
	if limit <= 0 {
		limit = DefaultTimeout
	}
	tryCtx, cancel := context.WithTimeoutCause(ctx, limit, errTimeout)
	defer cancel()
	out := newOutput(task)
	err = s.Provisioner.Apply(tryCtx, g, Job{Dir: s.Dir, Env: s.Env, Output: out, Note: task.Note})
	out.Close()
	if err != nil && ctx.Err() == nil && errors.Is(context.Cause(tryCtx), errTimeout) {
		err = fmt.Errorf("%w after %s; raise the step's timeout if it needs longer", errTimeout, limit)
	}
	return out.Tail(), err
}

// worthRetrying is false for what would fail in the same way again.
func worthRetrying(err error) bool {
	return fault.KindOf(fault.Wrap(fault.Guest, err)) != fault.Input
}
