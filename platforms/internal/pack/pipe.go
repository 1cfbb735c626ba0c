package pack

import (
	"context"
	"io"

	"github.com/org/imagebuild-action/internal/format/vmdk"
)

// Pipe turns a writer of disks into a reader. Close ends the writer, waits for
// it, and is needed in any case.
func Pipe(ctx context.Context, write func(context.Context, io.Writer) (vmdk.Info, error)) io.ReadCloser {
	r, w := io.Pipe()
	p := &pipe{PipeReader: r, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		_, err := write(ctx, w)
		_ = w.CloseWithError(err) // nil is the end of the file
	}()
	return p
}

type pipe struct {
	*io.PipeReader
	done chan struct{}
}

func (p *pipe) Close() error {
	err := p.PipeReader.Close()
	<-p.done
	return err
}
