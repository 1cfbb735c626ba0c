package build

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	gossh "golang.org/x/crypto/ssh"

	"github.com/org/imagebuild-action/internal/cache"
	"github.com/org/imagebuild-action/internal/engine"
	"github.com/org/imagebuild-action/internal/entry"
	"github.com/org/imagebuild-action/internal/extract"
	"github.com/org/imagebuild-action/internal/failure"
	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/report"
	"github.com/org/imagebuild-action/internal/run"
	"github.com/org/imagebuild-action/internal/ssh"
	"github.com/org/imagebuild-action/internal/target"
	"github.com/org/imagebuild-action/internal/vm"
	"github.com/org/imagebuild-action/provision"
)

// machineTree is a tree whose steps run in a booted machine: a bootable disk
// made of the source, a layer on it for each step, and a machine only if there
// is a step to run.
type machineTree struct {
	*builder
	t       *builtTree
	task    report.Task
	chain   *engine.Chain
	baseKey string
}

// layerKey names the checkpoint after n steps.
func (m *machineTree) layerKey(n int) string {
	return fmt.Sprintf("%x", sha256.Sum256([]byte("disk layer 1\n"+m.baseKey+"\n"+m.t.plan.Steps[n-1].Digest)))
}

// liveKey names the state of the running machine after n steps.
func (m *machineTree) liveKey(n int) string {
	return fmt.Sprintf("%x", sha256.Sum256([]byte("live 1\n"+m.layerKey(n))))
}

// provisionMachine brings a tree to the state after its last step in a machine.
func (b *builder) provisionMachine(ctx context.Context, t *builtTree, task report.Task) error {
	m := &machineTree{builder: b, t: t, task: task}
	if err := m.base(ctx); err != nil {
		return err
	}
	if err := b.forget(t, m.layerKey, task); err != nil {
		return err
	}
	done, err := m.restore(ctx)
	if err != nil {
		return err
	}
	for i := range done {
		task.Note("%s: from the cache", t.plan.Steps[i].Name)
		t.result.Steps = append(t.result.Steps, StepResult{Name: t.plan.Steps[i].Name, Cached: true})
	}
	if done < len(t.plan.Steps) {
		if err := m.steps(ctx, done); err != nil {
			return err
		}
	}
	return m.content(ctx)
}

// restore puts the layers that are in the cache on the disk, and says how many
// steps they hold. One that turns out damaged, or made on another disk, ends
// the row.
func (m *machineTree) restore(ctx context.Context) (steps int, err error) {
	for n := 1; n <= len(m.t.plan.Steps) && m.cache.Has(m.layerKey(n)); n++ {
		err := m.cache.Read(ctx, m.layerKey(n), m.chain.Load)
		switch {
		case errors.Is(err, engine.ErrOtherDisk): // of another build, which has replaced those below
			return m.chain.Layers(), nil
		case errors.Is(err, cache.ErrDamaged), errors.Is(err, fs.ErrNotExist):
			m.task.Warn("%v; using an older checkpoint", err)
			return m.chain.Layers(), m.chain.Forget(n - 1)
		case err != nil:
			return 0, err
		}
	}
	return m.chain.Layers(), nil
}

// fromCache copies an entry into a file, which is removed if it is damaged.
func (m *machineTree) fromCache(ctx context.Context, key, path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return run.Explain(err)
	}
	err = m.cache.Read(ctx, key, func(r io.Reader) error {
		_, err := io.Copy(f, r)
		return run.Explain(err)
	})
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

// keepLayer keeps the layer of step n, which does not change any more.
func (m *machineTree) keepLayer(ctx context.Context, n int) {
	m.keepLater(ctx, m.layerKey(n), m.chain.Saver(n))
}

// steps runs the steps after the first done ones.
func (m *machineTree) steps(ctx context.Context, done int) (err error) {
	machine, err := m.boot(ctx, done)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil && ctx.Err() == nil {
			m.keepMachine(ctx, machine)
		}
		err = errors.Join(err, machine.Close(ctx))
	}()
	for i := done; i < len(m.t.plan.Steps); i++ {
		step, err := m.step(m.t.plan.Steps, i)
		if err != nil {
			return err
		}
		start := time.Now()
		if err := provision.Run(ctx, step, machine, m.task); err != nil {
			return err
		}
		if i+1 < len(m.t.plan.Steps) {
			if err := m.checkpoint(ctx, machine, i+1); err != nil {
				return err
			}
		}
		m.t.result.Steps = append(m.t.result.Steps, StepResult{Name: m.t.plan.Steps[i].Name, Seconds: seconds(start)})
	}
	// What a service still has in memory is on the disk after an orderly end
	// only, so the last checkpoint is the disk of a machine that is switched off.
	err = report.Do(m.task, "shut the machine down", func(report.Task) error { return machine.Shutdown(ctx) })
	if err != nil {
		return err
	}
	m.keepLayer(ctx, len(m.t.plan.Steps))
	return nil
}

func (m *machineTree) checkpoint(ctx context.Context, machine *engine.Machine, n int) error {
	if err := machine.Checkpoint(ctx); err != nil {
		return err
	}
	m.keepLayer(ctx, n)
	if !m.LiveCheckpoints {
		return nil
	}
	return m.keepLive(ctx, machine, n)
}

func (m *machineTree) keepLive(ctx context.Context, machine *engine.Machine, n int) error {
	return m.keep(ctx, m.liveKey(n), func(w io.Writer) error { return machine.SaveLive(ctx, w) }, m.task.Warn)
}

// boot starts the machine that goes on after the first done steps: from its
// saved state if there is one that fits, else from its disk.
func (m *machineTree) boot(ctx context.Context, done int) (machine *engine.Machine, err error) {
	hardware := engine.DefaultHardware()
	hardware.CPUs, hardware.Memory = m.t.plan.Machine.CPUs, m.t.plan.Machine.Memory
	if m.t.plan.Disk.Firmware == string(target.UEFI) {
		hardware.Firmware = target.UEFI
	}
	hardware, note := vm.Fit(hardware, vm.AvailableMemory())
	if note != "" {
		m.task.Warn("%s", note)
	}
	dir := filepath.Join(m.t.root.Path, "machine")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, run.Explain(err)
	}
	access, err := m.access(m.t)
	if err != nil {
		return nil, err
	}
	config := engine.Config{
		Chain: m.chain, Dir: dir, Hardware: hardware, Accel: m.Accel, Access: access, Epoch: m.t.epoch, Failed: m.keepMachine,
	}
	if done > 0 && m.LiveCheckpoints && m.cache.Has(m.liveKey(done)) {
		machine, err := m.resume(ctx, config, done)
		if machine != nil || err != nil {
			return machine, err
		}
	}
	err = report.Do(m.task, "boot the machine", func(task report.Task) (err error) {
		machine, err = engine.Boot(ctx, config, task)
		return err
	})
	if err != nil || done == 0 || !m.LiveCheckpoints {
		return machine, err
	}
	// Whoever mends a step mends it more than once, and boots for it once.
	if err := m.keepLive(ctx, machine, done); err != nil {
		return nil, errors.Join(err, machine.Close(ctx))
	}
	return machine, nil
}

// access reads the key that the template names, if it names one.
func (b *builder) access(t *builtTree) (entry.Access, error) {
	m := t.plan.Machine
	if m == nil {
		return entry.Access{}, nil
	}
	access := entry.Access{User: m.User, CloudInit: m.CloudInit}
	if m.Key == "" {
		return access, nil
	}
	path := m.Key
	if !filepath.IsAbs(path) {
		path = filepath.Join(b.dir, path)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return access, fault.Errorf(fault.Input, "machine.key: %w", err)
	}
	key, err := ssh.ParseKey(text)
	if err != nil {
		return access, fault.Errorf(fault.Input, "machine.key: %s: %w", path, err)
	}
	access.Keys = []gossh.Signer{key}
	return access, nil
}

// resume returns neither a machine nor an error where the state does not go
// on here and the disk has to be booted.
func (m *machineTree) resume(ctx context.Context, config engine.Config, done int) (machine *engine.Machine, err error) {
	err = m.cache.Read(ctx, m.liveKey(done), func(r io.Reader) (err error) {
		machine, err = engine.Resume(ctx, config, r, m.task)
		return err
	})
	if err == nil || ctx.Err() != nil {
		return machine, err
	}
	if machine != nil { // what it was made of is damaged
		err = errors.Join(err, machine.Close(ctx))
	}
	m.task.Warn("the saved state of the machine cannot be used: %v; booting its disk", err)
	return nil, m.chain.Forget(done)
}

// keepMachine adds a machine that failed to the failure bundle.
func (m *machineTree) keepMachine(ctx context.Context, machine *engine.Machine) {
	_, err := failure.KeepMachine(ctx, m.failureDir("machine"), machine, failure.Remains{
		Work: filepath.Dir(machine.SerialLog()), SerialLog: machine.SerialLog(), Script: machine.Command() + "\n", Secrets: m.Secrets,
	})
	if err != nil {
		m.task.Warn("the failure bundle is incomplete: %v", err)
	}
}

// content takes the root file system back out of the disk, which stays whole if
// it is kept.
func (m *machineTree) content(ctx context.Context) error {
	disk, err := m.chain.Open()
	if err != nil {
		return err
	}
	m.t.closers = append(m.t.closers, disk)
	if m.t.plan.KeepsDisk {
		m.t.whole = disk
		return nil
	}
	content, err := extract.Root(ctx, disk)
	if err != nil {
		return err
	}
	m.t.content = content
	return nil
}
