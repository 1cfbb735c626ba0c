package ovf

import (
	"fmt"

	"github.com/org/imagebuild-action/internal/target"
)

// vmwareControllers are the ResourceSubTypes that ESXi and Workstation know.
var vmwareControllers = map[target.Controller]item{
	target.PVSCSI:   {Name: "SCSI Controller 0", Type: resourceSCSI, SubType: "VirtualSCSI"},
	target.LSILogic: {Name: "SCSI Controller 0", Type: resourceSCSI, SubType: "lsilogic"},
	target.AHCI:     {Name: "SATA Controller 0", Type: resourceStorage, SubType: "vmware.sata.ahci"},
	target.NVMe:     {Name: "NVMe Controller 0", Type: resourceStorage, SubType: "vmware.nvme.controller"},
	target.IDE:      {Name: "IDE 0", Type: resourceIDE},
}

// vmwareNICs likewise.
var vmwareNICs = map[target.NIC]string{
	target.VMXNet3: "VmxNet3",
	target.E1000:   "E1000",
	target.E1000E:  "E1000e",
}

// vmwareOS are guest ids of vSphere's VirtualMachineGuestOsIdentifier that
// hardware version 14 has; a newer release of the system runs under them too.
func vmwareOS(osName string) string {
	switch osName {
	case "debian":
		return "debian10_64Guest"
	case "ubuntu":
		return "ubuntu64Guest"
	}
	return "other4xLinux64Guest"
}

func vmwareEnvelope(spec Spec) (*envelope, error) {
	controller, ok := vmwareControllers[spec.Hardware.Controller]
	if !ok {
		return nil, fmt.Errorf("ovf: VMware has no controller %q", spec.Hardware.Controller)
	}
	nic, ok := vmwareNICs[spec.Hardware.NIC]
	if !ok {
		return nil, fmt.Errorf("ovf: VMware has no network card %q", spec.Hardware.NIC)
	}
	controller.Address, controller.ID, controller.Description = "0", instanceController, "Disk controller"
	e := base(spec)
	e.NSVMW = nsVMW
	e.System.OS.VMWType = vmwareOS(spec.OSName)
	e.System.Hardware = hardware{
		Info: "Virtual hardware requirements",
		System: settings{
			Name: "Virtual Hardware Family", Identifier: spec.Name,
			Type: fmt.Sprintf("vmx-%02d", VMwareHardwareVersion),
		},
		Items: items(spec, controller, nic),
	}
	firmware := "bios"
	if spec.Hardware.Firmware == target.UEFI {
		firmware = "efi"
	}
	e.System.Hardware.Config = []vmwConfig{{Key: "firmware", Value: firmware}}
	return e, nil
}
