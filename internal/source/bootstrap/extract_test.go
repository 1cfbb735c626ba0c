package bootstrap

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The look for missing packages goes into the tree's lists. mmdebstrap unsets
// APT_CONFIG for its hooks, and without it apt answers for this machine.
func TestExtractAsksTheTreesArchive(t *testing.T) {
	dir := t.TempDir()
	work, bin := filepath.Join(dir, "work"), filepath.Join(dir, "bin")
	for name, text := range map[string]string{
		"work/packages": "no-such-package",
		"bin/apt-get":   "#!/bin/sh\necho \"apt-get $APT_CONFIG\" >>\"$IMAGEBUILD_WORK/calls\"\necho 'E: Unable to locate package no-such-package' >&2\nexit 100\n",
		"bin/apt-cache": "#!/bin/sh\necho \"apt-cache $APT_CONFIG\" >>\"$IMAGEBUILD_WORK/calls\"\necho other-package\n",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil { //nolint:gosec // programs
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "sh", "extract.sh", dir)
	cmd.Env = []string{"PATH=" + bin + ":/usr/bin:/bin", "IMAGEBUILD_WORK=" + work, "MMDEBSTRAP_APT_CONFIG=/tree/apt.conf"}
	if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "Unable to locate package no-such-package") {
		t.Errorf("%v: %s", err, out)
	}
	calls, err := os.ReadFile(filepath.Join(work, "calls"))
	if want := "apt-get /tree/apt.conf\napt-cache /tree/apt.conf\n"; err != nil || string(calls) != want {
		t.Errorf("%v: calls %q, want %q", err, calls, want)
	}
	if names, err := os.ReadFile(filepath.Join(work, "pkgnames")); err != nil || string(names) != "other-package\n" {
		t.Errorf("%v: names %q", err, names)
	}
}
