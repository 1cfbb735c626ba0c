package gpt

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"unicode/utf16"
)

// BootCodeBytes is the part of sector 0 that belongs to a boot loader.
const BootCodeBytes = 440

// Write writes the tables to a disk whose sectors read as zeros so far.
// bootCode, of at most BootCodeBytes, goes to the start of sector 0.
func (t Table) Write(w io.WriterAt, bootCode []byte) error {
	if err := t.Validate(); err != nil {
		return err
	}
	if len(bootCode) > BootCodeBytes {
		return fmt.Errorf("boot code of %d bytes does not fit into %d", len(bootCode), BootCodeBytes)
	}
	entries := t.entries()
	backup := t.Sectors - 1
	for _, part := range []struct {
		sector int64
		data   []byte
	}{
		{0, t.mbr(bootCode)},
		{1, t.header(1, backup, 2, entries)},
		{2, entries},
		{backup - tableSectors, entries},
		{backup, t.header(backup, 1, backup-tableSectors, entries)},
	} {
		if _, err := w.WriteAt(part.data, part.sector*SectorSize); err != nil {
			return fmt.Errorf("write partition table at sector %d: %w", part.sector, err)
		}
	}
	return nil
}

// mbr is the protective master boot record (UEFI specification, section 5.2.3).
func (t Table) mbr(bootCode []byte) []byte {
	b := make([]byte, SectorSize)
	copy(b, bootCode)
	record := b[446:]
	copy(record[1:], []byte{0x00, 0x02, 0x00}) // cylinder, head and sector of sector 1
	record[4] = protectiveMBR
	copy(record[5:], []byte{0xff, 0xff, 0xff})
	binary.LittleEndian.PutUint32(record[8:], 1)
	binary.LittleEndian.PutUint32(record[12:], uint32(min(t.Sectors-1, math.MaxUint32)))
	b[510], b[511] = 0x55, 0xaa
	return b
}

func (t Table) header(own, other, table int64, entries []byte) []byte {
	b := make([]byte, SectorSize)
	le := binary.LittleEndian
	copy(b, signature)
	le.PutUint32(b[8:], revision)
	le.PutUint32(b[12:], headerBytes)
	le.PutUint64(b[24:], uint64(own))
	le.PutUint64(b[32:], uint64(other))
	le.PutUint64(b[40:], firstUsable)
	le.PutUint64(b[48:], uint64(t.Sectors-firstUsable))
	copy(b[56:], t.DiskGUID[:])
	le.PutUint64(b[72:], uint64(table))
	le.PutUint32(b[80:], MaxEntries)
	le.PutUint32(b[84:], entryBytes)
	le.PutUint32(b[88:], crc32.ChecksumIEEE(entries))
	le.PutUint32(b[16:], crc32.ChecksumIEEE(b[:headerBytes])) // over a field of zeros
	return b
}

func (t Table) entries() []byte {
	b := make([]byte, MaxEntries*entryBytes)
	le := binary.LittleEndian
	for i, p := range t.Partitions {
		e := b[i*entryBytes:]
		copy(e, p.Type[:])
		copy(e[16:], p.GUID[:])
		le.PutUint64(e[32:], uint64(p.First))
		le.PutUint64(e[40:], uint64(p.Last))
		le.PutUint64(e[48:], p.Attributes)
		for j, unit := range utf16.Encode([]rune(p.Name)) {
			le.PutUint16(e[56+2*j:], unit)
		}
	}
	return b
}
