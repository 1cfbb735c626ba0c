package fat_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/format/fat"
	"github.com/org/imagebuild-action/internal/image"
	"github.com/org/imagebuild-action/internal/run"
	"github.com/org/imagebuild-action/internal/testkit"
)

// made is a file system of mkfs.vfat's, filled with mtools.
func made(t testing.TB, bits string, sizeBytes int64, args ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Truncate(sizeBytes), f.Close()); err != nil {
		t.Fatal(err)
	}
	tool(t, append([]string{"mkfs.vfat", "-F", bits, "-n", "BOOT"}, append(args, path)...)...)
	dir := t.TempDir()
	at := time.Date(2024, 2, 29, 12, 34, 56, 0, time.UTC)
	argv := []string{"mcopy", "-s", "-m", "-i", path}
	for name, content := range contents() {
		file := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, content, 0o600), os.Chtimes(file, at, at)); err != nil {
			t.Fatal(err)
		}
		if filepath.Dir(name) == "." {
			argv = append(argv, file)
		}
	}
	tool(t, append(argv, filepath.Join(dir, "sub"), "::")...)
	tool(t, "mcopy", "-i", path, filepath.Join(dir, "empty"), "::removed by and by.txt")
	tool(t, "mdel", "-i", path, "::removed by and by.txt")
	return path
}

func tool(t testing.TB, argv ...string) {
	t.Helper()
	argv[0] = testkit.Tool(t, argv[0])
	if out, err := run.Output(t.Context(), run.Spec{Argv: argv}); err != nil {
		t.Fatal(err, out)
	}
}

func contents() map[string][]byte {
	all := map[string][]byte{
		"UPPER.TXT": []byte("upper"), "lower.txt": []byte("lower"), "a rather long name.conf": []byte("long"), "empty": nil,
		"large": testkit.Noise(1, 200_123), "Näme ☃": []byte("unicode"), "sub/inner": []byte("inner"), "sub-between": []byte("between"),
	}
	for n := range 40 {
		all[fmt.Sprintf("sub/many files with long names, %02d", n)] = []byte{byte(n)}
	}
	return all
}

func open(t testing.TB, path string) *fat.FS {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	opened, err := fat.Open(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	return opened
}

func TestReads(t *testing.T) {
	for name, c := range map[string]struct {
		bits string
		size int64
		args []string
	}{
		"FAT12":               {"12", 2 << 20, nil},
		"FAT12, odd clusters": {"12", 4 << 20, []string{"-s", "4"}},
		"FAT16":               {"16", 16 << 20, nil},
		"FAT32":               {"32", 36 << 20, []string{"-s", "1"}},
		"FAT32, 4 KiB":        {"32", 300 << 20, []string{"-s", "8"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want := contents()
			var order []string
			err := open(t, made(t, c.bits, c.size, c.args...)).Walk(t.Context(), func(e *image.Entry, content io.Reader) error {
				order = append(order, e.Path)
				if e.Type == image.Directory {
					return nil
				}
				text, err := io.ReadAll(content)
				if err != nil {
					return err
				}
				if !bytes.Equal(text, want[e.Path]) || e.SizeBytes != int64(len(text)) {
					t.Errorf("%s: %d bytes, want %d", e.Path, len(text), len(want[e.Path]))
				}
				if got := e.ModTime.Format(time.DateTime); got != "2024-02-29 12:34:56" {
					t.Errorf("%s: %s", e.Path, got)
				}
				delete(want, e.Path)
				return nil
			})
			if err != nil || len(want) != 0 {
				t.Errorf("%v; missing %d", err, len(want))
			}
			first := []string{".", "Näme ☃", "UPPER.TXT", "a rather long name.conf", "empty", "large", "lower.txt", "sub", "sub-between", "sub/inner"}
			if diff := cmp.Diff(first, order[:len(first)]); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestReadsOurs reads what this package writes.
func TestReadsOurs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "esp")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(fat.MinBytes); err != nil {
		t.Fatal(err)
	}
	loader := testkit.Noise(1, 100_000)
	if err := fat.Write(f, fat.Options{SizeBytes: fat.MinBytes, VolumeID: 1, Label: "ESP", Time: time.Unix(1_700_000_000, 0), Files: []fat.File{{Path: "EFI/BOOT/BOOTX64.EFI", Content: loader}}}); err != nil {
		t.Fatal(err)
	}
	opened := open(t, path)
	e, err := opened.Lookup("EFI/BOOT/BOOTX64.EFI")
	if err != nil || e.SizeBytes != int64(len(loader)) || e.ModTime.Unix() != 1_700_000_000 {
		t.Errorf("%+v, %v", e, err)
	}
	if _, err := opened.Lookup("EFI/none"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

func walkAll(ctx context.Context, data []byte) error {
	opened, err := fat.Open(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return err
	}
	return opened.Walk(ctx, func(_ *image.Entry, content io.Reader) error {
		if content == nil {
			return nil
		}
		_, err := io.Copy(io.Discard, content)
		return err
	})
}

func TestReadRefuses(t *testing.T) {
	whole, err := os.ReadFile(made(t, "16", 16<<20))
	if err != nil {
		t.Fatal(err)
	}
	root := bytes.Index(whole, []byte("UPPER   TXT"))
	large := bytes.Index(whole, []byte("LARGE   "))
	sub := bytes.Index(whole, []byte("SUB     "))
	for name, c := range map[string]struct {
		change func([]byte) []byte
		want   string
	}{
		"no signature":  {func(b []byte) []byte { b[510] = 0; return b }, "signature"},
		"odd sectors":   {func(b []byte) []byte { b[11] = 1; return b }, "clusters of"},
		"no tables":     {func(b []byte) []byte { b[16] = 0; return b }, "0 tables"},
		"cut off":       {func(b []byte) []byte { return b[:1<<20] }, "do not fit"},
		"nothing":       {func([]byte) []byte { return nil }, "behind its end"},
		"a short table": {func(b []byte) []byte { b[22], b[23] = 1, 0; return b }, "a table of 1 sectors"},
		"a name twice": {func(b []byte) []byte {
			copy(b[root+32*0:], "LARGE   \x20\x20\x20")
			b[root+11] = 0x20
			b[root+12] = b[large+12]
			return b
		}, "twice"},
		"cluster outside":  {func(b []byte) []byte { b[root+26], b[root+27] = 0xff, 0xff; return b }, "cluster 65535"},
		"a file too short": {func(b []byte) []byte { b[root+30] = 0x0f; return b }, "early"},
		"a file too large": {func(b []byte) []byte { b[root+31] = 0x7f; return b }, "a file of"},
		"a loop":           {func(b []byte) []byte { b[root+11] = 0x10; copy(b[root+26:root+28], b[sub+26:sub+28]); return b }, "lead to each other"},
	} {
		data := c.change(bytes.Clone(whole))
		if err := walkAll(t.Context(), data); err == nil || !strings.Contains(err.Error(), c.want) || fault.KindOf(err) != fault.Input {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzRead(f *testing.F) {
	data, err := os.ReadFile(made(f, "12", 512<<10))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := walkAll(t.Context(), data); err != nil && fault.KindOf(err) != fault.Input {
			t.Errorf("%v of kind %v", err, fault.KindOf(err))
		}
	})
}
