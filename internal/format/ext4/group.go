package ext4

import (
	"encoding/binary"
	"fmt"
)

const (
	groupInodesUninit = 0x1
	groupChecksum     = 0x1e // offset in a descriptor
)

// inodeTable returns the first block of a group's inodes.
func (f *FS) inodeTable(group uint32) (uint64, error) {
	where := fmt.Sprintf("group %d", group)
	s := &f.super
	perBlock := uint32(s.blockBytes / s.descBytes) //nolint:gosec // at most 2048
	at, err := f.block(where, s.descriptorBlock(group/perBlock, perBlock))
	if err != nil {
		return 0, err
	}
	d := at[int64(group%perBlock)*s.descBytes:][:s.descBytes]
	if !s.descriptorOK(group, d) {
		return 0, damaged(where, "the checksum of its descriptor is wrong")
	}
	le := binary.LittleEndian
	if le.Uint16(d[0x12:])&groupInodesUninit != 0 && s.ro&(roGDTChecksum|roMetaChecksum) != 0 {
		return 0, damaged(where, "a file is in it, and no inode of it is in use")
	}
	table := uint64(le.Uint32(d[0x8:]))
	if s.descBytes >= 64 && s.incompat&incompat64Bit != 0 {
		table |= uint64(le.Uint32(d[0x28:])) << 32
	}
	return table, nil
}

// descriptorBlock is where the n-th block of group descriptors lies (struct
// ext4_super_block, s_first_meta_bg; fs/ext4/super.c, descriptor_loc).
func (s *superblock) descriptorBlock(n, perBlock uint32) uint64 {
	// With bigalloc the first block is 0 even where the superblock is block 1.
	super := uint64(superOffset / s.blockBytes)
	if s.incompat&incompatMetaBG == 0 || n < s.firstMetaGroup {
		return super + 1 + uint64(n)
	}
	group := uint64(n) * uint64(perBlock)
	block := group*uint64(s.blocksPerGroup) + uint64(s.firstDataBlock)
	if s.hasSuper(group) {
		block++
	}
	if group == 0 && super > uint64(s.firstDataBlock) {
		block++
	}
	return block
}

// hasSuper tells whether a group begins with a copy of the superblock.
func (s *superblock) hasSuper(group uint64) bool {
	switch {
	case group == 0:
		return true
	case s.compat&compatSparseSuper2 != 0:
		return group == uint64(s.backupGroups[0]) || group == uint64(s.backupGroups[1])
	case group == 1 || s.ro&roSparseSuper == 0:
		return true
	}
	for _, base := range []uint64{3, 5, 7} {
		power := base
		for power < group {
			power *= base
		}
		if power == group {
			return true
		}
	}
	return false
}

func (s *superblock) descriptorOK(group uint32, d []byte) bool {
	number := binary.LittleEndian.AppendUint32(nil, group)
	want := binary.LittleEndian.Uint16(d[groupChecksum:])
	before, after := d[:groupChecksum], d[groupChecksum+2:]
	switch {
	case s.ro&roMetaChecksum != 0:
		sum := crc32c(crc32c(crc32c(crc32c(s.seed, number), before), []byte{0, 0}), after)
		return want == uint16(sum) //nolint:gosec // its lower half is kept
	case s.ro&roGDTChecksum != 0:
		sum := crc16(crc16(crc16(0xffff, s.uuid[:]), number), before)
		if s.incompat&incompat64Bit != 0 { // the old one has no more
			sum = crc16(sum, after)
		}
		return want == sum
	}
	return true
}
