package tree

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/org/imagebuild-action/internal/run"
)

// mke2fs returns the command line of one that reads tar archives, which takes
// e2fsprogs 1.47.1 with libarchive. IMAGEBUILD_TOOLROOT may name a folder that
// it is unpacked in.
func mke2fs(t *testing.T) (mke2fs, debugfs []string) {
	t.Helper()
	root := os.Getenv("IMAGEBUILD_TOOLROOT")
	if root == "" {
		t.Skip("IMAGEBUILD_TOOLROOT names no folder with e2fsprogs")
	}
	lib := filepath.Join(root, "usr/lib/x86_64-linux-gnu")
	loader := []string{filepath.Join(lib, "ld-linux-x86-64.so.2"), "--library-path", lib}
	return append(loader, filepath.Join(root, "usr/sbin/mke2fs")), append(append([]string{}, loader...), filepath.Join(root, "usr/sbin/debugfs"))
}

// Of the xattrs, mke2fs 1.47.2 takes security.capability and silently leaves
// out all others, POSIX ACLs too, when it reads an archive.
func TestMke2fsTakesTheArchive(t *testing.T) {
	mke2fs, debugfs := mke2fs(t)
	base := Overlay(everything(), Remove("bytes-*"))
	name := filepath.Join(t.TempDir(), "tree.tar")
	var buf bytes.Buffer
	if _, err := WriteTar(t.Context(), &buf, base, nil); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, buf.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	disk := filepath.Join(t.TempDir(), "disk")
	err := run.Run(t.Context(), run.Spec{Argv: append(mke2fs, "-q", "-t", "ext4", "-d", name, disk, "16M")})
	if err != nil {
		t.Fatal(err)
	}
	commands := map[string]string{
		"stat umlaut-ä": "Type: regular",
		"stat \"" + strings.Repeat("long/", 40) + "name with spaces\"": "Type: regular",
		"stat null":     "Device major/minor number: 01:03",
		"stat ping":     "Mode:  04755",
		"stat second":   "Links: 2",
		"stat absolute": "/etc/passwd",
		"ea_list ping":  "security.capability",
	}
	for command, want := range commands {
		out, err := run.Output(t.Context(), run.Spec{Argv: append(append([]string{}, debugfs...), "-R", command, disk)})
		if err != nil || !strings.Contains(out, want) {
			t.Errorf("%s: no %q in %s, %v", command, want, fmt.Sprintf("%.300s", out), err)
		}
	}
}
