package tree

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/image"
	"github.com/org/imagebuild-action/internal/run"
)

// Extracted says what Extract did.
type Extracted struct {
	Entries        int
	SkippedDevices []string // devices below dev/ that could not be made
}

// Extract writes t into the empty directory dir with owners, modes, times,
// xattrs and devices. It needs root, or to be root of a user namespace. There
// devices cannot be made: those below dev/ are skipped and listed, because a
// running system makes its own; any other is an error.
//
// No name in t, and no symlink that it makes, can lead outside dir.
func Extract(ctx context.Context, t image.Tree, dir string) (Extracted, error) {
	var done Extracted
	names, err := os.ReadDir(dir)
	if err != nil {
		return done, run.Explain(err)
	}
	if len(names) > 0 {
		return done, fault.Errorf(fault.Environment, "extract into %s: the directory is not empty", dir)
	}
	b, err := openBeneath(dir)
	if err != nil {
		return done, run.Explain(err)
	}
	defer b.Close()
	x := &extractor{b: b, buf: make([]byte, copyBuffer), done: &done}
	err = t.Walk(ctx, func(entry *image.Entry, content io.Reader) error {
		done.Entries++
		return x.entry(ctx, entry, content)
	})
	if err == nil {
		err = x.finish()
	}
	return done, run.Explain(err)
}

type extractor struct {
	b    *beneath
	over bool // directories may be there already
	buf  []byte
	dirs []dirTime
	done *Extracted
}

// dirTime is a directory's time, set when nothing in it changes any more.
type dirTime struct {
	path string
	time time.Time
}

func (x *extractor) entry(ctx context.Context, entry *image.Entry, content io.Reader) error {
	if err := checkPath(entry.Path); err != nil {
		return err
	}
	fd, base, err := x.b.parent(entry.Path)
	if err != nil {
		return err
	}
	if skipped, err := x.create(ctx, fd, base, entry, content); err != nil {
		return &os.PathError{Op: "extract", Path: entry.Path, Err: err}
	} else if skipped || entry.Type == image.Hardlink {
		return nil
	}
	if err := attributes(fd, base, entry); err != nil {
		return &os.PathError{Op: "set attributes of", Path: entry.Path, Err: err}
	}
	if entry.Type == image.Directory {
		x.dirs = append(x.dirs, dirTime{entry.Path, entry.ModTime})
		return nil
	}
	return setTime(fd, base, entry.Path, entry.ModTime)
}

func (x *extractor) create(ctx context.Context, fd int, base string, entry *image.Entry, content io.Reader) (skipped bool, err error) {
	switch entry.Type {
	case image.Directory:
		err = unix.Mkdirat(fd, base, 0o700)
		if (entry.Path == "." || x.over) && errors.Is(err, unix.EEXIST) {
			err = nil
		}
	case image.File:
		err = x.file(ctx, fd, base, entry, content)
	case image.Symlink:
		err = unix.Symlinkat(entry.Link, fd, base)
	case image.Hardlink:
		err = x.link(fd, base, entry)
	case image.FIFO:
		err = unix.Mknodat(fd, base, unix.S_IFIFO|0o600, 0)
	case image.CharDevice:
		return x.device(fd, base, unix.S_IFCHR, entry)
	case image.BlockDevice:
		return x.device(fd, base, unix.S_IFBLK, entry)
	default:
		err = fmt.Errorf("%s: not an entry", entry.Type)
	}
	return false, err
}

func (x *extractor) file(ctx context.Context, fd int, base string, entry *image.Entry, content io.Reader) error {
	raw, err := unix.Openat(fd, base, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(raw), entry.Path)
	n, err := io.CopyBuffer(onlyWriter{f}, onlyReader{ctx, content}, x.buf)
	if err == nil && n != entry.SizeBytes {
		err = fmt.Errorf("%d bytes where %d were announced", n, entry.SizeBytes)
	}
	return errors.Join(err, f.Close())
}

func (x *extractor) link(fd int, base string, entry *image.Entry) error {
	if err := checkPath(entry.Link); err != nil {
		return err
	}
	// The parent's descriptor is only good until the next lookup.
	parent, err := unix.Dup(fd)
	if err != nil {
		return err
	}
	defer unix.Close(parent) //nolint:errcheck // a duplicate
	from, old, err := x.b.parent(entry.Link)
	if err != nil {
		return err
	}
	return unix.Linkat(from, old, parent, base, 0)
}

func (x *extractor) device(fd int, base string, kind uint32, entry *image.Entry) (skipped bool, err error) {
	if entry.Major < 0 || entry.Minor < 0 {
		return false, fmt.Errorf("device %d:%d", entry.Major, entry.Minor)
	}
	number := unix.Mkdev(uint32(entry.Major), uint32(entry.Minor)) //nolint:gosec // checked above
	err = unix.Mknodat(fd, base, kind|0o600, int(number))          //nolint:gosec // as the call wants it
	if errors.Is(err, unix.EPERM) {
		if strings.HasPrefix(entry.Path, "dev/") {
			x.done.SkippedDevices = append(x.done.SkippedDevices, entry.Path)
			return true, nil
		}
		err = fmt.Errorf("make device %d:%d: %w; run as root", entry.Major, entry.Minor, err)
	}
	return false, err
}

// attributes sets owner, mode and xattrs, in the order that keeps setuid bits
// and capabilities: a change of owner clears both.
func attributes(fd int, base string, entry *image.Entry) error {
	if err := unix.Fchownat(fd, base, entry.UID, entry.GID, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("change owner to %d:%d: %w", entry.UID, entry.GID, err)
	}
	if entry.Type != image.Symlink {
		// base was made a moment ago by us, so it is no symlink.
		if err := unix.Fchmodat(fd, base, entry.Mode&0o7777, 0); err != nil {
			return fmt.Errorf("change mode: %w", err)
		}
	}
	for key, value := range entry.Xattrs {
		if err := unix.Lsetxattr(proc(fd, base), key, []byte(value), 0); err != nil {
			return fmt.Errorf("set xattr %s: %w", key, err)
		}
	}
	return nil
}

func setTime(fd int, base, name string, t time.Time) error {
	ts, err := unix.TimeToTimespec(t)
	if err == nil {
		err = unix.UtimesNanoAt(fd, base, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW)
	}
	if err != nil {
		return &os.PathError{Op: "set time of", Path: name, Err: err}
	}
	return nil
}

// finish sets the times of the directories, inner ones first.
func (x *extractor) finish() error {
	for i := len(x.dirs) - 1; i >= 0; i-- {
		d := x.dirs[i]
		fd, base, err := x.b.parent(d.path)
		if err != nil {
			return err
		}
		if err := setTime(fd, base, d.path, d.time); err != nil {
			return err
		}
	}
	return nil
}
