// Package initramfs reads and writes the archives that a Linux kernel unpacks
// into its first root: any number of cpio archives one after the other, with
// zeros between them, the last one compressed or not (Linux,
// Documentation/driver-api/early-userspace/buffer-format.rst). The first are
// often microcode for the processor.
//
//	err := initramfs.Walk(file, func(name string, content io.Reader) error { ... })
//	err = initramfs.Uncompress(out, file, 512<<20, nil)
//	_, err = file.Write(initramfs.Archive(map[string][]byte{"preseed.cfg": answers}, 0o644))
//
// It reads gzip, zstd and what is not compressed, and refuses all else with
// ErrCompression.
package initramfs

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"io"

	"github.com/klauspost/compress/zstd"
)

// ErrCompression says that an archive is compressed in a way that is not read.
var ErrCompression = errors.New("its compression is not one of gzip, zstd and none")

// The newc format: a header of 110 bytes of text, the name, the content, each
// padded to four.
const (
	headerBytes  = 110
	trailer      = "TRAILER!!!"
	maxNameBytes = 4096
	alignment    = 4
)

// maxWindowBytes is the largest window that the kernel's own zstd takes.
const maxWindowBytes = 128 << 20

// part is what comes next in an initramfs.
type part int

const (
	archive part = iota
	gzipped
	zstandard
	other
)

// next skips the zeros between two parts, and says how many they were. The
// error is io.EOF after the last part.
func next(in *bufio.Reader) (what part, zeros int64, err error) {
	for {
		b, err := in.Peek(1)
		if err != nil {
			return other, zeros, err
		}
		if b[0] != 0 {
			break
		}
		_, _ = in.Discard(1)
		zeros++
	}
	head, _ := in.Peek(5)
	switch {
	case bytes.HasPrefix(head, []byte("07070")):
		return archive, zeros, nil
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		return gzipped, zeros, nil
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		return zstandard, zeros, nil
	}
	return other, zeros, nil
}

// open reads a compressed part. Close what it returns.
func open(what part, in io.Reader) (io.ReadCloser, error) {
	switch what {
	case gzipped:
		return gzip.NewReader(in)
	case zstandard:
		z, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindowBytes))
		if err != nil {
			return nil, err
		}
		return z.IOReadCloser(), nil
	}
	return nil, ErrCompression
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
