package bootstrap

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/org/imagebuild-action/internal/run"
	"github.com/org/imagebuild-action/internal/size"
)

// poolLimit is how much the packages kept between builds may take.
const poolLimit = 2 * size.GiB

// pool keeps downloaded packages as DIGEST-NAME.deb, where the digest is the
// SHA-256 of the content. Files are only added and removed whole, so that any
// number of builds can share it.
type pool struct{ dir string }

type pooled struct {
	path string
	name string // without the digest
	sum  string
	info os.FileInfo
}

const hexDigest = 2 * sha256.Size

func (p *pool) list() ([]pooled, error) {
	entries, err := os.ReadDir(p.dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var found []pooled
	for _, e := range entries {
		sum, name, ok := strings.Cut(e.Name(), "-")
		info, err := e.Info()
		if !ok || len(sum) != hexDigest || err != nil || !info.Mode().IsRegular() {
			continue
		}
		found = append(found, pooled{filepath.Join(p.dir, e.Name()), name, sum, info})
	}
	slices.SortFunc(found, func(a, b pooled) int {
		return cmp.Or(b.info.ModTime().Compare(a.info.ModTime()), cmp.Compare(a.path, b.path))
	})
	return found, nil
}

// stage gives dir a copy or a link of every intact package of the pool, and
// drops the damaged ones. Of two with one name the newer counts.
func (p *pool) stage(ctx context.Context, dir string) error {
	all, err := p.list()
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	seen := map[string]bool{}
	for _, each := range all {
		if seen[each.name] {
			continue
		}
		seen[each.name] = true
		group.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			sum, err := run.FileSHA256(each.path)
			if errors.Is(err, os.ErrNotExist) {
				return nil // another build has cleaned up
			}
			if err != nil {
				return err
			}
			if sum != each.sum {
				return os.Remove(each.path)
			}
			return linkOrCopy(each.path, filepath.Join(dir, each.name))
		})
	}
	return group.Wait()
}

// keep moves what was downloaded into the pool, marks what was used, and
// removes what has not been used for longest when there is too much.
func (p *pool) keep(ctx context.Context, work string) error {
	if err := os.MkdirAll(p.dir, 0o755); err != nil {
		return run.Explain(err)
	}
	data, err := os.ReadFile(filepath.Join(work, "used"))
	if err != nil {
		return err
	}
	all, err := p.list()
	if err != nil {
		return err
	}
	known := map[string]pooled{}
	for _, each := range slices.Backward(all) {
		known[each.name] = each
	}
	now := time.Now()
	for name := range strings.Lines(string(data)) {
		if err := ctx.Err(); err != nil {
			return err
		}
		name = strings.TrimSpace(name)
		if name == "" || filepath.Base(name) != name {
			continue
		}
		staged := filepath.Join(work, "debs", name)
		info, err := os.Stat(staged)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if old, ok := known[name]; ok && old.info.Size() == info.Size() {
			_ = os.Chtimes(old.path, now, now) // gone meanwhile: downloaded again next time
			continue
		}
		if err := p.add(staged, name); err != nil {
			return run.Explain(err)
		}
	}
	return p.trim()
}

func (p *pool) add(path, name string) error {
	sum, err := run.FileSHA256(path)
	if err != nil {
		return err
	}
	temp, err := os.MkdirTemp(p.dir, ".new-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp) //nolint:errcheck // trim removes what stays
	if err := linkOrCopy(path, filepath.Join(temp, name)); err != nil {
		return err
	}
	now := time.Now()
	return errors.Join(os.Chtimes(filepath.Join(temp, name), now, now), os.Rename(filepath.Join(temp, name), filepath.Join(p.dir, sum+"-"+name)))
}

func (p *pool) trim() error {
	all, err := p.list()
	if err != nil {
		return err
	}
	var errs []error
	total := size.Bytes(0)
	for _, each := range all {
		if total += size.Bytes(each.info.Size()); total > poolLimit {
			errs = append(errs, ignoreMissing(os.Remove(each.path)))
		}
	}
	old, err := filepath.Glob(filepath.Join(p.dir, ".new-*"))
	for _, each := range old {
		if info, err := os.Stat(each); err == nil && time.Since(info.ModTime()) > time.Hour {
			errs = append(errs, os.RemoveAll(each)) // of a build that was killed
		}
	}
	return errors.Join(append(errs, err)...)
}

func ignoreMissing(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

func linkOrCopy(from, to string) error {
	if err := os.Link(from, to); err == nil {
		return nil
	}
	in, err := os.Open(from)
	if err != nil {
		return ignoreMissing(err)
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
