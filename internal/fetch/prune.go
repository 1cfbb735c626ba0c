package fetch

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/org/imagebuild-action/internal/size"
)

const (
	// DefaultCacheLimit is how much finished downloads may take.
	DefaultCacheLimit = 40 * size.GiB
	// inUse is how long a file is left alone after somebody asked for it: a
	// build may be reading it.
	inUse = 24 * time.Hour
	// abandoned is how old a part is that nobody will go on with.
	abandoned = 14 * 24 * time.Hour
)

// prune removes the least recently used downloads above the limit, and parts
// that were given up. What another build removes at the same time is gone
// either way.
func prune(dir string, limit size.Bytes, now time.Time) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var whole []fs.FileInfo
	var total size.Bytes
	for _, entry := range entries {
		info, err := entry.Info()
		switch {
		case err != nil || !info.Mode().IsRegular():
		case strings.HasSuffix(info.Name(), ".part"):
			if now.Sub(info.ModTime()) > abandoned {
				removePart(filepath.Join(dir, strings.TrimSuffix(info.Name(), ".part")))
			}
		case !strings.HasSuffix(info.Name(), ".origin"):
			whole, total = append(whole, info), total+size.Bytes(info.Size())
		}
	}
	slices.SortFunc(whole, func(a, b fs.FileInfo) int {
		return cmp.Or(a.ModTime().Compare(b.ModTime()), cmp.Compare(a.Name(), b.Name()))
	})
	for _, info := range whole {
		if total <= limit || now.Sub(info.ModTime()) < inUse {
			return nil
		}
		if err := os.Remove(filepath.Join(dir, info.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		total -= size.Bytes(info.Size())
	}
	return nil
}

// removePart removes a part unless somebody is at work on it.
func removePart(name string) {
	f, err := os.Open(name + ".part")
	if err != nil {
		return
	}
	defer f.Close()
	if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil || !sameFile(f) {
		return
	}
	_ = os.Remove(name + ".origin")
	_ = os.Remove(f.Name())
}
