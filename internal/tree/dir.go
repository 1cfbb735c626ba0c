package tree

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/org/imagebuild-action/internal/image"
)

// Dir returns the tree below the directory root, read anew on every Walk.
// Owners are numbers, symlinks are never followed, hard links are found by
// inode, sockets are left out. Reading every xattr needs root.
func Dir(root string) image.Tree { return &dirTree{root} }

type dirTree struct{ root string }

// record is one scanned entry and what only a directory knows about it.
type record struct {
	image.Entry
	inode inode
	stat  unix.Stat_t
}

type inode struct{ dev, ino uint64 }

// Walk implements image.Tree.
func (t *dirTree) Walk(ctx context.Context, fn func(*image.Entry, io.Reader) error) error {
	b, err := openBeneath(t.root)
	if err != nil {
		return err
	}
	defer b.Close()
	records, err := scan(ctx, b)
	if err != nil {
		return err
	}
	for i := range records {
		if err := ctx.Err(); err != nil {
			return err
		}
		entry := records[i].Entry
		if entry.Type != image.File {
			if err := fn(&entry, nil); err != nil {
				return err
			}
			continue
		}
		content := &lazyFile{b: b, path: entry.Path, left: entry.SizeBytes, inode: records[i].inode}
		err := fn(&entry, content)
		content.close()
		if err != nil {
			return err
		}
	}
	return nil
}

func (t *dirTree) openEntry(p string, fn func(*image.Entry, io.Reader) error) error {
	b, err := openBeneath(t.root)
	if err != nil {
		return err
	}
	defer b.Close()
	fd, base, err := b.parent(p)
	if err != nil {
		return err
	}
	r, err := lookup(fd, base, p)
	if err != nil {
		return err
	}
	if r.Type != image.File {
		return fn(&r.Entry, nil)
	}
	content := &lazyFile{b: b, path: p, left: r.SizeBytes, inode: r.inode}
	defer content.close()
	return fn(&r.Entry, content)
}

// scan lists everything below b in the order of a Tree.
func scan(ctx context.Context, b *beneath) ([]record, error) {
	root, err := lookup(b.root, ".", ".")
	if err != nil {
		return nil, err
	}
	records := []record{root}
	for dirs := []string{"."}; len(dirs) > 0; {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		dir := dirs[len(dirs)-1]
		dirs = dirs[:len(dirs)-1]
		names, fd, err := list(b, dir)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			r, err := lookup(fd, name, path.Join(dir, name))
			if errors.Is(err, errSocket) {
				continue
			}
			if err != nil {
				return nil, err
			}
			if r.Type == image.Directory {
				dirs = append(dirs, r.Path)
			}
			records = append(records, r)
		}
	}
	slices.SortFunc(records, func(x, y record) int { return compare(x.Path, y.Path) })
	first := map[inode]string{}
	for i := range records {
		r := &records[i]
		if r.Type == image.Directory || r.stat.Nlink < 2 {
			continue
		}
		if name, ok := first[r.inode]; ok {
			r.Type, r.Link, r.SizeBytes = image.Hardlink, name, 0
		} else {
			first[r.inode] = r.Path
		}
	}
	return records, nil
}

func list(b *beneath, dir string) (names []string, fd int, err error) {
	if fd, err = b.dir(dir); err != nil {
		return nil, -1, err
	}
	again, err := unix.Openat(fd, ".", openDirFlags, 0)
	if err != nil {
		return nil, -1, &os.PathError{Op: "open directory", Path: dir, Err: err}
	}
	f := os.NewFile(uintptr(again), dir)
	defer f.Close()
	if names, err = f.Readdirnames(-1); err != nil {
		return nil, -1, err
	}
	return names, fd, nil
}

var errSocket = errors.New("a socket")

// lookup describes base in the directory fd, whose path in the tree is p.
func lookup(fd int, base, p string) (record, error) {
	var st unix.Stat_t
	if err := unix.Fstatat(fd, base, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return record{}, &os.PathError{Op: "stat", Path: p, Err: err}
	}
	r := record{stat: st, inode: inode{uint64(st.Dev), st.Ino}} //nolint:unconvert // Dev is 32 bits on some architectures
	r.Entry = image.Entry{
		Path: p, Mode: st.Mode & 0o7777, UID: int(st.Uid), GID: int(st.Gid),
		ModTime: time.Unix(st.Mtim.Unix()).UTC(),
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		r.Type, r.SizeBytes = image.File, st.Size
	case unix.S_IFDIR:
		r.Type = image.Directory
	case unix.S_IFLNK:
		r.Type = image.Symlink
		target, err := readlink(fd, base, st.Size)
		if err != nil {
			return record{}, &os.PathError{Op: "readlink", Path: p, Err: err}
		}
		r.Link = target
	case unix.S_IFCHR, unix.S_IFBLK:
		r.Type = image.CharDevice
		if st.Mode&unix.S_IFMT == unix.S_IFBLK {
			r.Type = image.BlockDevice
		}
		r.Major, r.Minor = int64(unix.Major(st.Rdev)), int64(unix.Minor(st.Rdev))
	case unix.S_IFIFO:
		r.Type = image.FIFO
	case unix.S_IFSOCK:
		return record{}, errSocket
	default:
		return record{}, fmt.Errorf("%s: unknown file type %#o", p, st.Mode&unix.S_IFMT)
	}
	var err error
	if r.Xattrs, err = xattrs(fd, base); err != nil {
		return record{}, fmt.Errorf("%s: %w", p, err)
	}
	return r, nil
}

func readlink(fd int, base string, size int64) (string, error) {
	for n := size + 1; ; n *= 2 {
		buf := make([]byte, n)
		got, err := unix.Readlinkat(fd, base, buf)
		if err != nil {
			return "", err
		}
		if int64(got) < n {
			return string(buf[:got]), nil
		}
	}
}

// lazyFile opens its file when first read, and insists that it is still the
// one that was scanned and as long as it was then.
type lazyFile struct {
	b     *beneath
	path  string
	inode inode
	left  int64
	file  *os.File
}

var errChanged = errors.New("the file changed while it was read; is something still running in the tree")

func (f *lazyFile) Read(p []byte) (int, error) {
	if f.file == nil {
		file, err := f.b.open(f.path)
		if err != nil {
			return 0, err
		}
		f.file = file
		var st unix.Stat_t
		if err := unix.Fstat(int(file.Fd()), &st); err != nil {
			return 0, &os.PathError{Op: "stat", Path: f.path, Err: err}
		}
		if (inode{uint64(st.Dev), st.Ino}) != f.inode || st.Size != f.left { //nolint:unconvert // as above
			return 0, &fs.PathError{Op: "read", Path: f.path, Err: errChanged}
		}
	}
	if f.left == 0 {
		return 0, io.EOF
	}
	n, err := f.file.Read(p[:min(int64(len(p)), f.left)])
	f.left -= int64(n)
	if err == io.EOF && f.left > 0 {
		return n, &fs.PathError{Op: "read", Path: f.path, Err: errChanged}
	}
	return n, err
}

func (f *lazyFile) close() {
	if f.file != nil {
		_ = f.file.Close()
	}
}
