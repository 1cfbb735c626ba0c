// Package fat writes FAT32 file systems for EFI system partitions (Microsoft
// FAT specification, 2004; UEFI specification 2.10, section 13.3), and reads
// FAT file systems of all kinds.
//
// The same arguments give the same bytes: no clock, no random serial number.
// It refuses names that are not upper-case 8.3, sizes under MinBytes (where
// FAT32 would have too few clusters to be FAT32). What it reads it shows as a
// Tree; there it refuses what contradicts itself.
//
//	err := fat.Write(io.NewOffsetWriter(disk, esp.OffsetBytes()), fat.Options{
//		SizeBytes: esp.SizeBytes(), VolumeID: id, Label: "ESP", Time: epoch,
//		Files: []fat.File{{Path: "EFI/BOOT/BOOTX64.EFI", Content: loader}},
//	})
package fat

import (
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

const (
	sectorBytes     = 512
	reservedSectors = 32
	fats            = 2
	rootCluster     = 2
	minClusters     = 65525 // below, a driver takes it for FAT16
	mediaFixed      = 0xf8
	endOfChain      = 0x0fffffff
	entryBytes      = 32

	attrVolume    = 0x08
	attrDirectory = 0x10
	attrArchive   = 0x20

	backupBootSector = 6
)

// MinBytes and MaxBytes bound a file system: one sector a cluster.
const (
	MinBytes = 34 << 20
	MaxBytes = 256 << 20
)

// File is one file. Its directories are made.
type File struct {
	Path    string // as "EFI/BOOT/BOOTX64.EFI"
	Content []byte
}

// Options say what to write.
type Options struct {
	SizeBytes   int64  // of the file system, a multiple of 512
	HiddenBytes int64  // what precedes it on the disk
	VolumeID    uint32 // printed as "1234-ABCD"
	Label       string // at most 11 characters
	Time        time.Time
	Files       []File
}

// FormatID prints a volume's serial number as blkid and fstab have it.
func FormatID(id uint32) string { return fmt.Sprintf("%04X-%04X", id>>16, id&0xffff) }

type volume struct {
	Options
	w          io.WriterAt
	fatSectors int64
	clusters   int64
	table      []uint32 // the used start of the allocation table
}

type node struct {
	name     [11]byte
	file     *File
	children []*node
	cluster  uint32
}

// Write writes the file system to w, which reads as zeros so far.
func Write(w io.WriterAt, o Options) error {
	if o.SizeBytes < MinBytes || o.SizeBytes > MaxBytes || o.SizeBytes%sectorBytes != 0 {
		return fmt.Errorf("a FAT32 file system of %d bytes: it must have %d to %d, in whole sectors", o.SizeBytes, MinBytes, MaxBytes)
	}
	if len(o.Label) > 11 || o.Label != strings.ToUpper(o.Label) {
		return fmt.Errorf("%q is not a FAT label", o.Label)
	}
	v := &volume{Options: o, w: w, table: []uint32{0x0fffff00 | mediaFixed, endOfChain}}
	sectors := o.SizeBytes / sectorBytes
	// Each sector of a table describes 128 clusters of one sector.
	v.fatSectors = (sectors - reservedSectors + 2 + 127 + fats) / (128 + fats)
	v.clusters = sectors - reservedSectors - fats*v.fatSectors
	root, err := o.tree()
	if err != nil {
		return err
	}
	if err := v.allocate(root); err != nil {
		return err
	}
	if err := v.store(root, 0, true); err != nil {
		return err
	}
	return v.finish()
}

func (o Options) tree() (*node, error) {
	root := &node{}
	for i := range o.Files {
		at := root
		parts := strings.Split(o.Files[i].Path, "/")
		for j, part := range parts {
			name, err := shortName(part)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", o.Files[i].Path, err)
			}
			k := slices.IndexFunc(at.children, func(n *node) bool { return n.name == name })
			last := j == len(parts)-1
			if k >= 0 && (last || at.children[k].file != nil) {
				return nil, fmt.Errorf("%s: it is there twice", o.Files[i].Path)
			}
			if k < 0 {
				at.children = append(at.children, &node{name: name})
				k = len(at.children) - 1
			}
			at = at.children[k]
		}
		at.file = &o.Files[i]
	}
	return root, nil
}

// shortName returns a name as directories hold it: blanks for the missing.
func shortName(name string) (out [11]byte, err error) {
	copy(out[:], "           ")
	base, ext, _ := strings.Cut(name, ".")
	ok := func(r rune) bool { return 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '_' || r == '-' }
	if base == "" || len(base) > 8 || len(ext) > 3 || strings.ContainsFunc(base+ext, func(r rune) bool { return !ok(r) }) {
		return out, fmt.Errorf("%q is not an upper-case 8.3 name", name)
	}
	copy(out[:8], base)
	copy(out[8:], ext)
	return out, nil
}

// allocate gives n and all below it their clusters, in order and in one piece.
func (v *volume) allocate(n *node) error {
	bytes := int64(len(n.children)+2) * entryBytes
	if n.file != nil {
		bytes = int64(len(n.file.Content))
	}
	count := (bytes + sectorBytes - 1) / sectorBytes
	if int64(len(v.table))+count > v.clusters+2 {
		return fmt.Errorf("the files do not fit into a FAT file system of %d bytes", v.SizeBytes)
	}
	for i := range count {
		next := uint32(len(v.table) + 1)
		if i == 0 {
			n.cluster = next - 1
		}
		if i == count-1 {
			next = endOfChain
		}
		v.table = append(v.table, next)
	}
	for _, child := range n.children {
		if err := v.allocate(child); err != nil {
			return err
		}
	}
	return nil
}

func (v *volume) store(n *node, parent uint32, isRoot bool) error {
	data := []byte(nil)
	switch {
	case n.file != nil:
		data = n.file.Content
	case isRoot:
		if v.Label != "" {
			data = append(data, v.entry([11]byte([]byte(pad(v.Label))), attrVolume, 0, 0)...)
		}
	default:
		data = append(data, v.entry([11]byte([]byte(pad("."))), attrDirectory, n.cluster, 0)...)
		data = append(data, v.entry([11]byte([]byte(pad(".."))), attrDirectory, parent, 0)...)
	}
	up := n.cluster
	if isRoot {
		up = 0 // the root is cluster 0 in its children's ".."
	}
	for _, child := range n.children {
		if child.file != nil {
			data = append(data, v.entry(child.name, attrArchive, child.cluster, uint32(len(child.file.Content)))...)
		} else {
			data = append(data, v.entry(child.name, attrDirectory, child.cluster, 0)...)
		}
		if err := v.store(child, up, false); err != nil {
			return err
		}
	}
	if len(data) == 0 {
		return nil
	}
	return v.writeSector(reservedSectors+fats*v.fatSectors+int64(n.cluster)-rootCluster, data)
}

func pad(name string) string { return fmt.Sprintf("%-11s", name) }

func (v *volume) entry(name [11]byte, attr byte, cluster, size uint32) []byte {
	b := make([]byte, entryBytes)
	le := binary.LittleEndian
	copy(b, name[:])
	b[11] = attr
	t := v.Time.UTC()
	date, clock := uint16(1<<5|1), uint16(0) // 1980-01-01, the earliest there is
	if t.Year() >= 1980 && t.Year() <= 2107 {
		date = uint16(t.Year()-1980)<<9 | uint16(t.Month())<<5 | uint16(t.Day())
		clock = uint16(t.Hour())<<11 | uint16(t.Minute())<<5 | uint16(t.Second()/2)
	}
	le.PutUint16(b[14:], clock) // created
	le.PutUint16(b[16:], date)
	le.PutUint16(b[18:], date)  // accessed
	le.PutUint16(b[22:], clock) // written
	le.PutUint16(b[24:], date)
	le.PutUint16(b[20:], uint16(cluster>>16))
	le.PutUint16(b[26:], uint16(cluster))
	le.PutUint32(b[28:], size)
	return b
}

func (v *volume) writeSector(sector int64, data []byte) error {
	if _, err := v.w.WriteAt(data, sector*sectorBytes); err != nil {
		return fmt.Errorf("write FAT file system at sector %d: %w", sector, err)
	}
	return nil
}
