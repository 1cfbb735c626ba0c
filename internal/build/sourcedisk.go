package build

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/org/imagebuild-action/internal/cache"
	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/format/raw"
	"github.com/org/imagebuild-action/internal/report"
	"github.com/org/imagebuild-action/internal/run"
	"github.com/org/imagebuild-action/internal/size"
	"github.com/org/imagebuild-action/internal/source"
	"github.com/org/imagebuild-action/internal/template"
)

// disk opens the source of a tree whose machine boots the very disk that the
// source is; nil for all others.
func (b *builder) disk(t *builtTree, task report.Task) (source.DiskSource, error) {
	if t.plan.Engine != template.VM {
		return nil, nil
	}
	opened, err := b.open(t, task)
	if err != nil {
		return nil, err
	}
	disk, _ := opened.(source.DiskSource)
	return disk, nil
}

// keepDisk sees to it that a disk which takes long to make is in the cache.
func (b *builder) keepDisk(ctx context.Context, t *builtTree, disk source.DiskSource, task report.Task) error {
	key, err := disk.Key(ctx)
	if err != nil {
		return err
	}
	t.sourceKey = fmt.Sprintf("%x", sha256.Sum256([]byte("disk 1\n"+key)))
	if !disk.Slow() {
		return nil
	}
	if b.cache.Has(t.sourceKey) {
		task.Note("%s: from the cache (%.12s)", disk, t.sourceKey)
		return nil
	}
	if err := b.newRoot(t); err != nil {
		return err
	}
	path := filepath.Join(t.root.Path, "disk.raw")
	if err := report.Do(task, disk.String(), func(task report.Task) error { return disk.WriteDisk(ctx, path, task) }); err != nil {
		return err
	}
	return report.Do(task, "keep the source", func(report.Task) error {
		return run.Explain(b.cache.Put(ctx, t.sourceKey, func(w io.Writer) error { return saveDisk(w, path) }))
	})
}

// writeBase writes the source's disk to path, and makes it as large as the
// template says. A guest that knows how grows into it.
func (b *builder) writeBase(ctx context.Context, t *builtTree, disk source.DiskSource, path string, task report.Task) error {
	err := fs.ErrNotExist
	if disk.Slow() {
		err = b.cache.Read(ctx, t.sourceKey, func(r io.Reader) error { return loadDisk(r, path) })
	}
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, cache.ErrDamaged):
		if disk.Slow() {
			task.Warn("%v; making the source again", err)
		}
		if err := disk.WriteDisk(ctx, path, task); err != nil {
			return err
		}
	case err != nil:
		return err
	}
	wanted := int64(t.plan.Disk.Size)
	if wanted == 0 { // a disk that is kept has its own size
		return nil
	}
	info, err := os.Stat(path)
	if err != nil {
		return run.Explain(err)
	}
	if info.Size() > wanted {
		return fault.Errorf(fault.Input, "disk.size: %s is smaller than the disk of %s, which has %s; make it larger", t.plan.Disk.Size, disk, size.Bytes(info.Size()))
	} else if info.Size() < wanted {
		return run.Explain(os.Truncate(path, wanted))
	}
	return nil
}

// saveDisk writes a raw disk's size in bytes, as eight bytes, and its content.
func saveDisk(w io.Writer, path string) error {
	disk, err := raw.Open(path)
	if err != nil {
		return err
	}
	defer disk.Close() //nolint:errcheck // opened for reading
	if err := binary.Write(w, binary.BigEndian, disk.Size()); err != nil {
		return err
	}
	_, err = io.Copy(w, io.NewSectionReader(disk, 0, disk.Size()))
	return err
}

// loadDisk writes what saveDisk wrote to path, sparse.
func loadDisk(r io.Reader, path string) error {
	var bytes int64
	if err := binary.Read(r, binary.BigEndian, &bytes); err != nil {
		return err
	}
	w, err := raw.Create(path, bytes)
	if err != nil {
		return err
	}
	defer w.Abort()
	if n, err := io.Copy(io.NewOffsetWriter(w, 0), r); err != nil || n != bytes {
		return run.Explain(errors.Join(err, fmt.Errorf("%d of %d bytes", n, bytes)))
	}
	return w.Commit()
}
