package ext4

import (
	"encoding/binary"
	"time"

	"github.com/org/imagebuild-action/internal/image"
)

const (
	modeType      = 0xf000
	modeFIFO      = 0x1000
	modeChar      = 0x2000
	modeDirectory = 0x4000
	modeBlock     = 0x6000
	modeFile      = 0x8000
	modeSymlink   = 0xa000
	modeSocket    = 0xc000

	flagCompressed = 0x4
	flagEncrypted  = 0x800
	flagIndex      = 0x1000 // a directory with hashes
	flagHugeFile   = 0x40000
	flagExtents    = 0x80000
	flagEAInode    = 0x200000
	flagInline     = 0x10000000

	oldInodeBytes = 128
	blockArea     = 60 // bytes of i_block
)

// inode is one inode, decoded.
type inode struct {
	number     uint32
	mode       uint16
	flags      uint32
	uid, gid   int
	links      uint16
	size       uint64
	blocks     uint64 // in units of 512 bytes
	aclBlock   uint64
	generation uint32
	mtime      time.Time
	area       [blockArea]byte // i_block: a map, an extent tree, a link or content
	rest       []byte          // behind the fixed fields: attributes
	seed       uint32          // of the checksums of its blocks
}

func (i *inode) kind() uint16 { return i.mode & modeType }

// inode reads an inode that a directory, or another inode, names.
func (f *FS) inode(number uint32) (*inode, error) {
	s := &f.super
	where := inodeName(number)
	if number == 0 || number > s.inodes || number < s.firstInode && number != rootInode {
		return nil, damaged(where, "a name leads to it, and it is not one of %d to %d", s.firstInode, s.inodes)
	}
	table, err := f.inodeTable((number - 1) / s.inodesPerGroup)
	if err != nil {
		return nil, err
	}
	offset := int64((number-1)%s.inodesPerGroup) * s.inodeBytes
	if table == 0 || table >= s.blocks {
		return nil, damaged(where, "its table begins at block %d of %d", table, s.blocks)
	}
	block, err := f.block(where, table+uint64(offset/s.blockBytes))
	if err != nil {
		return nil, err
	}
	raw := block[offset%s.blockBytes:][:s.inodeBytes]
	i, err := f.decodeInode(number, raw)
	switch {
	case err != nil:
		return nil, err
	case i.links == 0:
		return nil, damaged(where, "a name leads to it, and it has been removed")
	case i.flags&flagEncrypted != 0:
		return nil, refused("%s: its content is encrypted; copy it to a file system without encryption", where)
	case i.flags&flagCompressed != 0:
		return nil, refused("%s: its content is compressed in a way that no kernel knows any more", where)
	}
	return i, nil
}

func (f *FS) decodeInode(number uint32, b []byte) (*inode, error) {
	le := binary.LittleEndian
	i := &inode{
		number: number, mode: le.Uint16(b), flags: le.Uint32(b[0x20:]), links: le.Uint16(b[0x1a:]),
		uid: int(le.Uint16(b[0x2:])) | int(le.Uint16(b[0x78:]))<<16, gid: int(le.Uint16(b[0x18:])) | int(le.Uint16(b[0x7a:]))<<16,
		size: uint64(le.Uint32(b[0x4:])), blocks: uint64(le.Uint32(b[0x1c:])) | uint64(le.Uint16(b[0x74:]))<<32,
		generation: le.Uint32(b[0x64:]), aclBlock: uint64(le.Uint32(b[0x68:])),
	}
	copy(i.area[:], b[0x28:])
	if i.kind() == modeFile || i.kind() == modeDirectory && f.super.incompat&incompatLargedir != 0 {
		i.size |= uint64(le.Uint32(b[0x6c:])) << 32
	}
	if f.super.incompat&incompat64Bit != 0 {
		i.aclBlock |= uint64(le.Uint16(b[0x76:])) << 32
	}
	if i.flags&flagHugeFile != 0 {
		i.blocks *= uint64(f.super.blockBytes / image.SectorSize)
	}
	extra := 0
	if len(b) > oldInodeBytes {
		extra = int(le.Uint16(b[0x80:]))
		if extra%4 != 0 || extra > len(b)-oldInodeBytes {
			return nil, damaged(inodeName(number), "%d more fields' bytes in an inode of %d", extra, len(b))
		}
		i.rest = append([]byte(nil), b[oldInodeBytes+extra:]...)
	}
	i.mtime = timeOf(b, 0x10, 0x88, oldInodeBytes+extra)
	return i, f.inodeChecksum(i, b, extra)
}

// timeOf reads seconds at one place, and at another, if there is room for it,
// nanoseconds and two bits that carry the seconds beyond 2038 (fs/ext4/ext4.h,
// "Extended timestamp encoding").
func timeOf(b []byte, at, more, end int) time.Time {
	seconds := int64(int32(binary.LittleEndian.Uint32(b[at:]))) //nolint:gosec // it is signed
	nanoseconds := int64(0)
	if more+4 <= end {
		extra := binary.LittleEndian.Uint32(b[more:])
		seconds += int64(extra&3) << 32
		nanoseconds = int64(extra >> 2)
	}
	return time.Unix(seconds, nanoseconds).UTC()
}

func (f *FS) inodeChecksum(i *inode, b []byte, extra int) error {
	if !f.hasChecksums() {
		return nil
	}
	le := binary.LittleEndian
	i.seed = crc32c32(crc32c32(f.super.seed, i.number), i.generation)
	zero := []byte{0, 0}
	sum := crc32c(crc32c(i.seed, b[:0x7c]), zero)
	sum = crc32c(sum, b[0x7e:oldInodeBytes])
	want, mask := uint32(le.Uint16(b[0x7c:])), uint32(0xffff)
	if len(b) > oldInodeBytes {
		high := b[oldInodeBytes:]
		if extra >= 4 {
			want, mask = want|uint32(le.Uint16(high[2:]))<<16, ^uint32(0)
			sum = crc32c(crc32c(crc32c(sum, high[:2]), zero), high[4:])
		} else {
			sum = crc32c(sum, high)
		}
	}
	if want != sum&mask {
		return damaged(inodeName(i.number), "its checksum is wrong")
	}
	return nil
}

// device reads the numbers of a device (include/linux/kdev_t.h).
func (i *inode) device() (major, minor int64) {
	le := binary.LittleEndian
	if old := le.Uint32(i.area[0:]); old != 0 {
		return int64(old >> 8 & 0xff), int64(old & 0xff)
	}
	n := le.Uint32(i.area[4:])
	return int64(n >> 8 & 0xfff), int64(n&0xff | n>>12&0xfff00)
}
