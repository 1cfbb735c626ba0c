package raw

import "bytes"

// Format is how a file holds a disk or a package of disks.
type Format string

// The formats that Detect tells apart. NoMagic is anything else: a raw disk
// has no magic of its own.
const (
	NoMagic        Format = ""
	BootRecord     Format = "raw"             // a master boot record's signature
	VMDK           Format = "vmdk"            // a hosted sparse extent
	VMDKDescriptor Format = "vmdk-descriptor" // text that names extents in other files
	QCOW2          Format = "qcow2"
	VHDX           Format = "vhdx"
	VHD            Format = "vhd" // dynamic only: a fixed one has its magic at the end
	VDI            Format = "vdi"
	Tar            Format = "tar" // an OVA, or a box that is not compressed
	Gzip           Format = "gzip"
	XZ             Format = "xz"
	Zstd           Format = "zstd"
)

var magics = []struct {
	format Format
	offset int
	magic  string
}{
	{VMDK, 0, "KDMV"},
	{VMDKDescriptor, 0, "# Disk DescriptorFile"},
	{QCOW2, 0, "QFI\xfb"},
	{VHDX, 0, "vhdxfile"},
	{VHD, 0, "conectix"},
	{VDI, 0x40, "\x7f\x10\xda\xbe"},
	{Gzip, 0, "\x1f\x8b"},
	{XZ, 0, "\xfd7zXZ\x00"},
	{Zstd, 0, "\x28\xb5\x2f\xfd"},
	{Tar, 257, "ustar"},
	{BootRecord, 510, "\x55\xaa"},
}

// DetectBytes is how much of a file's beginning Detect wants to see.
const DetectBytes = 512

// Detect names the format of a file by its first DetectBytes bytes, or all of
// a shorter file. It promises nothing about the rest.
func Detect(header []byte) Format {
	for _, each := range magics {
		if len(header) >= each.offset && bytes.HasPrefix(header[each.offset:], []byte(each.magic)) {
			return each.format
		}
	}
	return NoMagic
}
