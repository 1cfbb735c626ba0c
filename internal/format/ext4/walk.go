package ext4

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/org/imagebuild-action/internal/image"
)

// walker is one Walk.
type walker struct {
	fs    *FS
	ctx   context.Context //nolint:containedctx // lives as long as one Walk
	fn    func(*image.Entry, io.Reader) error
	links map[uint32]link // files that have names still to come
	bytes int             // of names in memory
}

type link struct {
	path string
	left uint16
}

// Walk implements image.Tree.
func (f *FS) Walk(ctx context.Context, fn func(entry *image.Entry, content io.Reader) error) error {
	w := &walker{fs: f, ctx: ctx, fn: fn, links: map[uint32]link{}}
	root, err := f.inode(rootInode)
	if err != nil {
		return err
	}
	if root.kind() != modeDirectory {
		return damaged(inodeName(rootInode), "the root is no directory")
	}
	if err := w.show(".", root); err != nil {
		return err
	}
	return w.directory("", root, rootInode, 0)
}

// directory walks through what is in a directory. In the order of a Tree, what
// is below a/ comes behind a-b: so each directory is a name twice, once for
// itself and once, with the slash, for its content.
func (w *walker) directory(dir string, i *inode, parent uint32, depth int) error {
	if depth > maxDepth {
		return refused("%s: directories are more than %d deep", inodeName(i.number), maxDepth)
	}
	found, err := w.fs.children(w.ctx, i, parent)
	if err != nil {
		return err
	}
	took := 0
	for _, c := range found {
		took += 2*len(c.name) + 64
	}
	if w.bytes += took; w.bytes > maxNamesBytes {
		return refused("the names of files take more than %d bytes at once", maxNamesBytes)
	}
	defer func() { w.bytes -= took }()
	for _, c := range inOrder(found) {
		if w.ctx.Err() != nil {
			return context.Cause(w.ctx)
		}
		name, below := strings.CutSuffix(c.name, "/")
		full := path.Join(dir, name)
		if len(full) >= maxPathBytes {
			return refused("%s: a path is longer than %d bytes", inodeName(c.inode), maxPathBytes)
		}
		in, err := w.fs.inode(c.inode)
		if err != nil {
			return fmt.Errorf("%s: %w", full, err)
		}
		switch {
		case !below:
			if !c.dir && in.kind() == modeDirectory {
				return damaged(inodeName(c.inode), "%q is a directory and said to be none", full)
			}
			err = w.show(full, in)
		case in.kind() == modeDirectory:
			err = w.directory(full, in, i.number, depth+1)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// inOrder adds to each directory its content's place, "name/".
func inOrder(found []child) []child {
	all := make([]child, 0, 2*len(found))
	for _, c := range found {
		all = append(all, c)
		if c.dir {
			c.name += "/"
			all = append(all, c)
		}
	}
	slices.SortFunc(all, func(a, b child) int { return strings.Compare(a.name, b.name) })
	return all
}

// show hands an entry to the caller.
func (w *walker) show(name string, i *inode) error {
	if i.kind() == modeSocket {
		return nil
	}
	entry, err := w.fs.entry(w.ctx, name, i)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if entry.Type != image.Directory && i.links > 1 {
		first, ok := w.links[i.number]
		if ok {
			entry.Type, entry.Link, entry.SizeBytes = image.Hardlink, first.path, 0
			if first.left--; first.left == 0 {
				delete(w.links, i.number)
				w.bytes -= len(first.path)
			} else {
				w.links[i.number] = first
			}
			return w.fn(entry, nil)
		}
		if w.bytes += len(name); w.bytes > maxNamesBytes {
			return refused("the names of hard links take more than %d bytes", maxNamesBytes)
		}
		w.links[i.number] = link{name, i.links - 1}
	}
	if entry.Type != image.File {
		return w.fn(entry, nil)
	}
	content, err := w.fs.content(w.ctx, i)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return w.fn(entry, content)
}

// entry describes an inode.
func (f *FS) entry(ctx context.Context, name string, i *inode) (*image.Entry, error) {
	e := &image.Entry{Path: name, Mode: uint32(i.mode & 0o7777), UID: i.uid, GID: i.gid, ModTime: i.mtime}
	var err error
	if e.Xattrs, err = f.xattrs(i); err != nil {
		return nil, err
	}
	switch i.kind() {
	case modeFile:
		e.Type, e.SizeBytes = image.File, int64(i.size) //nolint:gosec // content refuses what is too much
		if e.SizeBytes < 0 {
			return nil, damaged(inodeName(i.number), "a size of %d bytes", i.size)
		}
	case modeDirectory:
		e.Type = image.Directory
	case modeSymlink:
		e.Type = image.Symlink
		e.Link, err = f.target(ctx, i)
	case modeFIFO:
		e.Type = image.FIFO
	case modeChar:
		e.Type = image.CharDevice
		e.Major, e.Minor = i.device()
	case modeBlock:
		e.Type = image.BlockDevice
		e.Major, e.Minor = i.device()
	default:
		err = damaged(inodeName(i.number), "mode %#o is of no known type", i.mode)
	}
	return e, err
}

// target is where a symlink leads: kept in the inode if it is short, and if
// there is no block to it.
func (f *FS) target(ctx context.Context, i *inode) (string, error) {
	where := inodeName(i.number)
	if i.size == 0 || i.size > maxPathBytes {
		return "", damaged(where, "a symlink of %d bytes", i.size)
	}
	var text []byte
	attributes := uint64(0)
	if i.aclBlock != 0 {
		attributes = uint64(f.super.blockBytes) / image.SectorSize
	}
	if i.flags&(flagInline|flagExtents) == 0 && i.blocks <= attributes && i.size < blockArea {
		text = i.area[:i.size]
	} else {
		var err error
		if text, err = f.readAll(ctx, i, maxPathBytes); err != nil {
			return "", err
		}
	}
	if bytes.IndexByte(text, 0) >= 0 {
		return "", damaged(where, "a symlink to %q", text)
	}
	return string(text), nil
}

// Lookup describes the entry at a clean relative path; "." is the root. It
// follows no symlink. What is missing is fs.ErrNotExist.
func (f *FS) Lookup(name string) (*image.Entry, error) {
	i, err := f.find(name)
	if err != nil {
		return nil, err
	}
	return f.entry(context.Background(), name, i)
}

// ReadFile returns the content of a file of at most limit bytes; see Lookup.
func (f *FS) ReadFile(name string, limit int64) ([]byte, error) {
	i, err := f.find(name)
	if err != nil {
		return nil, err
	}
	if i.kind() != modeFile {
		return nil, &fs.PathError{Op: "read", Path: name, Err: errors.New("not a file")}
	}
	return f.readAll(context.Background(), i, limit)
}

func (f *FS) find(name string) (*inode, error) {
	i, err := f.inode(rootInode)
	if err != nil || name == "." {
		return i, err
	}
	parent := uint32(rootInode)
	for part := range strings.SplitSeq(name, "/") {
		if i.kind() != modeDirectory {
			return nil, notThere(name)
		}
		found, err := f.children(context.Background(), i, parent)
		if err != nil {
			return nil, err
		}
		n, ok := slices.BinarySearchFunc(found, part, func(c child, name string) int { return strings.Compare(c.name, name) })
		if !ok {
			return nil, notThere(name)
		}
		parent = i.number
		if i, err = f.inode(found[n].inode); err != nil {
			return nil, err
		}
	}
	return i, nil
}

var _ image.Tree = (*FS)(nil)
