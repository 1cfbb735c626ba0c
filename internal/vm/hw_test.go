package vm

import "github.com/org/imagebuild-action/internal/target"

func hw() target.Hardware {
	return target.Hardware{CPUs: 2, Firmware: target.BIOS, Controller: target.AHCI, NIC: target.E1000}
}
