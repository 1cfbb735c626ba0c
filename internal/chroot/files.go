package chroot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/guest"
	"github.com/org/imagebuild-action/internal/run"
)

// partSuffix marks a file that is still being written.
const partSuffix = ".imagebuild-part"

// Put implements guest.Guest. A symlink in the file's place is replaced, not
// followed; symlinks among its parents are followed inside the tree.
func (c *Chroot) Put(ctx context.Context, file guest.File, content io.Reader) (err error) {
	uid, gid, err := c.owner(ctx, file.Owner, file.Group)
	if err != nil {
		return fault.Errorf(fault.Input, "put %s: %w", file.Path, err)
	}
	parent, name, err := c.parent(file.Path, true)
	if err != nil {
		return fmt.Errorf("put %s: %w", file.Path, err)
	}
	defer parent.Close()
	var stat unix.Stat_t
	if unix.Fstatat(fd(parent), name, &stat, unix.AT_SYMLINK_NOFOLLOW) == nil && stat.Mode&unix.S_IFMT == unix.S_IFDIR {
		return fault.Errorf(fault.Input, "put %s: it is a directory in the image; name the file", file.Path)
	}
	part := "." + name + partSuffix
	if len(part) > unix.NAME_MAX {
		part = partSuffix
	}
	_ = unix.Unlinkat(fd(parent), part, 0) // left by a killed process
	f, err := create(parent, part)
	if err != nil {
		return fmt.Errorf("put %s: %w", file.Path, run.Explain(err))
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = unix.Unlinkat(fd(parent), part, 0)
			err = fmt.Errorf("put %s: %w", file.Path, run.Explain(err))
		}
	}()
	if _, err = io.Copy(f, withContext{ctx, content}); err != nil {
		return err
	}
	// The owner first: a change of owner takes setuid and setgid away.
	if err = errors.Join(f.Chown(uid, gid), unix.Fchmod(fd(f), file.Mode&0o7777)); err != nil {
		return err
	}
	if err = f.Close(); err != nil {
		return err
	}
	return unix.Renameat(fd(parent), part, fd(parent), name)
}

// Get implements guest.Guest. Only regular files can be read.
func (c *Chroot) Get(ctx context.Context, name string, to io.Writer) error {
	parent, base, _, err := c.resolve(name, false)
	if err != nil {
		return fmt.Errorf("get %s: %w", name, err)
	}
	defer parent.Close()
	n, err := unix.Openat(fd(parent), base, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("get %s: %w", name, err)
	}
	f := os.NewFile(uintptr(n), name)
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return errors.Join(fmt.Errorf("get %s: not a regular file in the image", name), err)
	}
	_, err = io.Copy(to, withContext{ctx, f})
	return err
}

func (c *Chroot) owner(ctx context.Context, owner, group string) (uid, gid int, err error) {
	if owner == "" && group == "" {
		return 0, 0, nil
	}
	var passwd, groups bytes.Buffer
	// A tree without these files has no names; numbers still work.
	_ = c.Get(ctx, "/etc/passwd", &passwd)
	_ = c.Get(ctx, "/etc/group", &groups)
	accounts, errPasswd := guest.ReadAccounts(&passwd)
	groupList, errGroup := guest.ReadGroups(&groups)
	if err := errors.Join(errPasswd, errGroup); err != nil {
		return 0, 0, err
	}
	return guest.Owner(accounts, groupList, owner, group)
}

func create(dir *os.File, name string) (*os.File, error) {
	n, err := unix.Openat(fd(dir), name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(n), name), nil
}

func writeNew(dir *os.File, name string, mode uint32, content []byte) error {
	f, err := create(dir, name)
	if err != nil {
		return run.Explain(err)
	}
	_, err = f.Write(content)
	return run.Explain(errors.Join(err, unix.Fchmod(fd(f), mode), f.Close()))
}

type withContext struct {
	ctx context.Context //nolint:containedctx // one copy long
	r   io.Reader
}

func (w withContext) Read(p []byte) (int, error) {
	if err := w.ctx.Err(); err != nil {
		return 0, err
	}
	return w.r.Read(p)
}
