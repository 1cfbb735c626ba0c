// Package ec2host runs the instances of a test's cloud as virtual machines that
// take themselves for EC2's: the firmware says Amazon, the disk is NVMe, and at
// http://169.254.169.254/ is a metadata service, which only the guest reaches.
//
//	func TestMain(m *testing.M) {
//		if ec2host.Relay() {
//			return
//		}
//		os.Exit(m.Run())
//	}
//	host := ec2host.New(t, ec2host.Options{})
//	server := awstest.New(t, awstest.Options{Hypervisor: host})
//	... an instance's ssh is at its public address, on port host.Port() ...
//
// Every guest has an address of loopback's to itself, and the same port.
//
// It refuses nothing that QEMU takes, and is not EC2: the network card is
// virtio, there is no ENA, no second disk and no link between guests. Only
// tests use it.
package ec2host

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/org/imagebuild-action/internal/awstest"
	"github.com/org/imagebuild-action/internal/guestweb"
	"github.com/org/imagebuild-action/internal/size"
	"github.com/org/imagebuild-action/internal/target"
	"github.com/org/imagebuild-action/internal/vm"
)

// T is what a host needs of a *testing.T.
type T interface {
	Helper()
	Logf(format string, args ...any)
	Fatalf(format string, args ...any)
	Cleanup(func())
	TempDir() string
}

// Options of a host. The zero value is good.
type Options struct {
	Memory size.Bytes // of each guest; 1 GiB unless set
	CPUs   int        // 2 unless set
	// PowerOff is how long a guest may take to switch itself off; then it is
	// cut off. Two minutes unless set: EC2 gives more.
	PowerOff time.Duration
	// Console prints what the guests say on their serial ports.
	Console bool
}

// Host is an awstest.Hypervisor. It ends with the test, and its guests with it.
type Host struct {
	t        T
	opts     Options
	reserved net.Listener // keeps the port from other hosts
	port     int
	dir      string

	mu     sync.Mutex
	guests map[string]*guest
	next   int
}

// New makes a host without guests.
func New(t T, opts Options) *Host {
	t.Helper()
	if opts.PowerOff == 0 {
		opts.PowerOff = 2 * time.Minute
	}
	reserved, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // it is bound at once
	if err != nil {
		t.Fatalf("ec2host: %v", err)
	}
	h := &Host{t: t, opts: opts, reserved: reserved, port: reserved.Addr().(*net.TCPAddr).Port, dir: t.TempDir(), guests: map[string]*guest{}}
	t.Cleanup(h.close)
	return h
}

// processor is quick to emulate, and has what Debian and Ubuntu ask for.
const processor = "Nehalem"

// Relay says whether this process was started by the emulator to reach a guest's
// metadata service; then it has done so, and the program is to end.
func Relay() bool {
	if !guestweb.Invoked(os.Args) {
		return false
	}
	// A guest whose connection breaks asks again, or is at its end.
	_ = guestweb.Relay(context.Background(), os.Args, os.Stdin, os.Stdout)
	return true
}

// Port is that of every guest's ssh server.
func (h *Host) Port() int { return h.port }

// Running counts the guests that are on.
func (h *Host) Running() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := 0
	for _, g := range h.guests {
		if g.machine != nil && g.machine.Err() == nil {
			n++
		}
	}
	return n
}

func (h *Host) close() {
	h.mu.Lock()
	ids := make([]string, 0, len(h.guests))
	for id := range h.guests {
		ids = append(ids, id)
	}
	h.mu.Unlock()
	for _, id := range ids {
		h.Destroy(id)
	}
	_ = h.reserved.Close()
}

// guest is one virtual machine.
type guest struct {
	machine *vm.Machine
	web     *guestweb.Server
	door    *door
	console *tail

	mu      sync.Mutex
	stopped bool // on our side
	watched chan struct{}
}

// cardAddress is that of QEMU's first network card.
const cardAddress = "52:54:00:12:34:56"

// The network that the metadata service is in. The guest is .15 in it.
const (
	metadataAddress = "169.254.169.254"
	metadataNet     = "169.254.169.0/24"
	guestAddress    = "169.254.169.15"
)

// Start implements awstest.Hypervisor.
func (h *Host) Start(ctx context.Context, its awstest.Guest) (address string, err error) {
	h.mu.Lock()
	h.next++
	address = fmt.Sprintf("127.0.%d.%d", 1+h.next/250, 1+h.next%250)
	h.mu.Unlock()
	g := &guest{console: &tail{}, watched: make(chan struct{})}
	defer func() {
		if err != nil {
			err = errors.Join(err, g.close(context.WithoutCancel(ctx)))
		}
	}()
	if g.web, err = guestweb.Serve(newMetadata(its, address)); err != nil {
		return "", err
	}
	config := vm.Config{
		Hardware: target.Hardware{CPUs: h.opts.CPUs, Memory: h.opts.Memory, Controller: target.NVMe, NIC: target.VirtioNet, Firmware: target.BIOS},
		Disks:    []vm.Disk{{Path: its.Disk, Format: "raw"}},
		CPU:      processor, UUID: systemUUID(its.ID), Extra: firmwareTables(its),
		Subnet: metadataNet, Services: []vm.Service{{Address: metadataAddress, Port: 80, Command: g.web.Command()}},
		Dir: h.dir, Console: g.console,
	}
	if its.UEFI {
		config.Hardware.Firmware = target.UEFI
	}
	if h.opts.Console {
		config.OnSerial = func(line string) { h.t.Logf("%s: %s", its.ID, line) }
	}
	if g.machine, err = vm.Start(ctx, config); err != nil {
		return "", err
	}
	if g.door, err = open(ctx, net.JoinHostPort(address, strconv.Itoa(h.port)), g.machine.SSHAddr()); err != nil {
		return "", err
	}
	h.mu.Lock()
	h.guests[its.ID] = g
	h.mu.Unlock()
	go g.watch(its.Off)
	return address, nil
}

// watch tells when the guest has switched itself off.
func (g *guest) watch(off func()) {
	defer close(g.watched)
	<-g.machine.Done()
	g.mu.Lock()
	ours := g.stopped
	g.mu.Unlock()
	if !ours && errors.Is(g.machine.Err(), vm.ErrPoweredOff) && off != nil {
		off()
	}
}

func (g *guest) ours() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.stopped = true
}

// close takes the guest apart, whatever there is of it. It may be called again.
func (g *guest) close(ctx context.Context) error {
	var errs []error
	if g.door != nil {
		g.door.close()
	}
	if g.machine != nil {
		g.ours()
		errs = append(errs, g.machine.Close(ctx))
	}
	if g.web != nil {
		errs = append(errs, g.web.Close())
		g.web = nil
	}
	return errors.Join(errs...)
}

func (h *Host) guest(id string) *guest {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.guests[id]
}

// Stop implements awstest.Hypervisor.
func (h *Host) Stop(ctx context.Context, id string) error {
	g := h.guest(id)
	if g == nil {
		return fmt.Errorf("there is no guest %s", id)
	}
	g.ours()
	if err := g.machine.Shutdown(ctx, h.opts.PowerOff); err != nil && !errors.Is(err, vm.ErrPoweredOff) {
		h.t.Logf("%s is cut off: %v", id, err)
	}
	return g.close(ctx)
}

// Destroy implements awstest.Hypervisor.
func (h *Host) Destroy(id string) {
	g := h.guest(id)
	if g == nil {
		return
	}
	if err := g.close(context.Background()); err != nil {
		h.t.Logf("destroy %s: %v", id, err)
	}
	<-g.watched
}

// Console implements awstest.Console.
func (h *Host) Console(id string) string {
	if g := h.guest(id); g != nil {
		return g.console.String()
	}
	return ""
}
