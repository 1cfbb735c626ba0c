package guest

import (
	"context"
	"errors"
	"os"
)

// Rebooter is a guest with a kernel of its own. A chroot is none.
type Rebooter interface {
	// Reboot restarts the guest and returns when it runs anew and takes
	// commands: under another boot id than before (random(4),
	// /proc/sys/kernel/random/boot_id), so that a guest which never went down
	// is not taken for one that came up.
	Reboot(ctx context.Context) error
}

// Sheller is a guest that a person can look around in.
type Sheller interface {
	// Shell runs an interactive shell on the user's terminal until the user
	// leaves it or ctx ends. The status that the shell ends with is no error.
	// The terminal is left as it was found.
	Shell(ctx context.Context, console Console) error
}

// Console is the user's terminal.
type Console struct {
	Stdin  *os.File // a terminal
	Stdout *os.File // a terminal; usually the same one
	Term   string   // its kind, as $TERM has it; empty means dumb
	// Size returns the window's size in characters, now; it is asked again
	// after each change. Resized has a value when it changed, and may be nil.
	Size    func() (columns, rows int, err error)
	Resized <-chan os.Signal
}

// ErrNoTerminal is a Console whose files are no terminal: a shell on them
// would wait for input that nobody can give.
var ErrNoTerminal = errors.New("a shell needs a terminal, and standard input or output is none")
