package chroot_test

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/org/imagebuild-action/internal/chroot"
	"github.com/org/imagebuild-action/internal/guest"
)

// TestHelperRun is not a test: it is the process that TestKilled kills.
func TestHelperRun(t *testing.T) {
	root := os.Getenv("CHROOT_TEST_ROOT")
	if root == "" {
		t.Skip("only for TestKilled")
	}
	c, err := chroot.Open(t.Context(), chroot.Options{Root: root, Plain: os.Getenv("CHROOT_TEST_PLAIN") != ""})
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Run(t.Context(), guest.Command{
		Argv:   []string{"/bin/sh", "-c", "setsid sleep 2001 & sleep 2002 & echo started; cat /usr/sbin/policy-rc.d >/dev/null; sleep 2003"},
		Stdout: os.Stdout,
	})
}

func TestKilled(t *testing.T) {
	for _, mode := range []string{"", "plain"} {
		t.Run("mounts"+mode, func(t *testing.T) {
			root := busyboxTree(t)
			before := listing(t, root)
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestHelperRun$", "-test.v")
			cmd.Env = append(os.Environ(), "CHROOT_TEST_ROOT="+root, "CHROOT_TEST_PLAIN="+mode)
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			lines := bufio.NewScanner(out)
			for lines.Scan() && lines.Text() != "started" {
				if strings.HasPrefix(lines.Text(), "---") {
					t.Fatal("the helper ended")
				}
			}
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait()
			if mode == "" {
				// The kernel ends the namespace; how soon is its business.
				for deadline := time.Now().Add(20 * time.Second); len(inside(root)) > 0 && time.Now().Before(deadline); {
					time.Sleep(10 * time.Millisecond)
				}
				if left := inside(root); len(left) > 0 {
					t.Errorf("still running: %v", left)
				}
			}
			// The next Open takes away what is left, and the tree is as it was.
			open(t, root, mode != "")
			if left := inside(root); len(left) > 0 {
				t.Errorf("still running: %v", left)
			}
			if mounts, _ := os.ReadFile("/proc/self/mountinfo"); strings.Contains(string(mounts), root) {
				t.Error("a mount is left")
			}
			if after := listing(t, root); after != before {
				t.Errorf("the tree changed:\n%s\nwas\n%s", after, before)
			}
			if _, err := os.Stat(filepath.Join(root, "bin/sh")); err != nil {
				t.Error(err)
			}
		})
	}
}
