package action

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/org/imagebuild-action/internal/run"
)

// handOver gives everything below dirs to whoever owns the workspace. A
// container action runs as root and the steps after it do not: without this
// they could neither change nor remove what it left.
func handOver(workspace string, dirs ...string) error {
	info, err := os.Stat(workspace)
	if err != nil {
		return run.Explain(err)
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok || os.Geteuid() != 0 || owner.Uid == 0 {
		return nil
	}
	var errs []error
	for _, dir := range dirs {
		errs = append(errs, filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil {
				return err
			}
			return os.Lchown(path, int(owner.Uid), int(owner.Gid))
		}))
	}
	return run.Explain(errors.Join(errs...))
}
