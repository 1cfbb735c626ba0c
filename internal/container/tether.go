package container

import (
	"context"
	"errors"
	"io"
)

// errParentGone is the cause when a tethered context ends.
var errParentGone = errors.New("the container that started this one is gone")

// Tether returns a context for a sibling's work, which ends with ctx, or when
// stdin does: Rerun holds the other end open and writes nothing, so the end
// means that the parent was killed. Nothing is then left of the sibling
// either.
func Tether(ctx context.Context, stdin io.Reader) (context.Context, context.CancelFunc) {
	tethered, cancel := context.WithCancelCause(ctx)
	go func() {
		_, _ = io.Copy(io.Discard, stdin)
		cancel(errParentGone)
	}()
	return tethered, func() { cancel(context.Canceled) }
}
