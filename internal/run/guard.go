package run

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"

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
