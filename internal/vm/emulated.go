package vm

import "github.com/org/imagebuild-action/internal/target"

// Substitution is a device that stands for another, and why.
type Substitution struct {
	Wanted string `json:"wanted"`
	Used   string `json:"used"`
	Why    string `json:"why"`
}

// String says it in a sentence.
func (s Substitution) String() string {
	return s.Used + " stands for " + s.Wanted + ": " + s.Why
}

// Emulated returns the hardware nearest to h that QEMU and its firmware can
// boot from, and every difference that a report must not hide.
func Emulated(h target.Hardware) (target.Hardware, []Substitution) {
	var subs []Substitution
	if h.Controller == target.LSILogic {
		subs = append(subs, Substitution{
			Wanted: "lsilogic (LSI53C1030)", Used: "mptsas1068 (LSI SAS1068)",
			Why: "QEMU does not emulate the LSI53C1030; the SAS1068 shares its Fusion-MPT core driver, not its bus driver",
		})
	}
	if h.Firmware == target.UEFI && h.Controller == target.PVSCSI {
		h.Controller = target.NVMe
		subs = append(subs, Substitution{
			Wanted: "pvscsi", Used: "nvme",
			Why: "QEMU's UEFI firmware cannot boot from pvscsi; the driver is not exercised",
		})
	}
	if h.NIC == target.ENA {
		h.NIC = target.VirtioNet
		subs = append(subs, Substitution{
			Wanted: "ena", Used: "virtio-net",
			Why: "QEMU does not emulate Amazon's network card; that its driver is in the image was checked, the driver is not exercised",
		})
	}
	return h, subs
}
