package testkit

import (
	"context"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/org/imagebuild-action/internal/image"
)

// Tree is an image.Tree that lives in memory: directories of mode 0755 and
// files of mode 0640, all of one time.
type Tree struct {
	// Files are contents by path. A path that ends in "/" is a directory, a
	// content that begins with "->" a symlink; parents need not be named.
	Files   map[string]string
	ModTime time.Time
	GID     int // of the files
}

// Walk implements image.Tree.
func (t Tree) Walk(ctx context.Context, fn func(*image.Entry, io.Reader) error) error {
	for _, name := range t.names() {
		if err := ctx.Err(); err != nil {
			return err
		}
		e := &image.Entry{Path: name, Type: image.Directory, Mode: 0o755, ModTime: t.ModTime}
		content, isFile := t.Files[name]
		var r io.Reader
		switch target, isLink := strings.CutPrefix(content, "->"); {
		case !isFile:
		case isLink:
			e.Type, e.Mode, e.Link = image.Symlink, 0o777, target
		default:
			e.Type, e.Mode, e.GID, e.SizeBytes, r = image.File, 0o640, t.GID, int64(len(content)), strings.NewReader(content)
		}
		if err := fn(e, r); err != nil {
			return err
		}
	}
	return nil
}

// names returns all paths and their parents, in the order of a Tree.
func (t Tree) names() []string {
	names := []string{"."}
	for name := range t.Files {
		parts := strings.Split(strings.TrimSuffix(name, "/"), "/")
		for i := range parts {
			names = append(names, strings.Join(parts[:i+1], "/"))
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}
