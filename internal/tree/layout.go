package tree

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/org/imagebuild-action/internal/image"
)

// layout is what an Overlay will look like: every path and the node behind it.
// The names of a hard-linked file share one node.
type layout struct {
	nodes map[string]*node
}

type node struct {
	entry image.Entry // Path and Hardlink are filled in when it is emitted
	from  string      // where the base has the content
	data  []byte      // the content itself, when not nil
	edits []func([]byte) ([]byte, error)
}

// less is the order of a Tree: bytewise, the root first.
func less(a, b string) bool {
	if a == "." || b == "." {
		return a == "." && b != "."
	}
	return a < b
}

func compare(a, b string) int {
	switch {
	case less(a, b):
		return -1
	case less(b, a):
		return 1
	}
	return 0
}

func (l *layout) paths() []string {
	paths := make([]string, 0, len(l.nodes))
	for p := range l.nodes {
		paths = append(paths, p)
	}
	slices.SortFunc(paths, compare)
	return paths
}

func (l *layout) remove(pick func(string, *node) bool) error {
	gone := map[string]bool{}
	for _, p := range l.paths() {
		if p == "." {
			continue
		}
		if gone[path.Dir(p)] || pick(p, l.nodes[p]) {
			gone[p] = true
		}
	}
	for p := range gone {
		delete(l.nodes, p)
	}
	return nil
}

func (l *layout) put(entry image.Entry, content []byte) error {
	if err := checkPath(entry.Path); err != nil {
		return err
	}
	if entry.Type == image.Hardlink {
		target := l.nodes[entry.Link]
		if target == nil || target.entry.Type == image.Directory {
			return fmt.Errorf("put %s: hard link to %s, which is not there", entry.Path, entry.Link)
		}
		if err := l.parents(entry); err != nil {
			return err
		}
		l.nodes[entry.Path] = target
		return nil
	}
	if old := l.nodes[entry.Path]; old != nil && old.entry.Type == image.Directory && entry.Type != image.Directory {
		return fmt.Errorf("put %s: a directory is there already; remove it first", entry.Path)
	}
	if err := l.parents(entry); err != nil {
		return err
	}
	n := &node{entry: entry}
	if entry.Type == image.File {
		n.data = append([]byte{}, content...)
	}
	l.nodes[entry.Path] = n
	return nil
}

func (l *layout) parents(entry image.Entry) error {
	for dir := path.Dir(entry.Path); ; dir = path.Dir(dir) {
		switch n := l.nodes[dir]; {
		case n == nil:
			l.nodes[dir] = &node{entry: image.Entry{Path: dir, Type: image.Directory, Mode: 0o755, ModTime: entry.ModTime}}
		case n.entry.Type == image.Symlink:
			return fmt.Errorf("put %s: %s is a symlink to %s; use the real path", entry.Path, dir, n.entry.Link)
		case n.entry.Type != image.Directory:
			return fmt.Errorf("put %s: %s is not a directory", entry.Path, dir)
		}
		if dir == "." {
			return nil
		}
	}
}

func (l *layout) edit(name string, must bool, fn func([]byte) ([]byte, error)) error {
	n := l.nodes[name]
	switch {
	case n == nil && !must:
		return nil
	case n == nil:
		return fmt.Errorf("edit %s: %w", name, fs.ErrNotExist)
	case n.entry.Type != image.File:
		return fmt.Errorf("edit %s: it is a %s, not a file", name, n.entry.Type)
	}
	n.edits = append(n.edits, fn)
	return nil
}

// edited calls fn with the node's content after its edits.
func (n *node) edited(entry *image.Entry, content io.Reader, fn func(*image.Entry, io.Reader) error) error {
	if len(n.edits) == 0 {
		return fn(entry, content)
	}
	data, err := readAll(entry, content)
	if err != nil {
		return err
	}
	for _, edit := range n.edits {
		if data, err = edit(data); err != nil {
			return fmt.Errorf("edit %s: %w", entry.Path, err)
		}
	}
	entry.SizeBytes = int64(len(data))
	return fn(entry, bytes.NewReader(data))
}

func readAll(entry *image.Entry, content io.Reader) ([]byte, error) {
	if entry.SizeBytes > MaxEditBytes {
		return nil, fmt.Errorf("%s: %d bytes are too many to edit; the limit is %d", entry.Path, entry.SizeBytes, MaxEditBytes)
	}
	data := make([]byte, entry.SizeBytes)
	if _, err := io.ReadFull(content, data); err != nil {
		return nil, fmt.Errorf("read %s: %w", entry.Path, err)
	}
	return data, nil
}

// checkPath refuses what is not a clean relative path: nothing may leave the
// tree.
func checkPath(p string) error {
	if p == "." {
		return nil
	}
	if p == "" || path.IsAbs(p) || path.Clean(p) != p || p == ".." || strings.HasPrefix(p, "../") || strings.ContainsRune(p, 0) {
		return fmt.Errorf("%q: %w", p, errPath)
	}
	return nil
}

var errPath = errors.New("not a clean relative path inside the tree")

// match compares a pattern with a path, both split into segments.
func match(pattern, segments []string) bool {
	if len(pattern) == 0 {
		return len(segments) == 0
	}
	if len(segments) == 0 {
		return false
	}
	if pattern[0] == "**" {
		for i := 1; i <= len(segments); i++ {
			if match(pattern[1:], segments[i:]) {
				return true
			}
		}
		return false
	}
	ok, err := path.Match(pattern[0], segments[0])
	return err == nil && ok && match(pattern[1:], segments[1:])
}
