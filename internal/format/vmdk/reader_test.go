package vmdk_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/format/vmdk"
	"github.com/org/imagebuild-action/internal/image"
	"github.com/org/imagebuild-action/internal/testkit"
)

// format is one of the two ways to write, with the same signature.
type format struct {
	name  string
	write func(ctx context.Context, w io.Writer, d image.Disk, workers int) (vmdk.Info, error)
}

var formats = []format{
	{"streamOptimized", func(ctx context.Context, w io.Writer, d image.Disk, workers int) (vmdk.Info, error) {
		return vmdk.WriteStream(ctx, w, d, vmdk.StreamOptions{CID: 0x1234abcd, FileName: "box-disk1.vmdk", Workers: workers})
	}},
	{"monolithicSparse", func(ctx context.Context, w io.Writer, d image.Disk, workers int) (vmdk.Info, error) {
		return vmdk.WriteSparse(ctx, w, d, vmdk.SparseOptions{CID: 0x1234abcd, FileName: "box-disk1.vmdk", Workers: workers})
	}},
}

func TestReadBackAndVerify(t *testing.T) {
	for _, format := range formats {
		for name, disk := range testkit.Disks() {
			t.Run(format.name+"/"+name, func(t *testing.T) {
				var out bytes.Buffer
				info, err := format.write(t.Context(), &out, disk, 2)
				if err != nil {
					t.Fatal(err)
				}
				r, err := vmdk.Open(bytes.NewReader(out.Bytes()), int64(out.Len()))
				if err != nil {
					t.Fatal(err)
				}
				if info.SizeBytes != int64(out.Len()) || info.CapacityBytes != disk.Size() {
					t.Errorf("info %+v for %d bytes", info, out.Len())
				}
				if d := r.Descriptor(); d.CID != 0x1234abcd || d.CreateType != format.name {
					t.Errorf("descriptor %+v", d)
				}
				testkit.Same(t, disk, r)
				if err := r.Verify(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

func TestBytesDoNotDependOnWorkers(t *testing.T) {
	disk := testkit.Fragments(5, 100<<20)
	for _, format := range formats {
		var first bytes.Buffer
		want, err := format.write(t.Context(), &first, disk, 1)
		if err != nil {
			t.Fatal(err)
		}
		for _, workers := range []int{2, 3, 16} {
			var out bytes.Buffer
			got, err := format.write(t.Context(), &out, disk, workers)
			if err != nil {
				t.Fatal(err)
			}
			if got != want || !bytes.Equal(first.Bytes(), out.Bytes()) {
				t.Errorf("%s: %d workers gave %+v, one gave %+v", format.name, workers, got, want)
			}
		}
	}
}

func TestReadQemuImages(t *testing.T) {
	for _, size := range []int64{512, 65536 + 512, 70<<20 + 1024} {
		disk := testkit.Fragments(uint64(size), size)
		source := testkit.RawFile(t, disk)
		for _, subformat := range []string{"monolithicSparse", "streamOptimized"} {
			t.Run(fmt.Sprintf("%s/%d", subformat, size), func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "qemu.vmdk")
				testkit.QemuImg(t, "convert", "-O", "vmdk", "-o", "subformat="+subformat, source, path)
				data, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				r, err := vmdk.Open(bytes.NewReader(data), int64(len(data)))
				if err != nil {
					t.Fatal(err)
				}
				testkit.Same(t, disk, r)
				err = r.Verify(t.Context())
				if subformat == "monolithicSparse" && err != nil {
					t.Error(err)
				}
				// Why this package exists.
				if subformat == "streamOptimized" && !errors.Is(err, vmdk.ErrPadded) && !strings.Contains(fmt.Sprint(err), "the file ends here") {
					t.Errorf("got %v, want %v", err, vmdk.ErrPadded)
				}
			})
		}
	}
}

// TestVerifyNoticesEveryByte damages each byte of a small file in turn. What
// is not noticed is the descriptor's text and its reserved length, or data of
// a sparse disk, which has no checksum, or a bit that deflate does not use: the
// content is still the same.
func TestVerifyNoticesEveryByte(t *testing.T) {
	disk := testkit.NewDisk(66 << 20)
	disk.Put(70<<10, testkit.Prose(1, 5000))
	disk.Put(40<<20, testkit.Prose(2, 2000))
	disk.Put(65<<20, testkit.Prose(3, 100))
	for _, format := range formats {
		t.Run(format.name, func(t *testing.T) {
			var out bytes.Buffer
			if _, err := format.write(t.Context(), &out, disk, 1); err != nil {
				t.Fatal(err)
			}
			whole := out.Bytes()
			text := len(strings.TrimRight(string(whole[512:21*512]), "\x00")) + 513
			end, dense := len(whole), text
			if format.name == "monolithicSparse" {
				end, dense = 128*512, 13<<10
			}
			for i := range end {
				inText, metadata := i >= 512 && i < text, i <= dense || i >= 127*512 && i < 130*512 || i >= end-5*512
				if inText || metadata && i%512 > 96 && i%13 != 0 || !metadata && i%101 != 0 {
					continue // text, and most of the padding, empty tables and data
				}
				whole[i] ^= 0x10
				r, err := vmdk.Open(bytes.NewReader(whole), int64(len(whole)))
				if err == nil {
					err = r.Verify(t.Context())
				}
				if err == nil && i != 36 && i != 37 {
					if i < 128*512 {
						t.Errorf("byte %d may be anything", i)
					}
					testkit.Same(t, disk, r)
				} else if err != nil && fault.KindOf(err) != fault.Input {
					t.Errorf("byte %d: %v is of kind %v", i, err, fault.KindOf(err))
				}
				whole[i] ^= 0x10
			}
			for n := 0; n < len(whole); n += 211 { // and cut off anywhere
				r, err := vmdk.Open(bytes.NewReader(whole[:n]), int64(n))
				if err == nil {
					err = r.Verify(t.Context())
				}
				if err == nil {
					t.Errorf("cut off after %d bytes and nobody noticed", n)
				}
			}
		})
	}
}
