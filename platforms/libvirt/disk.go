package libvirt

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/format/qcow2"
	"github.com/org/imagebuild-action/internal/format/tarball"
	"github.com/org/imagebuild-action/internal/report"
	"github.com/org/imagebuild-action/internal/run"
	"github.com/org/imagebuild-action/internal/target"
	"github.com/org/imagebuild-action/platforms/internal/pack"
)

// qcow2 writes the canonical disk.
func (p *Platform) qcow2(ctx context.Context, job target.Job, path string, task report.Task) (tarball.Sum, error) {
	file, err := run.CreateFile(path)
	if err != nil {
		return tarball.Sum{}, err
	}
	_, sum, err := p.writeDisk(ctx, job, target.Canonical, file, task)
	return sum, err
}

// writeDisk writes a variant's disk as qcow2 and returns its virtual size. The
// file is finished with, whole or not at all.
func (p *Platform) writeDisk(ctx context.Context, job target.Job, variant string, file *run.File, task report.Task) (capacityBytes int64, sum tarball.Sum, err error) {
	defer file.Abort()
	disk, err := job.Disks.Disk(ctx, variant)
	if err != nil {
		return 0, sum, err
	}
	info, err := qcow2.Write(ctx, file, disk, qcow2.Options{Compression: p.config.Compression, Progress: task.Progress})
	if err != nil {
		return 0, sum, run.Explain(err)
	}
	return info.CapacityBytes, tarball.Sum{SizeBytes: info.SizeBytes, SHA256: info.SHA256}, file.Commit()
}

// box writes the Vagrant box. A tar wants the disk's size first and a qcow2 is
// written back and forth, so the disk is a file of its own in between.
func (p *Platform) box(ctx context.Context, job target.Job, path string, task report.Task) (sum tarball.Sum, err error) {
	dir, remove, err := run.TempDir(job.Dir, "."+filepath.Base(path)+".part-")
	if err != nil {
		return sum, err
	}
	defer func() {
		if removed := remove(); removed != nil {
			err = errors.Join(err, fault.Wrap(fault.Environment, removed))
		}
	}()
	diskPath := filepath.Join(dir, diskName)
	file, err := run.CreateScratch(diskPath)
	if err != nil {
		return sum, err
	}
	capacityBytes, disk, err := p.writeDisk(ctx, job, target.Vagrant, file, task)
	if err != nil {
		return sum, err
	}
	content, err := os.Open(diskPath)
	if err != nil {
		return sum, run.Explain(err)
	}
	defer content.Close()
	return pack.Box{
		Form: tarball.Plain, Metadata: p.metadata(job, capacityBytes), Vagrantfile: p.vagrantfile(),
		DiskName: diskName, DiskBytes: disk.SizeBytes, Disk: content,
	}.Write(ctx, job, path)
}
