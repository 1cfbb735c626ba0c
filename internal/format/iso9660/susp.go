package iso9660

import (
	"encoding/binary"
	"strings"
)

const (
	maxContinuations = 64      // CE fields of one record: a name and its attributes need one
	maxNameBytes     = 4 << 10 // of a Rock Ridge name
)

// rockRidge is what the fields of one record say.
type rockRidge struct {
	name    string
	link    bool  // SL
	child   int64 // CL: the sector where a folder that was moved really is; 0 means none
	moved   bool  // RE: this is such a folder at its other place
	hasName bool
}

// susp tells whether the tree carries SUSP fields with Rock Ridge names, by the
// first record of its root (IEEE P1281, 5.3: SP), and how many bytes stand
// before the fields of every other record.
func (d *Disc) susp(root *Entry) (skip int, found bool, err error) {
	at := root.extents[0].at
	sector := make([]byte, sectorBytes)
	if err := d.read(sector, at); err != nil {
		return 0, false, err
	}
	_, system, err := d.record(sector, at)
	if err != nil {
		return 0, false, err
	}
	if len(system) < 7 || string(system[:2]) != "SP" || system[2] != 7 || system[4] != 0xbe || system[5] != 0xef {
		return 0, false, nil
	}
	return int(system[6]), true, nil
}

// rockRidge reads the fields of a record (IEEE P1282, 4.1), and those that
// continue elsewhere. at is for messages.
func (d *Disc) rockRidge(system []byte, at int64) (r rockRidge, err error) {
	if len(system) < d.skip {
		return r, nil
	}
	system = system[d.skip:]
	var name strings.Builder
	for range maxContinuations {
		next := extent{}
		for len(system) >= 4 && system[0] != 0 {
			n := int(system[2])
			if n < 4 || n > len(system) {
				return r, d.damaged(at, "a field of %d bytes in a directory record that has %d left", n, len(system))
			}
			field := system[4:n]
			switch string(system[:2]) {
			case "NM": // flags, then the name; flags 2 and 4 are . and .., which have names
				if len(field) > 0 && field[0]&6 == 0 && name.Len() < maxNameBytes {
					name.Write(field[1:])
					r.hasName = true
				}
			case "SL":
				r.link = true
			case "RE":
				r.moved = true
			case "CL":
				if len(field) >= 4 {
					r.child = int64(binary.LittleEndian.Uint32(field))
				}
			case "CE": // block, offset and length, each in both byte orders
				if len(field) >= 24 {
					le := binary.LittleEndian
					next = extent{int64(le.Uint32(field))*sectorBytes + int64(le.Uint32(field[8:])), int64(le.Uint32(field[16:]))}
				}
			case "ST":
				system = nil
				continue
			}
			system = system[n:]
		}
		if next.bytes == 0 {
			r.name = strings.ToValidUTF8(name.String(), "�")
			return r, nil
		}
		if next.bytes > sectorBytes {
			return r, d.damaged(next.at, "a continuation of %d bytes", next.bytes)
		}
		system = make([]byte, next.bytes)
		if err := d.read(system, next.at); err != nil {
			return r, err
		}
	}
	return r, d.damaged(at, "the fields of a directory record continue more than %d times", maxContinuations)
}
