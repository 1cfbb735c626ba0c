package chroot_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"

	"github.com/org/imagebuild-action/internal/guest"
)

func TestPutAndGet(t *testing.T) {
	root := busyboxTree(t)
	c := open(t, root, true)
	for _, test := range []struct {
		file     guest.File
		mode     os.FileMode
		uid, gid uint32
	}{
		{guest.File{Path: "/etc/a", Mode: 0o600}, 0o600, 0, 0},
		{guest.File{Path: "/new/dir with space/ü", Mode: 0o4755, Owner: "alice"}, 0o755 | os.ModeSetuid, 1234, 1235},
		{guest.File{Path: "/etc/b", Mode: 0o640, Owner: "alice", Group: "staff"}, 0o640, 1234, 50},
		{guest.File{Path: "/etc/c", Mode: 0o644, Owner: "77", Group: "78"}, 0o644, 77, 78},
		{guest.File{Path: "/etc/a", Mode: 0o644}, 0o644, 0, 0}, // again
	} {
		if err := c.Put(t.Context(), test.file, strings.NewReader("content")); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(root + test.file.Path)
		if err != nil {
			t.Fatal(err)
		}
		stat := info.Sys().(*syscall.Stat_t)
		if info.Mode() != test.mode || stat.Uid != test.uid || stat.Gid != test.gid {
			t.Errorf("%s: %s %d:%d", test.file.Path, info.Mode(), stat.Uid, stat.Gid)
		}
		var got bytes.Buffer
		if err := c.Get(t.Context(), test.file.Path, &got); err != nil || got.String() != "content" {
			t.Errorf("%s: %q, %v", test.file.Path, got.String(), err)
		}
	}
}

func TestPutFailsWhole(t *testing.T) {
	root := busyboxTree(t)
	c := open(t, root, true)
	write(t, root, "etc/a", "old")
	before := listing(t, root)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, test := range []struct {
		name    string
		ctx     context.Context
		file    guest.File
		content io.Reader
	}{
		{"reader fails", t.Context(), guest.File{Path: "/etc/a", Mode: 0o644}, io.MultiReader(strings.NewReader("new"), iotest.ErrReader(errors.New("boom")))},
		{"cancelled", ctx, guest.File{Path: "/etc/a", Mode: 0o644}, strings.NewReader("new")},
		{"unknown owner", t.Context(), guest.File{Path: "/etc/a", Owner: "nobody-here"}, strings.NewReader("new")},
		{"unknown group", t.Context(), guest.File{Path: "/etc/a", Group: "nobody-here"}, strings.NewReader("new")},
		{"a directory", t.Context(), guest.File{Path: "/etc"}, strings.NewReader("new")},
		{"relative", t.Context(), guest.File{Path: "etc/a"}, strings.NewReader("new")},
		{"the root", t.Context(), guest.File{Path: "/"}, strings.NewReader("new")},
		{"below a file", t.Context(), guest.File{Path: "/etc/a/b"}, strings.NewReader("new")},
		{"zero byte", t.Context(), guest.File{Path: "/etc/\x00/b"}, strings.NewReader("new")},
	} {
		if err := c.Put(test.ctx, test.file, test.content); err == nil {
			t.Errorf("%s: no error", test.name)
		}
	}
	if after := listing(t, root); after != before {
		t.Errorf("the tree changed:\n%s\nwas\n%s", after, before)
	}
}

func TestHostileLinksStayInside(t *testing.T) {
	root := busyboxTree(t)
	outside := t.TempDir()
	write(t, outside, "secret", "secret")
	link := func(target, name string) {
		if err := os.Symlink(target, filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
	link(outside, "absolute")
	link(strings.Repeat("../", 20)+outside, "relative")
	link(filepath.Join(outside, "secret"), "file")
	link("loop2", "loop1")
	link("loop1", "loop2")
	link("/etc", "good")
	c := open(t, root, true)
	for _, name := range []string{"/absolute/x", "/relative/y", "/file", "/good/../../../../etc/z", "/good/w"} {
		if err := c.Put(t.Context(), guest.File{Path: name, Mode: 0o644}, strings.NewReader("mine")); err != nil {
			t.Errorf("put %s: %v", name, err)
		}
	}
	for _, name := range []string{"/loop1/x", "/loop1"} {
		if err := c.Get(t.Context(), name, io.Discard); err == nil {
			t.Errorf("get %s: no error", name)
		}
	}
	entries, err := os.ReadDir(outside)
	if err != nil || len(entries) != 1 {
		t.Errorf("outside: %v, %v", entries, err)
	}
	if data, _ := os.ReadFile(filepath.Join(outside, "secret")); string(data) != "secret" {
		t.Errorf("outside: %q", data)
	}
	for _, name := range []string{"etc/w", "etc/z", filepath.Join(outside, "x"), filepath.Join(outside, "y")} {
		if _, err := os.Stat(filepath.Join(root, name)); err != nil {
			t.Error(err)
		}
	}
	for _, name := range []string{filepath.Join("/absolute", "secret"), "/dev", "/absent"} {
		if err := c.Get(t.Context(), name, io.Discard); err == nil {
			t.Errorf("get %s: no error", name)
		}
	}
}
