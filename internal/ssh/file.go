package ssh

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/guest"
	"github.com/org/imagebuild-action/internal/run"
)

// Files go through cat rather than SFTP: not every guest has the subsystem, it
// does not go through sudo, and a stream needs no answer for every block.

// putScript receives a file under a name of its own, readable by nobody else.
const putScript = `umask 022; mkdir -p -- "$(dirname -- "$1")" && umask 077 && cat > "$1"`

// placeScript gives it owner, mode and its name: the owner before the mode,
// because a change of owner drops setuid.
const placeScript = `{ chown -- "$3" "$1" 2>/dev/null || chown -- "$4" "$1"; } && chmod -- "$5" "$1" && mv -fT -- "$1" "$2"`

// Put implements guest.Guest. The file is complete before it has its name.
func (c *Client) Put(ctx context.Context, file guest.File, content io.Reader) error {
	if !path.IsAbs(file.Path) {
		return fault.Errorf(fault.Input, "put %s: the path must be absolute", file.Path)
	}
	part := file.Path + ".part"
	source := &errorReader{r: content}
	err := c.quietly(ctx, source, nil, "sh", "-c", putScript, "sh", part)
	if err = errors.Join(source.err, err); err == nil {
		owner, fallback := ownership(file)
		err = c.quietly(ctx, nil, nil, "sh", "-c", placeScript, "sh", part, file.Path, owner, fallback, strconv.FormatUint(uint64(file.Mode&0o7777), 8))
	}
	if err != nil {
		_ = c.quietly(context.WithoutCancel(ctx), nil, nil, "rm", "-f", "--", part)
		return fmt.Errorf("put %s: %w", file.Path, err)
	}
	return nil
}

// ownership renders chown's argument, and the one to try if that names a user
// without an account.
func ownership(file guest.File) (owner, fallback string) {
	switch {
	case file.Owner == "" && file.Group == "":
		owner = "root:root"
	case file.Owner == "":
		owner = "root:" + file.Group
	case file.Group == "":
		return file.Owner + ":", file.Owner + ":root"
	default:
		owner = file.Owner + ":" + file.Group
	}
	return owner, owner
}

// Get implements guest.Guest.
func (c *Client) Get(ctx context.Context, name string, to io.Writer) error {
	if err := c.quietly(ctx, nil, to, "cat", "--", name); err != nil {
		return fmt.Errorf("get %s: %w", name, err)
	}
	return nil
}

// quietly runs a command of ours, whose complaints belong into the error.
func (c *Client) quietly(ctx context.Context, stdin io.Reader, stdout io.Writer, argv ...string) error {
	var complaints run.Tail
	err := c.Run(ctx, guest.Command{Argv: argv, Stdin: stdin, Stdout: stdout, Stderr: &complaints})
	var exit *guest.ExitError
	if errors.As(err, &exit) {
		if said := strings.TrimSpace(complaints.String()); said != "" {
			return fault.Errorf(fault.Guest, "%s", said)
		}
		return fault.Wrap(fault.Guest, err)
	}
	return err
}

// errorReader remembers the reader's failure: to the remote side it looks like
// the end of the file.
type errorReader struct {
	r   io.Reader
	err error
}

func (e *errorReader) Read(p []byte) (int, error) {
	n, err := e.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		e.err = err
	}
	return n, err
}

// Output runs a short command and returns what it wrote, up to 64 KiB.
func (c *Client) Output(ctx context.Context, argv ...string) (string, error) {
	var out bytes.Buffer
	err := c.quietly(ctx, nil, &capWriter{w: &out, left: 64 << 10}, argv...)
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
