package image

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// zeros is never written to.
var zeros [64 << 10]byte

// IsZero reports whether p holds zero bytes only.
func IsZero(p []byte) bool {
	for len(p) > len(zeros) {
		if !bytes.Equal(p[:len(zeros)], zeros[:]) {
			return false
		}
		p = p[len(zeros):]
	}
	return bytes.Equal(p, zeros[:len(p)])
}

// ReadBlock fills p from the disk at offset. What lies beyond the disk's end
// is zero, so that a last, partial block can be read like any other.
func ReadBlock(disk Disk, p []byte, offset int64) error {
	want := p
	if left := disk.Size() - offset; int64(len(p)) > left {
		want = p[:max(left, 0)]
		clear(p[len(want):])
	}
	n, err := disk.ReadAt(want, offset)
	if n == len(want) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read disk at byte %d: %w", offset, err)
}

// Blocks walks the blocks of a disk that may hold data: each block that an
// extent touches, once, in ascending order.
type Blocks struct {
	disk     Disk
	size     int64
	position int64 // where the next block begins
	end      int64 // end of the extent at hand
}

// NewBlocks walks disk in aligned blocks of blockBytes.
func NewBlocks(disk Disk, blockBytes int64) *Blocks {
	return &Blocks{disk: disk, size: blockBytes}
}

// Next returns the offset of the next block in bytes, or io.EOF.
func (b *Blocks) Next() (int64, error) {
	if b.position >= b.end {
		if b.position >= b.disk.Size() {
			return 0, io.EOF
		}
		start, end, err := b.disk.NextExtent(b.position)
		if err != nil {
			if !errors.Is(err, io.EOF) {
				err = fmt.Errorf("find data after byte %d: %w", b.position, err)
			}
			return 0, err
		}
		if start < b.position || end <= start {
			return 0, fmt.Errorf("disk reports the extent [%d, %d) after byte %d", start, end, b.position)
		}
		b.position, b.end = start-start%b.size, min(end, b.disk.Size())
		if b.position >= b.end {
			return 0, io.EOF
		}
	}
	offset := b.position
	b.position += b.size
	return offset, nil
}
