// Package mbr reads the partition tables that came before GUID partition
// tables: four primary partitions in sector 0, and a chain of logical ones
// inside an extended partition.
//
//	partitions, err := mbr.Read(disk, disk.Size())
//
// It writes nothing, and refuses tables whose partitions lie outside the disk,
// chains in a circle, and the protective table of a GUID partition table.
//
// Source: UEFI specification 2.10, section 5.2; the chain as Linux reads it
// (block/partitions/msdos.c).
package mbr

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/org/imagebuild-action/internal/fault"
)

// SectorSize is the unit of a table, in bytes.
const SectorSize = 512

// Types of partitions.
const (
	Extended      = 0x05
	ExtendedLBA   = 0x0f
	ExtendedLinux = 0x85
	Linux         = 0x83
	Swap          = 0x82
	LVM           = 0x8e
	RAID          = 0xfd
	EFISystem     = 0xef
	Protective    = 0xee
)

// maxLogical is what Linux has numbers for.
const maxLogical = 252

// ErrNone is a disk without a partition table of this kind.
var ErrNone = errors.New("no partition table")

// Partition is a primary or a logical partition. First and Last are sectors,
// both inside it.
type Partition struct {
	Number int // as Linux has it: logical ones begin with 5
	Type   byte
	First  int64
	Last   int64
	// ID is what udev calls its PARTUUID: the disk's signature and Number.
	ID string
}

// OffsetBytes is where the partition starts.
func (p Partition) OffsetBytes() int64 { return p.First * SectorSize }

// SizeBytes is the partition's size.
func (p Partition) SizeBytes() int64 { return (p.Last - p.First + 1) * SectorSize }

// Read returns the partitions that can hold something, in the order of their
// numbers. A boot sector of a file system looks much like a table: one without
// any partition, or with impossible ones, is ErrNone.
func Read(r io.ReaderAt, sizeBytes int64) ([]Partition, error) {
	sectors := sizeBytes / SectorSize
	table, signature, err := read(r, 0)
	if err != nil {
		return nil, err
	}
	var all []Partition
	for n, e := range table {
		if e.kind == Protective {
			return nil, fault.Errorf(fault.Input, "the disk says that it has a GUID partition table, and that is damaged; repair it with sgdisk or gdisk")
		}
		if e.kind == 0 || e.count == 0 {
			continue
		}
		p, err := e.partition(n+1, 0, sectors)
		if err != nil {
			return nil, ErrNone
		}
		p.ID = fmt.Sprintf("%08x-%02x", signature, p.Number)
		if !e.extended() {
			all = append(all, p)
			continue
		}
		logical, err := chain(r, p, sectors, signature)
		if err != nil {
			return nil, err
		}
		all = append(all, logical...)
	}
	if len(all) == 0 {
		return nil, ErrNone
	}
	slices.SortFunc(all, func(a, b Partition) int { return a.Number - b.Number })
	return all, nil
}

// chain follows the logical partitions: each has a table of its own with
// itself and the place of the next.
func chain(r io.ReaderAt, extended Partition, sectors int64, signature uint32) ([]Partition, error) {
	var all []Partition
	for at := extended.First; ; {
		table, _, err := read(r, at)
		if errors.Is(err, ErrNone) {
			return all, nil // an extended partition with nothing in it
		}
		if err != nil {
			return nil, err
		}
		next := int64(0)
		for n, e := range table[:2] {
			switch {
			case e.kind == 0 || e.count == 0:
			case e.extended() && n == 1:
				next = extended.First + int64(e.first)
			case !e.extended():
				p, err := e.partition(5+len(all), at, sectors)
				if err != nil {
					return nil, err
				}
				p.ID = fmt.Sprintf("%08x-%02x", signature, p.Number)
				all = append(all, p)
			}
		}
		switch {
		case next == 0:
			return all, nil
		case next <= at || next > extended.Last || len(all) >= maxLogical:
			return nil, fault.Errorf(fault.Input, "the logical partitions go on at sector %d after %d, which is no order", next, at)
		}
		at = next
	}
}

type entry struct {
	kind         byte
	first, count uint32
}

func (e entry) extended() bool {
	return e.kind == Extended || e.kind == ExtendedLBA || e.kind == ExtendedLinux
}

func (e entry) partition(number int, base, sectors int64) (Partition, error) {
	p := Partition{Number: number, Type: e.kind, First: base + int64(e.first)}
	p.Last = p.First + int64(e.count) - 1
	if e.first == 0 || p.Last >= sectors {
		return Partition{}, fault.Errorf(fault.Input, "partition %d goes from sector %d to %d on a disk of %d; the file is cut off", number, p.First, p.Last, sectors)
	}
	return p, nil
}

// read reads the table in one sector.
func read(r io.ReaderAt, sector int64) (table [4]entry, signature uint32, err error) {
	b := make([]byte, SectorSize)
	if n, err := r.ReadAt(b, sector*SectorSize); n < len(b) {
		if err == nil || errors.Is(err, io.EOF) {
			return table, 0, ErrNone
		}
		return table, 0, fmt.Errorf("read sector %d: %w", sector, err)
	}
	if b[510] != 0x55 || b[511] != 0xaa {
		return table, 0, ErrNone
	}
	le := binary.LittleEndian
	for n := range table {
		e := b[446+16*n:]
		table[n] = entry{e[4], le.Uint32(e[8:]), le.Uint32(e[12:])}
		if e[0]&0x7f != 0 { // neither active nor inactive: code or text
			return table, 0, ErrNone
		}
	}
	return table, le.Uint32(b[440:]), nil
}
