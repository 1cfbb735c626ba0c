package extract

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/format/ext4"
	"github.com/org/imagebuild-action/internal/format/fat"
	"github.com/org/imagebuild-action/internal/format/gpt"
	"github.com/org/imagebuild-action/internal/format/mbr"
	"github.com/org/imagebuild-action/internal/image"
)

// rootTypes are the partition types that say "this is the root"
// (Discoverable Partitions Specification).
var rootTypes = map[string]bool{ //nolint:gochecknoglobals // a constant table
	gpt.LinuxRootX86.String():              true, // amd64
	"b921b045-1df0-41c3-af44-4c6f280d3fae": true, // arm64
}

// volume is a partition, or a disk without partitions, and what is in it.
type volume struct {
	number      int  // 0 is the whole disk
	isRoot      bool // by its type, as is isRAID
	isRAID      bool
	partUUID    string // in lower case
	partLabel   string
	kind        kind
	uuid, label string   // of the file system, as far as they are known here
	fs          *ext4.FS // one that may hold the root
	other       *fat.FS  // one that may only be mounted on it
	err         error    // why it cannot be read
}

func (v *volume) String() string {
	if v.number == 0 {
		return "the disk"
	}
	return fmt.Sprintf("partition %d", v.number)
}

func (v *volume) describe() string {
	return fmt.Sprintf("%s, which holds %s", v, v.kind)
}

// kind is what a volume holds, as a message names it.
type kind string

const (
	kindExt     kind = "ext4"
	kindFAT     kind = "a FAT file system"
	kindSwap    kind = "swap space"
	kindRAID    kind = "RAID"
	kindUnknown kind = "something unknown"
)

// raidType is the partition type of RAID members, whose magic may be at their
// end, so that they look like what is in them.
const raidType = "a19d880f-05fc-4d3b-a006-743f0f84911e"

// kinds are recognised by their magic, those that contain others first.
var kinds = []struct { //nolint:gochecknoglobals // a constant table
	kind   kind
	offset int64
	magic  string
}{
	{"LUKS encryption", 0, "LUKS\xba\xbe"},
	{"LVM", 512, "LABELONE"},
	{"LVM", 0, "LABELONE"},
	{kindRAID, 4096, "\xfc\x4e\x2b\xa9"},
	{kindRAID, 0, "\xfc\x4e\x2b\xa9"},
	{"Btrfs", 65536 + 64, "_BHRfS_M"},
	{"XFS", 0, "XFSB"},
	{kindExt, 1024 + 56, "\x53\xef"},
	{kindSwap, 4086, "SWAPSPACE2"},
	{kindFAT, 82, "FAT32"},
	{kindFAT, 54, "FAT1"},
	{"NTFS", 3, "NTFS"},
	{"F2FS", 1024, "\x10\x20\xf5\xf2"},
	{"SquashFS", 0, "hsqs"},
	{"EROFS", 1024, "\xe2\xe1\xf5\xe0"},
	{"ZFS", 128 << 10, "\x0c\xb1\xba\x00"},
	{"BitLocker encryption", 3, "-FVE-FS-"},
	{"ISO 9660", 32769, "CD001"},
}

// find lists the volumes of a disk.
func find(disk image.Disk) ([]*volume, error) {
	table, err := gpt.Read(disk, disk.Size())
	switch {
	case err == nil:
		var all []*volume
		for _, p := range table.Partitions {
			v := &volume{number: p.Number, isRoot: rootTypes[p.Type.String()], partUUID: p.GUID.String(), partLabel: p.Name}
			v.isRAID = p.Type.String() == raidType
			all = append(all, v.look(disk, p.OffsetBytes(), p.SizeBytes()))
		}
		return all, nil
	case !errors.Is(err, gpt.ErrNone):
		return nil, fault.Wrap(fault.Input, fmt.Errorf("the disk's partition table: %w", err))
	}
	partitions, err := mbr.Read(disk, disk.Size())
	switch {
	case errors.Is(err, mbr.ErrNone):
		return []*volume{(&volume{}).look(disk, 0, disk.Size())}, nil
	case err != nil:
		return nil, fmt.Errorf("the disk's partition table: %w", err)
	}
	var all []*volume
	for _, p := range partitions {
		v := &volume{number: p.Number, partUUID: p.ID, isRAID: p.Type == mbr.RAID}
		all = append(all, v.look(disk, p.OffsetBytes(), p.SizeBytes()))
	}
	return all, nil
}

// look finds out what a volume holds.
func (v *volume) look(disk image.Disk, offset, sizeBytes int64) *volume {
	section := io.NewSectionReader(disk, offset, sizeBytes)
	if v.isRAID {
		v.kind = kindRAID
		return v
	}
	v.kind = kindUnknown
	for _, each := range kinds {
		magic := make([]byte, len(each.magic))
		if _, err := section.ReadAt(magic, each.offset); err != nil && !errors.Is(err, io.EOF) {
			v.err = err
			return v
		}
		if bytes.Equal(magic, []byte(each.magic)) {
			v.kind = each.kind
			break
		}
	}
	switch v.kind {
	case kindFAT:
		if v.other, v.err = fat.Open(section, sizeBytes); v.err != nil {
			v.other = nil
			return v
		}
		v.uuid, v.label = v.other.ID(), v.other.Label()
	case kindExt:
		if v.fs, v.err = ext4.Open(section, sizeBytes); v.err != nil {
			v.fs = nil
			return v
		}
		v.uuid, v.label = v.fs.UUID(), v.fs.Label()
	}
	return v
}

// mountable is what can be mounted of the volume; nil if it cannot be read.
func (v *volume) mountable() fileSystem {
	switch {
	case v.fs != nil:
		return v.fs
	case v.other != nil:
		return v.other
	}
	return nil
}

// chooseRoot finds the volume with the root: by its type or, where none has
// the type, by what is in it.
func chooseRoot(volumes []*volume) (*volume, error) {
	var roots []*volume
	for _, v := range volumes {
		if v.isRoot {
			roots = append(roots, v)
		}
	}
	if len(roots) == 0 {
		for _, v := range volumes {
			if v.err == nil && v.fs != nil && v.hasSystem() {
				roots = append(roots, v)
			}
		}
	}
	switch {
	case len(roots) > 1:
		return nil, fault.Errorf(fault.Input, "the disk has more than one root file system (%s); %s", names(roots), remedy)
	case len(roots) == 0:
		return nil, noRoot(volumes)
	case roots[0].err != nil:
		return nil, fmt.Errorf("%s: %w", roots[0], roots[0].err)
	case roots[0].fs == nil:
		return nil, fault.Errorf(fault.Input, "the root is in %s, which is not read; %s", roots[0].describe(), remedy)
	}
	return roots[0], nil
}

// hasSystem tells whether it looks like a root: /etc, and /usr or /sbin.
func (v *volume) hasSystem() bool {
	for _, one := range [][]string{{"etc"}, {"usr", "sbin"}} {
		found := false
		for _, name := range one {
			e, err := v.fs.Lookup(name)
			if err != nil && !isMissing(err) {
				v.err = err
				return false
			}
			found = found || err == nil && (e.Type == image.Directory || name == "sbin")
		}
		if !found {
			return false
		}
	}
	return true
}

// noRoot says what is there instead.
func noRoot(volumes []*volume) error {
	for _, v := range volumes {
		if v.err != nil && v.kind != kindFAT {
			return fmt.Errorf("%s: %w", v, v.err)
		}
	}
	var others []string
	for _, v := range volumes {
		switch v.kind {
		case kindExt, kindFAT, kindSwap, kindUnknown:
		default:
			others = append(others, fmt.Sprintf("%s holds %s", v, v.kind))
		}
	}
	if len(others) > 0 {
		return fault.Errorf(fault.Input, "the disk has no root file system that can be read: %s; %s", strings.Join(others, ", "), remedy)
	}
	return fault.Errorf(fault.Input, "the disk has no root file system: no ext4 partition holds /etc and /usr; is it the disk of a system?")
}

func names(volumes []*volume) string {
	var all []string
	for _, v := range volumes {
		all = append(all, v.String())
	}
	return strings.Join(all, ", ")
}
