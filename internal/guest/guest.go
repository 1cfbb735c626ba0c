// Package guest is the one way to act inside an image in the making: run a
// command, put a file, get a file. A chroot, an SSH session and a test's fake
// all satisfy Guest, so a provisioner never knows where it runs.
package guest

import (
	"context"
	"fmt"
	"io"
	"strings"
)

// Guest is the inside of an image. All calls act as root. Implementations
// honour ctx: when it ends, the command and everything that it started are
// killed before the call returns.
type Guest interface {
	// Run runs a command to its end. A command that ran and failed is an
	// *ExitError; anything else means that it could not be run.
	Run(ctx context.Context, command Command) error
	// Put writes a file, whole or not at all, making parent directories.
	Put(ctx context.Context, file File, content io.Reader) error
	// Get copies a file's content out.
	Get(ctx context.Context, path string, to io.Writer) error
}

// Command is one process inside a guest.
type Command struct {
	Argv   []string  // program, looked up in the guest's PATH, and its arguments
	Env    []string  // additional KEY=value pairs
	Dir    string    // working directory; empty means /
	Stdin  io.Reader // nil means empty
	Stdout io.Writer // nil means discard
	Stderr io.Writer // nil means discard; may equal Stdout
}

// File is a file's place and ownership inside a guest.
type File struct {
	Path  string // absolute
	Mode  uint32 // permission bits with setuid, setgid and sticky
	Owner string // user name or number; empty means root
	Group string // group name or number; empty means the owner's primary group, else root
}

// ExitError is a command that ran and did not succeed.
type ExitError struct {
	Argv   []string
	Status int    // exit status; -1 when a signal ended it
	Signal string // as "killed"; empty unless a signal ended it
}

// Error says which command ended how.
func (e *ExitError) Error() string {
	if e.Signal != "" {
		return fmt.Sprintf("%s: ended by signal %s", strings.Join(e.Argv, " "), e.Signal)
	}
	return fmt.Sprintf("%s: exit status %d", strings.Join(e.Argv, " "), e.Status)
}
