package ssh

import (
	"fmt"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/run"
)

// maxForeignText is how much of the server's own words an error repeats; a
// packet may hold a quarter of a megabyte of them.
const maxForeignText = 500

// foreignError is an error with the server's words in it: bounded and
// printable, the same to errors.Is and errors.As.
type foreignError struct{ err error }

func foreign(err error) error {
	if err == nil {
		return nil
	}
	return foreignError{err}
}

func (f foreignError) Unwrap() error { return f.err }

func (f foreignError) Error() string {
	text := f.err.Error()
	if over := len(text) - maxForeignText; over > 0 {
		text = fmt.Sprintf("%s ... (%d more bytes)", text[:maxForeignText], over)
	}
	return run.Printable(text)
}

func lost(err error) error {
	return fault.Wrap(fault.Guest, fmt.Errorf("ssh session: %w", foreign(err)))
}
