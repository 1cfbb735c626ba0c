package vmdk

import (
	"encoding/binary"
	"fmt"

	"github.com/org/imagebuild-action/internal/image"
)

// The geometry of every sparse extent that we write, in sectors. VDF, "Hosted
// Sparse Extent Metadata", gives these as the defaults; readers exist that
// know nothing else.
const (
	sector         = image.SectorSize
	grainSectors   = 128
	grainBytes     = grainSectors * sector
	tableEntries   = 512                       // grain table entries in a grain table
	tableSectors   = tableEntries * 4 / sector // size of one grain table
	tableBytes     = tableSectors * sector
	coverageBytes  = tableEntries * grainBytes // of the disk, by one grain table
	descriptorAt   = 1                         // sector of the embedded descriptor
	descriptorSize = 20                        // sectors reserved for it

	// maxBytes is where the 32-bit sector numbers of the grain tables end.
	maxBytes = 2 << 40
)

// Header values. VDF, "Hosted Sparse Extent Header".
const (
	magic = 0x564d444b // "KDMV" on disk

	flagNewlines   = 1 << 0  // the four newline characters are there to be checked
	flagRedundant  = 1 << 1  // rgdOffset is valid
	flagZeroGrains = 1 << 2  // a grain table entry of 1 is a grain of zeros
	flagCompressed = 1 << 16 // grains are compressed
	flagMarkers    = 1 << 17 // the file is a sequence of markers

	compressNone    = 0
	compressDeflate = 1

	// atEnd in place of gdOffset says that the footer knows it.
	atEnd = 0xffffffffffffffff
)

// Marker types. VDF, "Stream-Optimized Compressed Sparse Extents". A grain
// marker has no type: its size is not zero.
const (
	markerEOS    = 0
	markerTable  = 1 // a grain table
	markerGD     = 2 // the grain directory
	markerFooter = 3
	// grainMarkerBytes is the u64 sector and u32 size before a grain's data.
	grainMarkerBytes = 12
)

// header is the extent header and, with gdOffset filled in, the footer. All
// quantities are in sectors.
type header struct {
	version        uint32 // 1, 2 with zero grains, 3 with compression
	flags          uint32
	capacity       uint64 // of the virtual disk
	grainSize      uint64 // a power of two
	descriptorAt   uint64 // zero without an embedded descriptor
	descriptorSize uint64
	tableEntries   uint32 // entries in a grain table, 512
	rgdOffset      uint64 // redundant grain directory
	gdOffset       uint64 // grain directory, or atEnd
	overhead       uint64 // sectors before the first grain
	unclean        byte   // 1 while somebody has the disk open
	newlines       [4]byte
	compression    uint16
}

var newlines = [4]byte{'\n', ' ', '\r', '\n'}

// headerUsed is the length of the fields; the rest of the sector is zero.
const headerUsed = 79

func (h *header) encode() []byte {
	b := make([]byte, sector)
	le := binary.LittleEndian
	le.PutUint32(b[0:], magic)
	le.PutUint32(b[4:], h.version)
	le.PutUint32(b[8:], h.flags)
	le.PutUint64(b[12:], h.capacity)
	le.PutUint64(b[20:], h.grainSize)
	le.PutUint64(b[28:], h.descriptorAt)
	le.PutUint64(b[36:], h.descriptorSize)
	le.PutUint32(b[44:], h.tableEntries)
	le.PutUint64(b[48:], h.rgdOffset)
	le.PutUint64(b[56:], h.gdOffset)
	le.PutUint64(b[64:], h.overhead)
	b[72] = h.unclean
	copy(b[73:77], h.newlines[:])
	le.PutUint16(b[77:], h.compression)
	return b
}

// decodeHeader reads a header sector as it is; check judges it.
func decodeHeader(b []byte) header {
	le := binary.LittleEndian
	return header{
		version:        le.Uint32(b[4:]),
		flags:          le.Uint32(b[8:]),
		capacity:       le.Uint64(b[12:]),
		grainSize:      le.Uint64(b[20:]),
		descriptorAt:   le.Uint64(b[28:]),
		descriptorSize: le.Uint64(b[36:]),
		tableEntries:   le.Uint32(b[44:]),
		rgdOffset:      le.Uint64(b[48:]),
		gdOffset:       le.Uint64(b[56:]),
		overhead:       le.Uint64(b[64:]),
		unclean:        b[72],
		newlines:       [4]byte(b[73:77]),
		compression:    le.Uint16(b[77:]),
	}
}

// marker is the sector before a piece of metadata that is sectors long.
func marker(kind uint32, sectors uint64) []byte {
	b := make([]byte, sector)
	binary.LittleEndian.PutUint64(b[0:], sectors)
	binary.LittleEndian.PutUint32(b[12:], kind)
	return b
}

func roundUp[T int | int64 | uint64](n, unit T) T { return (n + unit - 1) / unit * unit }

// checkSize says whether a disk of this size can be written.
func checkSize(sizeBytes int64) error {
	switch {
	case sizeBytes <= 0 || sizeBytes%sector != 0:
		return fmt.Errorf("a disk of %d bytes is not a whole number of sectors", sizeBytes)
	case sizeBytes > maxBytes:
		return fmt.Errorf("a disk of %d bytes is larger than the 2 TiB that a sparse VMDK can address", sizeBytes)
	}
	return nil
}
