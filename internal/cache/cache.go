// Package cache keeps blobs by key in a folder that any number of builds
// share.
//
//	c, err := cache.Open(dir, 10*size.GiB)
//	blob, ok := c.Get(ctx, key)
//	err = c.Put(ctx, key, func(w io.Writer) error { ... })
//
// A blob is compressed with zstd and closed by a digest of its bytes. It is
// verified whole before any of it is handed out; a damaged one is dropped and
// counts as missing. An entry gets its name when it is complete, so a killed
// build leaves nothing but a temporary file, which the next Open removes. When
// the folder grows over its limit, what was not used for longest goes.
//
// It never deletes a file that it did not write, and refuses keys that are not
// lower-case hex digits.
package cache

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/org/imagebuild-action/internal/run"
	"github.com/org/imagebuild-action/internal/size"
)

// ErrUnavailable marks errors of the cache's folder: unwritable, full, gone. A
// build can go on without a cache.
var ErrUnavailable = errors.New("the cache is not usable")

const (
	suffix     = ".zst"
	tempPrefix = ".new-"
)

// Cache is an open folder. It is safe for concurrent use. A nil *Cache is one
// that holds nothing and keeps nothing.
type Cache struct {
	// Note is told about entries that had to be dropped; it may be nil.
	Note func(format string, args ...any)

	dir   string
	limit size.Bytes
}

// Open opens the folder dir, making it when it is missing, and removes what
// killed builds have left in it. A limit of zero is none.
func Open(dir string, limit size.Bytes) (*Cache, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, unavailable(err)
	}
	c := &Cache{dir: dir, limit: limit}
	names, err := filepath.Glob(filepath.Join(dir, tempPrefix+"*"))
	if err != nil {
		return nil, unavailable(err)
	}
	for _, name := range names {
		removeIfDead(name)
	}
	return c, nil
}

// removeIfDead removes a temporary file unless a live process holds its lock.
func removeIfDead(name string) {
	f, err := os.Open(name)
	if err != nil {
		return
	}
	defer f.Close() //nolint:errcheck // only locked
	if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
		_ = os.Remove(name)
	}
}

func unavailable(err error) error {
	return fmt.Errorf("%w: %w", ErrUnavailable, run.Explain(err))
}

var keyPattern = regexp.MustCompile(`^[0-9a-f]{16,128}$`)

func (c *Cache) path(key string) (string, error) {
	if !keyPattern.MatchString(key) {
		return "", fmt.Errorf("cache key %q is not a lower-case hex digest", key)
	}
	return filepath.Join(c.dir, key+suffix), nil
}

// Get returns the blob under key, verified and decompressed, and whether there
// is one. The caller closes it.
func (c *Cache) Get(ctx context.Context, key string) (io.ReadCloser, bool) {
	if c == nil {
		return nil, false
	}
	name, err := c.path(key)
	if err != nil {
		return nil, false
	}
	blob, err := openBlob(ctx, name)
	switch {
	case err == nil:
		now := time.Now()
		_ = os.Chtimes(name, now, now) // it may be gone or not ours: no matter
		return blob, true
	case errors.Is(err, errDamaged):
		c.note("the cache entry %s is damaged and was dropped: %v", filepath.Base(name), err)
		_ = os.Remove(name)
	case !errors.Is(err, os.ErrNotExist) && ctx.Err() == nil:
		c.note("the cache entry %s cannot be read: %v", filepath.Base(name), err)
	}
	return nil, false
}

// Has says whether there is an entry under key, without verifying it.
func (c *Cache) Has(key string) bool {
	if c == nil {
		return false
	}
	name, err := c.path(key)
	if err != nil {
		return false
	}
	_, err = os.Stat(name)
	return err == nil
}

func (c *Cache) note(format string, args ...any) {
	if c.Note != nil {
		c.Note(format, args...)
	}
}

// Put stores what fill writes under key, in place of what is there. An error of
// fill's is returned as it is and nothing is stored; errors of the cache's own
// are ErrUnavailable.
func (c *Cache) Put(ctx context.Context, key string, fill func(w io.Writer) error) error {
	if c == nil {
		return nil
	}
	name, err := c.path(key)
	if err != nil {
		return err
	}
	f, err := c.temp()
	if err != nil {
		return unavailable(err)
	}
	defer os.Remove(f.Name()) //nolint:errcheck // renamed when all went well
	defer f.Close()           //nolint:errcheck // writeBlob has synced it
	if err := writeBlob(ctx, f, fill); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), name); err != nil {
		return unavailable(err)
	}
	return c.trim(name)
}

// temp makes a temporary file and locks it for as long as it is open.
func (c *Cache) temp() (*os.File, error) {
	for {
		f, err := os.CreateTemp(c.dir, tempPrefix+"*")
		if err != nil {
			return nil, err
		}
		var st unix.Stat_t
		err = errors.Join(f.Chmod(0o644), unix.Flock(int(f.Fd()), unix.LOCK_EX), unix.Fstat(int(f.Fd()), &st))
		if err != nil {
			_ = os.Remove(f.Name())
			return nil, errors.Join(err, f.Close())
		}
		if st.Nlink > 0 {
			return f, nil
		}
		_ = f.Close() // another Open took it for a dead one before it was locked
	}
}

// trim removes the least recently used entries above the limit, but not keep.
func (c *Cache) trim(keep string) error {
	if c.limit <= 0 {
		return nil
	}
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		return unavailable(err)
	}
	var infos []os.FileInfo
	total := size.Bytes(0)
	for _, e := range entries {
		key, ok := strings.CutSuffix(e.Name(), suffix)
		info, err := e.Info()
		if !ok || !keyPattern.MatchString(key) || err != nil {
			continue
		}
		total += size.Bytes(info.Size())
		if e.Name() != filepath.Base(keep) {
			infos = append(infos, info)
		}
	}
	slices.SortFunc(infos, func(a, b os.FileInfo) int {
		return cmp.Or(a.ModTime().Compare(b.ModTime()), cmp.Compare(a.Name(), b.Name()))
	})
	for _, info := range infos {
		if total <= c.limit {
			break
		}
		if err := os.Remove(filepath.Join(c.dir, info.Name())); err != nil && !errors.Is(err, os.ErrNotExist) {
			return unavailable(err)
		}
		total -= size.Bytes(info.Size())
	}
	return nil
}
