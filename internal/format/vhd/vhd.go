// Package vhd reads disk images of Virtual PC and Hyper-V's first generation:
// fixed ones, which are a raw disk with a footer, and dynamic ones, which hold
// the blocks that were written to.
//
//	disk, err := vhd.Open(file, info.Size())
//
// It writes nothing, and refuses differencing disks, which draw on other
// files, and whatever contradicts itself or its checksums.
//
// Source: Microsoft's "Virtual Hard Disk Image Format Specification", 2006.
package vhd

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/fifo"
	"github.com/org/imagebuild-action/internal/image"
)

const (
	footerBytes = 512
	footerMagic = "conectix"
	headerBytes = 1024
	headerMagic = "cxsparse"

	typeFixed        = 2
	typeDynamic      = 3
	typeDifferencing = 4

	unused        = 0xffffffff // an entry of the table of blocks
	maxBlocks     = 4 << 20    // bounds the memory for the table: 16 MiB
	maxBlockBytes = 256 << 20
	cachedBitmaps = 64
)

// Magic is how the footer begins, which a dynamic disk has at its beginning
// too.
const Magic = footerMagic

// Disk is an image.Disk over a VHD file.
type Disk struct {
	file  io.ReaderAt
	size  int64 // virtual, bytes
	end   int64 // of the file, before its footer
	table []uint32
	block int64 // bytes; 0 for a fixed disk

	bitmap  int64 // bytes before a block's data
	bitmaps *fifo.Cache[[]byte]
}

func damaged(offset int64, format string, args ...any) error {
	return fault.Errorf(fault.Input, "VHD is damaged at byte %d: %w", offset, fmt.Errorf(format, args...))
}

// Has tells whether a file of sizeBytes ends like a VHD.
func Has(r io.ReaderAt, sizeBytes int64) bool {
	magic := make([]byte, len(footerMagic))
	if sizeBytes < footerBytes {
		return false
	}
	n, _ := r.ReadAt(magic, sizeBytes-footerBytes)
	return n == len(magic) && string(magic) == footerMagic
}

// Open reads the footer and, of a dynamic disk, the table of blocks. Its errors
// are of kind Input.
func Open(r io.ReaderAt, sizeBytes int64) (*Disk, error) {
	d := &Disk{file: r, end: sizeBytes - footerBytes}
	if !Has(r, sizeBytes) {
		return nil, fault.Errorf(fault.Input, "VHD: the file does not end with a footer; it is cut off, or no VHD")
	}
	footer := make([]byte, footerBytes)
	if err := d.read(footer, d.end); err != nil {
		return nil, err
	}
	be := binary.BigEndian
	if be.Uint32(footer[64:]) != checksum(footer, 64) {
		return nil, damaged(d.end+64, "the footer's checksum is wrong")
	}
	size, kind := be.Uint64(footer[48:]), be.Uint32(footer[60:])
	if size == 0 || size > 1<<50 || size%image.SectorSize != 0 {
		return nil, damaged(d.end+48, "a virtual size of %d bytes", size)
	}
	d.size = int64(size)
	switch kind {
	case typeFixed:
		if d.size > d.end {
			return nil, damaged(d.end+48, "a disk of %d bytes in a file of %d", d.size, sizeBytes)
		}
		return d, nil
	case typeDynamic:
		return d, d.readHeader(be.Uint64(footer[16:]))
	case typeDifferencing:
		return nil, fault.Errorf(fault.Input, "VHD: this is the difference to another file, which is not opened; merge it with its parent")
	}
	return nil, fault.Errorf(fault.Input, "VHD: disks of type %d are not read; only fixed and dynamic ones", kind)
}

// checksum is the complement of the sum of all bytes but its own four.
func checksum(b []byte, at int) uint32 {
	sum := uint32(0)
	for n, each := range b {
		if n < at || n >= at+4 {
			sum += uint32(each)
		}
	}
	return ^sum
}

func (d *Disk) readHeader(offset uint64) error {
	if offset > uint64(d.end) || d.end-int64(offset) < headerBytes {
		return damaged(d.end+16, "its header is at byte %d", offset)
	}
	at := int64(offset)
	h := make([]byte, headerBytes)
	if err := d.read(h, at); err != nil {
		return err
	}
	be := binary.BigEndian
	entries, block, table := be.Uint32(h[28:]), be.Uint32(h[32:]), be.Uint64(h[16:])
	switch {
	case !bytes.HasPrefix(h, []byte(headerMagic)):
		return damaged(at, "there is no header")
	case be.Uint32(h[36:]) != checksum(h, 36):
		return damaged(at+36, "the header's checksum is wrong")
	case block < image.SectorSize || block > maxBlockBytes || bits.OnesCount32(block) != 1:
		return damaged(at+32, "blocks of %d bytes", block)
	}
	d.block = int64(block)
	d.bitmap = (d.block/image.SectorSize/8 + image.SectorSize - 1) / image.SectorSize * image.SectorSize
	need := (d.size-1)/d.block + 1
	switch {
	case need > maxBlocks:
		return fault.Errorf(fault.Input, "VHD: %d blocks are more than the %d that are read", need, maxBlocks)
	case int64(entries) < need:
		return damaged(at+28, "a table of %d blocks for a disk of %d", entries, need)
	case table > uint64(d.end) || need*4 > d.end-int64(table):
		return damaged(at+16, "a table of %d blocks at byte %d of %d", need, table, d.end)
	}
	raw := make([]byte, need*4)
	if err := d.read(raw, int64(table)); err != nil {
		return err
	}
	d.table, d.bitmaps = make([]uint32, need), fifo.New[[]byte](cachedBitmaps)
	for n := range d.table {
		entry := be.Uint32(raw[n*4:])
		if entry != unused && int64(entry)*image.SectorSize > d.end-d.bitmap-d.used(int64(n)) {
			return damaged(int64(table)+int64(n)*4, "block %d lies at sector %d of %d", n, entry, d.end/image.SectorSize)
		}
		d.table[n] = entry
	}
	return nil
}

// used is how much of a block is inside the disk.
func (d *Disk) used(n int64) int64 { return min(d.block, d.size-n*d.block) }

func (d *Disk) read(p []byte, offset int64) error {
	n, err := d.file.ReadAt(p, offset)
	switch {
	case n == len(p):
		return nil
	case err == nil, errors.Is(err, io.EOF):
		return damaged(offset+int64(n), "the file ends here")
	}
	return fmt.Errorf("read VHD at byte %d: %w", offset, err)
}

// Size is the virtual size in bytes.
func (d *Disk) Size() int64 { return d.size }

// ReadAt implements io.ReaderAt over the virtual disk.
func (d *Disk) ReadAt(p []byte, offset int64) (int, error) {
	if offset < 0 {
		return 0, fmt.Errorf("read VHD: negative offset %d", offset)
	}
	done := 0
	for done < len(p) {
		at := offset + int64(done)
		if at >= d.size {
			return done, io.EOF
		}
		part := p[done:][:min(int64(len(p)-done), d.size-at)]
		if d.block > 0 {
			part = part[:min(int64(len(part)), d.block-at%d.block)]
			if err := d.readBlock(part, at/d.block, at%d.block); err != nil {
				return done, err
			}
		} else if err := d.read(part, at); err != nil {
			return done, err
		}
		done += len(part)
	}
	return done, nil
}

// readBlock fills p from within a block. Sectors that its bitmap does not name
// were never written to, whatever is in their place.
func (d *Disk) readBlock(p []byte, n, within int64) error {
	if d.table[n] == unused {
		clear(p)
		return nil
	}
	at := int64(d.table[n]) * image.SectorSize
	bitmap, ok := d.bitmaps.Get(n)
	if !ok {
		bitmap = make([]byte, d.bitmap)
		if err := d.read(bitmap, at); err != nil {
			return err
		}
		d.bitmaps.Put(n, bitmap)
	}
	if err := d.read(p, at+d.bitmap+within); err != nil {
		return err
	}
	for done := int64(0); done < int64(len(p)); {
		sector := (within + done) / image.SectorSize
		end := min((sector+1)*image.SectorSize-within, int64(len(p)))
		if bitmap[sector/8]&(0x80>>(sector%8)) == 0 {
			clear(p[done:end])
		}
		done = end
	}
	return nil
}

// NextExtent implements image.Disk, to the block. Of a fixed disk it is all.
func (d *Disk) NextExtent(offset int64) (start, end int64, err error) {
	offset = max(offset, 0)
	if offset >= d.size {
		return 0, 0, io.EOF
	}
	if d.block == 0 {
		return offset, d.size, nil
	}
	for n := offset / d.block; n < int64(len(d.table)); n++ {
		if d.table[n] == unused {
			continue
		}
		last := n + 1
		for last < int64(len(d.table)) && d.table[last] != unused {
			last++
		}
		return max(n*d.block, offset), min(last*d.block, d.size), nil
	}
	return 0, 0, io.EOF
}
