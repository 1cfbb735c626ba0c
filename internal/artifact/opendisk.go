package artifact

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/format/qcow2"
	"github.com/org/imagebuild-action/internal/format/raw"
	"github.com/org/imagebuild-action/internal/format/vhd"
	"github.com/org/imagebuild-action/internal/format/vhdx"
	"github.com/org/imagebuild-action/internal/format/vmdk"
	"github.com/org/imagebuild-action/internal/image"
	"github.com/org/imagebuild-action/internal/report"
	"github.com/org/imagebuild-action/internal/run"
	"github.com/org/imagebuild-action/internal/size"
)

const (
	// maxUnpackedBytes bounds what a compressed file can make us write; zeros,
	// which take no space, included.
	maxUnpackedBytes = 512 * size.GiB
	// maxWindowBytes bounds the memory that it can make us take.
	maxWindowBytes = 128 << 20
)

// OpenedDisk is a disk that reads from a file.
type OpenedDisk struct {
	image.Disk
	closer io.Closer
}

// Close closes the file.
func (o *OpenedDisk) Close() error { return o.closer.Close() }

// OpenDisk opens the system disk in a file: an image in any format that has a
// reader, such an image compressed with gzip, xz or zstd, a box or an OVA. What
// has to be unpacked for that goes into the folder dir, which must outlive the
// disk. The content decides, not the name; errors about it are of kind Input.
func OpenDisk(ctx context.Context, path, dir string, task report.Task) (*OpenedDisk, error) {
	disk, err := openAny(ctx, path, dir, task)
	if err != nil && ctx.Err() != nil {
		return nil, context.Cause(ctx) // not whatever the reader made of it
	}
	return disk, fault.Wrap(fault.Input, err)
}

func openAny(ctx context.Context, path, dir string, task report.Task) (*OpenedDisk, error) {
	found, err := detect(path)
	if err != nil {
		return nil, err
	}
	switch found {
	case raw.Gzip, raw.XZ, raw.Zstd:
		inner, err := innerFormat(path, found)
		if err != nil {
			return nil, err
		}
		if inner == raw.Tar {
			break
		}
		unpacked := filepath.Join(dir, "unpacked")
		if err := unpackFile(ctx, path, found, unpacked, task); err != nil {
			return nil, err
		}
		return openBare(unpacked)
	case raw.Tar:
	default:
		return openBare(path)
	}
	a, err := Open(ctx, path)
	if err != nil {
		return nil, err
	}
	disk, err := a.Unpack(ctx, dir)
	if err != nil {
		return nil, err
	}
	return openBare(disk.Path)
}

// openBare opens a disk image that is a file of its own.
func openBare(path string) (*OpenedDisk, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	disk, err := readerOf(f)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &OpenedDisk{disk, f}, nil
}

func readerOf(f *os.File) (image.Disk, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	found, err := detect(f.Name())
	if err != nil {
		return nil, err
	}
	switch found {
	case raw.QCOW2:
		return qcow2.Open(f, info.Size())
	case raw.VMDK:
		return vmdk.Open(f, info.Size())
	case raw.VHDX:
		return vhdx.Open(f, info.Size())
	case raw.VHD:
		return vhd.Open(f, info.Size())
	case raw.VMDKDescriptor:
		return nil, fault.Errorf(fault.Input, "this VMDK is only a description; its content is in other files, which are not opened; convert it to streamOptimized")
	case raw.VDI:
		return nil, fault.Errorf(fault.Input, "VirtualBox's own format (VDI) is not read; convert it with qemu-img convert -O qcow2")
	case raw.Gzip, raw.XZ, raw.Zstd, raw.Tar:
		return nil, fault.Errorf(fault.Input, "there is an archive inside the archive; unpack it once")
	case raw.BootRecord, raw.NoMagic:
		switch {
		case vhd.Has(f, info.Size()): // a fixed one looks raw but for its end
			return vhd.Open(f, info.Size())
		case found == raw.NoMagic && !hasExt4(f):
			return nil, fault.Errorf(fault.Input, "neither a disk image (qcow2, VMDK, VHD, VHDX, raw), nor one compressed (gzip, xz, zstd), nor a box or an OVA; is it the file that it should be?")
		}
	}
	return raw.New(f)
}

// hasExt4 finds the magic of a file system without a partition table.
func hasExt4(f *os.File) bool {
	magic := make([]byte, 2)
	_, err := f.ReadAt(magic, 1024+56)
	return err == nil && magic[0] == 0x53 && magic[1] == 0xef
}

// innerFormat looks at the beginning of what is compressed.
func innerFormat(path string, form raw.Format) (raw.Format, error) {
	f, err := os.Open(path)
	if err != nil {
		return raw.NoMagic, err
	}
	defer f.Close()
	r, err := decompress(f, form)
	if err != nil {
		return raw.NoMagic, err
	}
	defer r.Close()
	header := make([]byte, raw.DetectBytes)
	n, err := io.ReadFull(r, header)
	if n == 0 {
		return raw.NoMagic, damagedArchive(err)
	}
	return raw.Detect(header[:n]), nil
}

func damagedArchive(err error) error {
	return fault.Errorf(fault.Input, "the compressed data is damaged: %w", err)
}

// unpackFile writes what is compressed, sparse.
func unpackFile(ctx context.Context, path string, form raw.Format, to string, task report.Task) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	counted := &countingReader{r: contextReader{ctx, f}, done: func(n int64) { task.Progress(n, info.Size()) }}
	r, err := decompress(counted, form)
	if err != nil {
		return err
	}
	defer r.Close()
	file, err := run.CreateScratch(to)
	if err != nil {
		return err
	}
	defer file.Abort()
	out := &failingWriter{w: sparse{file.File}}
	n, err := io.CopyBuffer(onlyWriter{out}, io.LimitReader(r, int64(maxUnpackedBytes)+1), make([]byte, 1<<20))
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case out.err != nil:
		return run.Explain(out.err)
	case err != nil:
		return damagedArchive(err)
	case n > int64(maxUnpackedBytes):
		return fault.Errorf(fault.Input, "unpacked it is larger than %s", maxUnpackedBytes)
	}
	// What was written sparsely may end in a hole.
	if err := file.Truncate(n); err != nil {
		return run.Explain(err)
	}
	return file.Commit()
}

func decompress(r io.Reader, form raw.Format) (io.ReadCloser, error) {
	buffered := bufio.NewReaderSize(r, 128<<10)
	switch form {
	case raw.Gzip:
		z, err := gzip.NewReader(buffered)
		if err != nil {
			return nil, damagedArchive(err)
		}
		return z, nil
	case raw.XZ:
		z, err := xz.ReaderConfig{DictCap: maxWindowBytes}.NewReader(buffered)
		if err != nil {
			return nil, damagedArchive(err)
		}
		return io.NopCloser(z), nil
	case raw.Zstd:
		z, err := zstd.NewReader(buffered, zstd.WithDecoderMaxWindow(maxWindowBytes))
		if err != nil {
			return nil, damagedArchive(err)
		}
		return z.IOReadCloser(), nil
	}
	return nil, fmt.Errorf("%s is no compression", form)
}

type countingReader struct {
	r     io.Reader
	total int64
	done  func(int64)
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.total += int64(n)
	c.done(c.total)
	return n, err
}

// failingWriter remembers that it was the writing that failed.
type failingWriter struct {
	w   io.Writer
	err error
}

func (f *failingWriter) Write(p []byte) (int, error) {
	n, err := f.w.Write(p)
	f.err = err
	return n, err
}

// onlyWriter hides every other method, which would bypass the buffer.
type onlyWriter struct{ io.Writer }
