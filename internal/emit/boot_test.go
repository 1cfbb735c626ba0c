package emit_test

import (
	"context"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/org/imagebuild-action/internal/run"
	"github.com/org/imagebuild-action/internal/size"
	"github.com/org/imagebuild-action/internal/target"
	"github.com/org/imagebuild-action/internal/vm"
)

// TestE2EBoot boots one and the same disk under the firmware and controllers of
// every platform, on a disk that is larger than the one that was made, and
// waits for the login on the serial console and for the root to have grown.
func TestE2EBoot(t *testing.T) {
	path := filepath.Join(t.TempDir(), "disk.raw")
	e2eDisk(t, path, 4<<30)
	for _, hardware := range []target.Hardware{
		{Controller: target.AHCI, NIC: target.E1000, Firmware: target.BIOS},
		{Controller: target.AHCI, NIC: target.E1000, Firmware: target.UEFI},
		{Controller: target.VirtioBlk, NIC: target.VirtioNet, Firmware: target.BIOS},
		{Controller: target.VirtioBlk, NIC: target.VirtioNet, Firmware: target.UEFI},
		{Controller: target.PVSCSI, NIC: target.VMXNet3, Firmware: target.BIOS},
		{Controller: target.NVMe, NIC: target.VMXNet3, Firmware: target.BIOS},
		{Controller: target.NVMe, NIC: target.VMXNet3, Firmware: target.UEFI},
	} {
		hardware.CPUs, hardware.Memory = 2, size.GiB
		t.Run(string(hardware.Controller)+"-"+string(hardware.Firmware), func(t *testing.T) { boot(t, path, hardware) })
	}
}

func boot(t *testing.T, path string, hardware target.Hardware) {
	overlay := filepath.Join(t.TempDir(), "larger.qcow2")
	if err := run.Run(t.Context(), run.Spec{Argv: []string{"qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", path, overlay, "6G"}}); err != nil {
		t.Fatal(err)
	}
	// Both come from the guest in any order: the units run side by side. The
	// prompt itself does not end its line; what precedes it names the terminal.
	waiting := map[string]*regexp.Regexp{
		"login": regexp.MustCompile(`golden ttyS0`),
		"grown": regexp.MustCompile(`Finished.*imagebuild-grow-root`),
	}
	seen := make(chan string, 16)
	started := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
	defer cancel()
	machine, err := vm.Start(ctx, vm.Config{
		Hardware: hardware, Dir: t.TempDir(),
		Disks: []vm.Disk{{Path: overlay, Format: "qcow2"}},
		OnSerial: func(line string) {
			for what, pattern := range waiting {
				if pattern.MatchString(line) {
					select {
					case seen <- what:
					default:
					}
				}
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := machine.Close(ctx); err != nil {
			t.Error(err)
		}
	}()
	for missing := map[string]bool{"login": true, "grown": true}; len(missing) > 0; {
		select {
		case what := <-seen:
			if missing[what] {
				t.Logf("%s: %s after %s", machine.Accel, what, time.Since(started).Round(time.Second))
			}
			delete(missing, what)
		case <-machine.Done():
			t.Fatalf("the machine ended: %v\n%s", machine.Err(), strings.Join(machine.Serial(), "\n"))
		case <-ctx.Done():
			t.Fatalf("%v, still waiting for %v:\n%s", ctx.Err(), missing, strings.Join(machine.Serial(), "\n"))
		}
	}
}
