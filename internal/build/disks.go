package build

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"

	"github.com/org/imagebuild-action/internal/emit"
	"github.com/org/imagebuild-action/internal/format/raw"
	"github.com/org/imagebuild-action/internal/format/vmdk"
	"github.com/org/imagebuild-action/internal/image"
	"github.com/org/imagebuild-action/internal/report"
	"github.com/org/imagebuild-action/internal/run"
	"github.com/org/imagebuild-action/internal/target"
	"github.com/org/imagebuild-action/internal/toolroot"
	"github.com/org/imagebuild-action/internal/vagrant"
)

// disk is one variant of a tree's disk, made when the first platform asks.
type disk struct {
	emit   sync.Once
	raw    *raw.Disk
	err    error
	stream sync.Once
	vmdk   target.VMDKFile
	vmdkOK error
}

// disks hands out a tree's disks to the platforms that share it.
type disks struct {
	tree   *builtTree
	dir    string
	mke2fs toolroot.Tool
	task   report.Task // of work that no platform alone asked for
}

var _ target.Disks = (*disks)(nil)

func (d *disks) variant(name string) *disk {
	if d.tree.plan.KeepsDisk {
		name = target.Canonical // whatever is wanted of it
	}
	d.tree.mu.Lock()
	defer d.tree.mu.Unlock()
	if d.tree.disks[name] == nil {
		d.tree.disks[name] = &disk{}
	}
	return d.tree.disks[name]
}

func (d *disks) path(variant, ext string) string {
	if d.tree.plan.KeepsDisk {
		variant = target.Canonical
	}
	return diskPath(d.dir, variant, ext)
}

// diskPath is the file of a variant's disk.
func diskPath(dir, variant, ext string) string {
	name := "canonical"
	if variant != target.Canonical {
		name = variant
	}
	return filepath.Join(dir, name+"."+ext)
}

// Disk implements target.Disks.
func (d *disks) Disk(ctx context.Context, variant string) (image.Disk, error) {
	v := d.variant(variant)
	v.emit.Do(func() {
		if d.tree.plan.KeepsDisk { // since it was sealed
			v.raw, v.err = raw.Open(d.path(variant, "raw"))
			return
		}
		v.err = report.Do(d.task, "disk "+variantName(variant), func(task report.Task) error {
			source, err := d.content(ctx, variant)
			if err != nil {
				return err
			}
			result, err := emit.Disk(ctx, emit.Request{
				Tree: source, Path: d.path(variant, "raw"), SizeBytes: int64(d.tree.plan.Disk.Size),
				Identity: d.tree.plan.Identity(), Epoch: d.tree.epoch, Firmware: firmware(d.tree.plan.Disk.Firmware), Mke2fs: d.mke2fs,
			}, task)
			if err != nil {
				return err
			}
			v.raw, err = raw.Open(result.Path)
			return err
		})
	})
	if v.err != nil {
		return nil, v.err
	}
	return v.raw, nil
}

func (d *disks) content(ctx context.Context, variant string) (image.Tree, error) {
	switch variant {
	case target.Canonical:
		return d.tree.sealed, nil
	case target.Vagrant:
		overlaid, differences, err := vagrant.Overlay(ctx, d.tree.sealed, d.tree.epoch)
		d.tree.result.Overlay = differences
		return overlaid, err
	}
	return nil, fmt.Errorf("there is no variant %q of a disk", variant)
}

// StreamVMDK implements target.Disks.
func (d *disks) StreamVMDK(ctx context.Context, variant string, task report.Task) (target.VMDKFile, error) {
	source, err := d.Disk(ctx, variant)
	if err != nil {
		return target.VMDKFile{}, err
	}
	v := d.variant(variant)
	v.stream.Do(func() { v.vmdk, v.vmdkOK = d.writeVMDK(ctx, source, d.path(variant, "vmdk"), task) })
	return v.vmdk, v.vmdkOK
}

func (d *disks) writeVMDK(ctx context.Context, source image.Disk, path string, task report.Task) (target.VMDKFile, error) {
	f, err := run.CreateScratch(path)
	if err != nil {
		return target.VMDKFile{}, err
	}
	defer f.Abort()
	info, err := vmdk.WriteStream(ctx, f, source, vmdk.StreamOptions{
		CID: d.tree.plan.Identity().Uint32("vmdk-cid"), Progress: task.Progress,
	})
	if err != nil {
		return target.VMDKFile{}, run.Explain(err)
	}
	if err := f.Commit(); err != nil {
		return target.VMDKFile{}, err
	}
	return target.VMDKFile{
		Path: path, SizeBytes: info.SizeBytes, CapacityBytes: info.CapacityBytes,
		PopulatedBytes: info.PopulatedBytes, SHA256: info.SHA256,
	}, nil
}

func firmware(name string) emit.Firmware {
	return emit.Firmware{BIOS: name != "uefi", UEFI: name != "bios"}
}

func variantName(variant string) string {
	if variant == target.Canonical {
		return "for all platforms"
	}
	return "with the " + variant + " overlay"
}
