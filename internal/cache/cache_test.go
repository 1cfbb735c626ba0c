package cache_test

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
	"sync"
	"testing"
	"time"

	"github.com/org/imagebuild-action/internal/cache"
	"github.com/org/imagebuild-action/internal/size"
)

func open(t *testing.T, dir string, limit size.Bytes) *cache.Cache {
	t.Helper()
	c, err := cache.Open(dir, limit)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func put(t *testing.T, c *cache.Cache, key string, content []byte) {
	t.Helper()
	err := c.Put(t.Context(), key, func(w io.Writer) error { _, err := w.Write(content); return err })
	if err != nil {
		t.Fatal(err)
	}
}

func get(t *testing.T, c *cache.Cache, key string) (content []byte, err error) {
	t.Helper()
	err = c.Read(t.Context(), key, func(r io.Reader) (err error) { content, err = io.ReadAll(r); return err })
	return content, err
}

// noise compresses badly, so that sizes mean something.
func noise(n int) []byte {
	b := make([]byte, n)
	x := uint32(2463534242)
	for i := range b {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
		b[i] = byte(x)
	}
	return b
}

func TestRoundTrip(t *testing.T) {
	c := open(t, t.TempDir(), size.GiB)
	want := noise(3 << 20)
	if c.Has("ab01") {
		t.Error("an empty cache has an entry")
	}
	if _, err := get(t, c, "ab01"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing entry: %v", err)
	}
	put(t, c, "ab01", want)
	got, err := get(t, c, "ab01")
	if err != nil || !bytes.Equal(got, want) || !c.Has("ab01") {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	// A reader that stops early is no damage.
	err = c.Read(t.Context(), "ab01", func(r io.Reader) error { _, err := r.Read(make([]byte, 10)); return err })
	if err != nil {
		t.Error(err)
	}
	wrong := errors.New("the reader's own")
	if err := c.Read(t.Context(), "ab01", func(io.Reader) error { return wrong }); !errors.Is(err, wrong) || errors.Is(err, cache.ErrDamaged) {
		t.Errorf("got %v", err)
	}
	for _, key := range []string{"", "../x", "AB", "xyz"} {
		if err := c.Put(t.Context(), key, func(io.Writer) error { return nil }); err == nil {
			t.Errorf("key %q was accepted", key)
		}
	}
}

func TestDamageIsNoticedAndRemoved(t *testing.T) {
	dir := t.TempDir()
	c := open(t, dir, size.GiB)
	content := noise(100 << 10)
	put(t, c, "aa", content)
	file := filepath.Join(dir, "aa.zst")
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	check := func(name string, damaged []byte) {
		t.Helper()
		if err := os.WriteFile(file, damaged, 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := get(t, c, "aa"); !errors.Is(err, cache.ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
		if c.Has("aa") {
			t.Errorf("%s: the entry is still there", name)
		}
	}
	for i := 0; i < len(whole); i += 997 {
		flipped := bytes.Clone(whole)
		flipped[i] ^= 0x10
		check(fmt.Sprintf("byte %d", i), flipped)
		check(fmt.Sprintf("cut at %d", i), whole[:i])
	}
	check("longer", append(bytes.Clone(whole), 0))
}

func TestFailedPutLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	c := open(t, dir, size.GiB)
	broken := errors.New("broken")
	if err := c.Put(t.Context(), "aa", func(w io.Writer) error {
		_, _ = w.Write(noise(1 << 20))
		return broken
	}); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if err := c.Put(ctx, "aa", func(w io.Writer) error {
		cancel()
		_, err := w.Write([]byte("x"))
		return err
	}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	names, err := os.ReadDir(dir)
	if err != nil || len(names) != 1 || names[0].Name() != "lock" {
		t.Errorf("left: %v, %v", names, err)
	}
}

func TestLeastRecentlyUsedGoes(t *testing.T) {
	dir := t.TempDir()
	c := open(t, dir, 250<<10)
	age := func(key string, hours int) {
		then := time.Now().Add(-time.Duration(hours) * time.Hour)
		if err := os.Chtimes(filepath.Join(dir, key+".zst"), then, then); err != nil {
			t.Fatal(err)
		}
	}
	put(t, c, "aa", noise(100<<10))
	put(t, c, "bb", noise(100<<10))
	age("aa", 3)
	age("bb", 2)
	if !c.Has("aa") { // now bb is the older one
		t.Fatal("aa is gone")
	}
	put(t, c, "cc", noise(100<<10))
	if !c.Has("aa") || c.Has("bb") || !c.Has("cc") {
		t.Errorf("aa %v, bb %v, cc %v", c.Has("aa"), c.Has("bb"), c.Has("cc"))
	}
	put(t, c, "dd", noise(400<<10)) // larger than the limit by itself
	if c.Has("aa") || c.Has("cc") || !c.Has("dd") {
		t.Error("the newest entry must stay, and the others go")
	}
}

func TestSweepSparesLiveBuilds(t *testing.T) {
	dir := t.TempDir()
	first := open(t, dir, size.GiB)
	stale := filepath.Join(dir, "new-stale")
	if err := os.WriteFile(stale, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	second := open(t, dir, size.GiB)
	if _, err := os.Stat(stale); err != nil {
		t.Error("a live build's temporary was removed")
	}
	_, _ = first.Close(), second.Close()
	open(t, dir, size.GiB)
	if _, err := os.Stat(stale); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a dead build's temporary is still there: %v", err)
	}
}

func TestTwoBuildsAtOnce(t *testing.T) {
	dir := t.TempDir()
	var group sync.WaitGroup
	for range 4 {
		c := open(t, dir, size.GiB)
		group.Go(func() {
			for i := range 20 {
				key := fmt.Sprintf("%04x", i)
				err := c.Put(t.Context(), key, func(w io.Writer) error {
					_, err := io.WriteString(w, strings.Repeat(key, 1000))
					return err
				})
				if err != nil {
					t.Error(err)
				}
				err = c.Read(t.Context(), key, func(r io.Reader) error {
					text, err := io.ReadAll(r)
					if err == nil && string(text) != strings.Repeat(key, 1000) {
						t.Errorf("%s: wrong content", key)
					}
					return err
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
}
