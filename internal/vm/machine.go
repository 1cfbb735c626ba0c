package vm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/run"
	"github.com/org/imagebuild-action/internal/target"
)

// Machine is a running QEMU.
type Machine struct {
	// Accel and AccelReason are what executes the guest, and why.
	Accel       Accel
	AccelReason string

	argv    []string
	process *run.Process
	control *qmp
	serial  *serial
	stderr  *run.Tail
	sshAddr string
	cancel  context.CancelFunc
	done    chan struct{}
	// migration receives the states of a transfer of the machine's state.
	migration chan string

	mu     sync.Mutex
	reason string // of QEMU's SHUTDOWN event
	err    error  // why done is closed
}

// Reasons why a machine is not there any more.
var (
	// ErrPoweredOff is a guest that switched itself off.
	ErrPoweredOff = errors.New("the guest powered off")
	// ErrStuck is a guest that waits for a person: a panic, an emergency shell.
	ErrStuck = errors.New("the guest is stuck")
	// ErrRebooted is a guest that started again although Config.NoReboot says
	// that it should not.
	ErrRebooted = errors.New("the guest rebooted")
)

// Start starts a machine, which runs until Close, until ctx ends, or until it
// ends by itself. The ssh port is bound to the loopback device only.
func Start(ctx context.Context, config Config) (_ *Machine, err error) {
	accel, reason, err := ChooseAccel(config.Accel)
	if err != nil {
		return nil, err
	}
	config.Accel = accel
	if config.Hardware.Firmware == target.UEFI && config.Firmware == (FirmwareFiles{}) {
		if config.Firmware, err = FindFirmware(); err != nil {
			return nil, err
		}
	}
	argv, err := Argv(config)
	if err != nil {
		return nil, err
	}
	ours, theirs, err := socketPair()
	if err != nil {
		return nil, fault.Wrap(fault.Environment, err)
	}
	defer theirs.Close()
	console, err := newSerial(config.SerialLog, config.OnSerial, config.Console)
	if err != nil {
		return nil, errors.Join(err, ours.Close())
	}
	env := run.Environ()
	if config.Dir != "" {
		env = append(env, "TMPDIR="+config.Dir)
	}
	ctx, cancel := context.WithCancel(ctx)
	m := &Machine{
		Accel: accel, AccelReason: reason,
		argv: argv, serial: console, stderr: &run.Tail{}, cancel: cancel, done: make(chan struct{}), migration: make(chan string, 16),
	}
	control := []string{"-chardev", "socket,id=qmp,fd=3", "-mon", "chardev=qmp,mode=control"}
	if config.held() {
		control = append(control, "-S")
	}
	m.process, err = run.Start(ctx, run.Spec{
		Argv: append(argv[:len(argv):len(argv)], control...),
		Env:  env, Stdout: console, Stderr: m.stderr, ExtraFiles: []*os.File{theirs}, Group: true,
	})
	if err != nil {
		cancel()
		console.close()
		return nil, errors.Join(explainStart(err), ours.Close())
	}
	timeout := config.StartTimeout
	if timeout == 0 {
		timeout = DefaultStartTimeout
	}
	startCtx, cancelStart := context.WithTimeout(ctx, timeout)
	defer cancelStart()
	_ = theirs.Close() // or we would never see the end of QEMU on ours
	if err := m.connect(startCtx, ours, !config.NoNetwork); err != nil {
		return nil, m.startFailed(ctx, err)
	}
	if config.held() {
		if _, err := m.control.execute(startCtx, "cont", nil); err != nil {
			return nil, m.startFailed(ctx, err)
		}
	}
	go m.supervise()
	return m, nil
}

// startFailed prefers what QEMU said over what its socket did.
func (m *Machine) startFailed(ctx context.Context, err error) error {
	cancelled := ctx.Err() != nil
	m.process.Kill()
	_ = m.process.Wait()
	if m.control != nil {
		_ = m.control.close()
	}
	m.serial.close()
	if cancelled {
		err = endedError(ctx, "start QEMU")
		m.cancel()
		return err
	}
	m.cancel()
	if said := m.stderr.String(); said != "" {
		err = errors.New(said)
	}
	return fault.Errorf(fault.Environment, "start QEMU: %w\n  %s", err, m.Command())
}

func explainStart(err error) error {
	if strings.Contains(err.Error(), "command not found") {
		return fault.Errorf(fault.Environment, "%s: command not found; install the package qemu-system-x86", Binary)
	}
	return err
}

// socketPair makes a connected control channel without a name: nothing to
// clean up, no limit on the length of a path, nobody else can connect.
func socketPair() (ours net.Conn, theirs *os.File, err error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("socketpair: %w", err)
	}
	file := os.NewFile(uintptr(fds[0]), "qmp")
	defer file.Close()
	theirs = os.NewFile(uintptr(fds[1]), "qmp-qemu")
	if ours, err = net.FileConn(file); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("socketpair: %w", err), theirs.Close())
	}
	return ours, theirs, nil
}

func (m *Machine) connect(ctx context.Context, conn net.Conn, network bool) error {
	control, err := newQMP(ctx, conn, m.event)
	if err != nil {
		return err
	}
	m.control = control
	if !network {
		return nil
	}
	answer, err := control.execute(ctx, "human-monitor-command", map[string]string{"command-line": "info usernet"})
	if err != nil {
		return err
	}
	var table string
	if err := json.Unmarshal(answer, &table); err != nil {
		return fmt.Errorf("info usernet: %w", err)
	}
	m.sshAddr, err = forwardedAddr(table)
	return err
}

var forwardLine = regexp.MustCompile(`TCP\[HOST_FORWARD\]\s+\d+\s+(127\.0\.0\.1)\s+(\d+)\s`)

func forwardedAddr(table string) (string, error) {
	match := forwardLine.FindStringSubmatch(table)
	if match == nil {
		return "", fmt.Errorf("info usernet names no forwarded port: %q", table)
	}
	return net.JoinHostPort(match[1], match[2]), nil
}

func (m *Machine) event(name string, data json.RawMessage) {
	if name == "MIGRATION" {
		m.noteMigration(data)
	}
	if name != "SHUTDOWN" {
		return
	}
	var shutdown struct{ Reason string }
	_ = json.Unmarshal(data, &shutdown)
	m.mu.Lock()
	m.reason = shutdown.Reason
	m.mu.Unlock()
}

func (m *Machine) supervise() {
	defer close(m.done)
	select {
	case <-m.process.Done():
	case <-m.serial.stuck:
		// QEMU stays, so that its screen can be looked at.
		m.end(fmt.Errorf("%w: %s", ErrStuck, m.serial.fatalLine()))
		return
	}
	err := m.process.Wait() // the console's pipe is empty now
	m.serial.flush()
	<-m.control.done // the last events
	m.mu.Lock()
	reason := m.reason
	m.mu.Unlock()
	switch {
	case err != nil:
		if said := m.stderr.String(); said != "" {
			err = fmt.Errorf("%w: %s", err, said)
		}
		m.end(fmt.Errorf("QEMU ended: %w", err))
	case reason == "" || strings.HasPrefix(reason, "guest-shutdown"):
		m.end(ErrPoweredOff)
	case reason == "guest-reset":
		m.end(ErrRebooted)
	default:
		m.end(fmt.Errorf("QEMU ended: %s", reason))
	}
}

func (m *Machine) end(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.err = err
}

// SSHAddr is where the guest's port 22 is reached, as "127.0.0.1:40123".
func (m *Machine) SSHAddr() string { return m.sshAddr }

// Command is the command line that starts this machine again, quoted.
func (m *Machine) Command() string { return run.Quote(m.argv) }

// Done is closed when there is nothing left to wait for: QEMU has ended, or
// the guest is stuck.
func (m *Machine) Done() <-chan struct{} { return m.done }

// Err says why Done is closed; nil before.
func (m *Machine) Err() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.err
}

// Up is closed when a guest that boots from now on may answer: as soon as its
// console asks for a login, and, as not every image has a console there, after
// a while. QEMU's network holds a connection that is begun earlier, and the
// guest gets all that were given up since, when it has other things to do.
func (m *Machine) Up() <-chan struct{} {
	prompt, up := m.serial.nextPrompt(), make(chan struct{})
	go func() {
		defer close(up)
		while := time.NewTimer(map[Accel]time.Duration{KVM: 2 * time.Second, TCG: 30 * time.Second}[m.Accel])
		defer while.Stop()
		select {
		case <-prompt:
		case <-while.C:
		case <-m.done:
		}
	}()
	return up
}

// Serial returns the last lines of the serial console, without control
// characters. It is untrusted text.
func (m *Machine) Serial() []string { return m.serial.last() }

// Context returns a context that ends with ctx or with the machine, whose Err
// is then its cause.
func (m *Machine) Context(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		select {
		case <-m.done:
			cancel(m.Err())
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(context.Canceled) }
}

// Screendump writes the guest's screen to path as PNG.
func (m *Machine) Screendump(ctx context.Context, path string) error {
	_, err := m.control.execute(ctx, "screendump", map[string]string{"filename": path, "format": "png"})
	return err
}

// Reset is the machine's reset button.
func (m *Machine) Reset(ctx context.Context) error {
	_, err := m.control.execute(ctx, "system_reset", nil)
	return err
}

// Shutdown presses the power button (ACPI) and waits at most limit for the
// guest to switch itself off. The machine must be closed either way.
func (m *Machine) Shutdown(ctx context.Context, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if _, err := m.control.execute(ctx, "system_powerdown", nil); err != nil {
		select {
		case <-m.done: // it was faster than we were
		default:
			return fmt.Errorf("shut the guest down: %w", err)
		}
	}
	select {
	case <-m.done:
		if err := m.Err(); !errors.Is(err, ErrPoweredOff) {
			return fmt.Errorf("shut the guest down: %w", err)
		}
		return nil
	case <-ctx.Done():
		return fault.Errorf(fault.Guest, "the guest did not switch itself off within %s", limit)
	}
}

const quitTimeout = 5 * time.Second

// Close ends the machine, however it is, and waits until nothing is left of
// it. It works after a cancellation too; closing twice is harmless.
func (m *Machine) Close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), quitTimeout)
	defer cancel()
	// QEMU flushes on quit; a killed one might leave a written disk torn.
	if _, err := m.control.execute(ctx, "quit", nil); err == nil {
		select {
		case <-m.process.Done():
		case <-ctx.Done():
		}
	}
	m.process.Kill()
	_ = m.process.Wait()
	m.cancel()
	<-m.done
	_ = m.control.close()
	m.serial.close()
	return nil
}
