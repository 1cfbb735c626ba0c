package vm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/org/imagebuild-action/internal/fault"
)

// Snapshot makes overlay, a qcow2 file whose backing file is the one that the
// disk of that index writes to now, the file that it writes to from now on.
// The old one does not change any more. (blockdev-snapshot-sync in QEMU's QMP
// reference.)
func (m *Machine) Snapshot(ctx context.Context, disk int, overlay string) error {
	_, err := m.control.execute(ctx, "blockdev-snapshot-sync", map[string]any{
		"device": diskID(disk), "snapshot-file": overlay, "format": "qcow2", "mode": "existing",
	})
	return err
}

// Pause stops the guest's clock and processors until Resume.
func (m *Machine) Pause(ctx context.Context) error {
	_, err := m.control.execute(ctx, "stop", nil)
	return err
}

// Resume lets a paused guest go on.
func (m *Machine) Resume(ctx context.Context) error {
	_, err := m.control.execute(ctx, "cont", nil)
	return err
}

const (
	migrationPipe = "state" // name of the descriptor that the state goes through
	fullSpeed     = 1 << 40 // bytes a second; the default would be 128 MiB
)

// SaveState writes the memory and the devices of a paused guest, without its
// disks, to w: the stream of a migration. The guest stays paused and can go on.
func (m *Machine) SaveState(ctx context.Context, w io.Writer) error {
	ours, theirs, err := os.Pipe()
	if err != nil {
		return fault.Wrap(fault.Environment, err)
	}
	defer ours.Close()
	if err := m.migrate(ctx, "migrate", theirs); err != nil {
		return errors.Join(err, theirs.Close())
	}
	_ = theirs.Close() // QEMU has its own, and we want to see its end
	stop := context.AfterFunc(ctx, func() { _ = ours.Close() })
	defer stop()
	_, copyErr := io.Copy(w, ours)
	if copyErr != nil {
		_ = ours.Close() // so that QEMU stops writing
	}
	return errors.Join(copyErr, m.migrated(ctx))
}

// LoadState fills a machine that was started with Config.Incoming with what
// SaveState wrote of a machine of the same configuration. It is paused then.
func (m *Machine) LoadState(ctx context.Context, r io.Reader) error {
	theirs, ours, err := os.Pipe()
	if err != nil {
		return fault.Wrap(fault.Environment, err)
	}
	defer ours.Close()
	if err := m.migrate(ctx, "migrate-incoming", theirs); err != nil {
		return errors.Join(err, theirs.Close())
	}
	_ = theirs.Close()
	stop := context.AfterFunc(ctx, func() { _ = ours.Close() })
	defer stop()
	switch n, err := io.Copy(ours, r); {
	case err != nil:
		return fmt.Errorf("load the machine's state: %w", err)
	case n == 0:
		return errors.New("load the machine's state: it is empty") // QEMU would wait for its first byte
	}
	_ = ours.Close()
	return m.migrated(ctx)
}

// migrate starts a migration through a pipe.
func (m *Machine) migrate(ctx context.Context, command string, pipe *os.File) error {
	for _, each := range []struct {
		command   string
		arguments any
	}{
		{"migrate-set-capabilities", map[string]any{"capabilities": []any{map[string]any{"capability": "events", "state": true}}}},
		{"migrate-set-parameters", map[string]any{"max-bandwidth": fullSpeed}},
	} {
		if _, err := m.control.execute(ctx, each.command, each.arguments); err != nil {
			return err
		}
	}
	m.drainMigration()
	if _, err := m.control.executeWith(ctx, "getfd", map[string]string{"fdname": migrationPipe}, pipe); err != nil {
		return err
	}
	_, err := m.control.execute(ctx, command, map[string]string{"uri": "fd:" + migrationPipe})
	return err
}

func (m *Machine) drainMigration() {
	for {
		select {
		case <-m.migration:
		default:
			return
		}
	}
}

// migrated waits for the end of a migration whose stream has ended.
func (m *Machine) migrated(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, qmpTimeout)
	defer cancel()
	for {
		select {
		case status := <-m.migration:
			switch status {
			case "completed":
				return nil
			case "failed", "cancelled":
				return fmt.Errorf("the machine's state: the transfer %s%s", status, m.said())
			}
		case <-m.done:
			return fmt.Errorf("the machine's state: %w", m.Err())
		case <-ctx.Done():
			return endedError(ctx, "the machine's state")
		}
	}
}

func (m *Machine) said() string {
	if said := m.stderr.String(); said != "" {
		return ": " + said
	}
	return ""
}

// noteMigration keeps a status of QEMU's MIGRATION event for migrated. There
// are few of them in one transfer; what nobody waits for is dropped.
func (m *Machine) noteMigration(data json.RawMessage) {
	var event struct{ Status string }
	_ = json.Unmarshal(data, &event)
	select {
	case m.migration <- event.Status:
	default:
	}
}
