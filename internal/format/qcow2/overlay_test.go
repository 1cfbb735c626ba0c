package qcow2_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/org/imagebuild-action/internal/format/qcow2"
	"github.com/org/imagebuild-action/internal/format/raw"
	"github.com/org/imagebuild-action/internal/image"
	"github.com/org/imagebuild-action/internal/testkit"
)

// chain makes base.raw and two overlays on it with qemu-io, and the same disk
// flattened by qemu-img.
func chain(t *testing.T, commands [2][]string) (got, want image.Disk) {
	t.Helper()
	qemuIO := testkit.Tool(t, "qemu-io")
	base := testkit.NewDisk(6 << 20)
	base.Put(0, testkit.Noise(1, 300<<10))
	base.Put(3<<20+512, testkit.Noise(2, 100<<10))
	below, backing := testkit.RawFile(t, base), "raw"
	disk := open(t, below)
	for i, each := range commands {
		top := filepath.Join(t.TempDir(), "top.qcow2")
		testkit.QemuImg(t, "create", "-q", "-f", "qcow2", "-b", below, "-F", backing, top, []string{"6M", "8M"}[i])
		args := []string{"-f", "qcow2"}
		for _, command := range each {
			args = append(args, "-c", command)
		}
		if out, err := exec.Command(qemuIO, append(args, top)...).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		f, err := os.Open(top)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Close() })
		info, err := f.Stat()
		if err != nil {
			t.Fatal(err)
		}
		if disk, err = qcow2.OpenOverlay(f, info.Size(), disk); err != nil {
			t.Fatal(err)
		}
		below, backing = top, "qcow2"
	}
	flat := filepath.Join(t.TempDir(), "flat.raw")
	testkit.QemuImg(t, "convert", "-f", "qcow2", "-O", "raw", below, flat)
	return disk, open(t, flat)
}

func open(t *testing.T, path string) image.Disk {
	t.Helper()
	disk, err := raw.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = disk.Close() })
	return disk
}

func TestOverlay(t *testing.T) {
	got, want := chain(t, [2][]string{
		{"write -P 1 64k 64k", "write -z 128k 64k", "write -P 2 5M 512", "discard 3M 64k"},
		{"write -P 3 100k 4k", "write -P 4 7M 70k", "write -z 5M 64k"},
	})
	testkit.Same(t, want, got)
}

func TestOverlayWithNothingInIt(t *testing.T) {
	got, want := chain(t, [2][]string{{"read 0 512"}, {"read 0 512"}})
	testkit.Same(t, want, got)
}

func TestOverlayIsNoImageOfItsOwn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "top.qcow2")
	testkit.QemuImg(t, "create", "-q", "-f", "qcow2", "-b", testkit.RawFile(t, testkit.NewDisk(1<<20)), "-F", "raw", path)
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := qcow2.Open(f, info.Size()); err == nil {
		t.Error("opened without its backing file")
	}
}
