package bootfiles

import (
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// The newc format (Linux, Documentation/driver-api/early-userspace/buffer-format.rst):
// a header of 110 bytes of text, the name, the content, each padded to four.
const (
	cpioHeaderBytes = 110
	cpioTrailer     = "TRAILER!!!"
	maxNameBytes    = 4096
)

// initramfsNames calls fn with the name of each member of an initramfs: any
// number of cpio archives one after the other, with zeros between them, the
// last one compressed or not. The first are microcode for the processor.
func initramfsNames(r io.Reader, fn func(name string)) error {
	in := bufio.NewReaderSize(r, 64<<10)
	for {
		b, err := in.Peek(1)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if b[0] == 0 {
			_, _ = in.Discard(1)
			continue
		}
		head, _ := in.Peek(6)
		switch {
		case knownMagic(head, '0', '7', '0', '7', '0'):
			err = cpioNames(in, fn)
		case knownMagic(head, 0x1f, 0x8b):
			var z *gzip.Reader
			if z, err = gzip.NewReader(in); err == nil {
				return initramfsNames(z, fn)
			}
		case knownMagic(head, 0x28, 0xb5, 0x2f, 0xfd):
			var z *zstd.Decoder
			if z, err = zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(128<<20)); err == nil {
				defer z.Close()
				return initramfsNames(z, fn)
			}
		default:
			return errCompression
		}
		if err != nil {
			return err
		}
	}
}

// cpioNames reads one archive up to and with its trailer.
func cpioNames(in *bufio.Reader, fn func(name string)) error {
	header := make([]byte, cpioHeaderBytes)
	for {
		if _, err := io.ReadFull(in, header); err != nil {
			return fmt.Errorf("cpio archive: %w", noEOF(err))
		}
		magic := string(header[:6])
		if magic != "070701" && magic != "070702" {
			return fmt.Errorf("cpio archive: a member starts with %q", magic)
		}
		size, err := strconv.ParseUint(string(header[54:62]), 16, 32)
		if err != nil {
			return fmt.Errorf("cpio archive: size of a member: %w", err)
		}
		length, err := strconv.ParseUint(string(header[94:102]), 16, 32)
		if err != nil || length == 0 || length > maxNameBytes {
			return fmt.Errorf("cpio archive: a name of %q bytes", header[94:102])
		}
		padded := (cpioHeaderBytes+int64(length)+3)&^3 - cpioHeaderBytes
		name := make([]byte, padded)
		if _, err := io.ReadFull(in, name); err != nil {
			return fmt.Errorf("cpio archive: %w", noEOF(err))
		}
		text := strings.TrimRight(string(name[:length]), "\x00")
		if text == cpioTrailer {
			return nil
		}
		fn(text)
		if _, err := io.CopyN(io.Discard, in, (int64(size)+3)&^3); err != nil {
			return fmt.Errorf("cpio archive: %s: %w", text, noEOF(err))
		}
	}
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
