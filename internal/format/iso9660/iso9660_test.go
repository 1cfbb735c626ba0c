package iso9660

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/run"
	"github.com/org/imagebuild-action/internal/testkit"
)

// sample is a folder with everything that names can be.
func sample(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	long := strings.Repeat("a long name ", 18)
	for name, content := range map[string][]byte{
		"install.amd64/vmlinuz":         bytes.Repeat([]byte("kernel "), 100_000),
		"install.amd64/initrd.gz":       testkit.Noise(1, 5000),
		"README.txt":                    []byte("read me"),
		"empty":                         nil,
		"Größe/ünï cödé.txt":            []byte("unicode"),
		"many/" + long:                  []byte("long"),
		"1/2/3/4/5/6/7/8/9/10/deep.txt": []byte("deep"),
	} {
		write(t, filepath.Join(dir, name), content)
	}
	for i := range 200 { // more than one sector of records
		write(t, filepath.Join(dir, "many", fmt.Sprintf("file-%03d", i)), []byte{byte(i)})
	}
	if err := os.Symlink("README.txt", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	return dir
}

func write(t testing.TB, name string, content []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, content, 0o644); err != nil {
		t.Fatal(err)
	}
}

// disc makes an image with xorriso, which is another's program.
func disc(t testing.TB, dir string, args ...string) []byte {
	t.Helper()
	out := filepath.Join(t.TempDir(), "disc.iso")
	argv := append([]string{testkit.Tool(t, "xorriso"), "-as", "mkisofs", "-quiet", "-V", "THE LABEL", "-o", out}, args...)
	if text, err := run.Output(t.Context(), run.Spec{Argv: append(argv, dir)}); err != nil {
		t.Fatal(err, text)
	}
	content, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func open(t testing.TB, content []byte) *Disc {
	t.Helper()
	d, err := Open(bytes.NewReader(content), int64(len(content)))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestEveryFile compares every file, under every kind of names.
func TestEveryFile(t *testing.T) {
	dir := sample(t)
	for name, test := range map[string]struct {
		args  []string
		names naming
	}{
		"Rock Ridge":            {[]string{"-R"}, rockRidgeNames},
		"Rock Ridge and Joliet": {[]string{"-R", "-J", "-joliet-long"}, rockRidgeNames},
	} {
		t.Run(name, func(t *testing.T) {
			d := open(t, disc(t, dir, test.args...))
			if d.names != test.names || d.VolumeID() != "THE LABEL" {
				t.Fatalf("names %d, label %q", d.names, d.VolumeID())
			}
			err := filepath.WalkDir(dir, func(file string, entry fs.DirEntry, err error) error {
				if err != nil {
					return err
				}
				relative, err := filepath.Rel(dir, file)
				if err != nil {
					return err
				}
				same(t, d, relative, file, entry)
				return nil
			})
			if err != nil {
				t.Error(err)
			}
			if all, err := d.ReadDir("many"); err != nil || len(all) != 201 {
				t.Errorf("%d entries, %v", len(all), err)
			}
			if all, err := d.ReadDir(""); err != nil || len(all) < 6 {
				t.Errorf("%d entries, %v", len(all), err)
			}
		})
	}
}

func same(t *testing.T, d *Disc, name, file string, entry fs.DirEntry) {
	t.Helper()
	e, err := d.Stat(name)
	if err != nil {
		t.Error(err)
		return
	}
	if e.Dir != entry.IsDir() || e.Link != (entry.Type() == fs.ModeSymlink) {
		t.Errorf("%s is %+v", name, e)
	}
	if !entry.Type().IsRegular() {
		if _, err := d.Open(name); fault.KindOf(err) != fault.Input {
			t.Errorf("%s: %v", name, err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	f, err := d.Open(name)
	if err != nil {
		t.Error(err)
		return
	}
	got, err := io.ReadAll(f)
	if err != nil || sha256.Sum256(got) != sha256.Sum256(want) || f.SizeBytes != int64(len(want)) {
		t.Errorf("%s: %d bytes of %d, %v", name, len(got), len(want), err)
	}
}

// TestOtherNames are discs without Rock Ridge.
func TestOtherNames(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "casper/vmlinuz"), []byte("kernel"))
	write(t, filepath.Join(dir, "Größe/Long name.configuration"), []byte("unicode"))
	d := open(t, disc(t, dir, "--norock", "-J"))
	if d.names != jolietNames {
		t.Fatalf("names %d", d.names)
	}
	for _, name := range []string{"casper/vmlinuz", "Größe/Long name.configuration"} {
		if _, err := d.Open(name); err != nil {
			t.Error(err)
		}
	}
	if _, err := d.Open("CASPER/vmlinuz"); !errors.Is(err, ErrNotExist) {
		t.Error(err)
	}
	d = open(t, disc(t, dir, "--norock"))
	if d.names != plainNames {
		t.Fatalf("names %d", d.names)
	}
	for _, name := range []string{"casper/vmlinuz", "/Casper/VMLINUZ", "casper/../casper/vmlinuz"} {
		if _, err := d.Open(name); err != nil {
			t.Error(err)
		}
	}
}

func TestRefused(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a/file"), bytes.Repeat([]byte("x"), 10_000))
	good := disc(t, dir, "-R")
	change := func(at int, b ...byte) []byte {
		c := bytes.Clone(good)
		copy(c[at:], b)
		return c
	}
	root := 2048 * (int(good[16*2048+158]) | int(good[16*2048+159])<<8)
	for name, content := range map[string][]byte{
		"empty":             nil,
		"zeros":             make([]byte, 1<<20),
		"cut in the label":  good[:16*2048+100],
		"cut in the root":   good[:root+10],
		"block size":        change(16*2048+128, 0, 4),
		"root far away":     change(16*2048+158, 0xff, 0xff, 0xff, 0x7f),
		"record of nothing": change(root, 0x10),
		"no end":            append(bytes.Clone(good[:17*2048]), bytes.Repeat(good[16*2048:17*2048], 100)...),
	} {
		d, err := Open(bytes.NewReader(content), int64(len(content)))
		if err == nil {
			_, err = d.ReadDir("")
		}
		if fault.KindOf(err) != fault.Input || !strings.Contains(err.Error(), "byte ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	d := open(t, good[:len(good)-len(good)%2048])
	for _, name := range []string{"b", "a/b", "a/file/b", strings.Repeat("a/", maxDepth+1)} {
		if _, err := d.Open(name); fault.KindOf(err) != fault.Input {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := d.Open("../b"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

// walk reads everything there is, within bounds of its own: foreign folders
// may contain each other.
func walk(d *Disc, dir string, budget *int) error {
	all, err := d.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range all {
		if *budget--; *budget < 0 {
			return nil
		}
		name := path.Join(dir, e.Name)
		if e.Dir {
			if err := walk(d, name, budget); err != nil {
				return err
			}
			continue
		}
		if f, err := d.Open(name); err == nil {
			_, _ = io.CopyN(io.Discard, f, 1<<16)
		}
	}
	return nil
}

func FuzzOpen(f *testing.F) {
	dir := f.TempDir()
	write(f, filepath.Join(dir, "a/b"), []byte("x"))
	write(f, filepath.Join(dir, strings.Repeat("long", 50)), []byte("y"))
	if err := os.Symlink("a", filepath.Join(dir, "l")); err != nil {
		f.Fatal(err)
	}
	if _, err := os.Stat("/usr/bin/xorriso"); err == nil {
		for _, args := range [][]string{{"-R"}, {"--norock", "-J"}} {
			content := disc(f, dir, args...)
			f.Add(content[16*sectorBytes : min(len(content), 40*sectorBytes)])
		}
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		image := append(make([]byte, 16*sectorBytes), content...)
		d, err := Open(bytes.NewReader(image), int64(len(image)))
		if err == nil {
			budget := 60
			err = walk(d, "", &budget)
		}
		if err != nil && fault.KindOf(err) != fault.Input {
			t.Errorf("%v is of kind %v", err, fault.KindOf(err))
		}
	})
}
