package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/org/imagebuild-action/internal/artifact"
	"github.com/org/imagebuild-action/internal/extract"
	"github.com/org/imagebuild-action/internal/format/ext4"
	"github.com/org/imagebuild-action/internal/format/fat"
	"github.com/org/imagebuild-action/internal/format/gpt"
	"github.com/org/imagebuild-action/internal/format/raw"
	"github.com/org/imagebuild-action/internal/report"
	"github.com/org/imagebuild-action/internal/testkit"
	"github.com/org/imagebuild-action/internal/tree"
)

// templateIn writes a template into a folder of its own.
func templateIn(t *testing.T, base, name, text string) (dir string) {
	t.Helper()
	dir = filepath.Join(base, name)
	err := errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(filepath.Join(dir, "imagebuild.yml"), []byte("name: "+name+"\nguest_tools: false\n"+text), 0o644))
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// converted packs a disk that nothing is done to.
func converted(t *testing.T, p *program, base, source string) {
	section := fmt.Sprintf("source: {image: {path: %q, canonical: false}}\n", source)
	platforms := "platforms: {libvirt: {formats: [qcow2]}, virtualbox: {formats: [ova, box]}}\n"
	dir := templateIn(t, base, "chroot", section+platforms)
	p.run(t, dir, "build").fails(t, 2, `imagebuild.yml:3:\d+: source.image.canonical: .*set engine: vm`)

	dir = templateIn(t, base, "converted", section+"engine: vm\n"+platforms)
	o := p.run(t, dir, "build", "--until", "pack").ok(t)
	if strings.Contains(o.stderr, "boot the machine") {
		t.Error("a machine was booted")
	}
	out := filepath.Join(dir, "out")
	testkit.QemuImg(t, "compare", "-s", "-f", "qcow2", "-F", "qcow2", source, filepath.Join(out, "converted-0.0.0-libvirt-amd64.qcow2"))
	for _, name := range []string{"converted-0.0.0-virtualbox-amd64.ova", "converted-0.0.0-virtualbox-amd64.box"} {
		sameDisk(t, source, filepath.Join(out, name))
	}
}

// kept runs a step in a machine, and what the manual says should be done in
// the end.
func kept(t *testing.T, p *program, base, source string) {
	dir := templateIn(t, base, "kept", fmt.Sprintf("source: {image: {path: %q, canonical: false}}\nengine: vm\nmachine: {cloud_init: true}\n", source)+`provision:
  - name: One
    shell: |
      echo one >/etc/one
`+indented(t, "../../docs/kept-disk.md", "      ")+`test:
  - name: The step was here
    shell: test "$(cat /etc/one)" = one
  - name: The clone is a machine of its own
    shell: |
      test "$(wc -c </etc/machine-id)" = 33
      echo "machine-id $(cat /etc/machine-id)"
      test -s /etc/ssh/ssh_host_ed25519_key
platforms: {libvirt: {formats: [qcow2]}`+testkit.Depth("", "", ", virtualbox: {formats: [box]}")+`}
`)
	out := filepath.Join(dir, "out")
	o := p.run(t, dir, "build").ok(t)
	r := readResult(t, out)
	t.Logf("%.0f s: %v", r.Seconds, r.Stages)
	count := testkit.Depth(0, 1, 2)
	if len(r.Artifacts) != count || len(r.Verified) != count || strings.Count(o.stderr, "| machine-id ") != count {
		t.Errorf("%d artifacts, %d booted", len(r.Artifacts), len(r.Verified))
	}
	qcow2 := filepath.Join(out, "kept-0.0.0-libvirt-amd64.qcow2")
	if count > 1 {
		sameDisk(t, qcow2, filepath.Join(out, "kept-0.0.0-virtualbox-amd64.box"))
	}
	if diff := cmp.Diff(identifiersOn(t, source), identifiersOn(t, qcow2)); diff != "" {
		t.Errorf("the disk is another (-source +packed):\n%s", diff)
	}
	disk := openDisk(t, qcow2)
	if digest, err := raw.Digest(t.Context(), disk); err != nil || digest != r.Trees[0].SHA256 {
		t.Errorf("the disk has the digest %s, %v; the result says %s", digest, err, r.Trees[0].SHA256)
	}
	if got := fileIn(t, out, "etc/one"); got != "one\n" {
		t.Errorf("the step left %q", got)
	}
	root, err := extract.Root(t.Context(), disk)
	if err != nil {
		t.Fatal(err)
	}
	for _, gone := range []string{"root/.ssh/authorized_keys", "etc/ssh/ssh_host_ed25519_key", "var/lib/systemd/random-seed"} {
		if text, err := tree.ReadFile(t.Context(), root, gone); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is on the disk: %q, %v", gone, text, err)
		}
	}
	if got := fileIn(t, out, "etc/machine-id"); got != "" {
		t.Errorf("the machine's id is %q", got)
	}
	again := filepath.Join(dir, "again")
	if o := p.run(t, dir, "build", "--until", "pack", "--output", again).ok(t); strings.Contains(o.stderr, "boot the machine") {
		t.Error("the second build booted a machine")
	}
	sums := [2]string{}
	for i, each := range []string{out, again} {
		text, err := os.ReadFile(filepath.Join(each, "SHA256SUMS"))
		if err != nil {
			t.Fatal(err)
		}
		sums[i] = string(text)
	}
	if sums[0] != sums[1] {
		t.Errorf("from the cache it is another:\n%s\n%s", sums[0], sums[1])
	}
}

// indented is the block of shell in a page of the manual.
func indented(t *testing.T, page, by string) string {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(text), "```sh\n")
	block, _, ended := strings.Cut(rest, "```\n")
	if !found || !ended {
		t.Fatalf("%s has no block of shell", page)
	}
	var out strings.Builder
	for line := range strings.Lines(block) {
		out.WriteString(by + line)
	}
	return out.String()
}

func openDisk(t *testing.T, path string) *artifact.OpenedDisk {
	t.Helper()
	disk, err := artifact.OpenDisk(t.Context(), path, t.TempDir(), report.Discard.Begin(""))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = disk.Close() })
	return disk
}

func sameDisk(t *testing.T, a, b string) {
	t.Helper()
	testkit.Same(t, openDisk(t, a), openDisk(t, b))
}

// identifiersOn is the partition table of a disk, and what the file systems in
// its partitions are called.
func identifiersOn(t *testing.T, path string) []string {
	t.Helper()
	disk := openDisk(t, path)
	table, err := gpt.Read(disk, disk.Size())
	if err != nil {
		t.Fatal(err)
	}
	all := []string{fmt.Sprintf("disk %s of %d sectors", table.DiskGUID, table.Sectors)}
	for _, p := range table.Partitions {
		line := fmt.Sprintf("%+v", p)
		section := io.NewSectionReader(disk, p.OffsetBytes(), p.SizeBytes())
		if fs, err := ext4.Open(section, p.SizeBytes()); err == nil {
			line += " ext4 " + fs.UUID()
		}
		if fs, err := fat.Open(section, p.SizeBytes()); err == nil {
			line += " fat " + fs.ID()
		}
		all = append(all, line)
	}
	if text := strings.Join(all, "\n"); !strings.Contains(text, " ext4 ") || !strings.Contains(text, " fat ") {
		t.Errorf("%s: file systems are missing:\n%s", path, text)
	}
	return all
}

// cloudInit runs a step in a machine that has its key from a seed disk, and in
// a chroot: nothing but the plan's identifiers differs.
func cloudInit(t *testing.T, p *program, base, source string) {
	testkit.Soak(t, "a seed disk enters the kept disk too")
	build := func(folder, engine string) (string, outcome) {
		dir := templateIn(t, filepath.Join(base, folder), "seeded", fmt.Sprintf("source: {image: {path: %q}}\n%sdisk: {size: 2GiB}\n", source, engine)+`provision:
  - name: One
    shell: echo one >/etc/one
platforms: {libvirt: {formats: [qcow2]}}
`)
		out := filepath.Join(dir, "out")
		return out, p.run(t, dir, "build", "--until", "pack", "--output", out).ok(t)
	}
	chroot, _ := build("in a chroot", "")
	machine, o := build("in a machine", "engine: vm\nmachine: {cloud_init: true}\n")
	if !strings.Contains(o.stderr, "through a cloud-init seed disk") {
		t.Errorf("it was entered by another way:\n%s", last(o.stderr, 2000))
	}
	sameButExplained(t, p, chroot, machine)
}
