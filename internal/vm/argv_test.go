package vm

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/size"
	"github.com/org/imagebuild-action/internal/target"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got; -update rewrites it):\n%s", path, diff)
	}
}

var (
	controllers = []target.Controller{target.AHCI, target.IDE, target.PVSCSI, target.LSILogic, target.NVMe, target.VirtioBlk, target.VirtioSCSI}
	firmwares   = []target.Firmware{target.BIOS, target.UEFI}
	cards       = []target.NIC{target.E1000, target.E1000E, target.VMXNet3, target.VirtioNet}
)

func config(h target.Hardware) Config {
	return Config{
		Hardware: h, Accel: TCG,
		Disks:    []Disk{{Path: "/d/disk,1.qcow2", Format: "qcow2", Snapshot: true}},
		Firmware: FirmwareFiles{Code: "/f/code.fd", Vars: "/f/vars.fd"},
	}
}

// TestArgv holds the command line of every controller, firmware and card.
func TestArgv(t *testing.T) {
	for _, controller := range controllers {
		t.Run(string(controller), func(t *testing.T) {
			var out strings.Builder
			for _, firmware := range firmwares {
				for _, card := range cards {
					argv, err := Argv(config(target.Hardware{CPUs: 2, Memory: size.GiB, Firmware: firmware, Controller: controller, NIC: card}))
					if err != nil {
						t.Fatal(err)
					}
					out.WriteString("# " + string(firmware) + " " + string(card) + "\n")
					out.WriteString(lines(argv) + "\n")
				}
			}
			golden(t, "argv-"+string(controller), out.String())
		})
	}
}

// TestArgvOptions holds everything else that a Config may ask for.
func TestArgvOptions(t *testing.T) {
	c := config(target.Hardware{Controller: target.AHCI, NIC: target.E1000})
	c.Accel, c.Restrict, c.UUID = KVM, true, "00000000-0000-4000-8000-000000000000"
	c.Disks = append(c.Disks, Disk{Path: "data.raw", Format: "raw"}, Disk{Path: "seed.iso", Format: "raw", CDROM: true})
	c.OEMStrings = []string{"a,b=c"}
	c.Extra, c.Subnet = []string{"-S"}, "169.254.169.0/24"
	argv, err := Argv(c)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "argv-options", lines(argv))
}

// lines puts each option on a line.
func lines(argv []string) string {
	var out strings.Builder
	for i, arg := range argv {
		switch {
		case i == 0:
		case strings.HasPrefix(arg, "-"):
			out.WriteString("\n")
		default:
			out.WriteString(" ")
		}
		out.WriteString(arg)
	}
	return out.String() + "\n"
}

func TestArgvRefuses(t *testing.T) {
	good := target.Hardware{Controller: target.AHCI, NIC: target.E1000}
	for name, change := range map[string]func(*Config){
		"cpus":       func(c *Config) { c.Hardware.CPUs = -1 },
		"memory":     func(c *Config) { c.Hardware.Memory = size.MiB },
		"firmware":   func(c *Config) { c.Hardware.Firmware = "openboot" },
		"controller": func(c *Config) { c.Hardware.Controller = "mfm" },
		"nic":        func(c *Config) { c.Hardware.NIC = "ne2000" },
		"format":     func(c *Config) { c.Disks[0].Format = "auto" },
	} {
		t.Run(name, func(t *testing.T) {
			c := config(good)
			change(&c)
			if argv, err := Argv(c); fault.KindOf(err) != fault.Input {
				t.Errorf("got %v, error %v", argv, err)
			}
		})
	}
}

func TestEmulated(t *testing.T) {
	for _, controller := range controllers {
		for _, firmware := range firmwares {
			h, subs := Emulated(target.Hardware{Controller: controller, Firmware: firmware})
			changed := h.Controller != controller
			differs := changed || controller == target.LSILogic
			if differs != (len(subs) > 0) {
				t.Errorf("%s under %s became %s, and was reported as %v", controller, firmware, h.Controller, subs)
			}
		}
	}
}

func TestChooseAccel(t *testing.T) {
	for _, test := range []struct {
		wanted, want Accel
		kvm          error
		kind         fault.Kind
	}{
		{Auto, KVM, nil, 0},
		{"", KVM, nil, 0},
		{Auto, TCG, os.ErrPermission, 0},
		{TCG, TCG, nil, 0},
		{KVM, KVM, nil, 0},
		{KVM, "", os.ErrPermission, fault.Environment},
		{"hvf", "", nil, fault.Input},
	} {
		got, why, err := chooseAccel(test.wanted, func() error { return test.kvm })
		if got != test.want || err != nil && fault.KindOf(err) != test.kind || err == nil && (why == "" || test.kind != 0) {
			t.Errorf("%q with %v: %q because %q, %v", test.wanted, test.kvm, got, why, err)
		}
	}
}
