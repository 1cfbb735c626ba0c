package engine

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/org/imagebuild-action/internal/entry"
	"github.com/org/imagebuild-action/internal/guest"
	"github.com/org/imagebuild-action/internal/report"
	"github.com/org/imagebuild-action/internal/run"
	"github.com/org/imagebuild-action/internal/target"
	"github.com/org/imagebuild-action/internal/vm"
)

// liveHeader begins a saved state, as one line of JSON. Behind it come the
// file of the layer that the guest was writing to, and QEMU's stream.
type liveHeader struct {
	Below      string          `json:"below"` // the id of the layer that the guest's own lies on
	UUID       string          `json:"uuid"`
	Direct     bool            `json:"direct"` // the kernel was started by QEMU
	Seed       []byte          `json:"seed"`   // of the key that lets us in
	Hardware   target.Hardware `json:"hardware"`
	Emulator   string          `json:"emulator"` // QEMU's version and the model of the processors
	LayerBytes int64           `json:"layer_bytes"`
}

// resumeTimeout bounds the time until a guest that goes on can be entered. It
// was entered already when it was saved; there is nothing that it waits for.
const resumeTimeout = time.Minute

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
	chain := m.config.Chain
	emulator, err := m.config.emulator(ctx)
	if err != nil {
		return err
	}
	err = writeHeader(w, liveHeader{
		Below: chain.ids[chain.Layers()-1], UUID: m.uuid, Direct: m.direct, Seed: m.way.Seed,
		Hardware: m.config.Hardware, Emulator: emulator, LayerBytes: info.Size(),
	})
	if err != nil {
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
	m := newMachine(ctx, config)
	buffered := bufio.NewReaderSize(r, 1<<20)
	var header liveHeader
	if err := readHeader(buffered, &header); err != nil {
		return nil, err
	}
	chain := config.Chain
	emulator, err := m.config.emulator(ctx)
	if err != nil {
		return nil, err
	}
	switch {
	case header.Below != chain.last():
		return nil, ErrOtherDisk
	case header.Hardware != m.config.Hardware:
		return nil, fmt.Errorf("%w: with %d processors and %s of memory", ErrOtherMachine, header.Hardware.CPUs, header.Hardware.Memory)
	case len(header.Seed) == 0 && len(config.Access.Keys) == 0:
		return nil, fmt.Errorf("%w: it was entered by another key", ErrOtherMachine)
	case header.Emulator != emulator:
		return nil, fmt.Errorf("%w: under %s, and this is %s", ErrOtherMachine, header.Emulator, emulator)
	}
	m.uuid = header.UUID
	if m.way, err = config.Access.Way(ctx, config.Dir, header.Seed, entry.Credentials); err != nil {
		return nil, err
	}
	if err := chain.add(rand.Text(), io.LimitReader(buffered, header.LayerBytes)); err != nil {
		return nil, err
	}
	// QEMU wants the devices that were there, and a kernel to start is one.
	if err := m.start(ctx, start{direct: header.Direct, incoming: true}); err != nil {
		return nil, err
	}
	if m.direct != header.Direct {
		return nil, errors.Join(fmt.Errorf("%w: its kernel cannot be found", ErrOtherMachine), m.Close(ctx))
	}
	if err := m.goOn(ctx, buffered); err != nil {
		return nil, m.giveUp(ctx, err)
	}
	task.Note("the machine goes on after %.1f s, without a boot", time.Since(started).Seconds())
	return m, nil
}

// emulator names everything else that a state depends on: what QEMU saves is
// its own version's, and a guest cannot be given another processor under way.
func (c Config) emulator(ctx context.Context) (string, error) {
	version, err := vm.Version(ctx)
	if err != nil {
		return "", err
	}
	cpu, err := c.cpu()
	return strings.TrimSpace(version + " " + cpu), err
}

func (m *Machine) goOn(ctx context.Context, state io.Reader) error {
	if err := m.machine.LoadState(ctx, state); err != nil {
		return err
	}
	if err := m.machine.Resume(ctx); err != nil {
		return err
	}
	if err := m.enter(ctx, resumeTimeout, nil); err != nil {
		return err
	}
	now := "@" + strconv.FormatInt(time.Now().Unix(), 10)
	return m.within(ctx, func(ctx context.Context) error {
		return m.client.Run(ctx, guest.Command{Argv: []string{"date", "--utc", "--set", now}})
	})
}
