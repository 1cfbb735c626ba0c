package target

import (
	"context"
	"time"

	"github.com/org/imagebuild-action/internal/guest"
	"github.com/org/imagebuild-action/internal/report"
)

// Launch is an image that is made in the cloud itself: of one that is there
// already, by a machine in which the steps run.
type Launch struct {
	Publication
	Source any    // the template's configuration of it, of a type that the platform knows
	Origin Origin // what it was resolved to
	// Env is what commands in the machine get besides their own variables.
	Env []string
	// Steps changes the machine into what the image is to be.
	Steps func(ctx context.Context, g guest.Guest, task report.Task) error
	// Seal is a script for sh that takes our traces out of the machine, as the
	// last thing before it is stopped. Its argument is the key that let us in.
	Seal string
	// Image says that the machine becomes an image; otherwise all ends with the
	// steps.
	Image bool
	// Tests proves a machine that was started from the image; nil starts none.
	Tests func(ctx context.Context, g guest.Guest, seen Booted, task report.Task) error
	// Stays says that the image is to stay, and so is copied and shared.
	// Otherwise it is for the one who called to undo all of it.
	Stays bool
	// Console receives what the console of a machine in trouble said.
	Console func(name string, text []byte)
}

// Origin is the image that a launch starts from.
type Origin struct {
	ID      string
	Name    string
	Created time.Time
}

// Booted is what was seen of a machine that was started from an image.
type Booted struct {
	Machine string  // what it is, in a few words
	Access  string  // how it was entered, in a few words
	Kernel  string  // its release
	Seconds float64 // from the call that starts it to the first command's end
}
