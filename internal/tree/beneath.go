package tree

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// beneath opens things below one directory and never follows a symlink on the
// way, so that no name in it, however hostile, leads out of it. It works on
// any kernel and with paths longer than PATH_MAX.
type beneath struct {
	root int
	name string // of the root, for errors

	lastPath string // the directory opened last, and its descriptor
	lastFD   int
}

const openDirFlags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC

func openBeneath(root string) (*beneath, error) {
	fd, err := unix.Open(root, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: root, Err: err}
	}
	return &beneath{root: fd, name: root, lastPath: ".", lastFD: fd}, nil
}

func (b *beneath) Close() {
	b.forget()
	_ = unix.Close(b.root)
}

func (b *beneath) forget() {
	if b.lastFD != b.root {
		_ = unix.Close(b.lastFD)
	}
	b.lastPath, b.lastFD = ".", b.root
}

// dir returns a descriptor of a directory, valid until the next call.
func (b *beneath) dir(p string) (int, error) {
	if p == b.lastPath {
		return b.lastFD, nil
	}
	fd, rest := b.root, p
	if below, ok := strings.CutPrefix(p, b.lastPath+"/"); ok && b.lastPath != "." {
		fd, rest = b.lastFD, below
	}
	for component := range strings.SplitSeq(rest, "/") {
		next, err := unix.Openat(fd, component, openDirFlags, 0)
		if fd != b.root && fd != b.lastFD {
			_ = unix.Close(fd)
		}
		if err != nil {
			return -1, &os.PathError{Op: "open directory", Path: p, Err: err}
		}
		fd = next
	}
	b.forget()
	b.lastPath, b.lastFD = p, fd
	return fd, nil
}

// parent returns the descriptor of a path's parent directory, and the last
// component.
func (b *beneath) parent(p string) (fd int, base string, err error) {
	fd, err = b.dir(path.Dir(p))
	return fd, path.Base(p), err
}

// open opens a regular file for reading.
func (b *beneath) open(p string) (*os.File, error) {
	fd, base, err := b.parent(p)
	if err != nil {
		return nil, err
	}
	// O_NONBLOCK: what became a FIFO in the meantime must not block us.
	file, err := unix.Openat(fd, base, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: p, Err: err}
	}
	return os.NewFile(uintptr(file), p), nil
}

// proc names base in the directory fd for the system calls that have no form
// with a descriptor.
func proc(fd int, base string) string {
	return "/proc/self/fd/" + strconv.Itoa(fd) + "/" + base
}

// xattrs reads the extended attributes of base in the directory fd.
func xattrs(fd int, base string) (map[string]string, error) {
	name := proc(fd, base)
	size, err := unix.Llistxattr(name, nil)
	if errors.Is(err, unix.ENOTSUP) || err == nil && size == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, &os.PathError{Op: "list xattrs of", Path: base, Err: err}
	}
	list := make([]byte, size)
	if size, err = unix.Llistxattr(name, list); err != nil {
		return nil, &os.PathError{Op: "list xattrs of", Path: base, Err: err}
	}
	var found map[string]string
	for key := range strings.SplitSeq(strings.TrimSuffix(string(list[:size]), "\x00"), "\x00") {
		value, err := xattr(name, key)
		if err != nil {
			return nil, fmt.Errorf("read xattr %s of %s: %w", key, base, err)
		}
		if found == nil {
			found = map[string]string{}
		}
		found[key] = value
	}
	return found, nil
}

func xattr(name, key string) (string, error) {
	buf := make([]byte, 256)
	for {
		n, err := unix.Lgetxattr(name, key, buf)
		switch {
		case err == nil:
			return string(buf[:n]), nil
		case !errors.Is(err, unix.ERANGE):
			return "", err
		}
		if n, err = unix.Lgetxattr(name, key, nil); err != nil {
			return "", err
		}
		buf = make([]byte, n+1)
	}
}
