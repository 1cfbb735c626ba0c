package tree

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/org/imagebuild-action/internal/image"
	"github.com/org/imagebuild-action/internal/testkit"
)

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		testkit.Missing(t, "this test needs root")
	}
}

// storable is everything less what the test's file system may not take.
func storable() memory {
	var m memory
	for _, each := range everything() {
		delete(each.Xattrs, "user.x") // tmpfs of an old kernel
		m = append(m, each)
	}
	return m
}

func TestExtractRoundTrip(t *testing.T) {
	needRoot(t)
	base := storable()
	root := t.TempDir()
	done, err := Extract(t.Context(), base, root)
	if err != nil {
		t.Fatal(err)
	}
	if done.Entries != len(base) {
		t.Errorf("%d entries, want %d", done.Entries, len(base))
	}
	if len(done.SkippedDevices) > 0 {
		t.Skipf("devices cannot be made here: %v", done.SkippedDevices)
	}
	if diff := cmp.Diff(show(t, base), show(t, Dir(root))); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(entries(t, base), entries(t, Dir(root))); diff != "" {
		t.Error(diff)
	}
	got, err := ReadFile(t.Context(), Dir(root), "second")
	if err != nil || string(got) != "shared" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestDirLeavesSocketsOut(t *testing.T) {
	root := t.TempDir()
	l, err := net.Listen("unix", filepath.Join(root, "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if all := entries(t, Dir(root)); len(all) != 1 {
		t.Errorf("%v", all)
	}
}

func TestDirSeesChanges(t *testing.T) {
	for name, change := range map[string]func(string) error{
		"longer":  func(p string) error { return os.WriteFile(p, []byte("longer than before"), 0o600) },
		"shorter": func(p string) error { return os.Truncate(p, 1) },
		"another": func(p string) error { return errors.Join(os.Rename(p, p+"x"), os.WriteFile(p, []byte("abc"), 0o600)) },
		"symlink": func(p string) error { return errors.Join(os.Remove(p), os.Symlink("/etc/passwd", p)) },
		"fifo":    func(p string) error { return errors.Join(os.Remove(p), unix.Mkfifo(p, 0o600)) },
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			path := filepath.Join(root, "f")
			if err := os.WriteFile(path, []byte("abc"), 0o600); err != nil {
				t.Fatal(err)
			}
			err := Dir(root).Walk(t.Context(), func(_ *image.Entry, content io.Reader) error {
				if content == nil {
					return nil
				}
				if err := change(path); err != nil {
					t.Fatal(err)
				}
				_, err := io.Copy(io.Discard, content)
				return err
			})
			if err == nil {
				t.Error("not noticed")
			}
		})
	}
}

func TestDirNotThere(t *testing.T) {
	err := Dir(filepath.Join(t.TempDir(), "x")).Walk(t.Context(), nil)
	if !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

// TestExtractStaysInside feeds trees that break the order or the names that a
// Tree promises: whatever happens, nothing outside changes.
func TestExtractStaysInside(t *testing.T) {
	outside := t.TempDir()
	victim := filepath.Join(outside, "victim")
	if err := os.WriteFile(victim, []byte("safe"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tree := range map[string]memory{
		"dots":           {dir("."), file("../victim", "evil")},
		"absolute":       {dir("."), file(victim, "evil")},
		"symlinked dir":  {dir("."), symlink("d", outside), file("d/victim", "evil")},
		"symlinked file": {dir("."), symlink("f", victim), file("f", "evil")},
		"hard link out":  {dir("."), link("h", "../victim"), file("h", "evil")},
		"hard link via":  {dir("."), symlink("d", outside), link("h", "d/victim")},
		"attributes":     {dir("."), symlink("d", outside), dir("d")},
		"no parent":      {dir("."), file("x/y", "")},
		"nul":            {dir("."), file("a\x00b", "")},
		"twice":          {dir("."), file("a", ""), file("a", "")},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Extract(t.Context(), tree, t.TempDir()); err == nil {
				t.Error("accepted")
			}
			if data, err := os.ReadFile(victim); err != nil || string(data) != "safe" {
				t.Fatalf("the victim is now %q, %v", data, err)
			}
			if info, err := os.Stat(outside); err != nil || info.Mode().Perm() != 0o755 && info.Mode().Perm() != 0o700 {
				t.Fatalf("the outside is now %v, %v", info.Mode(), err)
			}
		})
	}
}

func TestExtractRefuses(t *testing.T) {
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "x"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Extract(t.Context(), memory{dir(".")}, full); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Error(err)
	}
	if _, err := Extract(t.Context(), memory{dir(".")}, filepath.Join(full, "missing")); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Extract(ctx, memory{dir(".")}, t.TempDir()); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestExtractIgnoresUmask(t *testing.T) {
	old := unix.Umask(0o077)
	defer unix.Umask(old)
	root := t.TempDir()
	tree := memory{dir("."), dir("d"), file("f", "")}
	for i := range tree {
		tree[i].UID, tree[i].GID = os.Geteuid(), os.Getegid()
		tree[i].ModTime = time.Unix(5, 0)
	}
	if _, err := Extract(t.Context(), tree, root); err != nil {
		t.Fatal(err)
	}
	for _, e := range entries(t, Dir(root)) {
		if want := map[bool]uint32{true: 0o755, false: 0o644}[e.Type == image.Directory]; e.Mode != want || e.ModTime.Unix() != 5 {
			t.Errorf("%s: %04o %s", e.Path, e.Mode, e.ModTime)
		}
	}
}
