package chroot_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/org/imagebuild-action/internal/chroot"
	"github.com/org/imagebuild-action/internal/guest"
	"github.com/org/imagebuild-action/internal/testkit"
)

// busyboxTree makes a root file system of the host's static busybox.
func busyboxTree(t testing.TB) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	busybox := testkit.Busybox(t)
	root := t.TempDir()
	for _, dir := range []string{"bin", "etc", "usr/sbin", "usr/bin", "proc", "sys", "dev", "run", "tmp", "root"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write(t, root, "bin/busybox", string(busybox))
	if err := os.Chmod(filepath.Join(root, "bin/busybox"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, applet := range strings.Fields("sh cat ls mount ps sleep env id touch true false ln rm mkdir stat hostname test wc kill setsid nohup yes head chmod chown tty tar dd awk grep umask") {
		if err := os.Symlink("busybox", filepath.Join(root, "bin", applet)); err != nil {
			t.Fatal(err)
		}
	}
	write(t, root, "etc/passwd", "root:x:0:0:root:/root:/bin/sh\nalice:x:1234:1235:Alice:/home/alice:/bin/sh\n")
	write(t, root, "etc/group", "root:x:0:\nalice:x:1235:\nstaff:x:50:alice\n")
	return root
}

func write(t testing.TB, root, name, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(root, name), []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func open(t testing.TB, root string, plain bool) *chroot.Chroot {
	t.Helper()
	c, err := chroot.Open(t.Context(), chroot.Options{Root: root, Epoch: time.Unix(1700000000, 0), Plain: plain})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func sh(t testing.TB, c *chroot.Chroot, script string) string {
	t.Helper()
	var out bytes.Buffer
	if err := c.Run(t.Context(), guest.Command{Argv: []string{"/bin/sh", "-c", script}, Stdout: &out, Stderr: &out}); err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out.String())
	}
	return strings.TrimSpace(out.String())
}

// bothModes runs a test with mounts and without.
func bothModes(t *testing.T, fn func(t *testing.T, root string, c *chroot.Chroot)) {
	for _, mode := range []struct {
		name  string
		plain bool
	}{{"mounts", false}, {"plain", true}} {
		t.Run(mode.name, func(t *testing.T) {
			root := busyboxTree(t)
			c := open(t, root, mode.plain)
			if !mode.plain && len(c.Limits()) > 0 {
				t.Skip(c.Limits())
			}
			if mode.plain && len(c.Limits()) > 1 {
				t.Skip(c.Limits())
			}
			fn(t, root, c)
		})
	}
}

func TestRunInside(t *testing.T) {
	t.Setenv("SECRET_OF_THE_HOST", "x")
	t.Setenv("TMPDIR", t.TempDir())
	bothModes(t, func(t *testing.T, _ string, c *chroot.Chroot) {
		for _, each := range []struct{ script, want string }{
			{"id -u", "0"},
			{"pwd; cd /etc && cat passwd | head -n1", "/\nroot:x:0:0:root:/root:/bin/sh"},
			{"echo $HOME $LC_ALL $TZ $SOURCE_DATE_EPOCH $SECRET_OF_THE_HOST$TMPDIR$GUEST_ENV", "/root C.UTF-8 UTC 1700000000"},
			{"umask", "0022"},
			{"cat", ""}, // standard input is empty
			{"echo x >/dev/null; test -c /dev/null && echo node", "node"},
			{"head -c 4 /dev/zero | wc -c", "4"},
			{"cat /usr/sbin/policy-rc.d >/tmp/p; sh /usr/sbin/policy-rc.d; echo $?", "101"},
		} {
			if got := sh(t, c, each.script); got != each.want {
				t.Errorf("%s: got %q, want %q", each.script, got, each.want)
			}
		}
	})
}

func TestCommand(t *testing.T) {
	bothModes(t, func(t *testing.T, _ string, c *chroot.Chroot) {
		var out, errOut bytes.Buffer
		value := "it's \"a\" $b `c`\nand \\ more"
		err := c.Run(t.Context(), guest.Command{
			Argv: []string{"sh", "-c", `cat; printf %s "$VALUE"; pwd; echo problem >&2; exit 7`},
			Env:  []string{"VALUE=" + value, "PATH=/bin"}, Dir: "/etc", Stdin: strings.NewReader("in\n"), Stdout: &out, Stderr: &errOut,
		})
		var exit *guest.ExitError
		if !errors.As(err, &exit) || exit.Status != 7 {
			t.Fatalf("got %v", err)
		}
		if want := "in\n" + value + "/etc\n"; out.String() != want || errOut.String() != "problem\n" {
			t.Fatalf("got %q and %q", out.String(), errOut.String())
		}
		if err := c.Run(t.Context(), guest.Command{Argv: []string{"no-such-program"}}); !errors.As(err, &exit) || exit.Status != 127 {
			t.Fatalf("got %v", err)
		}
		for _, bad := range []string{"A-B=1", "=1", "X", "X=\x00", "x;reboot=1"} {
			if err := c.Run(t.Context(), guest.Command{Argv: []string{"true"}, Env: []string{bad}}); err == nil {
				t.Errorf("%q was taken", bad)
			}
		}
		if err := c.Run(t.Context(), guest.Command{}); err == nil {
			t.Error("an empty command was taken")
		}
	})
}

func TestNothingOutlivesARun(t *testing.T) {
	bothModes(t, func(t *testing.T, root string, c *chroot.Chroot) {
		before := listing(t, root)
		// Both hold the output pipe open; the second one leaves the process group too.
		sh(t, c, "sleep 1000 & setsid sleep 1001 & setsid nohup sh -c 'sleep 1002' & true")
		if left := inside(root); len(left) > 0 {
			t.Errorf("still running: %v", left)
		}
		ctx, cancel := context.WithCancel(t.Context())
		err := c.Run(ctx, guest.Command{
			Argv:   []string{"sh", "-c", "setsid sleep 1003 & trap '' TERM INT; echo started; while :; do sleep 1000; done"},
			Stdout: writerFunc(func([]byte) { cancel() }),
		})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		if left := inside(root); len(left) > 0 {
			t.Errorf("still running after a cancellation: %v", left)
		}
		if mounts, _ := os.ReadFile("/proc/self/mountinfo"); bytes.Contains(mounts, []byte(root)) {
			t.Error("a mount is left")
		}
		if after := listing(t, root); after != before {
			t.Errorf("the tree changed:\n%s\nwas\n%s", after, before)
		}
	})
}

func TestResolver(t *testing.T) {
	host, err := os.ReadFile("/etc/resolv.conf")
	if err != nil || len(host) == 0 {
		t.Skip("the host has no resolver")
	}
	for _, test := range []struct{ name, link, content string }{
		{name: "missing"},
		{name: "file", content: "nameserver 192.0.2.1\n"},
		{name: "dangling link to the run directory", link: "/run/systemd/resolve/stub-resolv.conf"},
		{name: "relative link to the run directory", link: "../run/resolvconf/resolv.conf"},
		{name: "link inside", link: "/etc/real.conf"},
	} {
		t.Run(test.name, func(t *testing.T) {
			root := busyboxTree(t)
			if test.content != "" {
				write(t, root, "etc/resolv.conf", test.content)
			}
			if test.link != "" {
				write(t, root, "etc/real.conf", "x")
				if err := os.Symlink(test.link, filepath.Join(root, "etc/resolv.conf")); err != nil {
					t.Fatal(err)
				}
			}
			c := open(t, root, false)
			if len(c.Limits()) > 0 {
				t.Skip(c.Limits())
			}
			before := listing(t, root)
			if got := sh(t, c, "cat /etc/resolv.conf; echo x >/etc/resolv.conf"); got != strings.TrimSpace(string(host)) {
				t.Errorf("got %q", got)
			}
			if after := listing(t, root); after != before {
				t.Errorf("the tree changed:\n%s\nwas\n%s", after, before)
			}
			if now, _ := os.ReadFile("/etc/resolv.conf"); !bytes.Equal(now, host) {
				t.Fatal("the host's resolver changed")
			}
		})
	}
}

func TestOwnPolicyIsKept(t *testing.T) {
	bothModes(t, func(t *testing.T, root string, c *chroot.Chroot) {
		write(t, root, "usr/sbin/policy-rc.d", "#!/bin/sh\nexit 0\n")
		if got := sh(t, c, "sh /usr/sbin/policy-rc.d; echo $?"); got != "101" {
			t.Errorf("got %q", got)
		}
		if now, _ := os.ReadFile(filepath.Join(root, "usr/sbin/policy-rc.d")); string(now) != "#!/bin/sh\nexit 0\n" {
			t.Errorf("the guest's own file became %q", now)
		}
	})
}

func TestOpenSweepsWhatAKilledRunLeft(t *testing.T) {
	root := busyboxTree(t)
	write(t, root, "usr/sbin/policy-rc.d.imagebuild-saved", "own")
	write(t, root, "usr/sbin/policy-rc.d", "#!/bin/sh\n# Placed by imagebuild while a step runs.\nexit 101\n")
	open(t, root, true)
	if now, _ := os.ReadFile(filepath.Join(root, "usr/sbin/policy-rc.d")); string(now) != "own" {
		t.Errorf("got %q", now)
	}
	write(t, root, "usr/sbin/policy-rc.d", "#!/bin/sh\n# Placed by imagebuild while a step runs.\nexit 101\n")
	open(t, root, true)
	if _, err := os.Lstat(filepath.Join(root, "usr/sbin/policy-rc.d")); !errors.Is(err, os.ErrNotExist) {
		t.Error("our policy is still there")
	}
}

type writerFunc func([]byte)

func (f writerFunc) Write(p []byte) (int, error) { f(p); return len(p), nil }

// inside lists the processes whose root is root.
func inside(root string) []string {
	var found []string
	links, _ := filepath.Glob("/proc/[0-9]*/root")
	for _, link := range links {
		if target, err := os.Readlink(link); err == nil && target == root {
			cmdline, _ := os.ReadFile(filepath.Join(filepath.Dir(link), "cmdline"))
			found = append(found, string(bytes.ReplaceAll(cmdline, []byte{0}, []byte{' '})))
		}
	}
	return found
}

// listing is every path below root with its type, mode, size and link.
func listing(t testing.TB, root string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(root, func(name string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		link, _ := os.Readlink(name)
		size := info.Size()
		if info.IsDir() {
			size = 0
		}
		b.WriteString(strings.TrimPrefix(name, root) + " " + info.Mode().String() + " " + link + " " + string(rune('0'+size%10)) + "\n")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func BenchmarkRun(b *testing.B) {
	root := busyboxTree(b)
	for _, mode := range []struct {
		name  string
		plain bool
	}{{"mounts", false}, {"plain", true}} {
		c := open(b, root, mode.plain)
		b.Run(mode.name, func(b *testing.B) {
			for b.Loop() {
				if err := c.Run(b.Context(), guest.Command{Argv: []string{"true"}}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
