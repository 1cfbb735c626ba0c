package build

import (
	"context"
	"path/filepath"

	"github.com/org/imagebuild-action/internal/failure"
)

// failureDir is the folder of a machine in the failure bundle; without a name,
// that of the bundle itself.
func (b *builder) failureDir(name string) string {
	return filepath.Join(b.Output, failure.Dir, name)
}

// failed writes the failure bundle. There is none for a cancelled build, which
// leaves nothing, nor for what the check finds, which says it all.
func (b *builder) failed(ctx context.Context, stage string, cause error) error {
	if ctx.Err() != nil || stage == "check" {
		return cause
	}
	plan, err := b.plan.JSON()
	if err != nil {
		plan = nil // the error of the build is the one that matters
	}
	return failure.Write(b.failureDir(""), failure.Cause{Err: cause, Recorder: b.recorder, Plan: plan, Secrets: b.Secrets})
}
