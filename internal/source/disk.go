package source

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/org/imagebuild-action/internal/extract"
	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/format/raw"
	"github.com/org/imagebuild-action/internal/report"
	"github.com/org/imagebuild-action/internal/run"
	"github.com/org/imagebuild-action/internal/size"
	"github.com/org/imagebuild-action/internal/tree"
)

// FromDisk makes a TreeSource of a disk: its tree is the root filesystem on
// it. A tree whose files hold more than limit together is refused before
// anything of it is written; zero is no limit.
func FromDisk(disk DiskSource, limit size.Bytes) TreeSource { return &fromDisk{disk, limit} }

type fromDisk struct {
	DiskSource
	limit size.Bytes
}

// Check implements Source.
func (f *fromDisk) Check(ctx context.Context) error {
	var rights error
	if os.Geteuid() != 0 {
		rights = fault.Errorf(fault.Environment, "a tree with its owners needs root, or root of a user namespace; run with sudo, or install uidmap and have lines for this user in /etc/subuid and /etc/subgid")
	}
	return errors.Join(f.DiskSource.Check(ctx), rights)
}

// Populate implements TreeSource: the disk is written beside dir, and removed.
func (f *fromDisk) Populate(ctx context.Context, dir string, task report.Task) (err error) {
	work, remove, err := run.TempDir(filepath.Dir(dir), "disk-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove()) }()
	path := filepath.Join(work, "disk.raw")
	if err := f.WriteDisk(ctx, path, task); err != nil {
		return err
	}
	return report.Do(task, "take the root file system out of the disk", func(report.Task) error { return f.unpack(ctx, path, dir) })
}

func (f *fromDisk) unpack(ctx context.Context, path, dir string) error {
	disk, err := raw.Open(path)
	if err != nil {
		return err
	}
	defer disk.Close() //nolint:errcheck // opened for reading
	root, err := extract.Root(ctx, disk)
	if err != nil {
		return fmt.Errorf("%s: %w", f, err)
	}
	m, err := extract.Measure(ctx, root)
	if err != nil {
		return fmt.Errorf("%s: %w", f, err)
	}
	if f.limit > 0 && size.Bytes(m.SizeBytes) > f.limit {
		return fault.Errorf(fault.Input, "%s: its files hold %s together (the largest is %s with %s), and disk.size is %s; make disk.size larger, or take an image without such a file",
			f, size.Bytes(m.SizeBytes).Human(), m.Largest, size.Bytes(m.LargestBytes).Human(), f.limit)
	}
	if _, err := tree.Extract(ctx, root, dir); err != nil {
		return fmt.Errorf("%s: %w", f, err)
	}
	return nil
}
