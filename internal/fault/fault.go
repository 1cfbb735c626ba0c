// Package fault says whose problem an error is, so that the command line can
// exit with a stable code and a job summary can address the right person.
//
//	return fault.Wrap(fault.Environment, err)
//	os.Exit(fault.ExitCode(err))
//
// The innermost classification wins: a stage may wrap what a leaf already
// classified without changing the verdict.
package fault

import (
	"context"
	"errors"
	"fmt"
)

// Kind is whose problem an error is. Its value is the process's exit code.
type Kind int

// The kinds, with the exit codes that the command line documents.
const (
	Input       Kind = 2   // the template, a file that it names, or an argument
	Environment Kind = 3   // this machine: a missing tool, a full disk, no right
	Guest       Kind = 4   // what runs inside the image failed
	Remote      Kind = 5   // a service that we talk to failed
	Bug         Kind = 6   // imagebuild itself
	Cancelled   Kind = 130 // the user or the runner stopped us
)

// String returns the kind's name as reports print it.
func (k Kind) String() string {
	switch k {
	case Input:
		return "input"
	case Environment:
		return "environment"
	case Guest:
		return "guest"
	case Remote:
		return "remote"
	case Cancelled:
		return "cancelled"
	case Bug:
		return "bug"
	}
	return fmt.Sprintf("kind(%d)", int(k))
}

type classified struct {
	kind Kind
	err  error
}

func (c *classified) Error() string { return c.err.Error() }
func (c *classified) Unwrap() error { return c.err }

// Wrap marks err as a problem of the kind given. A nil err stays nil.
func Wrap(kind Kind, err error) error {
	if err == nil {
		return nil
	}
	return &classified{kind: kind, err: err}
}

// Errorf is Wrap around fmt.Errorf, %w included.
func Errorf(kind Kind, format string, args ...any) error {
	return &classified{kind: kind, err: fmt.Errorf(format, args...)}
}

// KindOf returns the innermost kind that err carries along its chain of
// single wraps; of joined errors the first classified one counts. A
// cancellation without a kind is Cancelled; anything else unclassified is a
// Bug, because every expected failure is classified where it is understood.
func KindOf(err error) Kind {
	if kind, ok := innermost(err); ok {
		return kind
	}
	if errors.Is(err, context.Canceled) {
		return Cancelled
	}
	return Bug
}

// ExitCode returns the process exit code for err: 0 for nil.
func ExitCode(err error) int {
	if err == nil {
		return 0
	}
	return int(KindOf(err))
}

func innermost(err error) (Kind, bool) {
	switch e := err.(type) { //nolint:errorlint // the chain is walked by hand, link by link
	case nil:
		return 0, false
	case *classified:
		if kind, ok := innermost(e.err); ok {
			return kind, true
		}
		return e.kind, true
	case interface{ Unwrap() []error }:
		for _, each := range e.Unwrap() {
			if kind, ok := innermost(each); ok {
				return kind, true
			}
		}
		return 0, false
	default:
		return innermost(errors.Unwrap(err))
	}
}
