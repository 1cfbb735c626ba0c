package verify

import (
	"context"
	"errors"

	"github.com/org/imagebuild-action/internal/entry"
	"github.com/org/imagebuild-action/internal/ssh"
	"github.com/org/imagebuild-action/internal/vm"
)

// enter waits for the guest and takes our traces away, so that the tests see
// the image's own configuration.
func (b *boot) enter(ctx context.Context, machine *vm.Machine) (*ssh.Client, error) {
	client, seen, err := b.entry.Enter(ctx, entry.Door{Addr: machine.SSHAddr(), UUID: b.uuid, Timeout: b.request.BootTimeout, Up: machine.Up()})
	if err != nil {
		return nil, err
	}
	if len(b.entry.CleanUp) > 0 {
		if _, err := client.Output(ctx, b.entry.CleanUp...); err != nil {
			return nil, errors.Join(err, client.Close())
		}
	}
	b.result.Kernel, b.result.BootSeconds = seen.Kernel, seen.Seconds
	b.task.Note("entered after %.0f s by %s, kernel %s", seen.Seconds, b.entry.How, seen.Kernel)
	return client, nil
}

// shutdown asks the guest to switch itself off, by its own command and by the
// power button: an image without logind knows only the first.
func (b *boot) shutdown(ctx context.Context, machine *vm.Machine, client *ssh.Client) error {
	entry.AskPoweroff(ctx, client)
	if err := machine.Shutdown(ctx, b.request.ShutdownTimeout); err != nil {
		return err
	}
	b.result.CleanShutdown = true
	return nil
}
