package build

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/org/imagebuild-action/internal/cache"
	"github.com/org/imagebuild-action/internal/chroot"
	"github.com/org/imagebuild-action/internal/report"
	"github.com/org/imagebuild-action/internal/run"
	"github.com/org/imagebuild-action/internal/template"
	"github.com/org/imagebuild-action/internal/tree"
	"github.com/org/imagebuild-action/provision"
)

// rootDir is the root filesystem inside its work folder, whose other content
// is temporary.
const rootDir = "root"

// Work folders are below the cache folder, so that packages are linked into
// trees instead of copied.
const (
	workDir    = "work"
	rootPrefix = "tree-"
)

func (b *builder) newRoot(t *builtTree) (err error) {
	if t.root != nil {
		if err := t.root.Remove(); err != nil {
			return err
		}
		t.root = nil
	}
	if t.root, err = run.NewWorkDir(filepath.Join(b.CacheDir, workDir), rootPrefix); err != nil {
		return err
	}
	return run.Explain(os.Mkdir(filepath.Join(t.root.Path, rootDir), 0o755))
}

// provision brings every tree to the state after its last step.
func (b *builder) provision(ctx context.Context, task report.Task) error {
	for _, t := range b.trees {
		provision := b.provisionTree
		if t.plan.Engine == template.VM {
			provision = b.provisionMachine
		}
		if err := provision(ctx, t, task); err != nil {
			return err
		}
	}
	return nil
}

func (b *builder) provisionTree(ctx context.Context, t *builtTree, task report.Task) error {
	if err := b.forget(t, t.key, task); err != nil {
		return err
	}
	done, err := b.restore(ctx, t, task)
	if err != nil {
		return err
	}
	for i := range done {
		name := t.plan.Steps[i].Name
		task.Note("%s: from the cache", name)
		t.result.Steps = append(t.result.Steps, StepResult{Name: name, Cached: true})
	}
	dir := filepath.Join(t.root.Path, rootDir)
	t.content = tree.Dir(dir)
	if done == len(t.plan.Steps) {
		return nil
	}
	inside, err := chroot.Open(ctx, chroot.Options{Root: dir, Epoch: t.epoch})
	if err != nil {
		return err
	}
	for _, limit := range inside.Limits() {
		task.Warn("%s", limit)
	}
	before, err := tree.Snapshot(ctx, dir)
	if err != nil {
		return err
	}
	for i := done; i < len(t.plan.Steps); i++ {
		step, err := b.step(t.plan.Steps, i)
		if err != nil {
			return err
		}
		start := time.Now()
		if err := provision.Run(ctx, step, inside, task); err != nil {
			return err
		}
		after, err := tree.Snapshot(ctx, dir)
		if err != nil {
			return err
		}
		if err := b.checkpoint(ctx, t, i+1, tree.Diff(before, after), task); err != nil {
			return err
		}
		before = after
		t.result.Steps = append(t.result.Steps, StepResult{Name: t.plan.Steps[i].Name, Seconds: seconds(start)})
	}
	return nil
}

// key names the checkpoint after n steps; 0 is the source itself.
func (t *builtTree) key(n int) string {
	if n == 0 {
		return t.sourceKey
	}
	return fmt.Sprintf("%x", sha256.Sum256([]byte("layer 1\n"+t.sourceKey+"\n"+t.plan.Steps[n-1].Digest)))
}

// checkpoint keeps what a step changed.
func (b *builder) checkpoint(ctx context.Context, t *builtTree, n int, changes tree.Changes, task report.Task) error {
	return b.keep(ctx, t.key(n), func(w io.Writer) error {
		return tree.WriteLayer(ctx, w, filepath.Join(t.root.Path, rootDir), changes)
	}, task.Warn)
}

// restore unpacks the newest checkpoint that is whole, and says how many steps
// it holds. An entry that turns out damaged is dropped by the cache, so the
// next try finds an older one.
func (b *builder) restore(ctx context.Context, t *builtTree, task report.Task) (steps int, err error) {
	for range len(t.plan.Steps) + 2 {
		n := 0
		for n < len(t.plan.Steps) && b.cache.Has(t.key(n+1)) {
			n++
		}
		err := report.Do(task, "unpack the checkpoint", func(report.Task) error { return b.unpack(ctx, t, n) })
		if err == nil {
			return n, nil
		}
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, cache.ErrDamaged) {
			return 0, err
		}
		task.Warn("%v; using an older checkpoint", err)
		if !b.cache.Has(t.sourceKey) {
			src, err := b.source(t, task)
			if err != nil {
				return 0, err
			}
			if err := b.populate(ctx, t, src, task); err != nil {
				return 0, err
			}
		}
	}
	return 0, fmt.Errorf("the checkpoints of %.12s cannot be read", t.sourceKey)
}

func (b *builder) unpack(ctx context.Context, t *builtTree, n int) error {
	if err := b.newRoot(t); err != nil {
		return err
	}
	dir := filepath.Join(t.root.Path, rootDir)
	err := b.cache.Read(ctx, t.sourceKey, func(r io.Reader) error {
		_, err := tree.Extract(ctx, tree.Stream(r), dir)
		return err
	})
	if err == nil && b.Epoch.IsZero() {
		t.epoch, err = newestBefore(ctx, tree.Dir(dir), time.Now())
	}
	for i := 1; i <= n && err == nil; i++ {
		err = b.cache.Read(ctx, t.key(i), func(r io.Reader) error { return tree.ApplyLayer(ctx, r, dir) })
	}
	return err
}
