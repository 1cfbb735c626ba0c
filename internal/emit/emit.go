// Package emit turns a Tree into a bootable sparse disk, on any Linux, with no
// loop device, mount or root: a GUID partition table, a BIOS boot partition
// with GRUB's core image, an EFI system partition with GRUB at the removable
// path, and an ext4 root, last so that it can grow.
//
// The same request gives the same bytes. Every identifier comes from the
// Identity, every time from Epoch, GRUB from the tree itself and the file
// system from mke2fs with a configuration of ours. It refuses trees without
// GRUB and disks too small for their tree. Secure Boot is no aim: the EFI
// image is not signed, and firmware that insists on a signature refuses it.
//
//	result, err := emit.Disk(ctx, emit.Request{
//		Tree: sealed, Path: "work/disk.raw", SizeBytes: 8 << 30, Identity: id,
//		Epoch: epoch, Firmware: emit.Firmware{BIOS: true, UEFI: true}, Mke2fs: tool,
//	}, task)
//
// The tree is made bootable by package bootfiles: its grub.cfg and fstab name
// the file systems by the identifiers that RootUUID and ESPVolumeID of the
// Identity give.
package emit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/format/fat"
	"github.com/org/imagebuild-action/internal/format/gpt"
	"github.com/org/imagebuild-action/internal/format/raw"
	"github.com/org/imagebuild-action/internal/image"
	"github.com/org/imagebuild-action/internal/report"
	"github.com/org/imagebuild-action/internal/run"
	"github.com/org/imagebuild-action/internal/target"
	"github.com/org/imagebuild-action/internal/toolroot"
)

// Sizes of the partitions before the root. With one sector a cluster, 64 MiB
// are a valid FAT32 with room for other loaders.
const (
	mebibyte      = 1 << 20
	biosBootBytes = 1 * mebibyte
	espBytes      = 64 * mebibyte
)

// Firmware is what the disk must boot from. At least one is needed.
type Firmware struct{ BIOS, UEFI bool }

// Request says what to write and where.
type Request struct {
	Tree      image.Tree
	Path      string // of the raw disk; it has this name only when complete
	SizeBytes int64  // of the disk, a multiple of 1 MiB
	Identity  target.Identity
	Epoch     time.Time // of everything that needs a time of its own
	Firmware  Firmware
	Mke2fs    toolroot.Tool
}

// Result is what was written.
type Result struct {
	Path      string
	Table     gpt.Table
	Entries   int   // of the tree
	TreeBytes int64 // of all files' content
}

// layout is where everything goes. A part that the firmware does not need has
// size zero.
type layout struct {
	table           gpt.Table
	bios, esp, root *gpt.Partition
}

// Disk writes the disk. It fails with an Input fault when the tree does not fit
// or cannot boot, and with an Environment fault when this machine's disk is full.
func Disk(ctx context.Context, r Request, task report.Task) (_ Result, err error) {
	if err := r.validate(); err != nil {
		return Result{}, err
	}
	work, remove, err := run.TempDir(filepath.Dir(r.Path), ".emit-")
	if err != nil {
		return Result{}, run.Explain(err)
	}
	defer func() { err = errors.Join(err, remove()) }()
	found, err := survey(ctx, r, work)
	if err != nil {
		return Result{}, err
	}
	l, err := r.layout()
	if err != nil || found.needs(l.root.SizeBytes()) > l.root.SizeBytes() {
		return Result{}, found.tooSmall(r)
	}
	disk, err := raw.Create(r.Path, r.SizeBytes)
	if err != nil {
		return Result{}, err
	}
	defer disk.Abort()
	var loader loaders
	both, within := errgroup.WithContext(ctx)
	both.Go(func() (err error) {
		loader, err = found.loaders(within, r, work)
		return err
	})
	both.Go(func() error { return r.makeRoot(within, disk.Name(), work, l.root, found, task) })
	if err := both.Wait(); err != nil {
		return Result{}, err
	}
	if err := r.writeLoaders(disk, l, loader); err != nil {
		return Result{}, run.Explain(err)
	}
	if err := disk.Commit(); err != nil {
		return Result{}, err
	}
	return Result{Path: r.Path, Table: l.table, Entries: found.entries, TreeBytes: found.contentBytes}, nil
}

func (r Request) validate() error {
	switch {
	case !r.Firmware.BIOS && !r.Firmware.UEFI:
		return errors.New("emit: no firmware is asked for")
	case r.SizeBytes <= 0 || r.SizeBytes%mebibyte != 0:
		return fault.Errorf(fault.Input, "disk.size: %d bytes are not a multiple of 1MiB", r.SizeBytes)
	}
	return nil
}

func (r Request) layout() (layout, error) {
	var l layout
	parse := func(purpose string) gpt.GUID {
		id, _ := gpt.ParseGUID(r.Identity.UUID(purpose)) // an Identity's UUIDs are well formed
		return id
	}
	sectors := r.SizeBytes / gpt.SectorSize
	l.table = gpt.Table{DiskGUID: parse("disk"), Sectors: sectors}
	next := int64(gpt.AlignSectors)
	add := func(kind gpt.GUID, name string, last int64) {
		l.table.Partitions = append(l.table.Partitions, gpt.Partition{Type: kind, GUID: parse("partition:" + name), Name: name, First: next, Last: last})
		next = last + 1
	}
	if r.Firmware.BIOS {
		add(gpt.BIOSBoot, "bios", next+biosBootBytes/gpt.SectorSize-1)
	}
	if r.Firmware.UEFI {
		add(gpt.EFISystem, "esp", next+espBytes/gpt.SectorSize-1)
	}
	add(gpt.LinuxRootX86, "root", gpt.LastUsable(sectors))
	// The caller's sizes are the only thing in it that can be wrong.
	if err := l.table.Validate(); err != nil {
		return l, err
	}
	for i := range l.table.Partitions {
		p := &l.table.Partitions[i]
		switch p.Name {
		case "bios":
			l.bios = p
		case "esp":
			l.esp = p
		case "root":
			l.root = p
		}
	}
	return l, nil
}

// writeLoaders writes everything that is not the root file system.
func (r Request) writeLoaders(disk io.WriterAt, l layout, loader loaders) error {
	var bootCode []byte
	if l.bios != nil {
		core, boot, err := biosImages(loader.core, loader.boot, l.bios.First, l.bios.SizeBytes())
		if err != nil {
			return err
		}
		if _, err := disk.WriteAt(core, l.bios.OffsetBytes()); err != nil {
			return fmt.Errorf("write the BIOS boot partition: %w", err)
		}
		bootCode = boot
	}
	if l.esp != nil {
		err := fat.Write(io.NewOffsetWriter(disk, l.esp.OffsetBytes()), fat.Options{
			SizeBytes: l.esp.SizeBytes(), HiddenBytes: l.esp.OffsetBytes(), VolumeID: r.Identity.ESPVolumeID(),
			Label: "ESP", Time: r.Epoch, Files: []fat.File{{Path: "EFI/BOOT/BOOTX64.EFI", Content: loader.efi}},
		})
		if err != nil {
			return err
		}
	}
	return l.table.Write(disk, bootCode)
}
