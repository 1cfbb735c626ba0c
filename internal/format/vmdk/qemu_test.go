package vmdk_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/org/imagebuild-action/internal/format/vmdk"
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

func TestStreamEqualsRawByQemu(t *testing.T) {
	for name, disk := range disks() {
		t.Run(name, func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "disk.vmdk")
			f, err := os.Create(out)
			if err != nil {
				t.Fatal(err)
			}
			info, err := vmdk.WriteStream(t.Context(), f, disk, vmdk.StreamOptions{CID: 7})
			if err != nil {
				t.Fatal(err)
			}
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			if stat, _ := os.Stat(out); stat.Size() != info.SizeBytes {
				t.Fatalf("file has %d bytes, Info says %d", stat.Size(), info.SizeBytes)
			}
			qemuImg(t, "compare", "-f", "raw", "-F", "vmdk", rawFile(t, disk), out)
			qemuImg(t, "check", "-f", "vmdk", out)
		})
	}
}
