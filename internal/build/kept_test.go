package build

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/org/imagebuild-action/internal/artifact"
	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/format/raw"
	"github.com/org/imagebuild-action/internal/image"
	"github.com/org/imagebuild-action/internal/manifest"
	"github.com/org/imagebuild-action/internal/plan"
	"github.com/org/imagebuild-action/internal/redact"
	"github.com/org/imagebuild-action/internal/report"
	"github.com/org/imagebuild-action/internal/run"
	"github.com/org/imagebuild-action/internal/size"
	"github.com/org/imagebuild-action/internal/template"
	"github.com/org/imagebuild-action/internal/testkit"
)

// keptBuild packs a disk that is kept for platforms, without a step.
func keptBuild(t *testing.T, dir, disk, platforms string) (*Result, string, error) {
	t.Helper()
	template := "name: golden\nversion: 1.0.0\nsource: {image: {path: disk.raw, canonical: false}}\nengine: vm\n" + disk + "platforms: {" + platforms + "}\n"
	if err := os.WriteFile(filepath.Join(dir, "imagebuild.yml"), []byte(template), 0o644); err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	result, err := Run(t.Context(), Options{
		Template: filepath.Join(dir, "imagebuild.yml"), LookupEnv: func(string) (string, bool) { return "", false },
		Output: filepath.Join(dir, "out"), CacheDir: filepath.Join(dir, "cache"), CacheLimit: size.GiB, Until: StagePack, Report: report.Plain(&log, &redact.Set{}),
	})
	return result, log.String(), err
}

// systemDisk is a file system with a system on a disk of its own.
func systemDisk(t *testing.T, path string) {
	t.Helper()
	makeSystem(t, path, "")
}

// unbootableDisk names its root by the device, which EC2 calls otherwise.
func unbootableDisk(t *testing.T, path string) {
	t.Helper()
	makeSystem(t, path, "/dev/sda1 / ext4 defaults 0 1\n")
}

func makeSystem(t *testing.T, path, fstab string) {
	t.Helper()
	root := filepath.Join(t.TempDir(), "root")
	err := errors.Join(os.MkdirAll(root+"/etc", 0o755), os.MkdirAll(root+"/usr/lib", 0o755),
		os.WriteFile(root+"/etc/fstab", []byte(fstab), 0o644),
		os.WriteFile(root+"/etc/machine-id", []byte("0123456789abcdef0123456789abcdef\n"), 0o644),
		os.WriteFile(root+"/usr/lib/os-release", []byte("ID=debian\nVERSION_CODENAME=bookworm\n"), 0o644))
	if err != nil {
		t.Fatal(err)
	}
	if out, err := run.Output(t.Context(), run.Spec{Argv: []string{testkit.Tool(t, "mke2fs"), "-q", "-t", "ext4", "-d", root, path, "8M"}}); err != nil {
		t.Fatal(err, out)
	}
}

// foreignDisk is a disk that nothing here can read the files of.
func foreignDisk(t *testing.T, path string) {
	t.Helper()
	writeForeign(t, path, 12<<20)
}

// oddDisk has a size that is no multiple of any format's unit.
func oddDisk(t *testing.T, path string) {
	t.Helper()
	writeForeign(t, path, oddBytes)
}

const oddBytes = 12<<20 + 3*512

func writeForeign(t *testing.T, path string, sizeBytes int64) {
	t.Helper()
	disk := testkit.NewDisk(sizeBytes)
	// One partition of type 7, from 1 MiB to 11 MiB: sectors, little-endian.
	table := append(make([]byte, 446), 0, 0, 0, 0, 7, 0, 0, 0, 0, 8, 0, 0, 0, 80, 0, 0)
	disk.Put(0, append(table, append(make([]byte, 48), 0x55, 0xaa)...))
	disk.Put(1<<20+3, []byte("NTFS    "))
	disk.Put(4<<20, testkit.Noise(7, 300<<10))
	if err := os.Rename(testkit.RawFile(t, disk), path); err != nil {
		t.Fatal(err)
	}
}

// manifestLines reads what the manifest says of the disk, and counts the rest.
func manifestLines(t *testing.T, path string) (disk *manifest.Disk, others int) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := manifest.Read(f)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for {
		line, err := r.Next()
		if err != nil {
			return disk, others
		}
		if line.Disk != nil {
			disk = line.Disk
		} else {
			others++
		}
	}
}

func TestKeptDisk(t *testing.T) {
	const size = 12 << 20
	for name, c := range map[string]struct {
		make      func(*testing.T, string)
		disk      string // the template's section
		sizeBytes int64
		unread    string
		warned    string
	}{
		"a system":        {systemDisk, "", 8 << 20, "", ""},
		"a larger system": {systemDisk, "disk: {size: 12MiB}\n", size, "", ""},
		"an odd size":     {oddDisk, "", oddBytes, "partition 1 holds NTFS", ""},
		"not ours":        {foreignDisk, "", size, "partition 1 holds NTFS", "so the manifest lists none"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			c.make(t, filepath.Join(dir, "disk.raw"))
			r, logged, err := keptBuild(t, dir, c.disk, "libvirt: {}, virtualbox: {}, vmware: {}")
			if err != nil {
				t.Fatal(err, logged)
			}
			wanted := filepath.Join(t.TempDir(), "wanted.raw")
			content, err := os.ReadFile(filepath.Join(dir, "disk.raw"))
			if err := errors.Join(err, os.WriteFile(wanted, content, 0o600), os.Truncate(wanted, c.sizeBytes)); err != nil {
				t.Fatal(err)
			}
			source, err := raw.Open(wanted)
			if err != nil {
				t.Fatal(err)
			}
			defer source.Close()
			digest, err := raw.Digest(t.Context(), source)
			if err != nil {
				t.Fatal(err)
			}
			tree := r.Trees[0]
			if !tree.KeptDisk || tree.SHA256 != digest || tree.SizeBytes != c.sizeBytes || (tree.Entries == 0) != (c.unread != "") || len(tree.Sealed) != 0 || len(tree.Overlay) != 0 {
				t.Errorf("%+v", tree)
			}
			if len(r.Artifacts) != 6 || len(r.Differences) != 0 {
				t.Errorf("%+v, %+v", r.Artifacts, r.Differences)
			}
			for _, a := range r.Artifacts {
				if a.Variant != "" {
					t.Errorf("%s has the variant %q", a.Name, a.Variant)
				}
				packed, err := artifact.OpenDisk(t.Context(), filepath.Join(dir, "out", a.Path), t.TempDir(), report.Discard.Begin(""))
				if err != nil {
					t.Fatal(a.Name, err)
				}
				testkit.Same(t, source, packed)
				_ = packed.Close()
			}
			disk, others := manifestLines(t, filepath.Join(dir, "out", tree.Manifest))
			if disk == nil || disk.SHA256 != digest || disk.SizeBytes != c.sizeBytes || !strings.Contains(disk.Unread, c.unread) || (others == 0) != (c.unread != "") {
				t.Errorf("%+v, and %d lines", disk, others)
			}
			if c.warned != "" && !strings.Contains(logged, c.warned) {
				t.Errorf("it does not say %q:\n%s", c.warned, logged)
			}
			sums, err := os.ReadFile(filepath.Join(dir, "out", sumsFile))
			if err != nil {
				t.Fatal(err)
			}
			if _, logged, err := keptBuild(t, dir, c.disk, "libvirt: {}, virtualbox: {}, vmware: {}"); err != nil {
				t.Fatal(err, logged)
			}
			if again, err := os.ReadFile(filepath.Join(dir, "out", sumsFile)); err != nil || string(again) != string(sums) {
				t.Errorf("a second build is another:\n%s\n%s", sums, again)
			}
			left, _ := os.ReadDir(filepath.Join(dir, "cache", workDir))
			if len(left) > 0 {
				t.Errorf("left: %v", left)
			}
		})
	}
}

func TestKeptDiskRefused(t *testing.T) {
	for name, c := range map[string]struct {
		make            func(*testing.T, string)
		disk, platforms string
		want            string
	}{
		"too large for its disk":    {systemDisk, "disk: {size: 4MiB}\n", "libvirt: {}", "disk.size: 4MiB is smaller than the disk of image disk.raw, which has 8MiB"},
		"a cloud cannot be asked":   {foreignDisk, "", "aws: {region: eu-west-1}", "platforms.aws: the files on the disk cannot be read"},
		"a cloud would not take it": {unbootableDisk, "", "aws: {region: eu-west-1}", "would not start on EC2"},
	} {
		dir := t.TempDir()
		c.make(t, filepath.Join(dir, "disk.raw"))
		if _, logged, err := keptBuild(t, dir, c.disk, c.platforms); fault.KindOf(err) != fault.Input || !strings.Contains(fmt.Sprint(err), c.want) {
			t.Errorf("%s: %v\n%s", name, err, logged)
		}
	}
}

// A box of ours has Vagrant's key, whatever the steps' machine was entered by;
// one with a disk that is kept has what its template says.
func TestKeptBoxIsEntered(t *testing.T) {
	cell := &plan.Cell{TreeID: "1"}
	for _, kept := range []bool{false, true} {
		b := &builder{trees: []*builtTree{{plan: &plan.Tree{ID: "1", KeepsDisk: kept, Machine: &template.Machine{CloudInit: true}}}}}
		box, err := b.verifyAccess(cell, image.Artifact{Kind: image.Box})
		if err != nil || box.CloudInit != kept {
			t.Errorf("kept %v: %+v, %v", kept, box, err)
		}
		if disk, err := b.verifyAccess(cell, image.Artifact{Kind: image.QCOW2}); err != nil || !disk.CloudInit {
			t.Errorf("kept %v: %+v, %v", kept, disk, err)
		}
	}
}

// A plan says what it can promise.
func TestKeptDiskIsPlanned(t *testing.T) {
	for steps, want := range map[string][]string{
		"":                                 {"disk kept as it is\n"},
		"provision: [{shell: uname -a}]\n": {"disk kept as it is (another build of it may have other bytes)\n", "platforms that are built apart differ"},
	} {
		dir := t.TempDir()
		err := errors.Join(os.WriteFile(filepath.Join(dir, "disk.raw"), make([]byte, 1<<20), 0o644),
			os.WriteFile(filepath.Join(dir, "imagebuild.yml"), []byte("name: golden\nsource: {image: {path: disk.raw, canonical: false}}\nengine: vm\nplatforms: {libvirt: {}, vmware: {}}\n"+steps), 0o644))
		if err != nil {
			t.Fatal(err)
		}
		p, err := Plan(t.Context(), Options{Template: filepath.Join(dir, "imagebuild.yml")})
		if err != nil {
			t.Fatal(err)
		}
		var table strings.Builder
		if err := p.Table(&table); err != nil {
			t.Fatal(err)
		}
		for _, each := range want {
			if !strings.Contains(table.String(), each) {
				t.Errorf("the plan does not say %q:\n%s", each, &table)
			}
		}
		text, err := json.Marshal(p)
		if err != nil || !strings.Contains(string(text), `"keeps_disk":true`) || (len(p.Differences) > 0) != (steps != "") {
			t.Errorf("%v: %s", err, text)
		}
	}
}
