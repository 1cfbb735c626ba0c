package tree

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/org/imagebuild-action/internal/image"
)

// MaxEditBytes is the largest file that Edit and ReadFile take into memory.
const MaxEditBytes = 16 << 20

// Change is one transformation of a tree. Make one with Remove, RemoveIf, Put,
// Edit, EditIfExists, Adjust or ClampTimes.
type Change struct {
	apply func(*layout) error
}

// Overlay returns base with the changes made to it, each to the result of the
// ones before. Nothing is copied: the work is done on every Walk, in memory
// that grows with the number of entries and never with their size.
//
// Order and hard links stay valid: when the first name of a hard-linked file
// goes, the next one becomes the file.
func Overlay(base image.Tree, changes ...Change) image.Tree {
	if o, ok := base.(*overlay); ok {
		return &overlay{o.base, slices.Concat(o.changes, changes)}
	}
	return &overlay{base, slices.Clone(changes)}
}

// Remove removes what matches any of the patterns; a directory goes with all
// that it holds. In a pattern "*", "?" and "[...]" match within one path
// segment and "**" matches one or more whole segments, so that "var/log/**"
// empties a directory and keeps it. What matches nothing is no error.
func Remove(patterns ...string) Change {
	compiled := make([][]string, len(patterns))
	for i, p := range patterns {
		compiled[i] = strings.Split(strings.Trim(p, "/"), "/")
	}
	return Change{func(l *layout) error {
		for i, segments := range compiled {
			for _, s := range segments {
				if _, err := path.Match(s, ""); err != nil {
					return fmt.Errorf("remove %q: %w", patterns[i], err)
				}
			}
		}
		return l.remove(func(p string, _ *node) bool {
			segments := strings.Split(p, "/")
			return slices.ContainsFunc(compiled, func(pattern []string) bool { return match(pattern, segments) })
		})
	}}
}

// RemoveIf removes the entries that fn picks, directories with all that they
// hold. Every name of a hard-linked file is shown as a File.
func RemoveIf(fn func(entry *image.Entry) bool) Change {
	return Change{func(l *layout) error {
		return l.remove(func(p string, n *node) bool {
			entry := n.entry
			entry.Path = p
			return fn(&entry)
		})
	}}
}

// Put adds an entry, or replaces the one at its path; content is a File's.
// Missing parent directories are made, owned by root with mode 0755. A parent
// that is a symlink is an error: name the real directory. A zero ModTime is
// taken from the ClampTimes that follows, and otherwise is 1970.
func Put(entry image.Entry, content []byte) Change {
	entry.SizeBytes = 0
	if entry.Type == image.File {
		entry.SizeBytes = int64(len(content))
	}
	return Change{func(l *layout) error { return l.put(entry, content) }}
}

// PutFile is Put of a file that belongs to root.
func PutFile(path string, mode uint32, content []byte) Change {
	return Put(image.Entry{Path: path, Type: image.File, Mode: mode}, content)
}

// PutDir is Put of a directory that belongs to root.
func PutDir(path string, mode uint32) Change {
	return Put(image.Entry{Path: path, Type: image.Directory, Mode: mode}, nil)
}

// PutSymlink is Put of a symlink that belongs to root.
func PutSymlink(path, target string) Change {
	return Put(image.Entry{Path: path, Type: image.Symlink, Mode: 0o777, Link: target}, nil)
}

// Edit replaces a file's content by what fn makes of it. The file must exist
// and be no larger than MaxEditBytes. All names of a hard-linked file change.
func Edit(path string, fn func(old []byte) ([]byte, error)) Change {
	return Change{func(l *layout) error { return l.edit(path, true, fn) }}
}

// EditIfExists is Edit where a missing file is left missing.
func EditIfExists(path string, fn func(old []byte) ([]byte, error)) Change {
	return Change{func(l *layout) error { return l.edit(path, false, fn) }}
}

// Adjust lets fn change the mode, owner, time and xattrs of any entry; changes
// to the other fields are ignored. A hard-linked file is shown once, under its
// first name.
func Adjust(fn func(entry *image.Entry)) Change {
	return Change{func(l *layout) error {
		seen := map[*node]bool{}
		for _, p := range l.paths() {
			n := l.nodes[p]
			if seen[n] {
				continue
			}
			seen[n] = true
			entry := n.entry
			entry.Path = p
			fn(&entry)
			n.entry.Mode, n.entry.UID, n.entry.GID = entry.Mode, entry.UID, entry.GID
			n.entry.ModTime, n.entry.Xattrs = entry.ModTime, entry.Xattrs
		}
		return nil
	}}
}

// ClampTimes makes no time later than epoch, and all of them whole seconds.
func ClampTimes(epoch time.Time) Change {
	epoch = epoch.Truncate(time.Second)
	return Change{func(l *layout) error {
		for _, n := range l.nodes {
			if t := n.entry.ModTime; t.IsZero() || t.After(epoch) {
				n.entry.ModTime = epoch
			}
			n.entry.ModTime = n.entry.ModTime.Truncate(time.Second)
		}
		return nil
	}}
}

type overlay struct {
	base    image.Tree
	changes []Change
}

// Walk implements image.Tree.
func (o *overlay) Walk(ctx context.Context, fn func(*image.Entry, io.Reader) error) error {
	l, err := o.layout(ctx)
	if err != nil {
		return err
	}
	out := l.paths()
	first := map[*node]string{}
	emit := func(content io.Reader) error {
		p := out[0]
		out = out[1:]
		return l.emit(ctx, o.base, p, first, content, fn)
	}
	err = o.base.Walk(ctx, func(entry *image.Entry, content io.Reader) error {
		for len(out) > 0 && less(out[0], entry.Path) {
			if err := emit(nil); err != nil {
				return err
			}
		}
		if len(out) > 0 && out[0] == entry.Path {
			return emit(content)
		}
		return nil
	})
	for err == nil && len(out) > 0 {
		err = emit(nil)
	}
	return err
}

func (o *overlay) layout(ctx context.Context) (*layout, error) {
	l := &layout{nodes: map[string]*node{}}
	err := o.base.Walk(ctx, func(entry *image.Entry, _ io.Reader) error {
		if entry.Type == image.Hardlink {
			n := l.nodes[entry.Link]
			if n == nil || n.entry.Type == image.Directory {
				return fmt.Errorf("%s: hard link to %s, which is not there", entry.Path, entry.Link)
			}
			l.nodes[entry.Path] = n
			return nil
		}
		l.nodes[entry.Path] = &node{entry: *entry, from: entry.Path}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, c := range o.changes {
		if err := c.apply(l); err != nil {
			return nil, err
		}
	}
	return l, nil
}

func (l *layout) emit(ctx context.Context, base image.Tree, p string, first map[*node]string, content io.Reader, fn func(*image.Entry, io.Reader) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	n := l.nodes[p]
	entry := n.entry
	entry.Path = p
	if entry.ModTime.IsZero() {
		entry.ModTime = time.Unix(0, 0).UTC()
	}
	if name, ok := first[n]; ok {
		entry.Type, entry.Link, entry.SizeBytes = image.Hardlink, name, 0
		return fn(&entry, nil)
	}
	first[n] = p
	switch {
	case entry.Type != image.File:
		return fn(&entry, nil)
	case n.data != nil:
		return n.edited(&entry, bytes.NewReader(n.data), fn)
	case n.from == p:
		return n.edited(&entry, content, fn)
	}
	// The name that held the content is gone: fetch it from there.
	return readAt(ctx, base, n.from, func(_ *image.Entry, content io.Reader) error {
		return n.edited(&entry, content, fn)
	})
}
