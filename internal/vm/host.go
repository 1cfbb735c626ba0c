package vm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/org/imagebuild-action/internal/fault"
)

// ChooseAccel says which accelerator wanted stands for on this machine, and
// why. Asking for KVM where it does not work is an Environment fault.
func ChooseAccel(wanted Accel) (Accel, string, error) {
	return chooseAccel(wanted, probeOnce)
}

// probeOnce asks once: where KVM is a fake, the answer takes a second.
var probeOnce = sync.OnceValue(probeKVM) //nolint:gochecknoglobals // the machine does not change

func chooseAccel(wanted Accel, probe func() error) (Accel, string, error) {
	switch wanted {
	case TCG:
		return TCG, "asked for", nil
	case KVM:
		if err := probe(); err != nil {
			return "", "", fault.Errorf(fault.Environment, "%w; add the user to the group kvm, pass the device into the container, or use accel: tcg", err)
		}
		return KVM, "asked for", nil
	case Auto, "":
		if err := probe(); err != nil {
			return TCG, err.Error(), nil
		}
		return KVM, kvmDevice + " runs guests", nil
	}
	return "", "", fault.Errorf(fault.Input, "accelerator %q is not known; use auto, kvm or tcg", wanted)
}

// firmwarePlaces are where distributions keep OVMF without Secure Boot, best
// first: 4 MiB builds have room for today's variables.
var firmwarePlaces = []FirmwareFiles{
	{"/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"},         // Debian, Ubuntu
	{"/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"},               // older ones
	{"/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"},     // Fedora
	{"/usr/share/edk2/x64/OVMF_CODE.4m.fd", "/usr/share/edk2/x64/OVMF_VARS.4m.fd"}, // Arch
	{"/usr/share/qemu/edk2-x86_64-code.fd", "/usr/share/qemu/edk2-i386-vars.fd"},   // QEMU's own
	{"/usr/local/share/qemu/edk2-x86_64-code.fd", "/usr/local/share/qemu/edk2-i386-vars.fd"},
}

// FindFirmware returns this machine's UEFI firmware.
func FindFirmware() (FirmwareFiles, error) {
	for _, each := range firmwarePlaces {
		if readable(each.Code) && readable(each.Vars) {
			return each, nil
		}
	}
	return FirmwareFiles{}, fault.Errorf(fault.Environment, "no UEFI firmware found (looked for %s and others); install the package ovmf", firmwarePlaces[0].Code)
}

func readable(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	_ = f.Close()
	return true
}

// endedError explains why a wait ended before what it waited for.
func endedError(ctx context.Context, what string) error {
	err := context.Cause(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%s: time ran out: %w", what, err)
	}
	return fmt.Errorf("%s: %w", what, err)
}
