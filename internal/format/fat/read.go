package fat

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/fifo"
	"github.com/org/imagebuild-action/internal/image"
)

// Limits for foreign file systems.
const (
	maxDirBytes    = 2 << 20 // 65,536 entries, which is the format's own limit
	maxDirectories = 1 << 20
	maxDepth       = 128
	cachedPieces   = 32 // of the table
	pieceBytes     = 4 << 10

	firstCluster = 2
)

// FS is a FAT file system that is read. It is a Tree as Linux shows one that
// is mounted without options: all of it is root's, with mode 0755.
type FS struct {
	file      io.ReaderAt
	sizeBytes int64
	bits      uint  // of an entry of the table: 12, 16 or 32
	table     int64 // bytes, where the first table begins
	clusters  uint32
	cluster   int64 // bytes
	data      int64 // bytes, where cluster 2 begins
	root      uint32
	id        uint32
	label     string
	rootArea  int64 // of FAT12 and FAT16, whose root is no cluster
	rootBytes int64
	pieces    *fifo.Cache[[]byte]
}

var _ image.Tree = (*FS)(nil)

func damaged(format string, args ...any) error {
	return fault.Errorf(fault.Input, "the FAT file system is damaged: %w; repair it with fsck.vfat", fmt.Errorf(format, args...))
}

// Open reads the boot sector of a file system that has sizeBytes at the most:
// FAT12, FAT16 or FAT32, with long names or without. Its errors are of kind
// Input.
func Open(r io.ReaderAt, sizeBytes int64) (*FS, error) {
	b := make([]byte, sectorBytes)
	f := &FS{file: r, sizeBytes: sizeBytes, pieces: fifo.New[[]byte](cachedPieces)}
	if err := f.read(b, 0); err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	sector, perCluster := int64(le.Uint16(b[11:])), int64(b[13])
	reserved, tables, rootEntries := int64(le.Uint16(b[14:])), int64(b[16]), int64(le.Uint16(b[17:]))
	sectors, tableSectors := int64(le.Uint16(b[19:])), int64(le.Uint16(b[22:]))
	if sectors == 0 {
		sectors = int64(le.Uint32(b[32:]))
	}
	if tableSectors == 0 {
		tableSectors = int64(le.Uint32(b[36:]))
	}
	switch {
	case le.Uint16(b[510:]) != 0xaa55:
		return nil, damaged("its boot sector has no signature")
	case sector < sectorBytes || sector > 4096 || sector&(sector-1) != 0 || perCluster == 0 || perCluster&(perCluster-1) != 0:
		return nil, damaged("clusters of %d sectors of %d bytes", perCluster, sector)
	case reserved == 0 || tables == 0 || tables > 4 || tableSectors == 0:
		return nil, damaged("%d tables of %d sectors behind %d", tables, tableSectors, reserved)
	case sectors*sector > sizeBytes:
		return nil, damaged("%d sectors of %d bytes do not fit into %d bytes", sectors, sector, sizeBytes)
	}
	f.cluster, f.table = perCluster*sector, reserved*sector
	f.rootArea = (reserved + tables*tableSectors) * sector
	f.rootBytes = rootEntries * entryBytes
	f.data = f.rootArea + (f.rootBytes+sector-1)/sector*sector
	left := sectors*sector - f.data
	if left < f.cluster {
		return nil, damaged("it has no room for files")
	}
	count := left / f.cluster
	switch { // the number of clusters decides, and nothing else
	case count < 4085:
		f.bits = 12
	case count < minClusters:
		f.bits = 16
	default:
		f.bits, f.root = 32, le.Uint32(b[44:])
	}
	if count > endOfChain-16 || (count+firstCluster)*int64(f.bits)/8 > tableSectors*sector {
		return nil, damaged("%d clusters and a table of %d sectors", count, tableSectors)
	}
	f.clusters = uint32(count)
	extended := b[38:] // the end of the boot sector: serial number and label
	if f.bits == 32 {
		extended = b[66:]
	}
	if extended[0] == 0x29 {
		f.id, f.label = le.Uint32(extended[1:]), strings.TrimRight(string(extended[5:16]), " ")
	}
	return f, nil
}

// ID is the volume's serial number, as "1234-ABCD".
func (f *FS) ID() string { return FormatID(f.id) }

// Label is the volume's name in its boot sector; often "NO NAME".
func (f *FS) Label() string { return f.label }

func (f *FS) read(p []byte, offset int64) error {
	if offset < 0 || offset+int64(len(p)) > f.sizeBytes {
		return damaged("byte %d is behind its end", offset)
	}
	n, err := f.file.ReadAt(p, offset)
	switch {
	case n == len(p):
		return nil
	case err == nil, errors.Is(err, io.EOF):
		return damaged("the file ends at byte %d", offset+int64(n))
	}
	return fmt.Errorf("read FAT at byte %d: %w", offset+int64(n), err)
}

// next is the cluster behind another, and whether there is one.
func (f *FS) next(cluster uint32) (uint32, bool, error) {
	at := int64(cluster) * int64(f.bits) / 8
	var b [4]byte
	for n := range (f.bits + 7) / 8 {
		piece, err := f.piece(at + int64(n))
		if err != nil {
			return 0, false, err
		}
		b[n] = piece
	}
	value := binary.LittleEndian.Uint32(b[:])
	last := uint32(endOfChain) &^ 7
	switch f.bits {
	case 12:
		value, last = value>>(4*(cluster&1))&0xfff, 0xff8
	case 16:
		last = 0xfff8
	default:
		value &= endOfChain
	}
	if value >= last {
		return 0, false, nil
	}
	return value, true, f.inside(value)
}

func (f *FS) inside(cluster uint32) error {
	if cluster < firstCluster || cluster >= f.clusters+firstCluster {
		return damaged("cluster %d of %d", cluster, f.clusters)
	}
	return nil
}

// piece is one byte of the table.
func (f *FS) piece(at int64) (byte, error) {
	start := at / pieceBytes * pieceBytes
	p, ok := f.pieces.Get(start)
	if !ok {
		p = make([]byte, min(pieceBytes, f.rootArea-f.table-start))
		if err := f.read(p, f.table+start); err != nil {
			return 0, err
		}
		f.pieces.Put(start, p)
	}
	return p[at-start], nil
}

// chainReader reads the clusters of a file, as many bytes as it has.
type chainReader struct {
	ctx     context.Context //nolint:containedctx // lives as long as one Walk
	fs      *FS
	cluster uint32 // at hand
	within  int64
	left    int64
}

func (c *chainReader) Read(p []byte) (int, error) {
	if c.ctx.Err() != nil {
		return 0, context.Cause(c.ctx)
	}
	if c.left == 0 {
		return 0, io.EOF
	}
	if c.within == c.fs.cluster {
		next, ok, err := c.fs.next(c.cluster)
		if err != nil {
			return 0, err
		}
		if !ok {
			return 0, damaged("a file ends %d bytes early", c.left)
		}
		c.cluster, c.within = next, 0
	}
	p = p[:min(int64(len(p)), c.left, c.fs.cluster-c.within)]
	if err := c.fs.inside(c.cluster); err != nil {
		return 0, err
	}
	if err := c.fs.read(p, c.fs.data+int64(c.cluster-firstCluster)*c.fs.cluster+c.within); err != nil {
		return 0, err
	}
	c.within += int64(len(p))
	c.left -= int64(len(p))
	return len(p), nil
}

// Lookup describes the entry at a clean relative path, in the very spelling;
// "." is the root. What is missing is fs.ErrNotExist.
func (f *FS) Lookup(name string) (*image.Entry, error) {
	var found *image.Entry
	err := f.Walk(context.Background(), func(e *image.Entry, _ io.Reader) error {
		if e.Path != name {
			return nil
		}
		found = e
		return errFound
	})
	if err != nil && !errors.Is(err, errFound) {
		return nil, err
	}
	if found == nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return found, nil
}

var errFound = errors.New("found")
