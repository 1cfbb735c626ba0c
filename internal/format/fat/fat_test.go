package fat

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/org/imagebuild-action/internal/testkit"
)

func sample(sizeBytes int64) Options {
	loader := bytes.Repeat([]byte("loader "), 100_000)
	return Options{
		SizeBytes: sizeBytes, HiddenBytes: 2 << 20, VolumeID: 0x1234abcd, Label: "ESP",
		Time: time.Date(2024, 2, 29, 23, 59, 58, 0, time.UTC),
		Files: []File{
			{"EFI/BOOT/BOOTX64.EFI", loader},
			{"EFI/BOOT/EMPTY", nil},
			{"EFI/DEBIAN/GRUB.CFG", []byte("text")},
			{"STARTUP.NSH", []byte("fs0:")},
		},
	}
}

func write(t testing.TB, o Options) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "esp")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(o.SizeBytes); err != nil {
		t.Fatal(err)
	}
	if err := Write(f, o); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestOracle(t *testing.T) {
	fsck, mcopy := testkit.Tool(t, "fsck.vfat"), testkit.Tool(t, "mcopy")
	for _, sizeBytes := range []int64{MinBytes, 64<<20 + 512, MaxBytes} {
		t.Run(fmt.Sprint(sizeBytes), func(t *testing.T) {
			o := sample(sizeBytes)
			name := write(t, o)
			out, err := exec.CommandContext(t.Context(), fsck, "-nv", name).CombinedOutput()
			if err != nil || !strings.Contains(string(out), "32 bit entries") || !strings.Contains(string(out), "8 files") {
				t.Errorf("fsck.vfat: %v\n%s", err, out)
			}
			for _, f := range o.Files {
				out, err := exec.CommandContext(t.Context(), mcopy, "-i", name, "::/"+f.Path, "-").Output()
				if err != nil || !bytes.Equal(out, f.Content) {
					t.Errorf("%s: %d bytes, want %d: %v", f.Path, len(out), len(f.Content), err)
				}
			}
		})
	}
}

func TestManyFiles(t *testing.T) {
	fsck := testkit.Tool(t, "fsck.vfat")
	o := sample(MinBytes)
	for i := range 100 { // a directory of several clusters
		o.Files = append(o.Files, File{fmt.Sprintf("DIR/F%d.TXT", i), []byte{byte(i)}})
	}
	if out, err := exec.CommandContext(t.Context(), fsck, "-n", write(t, o)).CombinedOutput(); err != nil {
		t.Errorf("fsck.vfat: %v\n%s", err, out)
	}
}

func TestSameBytes(t *testing.T) {
	sum := func() string {
		data, err := os.ReadFile(write(t, sample(MinBytes)))
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("%x", sha256.Sum256(data))
	}
	if a, b := sum(), sum(); a != b {
		t.Errorf("two runs differ: %s and %s", a, b)
	}
}

func TestRefuses(t *testing.T) {
	tests := []struct {
		name   string
		change func(*Options)
		want   string
	}{
		{"too small", func(o *Options) { o.SizeBytes = MinBytes - 512 }, "must have"},
		{"too large", func(o *Options) { o.SizeBytes = MaxBytes + 512 }, "must have"},
		{"half a sector", func(o *Options) { o.SizeBytes++ }, "whole sectors"},
		{"long label", func(o *Options) { o.Label = "A LABEL TOO LONG" }, "label"},
		{"lower case", func(o *Options) { o.Files[0].Path = "efi/boot" }, "8.3"},
		{"long name", func(o *Options) { o.Files[0].Path = "EFI/LONGERTHAN8" }, "8.3"},
		{"no name", func(o *Options) { o.Files[0].Path = "EFI//X" }, "8.3"},
		{"twice", func(o *Options) { o.Files[1].Path = o.Files[0].Path }, "twice"},
		{"file as directory", func(o *Options) { o.Files[1].Path = "STARTUP.NSH"; o.Files[3].Path = "STARTUP.NSH/X" }, "twice"},
		{"too much", func(o *Options) { o.Files[0].Content = make([]byte, MinBytes) }, "do not fit"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			o := sample(MinBytes)
			test.change(&o)
			if err := Write(discard{}, o); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error is %v, want one with %q", err, test.want)
			}
		})
	}
}

type discard struct{}

func (discard) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }

type failing struct{ left *int }

var errWrite = errors.New("write failed")

func (f failing) WriteAt(p []byte, _ int64) (int, error) {
	if *f.left--; *f.left == 0 {
		return 0, errWrite
	}
	return len(p), nil
}

func TestEveryWriteMayFail(t *testing.T) {
	for n := 1; ; n++ {
		left := n
		err := Write(failing{&left}, sample(MinBytes))
		if err == nil {
			if n < 10 {
				t.Errorf("only %d writes", n)
			}
			return
		}
		if !errors.Is(err, errWrite) {
			t.Fatalf("write %d: %v", n, err)
		}
	}
}

func BenchmarkWrite(b *testing.B) {
	o := sample(64 << 20)
	for b.Loop() {
		if err := Write(io.NewOffsetWriter(discard{}, 0), o); err != nil {
			b.Fatal(err)
		}
	}
}
