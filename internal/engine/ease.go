package engine

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/org/imagebuild-action/internal/format/bzimage"
	"github.com/org/imagebuild-action/internal/format/initramfs"
	"github.com/org/imagebuild-action/internal/target"
	"github.com/org/imagebuild-action/internal/vm"
)

// emulatedArgs are further arguments of a kernel whose processor is emulated.
// QEMU translates code once for each address that it runs at, so the kernel, and
// each program whenever it is started, are at addresses that anybody can guess:
// that is worth a quarter of a build.
const emulatedArgs = "nokaslr norandmaps"

// ease does for an emulated processor what takes it seconds, and us a moment:
// the kernel is unpacked, and so is its initramfs, without what this machine has
// no use for. What cannot be done is left to the guest, as its own boot would.
func (d *direct) ease(ctx context.Context, machine vm.Config) {
	d.append += " " + emulatedArgs
	limit := int64(machine.Hardware.Memory) / 4
	var both sync.WaitGroup
	both.Go(func() { d.easeKernel(ctx, machine.Hardware, limit) })
	both.Go(func() { d.easeInitramfs(machine, limit) })
	both.Wait()
}

// easeKernel puts the kernel proper in the place of one that unpacks itself. It
// finds no screen until it has loaded a driver for it, so it has to have a serial
// console; and a UEFI firmware would not start it.
func (d *direct) easeKernel(ctx context.Context, hardware target.Hardware, limit int64) {
	if hardware.Firmware == target.UEFI || !strings.Contains(d.append, "console=ttyS") {
		return
	}
	unpacked := d.kernel + ".elf"
	err := rewrite(unpacked, d.kernel, func(out io.Writer, in *os.File) error { return bzimage.Unpack(ctx, out, in, limit) })
	if err != nil {
		return
	}
	f, err := os.Open(unpacked)
	if err != nil {
		return
	}
	defer f.Close()
	if ok, err := bzimage.HasPVH(f); ok && err == nil {
		d.kernel, d.unpacked = unpacked, true
	}
}

// easeInitramfs puts one with nothing in it compressed in the place of the
// guest's own and, where that is one of initramfs-tools that has nothing to do
// but mount the root, one that does just this. A guest with a seed disk keeps its
// own, which finds that disk as well: cloud-init's generator looks for it as the
// first thing in the root, long before the drivers that are in there are loaded.
func (d *direct) easeInitramfs(machine vm.Config, limit int64) {
	unpacked := d.initrd + ".cpio"
	contents, err := survey(d.initrd)
	if err != nil {
		return
	}
	short := contents.mountsRoot() && d.mountsRoot() && machine.Hardware.Controller == target.VirtioBlk && len(machine.Disks) == 1
	err = rewrite(unpacked, d.initrd, func(out io.Writer, in *os.File) error {
		var keep func(name string) bool
		if short {
			keep = contents.keeps
		}
		if err := initramfs.Uncompress(out, in, limit, keep); err != nil || !short {
			return err
		}
		_, err := out.Write(initramfs.Archive(map[string][]byte{shortInit: d.shortInit()}, 0o755))
		return err
	})
	if err != nil {
		return
	}
	d.initrd = unpacked
	if d.short = short; short {
		d.append += " rdinit=/" + shortInit
	}
}

// rewrite makes a file of another, or none.
func rewrite(to, from string, fn func(out io.Writer, in *os.File) error) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	buffered := bufio.NewWriterSize(out, 1<<20)
	err = fn(buffered, in)
	if err = errors.Join(err, buffered.Flush(), out.Close()); err != nil {
		return errors.Join(err, os.Remove(to))
	}
	return nil
}

// shortInit is our program in the initramfs. It gives way to the guest's own if
// it finds anything but a root that it can start.
const shortInit = "imagebuild-init"

const shortInitText = `#!/bin/sh
export PATH=/sbin:/usr/sbin:/bin:/usr/bin
mkdir -p /dev /proc /sys /root
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs udev /dev
modprobe -a -q %s
if mount -t ext4 -o %s %s /root; then
	if [ -L /root/sbin/init ] || [ -x /root/sbin/init ]; then
		mount -o move /dev /root/dev
		mount -o move /sys /root/sys
		mount -o move /proc /root/proc
		exec run-init /root /sbin/init "$@" </root/dev/console >/root/dev/console 2>&1
	fi
	umount /root
fi
exec /init "$@"
`

// rootModules are what a root on this machine's disk needs, where the kernel
// does not have it built in. The checksums of ext4 are of a module that it does
// not name as one that it depends on.
var rootModules = []string{"virtio_pci", "virtio_blk", "crc32c_generic", "crc32c_intel", "libcrc32c", "ext4"} //nolint:gochecknoglobals // a constant list

func (d *direct) shortInit() []byte {
	mode := "ro"
	if slices.Contains(strings.Fields(d.append), "rw") {
		mode = "rw"
	}
	device := "/dev/vda"
	if d.partition > 0 {
		device = fmt.Sprintf("%s%d", device, d.partition)
	}
	return fmt.Appendf(nil, shortInitText, strings.Join(rootModules, " "), mode, device)
}

// mountsRoot tells whether the kernel's arguments ask for nothing else: their
// root is the partition that we know, and none is one of those that
// initramfs-tools(7) has for what we do not do.
func (d *direct) mountsRoot() bool {
	if d.partition < 0 {
		return false
	}
	for _, each := range strings.Fields(d.append) {
		name, _, _ := strings.Cut(each, "=")
		switch name {
		case "init", "rdinit", "rootflags", "boot", "break", "nfsroot", "overlayroot", "netboot", "initramfs.runsize", "fsck.mode", "fsck.repair":
			return false
		}
		if each == "rootfstype=ext4" || each == "rootfstype=auto" {
			continue
		}
		if name == "rootfstype" {
			return false
		}
	}
	return true
}

// idleScripts are those in an initramfs that find the root, or make a person
// comfortable: neither is needed here. Any other may do something that the
// system counts on, as the one that grows the root.
var idleScripts = []string{ //nolint:gochecknoglobals // a constant list
	"ORDER", "all_generic_ide", "blacklist", "keymap", "udev", "resume", "console_setup", "framebuffer", "plymouth", "brltty", "thermal", "fixrtc",
	"lvm2", "dmsetup", "mdadm", "btrfs", "multipath", "iscsi", "ntfs_3g", "cryptroot", "cryptroot-prepare", "cryptroot-unlock", "cryptopensc", "cryptgnupg-sc",
}

// maxDependencies bounds the table of an initramfs that is read into memory.
const maxDependencies = 4 << 20

// contents is what is known of an initramfs.
type contents struct {
	programs map[string]bool   // by their names, those that the short init needs
	needed   map[string]bool   // paths of modules, below their kernel's folder
	depends  map[string]string // lines of modules.dep: a path, and those it depends on
	scripts  []string          // that are not idle
}

// survey looks into an initramfs.
func survey(file string) (contents, error) {
	c := contents{programs: map[string]bool{}, needed: map[string]bool{}, depends: map[string]string{}}
	f, err := os.Open(file)
	if err != nil {
		return c, err
	}
	defer f.Close()
	err = initramfs.Walk(f, func(name string, content io.Reader) error {
		dir, base := path.Split(path.Clean("/" + name))
		switch {
		case base == "modules.dep":
			table, err := io.ReadAll(io.LimitReader(content, maxDependencies))
			for line := range strings.Lines(string(table)) {
				module, others, _ := strings.Cut(strings.TrimSpace(line), ":")
				c.depends[module] = others
			}
			return err
		case dir == "/" && base == "init", dir == "/scripts/", strings.HasSuffix(dir, "bin/"):
			c.programs[base] = true
		}
		if script := path.Dir(path.Dir(path.Clean("/" + name))); script == "/scripts" && !slices.Contains(idleScripts, base) {
			c.scripts = append(c.scripts, base)
		}
		return nil
	})
	for module := range c.depends {
		if name, _ := initramfs.ModuleName(module); slices.Contains(rootModules, name) {
			c.need(module)
		}
	}
	return c, err
}

func (c contents) need(module string) {
	if c.needed[module] {
		return
	}
	c.needed[module] = true
	for _, other := range strings.Fields(c.depends[module]) {
		c.need(other)
	}
}

// mountsRoot tells whether it is one of initramfs-tools, by the functions that
// all of its scripts use, has what the short init is made of, and does nothing
// that we do not know.
func (c contents) mountsRoot() bool {
	for _, name := range []string{"init", "functions", "local", "sh", "mkdir", "mount", "umount", "modprobe", "run-init"} {
		if !c.programs[name] {
			return false
		}
	}
	return len(c.depends) > 0 && len(c.scripts) == 0
}

// keeps leaves out modules and firmware for devices that this machine has not.
func (c contents) keeps(name string) bool {
	name = strings.TrimPrefix(strings.TrimPrefix(path.Clean("/"+name), "/"), "usr/")
	if strings.HasPrefix(name, "lib/firmware/") {
		return false
	}
	rest, ok := strings.CutPrefix(name, "lib/modules/")
	if _, isModule := initramfs.ModuleName(rest); !ok || !isModule {
		return true
	}
	_, module, _ := strings.Cut(rest, "/")
	return c.needed[module]
}
