package verify

import (
	"context"
	"encoding/json"
	"os"
	"testing"

	"github.com/org/imagebuild-action/internal/guest"
	"github.com/org/imagebuild-action/internal/report"
	"github.com/org/imagebuild-action/internal/run"
	"github.com/org/imagebuild-action/internal/target"
	"github.com/org/imagebuild-action/internal/testkit"
)

// shown is a report.Task that writes to the test's log.
type shown struct{ t *testing.T }

func (s shown) Begin(name string) report.Task { s.t.Log("begin", name); return s }
func (s shown) Progress(int64, int64)         {}
func (s shown) Line(text string)              { s.t.Log("|", text) }
func (s shown) Note(f string, a ...any)       { s.t.Logf(f, a...) }
func (s shown) Warn(f string, a ...any)       { s.t.Logf("warning: "+f, a...) }
func (s shown) End(err error)                 { s.t.Log("end", err) }

// command is a test that runs one command.
func command(name string, argv ...string) Test {
	return Test{Name: name, Run: func(ctx context.Context, g guest.Guest, task report.Task) error {
		lines := run.LineWriter(task.Line)
		defer lines.Close()
		return g.Run(ctx, guest.Command{Argv: argv, Stdout: lines, Stderr: lines})
	}}
}

// TestBootDisk boots the disk that IMAGEBUILD_E2E_DISK names, with nothing of
// ours in it, and enters it by systemd's credentials.
func TestBootDisk(t *testing.T) {
	testkit.Whole(t, "boots a disk")
	disk := os.Getenv("IMAGEBUILD_E2E_DISK")
	if disk == "" {
		t.Skip("IMAGEBUILD_E2E_DISK names no disk")
	}
	hardware := map[string]target.Hardware{
		"ahci":   {Controller: target.AHCI, NIC: target.E1000},
		"pvscsi": {Controller: target.PVSCSI, NIC: target.VMXNet3},
		"virtio": {Controller: target.VirtioBlk, NIC: target.VirtioNet},
	}
	for name, h := range hardware {
		t.Run(name, func(t *testing.T) {
			result, err := Boot(t.Context(), Request{
				Artifact: disk, Hardware: h, Dir: t.TempDir(), FailureDir: os.Getenv("IMAGEBUILD_E2E_FAILURE"), Console: testing.Verbose(),
				Tests: []Test{command("disk", "lsblk"), command("unit", "systemctl", "--version")},
			}, shown{t})
			out, _ := json.MarshalIndent(result, "", "  ")
			t.Logf("%s", out)
			if err != nil {
				t.Fatal(err)
			}
		})
	}
}
