package engine

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/org/imagebuild-action/internal/entry"
	"github.com/org/imagebuild-action/internal/guest"
	"github.com/org/imagebuild-action/internal/report"
	"github.com/org/imagebuild-action/internal/run"
	"github.com/org/imagebuild-action/internal/target"
)

// liveHeader begins a saved state, as one line of JSON. Behind it come the
// file of the layer that the guest was writing to, and QEMU's stream.
type liveHeader struct {
	UUID       string          `json:"uuid"`
	Seed       []byte          `json:"seed"` // of the key that lets us in
	Hardware   target.Hardware `json:"hardware"`
	LayerBytes int64           `json:"layer_bytes"`
}

const maxLiveHeader = 4 << 10 // bytes

// ErrOtherMachine is a saved state that does not go on here: it was saved of
// other hardware.
var ErrOtherMachine = errors.New("the state was saved of another machine")

// SaveLive writes everything that Resume needs, besides the layers up to the
// last checkpoint, while the guest stands still. It goes on afterwards.
func (m *Machine) SaveLive(ctx context.Context, w io.Writer) (err error) {
	state, err := os.CreateTemp(m.config.Dir, "state-")
	if err != nil {
		return run.Explain(err)
	}
	defer func() { err = errors.Join(err, state.Close(), os.Remove(state.Name())) }()
	if err := m.machine.Pause(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.machine.Resume(context.WithoutCancel(ctx))) }()
	// QEMU writes to the layer what it still has in mind before it is done.
	if err := m.machine.SaveState(ctx, state); err != nil {
		return err
	}
	layer, err := os.Open(m.config.Chain.Layer(m.config.Chain.Layers()))
	if err != nil {
		return run.Explain(err)
	}
	defer layer.Close()
	info, err := layer.Stat()
	if err != nil {
		return run.Explain(err)
	}
	header, err := json.Marshal(liveHeader{m.uuid, m.way.Seed, m.config.Hardware, info.Size()})
	if err != nil {
		return err
	}
	if _, err := w.Write(append(header, '\n')); err != nil {
		return err
	}
	if _, err := io.CopyN(w, layer, info.Size()); err != nil {
		return run.Explain(err)
	}
	if _, err := state.Seek(0, io.SeekStart); err != nil {
		return run.Explain(err)
	}
	_, err = io.Copy(w, state)
	return run.Explain(err)
}

// Resume goes on from what SaveLive wrote, on the chain as it was then without
// its last layer. The guest's clock is set anew.
func Resume(ctx context.Context, config Config, r io.Reader, task report.Task) (*Machine, error) {
	started := time.Now()
	m := newMachine(config)
	buffered := bufio.NewReaderSize(r, 1<<20)
	header, err := readLiveHeader(buffered)
	if err != nil {
		return nil, err
	}
	if header.Hardware != m.config.Hardware {
		return nil, fmt.Errorf("%w: with %d processors and %s of memory", ErrOtherMachine, header.Hardware.CPUs, header.Hardware.Memory)
	}
	m.uuid = header.UUID
	if m.way, err = entry.CredentialsFor(header.Seed); err != nil {
		return nil, err
	}
	chain := config.Chain
	if err := copyTo(chain.Layer(chain.Layers()+1), io.LimitReader(buffered, header.LayerBytes)); err != nil {
		return nil, err
	}
	chain.Add()
	if err := m.start(ctx, true); err != nil {
		return nil, err
	}
	if err := m.goOn(ctx, buffered); err != nil {
		return nil, errors.Join(m.explain(ctx, err), m.Close(ctx))
	}
	task.Note("the machine goes on after %.1f s, without a boot", time.Since(started).Seconds())
	return m, nil
}

func readLiveHeader(r *bufio.Reader) (liveHeader, error) {
	var header liveHeader
	line, err := r.ReadSlice('\n')
	if err != nil || len(line) > maxLiveHeader {
		return header, fmt.Errorf("read the saved state: no header within %d bytes (%w)", maxLiveHeader, errors.Join(err))
	}
	if err := json.Unmarshal(line, &header); err != nil {
		return header, fmt.Errorf("read the saved state: %w", err)
	}
	return header, nil
}

func (m *Machine) goOn(ctx context.Context, state io.Reader) error {
	if err := m.machine.LoadState(ctx, state); err != nil {
		return err
	}
	if err := m.machine.Resume(ctx); err != nil {
		return err
	}
	if err := m.enter(ctx); err != nil {
		return err
	}
	now := "@" + strconv.FormatInt(time.Now().Unix(), 10)
	return m.within(ctx, func(ctx context.Context) error {
		return m.client.Run(ctx, guest.Command{Argv: []string{"date", "--utc", "--set", now}})
	})
}

func copyTo(path string, r io.Reader) error {
	f, err := os.OpenFile(filepath.Clean(path), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return run.Explain(err)
	}
	_, err = io.Copy(f, r)
	return run.Explain(errors.Join(err, f.Close()))
}
