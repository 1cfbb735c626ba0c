// Package bzimage takes the kernel proper out of what a boot loader starts: a
// bzImage is a small program that unpacks the ELF file in it, which takes an
// emulated processor seconds and us a moment.
//
//	err := bzimage.Unpack(ctx, out, file, 256<<20)
//	ok, err := bzimage.HasPVH(elfFile)
//
// Where things are is said in Linux, Documentation/arch/x86/boot.rst, "The Real-
// mode Kernel Header"; the kernel's entry without its boot code is the ABI that
// Xen calls PVH (Xen, docs/misc/pvh.pandoc, and include/public/elfnote.h).
//
// It reads kernels packed with gzip and zstd and, where xz(1) is there, with xz:
// no library knows the filter for x86 code in them.
package bzimage

import (
	"bytes"
	"compress/gzip"
	"context"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"

	"github.com/org/imagebuild-action/internal/run"
)

// Errors about the file; all say that it has to be started as it is.
var (
	ErrFormat      = errors.New("it is not a bzImage of Linux 2.6.26 or later")
	ErrCompression = errors.New("its compression is not one of gzip, zstd and xz")
	ErrTooLarge    = errors.New("the kernel in it is larger than it may be")
)

// Fields of the header, as offsets in the file.
const (
	setupSectorsAt  = 0x1f1 // one byte; zero means four
	signatureAt     = 0x202 // "HdrS"
	versionAt       = 0x206 // of the boot protocol
	payloadOffsetAt = 0x248 // from the end of the setup sectors
	payloadLengthAt = 0x24c
	headerBytes     = 0x250

	payloadVersion  = 0x0208 // the first with a payload's place
	sector          = 512
	maxZstdWindow   = 128 << 20
	uncompressedLen = 4 // the size that follows all compressed data but gzip's own
)

// payload is the compressed kernel.
func payload(file io.ReaderAt) (*io.SectionReader, error) {
	header := make([]byte, headerBytes)
	if _, err := file.ReadAt(header, 0); err != nil {
		return nil, errors.Join(ErrFormat, err)
	}
	if string(header[signatureAt:][:4]) != "HdrS" || binary.LittleEndian.Uint16(header[versionAt:]) < payloadVersion {
		return nil, ErrFormat
	}
	setup := int64(header[setupSectorsAt])
	if setup == 0 {
		setup = 4
	}
	offset, length := binary.LittleEndian.Uint32(header[payloadOffsetAt:]), binary.LittleEndian.Uint32(header[payloadLengthAt:])
	if length <= uncompressedLen {
		return nil, ErrFormat
	}
	return io.NewSectionReader(file, (setup+1)*sector+int64(offset), int64(length)), nil
}

// Unpack writes the kernel that is in file, an ELF file, to w: at most limit
// bytes of it.
func Unpack(ctx context.Context, w io.Writer, file io.ReaderAt, limit int64) error {
	packed, err := payload(file)
	if err != nil {
		return err
	}
	magic := make([]byte, 6)
	if _, err := packed.ReadAt(magic, 0); err != nil {
		return errors.Join(ErrFormat, err)
	}
	out := &bounded{w: w, left: limit}
	data := io.NewSectionReader(packed, 0, packed.Size()-uncompressedLen)
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(packed)
		if err != nil {
			return err
		}
		z.Multistream(false)
		_, err = io.Copy(out, z)
		return err
	case bytes.HasPrefix(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(data, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxZstdWindow))
		if err != nil {
			return err
		}
		defer z.Close()
		_, err = io.Copy(out, z)
		return err
	case bytes.HasPrefix(magic, []byte("\xfd7zXZ\x00")):
		return run.Run(ctx, run.Spec{Argv: []string{"xz", "--decompress", "--stdout"}, Stdin: data, Stdout: out})
	}
	return ErrCompression
}

type bounded struct {
	w    io.Writer
	left int64
}

func (b *bounded) Write(p []byte) (int, error) {
	if int64(len(p)) > b.left {
		return 0, ErrTooLarge
	}
	n, err := b.w.Write(p)
	b.left -= int64(n)
	return n, err
}

// physicalEntry is XEN_ELFNOTE_PHYS32_ENTRY: where a loader enters the kernel.
const physicalEntry = 18

// maxNotes bounds what is read of one row of notes.
const maxNotes = 1 << 20

// HasPVH tells whether an ELF file is a 64-bit x86 kernel with an entry for
// loaders that do without its boot code.
func HasPVH(file io.ReaderAt) (bool, error) {
	f, err := elf.NewFile(file)
	if err != nil {
		return false, fmt.Errorf("read the kernel: %w", err)
	}
	if f.Class != elf.ELFCLASS64 || f.Machine != elf.EM_X86_64 {
		return false, nil
	}
	for _, segment := range f.Progs {
		if segment.Type != elf.PT_NOTE {
			continue
		}
		notes, err := io.ReadAll(io.LimitReader(segment.Open(), maxNotes))
		if err != nil {
			return false, fmt.Errorf("read the kernel's notes: %w", err)
		}
		if hasNote(notes, "Xen\x00", physicalEntry) {
			return true, nil
		}
	}
	return false, nil
}

// hasNote looks through a row of ELF notes: the sizes of name and content, the
// kind, and both of them padded to four bytes.
func hasNote(notes []byte, name string, kind uint32) bool {
	padded := func(n uint32) int { return (int(n) + 3) &^ 3 }
	for len(notes) >= 12 {
		nameBytes, contentBytes := binary.LittleEndian.Uint32(notes), binary.LittleEndian.Uint32(notes[4:])
		rest := notes[12:]
		if nameBytes > maxNotes || contentBytes > maxNotes || padded(nameBytes)+padded(contentBytes) > len(rest) {
			return false
		}
		if binary.LittleEndian.Uint32(notes[8:]) == kind && string(rest[:nameBytes]) == name {
			return true
		}
		notes = rest[padded(nameBytes)+padded(contentBytes):]
	}
	return false
}
