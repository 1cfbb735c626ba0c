// Package extract takes the root filesystem out of a disk, as a Tree: it finds
// the partitions and the one with the root, and lays over it what the root's
// own fstab mounts from other partitions of the same disk. The boot
// partitions of the firmware are left out: every disk gets new ones.
//
//	root, err := extract.Root(ctx, disk)
//	err = root.Walk(ctx, func(entry *image.Entry, content io.Reader) error { ... })
//
// Nothing is mounted, and no file of the disk is trusted: package ext4 reads
// it. lost+found is left out, and fstab loses the lines of what is in the tree
// now, or on the disk no more.
//
// It refuses disks whose root, or a part of it, lies in LVM, LUKS, RAID, Btrfs,
// XFS or anything else that is not ext2, ext3, ext4 or, for a part, FAT; disks
// with several roots, or none; and parts that are on no partition of the disk.
package extract

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/image"
)

// remedy is what to do about a disk that cannot be taken apart.
const remedy = "use an image whose root is a plain ext4 partition"

// maxFstabBytes bounds the table that is read into memory.
const maxFstabBytes = 1 << 20

// Root returns the root filesystem of a disk, which must stay open as long as
// the tree is used. Its errors about the disk are of kind Input.
func Root(ctx context.Context, disk image.Disk) (image.Tree, error) {
	volumes, err := find(disk)
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	root, err := chooseRoot(volumes)
	if err != nil {
		return nil, err
	}
	m := &merged{layers: []layer{{at: ".", tree: root.fs}}}
	text, err := root.fs.ReadFile(fstabPath, maxFstabBytes)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return m, nil
	case err != nil:
		return nil, fmt.Errorf("%s: /etc/fstab: %w", root, fault.Wrap(fault.Input, err))
	}
	var mounts []mount
	for _, line := range parse(string(text)) {
		v, err := line.volume(volumes)
		if err != nil {
			return nil, fmt.Errorf("%s: /etc/fstab: %w", root, err)
		}
		switch {
		case line.obsolete(v):
			m.dropped = append(m.dropped, line.text)
		case v != nil && v != root:
			mounts = append(mounts, mount{line, v})
		}
	}
	// An outer one first, so that an inner one's place is looked for in it.
	slices.SortStableFunc(mounts, func(a, b mount) int { return strings.Compare(a.at, b.at) })
	for _, each := range mounts {
		if err := m.add(each); err != nil {
			return nil, fmt.Errorf("%s: /etc/fstab: %w", root, err)
		}
	}
	if len(m.dropped) > 0 {
		m.fstab = without(string(text), m.dropped)
	}
	return m, nil
}

// Partition is the number of the partition with the root filesystem; zero if
// the disk has no partitions. It is an error if root, as it stands in "root=" of
// a kernel's command line, means something else.
func Partition(disk image.Disk, root string) (int, error) {
	volumes, err := find(disk)
	if err != nil {
		return 0, err
	}
	v, err := chooseRoot(volumes)
	if err != nil {
		return 0, err
	}
	if !(&fstabLine{spec: root}).names(v) {
		return 0, fault.Errorf(fault.Input, "root=%s is not %s", root, v)
	}
	return v.number, nil
}

type mount struct {
	fstabLine
	from *volume
}

// add lays a file system over what is there.
func (m *merged) add(each mount) error {
	from := each.from.mountable()
	switch {
	case each.from.err != nil:
		return fmt.Errorf("%s: %w", each.from, each.from.err)
	case from == nil:
		return fault.Errorf(fault.Input, "%s is mounted from %s, which is not read; %s", each.mountPoint, each.from.describe(), remedy)
	}
	below, name := m.under(each.at)
	entry, err := below.Lookup(name)
	if err == nil && entry.Type != image.Directory {
		err = fault.Errorf(fault.Input, "it is a %s there", entry.Type)
	}
	if err != nil {
		return fault.Wrap(fault.Input, fmt.Errorf("mount %s: %w", each.mountPoint, err))
	}
	if slices.ContainsFunc(m.layers, func(l layer) bool { return l.at == each.at || l.tree == from }) {
		return fault.Errorf(fault.Input, "mount %s: something is mounted there already, or the partition elsewhere; keep one line", each.mountPoint)
	}
	m.layers = append(m.layers, layer{each.at, from})
	m.dropped = append(m.dropped, each.text)
	return nil
}

// Measured is what a tree takes.
type Measured struct {
	Entries      int
	SizeBytes    int64  // of all files, holes included
	Largest      string // path of the largest file
	LargestBytes int64
}

// Measure reads nothing of a tree but what its entries are.
func Measure(ctx context.Context, t image.Tree) (Measured, error) {
	var m Measured
	err := t.Walk(ctx, func(e *image.Entry, _ io.Reader) error {
		if m.SizeBytes += e.SizeBytes; m.SizeBytes < 0 {
			return fault.Errorf(fault.Input, "%s: the files are larger together than a number can be", e.Path)
		}
		if e.SizeBytes > m.LargestBytes {
			m.Largest, m.LargestBytes = e.Path, e.SizeBytes
		}
		m.Entries++
		return nil
	})
	return m, err
}
