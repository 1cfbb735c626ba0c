package ssh

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"sync"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/guest"
	"github.com/org/imagebuild-action/internal/run"
)

// quietly runs a command of ours, whose complaints belong into the error.
func (c *Client) quietly(ctx context.Context, stdin io.Reader, stdout io.Writer, argv ...string) error {
	var complaints run.Tail
	err := c.Run(ctx, guest.Command{Argv: argv, Stdin: stdin, Stdout: stdout, Stderr: &complaints})
	var exit *guest.ExitError
	if errors.As(err, &exit) {
		if said := complaints.String(); said != "" {
			return fault.Errorf(fault.Guest, "%s", said)
		}
		return fault.Wrap(fault.Guest, err)
	}
	return err
}

// maxOutput is how much of a command's output Output keeps, in bytes.
const maxOutput = 64 << 10

// Output runs a short command and returns what it wrote, up to 64 KiB.
func (c *Client) Output(ctx context.Context, argv ...string) (string, error) {
	var out bytes.Buffer
	err := c.quietly(ctx, nil, &capWriter{w: &out, left: maxOutput}, argv...)
	return strings.TrimSpace(out.String()), err
}

// capWriter drops what is too much.
type capWriter struct {
	w    io.Writer
	left int
}

func (c *capWriter) Write(p []byte) (int, error) {
	n := min(len(p), c.left)
	c.left -= n
	if _, err := c.w.Write(p[:n]); err != nil {
		return 0, err
	}
	return len(p), nil
}

// errorReader remembers the reader's failure: to the remote side it looks like
// the end of the file. The one who reads may outlive the call, so it ends with
// ctx.
type errorReader struct {
	ctx context.Context //nolint:containedctx // one file long
	r   io.Reader

	mu  sync.Mutex
	err error
}

func (e *errorReader) Read(p []byte) (int, error) {
	if err := e.ctx.Err(); err != nil {
		return 0, e.remember(context.Cause(e.ctx))
	}
	n, err := e.r.Read(p)
	return n, e.remember(err)
}

func (e *errorReader) remember(err error) error {
	if err != nil && !errors.Is(err, io.EOF) {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.err = err
	}
	return err
}

func (e *errorReader) failure() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.err
}
