package iso

import (
	"context"
	"errors"
	"fmt"
	"image"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/guestweb"
	"github.com/org/imagebuild-action/internal/report"
	"github.com/org/imagebuild-action/internal/run"
	"github.com/org/imagebuild-action/internal/vm"
)

// workPrefix begins the work folder's name, beside the disk.
const workPrefix = "install-"

// WriteDisk runs the installer on an empty disk and writes it to path as a
// sparse raw file, whole or not at all. Work files go beside it, and are
// removed.
func (s *Source) WriteDisk(ctx context.Context, path string, task report.Task) (err error) {
	dir, remove, err := run.TempDir(filepath.Dir(path), workPrefix)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove()) }()
	if s.request.FailureDir != "" { // what an earlier one left says nothing of this one
		if err := os.RemoveAll(s.request.FailureDir); err != nil {
			return run.Explain(err)
		}
	}
	disk, err := run.CreateScratch(path)
	if err != nil {
		return err
	}
	defer disk.Abort()
	if err := disk.Truncate(int64(s.request.Disk)); err != nil {
		return run.Explain(err)
	}
	w := newWatch(task, s.askAfter)
	p, err := s.prepare(ctx, dir, disk.Name(), w.read, task)
	if err != nil {
		return err
	}
	if p.web != nil {
		defer func() { err = errors.Join(err, p.web.Close()) }()
	}
	p.config.Console = w
	if err := s.install(ctx, p, w, task); err != nil {
		return err
	}
	var stat unix.Stat_t
	if err := unix.Fstat(int(disk.Fd()), &stat); err != nil {
		return run.Explain(fmt.Errorf("stat %s: %w", path, err))
	}
	if stat.Blocks == 0 {
		return fault.Errorf(fault.Guest, "the installer powered off without having written to the disk; the last lines of its console:\n    %s", w.tail())
	}
	return disk.Commit()
}

// install runs the machine to its end.
func (s *Source) install(ctx context.Context, p *prepared, w *watch, task report.Task) (err error) {
	// The machine outlives the limit, so that its screen can be looked at.
	limited, cancel := context.WithTimeoutCause(ctx, s.config.Timeout, fault.Errorf(fault.Guest, "the installation is not finished after %s; raise timeout if it only needs longer", s.config.Timeout))
	defer cancel()
	started := time.Now()
	machine, err := vm.Start(ctx, p.config)
	if err != nil {
		return err
	}
	parent := context.WithoutCancel(ctx)
	defer func() {
		if err != nil && !errors.Is(err, context.Canceled) {
			err = s.explain(parent, machine, p, w, err, task)
		}
		err = errors.Join(err, machine.Close(parent))
	}()
	h := p.config.Hardware
	task.Note("installing under %s (%s), %d CPUs and %s; %s", machine.Accel, machine.AccelReason, h.CPUs, h.Memory.Human(), s.network())
	err = s.follow(limited, machine, p, w)
	w.end()
	if err != nil {
		return err
	}
	task.Note("the installer powered off after %s", time.Since(started).Round(time.Second))
	return nil
}

func (s *Source) network() string {
	if s.config.Network {
		return "it reaches the world"
	}
	return "it reaches nothing but its answers"
}

// follow types the keys and waits for the end, which is the guest powering off.
func (s *Source) follow(ctx context.Context, machine *vm.Machine, p *prepared, w *watch) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	alive := make(chan error, 1)
	go func() { alive <- w.alive(ctx, machine, filepath.Join(p.config.Dir, "look.png"), s.config.Silence) }()
	typed := make(chan error, 1)
	go func() { typed <- s.typeKeys(ctx, machine, p) }()
	defer func() { // both end with the context
		cancel(nil)
		for _, each := range []chan error{alive, typed} {
			if each != nil {
				<-each
			}
		}
	}()
	for {
		var err error
		select {
		case <-machine.Done():
			return ending(ctx, machine.Err(), p.kind)
		case <-ctx.Done():
			return context.Cause(ctx)
		case err = <-alive:
			alive = nil
		case err = <-typed:
			typed = nil
		}
		if err != nil && !ended(machine) { // its own end says more than what that did to a wait
			return err
		}
	}
}

func ended(machine *vm.Machine) bool {
	select {
	case <-machine.Done():
		return true
	default:
		return false
	}
}

// ending judges how the machine ended.
func ending(ctx context.Context, err error, k *kind) error {
	how := "end its answers with the command that does"
	if k != nil {
		how = "write into the answers: " + k.powerOff
	}
	switch {
	case errors.Is(err, vm.ErrPoweredOff):
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, vm.ErrRebooted):
		return fault.Errorf(fault.Guest, "the installer restarted the machine, and whether it had finished cannot be told; let it power off: %s", how)
	}
	return fault.Wrap(fault.Guest, err)
}

// typeKeys types what the template says, each when the screen is ready.
func (s *Source) typeKeys(ctx context.Context, machine *vm.Machine, p *prepared) error {
	scratch := filepath.Join(p.config.Dir, "screen.png")
	for i, k := range s.config.Keys {
		wait := func(picture image.Image) error {
			if picture != nil {
				return machine.WaitPicture(ctx, picture, scratch, k.Timeout)
			}
			return machine.WaitSettled(ctx, scratch, k.Timeout)
		}
		if err := wait(p.pictures[i]); err != nil {
			return fmt.Errorf("keys[%d]: %w", i, err)
		}
		if err := machine.SendKeys(ctx, k.Type); err != nil {
			return fmt.Errorf("keys[%d]: %w", i, err)
		}
	}
	return nil
}

// explain keeps what is needed to understand a failure, and says where it is.
func (s *Source) explain(ctx context.Context, machine *vm.Machine, p *prepared, w *watch, err error, task report.Task) error {
	text := "\n  last lines of the console:\n    " + w.tail()
	if p.web != nil && !w.served() {
		text += "\n  the installer did not ask for its answers at " + guestweb.URL(p.kind.file)
	}
	if dir := s.request.FailureDir; dir != "" {
		if keepErr := keep(ctx, machine, p, dir); keepErr != nil {
			task.Warn("the failure bundle is incomplete: %v", keepErr)
		}
		text += "\n  kept in " + dir + ": serial.log, and screen.png if the machine was still there"
	}
	return fault.Wrap(fault.Guest, fmt.Errorf("%w%s\n  the machine was: %s", err, text, machine.Command()))
}

const keepTimeout = 20 * time.Second

func keep(ctx context.Context, machine *vm.Machine, p *prepared, dir string) error {
	ctx, cancel := context.WithTimeout(ctx, keepTimeout)
	defer cancel()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return run.Explain(err)
	}
	var errs []error
	screen := filepath.Join(p.config.Dir, "last.png")
	// A machine that has ended has no screen.
	if err := machine.Screendump(ctx, screen); err == nil {
		errs = append(errs, move(screen, filepath.Join(dir, "screen.png")))
	}
	return errors.Join(append(errs, move(p.config.SerialLog, filepath.Join(dir, "serial.log")))...)
}

func move(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return run.Explain(err)
	}
	defer in.Close()
	out, err := run.CreateFile(to)
	if err != nil {
		return err
	}
	defer out.Abort()
	if _, err := out.ReadFrom(in); err != nil {
		return run.Explain(err)
	}
	return out.Commit()
}
