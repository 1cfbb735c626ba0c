package verify

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/ssh"
	"github.com/org/imagebuild-action/internal/vm"
)

// enter waits for the guest's ssh server and makes sure of whom it talks to.
func (b *boot) enter(ctx context.Context, machine *vm.Machine) (*ssh.Client, error) {
	started := time.Now()
	ctx, cancel := context.WithTimeoutCause(ctx, b.request.BootTimeout,
		fmt.Errorf("the guest could not be entered within %s; %s", b.request.BootTimeout, b.entry.remedy))
	defer cancel()
	client, err := ssh.Dial(ctx, ssh.Config{Addr: machine.SSHAddr(), User: b.entry.user, Signers: b.entry.keys})
	if err != nil {
		if errors.Is(err, ssh.ErrAuth) {
			err = fmt.Errorf("%w; %s", err, b.entry.remedy)
		}
		return nil, fault.Wrap(fault.Guest, err)
	}
	if err := b.identify(ctx, client); err != nil {
		return nil, errors.Join(err, client.Close())
	}
	b.result.BootSeconds = time.Since(started).Seconds()
	b.task.Note("entered after %.0f s by %s, kernel %s", b.result.BootSeconds, b.entry.how, b.result.Kernel)
	return client, nil
}

// identify compares the guest's idea of its machine with ours, and takes our
// traces away, so that the tests see the image's own configuration. The
// running server keeps what it has read.
func (b *boot) identify(ctx context.Context, client *ssh.Client) error {
	uuid, err := client.Output(ctx, "cat", "/sys/class/dmi/id/product_uuid")
	if err != nil {
		return fmt.Errorf("first command in the guest: %w; %s", err, b.entry.remedy)
	}
	if !strings.EqualFold(uuid, b.uuid) {
		return fault.Errorf(fault.Guest, "this is not the machine that was started: its UUID is %q, not %s", uuid, b.uuid)
	}
	if b.result.Kernel, err = client.Output(ctx, "uname", "-r"); err != nil {
		return err
	}
	if len(b.entry.cleanUp) > 0 {
		_, err = client.Output(ctx, b.entry.cleanUp...)
	}
	return err
}

// shutdown asks the guest to switch itself off, by its own command and by the
// power button: an image without logind knows only the first.
func (b *boot) shutdown(ctx context.Context, machine *vm.Machine, client *ssh.Client) error {
	asked, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	// The connection may end before the answer comes.
	_, _ = client.Output(asked, "sh", "-c", "systemctl poweroff --no-block || poweroff")
	if err := machine.Shutdown(ctx, b.request.ShutdownTimeout); err != nil {
		return err
	}
	b.result.CleanShutdown = true
	return nil
}
