package bootfiles

import (
	"context"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/org/imagebuild-action/internal/format/initramfs"
	"github.com/org/imagebuild-action/internal/image"
)

// A driver is needed on some platform. Disk drivers must be in the initramfs,
// because the root cannot be mounted without them; network cards have time
// until the root is there.
type driver struct {
	module string
	disk   bool
	why    string
}

var drivers = []driver{
	{"ext4", true, "the root file system"},
	{"sd_mod", true, "SCSI and SATA disks"},
	{"ahci", true, "SATA in VirtualBox, VMware and QEMU"},
	{"ata_piix", true, "IDE in VirtualBox and QEMU"},
	{"mptspi", true, "LSI Logic parallel in VMware and VirtualBox"},
	{"mptsas", true, "LSI Logic SAS in VMware and VirtualBox"},
	{"vmw_pvscsi", true, "the paravirtual SCSI of VMware"},
	{"nvme", true, "NVMe in VMware and in EC2"},
	{"virtio_pci", true, "every virtio device"},
	{"virtio_blk", true, "virtio disks in libvirt"},
	{"virtio_scsi", true, "virtio SCSI disks in libvirt"},
	{"xen-blkfront", true, "disks of older EC2 instance types"},
	{"virtio_net", false, "virtio network cards in libvirt"},
	{"e1000", false, "Intel network cards in VirtualBox and VMware"},
	{"e1000e", false, "Intel network cards in VMware"},
	{"vmxnet3", false, "the paravirtual network card of VMware"},
	{"ena", false, "network cards in EC2"},
	{"xen-netfront", false, "network cards of older EC2 instance types"},
}

// Lack is a driver that a kernel of the image does not have where it is needed.
type Lack struct {
	Kernel string // version
	Module string // as "vmw_pvscsi"
	Where  string // "initramfs" or "kernel"
	Why    string // what will not work
}

// String is a sentence for a warning.
func (l Lack) String() string {
	if l.Where == "initramfs" {
		return fmt.Sprintf("the initramfs of kernel %s lacks %s (%s): set MODULES=most in /etc/initramfs-tools/initramfs.conf", l.Kernel, l.Module, l.Why)
	}
	return fmt.Sprintf("kernel %s lacks %s (%s): install the distribution's full kernel, not one for a cloud", l.Kernel, l.Module, l.Why)
}

// CheckDrivers lists what the kernels in the tree lack for the platforms that
// an image may be meant for, in a fixed order. An initramfs that it cannot read
// is an error.
func CheckDrivers(ctx context.Context, t image.Tree) ([]Lack, error) {
	inImage := map[string]map[string]bool{}  // kernel version to modules in its initramfs
	inKernel := map[string]map[string]bool{} // to modules on the root
	builtin := map[string]map[string]bool{}
	note := func(in map[string]map[string]bool, version, module string) {
		if in[version] == nil {
			in[version] = map[string]bool{}
		}
		in[version][module] = true
	}
	images := map[string]bool{}
	err := t.Walk(ctx, func(e *image.Entry, content io.Reader) error {
		dir, name := path.Split(e.Path)
		if dir == "boot/" && content != nil {
			images[name] = true
			version, ok := strings.CutPrefix(name, "initrd.img-")
			if !ok {
				return nil
			}
			err := initramfs.Walk(content, func(name string, _ io.Reader) error {
				if module, ok := initramfs.ModuleName(name); ok {
					note(inImage, version, module)
				}
				return nil
			})
			if err != nil {
				return fmt.Errorf("read /%s: %w", e.Path, err)
			}
			return nil
		}
		rest, ok := strings.CutPrefix(strings.TrimPrefix(e.Path, "usr/"), "lib/modules/")
		if !ok {
			return nil
		}
		version, file, _ := strings.Cut(rest, "/")
		if module, ok := initramfs.ModuleName(file); ok {
			note(inKernel, version, module)
		}
		if file != "modules.builtin" || content == nil {
			return nil
		}
		data, err := io.ReadAll(content)
		for line := range strings.Lines(string(data)) {
			if module, ok := initramfs.ModuleName(strings.TrimSpace(line)); ok {
				note(builtin, version, module)
			}
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	var lacks []Lack
	for _, version := range kernels(images) {
		for _, d := range drivers {
			name := canonicalModule(d.module)
			switch {
			case builtin[version][name]:
			case !inKernel[version][name]:
				lacks = append(lacks, Lack{version, d.module, "kernel", d.why})
			case d.disk && !inImage[version][name]:
				lacks = append(lacks, Lack{version, d.module, "initramfs", d.why})
			}
		}
	}
	return lacks, nil
}

// canonicalModule treats both dashes alike, as modprobe does.
func canonicalModule(name string) string { return strings.ReplaceAll(name, "-", "_") }
