// Package ext4 reads ext4 file systems, and ext2 and ext3, which are the same
// with less: no mount, no loop device, no rights, no other program. What it
// reads is an image.Tree.
//
//	fs, err := ext4.Open(io.NewSectionReader(disk, partition.OffsetBytes(), partition.SizeBytes()), partition.SizeBytes())
//	err = fs.Walk(ctx, func(entry *image.Entry, content io.Reader) error { ... })
//	fstab, err := fs.ReadFile("etc/fstab", 1<<20)
//
// It knows extents and block maps, holes and unwritten extents, 64-bit and
// flexible groups, inline data, extended attributes in the inode, in a block
// and in inodes of their own, and checks the checksums of everything but file
// content. Memory is bounded by the largest chain of directories, and by
// limits of its own.
//
// It refuses file systems that were not unmounted (the journal would have to be
// replayed), that have recorded errors, encrypted or compressed files,
// features that it does not know, and structures that contradict each other:
// an Input fault, which says where. Sockets are left out, as in every Tree.
//
// Source: the kernel's Documentation/filesystems/ext4, where no other is named.
package ext4

import (
	"fmt"
	"io/fs"

	"github.com/org/imagebuild-action/internal/fault"
)

// Limits for foreign file systems.
const (
	maxNamesBytes = 256 << 20 // of the directories along one path, and of hard links
	maxDirBytes   = 1 << 30   // of one directory
	maxPathBytes  = 4096      // PATH_MAX
	maxDepth      = 1024      // directories in a path
	maxXattrBytes = 64 << 10  // of one value: XATTR_SIZE_MAX
	cachedBlocks  = 128       // of metadata, up to 64 KiB each
)

func damaged(where string, format string, args ...any) error {
	return fault.Errorf(fault.Input, "ext4 is damaged: %s: %w; repair it with e2fsck -f", where, fmt.Errorf(format, args...))
}

func refused(format string, args ...any) error {
	return fault.Errorf(fault.Input, "ext4: %w", fmt.Errorf(format, args...))
}

func inodeName(ino uint32) string { return fmt.Sprintf("inode %d", ino) }

func notThere(path string) error { return &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist} }
