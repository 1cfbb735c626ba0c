package vmdk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/fifo"
)

// Limits of what a foreign file can make us do.
const (
	maxDirectory  = 1 << 20 // grain directory entries: 32 TiB with usual grains
	maxDescriptor = 2048    // sectors: 1 MiB of text
	minGrain      = 8       // sectors. VDF: "at least 8"
	maxGrain      = 2048    // sectors: 1 MiB, the largest that anyone writes
	cachedTables  = 64
	cachedGrains  = 4
)

// Reader is an image.Disk over a monolithicSparse or streamOptimized file. It
// checks what it uses; Verify checks the rest.
type Reader struct {
	file       io.ReaderAt
	size       int64 // of the file
	header     header
	footer     bool     // the directory was found through the footer
	directory  []uint32 // sector of each grain table, zero for none
	descriptor Descriptor

	scratch sync.Pool // *inflater
	tables  *fifo.Cache[*[tableEntries]uint32]
	grains  *fifo.Cache[[]byte]
}

func damaged(offset int64, format string, args ...any) error {
	return fault.Errorf(fault.Input, "vmdk is damaged at byte %d: %w", offset, fmt.Errorf(format, args...))
}

func refused(format string, args ...any) error {
	return fault.Errorf(fault.Input, "vmdk: %w", fmt.Errorf(format, args...))
}

// Open reads the header, the descriptor and the grain directory of a file of
// sizeBytes. Its errors are of kind Input and name the offset of the fault.
func Open(r io.ReaderAt, sizeBytes int64) (*Reader, error) {
	d := &Reader{
		file: r, size: sizeBytes,
		tables: fifo.New[*[tableEntries]uint32](cachedTables),
		grains: fifo.New[[]byte](cachedGrains),
	}
	first := make([]byte, sector)
	if err := d.read(first[:min(sector, max(sizeBytes, 0))], 0); err != nil {
		return nil, err
	}
	if err := foreign(first); err != nil {
		return nil, err
	}
	if sizeBytes < sector {
		return nil, damaged(sizeBytes, "the file ends within its header")
	}
	d.header = decodeHeader(first)
	if err := d.header.check(sizeBytes); err != nil {
		return nil, err
	}
	if err := d.readDescriptor(); err != nil {
		return nil, err
	}
	if d.header.gdOffset == atEnd {
		if err := d.readFooter(); err != nil {
			return nil, err
		}
	}
	if err := d.readDirectory(); err != nil {
		return nil, err
	}
	grain := d.grainBytes()
	d.scratch.New = func() any { return newInflater(grain) }
	return d, nil
}

// foreign explains files that are something else.
func foreign(first []byte) error {
	switch {
	case len(first) >= 4 && binary.LittleEndian.Uint32(first) == magic:
		return nil
	case len(first) >= 10 && string(first[:10]) == "# Disk Des":
		return refused("this is a descriptor only; its data lies in other files, which are not opened; convert the disk to streamOptimized")
	case len(first) >= 4 && string(first[:4]) == "COWD":
		return refused("this is ESXi's COWD format; export the machine as OVF to get a streamOptimized disk")
	}
	return refused("this is not a VMDK: it does not begin with KDMV")
}

func (h *header) check(sizeBytes int64) error {
	sectors := uint64(sizeBytes / sector)
	known := uint32(flagNewlines | flagRedundant | flagZeroGrains | flagCompressed | flagMarkers)
	compressed := h.flags&flagCompressed != 0
	switch {
	case h.version < 1 || h.version > 3:
		return damaged(4, "version %d is unknown", h.version)
	case h.flags&^known != 0:
		return damaged(8, "unknown flags %#x", h.flags&^known)
	case h.flags&flagNewlines != 0 && h.newlines != newlines:
		return damaged(73, "the newline characters are not as written: the file went through a text transfer")
	case compressed != (h.flags&flagMarkers != 0):
		return damaged(8, "flags %#x: compression and markers go together", h.flags)
	case compressed && h.compression != compressDeflate, !compressed && h.compression != compressNone:
		return damaged(77, "compression %d does not go with flags %#x", h.compression, h.flags)
	case h.grainSize < minGrain || h.grainSize > maxGrain || h.grainSize&(h.grainSize-1) != 0:
		return damaged(20, "a grain of %d sectors is not a power of two between %d and %d", h.grainSize, minGrain, maxGrain)
	case h.tableEntries != tableEntries:
		return damaged(44, "%d entries in a grain table instead of %d", h.tableEntries, tableEntries)
	case h.capacity == 0 || h.capacity > maxDirectory*tableEntries*h.grainSize:
		return damaged(12, "a capacity of %d sectors is out of range", h.capacity)
	case h.overhead == 0 || h.overhead > sectors:
		return damaged(64, "an overhead of %d sectors does not fit into a file of %d", h.overhead, sectors)
	case h.descriptorAt == 0 || h.descriptorSize == 0:
		return refused("no descriptor inside: this is one part of a split disk; convert the whole disk to streamOptimized")
	case h.descriptorSize > maxDescriptor || h.descriptorAt > sectors || h.descriptorAt+h.descriptorSize > sectors:
		return damaged(28, "a descriptor of %d sectors at sector %d does not fit into a file of %d", h.descriptorSize, h.descriptorAt, sectors)
	case h.gdOffset == atEnd && !compressed:
		return damaged(56, "only a stream can have its directory at the end")
	}
	return nil
}

// readFooter takes gdOffset from the footer, the last sector but one.
func (d *Reader) readFooter() error {
	if d.size%sector != 0 || d.size < int64(d.header.overhead+3)*sector {
		return damaged(d.size, "the file ends within a sector or before its footer: it was cut off")
	}
	last := make([]byte, 3*sector)
	at := d.size - int64(len(last))
	if err := d.read(last, at); err != nil {
		return err
	}
	if string(last[:sector]) != string(marker(markerFooter, 1)) {
		return damaged(at, "no footer marker: the file was cut off or has something after its end")
	}
	if string(last[2*sector:]) != string(marker(markerEOS, 0)) {
		return damaged(at+2*sector, "no end-of-stream marker")
	}
	if binary.LittleEndian.Uint32(last[sector:]) != magic {
		return damaged(at+sector, "the footer does not begin with KDMV")
	}
	footer := decodeHeader(last[sector:])
	where := footer.gdOffset
	if footer.gdOffset = atEnd; footer != d.header || where == atEnd {
		return damaged(at+sector, "the footer differs from the header")
	}
	d.header.gdOffset = where
	d.footer = true
	return nil
}

func (d *Reader) readDirectory() error {
	entries := int64(roundUp(d.header.capacity, tableEntries*d.header.grainSize) / (tableEntries * d.header.grainSize))
	sectors := uint64(d.size / sector)
	if d.header.gdOffset == 0 || d.header.gdOffset > sectors || int64(d.header.gdOffset)*sector+entries*4 > d.size {
		return damaged(56, "a grain directory of %d entries at sector %d does not fit into a file of %d", entries, d.header.gdOffset, sectors)
	}
	// The bound above is the file's real size, not a number in it.
	raw := make([]byte, entries*4)
	at := int64(d.header.gdOffset) * sector
	if err := d.read(raw, at); err != nil {
		return err
	}
	d.directory = make([]uint32, entries)
	for i := range d.directory {
		entry := binary.LittleEndian.Uint32(raw[i*4:])
		if entry != 0 && int64(entry)*sector+tableBytes > d.size {
			return damaged(at+int64(i)*4, "grain table %d at sector %d lies beyond the end of the file", i, entry)
		}
		d.directory[i] = entry
	}
	return nil
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
	return fmt.Errorf("read vmdk at byte %d: %w", offset, err)
}

// table returns a grain table, or nil where there is none.
func (d *Reader) table(index int64) (*[tableEntries]uint32, error) {
	if d.directory[index] == 0 {
		return nil, nil
	}
	if table, ok := d.tables.Get(index); ok {
		return table, nil
	}
	at := int64(d.directory[index]) * sector
	table, err := d.readTable(at)
	if err != nil {
		return nil, err
	}
	d.tables.Put(index, table)
	return table, nil
}

func (d *Reader) readTable(at int64) (*[tableEntries]uint32, error) {
	raw := make([]byte, tableBytes)
	if err := d.read(raw, at); err != nil {
		return nil, err
	}
	table := new([tableEntries]uint32)
	for i := range table {
		entry := binary.LittleEndian.Uint32(raw[i*4:])
		if entry == 1 && d.header.flags&flagZeroGrains != 0 {
			entry = 0 // VDF has no name for it: a grain that was zeroed on purpose
		}
		if entry != 0 && (uint64(entry) < d.header.overhead || int64(entry)*sector >= d.size) {
			return nil, damaged(at+int64(i)*4, "a grain at sector %d lies outside the data area", entry)
		}
		table[i] = entry
	}
	return table, nil
}

func (d *Reader) grainBytes() int64 { return int64(d.header.grainSize) * sector }
