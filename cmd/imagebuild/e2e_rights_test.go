package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// rights builds with less than root may usually do.
func rights(t *testing.T, p *program) {
	steps := "provision:\n  - name: Look\n    shell: |\n      apt-get --version >/dev/null; id -u; touch /etc/made-by-step"
	t.Run("root of a plain container, without mounts", func(t *testing.T) {
		dir := t.TempDir()
		writeTemplate(t, dir, "bookworm", "8GiB", steps)
		drop := []string{"setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin"}
		o := finish(t, p.command(t, dir, drop, "build", "--until", "provision")).ok(t)
		if !regexp.MustCompile(`warning: .*(/proc|mount)`).MatchString(o.stderr) {
			t.Errorf("nothing is said of what is missing:\n%s", last(o.stderr, 2000))
		}
	})
	t.Run("an ordinary user, from scratch", func(t *testing.T) {
		const name = "imagebuild-e2e"
		_ = exec.Command("userdel", "--remove", name).Run() // of a test that was killed
		if out, err := exec.Command("useradd", "--create-home", name).CombinedOutput(); err != nil {
			t.Fatalf("useradd: %v\n%s", err, out)
		}
		t.Cleanup(func() {
			if out, err := exec.Command("userdel", "--remove", name).CombinedOutput(); err != nil {
				t.Errorf("userdel: %v\n%s", err, out)
			}
		})
		home := filepath.Join("/home", name)
		binary := filepath.Join(home, "imagebuild")
		text, err := os.ReadFile(p.path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(binary, text, 0o755); err != nil { //nolint:gosec // a program
			t.Fatal(err)
		}
		template := "name: small\nsource: {bootstrap: {distribution: debian, release: bookworm, packages: [openssh-server]}}\n" +
			steps + "\nguest_tools: false\nplatforms: {libvirt: {}}\n"
		if err := os.WriteFile(filepath.Join(home, "imagebuild.yml"), []byte(template), 0o644); err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), "setpriv", "--reuid="+name, "--regid="+name, "--init-groups",
			"env", "HOME="+home, "USER="+name, "TMPDIR=/tmp", binary, "build", "--output", home+"/out", "--until", "provision")
		cmd.Dir = home
		cmd.Env = append(os.Environ(), "IMAGEBUILD_CACHE=")
		o := finish(t, cmd).ok(t)
		if !strings.Contains(o.stderr, "Look | 0\n") {
			t.Errorf("the step did not run as root:\n%s", last(o.stderr, 2000))
		}
		if left := leftovers(t, home); len(left) > 0 {
			t.Errorf("left: %q", left)
		}
	})
}
