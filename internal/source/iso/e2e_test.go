package iso

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/size"
	"github.com/org/imagebuild-action/internal/testkit"
	"github.com/org/imagebuild-action/internal/vm"
)

// debianInstaller is where the package debian-installer-12-netboot-amd64 has
// its files.
const debianInstaller = "/usr/lib/debian-installer/images/12/amd64/text/debian-installer/amd64"

// answersFormat are answers of the real Debian installer's: a command that
// runs as soon as they are read, long before anything is installed. It says so
// on the console and powers off. The initrd has no driver for a disk yet, so
// nothing can be written.
const answersFormat = `# answers by %[1]s
d-i preseed/early_command string echo "answers by %[1]s have been read" >/dev/ttyS0; poweroff -f
`

// TestDebianInstaller boots the real one: its kernel, its initrd, and our
// answers over both channels.
func TestDebianInstaller(t *testing.T) {
	testkit.Whole(t, "boots an installer")
	if _, err := os.Stat(debianInstaller); err != nil {
		testkit.Missing(t, "install debian-installer-12-netboot-amd64: %v", err)
	}
	for _, via := range []string{viaDisk, viaHTTP} {
		t.Run(via, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "preseed.cfg"), fmt.Appendf(nil, answersFormat, via), 0o600); err != nil {
				t.Fatal(err)
			}
			c := New()
			c.Kernel, c.Initrd = filepath.Join(debianInstaller, "linux"), filepath.Join(debianInstaller, "initrd.gz")
			c.Unattended.Preseed, c.Via, c.Memory, c.Timeout = "preseed.cfg", via, size.GiB, 5*time.Minute
			c.Append = "quiet"
			var wrong faults
			if c.Validate(&wrong); len(wrong) > 0 {
				t.Fatal(wrong)
			}
			s := Open(c, Request{
				Arch: "amd64", Disk: 64 * size.MiB, TemplateDir: dir, CacheDir: filepath.Join(dir, "cache"), FailureDir: filepath.Join(dir, "failure"), Accel: vm.Auto,
			})
			task := newNotes()
			started := time.Now()
			_, err := write(t, s, task)
			t.Logf("%s:\n%s", time.Since(started).Round(time.Second), task)
			if fault.KindOf(err) != fault.Guest || !strings.Contains(err.Error(), "powered off without having written to the disk") {
				t.Fatal(err)
			}
			if !strings.Contains(task.String(), "answers by "+via+" have been read") {
				t.Error("the console does not say that the answers have been read")
			}
			if read := strings.Contains(task.String(), "the installer reads http://10.0.2.100/preseed.cfg (GET, 200)"); read != (via == viaHTTP) {
				t.Errorf("read over HTTP: %t", read)
			}
		})
	}
}
