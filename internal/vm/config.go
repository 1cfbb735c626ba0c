// Package vm runs QEMU as a bounded child: it boots a disk under devices close
// to those of its target, and never outlives the process that started it.
//
//	machine, err := vm.Start(ctx, vm.Config{
//		Hardware: target.Hardware{CPUs: 2, Memory: size.GiB, Controller: target.AHCI, NIC: target.E1000},
//		Disks:    []vm.Disk{{Path: "disk.qcow2", Format: "qcow2", Snapshot: true}},
//	})
//	defer machine.Close(ctx)
//	dial(machine.SSHAddr())
//
// It refuses to guess: hardware that QEMU does not emulate is replaced only by
// Emulated, which says what stands for what. It has no display, no sound, no
// migration to other hosts, no snapshots by name, and x86-64 guests only.
package vm

import (
	"fmt"
	"io"
	"time"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/size"
	"github.com/org/imagebuild-action/internal/target"
)

// Accel is how guest instructions are executed.
type Accel string

// The accelerators. Auto takes KVM where it really runs a guest and
// TCG otherwise.
const (
	Auto Accel = "auto"
	KVM  Accel = "kvm"
	TCG  Accel = "tcg"
)

// Disk is one drive.
type Disk struct {
	Path     string
	Format   string // qcow2, raw or vmdk; never guessed, because a guest could write a header of its own
	Snapshot bool   // writes go to an unnamed temporary file and vanish
	CDROM    bool   // a read-only optical drive, whatever the controller
}

// FirmwareFiles are the two halves of an OVMF build. They are never written to.
type FirmwareFiles struct {
	Code string
	Vars string
}

// Config describes a machine. The zero values of the optional fields are good.
type Config struct {
	Hardware     target.Hardware // what to emulate; pass Emulated's answer
	Disks        []Disk          // the first one is the system disk, on Hardware.Controller
	Firmware     FirmwareFiles   // for UEFI; empty means those that FindFirmware finds
	Accel        Accel           // empty means Auto
	OEMStrings   []string        // SMBIOS type 11, as systemd's credentials
	UUID         string          // of the machine, as the guest's firmware tables show it
	CPU          string          // model by QEMU's name; empty means the host's under KVM, and everything that TCG knows
	Incoming     bool            // started empty, to be filled by LoadState
	Restrict     bool            // the guest reaches nothing; the forwarded port still works
	NoNetwork    bool            // no network card at all
	Subnet       string          // of the guest's network, as "169.254.169.0/24"; empty means QEMU's own, 10.0.2.0/24
	Services     []Service       // what the guest's network offers; reachable with Restrict too
	Kernel       string          // file to boot in place of a disk's boot loader; empty means the firmware looks
	Initrd       string          // that goes with Kernel
	Append       string          // the Kernel's command line
	NoReboot     bool            // a reset by the guest ends the machine, with ErrRebooted
	Extra        []string        // further arguments for QEMU
	Dir          string          // for QEMU's temporary files; empty means the system's
	SerialLog    string          // file that receives the serial console; empty means none
	OnSerial     func(line string)
	Console      io.Writer     // also receives the serial console, byte for byte; it must not block
	StartTimeout time.Duration // until QEMU answers; zero means DefaultStartTimeout
}

// DefaultStartTimeout bounds the time until QEMU answers on its control socket.
const DefaultStartTimeout = 30 * time.Second

// Defaults for what Hardware leaves open.
const (
	DefaultCPUs          = 2
	DefaultMemory        = size.GiB
	minMemory            = 64 * size.MiB
	wwn                  = "0x5000c50015ea71aa" // mptsas1068 shows a disk only if it has a World Wide Name
	guestPort            = 22
	translationCacheSize = 1024 // MiB, touched as far as it is used; half of it is full after a boot, and all is translated anew
)

// validate checks what Argv cannot express and fills in defaults.
func (c Config) validate() (Config, error) {
	h := &c.Hardware
	if h.CPUs == 0 {
		h.CPUs = DefaultCPUs
	}
	if h.Memory == 0 {
		h.Memory = DefaultMemory
	}
	if h.Firmware == "" {
		h.Firmware = target.BIOS
	}
	switch {
	case h.CPUs < 0 || h.CPUs > 255:
		return c, fault.Errorf(fault.Input, "%d cpus: a machine has 1 to 255", h.CPUs)
	case h.Memory < minMemory:
		return c, fault.Errorf(fault.Input, "memory of %s is too small to boot anything; give at least %s", h.Memory, minMemory)
	case h.Firmware != target.BIOS && h.Firmware != target.UEFI:
		return c, fault.Errorf(fault.Input, "firmware %q is not known; use bios or uefi", h.Firmware)
	case h.Firmware == target.UEFI && (c.Firmware.Code == "" || c.Firmware.Vars == ""):
		return c, fmt.Errorf("uefi machine without firmware files")
	case c.Accel != KVM && c.Accel != TCG:
		return c, fmt.Errorf("accelerator %q is not resolved", c.Accel)
	}
	if err := c.validateBoot(); err != nil {
		return c, err
	}
	for _, d := range c.Disks {
		switch d.Format {
		case "raw", "qcow2", "vmdk", "vpc":
		default:
			return c, fault.Errorf(fault.Input, "%s: disk format %q is not known; use raw, qcow2, vmdk or vpc", d.Path, d.Format)
		}
	}
	return c, nil
}
