// Package vmware packs images for VMware: a Vagrant box for the provider
// "vmware_desktop" (Workstation and Fusion), and an OVA for those and for ESXi
// and vCenter 6.7 and newer.
//
//	platforms:
//	  vmware:
//	    cpus: 4
//	    nic: e1000e
//	    formats: [ova]
//
// The box holds a .vmx and a monolithicSparse VMDK, because Workstation runs it
// where it lies; the OVA holds a streamOptimized one, because it is a transport
// format. No tool of VMware's is needed. The guest gets open-vm-tools.
//
// It refuses arm64, IDE disks under UEFI, and LSI Logic's parallel SCSI under
// UEFI.
package vmware

import (
	"bytes"
	"context"
	"strconv"

	"github.com/org/imagebuild-action/internal/format/ovf"
	"github.com/org/imagebuild-action/internal/format/tarball"
	"github.com/org/imagebuild-action/internal/format/vagrantbox"
	"github.com/org/imagebuild-action/internal/format/vmdk"
	"github.com/org/imagebuild-action/internal/format/vmx"
	"github.com/org/imagebuild-action/internal/image"
	"github.com/org/imagebuild-action/internal/report"
	"github.com/org/imagebuild-action/internal/target"
	"github.com/org/imagebuild-action/internal/template"
	"github.com/org/imagebuild-action/platforms/internal/pack"
)

// Name is the kind's name in a template.
const Name = "vmware"

// provider is Vagrant's name for it.
const provider = "vmware_desktop"

// Doc is the kind's sentence in the manual.
const Doc = "VMware Workstation, Fusion, ESXi and vCenter: a Vagrant box and an OVA."

// Config is what a template can say.
type Config struct {
	pack.Machine
	Controller  target.Controller `yaml:"controller" enum:"pvscsi,lsilogic,ahci,nvme,ide" doc:"Disk controller."`
	NIC         target.NIC        `yaml:"nic" enum:"vmxnet3,e1000,e1000e" doc:"Network card, in NAT mode."`
	Formats     []image.Kind      `yaml:"formats" enum:"box,ova" doc:"What to write."`
	Vagrantfile string            `yaml:"vagrantfile" doc:"Ruby code for the box's own Vagrantfile, run with config at hand."`
}

// NewConfig returns the defaults.
func NewConfig() *Config {
	return &Config{
		Machine: pack.DefaultMachine(), Controller: target.PVSCSI, NIC: target.VMXNet3,
		Formats: []image.Kind{image.Box, image.OVA},
	}
}

// Validate implements template.Validator.
func (c *Config) Validate(faults template.Faults) {
	c.Machine.Validate(faults)
	pack.CheckFormats(c.Formats, faults)
	if c.Firmware == target.UEFI && (c.Controller == target.IDE || c.Controller == target.LSILogic) {
		faults.Add("controller", "VMware's UEFI does not boot from %s; use pvscsi, ahci or nvme", c.Controller)
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

// GuestPackages are VMware's tools, which Debian and its kin have.
func GuestPackages(osName, _ string) []string {
	switch osName {
	case "debian", "ubuntu":
		return []string{"open-vm-tools"}
	}
	return nil
}

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
			return pack.OVA(ctx, job, path, task, ovf.Spec{
				Flavour: ovf.VMware, Name: job.Name, Version: job.Version, OSName: job.OSName, Hardware: p.Hardware(),
			})
		}},
	})
}

// diskName is the disk's name in a box.
const diskName = "disk.vmdk"

func (p *Platform) box(ctx context.Context, job target.Job, path string, task report.Task) (sum tarball.Sum, err error) {
	disk, err := job.Disks.Disk(ctx, target.Vagrant)
	if err != nil {
		return sum, err
	}
	machine, err := p.machine(job)
	if err != nil {
		return sum, err
	}
	// The archive wants the disk's size before its first byte.
	plan, err := vmdk.PlanSparse(ctx, disk, vmdk.SparseOptions{
		CID: job.Identity.Uint32(p.Name + "/cid"), FileName: diskName, HWVersion: strconv.Itoa(ovf.VMwareHardwareVersion),
		Progress: task.Progress,
	})
	if err != nil {
		return sum, err
	}
	content := pack.Pipe(ctx, plan.Write)
	defer content.Close()
	return pack.Box{
		Form: tarball.Gzip, Metadata: vagrantbox.Metadata{Provider: provider, Architecture: job.Arch},
		Vagrantfile: "Vagrant.configure(\"2\") do |config|\n" + pack.Ruby(p.config.Vagrantfile) + "end\n",
		Machine:     pack.Member{Name: job.Name + ".vmx", Content: machine},
		DiskName:    diskName, DiskBytes: plan.SizeBytes(), Disk: content,
	}.Write(ctx, job, path)
}

// machine renders the .vmx.
func (p *Platform) machine(job target.Job) ([]byte, error) {
	d := p.dictionary(job)
	var out bytes.Buffer
	_, err := d.WriteTo(&out)
	return out.Bytes(), err
}

// devices names the first disk's bus in a .vmx, and its controller's model if
// the bus has a choice of them.
func devices(c target.Controller) (bus, model string) {
	switch c {
	case target.PVSCSI, target.LSILogic:
		return "scsi0", string(c)
	case target.AHCI:
		return "sata0", ""
	case target.NVMe:
		return "nvme0", ""
	}
	return "ide0", ""
}

func (p *Platform) dictionary(job target.Job) *vmx.Dictionary {
	h := p.Hardware()
	d := &vmx.Dictionary{}
	set := func(pairs ...string) {
		for i := 0; i < len(pairs); i += 2 {
			d.Set(pairs[i], pairs[i+1])
		}
	}
	set("config.version", "8", "virtualHW.version", strconv.Itoa(ovf.VMwareHardwareVersion),
		"displayName", job.Name, "annotation", job.Name+" "+job.Version, "guestOS", guestOS(job.OSName))
	if h.Firmware == target.UEFI {
		set("firmware", "efi")
	} else {
		set("firmware", "bios")
	}
	set("numvcpus", strconv.Itoa(h.CPUs), "memsize", strconv.FormatInt(int64(h.Memory>>20), 10))
	// Without these bridges there is no slot for PCI Express devices, which
	// vmxnet3, pvscsi and e1000e are.
	set("pciBridge0.present", "TRUE")
	for _, bridge := range []string{"pciBridge4", "pciBridge5", "pciBridge6", "pciBridge7"} {
		set(bridge+".present", "TRUE", bridge+".virtualDev", "pcieRootPort", bridge+".functions", "8")
	}
	bus, model := devices(h.Controller)
	if bus != "ide0" {
		set(bus+".present", "TRUE")
	}
	if model != "" {
		set(bus+".virtualDev", model)
	}
	set(bus+":0.present", "TRUE", bus+":0.fileName", diskName)
	set("ethernet0.present", "TRUE", "ethernet0.connectionType", "nat", "ethernet0.virtualDev", string(h.NIC),
		"ethernet0.addressType", "generated")
	set("floppy0.present", "FALSE", "hpet0.present", "TRUE", "vmci0.present", "TRUE",
		"tools.syncTime", "FALSE", "rtc.diffFromUTC", "0", "powerType.powerOff", "soft", "powerType.reset", "soft")
	return d
}

// guestOS is the .vmx's word for the system.
func guestOS(osName string) string {
	switch osName {
	case "debian":
		return "debian10-64"
	case "ubuntu":
		return "ubuntu-64"
	}
	return "other4xlinux-64"
}
