package build

import (
	"context"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/org/imagebuild-action/internal/bootfiles"
	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/image"
	"github.com/org/imagebuild-action/internal/report"
	"github.com/org/imagebuild-action/internal/run"
	"github.com/org/imagebuild-action/internal/source"
	"github.com/org/imagebuild-action/internal/source/bootstrap"
	"github.com/org/imagebuild-action/internal/tree"
)

// bootstrapEpoch is what packages' scripts take for the time while the source
// is made, unless SOURCE_DATE_EPOCH is set: 2020-01-01. It must not depend on
// when, or from which commit, a build runs; otherwise nothing could be cached.
var bootstrapEpoch = time.Unix(1577836800, 0).UTC() //nolint:gochecknoglobals // a constant

// bootstrapKind is the source that packages can be asked of.
const bootstrapKind = "bootstrap"

// open opens the source of a tree.
func (b *builder) open(t *builtTree, task report.Task) (source.Source, error) {
	epoch := b.Epoch
	if epoch.IsZero() {
		epoch = bootstrapEpoch
	}
	packages := append([]string{}, t.plan.GuestTools...)
	if config, ok := t.plan.Source.Config.(*bootstrap.Config); ok {
		t.os = osRelease{config.Distribution, config.Release}
		packages = append(packages, bootfiles.RequiredPackages(config.Distribution)...)
	}
	return source.Open(t.plan.Source.Config, source.Request{
		Arch: t.plan.Arch, Epoch: epoch, TemplateDir: b.dir, CacheDir: b.CacheDir, Packages: packages,
		DiskSize: t.plan.Disk.Size, FailureDir: b.failureDir("install"), Accel: b.Accel, Report: task,
	})
}

// source opens the source of a tree that is made in a folder.
func (b *builder) source(t *builtTree, task report.Task) (source.TreeSource, error) {
	opened, err := b.open(t, task)
	if err != nil {
		return nil, err
	}
	switch opened := opened.(type) {
	case source.TreeSource:
		return opened, nil
	case source.DiskSource:
		return source.FromDisk(opened, t.plan.Disk.Size), nil
	}
	return nil, fault.Errorf(fault.Bug, "source %s yields neither a root filesystem nor a disk", opened)
}

// sources sees to it that every tree's source is in the cache.
func (b *builder) sources(ctx context.Context, task report.Task) error {
	for _, t := range b.trees {
		if t.plan.Source.Kind != bootstrapKind && len(t.plan.GuestTools) > 0 {
			task.Note("%s are installed into new systems only, so what the image has of them is what its source has", strings.Join(t.plan.GuestTools, ", "))
		}
		if disk, err := b.disk(t, task); err != nil || disk != nil {
			if err == nil {
				err = b.keepDisk(ctx, t, disk, task)
			}
			if err != nil {
				return err
			}
			continue
		}
		src, err := b.source(t, task)
		if err != nil {
			return err
		}
		if t.sourceKey, err = src.Key(ctx); err != nil {
			return err
		}
		if b.cache.Has(t.sourceKey) {
			task.Note("%s: from the cache (%.12s)", src, t.sourceKey)
			continue
		}
		if err := b.populate(ctx, t, src, task); err != nil {
			return err
		}
	}
	return nil
}

// populate makes the source and keeps it.
func (b *builder) populate(ctx context.Context, t *builtTree, src source.TreeSource, task report.Task) error {
	if err := b.newRoot(t); err != nil {
		return err
	}
	start := time.Now().Truncate(time.Second)
	dir := filepath.Join(t.root.Path, rootDir)
	if err := report.Do(task, src.String(), func(task report.Task) error { return src.Populate(ctx, dir, task) }); err != nil {
		return err
	}
	var err error
	if t.sourceKey, err = src.Key(ctx); err != nil {
		return err
	}
	return report.Do(task, "keep the source", func(report.Task) error {
		made := tree.Dir(dir)
		epoch, err := newestBefore(ctx, made, start)
		if err != nil {
			return err
		}
		err = b.cache.Put(ctx, t.sourceKey, func(w io.Writer) error {
			_, err := tree.WriteTar(ctx, w, tree.Overlay(made, tree.ClampTimes(epoch)), nil)
			return err
		})
		return run.Explain(err)
	})
}

// newestBefore is the time of the newest entry that is older than limit: of
// the newest file that a package brought, because what the bootstrap itself
// writes is as new as the bootstrap. It depends on the packages alone, so it
// is the image's own date, the same whenever and wherever it is built.
func newestBefore(ctx context.Context, t image.Tree, limit time.Time) (time.Time, error) {
	newest := time.Unix(0, 0).UTC()
	err := t.Walk(ctx, func(e *image.Entry, _ io.Reader) error {
		if e.ModTime.Before(limit) && e.ModTime.After(newest) {
			newest = e.ModTime.Truncate(time.Second)
		}
		return nil
	})
	return newest, err
}
