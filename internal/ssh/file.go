package ssh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strconv"
	"time"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/guest"
)

// Files go through SFTP where we are root and the guest has it, and through
// cat elsewhere: the subsystem does not go through sudo, and not every guest
// has it.

// putScript receives a file under a name of its own, readable by nobody else.
const putScript = `umask 022; mkdir -p -- "$(dirname -- "$1")" && umask 077 && cat > "$1"`

// placeScript gives it owner, mode and its name: the owner before the mode,
// because a change of owner drops setuid.
const placeScript = `{ chown -- "$3" "$1" 2>/dev/null || chown -- "$4" "$1"; } && chmod -- "$5" "$1" && mv -fT -- "$1" "$2"`

const (
	createNew = os.O_WRONLY | os.O_CREATE | os.O_EXCL
	// readableByAll are the bits of a file that is no secret.
	readableByAll = 0o044
	// tidyLimit bounds the removal of what a failed Put has left.
	tidyLimit = 10 * time.Second
)

// Put implements guest.Guest. The file is complete before it has its name.
func (c *Client) Put(ctx context.Context, file guest.File, content io.Reader) error {
	if !path.IsAbs(file.Path) {
		return fault.Errorf(fault.Input, "put %s: the path must be absolute", file.Path)
	}
	file.Path = path.Clean(file.Path)
	part := file.Path + ".part"
	err := c.put(ctx, file, part, &errorReader{ctx: ctx, r: content})
	if err == nil {
		return nil
	}
	tidyCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tidyLimit)
	defer cancel()
	_ = c.quietly(tidyCtx, nil, nil, "rm", "-f", "--", part)
	return fmt.Errorf("put %s: %w", file.Path, err)
}

func (c *Client) put(ctx context.Context, file guest.File, part string, source *errorReader) error {
	placed := false
	var t *transfer
	var err error
	// SFTP would create it with the server's umask, and somebody may look in
	// before the mode is set.
	if file.Mode&readableByAll == readableByAll {
		if t, err = c.transfer(ctx); err != nil {
			return err
		}
	}
	if t != nil {
		placed, err = t.put(ctx, file, part, source)
		c.done(t, err)
		err = explain(err)
	} else {
		err = errors.Join(c.quietly(ctx, source, nil, "sh", "-c", putScript, "sh", part), source.failure())
	}
	if err != nil || placed {
		return err
	}
	owner, fallback := ownership(file)
	return c.quietly(ctx, nil, nil, "sh", "-c", placeScript, "sh", part, file.Path, owner, fallback, strconv.FormatUint(uint64(file.Mode&0o7777), 8))
}

// Get implements guest.Guest. Only regular files can be read where the guest
// has SFTP. Its length is the guest's to choose: to has to know a limit.
func (c *Client) Get(ctx context.Context, name string, to io.Writer) error {
	t, err := c.transfer(ctx)
	if err == nil && t != nil {
		err = t.get(ctx, name, to)
		c.done(t, err)
		err = explain(err)
	} else if err == nil {
		err = c.quietly(ctx, nil, to, "cat", "--", name)
	}
	if err != nil {
		return fmt.Errorf("get %s: %w", name, err)
	}
	return nil
}

// explain makes the guest's problem of what its SFTP server said.
func explain(err error) error {
	var own ours
	switch {
	case err == nil, errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.As(err, &own):
		return own.error
	case errors.Is(err, fs.ErrNotExist):
		err = fmt.Errorf("No such file or directory (%w)", err) //nolint:staticcheck // as cat and cp say it
	}
	return fault.Wrap(fault.Guest, foreign(err))
}

// rootOwned says whether no account has to be looked up for the file's owner.
func rootOwned(file guest.File) bool {
	root := func(name string) bool { return name == "" || name == "root" || name == "0" }
	return root(file.Owner) && root(file.Group)
}

// fileMode renders the permission bits of chmod(2).
func fileMode(bits uint32) fs.FileMode {
	mode := fs.FileMode(bits & 0o777)
	for bit, flag := range map[uint32]fs.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky} {
		if bits&bit != 0 {
			mode |= flag
		}
	}
	return mode
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
