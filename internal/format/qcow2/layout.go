package qcow2

import (
	"encoding/binary"

	"github.com/org/imagebuild-action/internal/image"
)

const sector = image.SectorSize

// Header values. qcow2.txt, "General".
const (
	magic        = 0x514649fb // "QFI\xfb"
	headerBytes  = 112        // with the compression type, padded to eight
	headerV2     = 72
	headerV3     = 104
	refcountBits = 4 // log2 of the width of a refcount: 16 bits

	incompatDirty       = 1 << 0
	incompatCorrupt     = 1 << 1
	incompatDataFile    = 1 << 2
	incompatCompression = 1 << 3 // the compression type is not zlib
	incompatExtendedL2  = 1 << 4

	typeZlib = 0
	typeZstd = 1
)

// Bits of table entries. qcow2.txt, "L1 table entry" and "L2 table entry".
const (
	copied     = uint64(1) << 63 // refcount is exactly one
	compressed = uint64(1) << 62
	allZero    = uint64(1) // version 3: reads as zeros, whatever the offset
	offsetMask = uint64(0x00fffffffffffe00)
)

// header is the image header; what is not here is zero in what we write.
type header struct {
	version       uint32
	backingOffset uint64
	backingSize   uint32
	clusterBits   uint32
	size          uint64 // virtual, bytes
	crypt         uint32
	l1Entries     uint32
	l1Offset      uint64
	rcOffset      uint64 // refcount table
	rcClusters    uint32
	snapshots     uint32
	incompatible  uint64
	refcountOrder uint32
	length        uint32
	compression   uint8
}

func (h *header) encode() []byte {
	b := make([]byte, headerBytes+8) // and the end of the header extensions
	be := binary.BigEndian
	be.PutUint32(b[0:], magic)
	be.PutUint32(b[4:], h.version)
	be.PutUint32(b[20:], h.clusterBits)
	be.PutUint64(b[24:], h.size)
	be.PutUint32(b[36:], h.l1Entries)
	be.PutUint64(b[40:], h.l1Offset)
	be.PutUint64(b[48:], h.rcOffset)
	be.PutUint32(b[56:], h.rcClusters)
	be.PutUint64(b[72:], h.incompatible)
	be.PutUint32(b[96:], h.refcountOrder)
	be.PutUint32(b[100:], h.length)
	b[104] = h.compression
	return b
}

// decodeHeader reads a header of either version from its first headerBytes,
// with zeros where the file has less.
func decodeHeader(b []byte) header {
	be := binary.BigEndian
	h := header{
		version:       be.Uint32(b[4:]),
		backingOffset: be.Uint64(b[8:]),
		backingSize:   be.Uint32(b[16:]),
		clusterBits:   be.Uint32(b[20:]),
		size:          be.Uint64(b[24:]),
		crypt:         be.Uint32(b[32:]),
		l1Entries:     be.Uint32(b[36:]),
		l1Offset:      be.Uint64(b[40:]),
		rcOffset:      be.Uint64(b[48:]),
		rcClusters:    be.Uint32(b[56:]),
		snapshots:     be.Uint32(b[60:]),
		refcountOrder: refcountBits,
		length:        headerV2,
	}
	if h.version >= 3 {
		h.incompatible = be.Uint64(b[72:])
		h.refcountOrder = be.Uint32(b[96:])
		h.length = be.Uint32(b[100:])
	}
	if h.length > headerV3 {
		h.compression = b[104]
	}
	return h
}

// compressedEntry is the L2 entry of n compressed bytes at offset. The number
// of *additional* sectors counts from the one that holds the first byte.
func compressedEntry(offset, n int64, clusterBits uint32) uint64 {
	additional := (offset+n-1)/sector - offset/sector
	return compressed | uint64(additional)<<(62-(clusterBits-8)) | uint64(offset)
}

// splitEntry is the inverse: the offset, and the bytes up to the end of the
// last sector.
func splitEntry(entry uint64, clusterBits uint32) (offset, n int64) {
	shift := 62 - (clusterBits - 8)
	offset = int64(entry & (1<<shift - 1))
	additional := int64(entry &^ (copied | compressed) >> shift)
	return offset, (additional+1)*sector - offset%sector
}

func roundUp[T int | int64 | uint64](n, unit T) T { return (n + unit - 1) / unit * unit }

func encodeTable(entries []uint64, size int64) []byte {
	b := make([]byte, size)
	for i, each := range entries {
		binary.BigEndian.PutUint64(b[i*8:], each)
	}
	return b
}
