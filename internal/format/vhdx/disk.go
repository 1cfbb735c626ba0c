package vhdx

import (
	"encoding/binary"
	"fmt"
	"io"
)

// States of a block. Section 2.5.1.1.
const (
	stateNotPresent = 0
	stateUndefined  = 1
	stateZero       = 2
	stateUnmapped   = 3
	statePresent    = 6
)

// Size is the virtual size in bytes.
func (d *Disk) Size() int64 { return d.size }

// place finds a block in the file: 0 if it holds nothing.
func (d *Disk) place(n int64) (int64, error) {
	entry := n + n/d.ratio // entries for bitmaps stand in between
	at := entry * 8
	page, ok := d.pages.Get(at / pageBytes)
	if !ok {
		start := at / pageBytes * pageBytes
		page = make([]byte, min(pageBytes, d.bat.length-start))
		if err := d.read(page, d.bat.offset+start); err != nil {
			return 0, err
		}
		d.pages.Put(at/pageBytes, page)
	}
	value := binary.LittleEndian.Uint64(page[at%pageBytes:])
	offset := value &^ (1<<20 - 1)
	switch state := value & 7; state {
	case stateNotPresent, stateUndefined, stateZero, stateUnmapped:
		return 0, nil
	case statePresent:
		if offset < 1<<20 || offset > uint64(d.fileBytes) || min(d.block, d.size-n*d.block) > d.fileBytes-int64(offset) {
			return 0, damaged(d.bat.offset+at, "block %d lies at byte %d of %d", n, offset, d.fileBytes)
		}
		return int64(offset), nil
	default:
		return 0, damaged(d.bat.offset+at, "block %d has the state %d", n, state)
	}
}

// ReadAt implements io.ReaderAt over the virtual disk.
func (d *Disk) ReadAt(p []byte, offset int64) (int, error) {
	if offset < 0 {
		return 0, fmt.Errorf("read VHDX: negative offset %d", offset)
	}
	done := 0
	for done < len(p) {
		at := offset + int64(done)
		if at >= d.size {
			return done, io.EOF
		}
		part := p[done:][:min(int64(len(p)-done), d.block-at%d.block, d.size-at)]
		place, err := d.place(at / d.block)
		if err == nil && place == 0 {
			clear(part)
		} else if err == nil {
			err = d.read(part, place+at%d.block)
		}
		if err != nil {
			return done, err
		}
		done += len(part)
	}
	return done, nil
}

// NextExtent implements image.Disk, to the block.
func (d *Disk) NextExtent(offset int64) (start, end int64, err error) {
	offset = max(offset, 0)
	if offset >= d.size {
		return 0, 0, io.EOF
	}
	found := int64(-1)
	last := (d.size-1)/d.block + 1
	for n := offset / d.block; n < last; n++ {
		place, err := d.place(n)
		if err != nil {
			return 0, 0, err
		}
		switch {
		case place != 0 && found < 0:
			found = n
		case place == 0 && found >= 0:
			last = n
		}
	}
	if found < 0 {
		return 0, 0, io.EOF
	}
	return max(found*d.block, offset), min(last*d.block, d.size), nil
}
