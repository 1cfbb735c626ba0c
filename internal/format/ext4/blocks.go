package ext4

import (
	"encoding/binary"
	"math"
)

const (
	extentMagic  = 0xf30a
	extentBytes  = 12 // of the header, of an index and of an extent
	maxLevels    = 5
	maxWritten   = 1 << 15 // a longer extent is one that was never written to
	directBlocks = 12
)

// span is a run of logical blocks of a file: where it begins on the disk, or 0
// for a hole. It begins with the block that was asked for.
type span struct {
	physical, count uint64
}

// mapped finds a logical block.
func (f *FS) mapped(i *inode, logical uint64) (span, error) {
	var s span
	var err error
	if i.flags&flagExtents != 0 {
		s, err = f.mapExtents(i, logical)
	} else {
		s, err = f.mapBlocks(i, logical)
	}
	if err != nil {
		return span{}, err
	}
	if s.count == 0 || s.physical != 0 && (s.physical > f.super.blocks || s.count > f.super.blocks-s.physical) {
		return span{}, damaged(inodeName(i.number), "block %d of it lies at %d, for %d blocks, of %d", logical, s.physical, s.count, f.super.blocks)
	}
	return s, nil
}

// mapExtents walks down the tree of extents.
func (f *FS) mapExtents(i *inode, logical uint64) (span, error) {
	where := inodeName(i.number)
	if logical >= math.MaxUint32 {
		return span{}, damaged(where, "it has a block %d", logical)
	}
	node, end := i.area[:], uint64(math.MaxUint32)
	for level := -1; ; {
		le := binary.LittleEndian
		entries, most, depth := int(le.Uint16(node[2:])), int(le.Uint16(node[4:])), int(le.Uint16(node[6:]))
		switch {
		case le.Uint16(node) != extentMagic || entries > most || (most+1)*extentBytes > len(node):
			return span{}, damaged(where, "a node of its extents has %d of %d entries", entries, most)
		case level < 0 && depth > maxLevels || level >= 0 && depth != level-1:
			return span{}, damaged(where, "a node of its extents is on level %d", depth)
		}
		level = depth
		// The last entry that does not begin behind the block; the next one's
		// beginning bounds what is found in it.
		found := -1
		for n := range entries {
			first := uint64(le.Uint32(node[(n+1)*extentBytes:]))
			if first > logical {
				end = min(end, first)
				break
			}
			found = n
		}
		if found < 0 {
			return span{0, end - logical}, nil
		}
		e := node[(found+1)*extentBytes:][:extentBytes]
		if depth == 0 {
			return extentSpan(e, logical, end), nil
		}
		at := uint64(le.Uint32(e[4:])) | uint64(le.Uint16(e[8:]))<<32
		next, err := f.block(where, at)
		if err != nil {
			return span{}, err
		}
		if tail := (int(le.Uint16(next[4:])) + 1) * extentBytes; f.hasChecksums() && (tail+4 > len(next) || le.Uint32(next[tail:]) != crc32c(i.seed, next[:tail])) {
			return span{}, damaged(where, "the checksum of its extents in block %d is wrong", at)
		}
		node = next
	}
}

func extentSpan(e []byte, logical, end uint64) span {
	le := binary.LittleEndian
	first, count := uint64(le.Uint32(e)), uint64(le.Uint16(e[4:]))
	at := uint64(le.Uint32(e[8:])) | uint64(le.Uint16(e[6:]))<<32
	unwritten := count > maxWritten
	if unwritten {
		count -= maxWritten
	}
	if logical >= first+count {
		return span{0, end - logical}
	}
	s := span{at + logical - first, min(first+count, end) - logical}
	if unwritten {
		s.physical = 0
	}
	return s
}

// mapBlocks is for ext2 and ext3: twelve blocks, then blocks of numbers of
// blocks, up to three deep.
func (f *FS) mapBlocks(i *inode, logical uint64) (span, error) {
	where := inodeName(i.number)
	per := uint64(f.super.blockBytes) / 4
	if logical < directBlocks {
		return spanOf(i.area[:directBlocks*4], logical, 1), nil
	}
	index, covered := logical-directBlocks, per
	for depth := range uint64(3) {
		if index >= covered {
			index -= covered
			covered *= per
			continue
		}
		numbers, slot := i.area[directBlocks*4+depth*4:], uint64(0)
		for {
			number := binary.LittleEndian.Uint32(numbers[slot*4:])
			if number == 0 {
				return span{0, covered - index}, nil
			}
			block, err := f.block(where, uint64(number))
			if err != nil {
				return span{}, err
			}
			covered /= per
			numbers, slot = block, index/covered
			index %= covered
			if covered == 1 {
				return spanOf(numbers, slot, 1), nil
			}
		}
	}
	return span{}, damaged(where, "it has a block %d", logical)
}

// spanOf is the run of neighbours, or of holes, from slot in a list of numbers.
func spanOf(numbers []byte, slot, count uint64) span {
	first := uint64(binary.LittleEndian.Uint32(numbers[slot*4:]))
	for ; (slot+count)*4 < uint64(len(numbers)); count++ {
		next := uint64(binary.LittleEndian.Uint32(numbers[(slot+count)*4:]))
		if first == 0 && next != 0 || first != 0 && next != first+count {
			break
		}
	}
	return span{first, count}
}
