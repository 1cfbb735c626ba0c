package engine

import (
	"bytes"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/org/imagebuild-action/internal/format/initramfs"
	"github.com/org/imagebuild-action/internal/size"
	"github.com/org/imagebuild-action/internal/target"
	"github.com/org/imagebuild-action/internal/vm"
)

const modulesDep = `kernel/fs/ext4/ext4.ko: kernel/lib/crc16.ko kernel/fs/mbcache.ko
kernel/fs/mbcache.ko:
kernel/lib/crc16.ko:
kernel/crypto/crc32c_generic.ko:
kernel/drivers/block/virtio_blk.ko.xz: kernel/drivers/virtio/virtio_ring.ko.xz
kernel/drivers/virtio/virtio_ring.ko.xz:
kernel/drivers/nvme/host/nvme.ko: kernel/drivers/nvme/host/nvme-core.ko
kernel/drivers/nvme/host/nvme-core.ko:
`

// debian is what initramfs-tools makes, as far as it matters.
func debian() map[string][]byte {
	files := map[string][]byte{"usr/lib/modules/6.1.0/modules.dep": []byte(modulesDep)}
	for _, name := range []string{
		"init", "scripts/functions", "scripts/local", "usr/bin/sh", "usr/bin/mkdir", "usr/bin/mount", "usr/bin/umount", "usr/bin/run-init", "sbin/modprobe",
		"usr/lib/modules/6.1.0/modules.softdep", "scripts/init-top/ORDER", "scripts/init-top/udev", "scripts/local-premount/resume",
		"usr/lib/modules/6.1.0/kernel/fs/ext4/ext4.ko", "usr/lib/modules/6.1.0/kernel/fs/mbcache.ko", "usr/lib/modules/6.1.0/kernel/lib/crc16.ko",
		"usr/lib/modules/6.1.0/kernel/crypto/crc32c_generic.ko", "usr/lib/modules/6.1.0/kernel/drivers/block/virtio_blk.ko.xz",
		"usr/lib/modules/6.1.0/kernel/drivers/virtio/virtio_ring.ko.xz",
	} {
		files[name] = []byte(name)
	}
	for _, name := range forOthers {
		files[name] = []byte(name)
	}
	return files
}

// forOthers is what only other machines need.
var forOthers = []string{
	"lib/firmware/amd-ucode/microcode.bin",
	"usr/lib/modules/6.1.0/kernel/drivers/nvme/host/nvme-core.ko",
	"usr/lib/modules/6.1.0/kernel/drivers/nvme/host/nvme.ko",
}

func TestEaseInitramfs(t *testing.T) {
	const args = "root=UUID=1 ro console=ttyS0"
	without := func(names ...string) map[string][]byte {
		files := debian()
		for _, name := range names {
			delete(files, name)
		}
		return files
	}
	machine := func(controller target.Controller, disks int) vm.Config {
		return vm.Config{Hardware: target.Hardware{Controller: controller}, Disks: make([]vm.Disk, disks)}
	}
	virtio := machine(target.VirtioBlk, 1)
	grows := debian()
	grows["scripts/local-bottom/growroot"] = nil
	for name, tc := range map[string]struct {
		files     map[string][]byte
		args      string
		partition int
		machine   vm.Config
		short     bool
	}{
		"cut down":                  {debian(), args, 3, virtio, true},
		"no partitions":             {debian(), args, 0, virtio, true},
		"a root that we do not see": {debian(), args, -1, virtio, false},
		"another disk":              {debian(), args, 3, machine(target.NVMe, 1), false},
		"a seed disk":               {debian(), args, 3, machine(target.VirtioBlk, 2), false},
		"another init":              {debian(), args + " init=/bin/sh", 3, virtio, false},
		"flags for the root":        {debian(), args + " rootflags=data=journal", 3, virtio, false},
		"another file system":       {debian(), args + " rootfstype=xfs", 3, virtio, false},
		"dracut":                    {without("scripts/functions", "usr/bin/run-init"), args, 3, virtio, false},
		"it grows the root":         {grows, args, 3, virtio, false},
		"no table of modules":       {without("usr/lib/modules/6.1.0/modules.dep"), args, 3, virtio, false},
	} {
		t.Run(name, func(t *testing.T) {
			d := &direct{initrd: filepath.Join(t.TempDir(), "initrd"), append: tc.args, partition: tc.partition}
			original := initramfs.Archive(tc.files, 0o644)
			if err := os.WriteFile(d.initrd, original, 0o600); err != nil {
				t.Fatal(err)
			}
			d.easeInitramfs(tc.machine, 1<<20)
			got := members(t, d.initrd)
			want := maps.Clone(tc.files)
			if tc.short {
				for _, name := range forOthers {
					delete(want, name)
				}
				want[shortInit] = got[shortInit]
			}
			if !slices.Equal(slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want))) {
				t.Errorf("it holds %q\nwant %q", slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
			}
			for name, content := range want {
				if !bytes.Equal(got[name], content) {
					t.Errorf("%s: %q", name, got[name])
				}
			}
			if d.short != tc.short || strings.Contains(d.append, " rdinit=/"+shortInit) != tc.short {
				t.Errorf("short is %t, and the arguments %q", d.short, d.append)
			}
			device := map[int]string{3: " /dev/vda3 /root", 0: " /dev/vda /root"}[tc.partition]
			if tc.short && !strings.Contains(string(got[shortInit]), "mount -t ext4 -o ro"+device) {
				t.Errorf("it mounts another root:\n%s", got[shortInit])
			}
		})
	}
}

// members reads an initramfs.
func members(t *testing.T, file string) map[string][]byte {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	all := map[string][]byte{}
	err = initramfs.Walk(f, func(name string, content io.Reader) error {
		data, err := io.ReadAll(content)
		all[name] = data
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestEaseNothing: what is not understood is started as it is.
func TestEaseNothing(t *testing.T) {
	dir := t.TempDir()
	d := &direct{kernel: filepath.Join(dir, "kernel"), initrd: filepath.Join(dir, "initrd"), append: "root=UUID=1 console=ttyS0"}
	before := *d
	for _, file := range []string{d.kernel, d.initrd} {
		if err := os.WriteFile(file, []byte("\xfd7zXZ\x00 of another kind"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	d.ease(t.Context(), vm.Config{Hardware: target.Hardware{Memory: size.GiB, Controller: target.VirtioBlk, Firmware: target.BIOS}, Disks: make([]vm.Disk, 1)})
	if d.kernel != before.kernel || d.initrd != before.initrd || d.eased() != "" || d.append != before.append+" "+emulatedArgs {
		t.Errorf("%+v", d)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 2 {
		t.Errorf("%d files, %v", len(left), err)
	}
}
