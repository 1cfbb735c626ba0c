// Package revision puts the files of a git revision into a folder, as a fresh
// checkout would have them, without touching the repository: no worktree is
// registered, and neither the index, the branch nor a file changes.
//
//	at, err := revision.Open(ctx, "images/web")
//	err = at.Extract(ctx, "origin/main", dir)
//	before := filepath.Join(dir, at.Prefix, "imagebuild.yml")
//
// File modes, symlinks and the conversions of .gitattributes are kept, which
// an archive would not do. Submodules stay empty folders, and files under LFS
// stay the pointers that git has.
//
// It refuses what is no repository, and a revision that is not there, as in a
// shallow clone.
package revision

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/run"
)

// Repository is the one that a folder belongs to.
type Repository struct {
	Root   string // its outermost folder, absolute
	Prefix string // the folder that it was found from, relative to Root; "." is Root itself
}

// Open finds the repository of a folder.
func Open(ctx context.Context, dir string) (*Repository, error) {
	out, err := git(ctx, dir, nil, "rev-parse", "--show-toplevel", "--show-prefix")
	var exit *run.ExitError
	if errors.As(err, &exit) {
		return nil, fault.Errorf(fault.Input, "%s: not in a git repository, so nothing can be compared: %w", dir, err)
	} else if err != nil {
		return nil, err
	}
	root, prefix, ok := strings.Cut(out, "\n")
	prefix = strings.TrimSuffix(prefix, "\n")
	if !ok || !filepath.IsAbs(root) { // a folder with a line break in its name
		return nil, fault.Errorf(fault.Input, "%s: git cannot say where the repository begins; rename the folder", dir)
	}
	return &Repository{Root: root, Prefix: filepath.Clean(filepath.FromSlash(prefix))}, nil
}

// Extract writes the files of a revision into dir, which must be an empty
// folder.
func (r *Repository) Extract(ctx context.Context, revision, dir string) (err error) {
	commit, err := r.resolve(ctx, revision)
	if err != nil {
		return err
	}
	index, remove, err := run.TempDir(os.TempDir(), "imagebuild-index-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove()) }()
	// An index of our own, and a work tree of our own: git reads .gitattributes
	// from the index where the work tree has none yet.
	env := []string{"GIT_INDEX_FILE=" + filepath.Join(index, "index"), "GIT_WORK_TREE=" + dir}
	for _, command := range [][]string{{"read-tree", commit}, {"checkout-index", "--all", "--force", "--quiet"}} {
		if _, err := git(ctx, r.Root, env, command...); err != nil {
			return fault.Errorf(fault.Environment, "read the files of %s: %w", revision, err)
		}
	}
	return err
}

// resolve names the commit, so that what looks like an option is none.
func (r *Repository) resolve(ctx context.Context, revision string) (string, error) {
	out, err := git(ctx, r.Root, nil, "rev-parse", "--verify", "--quiet", "--end-of-options", revision+"^{commit}")
	var exit *run.ExitError
	if !errors.As(err, &exit) {
		return strings.TrimSpace(out), err
	}
	remedy := "name a branch, a tag or a commit"
	if shallow, _ := git(ctx, r.Root, nil, "rev-parse", "--is-shallow-repository"); strings.TrimSpace(shallow) == "true" {
		remedy = "the clone is shallow: fetch it, or give actions/checkout fetch-depth: 0"
	}
	return "", fault.Errorf(fault.Input, "%q is not a revision of %s; %s", revision, r.Root, remedy)
}

// git runs git so that nothing of the repository's configuration is run by it:
// no hook and no monitor. A repository that belongs to somebody else is fine,
// as it is in every container of a job.
func git(ctx context.Context, dir string, env []string, args ...string) (string, error) {
	argv := append([]string{
		"git", "-c", "safe.directory=*", "-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-c", "core.sparseCheckout=false",
		"-c", "filter.lfs.smudge=", "-c", "filter.lfs.process=", "-c", "filter.lfs.required=false",
	}, args...)
	var out bytes.Buffer
	err := run.Run(ctx, run.Spec{Argv: argv, Dir: dir, Env: run.Environ(append(env, "GIT_CONFIG_GLOBAL=/dev/null", "GIT_TERMINAL_PROMPT=0")...), Stdout: &out, Group: true})
	var exit *run.ExitError
	if errors.As(err, &exit) {
		exit.Argv = append([]string{"git"}, args...) // what matters of it
		return "", err                               // the caller knows whose fault it is
	}
	return out.String(), fault.Wrap(fault.Environment, err)
}
