package build

import (
	"context"
	"io"
	"os"

	"github.com/org/imagebuild-action/internal/extract"
	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/format/raw"
	"github.com/org/imagebuild-action/internal/image"
	"github.com/org/imagebuild-action/internal/manifest"
	"github.com/org/imagebuild-action/internal/plan"
	"github.com/org/imagebuild-action/internal/report"
	"github.com/org/imagebuild-action/internal/run"
	"github.com/org/imagebuild-action/internal/size"
	"github.com/org/imagebuild-action/internal/target"
)

// sealKept is what sealing is for a disk that is kept: nothing on it changes.
// The base and its layers become one disk, where the platforms look for it,
// and as much is written down of it as can be known.
func (b *builder) sealKept(ctx context.Context, t *builtTree, dir, suffix string, task report.Task) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return run.Explain(err)
	}
	path := diskPath(dir, target.Canonical, "raw")
	err := report.Do(task, "copy the disk", func(task report.Task) error { return copyDisk(ctx, path, t.whole, task) })
	if err != nil {
		return err
	}
	if err := b.background.saving.Wait(); err != nil {
		return err
	}
	if err := t.letGo(false); err != nil { // the layers
		return err
	}
	disk, err := raw.Open(path)
	if err != nil {
		return err
	}
	t.closers = append(t.closers, disk)
	about := manifest.Disk{SizeBytes: disk.Size()}
	if about.SHA256, err = raw.Digest(ctx, disk); err != nil {
		return err
	}
	t.result.KeptDisk, t.result.SHA256, t.result.SizeBytes = true, about.SHA256, about.SizeBytes
	b.describe(t, suffix)
	err = b.lookInto(ctx, t, disk, about, task)
	if err != nil && ctx.Err() == nil && fault.KindOf(err) == fault.Input {
		task.Warn("the files on the disk cannot be read, so the manifest lists none: %v", err)
		t.sealed, t.unread, about.Unread, t.result.Entries = nil, err, err.Error(), 0
		err = b.writeManifest(t, func(w io.Writer) error { return manifest.WriteDisk(ctx, w, about, nil) })
	}
	if err != nil {
		return err
	}
	task.Note("disk sha256:%.12s, %s, kept as it is; ids, keys and logs are what the last step left", about.SHA256, size.Bytes(about.SizeBytes).Human())
	return nil
}

// copyDisk writes a disk to a file, sparse.
func copyDisk(ctx context.Context, path string, disk image.Disk, task report.Task) error {
	w, err := raw.Create(path, disk.Size())
	if err != nil {
		return err
	}
	defer w.Abort()
	if err := raw.Copy(ctx, w, disk, task.Progress); err != nil {
		return err
	}
	return w.Commit()
}

// lookInto reads the files on a disk that is kept, and lists them. An error of
// kind Input says why they cannot be read.
func (b *builder) lookInto(ctx context.Context, t *builtTree, disk image.Disk, about manifest.Disk, task report.Task) error {
	root, err := extract.Root(ctx, disk)
	if err != nil {
		return err
	}
	m, err := extract.Measure(ctx, root)
	if err != nil {
		return err
	}
	t.sealed, t.result.Entries = root, m.Entries
	if t.os, err = readOSRelease(ctx, root); err != nil {
		return err
	}
	checkDrivers(ctx, root, task.Warn)
	return b.writeManifest(t, func(w io.Writer) error { return manifest.WriteDisk(ctx, w, about, root) })
}

// diskBytes is the size of the disk; zero is one that is not known yet.
func (t *builtTree) diskBytes() int64 {
	if t.result.KeptDisk {
		return t.result.SizeBytes
	}
	return int64(t.plan.Disk.Size)
}

// checkClouds refuses a disk that is kept, before any step runs, if a cloud is
// to have it and nobody can tell whether it could start there.
func (b *builder) checkClouds(t *builtTree, unread error) error {
	for _, cell := range b.plan.Cells {
		if cell.TreeID != t.plan.ID {
			continue
		}
		_, cloud, err := publisher(cell)
		if err != nil {
			return err
		}
		if cloud {
			return cannotLook(cell, unread)
		}
	}
	return nil
}

func cannotLook(cell *plan.Cell, unread error) error {
	return fault.Errorf(fault.Input, "platforms.%s: the files on the disk cannot be read, so nobody can tell whether it would start there: %w; take %s out of the platforms, or import one of the other platforms' disks by hand", cell.Platform, unread, cell.Platform)
}
