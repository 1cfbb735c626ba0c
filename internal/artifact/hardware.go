package artifact

import (
	"regexp"
	"strconv"
	"strings"

	"github.com/org/imagebuild-action/internal/format/vmx"
	"github.com/org/imagebuild-action/internal/size"
	"github.com/org/imagebuild-action/internal/target"
)

// What a target gives a machine that does not say.
var (
	bareDefaults = target.Hardware{Firmware: target.BIOS, Controller: target.VirtioBlk, NIC: target.VirtioNet}
	// Vagrant's virtualbox provider, VMware Workstation and vagrant-libvirt.
	virtualboxDefaults = target.Hardware{Firmware: target.BIOS, Controller: target.AHCI, NIC: target.E1000}
	vmwareDefaults     = target.Hardware{Firmware: target.BIOS, Controller: target.LSILogic, NIC: target.E1000}
)

// assume fills in what the artifact does not say.
func (a *Artifact) assume(defaults target.Hardware) {
	h := &a.Hardware
	if h.Firmware == "" {
		h.Firmware = defaults.Firmware
		a.Assumed = append(a.Assumed, "firmware "+string(h.Firmware))
	}
	if h.Controller == "" {
		h.Controller = defaults.Controller
		a.Assumed = append(a.Assumed, "disk controller "+string(h.Controller))
	}
	if h.NIC == "" {
		h.NIC = defaults.NIC
		a.Assumed = append(a.Assumed, "network card "+string(h.NIC))
	}
}

// vmxHardware reads a machine's description and the file of its first disk.
func vmxHardware(d *vmx.Dictionary) (h target.Hardware, disk string) {
	get := func(key string) string {
		value, _ := d.Get(key)
		return strings.ToLower(value)
	}
	h.CPUs = number(get("numvcpus"))
	h.Memory = size.Bytes(number(get("memsize"))) * size.MiB
	h.Firmware = target.BIOS
	if get("firmware") == "efi" {
		h.Firmware = target.UEFI
	}
	switch get("ethernet0.virtualdev") {
	case "e1000":
		h.NIC = target.E1000
	case "e1000e":
		h.NIC = target.E1000E
	case "vmxnet3":
		h.NIC = target.VMXNet3
	}
	for _, bus := range []string{"scsi", "sata", "nvme", "ide"} {
		for _, unit := range []string{"0:0", "0:1", "1:0"} {
			name, ok := d.Get(bus + unit + ".fileName")
			if !ok || !strings.HasSuffix(strings.ToLower(name), ".vmdk") || get(bus+unit+".present") == "false" {
				continue
			}
			h.Controller = vmxController(bus, get(bus+unit[:1]+".virtualdev"))
			return h, name
		}
	}
	return h, ""
}

func vmxController(bus, device string) target.Controller {
	switch bus {
	case "sata":
		return target.AHCI
	case "nvme":
		return target.NVMe
	case "ide":
		return target.IDE
	}
	switch device {
	case "pvscsi":
		return target.PVSCSI
	case "lsilogic", "lsisas1068":
		return target.LSILogic
	}
	return ""
}

// vagrantSetting is one line of the shape "libvirt.disk_bus = 'virtio'", which
// is all that a box's Vagrantfile usually holds. It is a Ruby program: we read
// what is written plainly, and never run it.
var vagrantSetting = regexp.MustCompile(`(?m)^\s*\w+\.(disk_bus|nic_model_type|memory|cpus|loader)\s*=\s*["':%]?([\w./-]+)`)

// libvirtHardware reads a box's Vagrantfile.
func libvirtHardware(vagrantfile []byte) (h target.Hardware) {
	h.Firmware = target.BIOS
	for _, match := range vagrantSetting.FindAllSubmatch(vagrantfile, 64) {
		key, value := string(match[1]), strings.ToLower(string(match[2]))
		switch key {
		case "cpus":
			h.CPUs = number(value)
		case "memory":
			h.Memory = size.Bytes(number(value)) * size.MiB
		case "loader":
			h.Firmware = target.UEFI
		case "disk_bus":
			h.Controller = map[string]target.Controller{
				"virtio": target.VirtioBlk, "scsi": target.VirtioSCSI, "sata": target.AHCI, "ide": target.IDE,
			}[value]
		case "nic_model_type":
			h.NIC = map[string]target.NIC{
				"virtio": target.VirtioNet, "e1000": target.E1000, "e1000e": target.E1000E, "vmxnet3": target.VMXNet3,
			}[value]
		}
	}
	return h
}

// number reads a count that fits a machine; zero is "not said".
func number(text string) int {
	n, err := strconv.Atoi(strings.TrimSpace(text))
	if err != nil || n < 0 || n > 1<<24 {
		return 0
	}
	return n
}
