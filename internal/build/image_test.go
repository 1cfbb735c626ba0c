package build

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/redact"
	"github.com/org/imagebuild-action/internal/report"
	"github.com/org/imagebuild-action/internal/run"
	"github.com/org/imagebuild-action/internal/size"
	"github.com/org/imagebuild-action/internal/testkit"
)

// imageBuild builds a template whose source is a tiny system on a qcow2, as far
// as its steps, and returns what the reporter was told.
func imageBuild(t *testing.T, source, disk string) (string, error) {
	t.Helper()
	dir := t.TempDir()
	root := filepath.Join(dir, "root")
	err := errors.Join(os.MkdirAll(root+"/etc", 0o755), os.MkdirAll(root+"/usr/lib", 0o755), os.WriteFile(root+"/usr/lib/os-release", []byte("ID=debian\nVERSION_CODENAME=bookworm\n"), 0o644),
		os.WriteFile(root+"/usr/lib/large", testkit.Noise(1, 1<<20), 0o644),
		os.WriteFile(filepath.Join(dir, "imagebuild.yml"), []byte("name: golden\nversion: 1.0.0\nsource: {image: {"+source+"}}\ndisk: {size: "+disk+"}\nplatforms: {vmware: {}}\n"), 0o644))
	if err != nil {
		t.Fatal(err)
	}
	rawDisk := filepath.Join(dir, "disk.raw")
	if out, err := run.Output(t.Context(), run.Spec{Argv: []string{testkit.Tool(t, "mke2fs"), "-q", "-t", "ext4", "-d", root, rawDisk, "8M"}}); err != nil {
		t.Fatal(err, out)
	}
	testkit.QemuImg(t, "convert", "-f", "raw", "-O", "qcow2", "-c", rawDisk, filepath.Join(dir, "disk.img"))
	var log strings.Builder
	_, err = Run(t.Context(), Options{
		Template: filepath.Join(dir, "imagebuild.yml"), LookupEnv: func(string) (string, bool) { return "", false },
		Output: filepath.Join(dir, "out"), CacheDir: filepath.Join(dir, "cache"), CacheLimit: size.GiB, Until: StageProvision, Report: report.Plain(&log, &redact.Set{}),
	})
	return log.String(), err
}

func TestFromImage(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("owners need root")
	}
	for name, c := range map[string]struct {
		source, disk string
		want         string // a part of the error
	}{
		"well":           {"path: disk.img", "64MiB", ""},
		"too small":      {"path: disk.img", "1MiB", "the largest is usr/lib/large with 1.0 MiB), and disk.size is 1MiB"},
		"not canonical":  {"path: disk.img, canonical: false", "64MiB", "engine: chroot has no disk, only its files; set engine: vm"},
		"another digest": {"path: disk.img, checksum: \"sha256:" + strings.Repeat("0", 64) + "\"", "64MiB", "is wanted"},
	} {
		t.Run(name, func(t *testing.T) {
			logged, err := imageBuild(t, c.source, c.disk)
			if c.want == "" {
				if err != nil || !strings.Contains(logged, "take the root file system out of the disk") {
					t.Errorf("%v\n%s", err, logged)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.want) || fault.KindOf(err) != fault.Input {
				t.Errorf("%v of kind %v\n%s", err, fault.KindOf(err), logged)
			}
		})
	}
}

func TestParseOSRelease(t *testing.T) {
	for text, want := range map[string]osRelease{
		"ID=debian\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\n":            {"debian", "bookworm"},
		"NAME='AlmaLinux'\nID=\"almalinux\"\nVERSION_ID=\"9.4\"\nID_LIKE=rhel": {"almalinux", "9.4"},
		"":                    {},
		"# ID=comment\nfoo\n": {},
	} {
		if got := parseOSRelease(text); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}
