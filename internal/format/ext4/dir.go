package ext4

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"strings"
)

const (
	typeDirectory = 2
	typeUnknown   = 0
	typeTail      = 0xde // of the checksum behind a block's names
	tailBytes     = 12
)

// child is one name of a directory.
type child struct {
	name  string
	inode uint32
	dir   bool // a directory, or it is not said
}

// children lists a directory without "." and "..", sorted so that walking down
// each directory right where "name/" would stand gives the order of a Tree. It
// takes parent's word for nothing: ".." must lead to it.
func (f *FS) children(ctx context.Context, dir *inode, parent uint32) ([]child, error) {
	l := &lister{fs: f, dir: dir, where: inodeName(dir.number), parent: parent}
	var err error
	if dir.flags&flagInline != 0 {
		err = l.inline()
	} else {
		err = l.blocks(ctx)
	}
	if err != nil {
		return nil, err
	}
	slices.SortFunc(l.found, func(a, b child) int { return strings.Compare(a.name, b.name) })
	inodes := make(map[uint32]bool)
	for n, c := range l.found {
		if n > 0 && l.found[n-1].name == c.name {
			return nil, damaged(l.where, "it has the name %q twice", c.name)
		}
		if c.dir && inodes[c.inode] {
			return nil, damaged(l.where, "it has two names for the directory %d", c.inode)
		}
		inodes[c.inode] = inodes[c.inode] || c.dir
	}
	return l.found, nil
}

type lister struct {
	fs     *FS
	dir    *inode
	where  string
	parent uint32
	found  []child
	bytes  int
	dots   int // 1 with ".", 2 with ".."
}

func (l *lister) blocks(ctx context.Context) error {
	unit := uint64(l.fs.super.blockBytes) //nolint:gosec // at most 64 KiB
	if l.dir.size > maxDirBytes || l.dir.size/unit > l.fs.super.blocks || l.dir.size%unit != 0 || l.dir.size == 0 {
		return damaged(l.where, "a directory of %d bytes", l.dir.size)
	}
	for n := uint64(0); n < l.dir.size/unit; {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		s, err := l.fs.mapped(l.dir, n)
		if err != nil {
			return err
		}
		if s.physical == 0 { // never written: no names
			n += s.count
			continue
		}
		block, err := l.fs.block(l.where, s.physical)
		if err != nil {
			return err
		}
		if err := l.checksum(block, n); err != nil {
			return fmt.Errorf("block %d: %w", s.physical, err)
		}
		if err := l.names(block); err != nil {
			return err
		}
		n++
	}
	if l.dots != 3 {
		return damaged(l.where, "it has no . or no ..")
	}
	return nil
}

// checksum is behind the names. Blocks of an index, which are the first one and
// those that look like one empty name, have theirs elsewhere, and perhaps
// what was there before.
func (l *lister) checksum(block []byte, logical uint64) error {
	le := binary.LittleEndian
	index := l.dir.flags&flagIndex != 0 && (logical == 0 || le.Uint32(block) == 0 && entryLength(block) == len(block))
	if !l.fs.hasChecksums() || index {
		return nil
	}
	tail := block[len(block)-tailBytes:]
	if !bytes.Equal(tail[:8], []byte{0, 0, 0, 0, tailBytes, 0, 0, typeTail}) {
		return damaged(l.where, "a block of it has no checksum")
	}
	if le.Uint32(tail[8:]) != crc32c(l.dir.seed, block[:len(block)-tailBytes]) {
		return damaged(l.where, "the checksum of its names is wrong")
	}
	return nil
}

// inline reads a directory that fits into its inode: the parent's number, and
// the names in the two places that inline data has.
func (l *lister) inline() error {
	data, err := l.fs.inline(l.dir)
	if err != nil {
		return err
	}
	if up := binary.LittleEndian.Uint32(data); up != l.parent {
		return damaged(l.where, "its parent is %d, and %d has a name for it", up, l.parent)
	}
	data = data[:min(uint64(len(data)), max(l.dir.size, blockArea))]
	if err := l.names(data[4:blockArea]); err != nil {
		return err
	}
	return l.names(data[blockArea:])
}

// names reads the entries of one block. Those of an index look empty.
func (l *lister) names(b []byte) error {
	le := binary.LittleEndian
	for at := 0; at < len(b); {
		if len(b)-at < 8 {
			return damaged(l.where, "its names end in the middle of one")
		}
		number, length := le.Uint32(b[at:]), entryLength(b[at:])
		if length < 8 || length%4 != 0 || length > len(b)-at {
			return damaged(l.where, "a name's entry takes %d of %d bytes", length, len(b)-at)
		}
		nameLength, kind := int(b[at+6]), int(b[at+7])
		if l.fs.super.incompat&incompatFiletype == 0 {
			nameLength, kind = int(le.Uint16(b[at+6:])), typeUnknown
		}
		if number != 0 {
			if nameLength == 0 || nameLength > length-8 {
				return damaged(l.where, "a name of %d bytes in %d", nameLength, length)
			}
			if err := l.add(string(b[at+8:at+8+nameLength]), number, kind); err != nil {
				return err
			}
		}
		at += length
	}
	return nil
}

// entryLength is what a name's entry takes: 64 KiB do not fit into the field.
func entryLength(entry []byte) int {
	length := int(binary.LittleEndian.Uint16(entry[4:]))
	if length == 0 || length == 0xffff {
		return 64 << 10
	}
	return length
}

func (l *lister) add(name string, number uint32, kind int) error {
	switch {
	case name == ".":
		if number != l.dir.number {
			return damaged(l.where, ". leads to %d", number)
		}
		l.dots |= 1
		return nil
	case name == "..":
		if number != l.parent {
			return damaged(l.where, ".. leads to %d, and %d has a name for it", number, l.parent)
		}
		l.dots |= 2
		return nil
	case strings.ContainsAny(name, "/\x00"):
		return damaged(l.where, "the name %q", name)
	}
	if l.bytes += len(name) + 32; l.bytes > maxNamesBytes {
		return refused("%s: its names take more than %d bytes", l.where, maxNamesBytes)
	}
	l.found = append(l.found, child{name, number, kind == typeDirectory || kind == typeUnknown})
	return nil
}

// readAll reads a file of at most limit bytes.
func (f *FS) readAll(ctx context.Context, i *inode, limit int64) ([]byte, error) {
	if i.size > uint64(limit) { //nolint:gosec // not negative
		return nil, refused("%s: %d bytes are more than %d", inodeName(i.number), i.size, limit)
	}
	r, err := f.content(ctx, i)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}
