package raw_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/org/imagebuild-action/internal/format/raw"
)

// flat hides the holes of a disk, as a file system without SEEK_HOLE does.
type flat struct{ *raw.Disk }

func (d flat) NextExtent(offset int64) (start, end int64, err error) {
	if offset >= d.Size() {
		return 0, 0, io.EOF
	}
	return offset, d.Size(), nil
}

// sample makes a disk of 9 MiB and a sector with data at three places, and
// returns its content too.
func sample(t *testing.T) (path string, content []byte) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "disk.raw")
	content = make([]byte, 9<<20+512)
	copy(content[100:], "first")
	copy(content[5<<20-2:], "border")
	copy(content[len(content)-4:], "last")
	w, err := raw.Create(path, int64(len(content)))
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	if n, err := w.WriteAt(content, 0); err != nil || n != len(content) {
		t.Fatal(n, err)
	}
	if err := w.Commit(); err != nil {
		t.Fatal(err)
	}
	return path, content
}

func blocks(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Sys().(*syscall.Stat_t).Blocks * 512
}

func TestWriteSkipsZeros(t *testing.T) {
	path, content := sample(t)
	got, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(got, content) {
		t.Fatalf("content differs, %v", err)
	}
	if used := blocks(t, path); used > 64<<10 {
		t.Errorf("three words take %d bytes of the file system", used)
	}
}

func TestDigestAndCopyDoNotDependOnHoles(t *testing.T) {
	path, content := sample(t)
	disk, err := raw.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	want := fmt.Sprintf("%x", sha256.Sum256(content))
	for name, d := range map[string]interface {
		io.ReaderAt
		Size() int64
		NextExtent(int64) (int64, int64, error)
	}{"sparse": disk, "flat": flat{disk}} {
		if got, err := raw.Digest(t.Context(), d); err != nil || got != want {
			t.Errorf("%s: digest %s, want %s, %v", name, got, want, err)
		}
		copied := filepath.Join(t.TempDir(), "copy.raw")
		w, err := raw.Create(copied, d.Size())
		if err != nil {
			t.Fatal(err)
		}
		var done int64
		if err := raw.Copy(t.Context(), w, d, func(n, _ int64) { done = n }); err != nil || done != d.Size() {
			t.Errorf("%s: copied %d of %d, %v", name, done, d.Size(), err)
		}
		if err := w.Commit(); err != nil {
			t.Fatal(err)
		}
		if got, _ := os.ReadFile(copied); !bytes.Equal(got, content) {
			t.Errorf("%s: the copy differs", name)
		}
		if used := blocks(t, copied); used > 64<<10 {
			t.Errorf("%s: the copy takes %d bytes of the file system", name, used)
		}
	}
}

type failingWriterAt struct{ calls, fail int }

func (w *failingWriterAt) WriteAt(p []byte, _ int64) (int, error) {
	if w.calls++; w.calls == w.fail {
		return 0, syscall.ENOSPC
	}
	return len(p), nil
}

func TestCopyFailsAtEveryWrite(t *testing.T) {
	path, _ := sample(t)
	disk, err := raw.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	for n := 1; ; n++ {
		w := &failingWriterAt{fail: n}
		err := raw.Copy(t.Context(), w, disk, nil)
		if w.calls < n {
			if err != nil {
				t.Fatal(err)
			}
			return
		}
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("write %d failed, the result is %v", n, err)
		}
	}
}

func TestCancelled(t *testing.T) {
	path, _ := sample(t)
	disk, err := raw.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := raw.Digest(ctx, disk); !errors.Is(err, context.Canceled) {
		t.Errorf("digest: %v", err)
	}
	if err := raw.Copy(ctx, &failingWriterAt{}, disk, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("copy: %v", err)
	}
}

func TestRefused(t *testing.T) {
	dir := t.TempDir()
	for name, n := range map[string]int{"empty": 0, "odd": 513} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, make([]byte, n), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := raw.Open(path); err == nil {
			t.Errorf("a file of %d bytes was accepted", n)
		}
	}
	if _, err := raw.Open(dir); err == nil {
		t.Error("a directory was accepted")
	}
	if _, err := raw.Open(filepath.Join(dir, "missing")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
	for _, size := range []int64{0, -512, 100} {
		if _, err := raw.Create(filepath.Join(dir, "new"), size); err == nil {
			t.Errorf("a disk of %d bytes was created", size)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*.part")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestDetect(t *testing.T) {
	at := func(offset int, magic string) []byte {
		b := make([]byte, raw.DetectBytes)
		copy(b[offset:], magic)
		return b
	}
	for want, header := range map[raw.Format][]byte{
		raw.VMDK: at(0, "KDMV"), raw.QCOW2: at(0, "QFI\xfb"), raw.Gzip: at(0, "\x1f\x8b"), raw.Tar: at(257, "ustar"),
		raw.BootRecord: at(510, "\x55\xaa"), raw.NoMagic: at(0, ""), raw.VDI: at(64, "\x7f\x10\xda\xbe"),
		raw.VMDKDescriptor: []byte("# Disk DescriptorFile\nversion=1\n"),
	} {
		if got := raw.Detect(header); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if got := raw.Detect(nil); got != raw.NoMagic {
		t.Errorf("nothing is %q", got)
	}
}
