package provision_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/org/imagebuild-action/internal/chroot"
	"github.com/org/imagebuild-action/internal/template"
	"github.com/org/imagebuild-action/internal/testkit"
	"github.com/org/imagebuild-action/provision"
)

// realGuest is a chroot with the host's static busybox.
func realGuest(t *testing.T) (string, *chroot.Chroot) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	busybox := testkit.Busybox(t)
	root := t.TempDir()
	for _, name := range []string{"bin", "usr/bin", "etc", "proc", "sys", "dev", "run", "tmp"} {
		if err := os.MkdirAll(filepath.Join(root, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, content := range map[string]string{
		"bin/busybox": string(busybox), "etc/passwd": "root:x:0:0::/root:/bin/sh\nalice:x:1234:1235::/:/bin/sh\n", "etc/group": "root:x:0:\nalice:x:1235:\nstaff:x:50:\n",
	} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, applet := range strings.Fields("sh rm mkdir chmod chown ln id cat test yes sleep") {
		if err := os.Symlink("busybox", filepath.Join(root, "bin", applet)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("../../bin/busybox", filepath.Join(root, "usr/bin/env")); err != nil {
		t.Fatal(err)
	}
	c, err := chroot.Open(t.Context(), chroot.Options{Root: root, Epoch: time.Unix(1700000000, 0)})
	if err != nil {
		t.Fatal(err)
	}
	return root, c
}

func TestScriptsInARealGuest(t *testing.T) {
	root, c := realGuest(t)
	for _, test := range []struct {
		name  string
		shell *provision.Shell
		lines []string
		wrong string
	}{
		{"plain", &provision.Shell{Script: "plain.sh", Args: []string{"a b"}}, []string{"first argument: a b", "variable: it's"}, ""},
		{"env", &provision.Shell{Script: "env.sh"}, []string{"from env"}, ""},
		{"spaces", &provision.Shell{Script: "with space ü.sh"}, []string{"spaces work"}, ""},
		{"inline", &provision.Shell{Inline: "echo $0"}, []string{"/tmp/imagebuild-step/script"}, ""},
		{"stops at an error", &provision.Shell{Inline: "false\necho on"}, nil, "exit status 1"},
		{"stops at a misspelt variable", &provision.Shell{Inline: "echo $MISSPELT"}, nil, "exit status"},
		{"no interpreter", &provision.Shell{Script: "missing.py"}, nil, "the interpreter /opt/missing/python3 is not in the image"},
		{"status", &provision.Shell{Inline: "echo last words; exit 42"}, nil, "exit status 42; its last lines:\n    last words"},
	} {
		r := &recorder{}
		s := provision.Step{Number: 1, Dir: dir, Provisioner: test.shell, Env: provision.Environ(map[string]string{"NAME": "it's"})}
		err := provision.Run(t.Context(), s, c, r)
		if (test.wrong == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), test.wrong) {
			t.Errorf("%s: %v", test.name, err)
		}
		if test.lines != nil {
			if diff := cmp.Diff(test.lines, r.lines); diff != "" {
				t.Errorf("%s: %s", test.name, diff)
			}
		}
		if entries, _ := os.ReadDir(filepath.Join(root, "tmp")); len(entries) > 0 {
			t.Errorf("%s: left %v", test.name, entries)
		}
	}
}

func TestAGuestThatPrintsForEver(t *testing.T) {
	_, c := realGuest(t)
	r := &recorder{}
	s := provision.Step{Number: 1, Dir: dir, Provisioner: &provision.Shell{Inline: "yes"}, Timeout: 300 * time.Millisecond}
	err := provision.Run(t.Context(), s, c, r)
	if err == nil || !strings.Contains(err.Error(), "timed out") || r.bytes > 5<<20 {
		t.Errorf("%d bytes, %v", r.bytes, err)
	}
}

func TestFilesInARealGuest(t *testing.T) {
	root, c := realGuest(t)
	content, mode := "inline\n", template.Mode(0o600)
	before := syscall.Umask(0o077)
	defer syscall.Umask(before)
	for _, config := range []provision.File{
		{Source: "tree", Destination: "/opt/deep/app"},
		{Source: "tree/", Destination: "/opt/deep/app/"}, // again, with slashes
		{Source: "tree", Destination: "/opt/owned", Owner: "alice", Group: "staff", DirMode: 0o750, Mode: &mode},
		{Source: "tree", Destination: "/opt/alice", Owner: "alice"},
		{Source: "tree/a.conf", Destination: "/opt/into/"},
		{Source: "tree/bin/tool", Destination: "/opt/renamed"},
		{Content: &content, Destination: "/opt/inline"},
	} {
		if err := config.Check(t.Context(), job()); err != nil {
			t.Error(err)
		}
		var out bytes.Buffer
		if err := config.Apply(t.Context(), c, provision.Job{Dir: dir, Output: &out}); err != nil {
			t.Errorf("%s: %v: %s", &config, err, out.String())
		}
	}
	want := `. drwxr-xr-x 0:0
alice drwxr-xr-x 1234:1235
alice/a.conf -rw-r--r-- 1234:1235
alice/bin drwxr-xr-x 1234:1235
alice/bin/tool -rwxr-xr-x 1234:1235
alice/sub drwxr-xr-x 1234:1235
alice/sub/link Lrwxrwxrwx 1234:1235 ../a.conf
deep drwxr-xr-x 0:0
deep/app drwxr-xr-x 0:0
deep/app/a.conf -rw-r--r-- 0:0
deep/app/bin drwxr-xr-x 0:0
deep/app/bin/tool -rwxr-xr-x 0:0
deep/app/sub drwxr-xr-x 0:0
deep/app/sub/link Lrwxrwxrwx 0:0 ../a.conf
inline -rw-r--r-- 0:0
into drwxr-xr-x 0:0
into/a.conf -rw-r--r-- 0:0
owned drwxr-x--- 1234:50
owned/a.conf -rw------- 1234:50
owned/bin drwxr-x--- 1234:50
owned/bin/tool -rw------- 1234:50
owned/sub drwxr-x--- 1234:50
owned/sub/link Lrwxrwxrwx 1234:50 ../a.conf
renamed -rwxr-xr-x 0:0
`
	if diff := cmp.Diff(want, owners(t, filepath.Join(root, "opt"))); diff != "" {
		t.Error(diff)
	}
}

func TestFilesThatCannotBePut(t *testing.T) {
	root, c := realGuest(t)
	fifo := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(fifo, 0o644); err != nil {
		t.Fatal(err)
	}
	for wrong, config := range map[string]*provision.File{
		"no user":                  {Source: "plain.sh", Destination: "/x", Owner: "nobody-here"},
		"no such file":             {Source: "absent", Destination: "/x"},
		"neither a file nor":       {Source: fifo, Destination: "/x"},
		"neither a file, a folder": {Source: filepath.Dir(fifo), Destination: "/x"},
		"it is a directory":        {Source: "plain.sh", Destination: "/etc"},
		"exit status":              {Source: "tree", Destination: "/etc/passwd"},
	} {
		err := config.Apply(t.Context(), c, job())
		if err == nil || !strings.Contains(err.Error(), wrong) {
			t.Errorf("%s: %v", wrong, err)
		}
	}
	if _, err := os.Lstat(filepath.Join(root, "x")); err == nil {
		t.Error("something was put")
	}
}

func owners(t *testing.T, root string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		relative, _ := filepath.Rel(root, name)
		stat := info.Sys().(*syscall.Stat_t)
		fmt.Fprintf(&b, "%s %s %d:%d", relative, info.Mode(), stat.Uid, stat.Gid)
		if link, err := os.Readlink(name); err == nil {
			b.WriteString(" " + link)
		}
		b.WriteString("\n")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}
