package raw

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"

	"github.com/org/imagebuild-action/internal/image"
	"github.com/org/imagebuild-action/internal/ordered"
	"github.com/org/imagebuild-action/internal/run"
)

const (
	// copyBytes is what one worker reads at a time.
	copyBytes = 1 << 20
	// holeBytes is the least run of zeros that becomes a hole: the block size
	// of the file systems that people use.
	holeBytes = 4 << 10
)

// Writer is a raw disk in the making, for this process's own use: what leaves
// it is packed. It has its final name only after Commit; Abort removes it, and
// is harmless after Commit.
type Writer struct {
	*run.File
	size int64
}

// Create starts a raw disk of sizeBytes, all of it a hole.
func Create(path string, sizeBytes int64) (*Writer, error) {
	if sizeBytes <= 0 || sizeBytes%image.SectorSize != 0 {
		return nil, fmt.Errorf("a disk of %d bytes is not a whole number of %d-byte sectors", sizeBytes, image.SectorSize)
	}
	file, err := run.CreateScratch(path)
	if err != nil {
		return nil, err
	}
	if err := file.Truncate(sizeBytes); err != nil {
		file.Abort()
		return nil, run.Explain(err)
	}
	return &Writer{File: file, size: sizeBytes}, nil
}

// Size is the disk's size in bytes.
func (w *Writer) Size() int64 { return w.size }

// WriteAt writes p and skips its blocks of zeros. It is for a disk that is
// still a hole there: zeros do not overwrite earlier data.
func (w *Writer) WriteAt(p []byte, offset int64) (int, error) {
	if offset < 0 || offset+int64(len(p)) > w.size {
		return 0, fmt.Errorf("write of %d bytes at byte %d of a disk of %d bytes", len(p), offset, w.size)
	}
	return writeSparse(w.File, p, offset)
}

func writeSparse(dst io.WriterAt, p []byte, offset int64) (int, error) {
	for done := 0; done < len(p); {
		// The next block's end, and then as many more blocks of data as follow.
		n := blockEnd(offset+int64(done), len(p)-done)
		if image.IsZero(p[done : done+n]) {
			done += n
			continue
		}
		for done+n < len(p) {
			more := blockEnd(offset+int64(done+n), len(p)-done-n)
			if image.IsZero(p[done+n : done+n+more]) {
				break
			}
			n += more
		}
		wrote, err := dst.WriteAt(p[done:done+n], offset+int64(done))
		if err != nil {
			return done + wrote, run.Explain(err)
		}
		done += n
	}
	return len(p), nil
}

// blockEnd is the distance from offset to the next multiple of holeBytes,
// at most n.
func blockEnd(offset int64, n int) int { return min(holeBytes-int(offset%holeBytes), n) }

type chunk struct {
	offset int64
	data   []byte
}

// Copy writes the disk's data to dst, which must read as zeros, and leaves out
// what is zero. Several chunks are read at once, as a compressed disk takes
// time to read. progress, if not nil, gets bytes of the virtual disk.
func Copy(ctx context.Context, dst io.WriterAt, disk image.Disk, progress func(done, total int64)) error {
	if progress == nil {
		progress = func(int64, int64) {}
	}
	err := walk(ctx, disk, func(c *chunk) error {
		progress(c.offset, disk.Size())
		_, err := writeSparse(dst, c.data[:min(copyBytes, disk.Size()-c.offset)], c.offset)
		return err
	})
	if err == nil {
		progress(disk.Size(), disk.Size())
	}
	return err
}

// Digest is the SHA-256 of the whole virtual disk, holes included, in
// lower-case hex: equal disks have equal digests, whatever their format.
func Digest(ctx context.Context, disk image.Disk) (string, error) {
	digest, position := sha256.New(), int64(0)
	zeros := make([]byte, 64<<10)
	skip := func(to int64) error {
		for position < to {
			if err := ctx.Err(); err != nil {
				return context.Cause(ctx)
			}
			n := min(to-position, int64(len(zeros)))
			digest.Write(zeros[:n])
			position += n
		}
		return nil
	}
	err := walk(ctx, disk, func(c *chunk) error {
		if err := skip(c.offset); err != nil {
			return err
		}
		n := min(copyBytes, disk.Size()-c.offset)
		digest.Write(c.data[:n])
		position += n
		return nil
	})
	if err == nil {
		err = skip(disk.Size())
	}
	if err != nil {
		return "", err
	}
	return hex.EncodeToString(digest.Sum(nil)), nil
}

// walk reads the chunks that may hold data and hands them on in order.
func walk(ctx context.Context, disk image.Disk, fn func(*chunk) error) error {
	blocks := image.NewBlocks(disk, copyBytes)
	return ordered.Run(ctx, ordered.Job[*chunk]{
		NewItem: func() *chunk { return &chunk{data: make([]byte, copyBytes)} },
		Produce: func(c *chunk) (err error) {
			c.offset, err = blocks.Next()
			return err
		},
		Worker: func() func(*chunk) error {
			return func(c *chunk) error { return image.ReadBlock(disk, c.data, c.offset) }
		},
		Consume: fn,
	})
}
