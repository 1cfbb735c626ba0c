package run

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// WorkDir is a folder that vanishes with this process, whatever ends it.
type WorkDir struct {
	Path    string
	release func()
	lock    *os.File // the folder itself; tells Sweep that somebody is at work
}

// NewWorkDir makes a work folder below parent, called prefix and a number that
// is not in use. Call Remove when done with it, or Keep.
func NewWorkDir(parent, prefix string) (*WorkDir, error) {
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return nil, Explain(err)
	}
	for {
		// The guard comes first: between the two we may be killed.
		dir := filepath.Join(parent, prefix+strconv.FormatInt(time.Now().UnixNano(), 36)+strconv.Itoa(os.Getpid()))
		release, err := guard(guardDirScript, dir)
		if err != nil {
			return nil, err
		}
		err = os.Mkdir(dir, 0o700)
		if err == nil {
			return &WorkDir{Path: dir, release: release, lock: tryLock(dir)}, nil
		}
		release()
		if !errors.Is(err, os.ErrExist) {
			return nil, Explain(err)
		}
	}
}

// tryLock locks a folder as long as the file returned is open; nil if somebody
// else has it locked, or if its file system has no locks.
func tryLock(dir string) *os.File {
	f, err := os.Open(dir)
	if err != nil {
		return nil
	}
	if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil {
		_ = f.Close()
		return nil
	}
	return f
}

// Remove removes the folder. Its error matters: what could not be removed is a
// leftover.
func (w *WorkDir) Remove() error {
	err := os.RemoveAll(w.Path)
	w.Keep()
	return err
}

// Keep leaves the folder where it is.
func (w *WorkDir) Keep() {
	w.release()
	if w.lock != nil {
		_ = w.lock.Close()
	}
}

// TempDir is NewWorkDir for callers that only ever remove.
func TempDir(parent, prefix string) (dir string, remove func() error, err error) {
	w, err := NewWorkDir(parent, prefix)
	if err != nil {
		return "", nil, err
	}
	return w.Path, w.Remove, nil
}

// SweepAge is how long Sweep should leave a folder alone in any case: its maker
// may not have come to lock it yet.
const SweepAge = time.Minute

// Sweep removes the work folders of processes that ended together with their
// guards, as when the machine lost its power. Folders in use are spared, and
// those younger than minAge, which is zero only where nobody else is at work.
func Sweep(parent, prefix string, minAge time.Duration) error {
	entries, err := os.ReadDir(parent)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	for _, entry := range entries {
		info, statErr := entry.Info()
		if statErr != nil || !strings.HasPrefix(entry.Name(), prefix) || time.Since(info.ModTime()) < minAge {
			continue
		}
		name := filepath.Join(parent, entry.Name())
		if lock := tryLock(name); lock != nil {
			err = errors.Join(err, os.RemoveAll(name), lock.Close())
		}
	}
	return err
}
