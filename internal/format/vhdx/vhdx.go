// Package vhdx reads disk images of Hyper-V, fixed and dynamic ones.
//
//	disk, err := vhdx.Open(file, info.Size())
//
// It writes nothing. It refuses images that were not closed, whose log would
// have to be replayed; differencing disks, which draw on other files; sectors
// other than 512 bytes; regions and metadata that are required and unknown;
// and whatever contradicts itself or its checksums.
//
// Source: Microsoft's [MS-VHDX], version 8.0, whose sections are named below.
package vhdx

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/bits"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/fifo"
	"github.com/org/imagebuild-action/internal/image"
)

// Places and sizes in bytes. Section 2.2.
const (
	unitBytes   = 64 << 10
	header1     = 1 * unitBytes
	header2     = 2 * unitBytes
	headerBytes = 4 << 10
	regions1    = 3 * unitBytes
	regions2    = 4 * unitBytes
	tableBytes  = unitBytes

	mebibyte  = 1 << 20
	maxSize   = 64 << 40 // section 2.6.2.2
	pageBytes = 64 << 10 // of the table of blocks, read at once
	pages     = 16       // kept
)

// Disk is an image.Disk over a VHDX file.
type Disk struct {
	file      io.ReaderAt
	fileBytes int64
	size      int64 // virtual, bytes
	block     int64 // bytes
	ratio     int64 // blocks between two entries for bitmaps
	bat       region
	pages     *fifo.Cache[[]byte]
}

// region is a part of the file.
type region struct{ offset, length int64 }

func damaged(offset int64, format string, args ...any) error {
	return fault.Errorf(fault.Input, "VHDX is damaged at byte %d: %w", offset, fmt.Errorf(format, args...))
}

func refused(format string, args ...any) error {
	return fault.Errorf(fault.Input, "VHDX: %w", fmt.Errorf(format, args...))
}

// Open reads what describes the disk. Its errors are of kind Input.
func Open(r io.ReaderAt, sizeBytes int64) (*Disk, error) {
	d := &Disk{file: r, fileBytes: sizeBytes, pages: fifo.New[[]byte](pages)}
	magic := make([]byte, 8)
	if err := d.read(magic, 0); err != nil {
		return nil, err
	}
	if string(magic) != "vhdxfile" {
		return nil, refused("the file does not begin with vhdxfile")
	}
	if err := d.readHeaders(); err != nil {
		return nil, err
	}
	metadata, err := d.readRegions()
	if err != nil {
		return nil, err
	}
	if err := d.readMetadata(metadata); err != nil {
		return nil, err
	}
	d.ratio = (1 << 23) * image.SectorSize / d.block
	blocks := (d.size-1)/d.block + 1
	if entries := blocks + (blocks-1)/d.ratio; entries > d.bat.length/8 {
		return nil, damaged(d.bat.offset, "a table of %d bytes for %d blocks", d.bat.length, blocks)
	}
	return d, nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// sealed checks a structure's magic and its checksum, which stands at byte 4.
func sealed(b []byte, magic string) bool {
	sum := binary.LittleEndian.Uint32(b[4:])
	got := crc32.Update(crc32.Update(crc32.Update(0, castagnoli, b[:4]), castagnoli, make([]byte, 4)), castagnoli, b[8:])
	return string(b[:4]) == magic && sum == got
}

// readHeaders finds the current header (section 2.2.2) and sees that nothing
// is in the log.
func (d *Disk) readHeaders() error {
	le := binary.LittleEndian
	var current []byte
	for _, at := range []int64{header1, header2} {
		h := make([]byte, headerBytes)
		if err := d.read(h, at); err != nil {
			return err
		}
		if sealed(h, "head") && (current == nil || le.Uint64(h[8:]) > le.Uint64(current[8:])) {
			current = h
		}
	}
	switch {
	case current == nil:
		return damaged(header1, "neither header is whole")
	case le.Uint16(current[66:]) != 1:
		return refused("version %d is unknown", le.Uint16(current[66:]))
	case !image.IsZero(current[48:64]):
		return refused("the image was not closed, and its log has not been replayed; open it once in Hyper-V, or run qemu-img check -r all")
	}
	return nil
}

// guid is a GUID in its on-disk order.
type guid [16]byte

// Identifiers. Sections 2.2.3.2 and 2.6.2.
var ( //nolint:gochecknoglobals // constants
	idBAT            = guid{0x66, 0x77, 0xc2, 0x2d, 0x23, 0xf6, 0x00, 0x42, 0x9d, 0x64, 0x11, 0x5e, 0x9b, 0xfd, 0x4a, 0x08}
	idMetadata       = guid{0x06, 0xa2, 0x7c, 0x8b, 0x90, 0x47, 0x9a, 0x4b, 0xb8, 0xfe, 0x57, 0x5f, 0x05, 0x0f, 0x88, 0x6e}
	idFileParameters = guid{0x37, 0x67, 0xa1, 0xca, 0x36, 0xfa, 0x43, 0x4d, 0xb3, 0xb6, 0x33, 0xf0, 0xaa, 0x44, 0xe7, 0x6b}
	idSize           = guid{0x24, 0x42, 0xa5, 0x2f, 0x1b, 0xcd, 0x76, 0x48, 0xb2, 0x11, 0x5d, 0xbe, 0xd8, 0x3b, 0xf4, 0xb8}
	idDiskID         = guid{0xab, 0x12, 0xca, 0xbe, 0xe6, 0xb2, 0x23, 0x45, 0x93, 0xef, 0xc3, 0x09, 0xe0, 0x00, 0xc7, 0x46}
	idLogicalSector  = guid{0x1d, 0xbf, 0x41, 0x81, 0x6f, 0xa9, 0x09, 0x47, 0xba, 0x47, 0xf2, 0x33, 0xa8, 0xfa, 0xab, 0x5f}
	idPhysicalSector = guid{0xc7, 0x48, 0xa3, 0xcd, 0x5d, 0x44, 0x71, 0x44, 0x9c, 0xc9, 0xe9, 0x88, 0x52, 0x51, 0xc5, 0x56}
)

// readRegions finds the two regions, by the first table that is whole.
func (d *Disk) readRegions() (metadata region, err error) {
	le := binary.LittleEndian
	table := make([]byte, tableBytes)
	for _, at := range []int64{regions1, regions2} {
		if err := d.read(table, at); err != nil {
			return region{}, err
		}
		if sealed(table, "regi") {
			break
		}
		if at == regions2 {
			return region{}, damaged(regions1, "neither table of regions is whole")
		}
	}
	count := le.Uint32(table[8:])
	if count > 2047 {
		return region{}, damaged(regions1+8, "%d regions", count)
	}
	for n := range int64(count) {
		e := table[16+32*n:]
		offset, length := le.Uint64(e[16:]), le.Uint32(e[24:])
		if offset < mebibyte || offset%mebibyte != 0 || length%mebibyte != 0 || offset > uint64(d.fileBytes) || int64(length) > d.fileBytes-int64(offset) {
			return region{}, damaged(regions1+16+32*n, "a region of %d bytes at byte %d of %d", length, offset, d.fileBytes)
		}
		found := region{int64(offset), int64(length)}
		switch guid(e[:16]) {
		case idBAT:
			d.bat = found
		case idMetadata:
			metadata = found
		default:
			if le.Uint32(e[28:])&1 != 0 {
				return region{}, refused("it has a region that is required and unknown (%x)", e[:16])
			}
		}
	}
	if d.bat.offset == 0 || metadata.offset == 0 {
		return region{}, damaged(regions1, "there is no table of blocks, or no metadata")
	}
	return metadata, nil
}

// readMetadata reads the disk's properties. Section 2.6.
func (d *Disk) readMetadata(in region) error {
	le := binary.LittleEndian
	table := make([]byte, tableBytes)
	if err := d.read(table, in.offset); err != nil {
		return err
	}
	count := le.Uint16(table[10:])
	if string(table[:8]) != "metadata" || count > 2047 {
		return damaged(in.offset, "there is no table of %d metadata", count)
	}
	values := map[guid]uint64{}
	for n := range int64(count) {
		e := table[32+32*n:]
		id, offset, length, flags := guid(e[:16]), int64(le.Uint32(e[16:])), le.Uint32(e[20:]), le.Uint32(e[24:])
		switch id {
		case idFileParameters, idSize, idLogicalSector, idPhysicalSector:
		case idDiskID:
			continue
		default:
			if flags&4 != 0 {
				return refused("it has metadata that are required and unknown (%x)", e[:16])
			}
			continue
		}
		value := make([]byte, 8)
		if length != 4 && length != 8 || offset < tableBytes || offset+int64(length) > in.length {
			return damaged(in.offset+32+32*n, "an item of %d bytes at byte %d", length, offset)
		}
		if err := d.read(value[:length], in.offset+offset); err != nil {
			return err
		}
		values[id] = le.Uint64(value)
	}
	size, block, flags := values[idSize], values[idFileParameters]&(1<<32-1), values[idFileParameters]>>32
	switch {
	case flags&2 != 0:
		return refused("this is the difference to another file, which is not opened; merge it with its parent")
	case values[idLogicalSector] != image.SectorSize:
		return refused("sectors of %d bytes are not read, only of %d", values[idLogicalSector], image.SectorSize)
	case size == 0 || size > maxSize || size%image.SectorSize != 0:
		return damaged(in.offset, "a virtual size of %d bytes", size)
	case block < mebibyte || block > 256*mebibyte || bits.OnesCount64(block) != 1:
		return damaged(in.offset, "blocks of %d bytes", block)
	}
	d.size, d.block = int64(size), int64(block)
	return nil
}

func (d *Disk) read(p []byte, offset int64) error {
	n, err := d.file.ReadAt(p, offset)
	switch {
	case n == len(p):
		return nil
	case err == nil, errors.Is(err, io.EOF):
		return damaged(offset+int64(n), "the file ends here")
	}
	return fmt.Errorf("read VHDX at byte %d: %w", offset, err)
}
