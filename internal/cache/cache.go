// Package cache keeps the checkpoints of builds: blobs under keys that say how
// they were made, compressed, whole or not there at all.
//
//	c, err := cache.Open(dir, 20*size.GiB)
//	err = c.Put(ctx, key, func(w io.Writer) error { ... })
//	err = c.Read(ctx, key, func(r io.Reader) error { ... })
//
// Any number of builds may use one folder at once. Entries above the limit go,
// the least recently used first. An entry that turns out damaged is removed.
// It refuses keys that are not lower-case hex.
package cache

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"

	"github.com/org/imagebuild-action/internal/run"
	"github.com/org/imagebuild-action/internal/size"
)

// ErrDamaged is an entry whose bytes are not the ones that were put. It has
// been removed.
var ErrDamaged = errors.New("the cache entry is damaged")

const (
	suffix    = ".zst" // of an entry: a zstd frame, then the SHA-256 of the frame
	temporary = "new-" // of the folder of entries in the making
)

// Cache is an open cache folder.
type Cache struct {
	dir   string
	limit size.Bytes
	lock  *os.File // held shared while the cache is in use
	work  *run.WorkDir
}

// Open opens the cache in dir, making it if need be. What killed builds left
// half-written is removed, unless another build is at work.
func Open(dir string, limit size.Bytes) (*Cache, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, run.Explain(err)
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, run.Explain(err)
	}
	c := &Cache{dir: dir, limit: limit, lock: lock}
	if unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
		err = c.sweep()
	}
	if err == nil {
		err = unix.Flock(int(lock.Fd()), unix.LOCK_SH)
	}
	if err == nil {
		c.work, err = run.NewWorkDir(dir, temporary)
	}
	if err != nil {
		_ = lock.Close()
		return nil, run.Explain(fmt.Errorf("open cache %s: %w", dir, err))
	}
	return c, nil
}

// Close removes what was not finished, and lets other builds sweep.
func (c *Cache) Close() error { return errors.Join(c.work.Remove(), c.lock.Close()) }

func (c *Cache) sweep() error {
	entries, err := os.ReadDir(c.dir)
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), temporary) {
			err = errors.Join(err, os.RemoveAll(filepath.Join(c.dir, entry.Name())))
		}
	}
	return err
}

// Has tells whether there is an entry, and counts as a use of it.
func (c *Cache) Has(key string) bool {
	path, err := c.path(key)
	if err != nil {
		return false
	}
	now := time.Now()
	return os.Chtimes(path, now, now) == nil
}

// Put writes an entry, replacing one that is there. After an error, of write's
// or the file system's, there is no entry that was not there before.
func (c *Cache) Put(ctx context.Context, key string, write func(io.Writer) error) (err error) {
	path, err := c.path(key)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(c.work.Path, "")
	if err != nil {
		return run.Explain(err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close(), os.Remove(f.Name()))
		}
	}()
	hash := sha256.New()
	frame, err := zstd.NewWriter(io.MultiWriter(f, hash), zstd.WithEncoderLevel(zstd.SpeedFastest))
	if err != nil {
		return err
	}
	if err := write(contextWriter{ctx, frame}); err != nil {
		_ = frame.Close()
		return run.Explain(err)
	}
	if err := frame.Close(); err != nil {
		return run.Explain(err)
	}
	if _, err := f.Write(hash.Sum(nil)); err != nil {
		return run.Explain(err)
	}
	if err := errors.Join(f.Chmod(0o644), f.Sync()); err != nil {
		return run.Explain(err)
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return run.Explain(err)
	}
	if err := f.Close(); err != nil {
		return errors.Join(run.Explain(err), os.Remove(path))
	}
	return c.prune(filepath.Base(path))
}

// Drop removes an entry, if there is one: what it holds is to be made again.
func (c *Cache) Drop(key string) error {
	path, err := c.path(key)
	if err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return run.Explain(err)
	}
	return nil
}

// Read hands the content of an entry to read. Until Read returns nil, what was
// read may be damaged: throw away what was made of it. A missing entry is
// fs.ErrNotExist, a bad one ErrDamaged.
func (c *Cache) Read(ctx context.Context, key string, read func(io.Reader) error) error {
	path, err := c.path(key)
	if err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	body := &hashingReader{ctx: ctx, r: io.LimitReader(f, info.Size()-sha256.Size), hash: sha256.New()}
	frame, err := zstd.NewReader(body, zstd.WithDecoderMaxMemory(1<<30))
	if err != nil {
		return err
	}
	err = read(frame)
	if err == nil {
		_, err = io.Copy(io.Discard, frame)
	}
	frame.Close() // it reads ahead
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	damaged := body.check(f)
	if damaged == nil {
		return err // the bytes are right, so it is the reader's own
	}
	return errors.Join(fmt.Errorf("%s: %w", filepath.Base(path), ErrDamaged), damaged, os.Remove(path))
}

// prune removes the least recently used entries above the limit, but never the
// one that was just written.
func (c *Cache) prune(keep string) error {
	names, err := os.ReadDir(c.dir)
	if err != nil {
		return run.Explain(err)
	}
	var entries []os.FileInfo
	var total size.Bytes
	for _, name := range names {
		info, err := name.Info()
		if err != nil || !strings.HasSuffix(name.Name(), suffix) {
			continue // another build removed it, or it is none
		}
		total += size.Bytes(info.Size())
		if name.Name() != keep {
			entries = append(entries, info)
		}
	}
	slices.SortFunc(entries, func(a, b os.FileInfo) int {
		return cmp.Or(a.ModTime().Compare(b.ModTime()), cmp.Compare(a.Name(), b.Name()))
	})
	for _, info := range entries {
		if c.limit <= 0 || total <= c.limit {
			break
		}
		if err := os.Remove(filepath.Join(c.dir, info.Name())); err != nil && !errors.Is(err, os.ErrNotExist) {
			return run.Explain(err)
		}
		total -= size.Bytes(info.Size())
	}
	return nil
}

func (c *Cache) path(key string) (string, error) {
	if _, err := hex.DecodeString(key); err != nil || key == "" || key != strings.ToLower(key) {
		return "", fmt.Errorf("%q is not a cache key", key)
	}
	return filepath.Join(c.dir, key+suffix), nil
}

type contextWriter struct {
	ctx context.Context //nolint:containedctx // lives as long as one Put
	w   io.Writer
}

func (w contextWriter) Write(p []byte) (int, error) {
	if err := w.ctx.Err(); err != nil {
		return 0, context.Cause(w.ctx)
	}
	return w.w.Write(p)
}

type hashingReader struct {
	ctx  context.Context //nolint:containedctx // lives as long as one Read
	r    io.Reader
	hash interface {
		io.Writer
		Sum(b []byte) []byte
	}
}

func (h *hashingReader) Read(p []byte) (int, error) {
	if err := h.ctx.Err(); err != nil {
		return 0, context.Cause(h.ctx)
	}
	n, err := h.r.Read(p)
	_, _ = h.hash.Write(p[:n]) // a hash never fails
	return n, err
}

// check reads what is left and compares the digest at the end of the file.
func (h *hashingReader) check(f io.Reader) error {
	if _, err := io.Copy(io.Discard, h); err != nil {
		return err
	}
	want := make([]byte, sha256.Size)
	if _, err := io.ReadFull(f, want); err != nil {
		return fmt.Errorf("read its digest: %w", err)
	}
	if subtle.ConstantTimeCompare(want, h.hash.Sum(nil)) != 1 {
		return errors.New("its digest is another one")
	}
	return nil
}
