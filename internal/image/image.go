// Package image holds the nouns that everything else speaks of: a Tree (a root
// filesystem), a Disk (sparse sectors) and an Artifact (a finished file or a
// remote reference). It has no behaviour beyond what follows from them.
package image

import (
	"context"
	"fmt"
	"io"
	"time"
)

// SectorSize is the unit of a disk's addressing, in bytes.
const SectorSize = 512

// EntryType is the kind of one entry of a Tree.
type EntryType byte

// The entry types.
const (
	File EntryType = iota
	Directory
	Symlink
	Hardlink // Link names an entry that comes before it
	CharDevice
	BlockDevice
	FIFO
)

// String returns the type's name as the content manifest prints it.
func (t EntryType) String() string {
	names := [...]string{"file", "dir", "symlink", "hardlink", "char", "block", "fifo"}
	if int(t) < len(names) {
		return names[t]
	}
	return fmt.Sprintf("type(%d)", t)
}

// Entry is one member of a Tree.
type Entry struct {
	Path      string            // slash-separated, relative, clean; the root itself is "."
	Type      EntryType         //
	Mode      uint32            // permission bits with setuid 04000, setgid 02000 and sticky 01000
	UID, GID  int               // numeric owner
	SizeBytes int64             // of a File; zero for everything else
	ModTime   time.Time         // whole seconds in a canonical Tree
	Link      string            // target of a Symlink (as stored) or Hardlink (a Path)
	Major     int64             // of a device
	Minor     int64             // of a device
	Xattrs    map[string]string // name to raw value; nil when there are none
}

// Tree is a root filesystem, read-only and replayable.
type Tree interface {
	// Walk calls fn for every entry in bytewise order of Path, so a directory
	// precedes its content and a file its hard links; the root comes first.
	// content yields exactly SizeBytes for a File and is nil otherwise; it is
	// valid until fn returns and need not be read. Walk stops at the first
	// error, which it returns as it is.
	Walk(ctx context.Context, fn func(entry *Entry, content io.Reader) error) error
}

// Disk is a read-only block device image, sparse by contract. Implementations
// are safe for concurrent ReadAt.
type Disk interface {
	io.ReaderAt
	// Size is the virtual size in bytes, a multiple of SectorSize.
	Size() int64
	// NextExtent returns the first run [start, end) at or after offset that
	// may hold non-zero bytes. Everything outside extents reads as zero; an
	// extent may hold zeros too. It returns io.EOF when there is none left.
	NextExtent(offset int64) (start, end int64, err error)
}

// Kind is the form of an artifact.
type Kind string

// The kinds of artifact.
const (
	Box   Kind = "box"   // Vagrant box
	OVA   Kind = "ova"   // OVF package in a tar
	QCOW2 Kind = "qcow2" // QEMU disk image
	VMDK  Kind = "vmdk"  // VMware disk image
	Raw   Kind = "raw"   // plain sectors
	AMI   Kind = "ami"   // Amazon machine image, a remote reference
)

// Artifact is one result of a build.
type Artifact struct {
	Name      string `json:"name"`                // file name, or the remote object's name
	Kind      Kind   `json:"kind"`                //
	Platform  string `json:"platform"`            // target, as "virtualbox"
	Arch      string `json:"arch"`                // Debian spelling: amd64, arm64
	Path      string `json:"path,omitempty"`      // local file, relative to the output folder
	Provider  string `json:"provider,omitempty"`  // of a box, in Vagrant's spelling
	Reference string `json:"reference,omitempty"` // remote id, as "ami-0abc"
	Region    string `json:"region,omitempty"`    // where the remote object is, as "eu-west-1"
	SizeBytes int64  `json:"size_bytes"`          //
	SHA256    string `json:"sha256,omitempty"`    // of the file, lower-case hex
	Variant   string `json:"variant,omitempty"`   // which declared overlay the disk carries; empty for the canonical disk
}
