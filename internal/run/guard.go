package run

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/org/imagebuild-action/internal/fault"
)

// A guard is a shell that waits on a pipe which only this process holds open.
// A word on the pipe dismisses it; the end of the pipe means that this process
// was killed, and it cleans up in our place. It ignores the signals that a
// terminal or a runner sends to the whole group.

const (
	guardGroupScript = `trap '' INT TERM HUP; read -r word || kill -KILL "-$1"`
	guardDirScript   = `trap '' INT TERM HUP; read -r word && exit
n=0; while ! rm -rf --one-file-system -- "$1" && [ $n -lt 20 ]; do n=$((n+1)); sleep 0.1; done 2>/dev/null`
)

func guardGroup(pgid int) (release func(), err error) {
	return guard(guardGroupScript, strconv.Itoa(pgid))
}

func guard(script, argument string) (release func(), err error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fault.Wrap(fault.Environment, fmt.Errorf("guard pipe: %w", err))
	}
	defer r.Close()
	cmd := exec.Command("/bin/sh", "-c", script, "imagebuild-guard", argument) //nolint:noctx // it must outlive every context
	cmd.Stdin = r
	cmd.Env = Environ()
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		_ = w.Close()
		return nil, fault.Wrap(fault.Environment, fmt.Errorf("start the clean-up guard: %w", err))
	}
	return func() {
		_, _ = w.WriteString("done\n")
		_ = w.Close()
		_ = cmd.Wait()
	}, nil
}

// WorkDir is a folder that vanishes with this process, whatever ends it.
type WorkDir struct {
	Path    string
	release func()
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
			return &WorkDir{Path: dir, release: release}, nil
		}
		release()
		if !errors.Is(err, os.ErrExist) {
			return nil, Explain(err)
		}
	}
}

// Remove removes the folder. Its error matters: what could not be removed is a
// leftover.
func (w *WorkDir) Remove() error {
	err := os.RemoveAll(w.Path)
	w.release()
	return err
}

// Keep leaves the folder where it is.
func (w *WorkDir) Keep() { w.release() }

// TempDir is NewWorkDir for callers that only ever remove.
func TempDir(parent, prefix string) (dir string, remove func() error, err error) {
	w, err := NewWorkDir(parent, prefix)
	if err != nil {
		return "", nil, err
	}
	return w.Path, w.Remove, nil
}
