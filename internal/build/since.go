package build

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/github"
	"github.com/org/imagebuild-action/internal/plan"
	"github.com/org/imagebuild-action/internal/release"
	"github.com/org/imagebuild-action/internal/revision"
	"github.com/org/imagebuild-action/internal/run"
)

// Revision compares with what a git revision would build. Call Close when done.
type Revision struct {
	Name string // as the user wrote it

	folders map[string]string // repository's root to its files at the revision
	remove  []func() error
}

// Unchanged plans the template as it was at the revision, with the same
// options, and returns the cells whose digests are the same. A template that
// was not there or not valid has none.
func (r *Revision) Unchanged(ctx context.Context, o Options, p *plan.Plan) (map[CellKey]bool, error) {
	path, err := filepath.Abs(o.Template)
	if err != nil {
		return nil, fault.Wrap(fault.Environment, err)
	}
	repo, err := revision.Open(ctx, filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	folder, err := r.files(ctx, repo)
	if err != nil {
		return nil, err
	}
	o.Template = filepath.Join(folder, repo.Prefix, filepath.Base(path))
	before, err := Plan(ctx, o)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err != nil && fault.KindOf(err) != fault.Input {
		return nil, err
	}
	if err != nil {
		return nil, nil // so it can only have changed
	}
	return equalCells(before, p), nil
}

// files extracts the revision once for each repository.
func (r *Revision) files(ctx context.Context, repo *revision.Repository) (string, error) {
	if dir, ok := r.folders[repo.Root]; ok {
		return dir, nil
	}
	dir, remove, err := run.TempDir(os.TempDir(), "imagebuild-revision-")
	if err != nil {
		return "", err
	}
	r.remove = append(r.remove, remove)
	if err := repo.Extract(ctx, r.Name, dir); err != nil {
		return "", err
	}
	if r.folders == nil {
		r.folders = map[string]string{}
	}
	r.folders[repo.Root] = dir
	return dir, nil
}

// Close removes what was extracted.
func (r *Revision) Close() error {
	var errs []error
	for _, remove := range r.remove {
		errs = append(errs, remove())
	}
	r.remove, r.folders = nil, nil
	return errors.Join(errs...)
}

// Released is what the latest release has of an image.
type Released struct {
	Version string             // of the image; empty when nothing of it was released
	Digests map[CellKey]string // of the cells, as recorded beside the assets
}

// LatestRelease tells what the latest published release has. It asks GitHub
// once.
func LatestRelease(client *github.Client) func(ctx context.Context, name string) (Released, error) {
	var once sync.Once
	var cells []*release.Cell
	var err error
	return func(ctx context.Context, name string) (Released, error) {
		once.Do(func() { _, cells, err = release.Latest(ctx, client) })
		found := Released{Digests: map[CellKey]string{}}
		for _, cell := range cells {
			if cell.Name == name {
				found.Version = cell.Version
				found.Digests[CellKey{cell.Platform, cell.Arch}] = cell.CellDigest
			}
		}
		return found, err
	}
}

// SinceRelease compares with what was released: released tells what the latest
// published release has of the image of that name. The image is planned with
// the version that was released, because a new version alone is no change.
func SinceRelease(released func(ctx context.Context, name string) (Released, error)) func(context.Context, Options, *plan.Plan) (map[CellKey]bool, error) {
	return func(ctx context.Context, o Options, p *plan.Plan) (map[CellKey]bool, error) {
		last, err := released(ctx, p.Name)
		if err != nil || last.Version == "" {
			return nil, err
		}
		o.Version = last.Version
		now, err := Plan(ctx, o)
		if err != nil {
			return nil, err
		}
		same := map[CellKey]bool{}
		for _, cell := range now.Cells {
			key := CellKey{cell.Platform, cell.Arch}
			same[key] = last.Digests[key] == cell.Digest
		}
		return same, nil
	}
}

func equalCells(before, now *plan.Plan) map[CellKey]bool {
	same := map[CellKey]bool{}
	for _, cell := range now.Cells {
		old := before.Cell(cell.Platform, cell.Arch)
		same[CellKey{cell.Platform, cell.Arch}] = old != nil && old.Digest == cell.Digest
	}
	return same
}
