package build

import (
	"context"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/plan"
	"github.com/org/imagebuild-action/internal/report"
	"github.com/org/imagebuild-action/internal/run"
	"github.com/org/imagebuild-action/internal/target"
	"github.com/org/imagebuild-action/internal/toolroot"
	"github.com/org/imagebuild-action/platforms"
)

// packLimit is how many platforms are packed at once: enough to fill the gaps
// that one leaves when it waits for the disk, few enough to bound memory.
const packLimit = 2

// pack writes every cell's artifacts into the work folder.
func (b *builder) pack(ctx context.Context, task report.Task) error {
	var mke2fs toolroot.Tool
	if slices.ContainsFunc(b.trees, func(t *builtTree) bool { return !t.plan.KeepsDisk }) {
		var err error
		if mke2fs, err = toolroot.Mke2fs(ctx, b.CacheDir, task); err != nil {
			return err
		}
		b.result.Tools = map[string]string{"mke2fs": mke2fs.Version()}
	}
	for i, t := range b.trees {
		dir := b.diskDir(i)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return run.Explain(err)
		}
		t.provider = &disks{tree: t, dir: dir, mke2fs: mke2fs, task: task}
	}
	if err := os.MkdirAll(b.artifactDir(), 0o755); err != nil {
		return run.Explain(err)
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(packLimit)
	packed := make([]packedCell, len(b.plan.Cells))
	for i, cell := range b.plan.Cells {
		group.Go(func() error {
			return report.Do(task, cell.Platform, func(task report.Task) error {
				platform, err := platforms.New(cell.Type, cell.Platform, cell.Config)
				if err != nil {
					return err
				}
				packed[i] = packedCell{cell: cell, hardware: platform.Hardware()}
				if cloud, ok := platform.(platforms.Publisher); ok {
					packed[i].boots, err = b.packCloud(ctx, cell, cloud, task)
					return err
				}
				packer, ok := platform.(platforms.Packer)
				if !ok {
					return fault.Errorf(fault.Bug, "platform %s has no role", platform)
				}
				t := b.treeOf(cell)
				packed[i].artifacts, err = packer.Pack(ctx, target.Job{
					Name: b.plan.Name, Version: b.plan.Version, Arch: cell.Arch, OSName: t.os.Name, Release: t.os.Release,
					Epoch: t.epoch, Identity: cell.Identity(), Dir: b.artifactDir(), Disks: t.provider,
				}, task)
				for j := range packed[i].artifacts {
					if t.plan.KeepsDisk { // nothing is laid over it
						packed[i].artifacts[j].Variant = target.Canonical
					}
				}
				return err
			})
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	b.packed = packed
	for _, p := range packed {
		b.result.Artifacts = append(b.result.Artifacts, p.artifacts...)
	}
	return nil
}

// diskDir is where the disks of a tree are.
func (b *builder) diskDir(tree int) string {
	return filepath.Join(b.work.Path, "disks", string(rune('a'+tree)))
}

func (b *builder) artifactDir() string { return filepath.Join(b.work.Path, "artifacts") }

func (b *builder) treeOf(cell *plan.Cell) *builtTree {
	for _, t := range b.trees {
		if t.plan.ID == cell.TreeID {
			return t
		}
	}
	return nil
}
