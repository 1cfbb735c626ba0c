package seal

import (
	"os/exec"
	"strings"
	"testing"
)

// The script is run for real in an instance's place by cmd/imagebuild; here it
// is only read.
func TestScript(t *testing.T) {
	script := Script()
	check := exec.Command("sh", "-n")
	check.Stdin = strings.NewReader(script)
	if out, err := check.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s\n%s", err, out, script)
	}
	for _, line := range []string{
		"rm -rf -- /etc/ssh/ssh_host_*",
		"rm -rf -- /home/*/.*_history",
		"[ ! -d /tmp ] || find /tmp -xdev -mindepth 1 -delete 2>/dev/null",
		"[ ! -d /etc ] || find /etc -xdev -mindepth 2 -name '*.dpkg-old' -prune -exec rm -rf -- {} +",
		"[ ! -d / ] || find / -xdev -mindepth 2 -name '__pycache__' -prune -exec rm -rf -- {} +",
		"[ ! -d /var/lib/cloud/instances ] || find /var/lib/cloud/instances -xdev -mindepth 1 -delete 2>/dev/null",
	} {
		if !strings.Contains(script, line+"\n") {
			t.Errorf("no line %q", line)
		}
	}
	if stop, remove := strings.Index(script, "imagebuild-ssh-rsa-key.service"), strings.Index(script, "/etc/ssh/ssh_host_"); stop < 0 || stop > remove {
		t.Error("what makes a host key is not stopped before they are removed")
	}
	for _, never := range []string{"/dev ", "/proc", "/sys ", "/run "} {
		if strings.Contains(script, never) {
			t.Errorf("it touches %s:\n%s", never, script)
		}
	}
	for line := range strings.Lines(script) {
		if strings.Contains(line, "-delete") && strings.Contains(line, "find / ") {
			t.Errorf("too much: %s", line)
		}
	}
}
