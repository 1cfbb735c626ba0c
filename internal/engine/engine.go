// Package engine runs steps in a booted machine, over SSH, and keeps the disk
// as it was after each of them.
//
//	chain := engine.NewChain(dir, id) // with a bootable disk at chain.Base()
//	machine, err := engine.Boot(ctx, engine.Config{Chain: chain, Dir: dir, Epoch: epoch}, task)
//	defer machine.Close(ctx)
//	err = step.Do(ctx, machine, task)
//	err = machine.Checkpoint(ctx) // chain.Layers() grows by one
//	...
//	err = machine.Shutdown(ctx)
//	disk, err := chain.Open()
//
// A checkpoint is taken of a running guest whose file systems are frozen for
// a moment, so what it holds is whole and needs no repair. A machine can be
// made to go on from a saved state, memory and all, without a boot.
//
// A step sees the date and the environment that it would see in a chroot. It
// refuses guests that it cannot enter by a key, and file systems are frozen
// only where the guest has fsfreeze(8).
package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/org/imagebuild-action/internal/entry"
	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/guest"
	"github.com/org/imagebuild-action/internal/report"
	"github.com/org/imagebuild-action/internal/run"
	"github.com/org/imagebuild-action/internal/ssh"
	"github.com/org/imagebuild-action/internal/target"
	"github.com/org/imagebuild-action/internal/vm"
)

// Config says what to boot.
type Config struct {
	Chain    *Chain
	Dir      string          // for the machine's own files
	Hardware target.Hardware // zero fields are filled in; see DefaultHardware
	Accel    vm.Accel
	Access   entry.Access // the zero value takes a key made for this machine, through systemd
	Epoch    time.Time    // what SOURCE_DATE_EPOCH says to the steps
	// BootTimeout bounds the time to SSH, ShutdownTimeout the guest's end.
	// Zero means the defaults.
	BootTimeout     time.Duration
	ShutdownTimeout time.Duration
	// Failed, if set, may look at a machine that does not come up, before it
	// is closed.
	Failed func(ctx context.Context, m *Machine)
}

// The defaults are for an emulated guest on a busy machine, where a boot takes
// a minute.
const (
	DefaultBootTimeout     = 10 * time.Minute
	DefaultShutdownTimeout = 3 * time.Minute
)

// DefaultHardware is what steps run on: fast devices that every Linux kernel
// of the last ten years has drivers for.
func DefaultHardware() target.Hardware {
	return target.Hardware{
		CPUs: vm.DefaultCPUs, Memory: vm.DefaultMemory, Firmware: target.BIOS, Controller: target.VirtioBlk, NIC: target.VirtioNet,
	}
}

// Machine is a booted guest.
type Machine struct {
	config  Config
	way     entry.Way
	uuid    string
	machine *vm.Machine
	client  *ssh.Client
	env     []string
	seen    entry.Seen
	serial  string
	life    context.Context //nolint:containedctx // the machine's: it ends with it, over all restarts
	direct  bool            // the kernel was started by QEMU, and a restart ends the machine
	eased   string          // what was done to that kernel before
}

var (
	_ guest.Guest    = (*Machine)(nil)
	_ guest.Rebooter = (*Machine)(nil)
	_ guest.Sheller  = (*Machine)(nil)
)

// Boot starts a machine on a new layer of the chain, and returns when commands
// can be run in it.
func Boot(ctx context.Context, config Config, task report.Task) (*Machine, error) {
	m := newMachine(ctx, config)
	var err error
	if m.way, err = config.Access.Way(ctx, config.Dir, nil, entry.Credentials); err != nil {
		return nil, err
	}
	if m.uuid, err = vm.NewUUID(); err != nil {
		return nil, err
	}
	if _, err := config.Chain.Grow(ctx); err != nil {
		return nil, err
	}
	if err := m.start(ctx, start{direct: true}); err != nil {
		return nil, err
	}
	task.Note("booting under %s (%s)%s", strings.ToUpper(string(m.machine.Accel)), m.machine.AccelReason, m.eased)
	if err := m.enter(ctx, m.config.BootTimeout, m.machine.Up()); err != nil {
		return nil, m.giveUp(ctx, err)
	}
	task.Note("entered after %.0f s by %s, kernel %s", m.seen.Seconds, m.way.How, m.seen.Kernel)
	return m, nil
}

// giveUp ends a machine that did not come up.
func (m *Machine) giveUp(ctx context.Context, err error) error {
	if m.config.Failed != nil && ctx.Err() == nil {
		m.config.Failed(ctx, m)
	}
	return errors.Join(m.explain(ctx, err), m.Close(ctx))
}

func newMachine(life context.Context, config Config) *Machine {
	if config.BootTimeout == 0 {
		config.BootTimeout = DefaultBootTimeout
	}
	if config.ShutdownTimeout == 0 {
		config.ShutdownTimeout = DefaultShutdownTimeout
	}
	if config.Hardware == (target.Hardware{}) {
		config.Hardware = DefaultHardware()
	}
	return &Machine{life: life, config: config, env: environ(config.Epoch, run.Environ()), serial: filepath.Join(config.Dir, "serial.log")}
}

// start is how a machine begins.
type start struct {
	direct   bool // with the guest's own kernel, if it can be had
	incoming bool // from a saved state
}

// namedCPU is what a guest gets that is emulated: a model of 2008, which has
// all that today's distributions ask for (x86-64-v2) and none of the wide
// registers and levels of page tables that are slow to emulate.
const namedCPU = "Nehalem"

// cpu is the model of the guest's processors; empty means the host's.
func (c Config) cpu() (string, error) {
	accel, _, err := vm.ChooseAccel(c.Accel)
	if err != nil || accel != vm.TCG {
		return "", err
	}
	return namedCPU, nil
}

// start starts QEMU on the chain's last layer.
func (m *Machine) start(ctx context.Context, how start) error {
	config := vm.Config{
		Hardware:   m.config.Hardware,
		Disks:      []vm.Disk{{Path: m.config.Chain.Layer(m.config.Chain.Layers()), Format: "qcow2"}},
		Accel:      m.config.Accel,
		OEMStrings: m.way.OEMStrings,
		UUID:       m.uuid,
		Incoming:   how.incoming,
		Dir:        m.config.Dir,
		SerialLog:  m.serial,
	}
	if iso := m.way.SeedISO; iso != "" {
		config.Disks = append(config.Disks, vm.Disk{Path: iso, Format: "raw", CDROM: true})
	}
	var err error
	if config.CPU, err = m.config.cpu(); err != nil {
		return err
	}
	m.direct = false
	if how.direct {
		// A disk that we cannot read may boot all the same.
		kernel, err := readDirect(ctx, m.config.Chain, m.config.Dir)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if m.direct = err == nil && kernel != nil; m.direct {
			if config.CPU == namedCPU && !how.incoming { // emulated
				kernel.ease(ctx, config)
				m.eased = kernel.eased()
			}
			// Its kernel would be started again, and not what the disk has then.
			config.Kernel, config.Initrd, config.Append, config.NoReboot = kernel.kernel, kernel.initrd, kernel.append, true
		}
	}
	m.machine, err = vm.Start(m.life, config)
	return err
}

func (m *Machine) enter(ctx context.Context, timeout time.Duration, up <-chan struct{}) (err error) {
	ctx, cancel := m.machine.Context(ctx)
	defer cancel()
	m.client, m.seen, err = m.way.Enter(ctx, entry.Door{Addr: m.machine.SSHAddr(), UUID: m.uuid, Timeout: timeout, Up: up})
	return err
}

// slirpHost is the host as a guest sees it through QEMU's user network.
const slirpHost = "10.0.2.2"

// environ is what steps get besides their own variables: what they get in a
// chroot, but for what is true on the host alone. A proxy on the host's
// loopback device is where the guest can reach it.
func environ(epoch time.Time, host []string) []string {
	env := []string{"SOURCE_DATE_EPOCH=" + strconv.FormatInt(epoch.Unix(), 10)}
	for _, each := range host {
		name, value, _ := strings.Cut(each, "=")
		switch strings.ToLower(name) {
		case "path", "tmpdir", "lc_all", "home":
		case "http_proxy", "https_proxy", "ftp_proxy":
			env = append(env, name+"="+reachable(value))
		default:
			env = append(env, each)
		}
	}
	return env
}

func reachable(proxy string) string {
	u, err := url.Parse(proxy)
	if err != nil {
		return proxy
	}
	switch u.Hostname() {
	case "localhost", "127.0.0.1", "::1":
		u.Host = slirpHost + strings.TrimPrefix(u.Host, strings.TrimSuffix(u.Host, ":"+u.Port()))
	}
	return u.String()
}

// Run implements guest.Guest.
func (m *Machine) Run(ctx context.Context, command guest.Command) error {
	command.Env = append(m.env[:len(m.env):len(m.env)], command.Env...)
	return m.within(ctx, func(ctx context.Context) error { return m.client.Run(ctx, command) })
}

// Put implements guest.Guest.
func (m *Machine) Put(ctx context.Context, file guest.File, content io.Reader) error {
	return m.within(ctx, func(ctx context.Context) error { return m.client.Put(ctx, file, content) })
}

// Get implements guest.Guest.
func (m *Machine) Get(ctx context.Context, path string, to io.Writer) error {
	return m.within(ctx, func(ctx context.Context) error { return m.client.Get(ctx, path, to) })
}

// Shell implements guest.Sheller.
func (m *Machine) Shell(ctx context.Context, console guest.Console) error {
	return m.within(ctx, func(ctx context.Context) error { return m.client.Shell(ctx, console) })
}

// endGrace is how long after a lost connection the machine's own end is
// waited for: it says more.
const endGrace = 3 * time.Second

// within runs fn with a context that ends with the machine. Of a machine that
// ended, the reason is the error, whatever the connection says.
func (m *Machine) within(ctx context.Context, fn func(context.Context) error) error {
	alive, cancel := m.machine.Context(ctx)
	defer cancel()
	err := fn(alive)
	var exit *guest.ExitError
	if err == nil || errors.As(err, &exit) || ctx.Err() != nil {
		return err
	}
	if fault.KindOf(err) == fault.Guest {
		timer := time.NewTimer(endGrace)
		defer timer.Stop()
		select {
		case <-m.machine.Done():
		case <-timer.C:
		case <-ctx.Done():
		}
	}
	if ended := m.machine.Err(); ended != nil && !errors.Is(err, ended) {
		err = fmt.Errorf("%w: %w", ended, err)
	}
	if m.machine.Err() != nil {
		return fault.Wrap(fault.Guest, err)
	}
	return err
}
