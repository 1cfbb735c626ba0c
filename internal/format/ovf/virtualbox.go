package ovf

import (
	"fmt"

	"github.com/org/imagebuild-action/internal/target"
)

// vboxController is a controller in the two vocabularies of VirtualBox.
type vboxController struct {
	item  item
	label string // for people
	kind  string // StorageControllerType in its settings schema
	ports int
}

var vboxControllers = map[target.Controller]vboxController{
	target.AHCI:       {item{Type: resourceStorage, SubType: "AHCI"}, "SATA Controller", "AHCI", 1},
	target.IDE:        {item{Type: resourceIDE, SubType: "PIIX4"}, "IDE Controller", "PIIX4", 2},
	target.LSILogic:   {item{Type: resourceSCSI, SubType: "lsilogic"}, "SCSI Controller", "LsiLogic", 16},
	target.VirtioSCSI: {item{Type: resourceStorage, SubType: "VirtioSCSI"}, "VirtIO Controller", "VirtioSCSI", 1},
	target.NVMe:       {item{Type: resourceStorage, SubType: "NVMe"}, "NVMe Controller", "NVMe", 1},
}

// vboxNIC is a card in the two vocabularies.
type vboxNIC struct{ subType, kind string }

// VirtualBox takes every ResourceSubType that it does not know for an E1000.
var vboxNICs = map[target.NIC]vboxNIC{
	target.E1000:     {"E1000", "82540EM"},
	target.VirtioNet: {"virtio-net", "virtio"},
}

// machine is VirtualBox's own account of the machine. If it is there,
// VirtualBox goes by it and not by the items. It carries what OVF cannot say:
// UEFI, and that the hardware clock runs in UTC.
type machine struct {
	Required bool   `xml:"ovf:required,attr"`
	Version  string `xml:"version,attr"`
	UUID     string `xml:"uuid,attr"`
	Name     string `xml:"name,attr"`
	OSType   string `xml:"OSType,attr"`

	Info     string `xml:"ovf:Info"`
	Hardware vboxHardware
	Storage  []vboxStorage `xml:"StorageControllers>StorageController"`
}

type vboxHardware struct {
	CPU struct {
		Count int         `xml:"count,attr"`
		PAE   vboxEnabled `xml:"PAE"`
	}
	Memory struct {
		MiB int64 `xml:"RAMSize,attr"`
	}
	Firmware struct {
		Type string `xml:"type,attr"`
	}
	Boot    []vboxBoot `xml:"Boot>Order"`
	Display struct {
		Controller string `xml:"controller,attr"`
		MiB        int    `xml:"VRAMSize,attr"`
	}
	BIOS struct {
		IOAPIC vboxEnabled `xml:"IOAPIC"`
	}
	RTC struct {
		Clock string `xml:"localOrUTC,attr"`
	}
	Network []vboxAdapter `xml:"Network>Adapter"`
}

type vboxEnabled struct {
	Enabled bool `xml:"enabled,attr"`
}

type vboxBoot struct {
	Position int    `xml:"position,attr"`
	Device   string `xml:"device,attr"`
}

type vboxAdapter struct {
	Slot    int      `xml:"slot,attr"`
	Enabled bool     `xml:"enabled,attr"`
	MAC     string   `xml:"MACAddress,attr"`
	Cable   bool     `xml:"cable,attr"`
	Type    string   `xml:"type,attr"`
	NAT     struct{} `xml:"NAT"`
}

type vboxStorage struct {
	Name      string `xml:"name,attr"`
	Type      string `xml:"type,attr"`
	PortCount int    `xml:"PortCount,attr"`
	HostCache bool   `xml:"useHostIOCache,attr"`
	Bootable  bool   `xml:"Bootable,attr"`
	Attached  struct {
		Type   string `xml:"type,attr"`
		Port   int    `xml:"port,attr"`
		Device int    `xml:"device,attr"`
		Image  struct {
			UUID string `xml:"uuid,attr"`
		}
	} `xml:"AttachedDevice"`
}

// vboxSettings is the version of the settings' schema: VirtualBox 6.1 and newer.
const vboxSettings = "1.16-linux"

func virtualBoxEnvelope(spec Spec) (*envelope, error) {
	controller, ok := vboxControllers[spec.Hardware.Controller]
	if !ok {
		return nil, fmt.Errorf("ovf: VirtualBox has no controller %q", spec.Hardware.Controller)
	}
	nic, ok := vboxNICs[spec.Hardware.NIC]
	if !ok {
		return nil, fmt.Errorf("ovf: VirtualBox has no network card %q", spec.Hardware.NIC)
	}
	it := controller.item
	it.Address, it.ID, it.Name, it.Description = "0", instanceController, controller.label, controller.label
	e := base(spec)
	e.NSVBox = nsVBox
	e.Disks.Disk[0].UUID = spec.DiskUUID
	e.System.OS.VBoxType = &vboxOSType{Type: e.System.OS.Description}
	e.System.Hardware = hardware{
		Info: "Virtual hardware requirements",
		System: settings{
			Name: "Virtual Hardware Family", Identifier: spec.Name, Type: "virtualbox-2.2",
		},
		Items: items(spec, it, nic.subType),
	}
	e.System.Machine = vboxMachine(spec, controller, nic, e.System.OS.Description)
	return e, nil
}

func vboxMachine(spec Spec, controller vboxController, nic vboxNIC, osType string) *machine {
	m := &machine{
		Version: vboxSettings, UUID: "{" + spec.MachineUUID + "}", Name: spec.Name, OSType: osType,
		Info: "The machine in VirtualBox's own terms",
	}
	h := &m.Hardware
	h.CPU.Count, h.CPU.PAE.Enabled = spec.Hardware.CPUs, true
	h.Memory.MiB = int64(spec.Hardware.Memory >> 20)
	h.Firmware.Type = "BIOS"
	if spec.Hardware.Firmware == target.UEFI {
		h.Firmware.Type = "EFI"
	}
	h.Boot = []vboxBoot{{1, "HardDisk"}, {2, "None"}, {3, "None"}, {4, "None"}}
	h.Display.Controller, h.Display.MiB = "VMSVGA", 16
	h.BIOS.IOAPIC.Enabled, h.RTC.Clock = true, "UTC"
	h.Network = []vboxAdapter{{Enabled: true, MAC: spec.MAC, Cable: true, Type: nic.kind}}
	s := vboxStorage{Name: controller.label, Type: controller.kind, PortCount: controller.ports, Bootable: true}
	s.HostCache = controller.kind == "PIIX4"
	s.Attached.Type, s.Attached.Image.UUID = "HardDisk", "{"+spec.DiskUUID+"}"
	m.Storage = []vboxStorage{s}
	return m
}
