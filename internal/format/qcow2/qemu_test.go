package qcow2_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/org/imagebuild-action/internal/format/qcow2"
	"github.com/org/imagebuild-action/internal/image"
	"github.com/org/imagebuild-action/internal/run"
)

// qemuImg runs the oracle; without it the test is skipped, or fails when
// REQUIRE_TOOLS=1.
func qemuImg(t testing.TB, args ...string) {
	t.Helper()
	if _, err := exec.LookPath("qemu-img"); err != nil {
		if os.Getenv("REQUIRE_TOOLS") == "1" {
			t.Fatal("qemu-img is missing; install qemu-utils")
		}
		t.Skip("qemu-img is missing; install qemu-utils")
	}
	if out, err := run.Output(t.Context(), run.Spec{Argv: append([]string{"qemu-img"}, args...)}); err != nil {
		t.Fatal(err, out)
	}
}

// rawFile writes the disk to a sparse raw file for the oracle.
func rawFile(t testing.TB, disk image.Disk) string {
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
		if err != nil {
			return path
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

func disks() map[string]*memoryDisk {
	all := map[string]*memoryDisk{
		"one sector of zeros":    {size: 512},
		"two gigabytes of zeros": {size: 2 << 30},
		"40 GiB, sparse":         {size: 40 << 30},
	}
	all["40 GiB, sparse"].put(0, prose(1, 100))
	all["40 GiB, sparse"].put(17<<30+512, prose(2, 300<<10))
	all["40 GiB, sparse"].put(40<<30-512, noise(3, 512))
	for _, size := range []int64{512, 1024, 65536 - 512, 65536, 65536 + 512, 1 << 20, 32<<20 - 512, 32 << 20, 32<<20 + 512, 97<<20 + 1536} {
		disk := &memoryDisk{size: size}
		disk.put(0, noise(uint64(size), int(min(size, 2<<20))))
		all[fmt.Sprintf("%d bytes, noise", size)] = disk
		disk = &memoryDisk{size: size}
		disk.put(size-512, prose(uint64(size), 512))
		all[fmt.Sprintf("%d bytes, last sector", size)] = disk
		all[fmt.Sprintf("%d bytes, fragments", size)] = fragments(uint64(size), size)
	}
	return all
}

// write makes an image in a file and returns its path.
func write(t testing.TB, disk image.Disk, opts qcow2.Options) (string, qcow2.Info) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.qcow2")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := qcow2.Write(t.Context(), f, disk, opts)
	if err != nil {
		t.Fatal(err)
	}
	return path, info
}

var compressions = []qcow2.Compression{qcow2.Zstd, qcow2.Zlib, qcow2.None}

func TestQemuAgrees(t *testing.T) {
	for name, disk := range disks() {
		for _, compression := range compressions {
			t.Run(string(compression)+"/"+name, func(t *testing.T) {
				t.Parallel()
				path, info := write(t, disk, qcow2.Options{Compression: compression})
				data, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				if sum := fmt.Sprintf("%x", sha256.Sum256(data)); info.SizeBytes != int64(len(data)) || info.SHA256 != sum {
					t.Errorf("info %+v for %d bytes of digest %s", info, len(data), sum)
				}
				qemuImg(t, "check", "-f", "qcow2", path)
				qemuImg(t, "compare", "-f", "raw", "-F", "qcow2", rawFile(t, disk), path)
				r, err := qcow2.Open(bytes.NewReader(data), int64(len(data)))
				if err != nil {
					t.Fatal(err)
				}
				same(t, disk, r)
				if err := r.Verify(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

func TestQemuAgreesOnEveryClusterSize(t *testing.T) {
	disk := fragments(9, 90<<20)
	source := rawFile(t, disk)
	for bits := uint32(12); bits <= 21; bits++ {
		for _, compression := range compressions {
			if bits%4 != 0 && compression != qcow2.Zstd {
				continue // each takes two processes
			}
			path, _ := write(t, disk, qcow2.Options{Compression: compression, ClusterBits: bits})
			qemuImg(t, "check", "-f", "qcow2", path)
			qemuImg(t, "compare", "-f", "raw", "-F", "qcow2", source, path)
		}
	}
}

func TestReadQemuImages(t *testing.T) {
	for _, size := range []int64{512, 65536 + 512, 70<<20 + 1024} {
		disk := fragments(uint64(size), size)
		source := rawFile(t, disk)
		for _, options := range []string{"compat=0.10", "compat=1.1", "compression_type=zstd", "cluster_size=512", "cluster_size=2M", "refcount_bits=1"} {
			for _, flag := range []string{"-p", "-c"} {
				path := filepath.Join(t.TempDir(), "qemu.qcow2")
				qemuImg(t, "convert", flag, "-O", "qcow2", "-o", options, source, path)
				data, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				r, err := qcow2.Open(bytes.NewReader(data), int64(len(data)))
				if err != nil {
					t.Fatal(options, err)
				}
				same(t, disk, r)
			}
		}
	}
}

func TestBytesDoNotDependOnWorkers(t *testing.T) {
	disk := fragments(5, 100<<20)
	for _, compression := range compressions {
		_, want := write(t, disk, qcow2.Options{Compression: compression, Workers: 1})
		for _, workers := range []int{2, 3, 16} {
			if _, got := write(t, disk, qcow2.Options{Compression: compression, Workers: workers}); got != want {
				t.Errorf("%s: %d workers gave %+v, one gave %+v", compression, workers, got, want)
			}
		}
	}
}

// same fails unless both disks have the same content and size.
func same(t testing.TB, want, got image.Disk) {
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
