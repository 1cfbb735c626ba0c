package platforms_test

import (
	"strings"
	"testing"

	"github.com/org/imagebuild-action/internal/image"
	"github.com/org/imagebuild-action/internal/size"
	"github.com/org/imagebuild-action/internal/target"
	"github.com/org/imagebuild-action/internal/template"
	"github.com/org/imagebuild-action/platforms/libvirt"
	"github.com/org/imagebuild-action/platforms/virtualbox"
	"github.com/org/imagebuild-action/platforms/vmware"
)

func TestValidate(t *testing.T) {
	l := func(edit func(c *libvirt.Config)) template.Validator {
		c := libvirt.NewConfig()
		edit(c)
		return c
	}
	b := func(edit func(c *virtualbox.Config)) template.Validator {
		c := virtualbox.NewConfig()
		edit(c)
		return c
	}
	w := func(edit func(c *vmware.Config)) template.Validator {
		c := vmware.NewConfig()
		edit(c)
		return c
	}
	tests := []struct {
		name   string
		config template.Validator
		want   string // of the one fault; empty for none
	}{
		{"pvscsi under VMware's UEFI", w(func(c *vmware.Config) { c.Firmware = target.UEFI }), ""},
		{"lsilogic under VMware's UEFI", w(func(c *vmware.Config) { c.Firmware, c.Controller = target.UEFI, target.LSILogic }), "controller: VMware's UEFI"},
		{"ahci under VirtualBox's UEFI", b(func(c *virtualbox.Config) { c.Firmware = target.UEFI }), ""},
		{"ide under VirtualBox's UEFI", b(func(c *virtualbox.Config) { c.Firmware, c.Controller = target.UEFI, target.IDE }), "controller: VirtualBox's UEFI"},
		{"scsi under VirtualBox's UEFI", b(func(c *virtualbox.Config) { c.Firmware, c.Controller = target.UEFI, target.VirtioSCSI }), "controller: VirtualBox's UEFI"},
		{"nvme under VirtualBox's BIOS", b(func(c *virtualbox.Config) { c.Controller = target.NVMe }), "controller: VirtualBox's BIOS"},
		{"100 CPUs for VirtualBox", b(func(c *virtualbox.Config) { c.CPUs = 100 }), "cpus: VirtualBox"},
		{"ide under libvirt's UEFI", l(func(c *libvirt.Config) { c.Firmware, c.Controller = target.UEFI, target.IDE }), "controller: a machine with UEFI"},
		{"no CPU", l(func(c *libvirt.Config) { c.CPUs = 0 }), "cpus: 0 is not between"},
		{"no memory", l(func(c *libvirt.Config) { c.Memory = 0 }), "memory: 0B is not between"},
		{"odd memory", w(func(c *vmware.Config) { c.Memory = 1026 * size.MiB }), "memory: 1026MiB is not a multiple"},
		{"no formats", l(func(c *libvirt.Config) { c.Formats = nil }), "formats: the list is empty"},
		{"format twice", l(func(c *libvirt.Config) { c.Formats = []image.Kind{image.Box, image.Box} }), "formats[1]: box is there"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var faults faultList
			tt.config.Validate(&faults)
			switch {
			case tt.want == "" && len(faults) == 0:
			case len(faults) != 1 || tt.want == "" || !strings.HasPrefix(faults[0], tt.want):
				t.Errorf("faults %q", faults)
			}
		})
	}
}

// What the goldens of the defaults do not show.
func TestGoldensOfVariants(t *testing.T) {
	l := libvirt.NewConfig()
	l.Firmware, l.Layout, l.Controller, l.NIC = target.UEFI, libvirt.LayoutV2, target.VirtioSCSI, target.E1000
	l.Vagrantfile = "  config.vm.synced_folder \".\", \"/vagrant\", disabled: true"
	b := virtualbox.NewConfig()
	b.Firmware, b.Controller, b.NIC, b.CPUs, b.Memory = target.UEFI, target.NVMe, target.VirtioNet, 4, 4*size.GiB
	w := vmware.NewConfig()
	w.Firmware, w.Controller, w.NIC = target.UEFI, target.NVMe, target.E1000E
	goldens(t, "libvirt-uefi", libvirt.New("libvirt", l))
	goldens(t, "virtualbox-uefi", virtualbox.New("virtualbox", b))
	goldens(t, "vmware-uefi", vmware.New("vmware", w))
}
