package build

import (
	"context"
	"errors"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/org/imagebuild-action/internal/bootfiles"
	"github.com/org/imagebuild-action/internal/format/fat"
	"github.com/org/imagebuild-action/internal/image"
	"github.com/org/imagebuild-action/internal/manifest"
	"github.com/org/imagebuild-action/internal/plan"
	"github.com/org/imagebuild-action/internal/report"
	"github.com/org/imagebuild-action/internal/run"
	"github.com/org/imagebuild-action/internal/seal"
	"github.com/org/imagebuild-action/internal/tree"
)

// builtTree is one root filesystem on its way through the stages.
type builtTree struct {
	plan      *plan.Tree
	os        osRelease
	sourceKey string
	epoch     time.Time    // of the newest file in the image
	root      *run.WorkDir // the root filesystem while it is being made
	content   image.Tree   // the root filesystem after the last step, until it is sealed
	whole     image.Disk   // in the place of content, of a disk that is kept
	closers   []io.Closer  // what content, whole and a kept disk's sealed are read from
	sealed    image.Tree   // the canonical tar; of a disk that is kept what is on it, or nil
	unread    error        // why that is nil
	result    TreeResult

	mu       sync.Mutex
	disks    map[string]*disk // by variant; guarded by mu
	provider *disks
}

// journalDir is the one folder whose access lists nobody misses: systemd sets
// them at every boot (tmpfiles.d/systemd.conf).
const journalDir = "var/log/journal"

// seal turns each root filesystem into the canonical tree, and removes it.
func (b *builder) seal(ctx context.Context, task report.Task) error {
	for i, t := range b.trees {
		suffix := ""
		if len(b.trees) > 1 {
			suffix = "-" + t.plan.ID[:12]
		}
		if t.plan.KeepsDisk {
			if err := b.sealKept(ctx, t, b.diskDir(i), suffix, task); err != nil {
				return err
			}
			continue
		}
		if err := b.sealTree(ctx, t, filepath.Join(b.work.Path, "tree"+string(rune('a'+i))+".tar"), suffix, task); err != nil {
			return err
		}
	}
	return nil
}

func (b *builder) sealTree(ctx context.Context, t *builtTree, path, suffix string, task report.Task) error {
	sealed, summary, err := seal.Tree(ctx, t.content, seal.Options{Epoch: t.epoch})
	if err != nil {
		return err
	}
	for _, action := range summary {
		if action.What != seal.Stripped {
			continue
		}
		if action.Path == journalDir || strings.HasPrefix(action.Path, journalDir+"/") {
			task.Note("%s: %s; systemd sets them anew at every boot", action.Path, action.Why)
			continue
		}
		task.Warn("%s: %s", action.Path, action.Why)
	}
	id, wanted := t.plan.Identity(), firmware(t.plan.Disk.Firmware)
	bootable, err := bootfiles.Apply(ctx, sealed, bootfiles.Options{
		RootUUID: id.RootUUID(), ESPVolumeID: fat.FormatID(id.ESPVolumeID()), Hostname: b.plan.Name,
		BIOS: wanted.BIOS, UEFI: wanted.UEFI, Epoch: t.epoch,
	})
	if err != nil {
		return err
	}
	f, err := run.CreateScratch(path)
	if err != nil {
		return err
	}
	defer f.Abort()
	digest, err := tree.WriteTar(ctx, f, bootable, func(done int64) { task.Progress(done, 0) })
	if err != nil {
		return run.Explain(err)
	}
	if err := f.Commit(); err != nil {
		return err
	}
	if t.sealed, err = tree.Tar(path); err != nil {
		return err
	}
	if t.os == (osRelease{}) { // the source does not know what it holds
		if t.os, err = readOSRelease(ctx, t.sealed); err != nil {
			return err
		}
	}
	// The folder is worth gigabytes, and nothing but a checkpoint reads it any more.
	if err := b.background.saving.Wait(); err != nil {
		return err
	}
	if err := t.letGo(false); err != nil {
		return err
	}
	t.result.SHA256, t.result.Entries, t.result.SizeBytes, t.result.Sealed = digest.SHA256, digest.Entries, int64(digest.Bytes), summary
	b.describe(t, suffix)
	task.Note("tree sha256:%.12s, %d entries, %s, %d sealed", digest.SHA256, digest.Entries, digest.Bytes.Human(), len(summary))
	b.background.writing.Go(func() error {
		checkDrivers(ctx, t.sealed, b.warns("look for drivers"))
		return context.Cause(ctx)
	})
	b.background.writing.Go(func() error {
		return b.writeManifest(t, func(w io.Writer) error { return manifest.Write(ctx, w, t.sealed) })
	})
	return nil
}

// describe notes what is known of a tree besides its content.
func (b *builder) describe(t *builtTree, suffix string) {
	t.result.ID, t.result.Platforms, t.result.Epoch = t.plan.ID, b.platformsOf(t), t.epoch.Unix()
	t.result.Manifest = b.plan.Name + "-" + b.plan.Version + suffix + manifest.Extension
}

// checkDrivers warns of what the image's kernels lack.
func checkDrivers(ctx context.Context, t image.Tree, warn func(format string, args ...any)) {
	lacks, err := bootfiles.CheckDrivers(ctx, t)
	if err != nil && ctx.Err() == nil {
		warn("the initramfs cannot be looked into: %v", err)
	}
	for _, lack := range lacks {
		warn("%s", lack)
	}
}

// letGo ends the root filesystem's life, or leaves its folder for somebody to
// look at.
func (t *builtTree) letGo(keep bool) error {
	var errs []error
	for _, each := range t.closers {
		errs = append(errs, each.Close())
	}
	if t.root != nil {
		errs = append(errs, letGo(t.root, keep))
	}
	t.content, t.whole, t.closers, t.root = nil, nil, nil, nil
	return errors.Join(errs...)
}

func (b *builder) writeManifest(t *builtTree, write func(io.Writer) error) error {
	f, err := run.CreateFile(filepath.Join(b.work.Path, t.result.Manifest))
	if err != nil {
		return err
	}
	defer f.Abort()
	if err := write(f); err != nil {
		return run.Explain(err)
	}
	return f.Commit()
}

func (b *builder) platformsOf(t *builtTree) []string {
	var names []string
	for _, cell := range b.plan.Cells {
		if cell.TreeID == t.plan.ID && !slices.Contains(names, cell.Platform) {
			names = append(names, cell.Platform)
		}
	}
	return names
}
