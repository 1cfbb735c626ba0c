// Package run starts other programs, and is the only place that does.
//
// A child never outlives its context or this process. On cancellation its
// process group gets SIGTERM, then SIGKILL after Grace. When imagebuild itself
// is killed, the kernel kills the child (PR_SET_PDEATHSIG) and a guard kills
// the rest of its group.
//
//	err := run.Run(ctx, run.Spec{Argv: []string{"qemu-img", "check", path}})
//	// qemu-img check disk.qcow2: exit status 2: ERROR cluster 3 ...
package run

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/org/imagebuild-action/internal/fault"
)

// DefaultGrace is the time between SIGTERM and SIGKILL.
const DefaultGrace = 5 * time.Second

// Spec is a program to run.
type Spec struct {
	Argv       []string
	Dir        string
	Env        []string // complete; nil means Environ()
	Stdin      io.Reader
	Stdout     io.Writer // nil: kept for the error's tail
	Stderr     io.Writer // nil: kept for the error's tail
	ExtraFiles []*os.File
	Grace      time.Duration // zero means DefaultGrace
	// Group guards the whole process group, for programs that start others.
	Group bool
	// Scratch says that what the program writes goes with this process: its
	// fsync(2) and fdatasync(2) do nothing, where the kernel can be told so, and
	// set-user-ID programs are plain ones to it.
	Scratch bool
	// Sys adjusts the child's attributes, for namespaces and credentials.
	Sys func(*syscall.SysProcAttr)
}

// ExitError is a program that ran and failed.
type ExitError struct {
	Argv   []string
	Status int    // -1 when a signal ended it
	Signal string // name of the signal, or empty
	Tail   string // last output, trimmed
}

// Error quotes the command and its last output.
func (e *ExitError) Error() string {
	how := fmt.Sprintf("exit status %d", e.Status)
	if e.Signal != "" {
		how = "ended by signal: " + e.Signal
	}
	if e.Tail != "" {
		how += ": " + e.Tail
	}
	return Quote(e.Argv) + ": " + how
}

// Process is a running program.
type Process struct {
	spec Spec
	cmd  *exec.Cmd
	tail *Tail
	done chan struct{}
	err  error
}

// Run starts a program and waits for it.
func Run(ctx context.Context, spec Spec) error {
	p, err := Start(ctx, spec)
	if err != nil {
		return err
	}
	return p.Wait()
}

// Output runs a program and returns its standard output.
func Output(ctx context.Context, spec Spec) (string, error) {
	var out strings.Builder
	spec.Stdout = &out
	err := Run(ctx, spec)
	return out.String(), err
}

// Start starts a program. The caller must call Wait.
func Start(ctx context.Context, spec Spec) (*Process, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	p := &Process{spec: spec, tail: &Tail{}, done: make(chan struct{})}
	p.cmd = exec.Command(spec.Argv[0], spec.Argv[1:]...) //nolint:noctx // the context is honoured in supervise, with SIGTERM first
	p.cmd.Dir, p.cmd.Stdin, p.cmd.ExtraFiles = spec.Dir, spec.Stdin, spec.ExtraFiles
	if p.cmd.Env = spec.Env; p.cmd.Env == nil {
		p.cmd.Env = Environ()
	}
	p.cmd.Stdout, p.cmd.Stderr = orTail(spec.Stdout, p.tail), orTail(spec.Stderr, p.tail)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if spec.Sys != nil {
		spec.Sys(p.cmd.SysProcAttr)
	}
	// A background process of the child's may hold its pipes open for ever.
	p.cmd.WaitDelay = 2 * time.Second

	started := make(chan error, 1)
	exited := make(chan error, 1)
	go func() {
		// PDEATHSIG is sent when the starting *thread* ends, so keep it.
		runtime.LockOSThread()
		if spec.Scratch {
			// It syncs after all where that fails. The thread ends with us: nobody else
			// may have one that does not.
			_ = ignoreSync()
		} else {
			defer runtime.UnlockOSThread()
		}
		if err := p.cmd.Start(); err != nil {
			started <- startError(spec.Argv, err)
			return
		}
		started <- nil
		exited <- p.cmd.Wait()
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	release := func() {}
	if spec.Group {
		var err error
		if release, err = guardGroup(p.cmd.Process.Pid); err != nil {
			p.signal(syscall.SIGKILL)
			<-exited
			return nil, err
		}
	}
	go func() {
		defer close(p.done)
		defer release()
		p.err = p.supervise(ctx, exited)
	}()
	return p, nil
}

// Pid is the process id, which is also its group's.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Done is closed when the program has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Wait returns when the program has ended: nil, an *ExitError, or the
// context's error joined with it.
func (p *Process) Wait() error {
	<-p.done
	return p.err
}

// Kill ends the whole process group at once.
func (p *Process) Kill() { p.signal(syscall.SIGKILL) }

func (p *Process) supervise(ctx context.Context, exited <-chan error) error {
	gone := false
	select {
	case err := <-exited:
		if ctx.Err() == nil {
			return p.explain(err)
		}
		gone = true
	case <-ctx.Done():
		p.signal(syscall.SIGTERM)
		grace := p.spec.Grace
		if grace == 0 {
			grace = DefaultGrace
		}
		timer := time.NewTimer(grace)
		defer timer.Stop()
		select {
		case <-exited:
			gone = true
		case <-timer.C:
		}
	}
	p.signal(syscall.SIGKILL) // whoever of the group is left
	if !gone {
		select {
		case <-exited:
		case <-time.After(DefaultGrace): // uninterruptible sleep
		}
	}
	return fmt.Errorf("%s: %w", Quote(p.spec.Argv), context.Cause(ctx))
}

func (p *Process) signal(sig syscall.Signal) {
	_ = syscall.Kill(-p.cmd.Process.Pid, sig)
	_ = p.cmd.Process.Signal(sig)
}

func (p *Process) explain(err error) error {
	if err == nil || errors.Is(err, exec.ErrWaitDelay) {
		return nil
	}
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return fmt.Errorf("%s: %w", Quote(p.spec.Argv), err)
	}
	e := &ExitError{Argv: p.spec.Argv, Status: exit.ExitCode(), Tail: p.tail.String()}
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		e.Signal = status.Signal().String()
	}
	return e
}

func startError(argv []string, err error) error {
	if errors.Is(err, exec.ErrNotFound) {
		return fault.Errorf(fault.Environment, "%s: command not found; install it", argv[0])
	}
	return fault.Wrap(fault.Environment, fmt.Errorf("%s: %w", Quote(argv), err))
}

func orTail(w io.Writer, tail *Tail) io.Writer {
	if w == nil {
		return tail
	}
	return w
}
