package testkit

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/image"
	"github.com/org/imagebuild-action/internal/run"
)

// QemuImg runs qemu-img, of the package qemu-utils, which must agree.
func QemuImg(t testing.TB, args ...string) {
	t.Helper()
	qemu := Tool(t, "qemu-img")
	if out, err := run.Output(t.Context(), run.Spec{Argv: append([]string{qemu}, args...)}); err != nil {
		t.Fatal(err, out)
	}
}

// RawFile writes the disk to a sparse raw file for the oracle.
func RawFile(t testing.TB, disk image.Disk) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.raw")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(disk.Size()); err != nil {
		t.Fatal(err)
	}
	blocks := image.NewBlocks(disk, 512)
	for p := make([]byte, 512); ; {
		offset, err := blocks.Next()
		if errors.Is(err, io.EOF) {
			return path
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := image.ReadBlock(disk, p, offset); err != nil {
			t.Fatal(err)
		}
		if !image.IsZero(p) {
			if _, err := f.WriteAt(p, offset); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// Foreign reads here and there in a disk made of foreign bytes: whatever they
// are, its errors are of kind Input.
func Foreign(t testing.TB, disk image.Disk) {
	t.Helper()
	p := make([]byte, 4096)
	blocks := image.NewBlocks(disk, 1<<20)
	for range 64 {
		offset, err := blocks.Next()
		if err != nil {
			return
		}
		if err := image.ReadBlock(disk, p, offset+512); err != nil && fault.KindOf(err) != fault.Input && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%v is of kind %v", err, fault.KindOf(err))
		}
	}
}

// Same fails unless both disks have the same content and size.
func Same(t testing.TB, want, got image.Disk) {
	t.Helper()
	if want.Size() != got.Size() {
		t.Fatalf("size %d, want %d", got.Size(), want.Size())
	}
	a, b := make([]byte, 1<<20), make([]byte, 1<<20)
	for _, from := range []image.Disk{want, got} { // no data outside the other's extents either
		blocks := image.NewBlocks(from, 1<<20)
		for {
			offset, err := blocks.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err = errors.Join(err, image.ReadBlock(want, a, offset), image.ReadBlock(got, b, offset)); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(a, b) {
				t.Fatalf("the disks differ within 1 MiB at byte %d", offset)
			}
		}
	}
}
