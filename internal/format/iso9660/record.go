package iso9660

import (
	"encoding/binary"
	"strings"
	"unicode/utf16"
)

// Entry is a file or a folder.
type Entry struct {
	Name      string
	Dir       bool
	Link      bool  // a symbolic link, which has no content
	SizeBytes int64 // of a file
	extents   []extent
}

// extent is a part of a file, or a whole one: bytes from a byte on.
type extent struct{ at, bytes int64 }

// Flags of a directory record (ECMA-119, 9.1.6).
const (
	flagDirectory = 0x02
	flagMore      = 0x80 // another record has the file's next extent
)

// recordBytes is a directory record without its name.
const recordBytes = 33

// record reads a directory record (ECMA-119, 9.1) that stands at byte at. It
// returns what follows the name, too, where SUSP has its fields.
func (d *Disc) record(b []byte, at int64) (e Entry, system []byte, err error) {
	if len(b) < recordBytes+1 || int(b[0]) > len(b) || int(b[0]) < recordBytes+int(b[32]) {
		return e, nil, d.damaged(at, "a directory record of %d bytes does not hold its name", b[0])
	}
	b = b[:b[0]]
	if b[26] != 0 || b[27] != 0 {
		return e, nil, d.damaged(at+26, "an interleaved file, which is not supported")
	}
	where := extent{int64(binary.LittleEndian.Uint32(b[2:])) * sectorBytes, int64(binary.LittleEndian.Uint32(b[10:]))}
	// An extended attribute record comes before the content (9.1.3).
	where.at += int64(b[1]) * sectorBytes
	if where.bytes > 0 && where.at > d.sizeBytes-where.bytes {
		return e, nil, d.damaged(at, "a file of %d bytes at byte %d is beyond the image's end at %d; is it cut short?", where.bytes, where.at, d.sizeBytes)
	}
	e.Dir = b[25]&flagDirectory != 0
	e.SizeBytes, e.extents = where.bytes, []extent{where}
	name := b[recordBytes : recordBytes+int(b[32])]
	e.Name = d.ownName(name)
	after := recordBytes + len(name)
	if len(name)%2 == 0 {
		after++ // a filler keeps fields even (9.1.12)
	}
	if after < len(b) {
		system = b[after:]
	}
	return e, system, nil
}

// ownName reads a name as the tree itself has it. Zero and one are the folder
// and its parent (ECMA-119, 6.8.2.2).
func (d *Disc) ownName(b []byte) string {
	switch {
	case len(b) == 1 && b[0] == 0:
		return "."
	case len(b) == 1 && b[0] == 1:
		return ".."
	}
	name := ""
	if d.names == jolietNames {
		units := make([]uint16, len(b)/2)
		for i := range units {
			units[i] = binary.BigEndian.Uint16(b[2*i:])
		}
		name = string(utf16.Decode(units))
	} else {
		name = strings.ToLower(strings.ToValidUTF8(string(b), "�"))
	}
	name, _, _ = strings.Cut(name, ";") // the version
	return strings.TrimSuffix(name, ".")
}
