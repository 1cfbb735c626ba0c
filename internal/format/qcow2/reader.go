package qcow2

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"sync"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/fifo"
)

// cachedTables bounds the memory for L2 tables: 64 KiB each, usually.
const cachedTables = 16

// Reader is an image.Disk over a qcow2 file.
type Reader struct {
	file    io.ReaderAt
	size    int64 // of the file
	header  header
	cluster int64
	l1      []uint64

	scratch sync.Pool // *scratch
	tables  *fifo.Cache[[]uint64]
	plain   *fifo.Cache[[]byte] // clusters unpacked for small reads
}

type scratch struct {
	packed, cluster []byte
	decompressor
}

func damaged(offset int64, format string, args ...any) error {
	return fault.Errorf(fault.Input, "qcow2 is damaged at byte %d: %w", offset, fmt.Errorf(format, args...))
}

func refused(format string, args ...any) error {
	return fault.Errorf(fault.Input, "qcow2: %w", fmt.Errorf(format, args...))
}

// Open reads the header and the L1 table of a file of sizeBytes. Its errors
// are of kind Input.
func Open(r io.ReaderAt, sizeBytes int64) (*Reader, error) { return open(r, sizeBytes, false) }

func open(r io.ReaderAt, sizeBytes int64, overlay bool) (*Reader, error) {
	d := &Reader{
		file: r, size: sizeBytes,
		tables: fifo.New[[]uint64](cachedTables),
		plain:  fifo.New[[]byte](4),
	}
	first := make([]byte, headerBytes)
	if err := d.read(first[:min(headerBytes, max(sizeBytes, 0))], 0); err != nil {
		return nil, err
	}
	if binary.BigEndian.Uint32(first) != magic {
		return nil, refused("this is not a qcow2 image: it does not begin with QFI")
	}
	if sizeBytes < headerV2 {
		return nil, damaged(sizeBytes, "the file ends within its header")
	}
	d.header = decodeHeader(first)
	if err := d.header.check(sizeBytes, overlay); err != nil {
		return nil, err
	}
	d.cluster = 1 << d.header.clusterBits
	d.scratch.New = func() any { return &scratch{cluster: make([]byte, d.cluster)} }
	return d, d.readL1()
}

func (h *header) check(sizeBytes int64, overlay bool) error {
	known := uint64(incompatDirty | incompatCorrupt | incompatDataFile | incompatCompression | incompatExtendedL2)
	switch {
	case h.version != 2 && h.version != 3:
		return refused("version %d is not read; only 2 and 3", h.version)
	case !overlay && (h.backingOffset != 0 || h.backingSize != 0):
		return refused("the image has a backing file, which is not opened; make it complete with qemu-img convert")
	case h.crypt != 0:
		return refused("the image is encrypted; decrypt it with qemu-img convert")
	case h.incompatible&incompatDataFile != 0:
		return refused("the image keeps its data in another file, which is not opened; make it complete with qemu-img convert")
	case h.incompatible&incompatExtendedL2 != 0:
		return refused("extended L2 entries are not read; convert the image with -o extended_l2=off")
	case h.incompatible&incompatCorrupt != 0:
		return damaged(72, "the image is marked as corrupt; repair it with qemu-img check -r all")
	case h.incompatible&incompatDirty != 0:
		return damaged(72, "the image was not closed; repair it with qemu-img check -r all")
	case h.incompatible&^known != 0:
		return refused("unknown incompatible features %#x", h.incompatible&^known)
	case h.version == 3 && (h.length < headerV3 || h.length%8 != 0 || int64(h.length) > sizeBytes):
		return damaged(100, "a header of %d bytes", h.length)
	case h.refcountOrder > 6:
		return damaged(96, "refcounts of 2^%d bits", h.refcountOrder)
	case h.clusterBits < 9 || h.clusterBits > 21:
		return damaged(20, "clusters of 2^%d bytes are not between 512 bytes and 2 MiB", h.clusterBits)
	case (h.incompatible&incompatCompression != 0) != (h.compression != typeZlib):
		return damaged(104, "compression type %d does not go with the incompatible features %#x", h.compression, h.incompatible)
	case h.compression != typeZlib && h.compression != typeZstd:
		return refused("compression type %d is unknown", h.compression)
	case h.size == 0 || h.size > math.MaxInt64 || h.size%sector != 0:
		return damaged(24, "a virtual size of %d bytes", h.size)
	}
	return nil
}

func (d *Reader) readL1() error {
	// The quotient first, so that nothing overflows.
	coverage := uint64(d.cluster) / 8 * uint64(d.cluster)
	need := (d.header.size-1)/coverage + 1
	at := d.header.l1Offset
	switch {
	case need > maxL1 || uint64(d.header.l1Entries) < need:
		return damaged(36, "an L1 table of %d entries for a disk that needs %d", d.header.l1Entries, need)
	case at == 0 || at%uint64(d.cluster) != 0 || at > uint64(d.size) || need*8 > uint64(d.size)-at:
		return damaged(40, "an L1 table of %d entries at byte %d does not fit into a file of %d bytes", need, at, d.size)
	}
	// Its size is now bounded by the file's real size, and by maxL1.
	raw := make([]byte, need*8)
	if err := d.read(raw, int64(at)); err != nil {
		return err
	}
	d.l1 = make([]uint64, need)
	for i := range d.l1 {
		entry := binary.BigEndian.Uint64(raw[i*8:])
		offset := entry & offsetMask
		if entry&^(offsetMask|copied) != 0 || offset%uint64(d.cluster) != 0 || offset != 0 && !d.holds(offset, d.cluster) {
			return damaged(int64(at)+int64(i)*8, "L1 entry %#x", entry)
		}
		d.l1[i] = offset
	}
	return nil
}

// holds reports whether n bytes at offset are within the file.
func (d *Reader) holds(offset uint64, n int64) bool {
	return offset <= uint64(d.size) && uint64(n) <= uint64(d.size)-offset
}

// read fills p from the file.
func (d *Reader) read(p []byte, offset int64) error {
	n, err := d.file.ReadAt(p, offset)
	switch {
	case n == len(p):
		return nil
	case err == nil, errors.Is(err, io.EOF):
		return damaged(offset+int64(n), "the file ends here")
	}
	return fmt.Errorf("read qcow2 at byte %d: %w", offset, err)
}

// table returns an L2 table, or nil where there is none.
func (d *Reader) table(index int64) ([]uint64, error) {
	at := d.l1[index]
	if at == 0 {
		return nil, nil
	}
	if table, ok := d.tables.Get(index); ok {
		return table, nil
	}
	raw := make([]byte, d.cluster)
	if err := d.read(raw, int64(at)); err != nil {
		return nil, err
	}
	table := make([]uint64, d.cluster/8)
	for i := range table {
		entry := binary.BigEndian.Uint64(raw[i*8:])
		if err := d.checkEntry(entry); err != nil {
			return nil, damaged(int64(at)+int64(i)*8, "%w", err)
		}
		table[i] = entry
	}
	d.tables.Put(index, table)
	return table, nil
}

func (d *Reader) checkEntry(entry uint64) error {
	if entry&compressed != 0 {
		offset, _ := splitEntry(entry, d.header.clusterBits)
		// Its last sector may reach beyond the end of the file.
		if entry&copied != 0 || offset < d.cluster || offset >= d.size {
			return fmt.Errorf("L2 entry %#x of a compressed cluster", entry)
		}
		return nil
	}
	offset := entry & offsetMask
	if d.header.version == 3 && entry&allZero != 0 {
		entry &^= allZero
	}
	if entry&^(offsetMask|copied) != 0 || offset%uint64(d.cluster) != 0 || offset != 0 && (offset >= uint64(d.size)) {
		return fmt.Errorf("L2 entry %#x", entry)
	}
	return nil
}
