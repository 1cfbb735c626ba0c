// Package gpt writes and reads GUID partition tables of disks with 512-byte
// sectors: the protective MBR, the header and its backup, and the 128 entries
// of each (UEFI specification 2.10, section 5).
//
// It invents nothing: every GUID comes from the caller, so that the same table
// is the same bytes. It refuses partitions that overlap, do not start on a
// multiple of 1 MiB or reach into the tables, and disks with other sectors.
//
//	table := gpt.Table{DiskGUID: id, Sectors: size / gpt.SectorSize, Partitions: []gpt.Partition{
//		{Type: gpt.LinuxRootX86, GUID: root, First: gpt.AlignSectors, Last: gpt.LastUsable(sectors), Name: "root"},
//	}}
//	err := table.Write(disk, bootCode)
package gpt

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
	"unicode/utf16"
)

// Sizes in the units that their names say.
const (
	SectorSize   = 512  // bytes
	AlignSectors = 2048 // 1 MiB: right for every physical sector and erase block in use
	MaxEntries   = 128

	entryBytes    = 128
	tableSectors  = MaxEntries * entryBytes / SectorSize
	headerBytes   = 92
	firstUsable   = 2 + tableSectors
	minSectors    = 2*firstUsable + AlignSectors
	nameUnits     = 36 // UTF-16 code units in an entry's name
	signature     = "EFI PART"
	revision      = 0x00010000
	protectiveMBR = 0xee
)

// GUID is an identifier in its on-disk order: the first three fields little
// endian, the rest as written (UEFI specification, appendix A).
type GUID [16]byte

// The partition types that an image has.
var (
	BIOSBoot     = mustGUID("21686148-6449-6e6f-744e-656564454649")
	EFISystem    = mustGUID("c12a7328-f81f-11d2-ba4b-00a0c93ec93b")
	LinuxRootX86 = mustGUID("4f68bce3-e8cd-4db1-96e7-fbcaf984b709") // x86-64, Discoverable Partitions Specification
	LinuxData    = mustGUID("0fc63daf-8483-4772-8e79-3d69d8477de4")
)

// ParseGUID reads the usual text form, in either case.
func ParseGUID(text string) (GUID, error) {
	var g GUID
	parts := strings.Split(text, "-")
	raw, err := hex.DecodeString(strings.Join(parts, ""))
	if err != nil || len(raw) != len(g) || len(text) != 36 || len(parts) != 5 ||
		len(parts[0]) != 8 || len(parts[1]) != 4 || len(parts[2]) != 4 || len(parts[3]) != 4 {
		return GUID{}, fmt.Errorf("%q is not a GUID", text)
	}
	return swapped(raw), nil
}

// mustGUID is for the constants above, which a test parses with ParseGUID.
func mustGUID(text string) GUID {
	g, _ := ParseGUID(text)
	return g
}

// String returns the usual text form in lower case.
func (g GUID) String() string {
	s := swapped(g[:])
	return fmt.Sprintf("%x-%x-%x-%x-%x", s[0:4], s[4:6], s[6:8], s[8:10], s[10:16])
}

func swapped(in []byte) GUID {
	var g GUID
	copy(g[:], in)
	binary.LittleEndian.PutUint32(g[0:], binary.BigEndian.Uint32(in[0:]))
	binary.LittleEndian.PutUint16(g[4:], binary.BigEndian.Uint16(in[4:]))
	binary.LittleEndian.PutUint16(g[6:], binary.BigEndian.Uint16(in[6:]))
	return g
}

// Partition is one entry. First and Last are sectors, both inside it.
type Partition struct {
	Type       GUID
	GUID       GUID
	First      int64
	Last       int64
	Attributes uint64
	Name       string // at most 36 UTF-16 units
	Number     int    // from one on, as Read found it; Write numbers them in order
}

// OffsetBytes is where the partition starts.
func (p Partition) OffsetBytes() int64 { return p.First * SectorSize }

// SizeBytes is the partition's size.
func (p Partition) SizeBytes() int64 { return (p.Last - p.First + 1) * SectorSize }

// Table is a disk's partition table.
type Table struct {
	DiskGUID   GUID
	Sectors    int64 // of the disk
	Partitions []Partition
}

// LastUsable is the last sector that a partition may have on a disk of so many
// sectors, so that the partition's size is a multiple of 1 MiB.
func LastUsable(sectors int64) int64 {
	return (sectors-firstUsable+1)/AlignSectors*AlignSectors - 1
}

// Validate finds what would make the table unusable.
func (t Table) Validate() error {
	if t.Sectors < minSectors {
		return fmt.Errorf("a disk of %d sectors is too small for a partition table", t.Sectors)
	}
	if len(t.Partitions) > MaxEntries {
		return fmt.Errorf("%d partitions are more than the %d that fit", len(t.Partitions), MaxEntries)
	}
	for i, p := range t.Partitions {
		switch {
		case p.Type == GUID{} || p.GUID == GUID{}:
			return fmt.Errorf("partition %d: it has no type or no GUID", i+1)
		case p.First%AlignSectors != 0:
			return fmt.Errorf("partition %d: sector %d is not a multiple of %d", i+1, p.First, AlignSectors)
		case p.First < firstUsable || p.Last < p.First || p.Last > t.Sectors-firstUsable:
			return fmt.Errorf("partition %d: sectors %d to %d are not within %d to %d", i+1, p.First, p.Last, firstUsable, t.Sectors-firstUsable)
		case len(utf16.Encode([]rune(p.Name))) > nameUnits:
			return fmt.Errorf("partition %d: the name %q is longer than %d characters", i+1, p.Name, nameUnits)
		}
		for j, q := range t.Partitions[:i] {
			if p.GUID == q.GUID {
				return fmt.Errorf("partitions %d and %d have the same GUID", j+1, i+1)
			}
			if p.First <= q.Last && q.First <= p.Last {
				return fmt.Errorf("partitions %d and %d overlap", j+1, i+1)
			}
		}
	}
	return nil
}
