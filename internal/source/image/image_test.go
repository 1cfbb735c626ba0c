package image_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/fetch"
	"github.com/org/imagebuild-action/internal/format/qcow2"
	"github.com/org/imagebuild-action/internal/format/raw"
	"github.com/org/imagebuild-action/internal/report"
	"github.com/org/imagebuild-action/internal/source/image"
	"github.com/org/imagebuild-action/internal/testkit"
)

// files are a disk and its form as qcow2.
func files(t *testing.T) (disk *testkit.Disk, packed []byte) {
	t.Helper()
	disk = testkit.NewDisk(40 << 20)
	disk.Put(0, append(bytes.Repeat([]byte{0}, 510), 0x55, 0xaa))
	disk.Put(5<<20, testkit.Prose(1, 300_000))
	f, err := os.Create(filepath.Join(t.TempDir(), "disk.qcow2"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := qcow2.Write(t.Context(), f, disk, qcow2.Options{}); err != nil {
		t.Fatal(err)
	}
	if packed, err = os.ReadFile(f.Name()); err != nil {
		t.Fatal(err)
	}
	return disk, packed
}

func sumOf(content []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(content)) }

func open(c fetch.Config, dir string) *image.Image {
	return image.Open(&image.Config{Config: c, Canonical: true}, image.Request{Arch: "amd64", TemplateDir: dir, CacheDir: filepath.Join(dir, "cache")})
}

func mustWrite(t *testing.T, src *image.Image, want *testkit.Disk) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.raw")
	if err := src.WriteDisk(t.Context(), path, report.Discard.Begin("")); err != nil {
		t.Fatal(err)
	}
	got, err := raw.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer got.Close()
	testkit.Same(t, want, got)
	if left, _ := os.ReadDir(filepath.Dir(path)); len(left) != 1 {
		t.Errorf("left beside the disk: %v", left)
	}
	key, err := src.Key(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// TestSameKeyWhereverItIs: the file's content decides, not its name.
func TestSameKeyWhereverItIs(t *testing.T) {
	disk, packed := files(t)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(packed))
	}))
	t.Cleanup(server.Close)
	dir := t.TempDir()
	for _, name := range []string{"a.qcow2", "b.img"} {
		if err := os.WriteFile(filepath.Join(dir, name), packed, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var keys []string
	for _, c := range []fetch.Config{{Path: "a.qcow2"}, {Path: "b.img", Checksum: sumOf(packed)}, {URL: server.URL + "/c", Checksum: sumOf(packed)}} {
		keys = append(keys, mustWrite(t, open(c, dir), disk))
	}
	if keys[0] != keys[1] || keys[1] != keys[2] || len(keys[0]) != 64 {
		t.Errorf("keys %v", keys)
	}
	other, err := open(fetch.Config{URL: server.URL + "/d", Checksum: sumOf(nil)}, dir).Key(t.Context())
	if err != nil || other == keys[0] {
		t.Error(other, err)
	}
}

func TestFails(t *testing.T) {
	_, packed := files(t)
	dir := t.TempDir()
	if err := errors.Join(os.WriteFile(filepath.Join(dir, "disk"), packed, 0o600), os.WriteFile(filepath.Join(dir, "text"), make([]byte, 4096), 0o600),
		os.WriteFile(filepath.Join(dir, "cut"), packed[:len(packed)/2], 0o600)); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		config fetch.Config
		want   string
	}{
		"another digest":    {fetch.Config{Path: "disk", Checksum: sumOf(nil)}, "is wanted"},
		"not there":         {fetch.Config{Path: "none"}, "no such file"},
		"no disk":           {fetch.Config{Path: "text"}, "neither a disk image"},
		"cut off":           {fetch.Config{Path: "cut"}, "qcow2 is damaged"},
		"no digest, remote": {fetch.Config{URL: "http://127.0.0.1:1/x"}, "needs a digest"},
	} {
		path := filepath.Join(t.TempDir(), "disk.raw")
		err := open(c.config, dir).WriteDisk(t.Context(), path, report.Discard.Begin(""))
		if err == nil || !strings.Contains(err.Error(), c.want) || fault.KindOf(err) != fault.Input {
			t.Errorf("%s: %v of kind %v", name, err, fault.KindOf(err))
		}
		if left, _ := os.ReadDir(filepath.Dir(path)); len(left) != 0 {
			t.Errorf("%s: left behind: %v", name, left)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	path := filepath.Join(t.TempDir(), "disk.raw")
	if err := open(fetch.Config{Path: "disk"}, dir).WriteDisk(ctx, path, report.Discard.Begin("")); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestCancelledAnywhere stops at every piece of progress.
func TestCancelledAnywhere(t *testing.T) {
	disk, packed := files(t)
	dir := t.TempDir()
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	_, _ = z.Write(packed)
	if err := errors.Join(z.Close(), os.WriteFile(filepath.Join(dir, "disk.gz"), zipped.Bytes(), 0o600)); err != nil {
		t.Fatal(err)
	}
	for n := 1; ; n++ {
		ctx, cancel := context.WithCancel(t.Context())
		task := &counting{Task: report.Discard.Begin(""), at: n, fn: cancel}
		path := filepath.Join(t.TempDir(), "disk.raw")
		err := open(fetch.Config{Path: "disk.gz"}, dir).WriteDisk(ctx, path, task)
		cancel()
		left, _ := os.ReadDir(filepath.Dir(path))
		switch {
		case task.seen < n:
			if err != nil || len(left) != 1 || n < 5 {
				t.Errorf("after %d pieces of progress: %v, %v", task.seen, err, left)
			}
			mustWrite(t, open(fetch.Config{Path: "disk.gz"}, dir), disk)
			return
		case err == nil && len(left) == 1: // it was done at that moment
		case !errors.Is(err, context.Canceled) || fault.KindOf(err) != fault.Cancelled || len(left) != 0:
			t.Fatalf("cancelled at %d: %v of kind %v, left %v", n, err, fault.KindOf(err), left)
		}
	}
}

type counting struct {
	report.Task
	at, seen int
	fn       func()
}

func (c *counting) Begin(string) report.Task { return c }

func (c *counting) Progress(int64, int64) {
	if c.seen++; c.seen == c.at {
		c.fn()
	}
}

func TestNames(t *testing.T) {
	for want, c := range map[string]fetch.Config{
		"image disk.qcow2": {URL: "https://user:secret@host/a/disk.qcow2?token=secret"},
		"image box.img":    {Path: "/a/b/box.img"},
	} {
		if got := open(c, "").String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
