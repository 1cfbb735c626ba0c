package tree

import (
	"context"
	"maps"
	"strings"

	"github.com/org/imagebuild-action/internal/image"
)

// Index is the state of a directory at one moment: every entry with its inode
// and times, without content.
type Index struct{ records []record }

// Snapshot looks at the directory root.
func Snapshot(ctx context.Context, root string) (Index, error) {
	b, err := openBeneath(root)
	if err != nil {
		return Index{}, err
	}
	defer b.Close()
	records, err := scan(ctx, b)
	return Index{records}, err
}

// Changes is what happened to a directory between two Snapshots.
type Changes struct {
	removed []string // without what lies below a removed directory
	changed []record // new or different, in the order of a Tree
}

// Len is the number of paths that were removed, changed or added.
func (c Changes) Len() int { return len(c.removed) + len(c.changed) }

// Diff compares two Snapshots of one directory. A file counts as changed when
// its inode, change time or anything else of it is different, so a program
// that sets a file's time back hides nothing. The names of a hard-linked file
// change together.
func Diff(before, after Index) Changes {
	old := make(map[string]*record, len(before.records))
	for i := range before.records {
		old[before.records[i].Path] = &before.records[i]
	}
	touched := map[inode]bool{}
	differs := make([]bool, len(after.records))
	for i := range after.records {
		r := &after.records[i]
		was := old[r.Path]
		delete(old, r.Path)
		if was == nil || !same(was, r) {
			differs[i] = true
			touched[r.inode] = touched[r.inode] || r.Type != image.Directory
		}
	}
	var c Changes
	for i := range after.records {
		if differs[i] || touched[after.records[i].inode] {
			c.changed = append(c.changed, after.records[i])
		}
	}
	last := "\x00"
	for i := range before.records {
		p := before.records[i].Path
		if old[p] != nil && !strings.HasPrefix(p, last+"/") {
			c.removed = append(c.removed, p)
			last = p
		}
	}
	return c
}

func same(a, b *record) bool {
	return a.inode == b.inode && a.Type == b.Type && a.stat.Mode == b.stat.Mode && a.stat.Uid == b.stat.Uid && a.stat.Gid == b.stat.Gid &&
		a.stat.Size == b.stat.Size && a.stat.Mtim == b.stat.Mtim && a.stat.Ctim == b.stat.Ctim && a.stat.Rdev == b.stat.Rdev &&
		a.Link == b.Link && maps.Equal(a.Xattrs, b.Xattrs)
}
