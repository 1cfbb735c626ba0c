package verify

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	gossh "golang.org/x/crypto/ssh"

	"github.com/org/imagebuild-action/internal/artifact"
	"github.com/org/imagebuild-action/internal/entry"
	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/image"
	"github.com/org/imagebuild-action/internal/report"
	"github.com/org/imagebuild-action/internal/ssh"
	"github.com/org/imagebuild-action/internal/target"
	"github.com/org/imagebuild-action/internal/testkit"
	"github.com/org/imagebuild-action/internal/vm"
)

// bootSector is a small disk whose first sector writes text to the serial port and
// halts.
func bootSector(t *testing.T, text string) string {
	t.Helper()
	code := []byte{0xbe, 0x11, 0x7c, 0xba, 0xf8, 0x03, 0xac, 0x84, 0xc0, 0x74, 0x03, 0xee, 0xeb, 0xf8, 0xf4, 0xeb, 0xfd}
	sector := make([]byte, 1<<20)
	copy(sector, append(code, text...))
	sector[510], sector[511] = 0x55, 0xaa
	path := filepath.Join(t.TempDir(), "it's a disk.raw")
	if err := os.WriteFile(path, sector, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func emulator(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("starts QEMU")
	}
	testkit.Tool(t, vm.Binary)
}

func TestGuestThatNeverArrives(t *testing.T) {
	emulator(t)
	for name, test := range map[string]struct {
		text    string
		timeout time.Duration
		want    []string
	}{
		"panic":   {"[  1.0] Kernel panic - not syncing: no init\r\n", time.Minute, []string{"the guest is stuck", "no init"}},
		"silence": {"hello\r\n", 2 * time.Second, []string{"could not be entered within 2s", "--ssh-key", "hello"}},
	} {
		t.Run(name, func(t *testing.T) {
			disk, dir, failure := bootSector(t, test.text), t.TempDir(), filepath.Join(t.TempDir(), "failure")
			before, _ := os.ReadFile(disk)
			result, err := Boot(t.Context(), Request{
				Artifact: disk, Dir: dir, FailureDir: failure, Accel: vm.TCG, BootTimeout: test.timeout,
				Tests: []Test{{Name: "never"}},
			}, report.Discard.Begin("verify"))
			if fault.KindOf(err) != fault.Guest {
				t.Fatalf("error of kind %s: %v", fault.KindOf(err), err)
			}
			for _, want := range append(test.want, vm.Binary, failure) {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the error does not mention %q:\n%v", want, err)
				}
			}
			for _, file := range []string{result.Screen, result.SerialLog, result.Reproduce} {
				if info, err := os.Stat(file); err != nil || info.Size() == 0 {
					t.Errorf("bundle: %s: %v", file, err)
				}
			}
			if out, err := exec.Command("sh", "-n", result.Reproduce).CombinedOutput(); err != nil {
				t.Errorf("reproduce.sh: %s", out)
			}
			if left, _ := os.ReadDir(dir); len(left) != 0 {
				t.Errorf("left in the work folder: %v", left)
			}
			if after, _ := os.ReadFile(disk); string(after) != string(before) {
				t.Error("the artifact changed")
			}
			if result.CleanShutdown || len(result.Tests) != 0 {
				t.Errorf("result %+v", result)
			}
		})
	}
}

func TestNotBootedAtAll(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte("hello"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{text, "/no/such.box"} {
		if _, err := Boot(t.Context(), Request{Artifact: file, Dir: dir}, report.Discard.Begin("")); fault.KindOf(err) != fault.Input {
			t.Errorf("%s: %v", file, err)
		}
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

func TestAccess(t *testing.T) {
	seed, err := ssh.NewSeed()
	if err != nil {
		t.Fatal(err)
	}
	key, _, err := ssh.SeedKey(seed)
	if err != nil {
		t.Fatal(err)
	}
	keys := []gossh.Signer{key}
	for name, test := range map[string]struct {
		access entry.Access
		kind   image.Kind
		user   string
		oem    int
		err    bool
	}{
		"box":              {entry.Access{}, image.Box, "vagrant", 0, false},
		"ova":              {entry.Access{}, image.OVA, "root", 2, false},
		"key":              {entry.Access{Keys: keys}, image.OVA, "root", 0, false},
		"user and key":     {entry.Access{User: "ops", Keys: keys}, image.Box, "ops", 0, false},
		"user without key": {entry.Access{User: "ops"}, image.QCOW2, "", 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			e, err := way(t.Context(), test.access, &artifact.Artifact{Kind: test.kind}, t.TempDir())
			if (err != nil) != test.err || e.User != test.user || len(e.OEMStrings) != test.oem {
				t.Errorf("%+v, %v", e, err)
			}
			if err == nil && (len(e.Keys) == 0 || e.Remedy == "" || e.How == "") {
				t.Errorf("incomplete: %+v", e)
			}
		})
	}
}

func TestOverride(t *testing.T) {
	described := target.Hardware{CPUs: 1, Memory: 1, Firmware: target.BIOS, Controller: target.IDE, NIC: target.E1000}
	wanted := target.Hardware{CPUs: 2, Memory: 2, Firmware: target.UEFI, Controller: target.NVMe, NIC: target.VMXNet3}
	if got := override(described, wanted); got != wanted {
		t.Errorf("%+v", got)
	}
	if got := override(described, target.Hardware{}); got != described {
		t.Errorf("%+v", got)
	}
}
