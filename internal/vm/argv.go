package vm

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/size"
	"github.com/org/imagebuild-action/internal/target"
)

// Binary is the emulator.
const Binary = "qemu-system-x86_64"

// nics are QEMU's names of the network cards.
var nics = map[target.NIC]string{
	target.E1000:     "e1000",
	target.E1000E:    "e1000e",
	target.VMXNet3:   "vmxnet3",
	target.VirtioNet: "virtio-net-pci",
}

// Argv returns the whole command line of a machine without its control socket:
// it can be pasted into a terminal, where it shows the serial console. It is a
// pure function; Accel and Firmware must be resolved before.
func Argv(config Config) ([]string, error) {
	c, err := config.validate()
	if err != nil {
		return nil, err
	}
	a := arguments{Binary}
	a.add("-nodefaults", "-no-user-config", "-display", "none", "-vga", "std")
	// VirtualBox's PIIX3 and VMware's 440BX are both what QEMU calls pc.
	// Without "graphics" SeaBIOS speaks on the serial port too, so that a disk
	// that does not boot is seen at once; the screen stays.
	a.add("-machine", "pc,dump-guest-core=off,graphics=off")
	if c.Accel == KVM {
		a.add("-accel", "kvm", "-cpu", cmp.Or(c.CPU, "host"))
	} else {
		a.add("-accel", "tcg,thread=multi,tb-size="+strconv.Itoa(translationCacheSize), "-cpu", cmp.Or(c.CPU, "max"))
	}
	a.add("-smp", strconv.Itoa(c.Hardware.CPUs))
	a.add("-m", strconv.FormatInt(int64((c.Hardware.Memory+size.MiB-1)/size.MiB), 10)+"M")
	if c.Hardware.Firmware == target.UEFI {
		a.add("-drive", "if=pflash,unit=0,format=raw,readonly=on,file="+escape(c.Firmware.Code))
		a.add("-drive", "if=pflash,unit=1,format=raw,snapshot=on,file="+escape(c.Firmware.Vars))
	}
	a.boot(c)
	if err := a.disks(c); err != nil {
		return nil, err
	}
	if !c.NoNetwork {
		if err := a.network(c); err != nil {
			return nil, err
		}
	}
	// A guest without entropy waits for it, before it has host keys.
	a.add("-device", "virtio-rng-pci")
	a.add("-chardev", "stdio,id=serial0,signal=off", "-serial", "chardev:serial0")
	if c.UUID != "" {
		a.add("-uuid", c.UUID)
	}
	for _, each := range c.OEMStrings {
		a.add("-smbios", "type=11,value="+escape(each))
	}
	if c.Incoming {
		a.add("-incoming", "defer")
	}
	return append(a, c.Extra...), nil
}

type arguments []string

func (a *arguments) add(args ...string) { *a = append(*a, args...) }

func (a *arguments) disks(c Config) error {
	optical := 0
	for i, d := range c.Disks {
		id := diskID(i)
		// Nothing that QEMU writes here must survive a power failure of the
		// host's, and a guest that syncs is slowed down to no purpose.
		drive := "if=none,id=" + id + ",format=" + d.Format + ",cache=unsafe,discard=unmap"
		switch {
		case d.CDROM:
			drive += ",media=cdrom,readonly=on"
		case d.Snapshot:
			drive += ",snapshot=on"
		}
		a.add("-drive", drive+",file="+escape(d.Path))
		if d.CDROM {
			// The second channel of the chipset's own IDE controller is free,
			// whatever the disk hangs on.
			a.add("-device", fmt.Sprintf("ide-cd,drive=%s,bus=ide.1,unit=%d", id, optical))
			optical++
			continue
		}
		if err := a.device(c.Hardware.Controller, id, i); err != nil {
			return err
		}
	}
	return nil
}

// diskID is what QEMU calls the disk of that index.
func diskID(index int) string { return "disk" + strconv.Itoa(index) }

func (a *arguments) device(controller target.Controller, id string, index int) error {
	boot := ",bootindex=" + strconv.Itoa(index+1)
	first := index == 0
	switch controller {
	case target.AHCI:
		if first {
			a.add("-device", "ich9-ahci,id=ahci0")
		}
		a.add("-device", fmt.Sprintf("ide-hd,drive=%s,bus=ahci0.%d%s", id, index, boot))
	case target.IDE:
		a.add("-device", fmt.Sprintf("ide-hd,drive=%s,bus=ide.0,unit=%d%s", id, index, boot))
	case target.PVSCSI, target.VirtioSCSI:
		if first {
			a.add("-device", map[target.Controller]string{target.PVSCSI: "pvscsi", target.VirtioSCSI: "virtio-scsi-pci"}[controller]+",id=scsi0")
		}
		a.add("-device", fmt.Sprintf("scsi-hd,drive=%s,bus=scsi0.0,scsi-id=%d%s", id, index, boot))
	case target.LSILogic:
		if first {
			a.add("-device", "mptsas1068,id=scsi0")
		}
		a.add("-device", fmt.Sprintf("scsi-hd,drive=%s,bus=scsi0.0,scsi-id=%d,wwn=%s%s", id, index, wwn, boot))
	case target.NVMe:
		a.add("-device", fmt.Sprintf("nvme,drive=%s,serial=imagebuild%d%s", id, index, boot))
	case target.VirtioBlk:
		a.add("-device", "virtio-blk-pci,drive="+id+boot)
	default:
		return fault.Errorf(fault.Input, "disk controller %q is not known; use ahci, ide, pvscsi, lsilogic, nvme, virtio-blk or virtio-scsi", controller)
	}
	return nil
}

func (a *arguments) network(c Config) error {
	model, ok := nics[c.Hardware.NIC]
	if !ok {
		return fault.Errorf(fault.Input, "network card %q is not known; use e1000, e1000e, vmxnet3 or virtio-net", c.Hardware.NIC)
	}
	// Port 0: the kernel picks a free one, and QEMU says which. Choosing one
	// ourselves would race with everybody else.
	netdev := fmt.Sprintf("user,id=net0,hostfwd=tcp:127.0.0.1:0-:%d", guestPort)
	if c.Subnet != "" {
		netdev += ",net=" + escape(c.Subnet)
	}
	if c.Restrict {
		netdev += ",restrict=on"
	}
	for _, each := range c.Services {
		netdev += each.option()
	}
	a.add("-netdev", netdev, "-device", model+",netdev=net0")
	return nil
}

// escape doubles commas, which separate QEMU's options.
func escape(text string) string { return strings.ReplaceAll(text, ",", ",,") }
