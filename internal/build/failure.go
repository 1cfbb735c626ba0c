package build

import (
	"context"
	"errors"
	"path/filepath"

	"github.com/org/imagebuild-action/internal/failure"
)

// failureDir is the folder of a machine in the failure bundle; without a name,
// that of the bundle itself.
func (b *builder) failureDir(name string) string {
	return filepath.Join(b.Output, failure.Dir, name)
}

// explain completes the failure bundle, when the build has let go of everything
// else: the disk may have been full. There is none for a cancelled build, which
// leaves nothing, nor for what the check finds, which says it all.
func (b *builder) explain(ctx context.Context, stage string, cause error) error {
	switch {
	case cause == nil, stage == "", stage == "check":
		return cause
	case ctx.Err() != nil:
		return errors.Join(cause, failure.Remove(b.failureDir("")))
	}
	plan, err := b.plan.JSON()
	if err != nil {
		plan = nil // the error of the build is the one that matters
	}
	return failure.Write(b.failureDir(""), failure.Cause{Err: cause, Recorder: b.recorder, Plan: plan, Secrets: b.Secrets})
}
