// Package virtualbox packs images for VirtualBox 6.1 and newer: a Vagrant box
// for the provider "virtualbox", and an OVA.
//
//	platforms:
//	  virtualbox:
//	    memory: 2GiB
//	    firmware: uefi
//	    formats: [box]
//
// Both hold the disk as a streamOptimized VMDK, which VirtualBox unpacks on
// import, and an envelope of VirtualBox's own kind; VMware does not take it.
// No guest additions are installed: the kernel's own vboxguest and vboxsf
// serve. VirtualBox itself is not needed.
//
// It refuses arm64, IDE and SCSI disks under UEFI, which nobody has seen its
// firmware boot from, and NVMe under BIOS, which cannot.
package virtualbox

import (
	"context"
	"fmt"
	"strings"

	"github.com/org/imagebuild-action/internal/format/ovf"
	"github.com/org/imagebuild-action/internal/format/tarball"
	"github.com/org/imagebuild-action/internal/format/vagrantbox"
	"github.com/org/imagebuild-action/internal/image"
	"github.com/org/imagebuild-action/internal/report"
	"github.com/org/imagebuild-action/internal/target"
	"github.com/org/imagebuild-action/internal/template"
	"github.com/org/imagebuild-action/platforms/internal/pack"
)

// Name is the kind's name in a template.
const Name = "virtualbox"

// provider is Vagrant's name for it.
const provider = "virtualbox"

// Doc is the kind's sentence in the manual.
const Doc = "VirtualBox 6.1 and newer: a Vagrant box and an OVA."

// oui is the vendor prefix of VirtualBox's network cards.
var oui = [3]byte{0x08, 0x00, 0x27} //nolint:gochecknoglobals // a constant

// Config is what a template can say.
type Config struct {
	pack.Machine
	Controller  target.Controller `yaml:"controller" enum:"ahci,ide,lsilogic,virtio-scsi,nvme" doc:"Disk controller."`
	NIC         target.NIC        `yaml:"nic" enum:"e1000,virtio-net" doc:"Network card, in NAT mode."`
	Formats     []image.Kind      `yaml:"formats" enum:"box,ova" doc:"What to write."`
	Vagrantfile string            `yaml:"vagrantfile" doc:"Ruby code for the box's own Vagrantfile, run with config at hand."`
}

// NewConfig returns the defaults.
func NewConfig() *Config {
	return &Config{
		Machine: pack.DefaultMachine(), Controller: target.AHCI, NIC: target.E1000,
		Formats: []image.Kind{image.Box, image.OVA},
	}
}

// Validate implements template.Validator.
func (c *Config) Validate(faults template.Faults) {
	c.Machine.Validate(faults)
	pack.CheckFormats(c.Formats, faults)
	uefi := c.Firmware == target.UEFI
	switch c.Controller {
	case target.IDE, target.LSILogic, target.VirtioSCSI:
		if uefi {
			faults.Add("controller", "VirtualBox's UEFI is not known to boot from %s; use ahci or nvme", c.Controller)
		}
	case target.NVMe:
		if !uefi {
			faults.Add("controller", "VirtualBox's BIOS does not boot from nvme; use ahci, or firmware: uefi")
		}
	}
	if most := 64; c.CPUs > most && c.CPUs <= 128 {
		faults.Add("cpus", "VirtualBox takes %d at most", most)
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

// GuestPackages are none: the kernel's own drivers serve.
func GuestPackages(string, string) []string { return nil }

// Pack writes the formats asked for.
func (p *Platform) Pack(ctx context.Context, job target.Job, task report.Task) ([]image.Artifact, error) {
	if err := pack.OnlyAMD64(p.Name, job); err != nil {
		return nil, err
	}
	return pack.All(ctx, job, task, p.Name, p.config.Formats, pack.Writers{
		image.Box: {Ext: "box", Variant: target.Vagrant, Provider: provider, Write: func(ctx context.Context, path string, task report.Task) (tarball.Sum, error) {
			return p.box(ctx, job, path, task)
		}},
		image.OVA: {Ext: "ova", Variant: target.Canonical, Write: func(ctx context.Context, path string, task report.Task) (tarball.Sum, error) {
			return pack.OVA(ctx, job, path, task, p.spec(job))
		}},
	})
}

// spec is the machine, but for its disk.
func (p *Platform) spec(job target.Job) ovf.Spec {
	return ovf.Spec{
		Flavour: ovf.VirtualBox, Name: job.Name, Version: job.Version, OSName: job.OSName, Hardware: p.Hardware(),
		MachineUUID: job.Identity.UUID(p.Name + "/machine"), DiskUUID: job.Identity.UUID(p.Name + "/disk"),
		MAC: job.Identity.MAC(p.Name, oui),
	}
}

// diskName is the disk's name in a box.
const diskName = "disk.vmdk"

func (p *Platform) box(ctx context.Context, job target.Job, path string, task report.Task) (sum tarball.Sum, err error) {
	vmdk, content, err := pack.OpenVMDK(ctx, job, target.Vagrant, task)
	if err != nil {
		return sum, err
	}
	defer content.Close()
	spec := p.spec(job)
	spec.Disk = pack.DiskFile(diskName, vmdk)
	envelope, err := ovf.Render(spec)
	if err != nil {
		return sum, err
	}
	return pack.Box{
		Form: tarball.Plain, Metadata: vagrantbox.Metadata{Provider: provider, Architecture: job.Arch},
		Vagrantfile: p.vagrantfile(spec.MAC), Machine: pack.Member{Name: "box.ovf", Content: envelope}, // the name that Vagrant looks for
		DiskName: diskName, DiskBytes: vmdk.SizeBytes, Disk: content,
		Progress: func(done int64) { task.Progress(min(done, vmdk.SizeBytes), vmdk.SizeBytes) },
	}.Write(ctx, job, path)
}

// vagrantfile sets the MAC address, which Vagrant gives to the first card of
// every machine made from the box.
func (p *Platform) vagrantfile(mac string) string {
	var b strings.Builder
	b.WriteString("Vagrant.configure(\"2\") do |config|\n")
	fmt.Fprintf(&b, "  config.vm.base_mac = %q\n", mac)
	b.WriteString(pack.Ruby(p.config.Vagrantfile))
	b.WriteString("end\n")
	return b.String()
}
