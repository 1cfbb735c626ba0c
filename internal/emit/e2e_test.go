package emit_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/org/imagebuild-action/internal/bootfiles"
	"github.com/org/imagebuild-action/internal/emit"
	"github.com/org/imagebuild-action/internal/format/fat"
	"github.com/org/imagebuild-action/internal/report"
	"github.com/org/imagebuild-action/internal/target"
	"github.com/org/imagebuild-action/internal/toolroot"
	"github.com/org/imagebuild-action/internal/tree"
)

// e2eDisk emits a disk from the bootable tree in the tar archive that
// IMAGEBUILD_E2E_TREE names.
func e2eDisk(t *testing.T, path string, sizeBytes int64) emit.Result {
	t.Helper()
	if os.Getenv("IMAGEBUILD_E2E") == "" {
		t.Skip("IMAGEBUILD_E2E is not set")
	}
	archive := os.Getenv("IMAGEBUILD_E2E_TREE")
	if archive == "" {
		t.Skip("IMAGEBUILD_E2E_TREE names no archive")
	}
	base, err := tree.Tar(archive)
	if err != nil {
		t.Fatal(err)
	}
	id, epoch := target.Identity{1, 2, 3}, time.Unix(1700000000, 0).UTC()
	started := time.Now()
	booting, err := bootfiles.Apply(t.Context(), tree.Overlay(base, tree.Remove("etc/ssh/ssh_host_*")), bootfiles.Options{
		RootUUID: id.RootUUID(), ESPVolumeID: fat.FormatID(id.ESPVolumeID()), Hostname: "golden", BIOS: true, UEFI: true, Epoch: epoch,
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
	tool, err := toolroot.Mke2fs(t.Context(), cacheDir(t), report.Discard.Begin("tools"))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s; prepared in %s", tool.Version(), time.Since(started))
	started = time.Now()
	result, err := emit.Disk(t.Context(), emit.Request{
		Tree: booting, Path: path, SizeBytes: sizeBytes, Identity: id, Epoch: epoch,
		Firmware: emit.Firmware{BIOS: true, UEFI: true}, Mke2fs: tool,
	}, report.Discard.Begin("disk"))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("disk of %d bytes from %d entries in %s", sizeBytes, result.Entries, time.Since(started))
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

func TestE2EEmit(t *testing.T) {
	path := filepath.Join(t.TempDir(), "disk.raw")
	if keep := os.Getenv("IMAGEBUILD_E2E_DISK"); keep != "" {
		path = keep
	}
	e2eDisk(t, path, 4<<30)
}
