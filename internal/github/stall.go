package github

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/org/imagebuild-action/internal/fault"
)

// ErrStalled says that a transfer made no progress.
var ErrStalled = errors.New("the transfer stalled")

// watch ends a transfer in which nothing moves for a while. How long the whole
// takes is no business of ours: gigabytes over a slow line are fine.
type watch struct {
	ctx   context.Context
	limit time.Duration
	timer *time.Timer
	end   context.CancelCauseFunc
}

func newWatch(ctx context.Context, limit time.Duration) (context.Context, *watch) {
	ctx, cancel := context.WithCancelCause(ctx)
	w := &watch{ctx: ctx, limit: limit, end: cancel}
	w.timer = time.AfterFunc(limit, func() { cancel(fmt.Errorf("%w: no byte for %s", ErrStalled, limit)) })
	return ctx, w
}

func (w *watch) moved() { w.timer.Reset(w.limit) }

func (w *watch) stop() {
	w.timer.Stop()
	w.end(nil)
}

// cause names the stall where the transport only says that it was cancelled.
func (w *watch) cause(err error) error {
	if cause := context.Cause(w.ctx); err != nil && errors.Is(cause, ErrStalled) {
		return cause
	}
	return err
}

// watchedReader tells the watch what moves. With isFile a failing read is this
// machine's fault.
type watchedReader struct {
	io.ReadCloser
	watch    *watch
	isFile   bool
	progress func(int64)
	total    int64
}

func (r *watchedReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	if n > 0 {
		r.watch.moved()
		r.total += int64(n)
		if r.progress != nil {
			r.progress(r.total)
		}
	}
	if r.isFile && err != nil && !errors.Is(err, io.EOF) {
		return n, fault.Wrap(fault.Environment, err)
	}
	return n, err
}

// localWriter classifies its errors: the other end is not to blame.
type localWriter struct{ io.Writer }

func (w localWriter) Write(p []byte) (int, error) {
	n, err := w.Writer.Write(p)
	return n, fault.Wrap(fault.Environment, err)
}
