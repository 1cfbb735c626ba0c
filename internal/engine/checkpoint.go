package engine

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/guest"
)

// freezeScript freezes every file system that lies on a disk, says so, and
// undoes it when it has read a line or the connection is gone. What has to be
// read for the way back was read on the way there. What was mounted last comes
// first, so the root comes last, and goes first. A program takes an emulated
// guest a while to start, so the shell does what it can.
const freezeScript = `sync
seen=
mounts=
while read -r device mount type options rest; do
	case $device in /dev/*) ;; *) continue ;; esac
	case $type in ext[234]|xfs|btrfs|f2fs|jfs) ;; *) continue ;; esac
	case $options in rw*) ;; *) continue ;; esac
	case "$seen " in *" $device "*) continue ;; esac
	seen="$seen $device"
	mounts="$mount $mounts"
done </proc/self/mounts
frozen=
if command -v fsfreeze >/dev/null; then
	for m in $mounts; do fsfreeze -f "$m" && frozen="$m $frozen"; done
fi
echo "frozen $frozen"
read line
for m in $frozen; do fsfreeze -u "$m"; done
`

// freezeTimeout bounds the time that a guest may stay frozen, and the wait for
// it: a guest that writes a lot has a lot to sync.
const freezeTimeout = 2 * time.Minute

// Checkpoint ends the chain's last layer with the disk as it is now; the guest
// goes on in a new one.
func (m *Machine) Checkpoint(ctx context.Context) error {
	next, err := m.config.Chain.Grow(ctx)
	if err != nil {
		return err
	}
	err = m.frozen(ctx, func(ctx context.Context) error { return m.machine.Snapshot(ctx, 0, next) })
	if err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	return nil
}

// frozen runs fn while the guest's file systems stand still.
func (m *Machine) frozen(ctx context.Context, fn func(context.Context) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, freezeTimeout, fault.Errorf(fault.Guest, "the guest's file systems could not be frozen within %s", freezeTimeout))
	defer cancel()
	release, hold := io.Pipe()
	said, out := io.Pipe()
	var complaints strings.Builder
	ended := make(chan error, 1)
	go func() {
		err := m.within(ctx, func(ctx context.Context) error {
			return m.client.Run(ctx, guest.Command{Argv: []string{"sh", "-c", freezeScript}, Stdin: release, Stdout: out, Stderr: &limited{w: &complaints, left: 4 << 10}})
		})
		_ = out.CloseWithError(cause(err))
		ended <- err
	}()
	line, err := bufio.NewReader(io.LimitReader(said, 64<<10)).ReadString('\n')
	go func() { _, _ = io.Copy(io.Discard, said) }() // whatever else it says
	switch {
	case err != nil:
		err = fmt.Errorf("freeze the guest's file systems: %w", err)
	case !strings.HasPrefix(line, "frozen "):
		err = fault.Errorf(fault.Guest, "freeze the guest's file systems: it answered %.80q", line)
	default:
		err = fn(ctx)
	}
	_ = hold.Close()
	if thawed := <-ended; err == nil && thawed != nil {
		err = fmt.Errorf("thaw the guest's file systems: %w: %s", thawed, complaints.String())
	}
	_ = release.Close()
	return err
}

func cause(err error) error {
	if err == nil {
		return io.ErrUnexpectedEOF
	}
	return err
}

// limited drops what is too much.
type limited struct {
	w    io.Writer
	left int
}

func (l *limited) Write(p []byte) (int, error) {
	n := min(len(p), l.left)
	l.left -= n
	_, err := l.w.Write(p[:n])
	return len(p), err
}
