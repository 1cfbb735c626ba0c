package ext4

import (
	"context"
	"encoding/binary"
	"fmt"
)

const (
	xattrMagic       = 0xea020000
	xattrBlockHeader = 32
	xattrEntry       = 16
	indexSystem      = 7
	inlineName       = "data" // with indexSystem: what does not fit into i_block
)

// prefixes are the beginnings of names by index (fs/ext4/xattr.h).
var prefixes = map[byte]string{ //nolint:gochecknoglobals // a constant table
	0: "", 1: "user.", 2: "system.posix_acl_access", 3: "system.posix_acl_default", 4: "trusted.", 6: "security.",
	indexSystem: "system.", 8: "system.richacl",
}

// xattr is one attribute as it is stored.
type xattr struct {
	index byte
	name  string
	value []byte
}

// xattrs returns the attributes as getxattr(2) gives them.
func (f *FS) xattrs(i *inode) (map[string]string, error) {
	stored, err := f.stored(i)
	if err != nil {
		return nil, err
	}
	var all map[string]string
	for _, x := range stored {
		if x.index == indexSystem && x.name == inlineName {
			continue
		}
		prefix, ok := prefixes[x.index]
		name := prefix + x.name
		if !ok || name == "" {
			return nil, damaged(inodeName(i.number), "an attribute of kind %d", x.index)
		}
		value := x.value
		if x.index == 2 || x.index == 3 {
			if value, err = aclOf(value); err != nil {
				return nil, damaged(inodeName(i.number), "%s: %w", name, err)
			}
		}
		if _, twice := all[name]; twice {
			return nil, damaged(inodeName(i.number), "it has the attribute %s twice", name)
		}
		if all == nil {
			all = map[string]string{}
		}
		all[name] = string(value)
	}
	return all, nil
}

// inline returns the content that is kept in the inode: i_block, and an
// attribute for what is more.
func (f *FS) inline(i *inode) ([]byte, error) {
	data := append([]byte(nil), i.area[:]...)
	stored, err := f.stored(i)
	if err != nil {
		return nil, err
	}
	for _, x := range stored {
		if x.index == indexSystem && x.name == inlineName {
			data = append(data, x.value...)
		}
	}
	return data, nil
}

// stored lists the attributes behind the inode's fields and in its block.
func (f *FS) stored(i *inode) ([]xattr, error) {
	le := binary.LittleEndian
	var all []xattr
	if len(i.rest) >= 4 && le.Uint32(i.rest) == xattrMagic {
		found, err := f.entries(i, i.rest[4:], 0)
		if err != nil {
			return nil, err
		}
		all = found
	}
	if i.aclBlock == 0 {
		return all, nil
	}
	where := fmt.Sprintf("%s: attributes in block %d", inodeName(i.number), i.aclBlock)
	block, err := f.block(where, i.aclBlock)
	if err != nil {
		return nil, err
	}
	if le.Uint32(block) != xattrMagic || le.Uint32(block[8:]) != 1 {
		return nil, damaged(where, "it does not begin like them")
	}
	if f.hasChecksums() {
		sum := crc32c(f.super.seed, le.AppendUint64(nil, i.aclBlock))
		sum = crc32c(crc32c(crc32c(sum, block[:0x10]), make([]byte, 4)), block[0x14:])
		if le.Uint32(block[0x10:]) != sum {
			return nil, damaged(where, "their checksum is wrong")
		}
	}
	found, err := f.entries(i, block, xattrBlockHeader)
	return append(all, found...), err
}

// entries reads a list of attributes from first on; the values' places count
// from the beginning of area.
func (f *FS) entries(i *inode, area []byte, first int) ([]xattr, error) {
	le, where := binary.LittleEndian, inodeName(i.number)
	var all []xattr
	for at := first; ; {
		if len(area)-at < 4 || le.Uint32(area[at:]) == 0 {
			return all, nil
		}
		if len(area)-at < xattrEntry {
			return nil, damaged(where, "its attributes end in the middle of one")
		}
		e := area[at:]
		length, offset := int(e[0]), int(le.Uint16(e[2:]))
		inum, size := le.Uint32(e[4:]), uint64(le.Uint32(e[8:]))
		if xattrEntry+length > len(e) {
			return nil, damaged(where, "an attribute's name of %d bytes", length)
		}
		x := xattr{index: e[1], name: string(e[xattrEntry : xattrEntry+length])}
		switch {
		case size > maxXattrBytes:
			return nil, refused("%s: an attribute of %d bytes", where, size)
		case inum != 0:
			value, err := f.eaInode(inum, size)
			if err != nil {
				return nil, err
			}
			x.value = value
		case uint64(offset)+size > uint64(len(area)):
			return nil, damaged(where, "the attribute %q lies at %d, for %d bytes, of %d", x.name, offset, size, len(area))
		default:
			x.value = area[offset : offset+int(size)] //nolint:gosec // at most 64 KiB
		}
		all = append(all, x)
		at += (xattrEntry + length + 3) / 4 * 4
	}
}

// eaInode reads a value that has an inode of its own.
func (f *FS) eaInode(number uint32, size uint64) ([]byte, error) {
	i, err := f.inode(number)
	if err != nil {
		return nil, err
	}
	if i.flags&flagEAInode == 0 || i.flags&flagInline != 0 || i.kind() != modeFile || i.size != size {
		return nil, damaged(inodeName(number), "an attribute of %d bytes is said to be in it", size)
	}
	return f.readAll(context.Background(), i, maxXattrBytes)
}

// aclOf turns an access list as it is stored into what the kernel shows
// (fs/ext4/acl.h; include/uapi/linux/posix_acl_xattr.h).
func aclOf(b []byte) ([]byte, error) {
	const (
		storedVersion, shownVersion = 1, 2
		tagUser, tagGroup           = 0x2, 0x8
		undefined                   = ^uint32(0)
	)
	le := binary.LittleEndian
	if len(b) < 4 || le.Uint32(b) != storedVersion {
		return nil, fmt.Errorf("an access list of %d bytes of an unknown version", len(b))
	}
	shown := le.AppendUint32(nil, shownVersion)
	for b = b[4:]; len(b) > 0; {
		n, id := 4, undefined
		if len(b) < n {
			return nil, fmt.Errorf("an access list that ends in the middle of an entry")
		}
		if tag := le.Uint16(b); tag == tagUser || tag == tagGroup {
			if n = 8; len(b) < n {
				return nil, fmt.Errorf("an access list that ends in the middle of an entry")
			}
			id = le.Uint32(b[4:])
		}
		shown = le.AppendUint32(append(shown, b[:4]...), id)
		b = b[n:]
	}
	return shown, nil
}
