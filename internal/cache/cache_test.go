package cache

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/org/imagebuild-action/internal/size"
)

var keys = []string{strings.Repeat("a", 64), strings.Repeat("b", 64), strings.Repeat("c", 64)}

func open(t *testing.T, dir string, limit size.Bytes) *Cache {
	t.Helper()
	c, err := Open(dir, limit)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func put(t *testing.T, c *Cache, key string, data []byte) {
	t.Helper()
	err := c.Put(t.Context(), key, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func get(t *testing.T, c *Cache, key string) ([]byte, bool) {
	t.Helper()
	blob, ok := c.Get(t.Context(), key)
	if !ok {
		return nil, false
	}
	data, err := io.ReadAll(blob)
	if err = errors.Join(err, blob.Close()); err != nil {
		t.Fatal(err)
	}
	return data, true
}

// noise does not compress.
func noise(n int) []byte {
	data := make([]byte, n)
	x := uint32(1)
	for i := range data {
		x = x*1664525 + 1013904223
		data[i] = byte(x >> 24)
	}
	return data
}

func TestRoundTrip(t *testing.T) {
	c := open(t, filepath.Join(t.TempDir(), "new", "folder"), 0)
	if _, ok := get(t, c, keys[0]); ok {
		t.Error("something out of nothing")
	}
	for _, want := range [][]byte{{}, []byte("hello"), bytes.Repeat([]byte("ab"), 1<<20), noise(3 << 20)} {
		put(t, c, keys[0], want)
		got, ok := get(t, c, keys[0])
		if !ok || !bytes.Equal(got, want) {
			t.Errorf("%d bytes became %d, %v", len(want), len(got), ok)
		}
	}
	if !c.Has(keys[0]) || c.Has(keys[1]) {
		t.Error("Has")
	}
	if err := c.Put(t.Context(), "../../etc/passwd", func(io.Writer) error { return nil }); err == nil {
		t.Error("a path was taken for a key")
	}
}

func TestDamage(t *testing.T) {
	damages := map[string]func([]byte) []byte{
		"flipped":   func(b []byte) []byte { b[len(b)/2] ^= 1; return b },
		"first":     func(b []byte) []byte { b[0] ^= 1; return b },
		"last":      func(b []byte) []byte { b[len(b)-1] ^= 1; return b },
		"truncated": func(b []byte) []byte { return b[:len(b)-1000] },
		"no mark":   func(b []byte) []byte { return b[:len(b)-int(trailerSize)] },
		"empty":     func([]byte) []byte { return nil },
		"longer":    func(b []byte) []byte { return append(b, 0) },
	}
	for name, damage := range damages {
		t.Run(name, func(t *testing.T) {
			c := open(t, t.TempDir(), 0)
			noted := false
			c.Note = func(string, ...any) { noted = true }
			put(t, c, keys[0], noise(100000))
			path := filepath.Join(c.dir, keys[0]+suffix)
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, damage(data), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, ok := get(t, c, keys[0]); ok {
				t.Error("damaged content was handed out")
			}
			if !noted || c.Has(keys[0]) {
				t.Error("the entry was not dropped with a note")
			}
		})
	}
}

func TestFailedPutLeavesTheOldEntry(t *testing.T) {
	c := open(t, t.TempDir(), 0)
	put(t, c, keys[0], []byte("old"))
	broken := errors.New("broken")
	err := c.Put(t.Context(), keys[0], func(w io.Writer) error {
		_, _ = w.Write(noise(1 << 20))
		return broken
	})
	if !errors.Is(err, broken) || errors.Is(err, ErrUnavailable) {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	err = c.Put(ctx, keys[0], func(w io.Writer) error {
		cancel()
		_, err := w.Write([]byte("new"))
		return err
	})
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if data, ok := get(t, c, keys[0]); !ok || string(data) != "old" {
		t.Errorf("%q, %v", data, ok)
	}
	if names, _ := filepath.Glob(filepath.Join(c.dir, ".*")); len(names) > 0 {
		t.Errorf("left over: %v", names)
	}
}

func TestLeastRecentlyUsedGoes(t *testing.T) {
	c := open(t, t.TempDir(), 250*size.KiB)
	long := time.Now().Add(-time.Hour)
	for i, key := range keys[:2] {
		put(t, c, key, noise(100<<10))
		at := long.Add(time.Duration(i) * time.Minute)
		if err := os.Chtimes(filepath.Join(c.dir, key+suffix), at, at); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(c.dir, "foreign"), noise(1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, ok := get(t, c, keys[0]); !ok { // now the second is the older one
		t.Fatal("lost")
	}
	put(t, c, keys[2], noise(100<<10))
	if c.Has(keys[1]) || !c.Has(keys[0]) || !c.Has(keys[2]) {
		t.Errorf("%v %v %v", c.Has(keys[0]), c.Has(keys[1]), c.Has(keys[2]))
	}
	if _, err := os.Stat(filepath.Join(c.dir, "foreign")); err != nil {
		t.Error(err)
	}
}

func TestOpenRemovesOnlyDeadTemporaries(t *testing.T) {
	dir := t.TempDir()
	c := open(t, dir, 0)
	live, err := c.temp()
	if err != nil {
		t.Fatal(err)
	}
	defer live.Close()
	dead := filepath.Join(dir, tempPrefix+"dead")
	if err := os.WriteFile(dead, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	open(t, dir, 0)
	if _, err := os.Stat(live.Name()); err != nil {
		t.Error("a live temporary was removed")
	}
	if _, err := os.Stat(dead); err == nil {
		t.Error("a dead temporary stays")
	}
}

func TestSharedByMany(t *testing.T) {
	dir := t.TempDir()
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for i := range 20 {
				c, err := Open(dir, size.MiB)
				if err != nil {
					t.Error(err)
					return
				}
				c.Note = t.Errorf
				key := keys[i%len(keys)]
				if blob, ok := c.Get(t.Context(), key); ok {
					data, err := io.ReadAll(blob)
					if err = errors.Join(err, blob.Close()); err != nil || !bytes.Equal(data, noise(200<<10)) {
						t.Errorf("%d bytes, %v", len(data), err)
					}
				}
				err = c.Put(t.Context(), key, func(w io.Writer) error { _, err := w.Write(noise(200 << 10)); return err })
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
}

func TestFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	dir := t.TempDir()
	if err := unix.Mount("none", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	c := open(t, dir, 0)
	err := c.Put(t.Context(), keys[0], func(w io.Writer) error { _, err := w.Write(noise(4 << 20)); return err })
	if !errors.Is(err, ErrUnavailable) || !errors.Is(err, unix.ENOSPC) {
		t.Error(err)
	}
	if names, _ := os.ReadDir(dir); len(names) > 0 {
		t.Errorf("left over: %v", names)
	}
}

func TestNoFolder(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Open(filepath.Join(file, "cache"), 0)
	if !errors.Is(err, ErrUnavailable) {
		t.Error(err)
	}
	if _, ok := c.Get(t.Context(), keys[0]); ok || c.Has(keys[0]) {
		t.Error("no cache holds something")
	}
	if err := c.Put(t.Context(), keys[0], nil); err != nil {
		t.Error(err)
	}
}

func FuzzBlob(f *testing.F) {
	f.Add([]byte("(\xb5/\xfd" + mark + strings.Repeat("x", 32)))
	f.Fuzz(func(t *testing.T, data []byte) {
		name := filepath.Join(t.TempDir(), "blob")
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if blob, err := openBlob(t.Context(), name); err == nil {
			_, _ = io.Copy(io.Discard, io.LimitReader(blob, 1<<20))
			_ = blob.Close()
		}
	})
}
