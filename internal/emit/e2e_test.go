package emit_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/org/imagebuild-action/internal/bootfiles"
	"github.com/org/imagebuild-action/internal/emit"
	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/format/fat"
	"github.com/org/imagebuild-action/internal/format/gpt"
	"github.com/org/imagebuild-action/internal/format/raw"
	"github.com/org/imagebuild-action/internal/image"
	"github.com/org/imagebuild-action/internal/report"
	"github.com/org/imagebuild-action/internal/run"
	"github.com/org/imagebuild-action/internal/size"
	"github.com/org/imagebuild-action/internal/target"
	"github.com/org/imagebuild-action/internal/testkit"
	"github.com/org/imagebuild-action/internal/toolroot"
	"github.com/org/imagebuild-action/internal/tree"
)

// e2eTree is the bootable tree in the tar archive that IMAGEBUILD_E2E_TREE
// names.
func e2eTree(t *testing.T) image.Tree {
	t.Helper()
	testkit.Whole(t, "packs a whole system")
	archive := os.Getenv("IMAGEBUILD_E2E_TREE")
	if archive == "" {
		t.Skip("IMAGEBUILD_E2E_TREE names no archive")
	}
	base, err := tree.Tar(archive)
	if err != nil {
		t.Fatal(err)
	}
	booting, err := bootfiles.Apply(t.Context(), tree.Overlay(base, tree.Remove("etc/ssh/ssh_host_*")), bootfiles.Options{
		RootUUID: identity.RootUUID(), ESPVolumeID: fat.FormatID(identity.ESPVolumeID()), Hostname: "golden", BIOS: true, UEFI: true, Epoch: epoch,
	})
	if err != nil {
		t.Fatal(err)
	}
	if key := os.Getenv("IMAGEBUILD_E2E_KEY"); key != "" {
		public, err := os.ReadFile(key)
		if err != nil {
			t.Fatal(err)
		}
		booting = tree.Overlay(booting, tree.PutDir("root/.ssh", 0o700), tree.PutFile("root/.ssh/authorized_keys", 0o600, public))
	}
	return booting
}

var (
	identity = target.Identity{1, 2, 3}
	epoch    = time.Unix(1700000000, 0).UTC()
)

func e2eRequest(t *testing.T, tr image.Tree, path string, sizeBytes int64) emit.Request {
	t.Helper()
	tool, err := toolroot.Mke2fs(t.Context(), cacheDir(t), report.Discard.Begin("tools"))
	if err != nil {
		t.Fatal(err)
	}
	return emit.Request{
		Tree: tr, Path: path, SizeBytes: sizeBytes, Identity: identity, Epoch: epoch,
		Firmware: emit.Firmware{BIOS: true, UEFI: true}, Mke2fs: tool,
	}
}

func e2eDisk(t *testing.T, path string, sizeBytes int64) emit.Result {
	t.Helper()
	request := e2eRequest(t, e2eTree(t), path, sizeBytes)
	started := time.Now()
	result, err := emit.Disk(t.Context(), request, report.Discard.Begin("disk"))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s: disk of %d bytes from %d entries in %s", request.Mke2fs.Version(), sizeBytes, result.Entries, time.Since(started))
	return result
}

// cacheDir keeps the tools between tests: the user's cache, as a build does.
func cacheDir(t *testing.T) string {
	t.Helper()
	dir, err := os.UserCacheDir()
	if err != nil {
		dir = t.TempDir()
	}
	return filepath.Join(dir, "imagebuild-test")
}

// TestE2EEmit emits twice, under other umasks and names, and lets the
// reference tools judge what came out. IMAGEBUILD_E2E_DISK keeps the disk.
func TestE2EEmit(t *testing.T) {
	path := filepath.Join(t.TempDir(), "disk.raw")
	if keep := os.Getenv("IMAGEBUILD_E2E_DISK"); keep != "" {
		path = keep
	}
	first := e2eDisk(t, path, e2eBytes(t))
	old := syscall.Umask(0o077)
	second := e2eDisk(t, filepath.Join(t.TempDir(), "another folder", "d"), e2eBytes(t))
	syscall.Umask(old)
	if a, b := e2eDigest(t, first.Path), e2eDigest(t, second.Path); a != b {
		t.Errorf("two runs differ: %s and %s", a, b)
	}
	command(t, "sfdisk", "--verify", path)
	esp, root := first.Table.Partitions[1], first.Table.Partitions[2]
	command(t, "fsck.vfat", "-n", cut(t, path, esp))
	command(t, "e2fsck", "-fn", cut(t, path, root))
}

// e2eBytes is the size of the disk: 4 GiB, or what IMAGEBUILD_E2E_BYTES says.
func e2eBytes(t *testing.T) int64 {
	t.Helper()
	text := os.Getenv("IMAGEBUILD_E2E_BYTES")
	if text == "" {
		return 4 << 30
	}
	n, err := size.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return int64(n)
}

func e2eDigest(t *testing.T, path string) string {
	t.Helper()
	disk, err := raw.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	digest, err := raw.Digest(t.Context(), disk)
	if err != nil {
		t.Fatal(err)
	}
	return digest
}

// cut copies one partition to a sparse file.
func cut(t *testing.T, path string, p gpt.Partition) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), p.Name)
	command(t, "dd", "if="+path, "of="+name, "bs=1M", "conv=sparse", "status=none",
		fmt.Sprintf("skip=%d", p.OffsetBytes()>>20), fmt.Sprintf("count=%d", p.SizeBytes()>>20))
	return name
}

func command(t *testing.T, argv ...string) {
	t.Helper()
	var out strings.Builder
	if err := run.Run(t.Context(), run.Spec{Argv: argv, Stdout: &out}); err != nil {
		t.Errorf("%v\n%s", err, out.String())
	}
}

func TestE2ETooSmall(t *testing.T) {
	for _, mib := range []int64{64, 128, 600} {
		base := e2eTree(t)
		_, err := emit.Disk(t.Context(), e2eRequest(t, base, filepath.Join(t.TempDir(), "disk.raw"), mib<<20), report.Discard.Begin("disk"))
		if fault.KindOf(err) != fault.Input || !strings.Contains(err.Error(), "set disk.size to at least") {
			t.Errorf("%d MiB: %v (%s)", mib, err, fault.KindOf(err))
		}
	}
}
