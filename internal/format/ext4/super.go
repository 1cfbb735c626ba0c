package ext4

import (
	"encoding/binary"
	"fmt"
	"io"
	"math/bits"
	"strings"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/fifo"
)

const (
	superOffset = 1024
	superBytes  = 1024
	superMagic  = 0xef53
	rootInode   = 2
)

// Features. Those of the kind compat, and the unknown ones of ro_compat, do
// not concern a reader.
const (
	compatSparseSuper2 = 0x200

	incompatFiletype   = 0x2
	incompatRecover    = 0x4
	incompatJournalDev = 0x8
	incompatMetaBG     = 0x10
	incompatExtents    = 0x40
	incompat64Bit      = 0x80
	incompatMMP        = 0x100
	incompatFlexBG     = 0x200
	incompatEAInode    = 0x400
	incompatCsumSeed   = 0x2000
	incompatLargedir   = 0x4000
	incompatInlineData = 0x8000
	incompatEncrypt    = 0x10000 // of single directories; refused where one is met
	incompatCasefold   = 0x20000

	incompatKnown = incompatFiletype | incompatMetaBG | incompatExtents | incompat64Bit | incompatMMP | incompatFlexBG |
		incompatEAInode | incompatCsumSeed | incompatLargedir | incompatInlineData | incompatEncrypt | incompatCasefold

	roSparseSuper   = 0x1
	roGDTChecksum   = 0x10
	roMetaChecksum  = 0x400
	roOrphanPresent = 0x10000

	stateClean  = 1 // of a file system without a journal
	stateErrors = 2
)

// superblock is what a reader needs of it; sizes in bytes.
type superblock struct {
	inodes, inodesPerGroup uint32
	blocks                 uint64
	blocksPerGroup         uint32
	firstDataBlock         uint32
	blockBytes             int64
	inodeBytes             int64
	firstInode             uint32
	compat, incompat, ro   uint32
	descBytes              int64
	firstMetaGroup         uint32
	backupGroups           [2]uint32
	seed                   uint32 // of all checksums
	uuid                   [16]byte
	label                  string
	state                  uint16
	lastOrphan             uint32
	level                  uint32 // revision
}

// FS is an open file system. It is safe for concurrent use.
type FS struct {
	file   io.ReaderAt
	super  superblock
	blocks *fifo.Cache[[]byte]
}

// Open reads the superblock of a file system that has sizeBytes at the most.
func Open(r io.ReaderAt, sizeBytes int64) (*FS, error) {
	raw := make([]byte, superBytes)
	if sizeBytes < superOffset+superBytes {
		return nil, refused("%d bytes are too few for a file system", sizeBytes)
	}
	if n, err := r.ReadAt(raw, superOffset); n < len(raw) {
		return nil, fmt.Errorf("read ext4 superblock: %w", noEOF(err))
	}
	if binary.LittleEndian.Uint16(raw[0x38:]) != superMagic {
		return nil, refused("this is not an ext2, ext3 or ext4 file system: its magic is missing")
	}
	f := &FS{file: r, super: decodeSuper(raw), blocks: fifo.New[[]byte](cachedBlocks)}
	if err := f.super.checksum(raw); err != nil {
		return nil, err
	}
	return f, f.super.check(sizeBytes)
}

func decodeSuper(b []byte) superblock {
	le := binary.LittleEndian
	s := superblock{
		inodes: le.Uint32(b[0:]), blocks: uint64(le.Uint32(b[0x4:])), firstDataBlock: le.Uint32(b[0x14:]),
		blockBytes: 1024 << min(le.Uint32(b[0x18:]), 32), blocksPerGroup: le.Uint32(b[0x20:]), inodesPerGroup: le.Uint32(b[0x28:]),
		state: le.Uint16(b[0x3a:]), level: le.Uint32(b[0x4c:]), firstInode: 11, inodeBytes: 128, descBytes: 32,
		lastOrphan: le.Uint32(b[0xe8:]), firstMetaGroup: le.Uint32(b[0x104:]),
	}
	copy(s.uuid[:], b[0x68:])
	if s.level == 0 { // the first revision has neither features nor a choice of sizes
		return s
	}
	s.firstInode, s.inodeBytes = le.Uint32(b[0x54:]), int64(le.Uint16(b[0x58:]))
	s.compat, s.incompat, s.ro = le.Uint32(b[0x5c:]), le.Uint32(b[0x60:]), le.Uint32(b[0x64:])
	s.label = strings.TrimRight(string(b[0x78:0x88]), "\x00")
	if s.incompat&incompat64Bit != 0 {
		s.blocks |= uint64(le.Uint32(b[0x150:])) << 32
		s.descBytes = int64(le.Uint16(b[0xfe:]))
	}
	s.backupGroups = [2]uint32{le.Uint32(b[0x24c:]), le.Uint32(b[0x250:])}
	s.seed = crc32c(^uint32(0), s.uuid[:])
	if s.incompat&incompatCsumSeed != 0 {
		s.seed = le.Uint32(b[0x270:])
	}
	return s
}

// checksum compares what covers the superblock itself.
func (s *superblock) checksum(raw []byte) error {
	if s.ro&roMetaChecksum == 0 {
		return nil
	}
	if kind := raw[0x175]; kind != 1 {
		return refused("checksums of type %d are unknown", kind)
	}
	if binary.LittleEndian.Uint32(raw[0x3fc:]) != crc32c(^uint32(0), raw[:0x3fc]) {
		return damaged("the superblock", "its checksum is wrong")
	}
	return nil
}

func (s *superblock) check(sizeBytes int64) error {
	const where = "the superblock"
	switch {
	case s.incompat&incompatJournalDev != 0:
		return refused("this is the journal of another file system")
	case s.incompat&incompatRecover != 0:
		return refused("the file system was not unmounted, and its journal has not been replayed; run e2fsck -p on it, or shut the machine down before its disk is copied")
	case s.incompat&^incompatKnown != 0:
		return refused("it has features that are not known here (incompat %#x); make it without them", s.incompat&^incompatKnown)
	case s.state&stateErrors != 0:
		return refused("errors have been recorded in the file system; repair it with e2fsck -f")
	case s.state&stateClean == 0:
		return refused("the file system was not unmounted; run e2fsck -p on it, or shut the machine down before its disk is copied")
	case s.lastOrphan != 0 || s.ro&roOrphanPresent != 0:
		return refused("files that were being removed are left in the file system; run e2fsck -p on it")
	case s.level > 1:
		return refused("revision %d is unknown", s.level)
	case s.blockBytes < 1024 || s.blockBytes > 64<<10:
		return damaged(where, "blocks of %d bytes", s.blockBytes)
	case s.inodeBytes < 128 || s.inodeBytes > s.blockBytes || bits.OnesCount64(uint64(s.inodeBytes)) != 1:
		return damaged(where, "inodes of %d bytes", s.inodeBytes)
	case s.descBytes < 32 || s.descBytes > s.blockBytes || bits.OnesCount64(uint64(s.descBytes)) != 1 || s.incompat&incompat64Bit != 0 && s.descBytes < 64:
		return damaged(where, "group descriptors of %d bytes", s.descBytes)
	case s.blocksPerGroup == 0 || s.inodesPerGroup == 0 || int64(s.inodesPerGroup) > 8*s.blockBytes:
		return damaged(where, "groups of %d blocks and %d inodes", s.blocksPerGroup, s.inodesPerGroup)
	case s.blocks > uint64(sizeBytes)/uint64(s.blockBytes):
		return damaged(where, "%d blocks of %d bytes do not fit into %d bytes; the file is cut off", s.blocks, s.blockBytes, sizeBytes)
	case uint64(s.firstDataBlock) >= s.blocks:
		return damaged(where, "its first block is %d of %d", s.firstDataBlock, s.blocks)
	case s.inodes < rootInode || uint64(s.inodes) > s.groups()*uint64(s.inodesPerGroup):
		return damaged(where, "%d inodes in %d groups of %d", s.inodes, s.groups(), s.inodesPerGroup)
	}
	return nil
}

func (s *superblock) groups() uint64 {
	return (s.blocks-uint64(s.firstDataBlock)-1)/uint64(s.blocksPerGroup) + 1
}

// UUID is the file system's identifier in its usual form.
func (f *FS) UUID() string {
	u := f.super.uuid
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[0:4], u[4:6], u[6:8], u[8:10], u[10:])
}

// Label is the file system's name; often empty.
func (f *FS) Label() string { return f.super.label }

// block returns one block of metadata, which must not be written to.
func (f *FS) block(where string, number uint64) ([]byte, error) {
	if number == 0 || number >= f.super.blocks {
		return nil, damaged(where, "block %d is not one of %d", number, f.super.blocks)
	}
	if b, ok := f.blocks.Get(int64(number)); ok { //nolint:gosec // below the number of blocks of a real file
		return b, nil
	}
	b := make([]byte, f.super.blockBytes)
	if err := f.read(b, int64(number)*f.super.blockBytes); err != nil { //nolint:gosec // the same
		return nil, err
	}
	f.blocks.Put(int64(number), b) //nolint:gosec // the same
	return b, nil
}

func (f *FS) read(p []byte, offset int64) error {
	if n, err := f.file.ReadAt(p, offset); n < len(p) {
		return fmt.Errorf("read ext4 at byte %d: %w", offset+int64(n), noEOF(err))
	}
	return nil
}

// noEOF makes an error of a file that is shorter than its superblock says.
func noEOF(err error) error {
	if err == nil || err == io.EOF { //nolint:errorlint // as ReaderAt returns it
		return fault.Wrap(fault.Input, io.ErrUnexpectedEOF)
	}
	return err
}
