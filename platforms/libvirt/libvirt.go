// Package libvirt packs images for QEMU and libvirt: a qcow2 disk, and a
// Vagrant box for the provider "libvirt".
//
//	platforms:
//	  libvirt:
//	    controller: virtio-scsi
//	    formats: [qcow2]
//
// The box has vagrant-libvirt's layout of version 1 (box.img with its size in
// metadata.json), which every release reads, or of version 2 (a list of disks).
// Its Vagrantfile sets the machine up as configured, for vagrant-libvirt does
// not read hardware from anywhere else. The guest gets qemu-guest-agent.
//
// It refuses IDE disks under UEFI: the machine type that UEFI needs has none.
package libvirt

import (
	"context"
	"fmt"
	"strings"

	"github.com/org/imagebuild-action/internal/format/qcow2"
	"github.com/org/imagebuild-action/internal/format/tarball"
	"github.com/org/imagebuild-action/internal/format/vagrantbox"
	"github.com/org/imagebuild-action/internal/image"
	"github.com/org/imagebuild-action/internal/report"
	"github.com/org/imagebuild-action/internal/target"
	"github.com/org/imagebuild-action/internal/template"
	"github.com/org/imagebuild-action/platforms/internal/pack"
)

// Name is the kind's name in a template.
const Name = "libvirt"

// provider is Vagrant's name for it.
const provider = "libvirt"

// Doc is the kind's sentence in the manual.
const Doc = "QEMU and libvirt: a qcow2 disk and a Vagrant box."

// BoxLayout is vagrant-libvirt's box format.
type BoxLayout string

// The layouts.
const (
	LayoutV1 BoxLayout = "v1"
	LayoutV2 BoxLayout = "v2"
)

// Config is what a template can say.
type Config struct {
	pack.Machine
	Controller  target.Controller `yaml:"controller" enum:"virtio-blk,virtio-scsi,ahci,ide" doc:"Disk controller."`
	NIC         target.NIC        `yaml:"nic" enum:"virtio-net,e1000,e1000e" doc:"Network card."`
	Formats     []image.Kind      `yaml:"formats" enum:"box,qcow2" doc:"What to write."`
	Layout      BoxLayout         `yaml:"layout" enum:"v1,v2" doc:"Layout of the box; v2 needs vagrant-libvirt 0.5.2."`
	Compression qcow2.Compression `yaml:"compression" enum:"zstd,zlib" doc:"Of the qcow2 disk; zstd needs QEMU 5.1 (2020) and packs several times as fast."`
	Vagrantfile string            `yaml:"vagrantfile" doc:"Ruby code for the box's own Vagrantfile, run with config at hand."`
}

// NewConfig returns the defaults.
func NewConfig() *Config {
	return &Config{
		Machine: pack.DefaultMachine(), Controller: target.VirtioBlk, NIC: target.VirtioNet,
		Formats: []image.Kind{image.Box, image.QCOW2}, Layout: LayoutV1, Compression: qcow2.Zstd,
	}
}

// Validate implements template.Validator.
func (c *Config) Validate(faults template.Faults) {
	c.Machine.Validate(faults)
	pack.CheckFormats(c.Formats, faults)
	if c.Firmware == target.UEFI && c.Controller == target.IDE {
		faults.Add("controller", "a machine with UEFI has no ide controller; use virtio-blk, virtio-scsi or ahci")
	}
}

// Platform packs for one entry of a template.
type Platform struct {
	pack.Platform
	config Config
}

// New returns the platform called name.
func New(name string, config *Config) *Platform {
	machine := config.Hardware(config.Controller, config.NIC)
	return &Platform{pack.Platform{Name: name, Machine: machine}, *config}
}

// GuestPackages are QEMU's agent, which Debian and its kin have.
func GuestPackages(osName, _ string) []string {
	switch osName {
	case "debian", "ubuntu":
		return []string{"qemu-guest-agent"}
	}
	return nil
}

// Pack writes the formats asked for.
func (p *Platform) Pack(ctx context.Context, job target.Job, task report.Task) ([]image.Artifact, error) {
	return pack.All(ctx, job, task, p.Name, p.config.Formats, pack.Writers{
		image.Box: {Ext: "box", Variant: target.Vagrant, Provider: provider, Write: func(ctx context.Context, path string, task report.Task) (tarball.Sum, error) {
			return p.box(ctx, job, path, task)
		}},
		image.QCOW2: {Ext: "qcow2", Variant: target.Canonical, Write: func(ctx context.Context, path string, task report.Task) (tarball.Sum, error) {
			return p.qcow2(ctx, job, path, task)
		}},
	})
}

// diskName is the disk's name in a box, which layout v1 demands.
const diskName = "box.img"

func (p *Platform) metadata(job target.Job, sizeBytes int64) vagrantbox.Metadata {
	m := vagrantbox.Metadata{Provider: provider, Architecture: job.Arch}
	if p.config.Layout == LayoutV2 {
		m.Disks = []vagrantbox.Disk{{Path: diskName, Format: "qcow2"}}
		return m
	}
	m.Format, m.VirtualSizeGB = "qcow2", vagrantbox.WholeGB(sizeBytes)
	return m
}

// bus is vagrant-libvirt's word for a controller, disk_bus.
func bus(c target.Controller) string {
	switch c {
	case target.VirtioSCSI:
		return "scsi"
	case target.AHCI:
		return "sata"
	case target.IDE:
		return "ide"
	}
	return "virtio"
}

// vagrantfile sets the machine up.
func (p *Platform) vagrantfile() string {
	h := p.Hardware()
	nic := string(h.NIC)
	if h.NIC == target.VirtioNet {
		nic = "virtio"
	}
	var b strings.Builder
	b.WriteString("Vagrant.configure(\"2\") do |config|\n  config.vm.provider :libvirt do |libvirt|\n")
	fmt.Fprintf(&b, "    libvirt.cpus = %d\n    libvirt.memory = %d\n", h.CPUs, h.Memory>>20)
	fmt.Fprintf(&b, "    libvirt.disk_bus = %q\n    libvirt.nic_model_type = %q\n", bus(h.Controller), nic)
	if h.Firmware == target.UEFI {
		// Where the distributions have it; a user's Vagrantfile comes later and wins.
		b.WriteString("    libvirt.machine_type = \"q35\"\n")
		b.WriteString("    libvirt.loader = %w[/usr/share/OVMF/OVMF_CODE_4M.fd /usr/share/OVMF/OVMF_CODE.fd\n" +
			"      /usr/share/edk2/ovmf/OVMF_CODE.fd /usr/share/edk2/x64/OVMF_CODE.4m.fd].find { |file| File.exist?(file) }\n")
	}
	b.WriteString("  end\n")
	b.WriteString(pack.Ruby(p.config.Vagrantfile))
	b.WriteString("end\n")
	return b.String()
}
