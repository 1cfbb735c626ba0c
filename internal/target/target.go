// Package target holds what all targets have in common: the hardware that an
// image is meant for, the identifiers that are derived from its plan, and what
// a target is given to pack a disk into files.
package target

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/org/imagebuild-action/internal/image"
	"github.com/org/imagebuild-action/internal/report"
	"github.com/org/imagebuild-action/internal/size"
)

// Firmware is what starts the machine.
type Firmware string

// The kinds of firmware.
const (
	BIOS Firmware = "bios"
	UEFI Firmware = "uefi"
)

// Controller is what the disk hangs on.
type Controller string

// The disk controllers, by their usual names.
const (
	AHCI       Controller = "ahci"
	IDE        Controller = "ide"
	PVSCSI     Controller = "pvscsi"
	LSILogic   Controller = "lsilogic"
	NVMe       Controller = "nvme"
	VirtioBlk  Controller = "virtio-blk"
	VirtioSCSI Controller = "virtio-scsi"
)

// NIC is a network card's model.
type NIC string

// The network cards.
const (
	E1000     NIC = "e1000"
	E1000E    NIC = "e1000e"
	VMXNet3   NIC = "vmxnet3"
	VirtioNet NIC = "virtio-net"
	ENA       NIC = "ena" // of EC2
)

// Hardware is the virtual machine that an artifact describes.
type Hardware struct {
	CPUs       int        `json:"cpus"`
	Memory     size.Bytes `json:"memory"`
	Firmware   Firmware   `json:"firmware"`
	Controller Controller `json:"controller"`
	NIC        NIC        `json:"nic"`
}

// Variants of the canonical disk.
const (
	Canonical = ""        // the image itself
	Vagrant   = "vagrant" // with the vagrant user and the public insecure key
)

// Identity derives every identifier of a build from its plan, so that none is
// random: the same identity and purpose give the same identifier.
type Identity [sha256.Size]byte

func (id Identity) derive(purpose string) [sha256.Size]byte {
	return sha256.Sum256(append(id[:], purpose...))
}

// UUID returns an RFC 9562 version 8 UUID in lower case.
func (id Identity) UUID(purpose string) string {
	b := id.derive("uuid:" + purpose)
	b[6], b[8] = b[6]&0x0f|0x80, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:16])
}

// Uint32 returns a non-zero number other than 0xffffffff.
func (id Identity) Uint32(purpose string) uint32 {
	b := id.derive("uint32:" + purpose)
	n := binary.BigEndian.Uint32(b[:])
	return min(max(n, 1), 0xfffffffe)
}

// RootUUID is the UUID of the root file system: what the disk carries, and what
// the boot loader and fstab look for.
func (id Identity) RootUUID() string { return id.UUID("root") }

// ESPVolumeID is the serial number of the EFI system partition's file system.
func (id Identity) ESPVolumeID() uint32 { return id.Uint32("esp") }

// MAC returns a unicast address with the vendor prefix given, as 12 upper-case
// hex digits.
func (id Identity) MAC(purpose string, oui [3]byte) string {
	b := id.derive("mac:" + purpose)
	return fmt.Sprintf("%X%X", oui[:], b[:3])
}

// Job is what a platform packs.
type Job struct {
	Name     string // of the image, as "golden"
	Version  string // as "1.2.3"
	Arch     string // as "amd64"
	OSName   string // what runs inside: "debian", "ubuntu"
	Release  string // "bookworm"
	Epoch    time.Time
	Identity Identity
	Dir      string // where the artifacts go, under their final names
	Disks    Disks
}

// Disks hands out the build's disks. Work that several platforms need is done
// once, whoever asks first.
type Disks interface {
	// Disk returns a variant's disk.
	Disk(ctx context.Context, variant string) (image.Disk, error)
	// StreamVMDK returns a variant's disk as a streamOptimized VMDK file.
	StreamVMDK(ctx context.Context, variant string, task report.Task) (VMDKFile, error)
}

// VMDKFile is a streamOptimized VMDK on disk, shared between platforms: read
// it, never change it.
type VMDKFile struct {
	Path           string
	SizeBytes      int64  // of the file
	CapacityBytes  int64  // of the virtual disk
	PopulatedBytes int64  // of the virtual disk's allocated grains
	SHA256         string // of the file, lower-case hex
}

// FileName returns the canonical name of an artifact: name-version-platform-arch.ext.
func (j Job) FileName(platform, ext string) string {
	return fmt.Sprintf("%s-%s-%s-%s.%s", j.Name, j.Version, platform, j.Arch, ext)
}
