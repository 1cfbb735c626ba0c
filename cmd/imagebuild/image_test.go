package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/org/imagebuild-action/internal/artifact"
	"github.com/org/imagebuild-action/internal/extract"
	"github.com/org/imagebuild-action/internal/image"
	"github.com/org/imagebuild-action/internal/report"
	"github.com/org/imagebuild-action/internal/testkit"
)

// identifiers are those of the root and of the firmware's partition: they
// follow from the plan, so another source has others.
var identifiers = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|\b[0-9A-F]{4}-[0-9A-F]{4}\b`)

// fromImage makes images out of the images that are there. Nothing is changed,
// so the trees are the same but for two files, and those but for identifiers.
func fromImage(t *testing.T, p *program, base, out string) {
	const ova, qcow2 = "golden-1.2.3-virtualbox-amd64.ova", "golden-1.2.3-libvirt-amd64.qcow2"
	for _, name := range testkit.Depth(nil, []string{ova}, []string{ova, qcow2}) { // the cloud's is a qcow2
		t.Run(filepath.Ext(name), func(t *testing.T) {
			dir := filepath.Join(base, "from "+filepath.Ext(name))
			template := fmt.Sprintf("name: golden\nversion: 1.2.3\nsource:\n  image: {path: %q}\ndisk: {size: 8GiB}\nplatforms:\n  libvirt: {}\n", filepath.Join(out, name))
			if err := os.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "imagebuild.yml"), []byte(template), 0o644); err != nil {
				t.Fatal(err)
			}
			made := filepath.Join(dir, "out")
			p.run(t, dir, "build", "--output", made, "--until", "pack").ok(t)
			r := readResult(t, made)
			t.Logf("%.0f s: %v", r.Seconds, r.Stages)

			var paths []string
			for line := range strings.Lines(p.run(t, base, "diff", manifestOf(t, out), manifestOf(t, made)).stdout) {
				path, _, _ := strings.Cut(strings.TrimPrefix(line, "path "), ":")
				paths = append(paths, path)
			}
			if want := "boot/grub/grub.cfg etc/fstab"; strings.Join(paths, " ") != want {
				t.Errorf("different are %q, want %q", paths, want)
			}
			before := readFiles(t, filepath.Join(out, name), paths)
			after := readFiles(t, filepath.Join(made, "golden-1.2.3-libvirt-amd64.qcow2"), paths)
			for _, path := range paths {
				a, b := identifiers.ReplaceAllString(before[path], "ID"), identifiers.ReplaceAllString(after[path], "ID")
				if a != b || before[path] == after[path] || a == before[path] {
					t.Errorf("%s differs by more than identifiers:\n%s\n%s", path, before[path], after[path])
				}
			}
		})
	}
}

// readFiles reads files of the root on a disk.
func readFiles(t *testing.T, file string, paths []string) map[string]string {
	t.Helper()
	disk, err := artifact.OpenDisk(t.Context(), file, t.TempDir(), report.Discard.Begin(""))
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	root, err := extract.Root(t.Context(), disk)
	if err != nil {
		t.Fatal(err)
	}
	texts := map[string]string{}
	if err := root.Walk(t.Context(), func(e *image.Entry, content io.Reader) error {
		for _, path := range paths {
			if e.Path == path && e.Type == image.File {
				text, err := io.ReadAll(content)
				texts[path] = string(text)
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if len(texts) != len(paths) {
		t.Fatalf("%s has %d of %q", file, len(texts), paths)
	}
	return texts
}
