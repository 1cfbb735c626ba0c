// Package report tells a person what a build is doing while it does it.
//
// The build speaks to a Reporter; whether that is a terminal with live
// progress, a plain log or a GitHub job is decided once, at the front.
package report

import "fmt"

// Reporter receives the top-level stages of a build. Implementations are safe
// for concurrent use.
type Reporter interface {
	// Begin opens a task; End must be called on it.
	Begin(name string) Task
}

// Task is one stage, step or artifact in progress.
type Task interface {
	Reporter
	// Progress says how many bytes of how many are done; total 0 is unknown.
	Progress(doneBytes, totalBytes int64)
	// Line shows one line of output that a tool or the guest wrote, without
	// its newline. It is untrusted text.
	Line(text string)
	// Note shows a fact worth keeping: what was chosen, and why.
	Note(format string, args ...any)
	// Warn shows something that the user should change.
	Warn(format string, args ...any)
	// End closes the task, with its error if it failed.
	End(err error)
}

// Discard is a Reporter that shows nothing.
var Discard Reporter = discard{}

type discard struct{}

func (discard) Begin(string) Task     { return discard{} }
func (discard) Progress(int64, int64) {}
func (discard) Line(string)           {}
func (discard) Note(string, ...any)   {}
func (discard) Warn(string, ...any)   {}
func (discard) End(error)             {}

// Do runs fn as a task of r and closes it with fn's error, named after the
// task.
func Do(r Reporter, name string, fn func(Task) error) error {
	task := r.Begin(name)
	err := fn(task)
	task.End(err)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}
