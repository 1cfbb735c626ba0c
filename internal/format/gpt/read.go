package gpt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"unicode/utf16"
)

// ErrNone is a disk without a GUID partition table.
var ErrNone = errors.New("no GUID partition table")

// maxTableBytes bounds the entries of a foreign table.
const maxTableBytes = 1 << 20

// Read reads the table of a disk of sizeBytes: the first one, or its backup if
// the first is damaged. The partitions lie within the disk; nothing else about
// them is checked, because other tools lay out disks in their own way.
func Read(r io.ReaderAt, sizeBytes int64) (Table, error) {
	sectors := sizeBytes / SectorSize
	table, err := readAt(r, 1, sectors)
	if err == nil {
		return table, nil
	}
	if table, backupErr := readAt(r, sectors-1, sectors); backupErr == nil {
		return table, nil
	}
	return Table{}, err
}

func readAt(r io.ReaderAt, sector, sectors int64) (Table, error) {
	h := make([]byte, SectorSize)
	if sector < 1 || sector >= sectors {
		return Table{}, ErrNone
	}
	if _, err := r.ReadAt(h, sector*SectorSize); err != nil && !errors.Is(err, io.EOF) {
		return Table{}, fmt.Errorf("read sector %d: %w", sector, err)
	}
	le := binary.LittleEndian
	if !bytes.HasPrefix(h, []byte(signature)) {
		return Table{}, ErrNone
	}
	length, sum := le.Uint32(h[12:]), le.Uint32(h[16:])
	if length < headerBytes || length > SectorSize {
		return Table{}, fmt.Errorf("partition table header of %d bytes", length)
	}
	le.PutUint32(h[16:], 0)
	if crc32.ChecksumIEEE(h[:length]) != sum {
		return Table{}, errors.New("the partition table header's checksum is wrong")
	}
	start, count, each := le.Uint64(h[72:]), le.Uint32(h[80:]), le.Uint32(h[84:])
	if each < entryBytes || each%8 != 0 || uint64(count)*uint64(each) > maxTableBytes || start >= uint64(sectors) {
		return Table{}, fmt.Errorf("partition table of %d entries of %d bytes at sector %d", count, each, start)
	}
	entries := make([]byte, int(count)*int(each))
	if n, err := r.ReadAt(entries, int64(start)*SectorSize); n < len(entries) {
		return Table{}, fmt.Errorf("read the partition table's entries: %w", err)
	}
	if crc32.ChecksumIEEE(entries) != le.Uint32(h[88:]) {
		return Table{}, errors.New("the partition table's checksum is wrong")
	}
	t := Table{DiskGUID: GUID(h[56:72]), Sectors: sectors}
	number := 0
	for e := range slices.Chunk(entries, int(each)) {
		number++
		if GUID(e[:16]) == (GUID{}) {
			continue
		}
		p, err := readEntry(e, uint64(sectors))
		if err != nil {
			return Table{}, err
		}
		p.Number = number
		t.Partitions = append(t.Partitions, p)
	}
	return t, nil
}

func readEntry(e []byte, sectors uint64) (Partition, error) {
	le := binary.LittleEndian
	first, last := le.Uint64(e[32:]), le.Uint64(e[40:])
	if first > last || last >= sectors {
		return Partition{}, fmt.Errorf("a partition from sector %d to %d on a disk of %d", first, last, sectors)
	}
	units := make([]uint16, 0, nameUnits)
	for i := range nameUnits {
		unit := le.Uint16(e[56+2*i:])
		if unit == 0 {
			break
		}
		units = append(units, unit)
	}
	return Partition{
		Type: GUID(e[:16]), GUID: GUID(e[16:32]), First: int64(first), Last: int64(last),
		Attributes: le.Uint64(e[48:]), Name: string(utf16.Decode(units)),
	}, nil
}
