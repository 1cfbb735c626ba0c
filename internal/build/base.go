package build

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/org/imagebuild-action/internal/bootfiles"
	"github.com/org/imagebuild-action/internal/cache"
	"github.com/org/imagebuild-action/internal/emit"
	"github.com/org/imagebuild-action/internal/engine"
	"github.com/org/imagebuild-action/internal/extract"
	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/format/fat"
	"github.com/org/imagebuild-action/internal/report"
	"github.com/org/imagebuild-action/internal/source"
	"github.com/org/imagebuild-action/internal/target"
	"github.com/org/imagebuild-action/internal/toolroot"
	"github.com/org/imagebuild-action/internal/tree"
)

// base makes the disk that the machine boots from. The same source gives the
// same bytes, so the layers in the cache go on top of it.
func (m *machineTree) base(ctx context.Context) error {
	disk, err := m.disk(m.t, m.task)
	if err != nil {
		return err
	}
	if disk != nil {
		return m.baseOfDisk(ctx, disk)
	}
	return m.baseOfTree(ctx)
}

// setBase begins the chain.
func (m *machineTree) setBase(id target.Identity) {
	m.baseKey = fmt.Sprintf("%x", id)
	m.chain = engine.NewChain(filepath.Join(m.t.root.Path, rootDir), m.baseKey)
}

// baseOfDisk takes a source that is a disk as it is.
func (m *machineTree) baseOfDisk(ctx context.Context, disk source.DiskSource) error {
	if err := m.newRoot(m.t); err != nil {
		return err
	}
	m.setBase(sha256.Sum256(fmt.Appendf(nil, "machine disk 2\n%s\n%d", m.t.sourceKey, m.t.plan.Disk.Size)))
	if err := m.writeBase(ctx, m.t, disk, m.chain.Base(), m.task); err != nil {
		return err
	}
	if !m.Epoch.IsZero() && !m.t.plan.KeepsDisk {
		return nil
	}
	epoch, err := m.dateOfBase(ctx)
	if err != nil && m.t.plan.KeepsDisk && ctx.Err() == nil && fault.KindOf(err) == fault.Input {
		epoch, err = bootstrapEpoch, m.checkClouds(m.t, err)
	}
	if m.Epoch.IsZero() {
		m.t.epoch = epoch
	}
	return err
}

// dateOfBase is the date of what is on the disk.
func (m *machineTree) dateOfBase(ctx context.Context) (time.Time, error) {
	opened, err := m.chain.Open()
	if err != nil {
		return time.Time{}, err
	}
	defer opened.Close() //nolint:errcheck // opened for reading
	root, err := extract.Root(ctx, opened)
	if err != nil {
		return time.Time{}, err
	}
	return newestBefore(ctx, root, time.Now())
}

// baseOfTree makes a source that is a tree bootable, in the way of every
// canonical disk.
func (m *machineTree) baseOfTree(ctx context.Context) error {
	return report.Do(m.task, "make the source bootable", func(task report.Task) error {
		mke2fs, err := toolroot.Mke2fs(ctx, m.CacheDir, task)
		if err != nil {
			return err
		}
		if err := m.openSource(ctx); err != nil {
			return err
		}
		archive := filepath.Join(m.t.root.Path, archiveFile)
		source, err := tree.Tar(archive)
		if err != nil {
			return err
		}
		if m.Epoch.IsZero() {
			if m.t.epoch, err = newestBefore(ctx, source, time.Now()); err != nil {
				return err
			}
		}
		disk := m.t.plan.Disk
		id := target.Identity(sha256.Sum256(fmt.Appendf(nil, "machine disk 1\n%s\n%d %s %s\n%d\n%s", m.t.sourceKey, disk.Size, disk.Filesystem, disk.Firmware, m.t.epoch.Unix(), mke2fs.Version())))
		m.setBase(id)
		wanted := firmware(disk.Firmware)
		bootable, err := bootfiles.Apply(ctx, source, bootfiles.Options{
			RootUUID: id.RootUUID(), ESPVolumeID: fat.FormatID(id.ESPVolumeID()), BIOS: wanted.BIOS, UEFI: wanted.UEFI, Epoch: m.t.epoch,
		})
		if err != nil {
			return err
		}
		_, err = emit.Disk(ctx, emit.Request{
			Tree: bootable, Path: m.chain.Base(), SizeBytes: int64(disk.Size), Identity: id, Epoch: m.t.epoch, Firmware: wanted, Mke2fs: mke2fs,
		}, task)
		return errors.Join(err, os.Remove(archive))
	})
}

// archiveFile is the source's archive in the work folder.
const archiveFile = "source.tar"

// openSource makes a work folder with the source's archive in it. An entry of
// the cache that turns out damaged is made again, once.
func (m *machineTree) openSource(ctx context.Context) error {
	for try := 0; ; try++ {
		if err := m.newRoot(m.t); err != nil {
			return err
		}
		err := m.fromCache(ctx, m.t.sourceKey, filepath.Join(m.t.root.Path, archiveFile))
		lost := errors.Is(err, fs.ErrNotExist) || errors.Is(err, cache.ErrDamaged)
		if !lost || try > 0 {
			return err
		}
		m.task.Warn("%v; making the source again", err)
		src, err := m.source(m.t, m.task)
		if err != nil {
			return err
		}
		if err := m.populate(ctx, m.t, src, m.task); err != nil {
			return err
		}
	}
}
