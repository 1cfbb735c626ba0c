package engine

import (
	"context"
	"errors"
	"fmt"

	"github.com/org/imagebuild-action/internal/entry"
	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/guest"
	"github.com/org/imagebuild-action/internal/ssh"
	"github.com/org/imagebuild-action/internal/vm"
)

// Reboot implements guest.Rebooter.
func (m *Machine) Reboot(ctx context.Context) error {
	old, err := m.bootID(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, m.config.BootTimeout,
		fmt.Errorf("the guest did not come up again within %s", m.config.BootTimeout))
	defer cancel()
	entry.AskReboot(ctx, m.client)
	_ = m.client.Close()
	if m.direct {
		if err := m.fromDisk(ctx); err != nil {
			return fmt.Errorf("restart the guest: %w", err)
		}
	}
	_, err = entry.Again(ctx, old, m.machine.Done(), func(ctx context.Context) (*ssh.Client, error) {
		err := m.enter(ctx, m.config.BootTimeout, m.machine.Up())
		return m.client, err
	})
	if err == nil {
		return nil
	}
	if ended := m.machine.Err(); ended != nil && !errors.Is(err, ended) {
		err = fmt.Errorf("restart the guest: %w", ended)
	}
	return m.explain(ctx, err)
}

// fromDisk waits for the end of a machine whose kernel was started directly,
// and starts it again as its firmware would.
func (m *Machine) fromDisk(ctx context.Context) error {
	select {
	case <-m.machine.Done():
	case <-ctx.Done():
		return m.explain(ctx, context.Cause(ctx))
	}
	if err := m.machine.Err(); !errors.Is(err, vm.ErrRebooted) {
		return m.explain(ctx, err)
	}
	if err := m.machine.Close(ctx); err != nil {
		return err
	}
	return m.start(ctx, start{})
}

func (m *Machine) bootID(ctx context.Context) (id string, err error) {
	err = m.within(ctx, func(ctx context.Context) (err error) {
		id, err = m.client.BootID(ctx)
		return err
	})
	return id, err
}

// Shutdown takes away what let us in, ends the guest as its administrator
// would, so that its services write what they have, and waits for the end of
// the machine. The chain's last layer is whole then.
func (m *Machine) Shutdown(ctx context.Context) error {
	if len(m.way.CleanUp) > 0 {
		if err := m.Run(ctx, guest.Command{Argv: m.way.CleanUp}); err != nil {
			return fmt.Errorf("take away what let us in: %w", err)
		}
	}
	entry.AskPoweroff(ctx, m.client)
	if err := m.machine.Shutdown(ctx, m.config.ShutdownTimeout); err != nil {
		return m.explain(ctx, err)
	}
	return nil
}

// Close ends the machine, however it is. What the guest wrote since the last
// checkpoint is in no defined state then, unless it was shut down.
func (m *Machine) Close(ctx context.Context) error {
	if m.client != nil {
		_ = m.client.Close() // the machine goes anyway
	}
	return m.machine.Close(ctx)
}

// Screendump writes what the screen shows to path, as PNG.
func (m *Machine) Screendump(ctx context.Context, path string) error {
	return m.machine.Screendump(ctx, path)
}

// SerialLog is the file that holds what the console said.
func (m *Machine) SerialLog() string { return m.serial }

// Command is the command line that starts the machine again.
func (m *Machine) Command() string { return m.machine.Command() }

// explain adds what the console said last, and how to start the machine again.
func (m *Machine) explain(ctx context.Context, err error) error {
	if ctx.Err() != nil || errors.Is(err, context.Canceled) {
		return err
	}
	const lines = 12
	text := ""
	if tail := m.machine.Serial(); len(tail) > 0 {
		text = "\n  last lines of the console:"
		for _, line := range tail[max(0, len(tail)-lines):] {
			text += "\n    " + line
		}
	}
	return fault.Wrap(fault.Guest, fmt.Errorf("%w%s\n  the machine was: %s", err, text, m.machine.Command()))
}
