package cli

import (
	"cmp"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/org/imagebuild-action/internal/build"
	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/plan"
)

// cacheFlags are the flags of plan that belong to the cache.
type cacheFlags struct {
	only bool
	dir  string
}

func (f *cacheFlags) register(c *cobra.Command) {
	c.Flags().BoolVar(&f.only, "cache", false, "print only the path and the keys for actions/cache, as lines of name=value")
	c.Flags().StringVar(&f.dir, "cache-dir", "", "the folder that the build is given (default: as for build)")
	_ = c.MarkFlagDirname("cache-dir")
}

func (f *cacheFlags) check(matrix, asJSON bool) error {
	if f.only && (matrix || asJSON) {
		return fault.Errorf(fault.Input, "--cache prints lines of name=value, and --matrix and --json print JSON; leave one of them out")
	}
	return nil
}

// cachePlace is what actions/cache is told.
type cachePlace struct {
	path string
	build.CacheKey
}

// of names the folder as it was given: actions/cache takes a relative one from
// the workspace, and only equal paths find each other.
func (f *cacheFlags) of(a *app, p *plan.Plan) (cachePlace, error) {
	dir, err := a.cacheDir(f.dir)
	return cachePlace{cmp.Or(f.dir, dir), build.NewCacheKey(p)}, err
}

func (p cachePlace) outputs(w io.Writer) error {
	_, err := fmt.Fprintf(w, "path=%s\nkey=%s\nrestore-keys=%s\n", p.path, p.Key, p.Restore)
	return err
}

func (p cachePlace) table(w io.Writer) error {
	_, err := fmt.Fprintf(w, "\ncache  %s\n  key           %s\n  restore-keys  %s\n", p.path, p.Key, p.Restore)
	return err
}
