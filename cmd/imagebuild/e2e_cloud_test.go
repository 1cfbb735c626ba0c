package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/org/imagebuild-action/internal/extract"
	"github.com/org/imagebuild-action/internal/image"
)

// cloud makes an image such as clouds have, and makes others of it: its disk
// converted, kept, or entered by cloud-init, and AMIs of an instance of it.
func cloud(t *testing.T, p *program) {
	base := t.TempDir()
	dir := filepath.Join(base, "cloud")
	if err := os.CopyFS(dir, os.DirFS("testdata/cloud")); err != nil {
		t.Fatal(err)
	}
	p.run(t, dir, "build", "--until", "pack").ok(t)
	source := filepath.Join(dir, "out", "cloud-1.0.0-libvirt-amd64.qcow2")
	t.Run("converted", func(t *testing.T) { converted(t, p, base, source) })
	t.Run("kept", func(t *testing.T) { kept(t, p, base, source) })
	t.Run("entered by cloud-init", func(t *testing.T) { cloudInit(t, p, base, source) })
	t.Run("AMIs of an instance", func(t *testing.T) { instances(t, p, source) })
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
