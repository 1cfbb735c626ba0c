package ext4

import (
	"encoding/binary"
	"hash/crc32"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// crc32c is the kernel's: without the inversions of the usual one, so that
// sums can be chained.
func crc32c(sum uint32, p []byte) uint32 { return ^crc32.Update(^sum, castagnoli, p) }

func crc32c32(sum, value uint32) uint32 {
	return crc32c(sum, binary.LittleEndian.AppendUint32(nil, value))
}

// crc16 is the one that came before metadata_csum, for group descriptors.
func crc16(sum uint16, p []byte) uint16 {
	for _, b := range p {
		sum ^= uint16(b)
		for range 8 {
			if sum&1 != 0 {
				sum = sum>>1 ^ 0xa001
			} else {
				sum >>= 1
			}
		}
	}
	return sum
}

// hasChecksums tells whether inodes, directories and blocks have checksums.
func (f *FS) hasChecksums() bool { return f.super.ro&roMetaChecksum != 0 }
