package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/org/imagebuild-action/internal/extract"
	"github.com/org/imagebuild-action/internal/image"
	"github.com/org/imagebuild-action/internal/testkit"
)

// cloudDisk is a Debian with cloud-init, as a raw disk.
func cloudDisk(t *testing.T, p *program) string {
	t.Helper()
	dir, out := filepath.Join(t.TempDir(), "cloud"), t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("testdata/cloud")); err != nil {
		t.Fatal(err)
	}
	p.run(t, dir, "build", "--until", "pack", "--output", out).ok(t)
	files, err := filepath.Glob(filepath.Join(out, "*.qcow2"))
	if err != nil || len(files) != 1 {
		t.Fatalf("%v, %q", err, files)
	}
	path := filepath.Join(dir, "disk.raw")
	testkit.QemuImg(t, "convert", "-O", "raw", files[0], path)
	return path
}

// content reads one file of a disk's root.
func content(t *testing.T, disk image.Disk, path string) string {
	t.Helper()
	tree, err := extract.Root(t.Context(), disk)
	if err != nil {
		t.Fatal(err)
	}
	found, stop := "", errors.New("found")
	err = tree.Walk(t.Context(), func(e *image.Entry, in io.Reader) error {
		if e.Path != path {
			return nil
		}
		text, err := io.ReadAll(in)
		found = string(text)
		return errors.Join(err, stop)
	})
	if !errors.Is(err, stop) {
		t.Errorf("%s: %v", path, err)
	}
	return found
}
