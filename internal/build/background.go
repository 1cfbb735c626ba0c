package build

import (
	"cmp"
	"context"
	"io"

	"golang.org/x/sync/errgroup"

	"github.com/org/imagebuild-action/internal/run"
)

// background is work that nothing waits for but the build's end, and whoever
// removes what it reads: a guest or the next stage goes on meanwhile.
type background struct {
	saving  errgroup.Group // checkpoints on their way into the cache
	writing errgroup.Group // manifests
}

func newBackground() *background {
	b := &background{}
	b.saving.SetLimit(1)
	return b
}

// wait returns when nothing is going on any more.
func (b *background) wait() error {
	saved, written := b.saving.Wait(), b.writing.Wait()
	return cmp.Or(saved, written) // both have the same cause, if the build is cancelled
}

// keep puts a checkpoint into the cache. One that cannot be written costs time
// later and no more.
func (b *builder) keep(ctx context.Context, key string, write func(io.Writer) error, warn func(format string, args ...any)) error {
	err := b.cache.Put(ctx, key, write)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		warn("the checkpoint cannot be kept, so the next build repeats the step: %v", run.Explain(err))
	}
	return nil
}

// keepLater does that while the build goes on, after the one before.
func (b *builder) keepLater(ctx context.Context, key string, write func(io.Writer) error) {
	b.background.saving.Go(func() error {
		return b.keep(ctx, key, write, b.warns("keep a checkpoint"))
	})
}

// warns returns what reports warnings of work in the background as a task of its
// own: the one that it was begun in may be over. Without a warning there is none,
// as a stage that is shown meanwhile would be cut in two.
func (b *builder) warns(name string) func(format string, args ...any) {
	return func(format string, args ...any) {
		task := b.Report.Begin(name)
		task.Warn(format, args...)
		task.End(nil)
	}
}
