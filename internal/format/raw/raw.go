// Package raw is a plain disk image in a sparse file: sector n at byte n*512,
// and nothing else. It keeps holes holes, in both directions.
//
// It refuses files that are not a whole number of sectors, and anything that
// is not a regular file.
//
//	disk, err := raw.Open("disk.raw")
//	defer disk.Close()
//	digest, err := raw.Digest(ctx, disk)
package raw

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/org/imagebuild-action/internal/image"
	"github.com/org/imagebuild-action/internal/run"
)

// Disk is an image.Disk over a file.
type Disk struct {
	file *os.File
	size int64
}

// Open opens a raw disk image for reading. Its size is taken now.
func Open(path string) (*Disk, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, run.Explain(err)
	}
	disk, err := New(file)
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return disk, nil
}

// New makes a disk of an open file, which it owns from then on.
func New(file *os.File) (*Disk, error) {
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	name := filepath.Base(file.Name())
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", name)
	}
	if info.Size() == 0 || info.Size()%image.SectorSize != 0 {
		return nil, fmt.Errorf("%s has %d bytes, which is not a whole number of %d-byte sectors", name, info.Size(), image.SectorSize)
	}
	return &Disk{file: file, size: info.Size()}, nil
}

// Size is the disk's size in bytes.
func (d *Disk) Size() int64 { return d.size }

// ReadAt implements io.ReaderAt, up to Size.
func (d *Disk) ReadAt(p []byte, offset int64) (int, error) {
	if offset >= d.size {
		return 0, io.EOF
	}
	if left := d.size - offset; int64(len(p)) > left {
		n, err := d.file.ReadAt(p[:left], offset)
		if err == nil {
			err = io.EOF
		}
		return n, err
	}
	return d.file.ReadAt(p, offset)
}

// NextExtent asks the file system for the next run of data. On a file system
// that does not know holes everything is one extent, which is always true.
func (d *Disk) NextExtent(offset int64) (start, end int64, err error) {
	if offset >= d.size {
		return 0, 0, io.EOF
	}
	// The position that SEEK_DATA moves is used by nothing else.
	start, err = d.file.Seek(offset, unix.SEEK_DATA)
	switch {
	case errors.Is(err, unix.ENXIO):
		return 0, 0, io.EOF // only a hole up to the end
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOTSUP):
		return offset, d.size, nil
	case err != nil:
		return 0, 0, err
	}
	if end, err = d.file.Seek(start, unix.SEEK_HOLE); err != nil {
		return 0, 0, err
	}
	if start >= d.size {
		return 0, 0, io.EOF
	}
	return start, min(end, d.size), nil
}

// Close closes the file.
func (d *Disk) Close() error { return d.file.Close() }
