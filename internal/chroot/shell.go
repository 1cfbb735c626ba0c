package chroot

import (
	"bytes"
	"context"
	"errors"
	"syscall"

	"github.com/org/imagebuild-action/internal/guest"
	"github.com/org/imagebuild-action/internal/tty"
)

var _ guest.Sheller = (*Chroot)(nil)

// shellScript starts root's shell, or the one that every image has to have.
const shellScript = `cd /root 2>/dev/null || cd /
if [ -x "$1" ]; then exec "$1" -l; fi
exec /bin/sh`

// Shell implements guest.Sheller: root's login shell, with the same mounts and
// the same environment as a step.
func (c *Chroot) Shell(ctx context.Context, console guest.Console) (err error) {
	if err := tty.Check(console); err != nil {
		return err
	}
	master, slave, err := tty.Open()
	if err != nil {
		return err
	}
	defer master.Close()
	columns, rows := tty.Size(console)
	if err := tty.SetSize(master, columns, rows); err != nil {
		return errors.Join(err, slave.Close())
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	ended := make(chan error, 1)
	go func() {
		command := c.shellCommand(ctx, console)
		command.Stdin, command.Stdout, command.Stderr = slave, slave, slave
		err := c.run(ctx, command, func(attr *syscall.SysProcAttr) {
			attr.Setpgid, attr.Setsid, attr.Setctty, attr.Ctty = false, true, true, 0
		})
		_ = slave.Close() // the last one: the output ends
		ended <- err
	}()
	err = tty.Join(ctx, console, tty.Far{Input: master, Output: master, Resize: func(columns, rows int) {
		_ = tty.SetSize(master, columns, rows)
	}})
	if err != nil {
		cancel(err)
	}
	errShell := <-ended
	var exit *guest.ExitError
	if errors.As(errShell, &exit) { // that of the user's last command
		errShell = nil
	}
	if err != nil {
		return err
	}
	return errShell
}

func (c *Chroot) shellCommand(ctx context.Context, console guest.Console) guest.Command {
	shell := "/bin/sh"
	var passwd bytes.Buffer
	if c.Get(ctx, "/etc/passwd", &passwd) == nil {
		accounts, _ := guest.ReadAccounts(&passwd)
		for _, each := range accounts {
			if each.Name == "root" && each.Shell != "" {
				shell = each.Shell
				break
			}
		}
	}
	term := console.Term
	if term == "" {
		term = "dumb"
	}
	return guest.Command{Argv: []string{"/bin/sh", "-c", shellScript, "sh", shell}, Env: []string{"TERM=" + term}}
}
