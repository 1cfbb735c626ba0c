package chroot

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/org/imagebuild-action/internal/fault"
)

// maxLinks is how many symlinks one path may go through (the kernel's
// MAXSYMLINKS).
const maxLinks = 40

// openDir opens a directory of the tree. Symlinks on the way are followed as
// if the tree were the root file system, so none leads out of it; with create,
// missing directories are made with mode 0755.
//
// The walk is by hand, one component at a time without following, because
// openat2(2) with RESOLVE_IN_ROOT is refused by older container runtimes.
func (c *Chroot) openDir(name string, create bool) (*os.File, error) {
	f, _, err := c.walk(name, create)
	return f, err
}

// walk returns the directory and its real path inside the tree.
func (c *Chroot) walk(name string, create bool) (*os.File, string, error) {
	if strings.ContainsRune(name, 0) || !path.IsAbs(name) {
		return nil, "", fault.Errorf(fault.Input, "%q is not an absolute path in the image", name)
	}
	chain := make([]*os.File, 0, 16) // every directory from the root to here, so that .. stays inside
	defer func() {
		for _, each := range chain {
			_ = each.Close()
		}
	}()
	root, err := openAt(unix.AT_FDCWD, c.root, c.root)
	if err != nil {
		return nil, "", err
	}
	chain = append(chain, root)
	names := []string{}
	todo := strings.Split(name, "/")
	for links := 0; len(todo) > 0; {
		part := todo[0]
		todo = todo[1:]
		here := chain[len(chain)-1]
		switch part {
		case "", ".":
			continue
		case "..":
			if len(names) > 0 {
				_ = here.Close()
				chain, names = chain[:len(chain)-1], names[:len(names)-1]
			}
			continue
		}
		next, err := openAt(fd(here), part, name)
		if errors.Is(err, unix.ENOENT) && create {
			if err = makeDirAt(here, part, 0o755); err == nil {
				next, err = openAt(fd(here), part, name)
			}
		}
		if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
			target, errLink := readLinkAt(here, part)
			if errLink != nil {
				return nil, "", fmt.Errorf("%s: %s is not a directory in the image", name, "/"+strings.Join(append(names, part), "/"))
			}
			if links++; links > maxLinks {
				return nil, "", fmt.Errorf("%s: too many symbolic links in the image", name)
			}
			if path.IsAbs(target) {
				for _, each := range chain[1:] {
					_ = each.Close()
				}
				chain, names = chain[:1], names[:0]
			}
			todo = append(strings.Split(target, "/"), todo...)
			continue
		}
		if err != nil {
			return nil, "", fmt.Errorf("%s in the image: %w", name, err)
		}
		chain, names = append(chain, next), append(names, part)
	}
	last := chain[len(chain)-1]
	chain = chain[:len(chain)-1]
	return last, "/" + strings.Join(names, "/"), nil
}

// parent opens the directory that a path lies in and returns the last part of
// the path.
func (c *Chroot) parent(name string, create bool) (*os.File, string, error) {
	clean := path.Clean(name)
	if !path.IsAbs(name) || clean == "/" {
		return nil, "", fault.Errorf(fault.Input, "%q is not an absolute path of a file in the image", name)
	}
	dir, err := c.openDir(path.Dir(clean), create)
	return dir, path.Base(clean), err
}

// resolve follows the last part of a path too and returns the directory and
// name that it really has. The file itself need not exist.
func (c *Chroot) resolve(name string, create bool) (dir *os.File, base, real string, err error) {
	for range maxLinks {
		clean := path.Clean(name)
		parent, realParent, err := c.walk(path.Dir(clean), create)
		if err != nil {
			return nil, "", "", err
		}
		target, err := readLinkAt(parent, path.Base(clean))
		if err != nil {
			return parent, path.Base(clean), path.Join(realParent, path.Base(clean)), nil
		}
		_ = parent.Close()
		if name = target; !path.IsAbs(target) {
			name = path.Join(realParent, target)
		}
	}
	return nil, "", "", fmt.Errorf("%s: too many symbolic links in the image", name)
}

// resolverPath is where the guest's /etc/resolv.conf really lies; empty when
// nothing can be put there. Directories below /run are missing on purpose: the
// set-up script makes them in the /run of the command.
func (c *Chroot) resolverPath() (string, error) {
	const name = "/etc/resolv.conf"
	parent, realParent, err := c.walk(path.Dir(name), false)
	if err != nil {
		return "", nil //nolint:nilerr // a tree without /etc
	}
	target, err := readLinkAt(parent, path.Base(name))
	found := exists(parent, path.Base(name))
	_ = parent.Close()
	if err != nil {
		if !found {
			return "", nil
		}
		return path.Join(realParent, path.Base(name)), nil
	}
	if !path.IsAbs(target) {
		target = path.Join(realParent, target)
	}
	if target = path.Clean(target); strings.HasPrefix(target, "/var/run/") {
		target = strings.TrimPrefix(target, "/var")
	}
	if strings.HasPrefix(target, "/run/") {
		return target, nil
	}
	dir, base, real, err := c.resolve(target, false)
	if err != nil {
		return "", nil //nolint:nilerr // dangling: no resolver
	}
	defer dir.Close()
	if !exists(dir, base) {
		return "", nil
	}
	return real, nil
}

func openAt(dir int, name, label string) (*os.File, error) {
	n, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(n), label), nil
}

func makeDirAt(dir *os.File, name string, mode uint32) error {
	if err := unix.Mkdirat(fd(dir), name, mode); err != nil {
		if errors.Is(err, unix.EEXIST) {
			return nil
		}
		return err
	}
	return unix.Fchmodat(fd(dir), name, mode, 0) // whatever the umask was
}

func (c *Chroot) makeDir(name string, mode uint32) error {
	parent, base, err := c.parent(name, false)
	if err != nil {
		return err
	}
	defer parent.Close()
	if exists(parent, base) {
		return nil
	}
	return makeDirAt(parent, base, mode)
}

func readLinkAt(dir *os.File, name string) (string, error) {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(fd(dir), name, buf)
	if err != nil {
		return "", err
	}
	return string(buf[:n]), nil
}

func exists(dir *os.File, name string) bool {
	var stat unix.Stat_t
	return unix.Fstatat(fd(dir), name, &stat, unix.AT_SYMLINK_NOFOLLOW) == nil
}

func fd(f *os.File) int { return int(f.Fd()) }
