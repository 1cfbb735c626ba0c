package vm

import (
	"fmt"
	"os"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Numbers of the KVM API (Linux, Documentation/virt/kvm/api.rst, x86).
const (
	kvmDevice           = "/dev/kvm"
	kvmGetAPIVersion    = 0xae00
	kvmCreateVM         = 0xae01
	kvmGetVCPUMmapSize  = 0xae04
	kvmCreateVCPU       = 0xae41
	kvmSetMemoryRegion  = 0x4020ae46
	kvmRun              = 0xae80
	kvmSetRegs          = 0x4090ae82
	kvmGetSregs         = 0x8138ae83
	kvmSetSregs         = 0x4138ae84
	kvmAPIVersion       = 12
	kvmExitHLT          = 5
	kvmExitReasonOffset = 8   // of exit_reason in struct kvm_run
	kvmSregsBytes       = 312 // struct kvm_sregs; the code segment comes first
	kvmProbeLimit       = 400 * time.Millisecond
)

// kvmProbeCode is real-mode code that counts from two million down to zero and
// halts: mov ecx, 2000000; dec ecx; jnz -4; hlt. A processor that really runs
// guests takes a few milliseconds; one that has them emulated, instruction by
// instruction, takes seconds, and would take hours to boot.
var kvmProbeCode = [...]byte{0x66, 0xb9, 0x80, 0x84, 0x1e, 0x00, 0x66, 0x49, 0x75, 0xfc, 0xf4}

// probeKVM runs a few instructions in a virtual machine. That the device can
// be opened proves nothing: there are hosts where it opens and no guest runs.
func probeKVM() error {
	dev, err := os.OpenFile(kvmDevice, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer dev.Close()
	result := make(chan error, 1)
	go func() {
		// The thread is not given back: it may have been hit by our signal.
		runtime.LockOSThread()
		result <- runProbe(int(dev.Fd()))
	}()
	return <-result
}

func runProbe(dev int) error {
	if v, err := ioctl(dev, kvmGetAPIVersion, 0); err != nil || v != kvmAPIVersion {
		return fmt.Errorf("%s: API version %d, need %d (%w)", kvmDevice, v, kvmAPIVersion, err)
	}
	vm, err := ioctl(dev, kvmCreateVM, 0)
	if err != nil {
		return fmt.Errorf("%s: create a machine: %w", kvmDevice, err)
	}
	defer unix.Close(vm) //nolint:errcheck // a probe
	const memoryBytes = 4096
	memory, err := unix.Mmap(-1, 0, memoryBytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("%s: %w", kvmDevice, err)
	}
	defer unix.Munmap(memory) //nolint:errcheck // a probe
	copy(memory, kvmProbeCode[:])
	region := struct {
		slot, flags                     uint32
		guestPhys, sizeBytes, userspace uint64
	}{sizeBytes: memoryBytes, userspace: uint64(uintptr(unsafe.Pointer(&memory[0])))}
	if _, err := ioctl(vm, kvmSetMemoryRegion, uintptr(unsafe.Pointer(&region))); err != nil {
		return fmt.Errorf("%s: map memory: %w", kvmDevice, err)
	}
	cpu, err := ioctl(vm, kvmCreateVCPU, 0)
	if err != nil {
		return fmt.Errorf("%s: create a processor: %w", kvmDevice, err)
	}
	defer unix.Close(cpu) //nolint:errcheck // a probe
	sizeBytes, err := ioctl(dev, kvmGetVCPUMmapSize, 0)
	if err != nil {
		return fmt.Errorf("%s: %w", kvmDevice, err)
	}
	state, err := unix.Mmap(cpu, 0, sizeBytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("%s: %w", kvmDevice, err)
	}
	defer unix.Munmap(state) //nolint:errcheck // a probe
	if err := resetProcessor(cpu); err != nil {
		return fmt.Errorf("%s: set registers: %w", kvmDevice, err)
	}
	started := time.Now()
	tid := unix.Gettid()
	// SIGURG is what Go's own scheduler interrupts threads with, so it is
	// harmless; it makes the kernel leave the guest.
	stop := interruptAfter(kvmProbeLimit, tid)
	defer stop()
	for {
		_, err := ioctl(cpu, kvmRun, 0)
		switch {
		case err == nil && state[kvmExitReasonOffset] == kvmExitHLT:
			return nil
		case err == nil:
			return fmt.Errorf("%s opens but does not run a guest (exit reason %d)", kvmDevice, state[kvmExitReasonOffset])
		case err != unix.EINTR: //nolint:errorlint // ioctl returns bare numbers
			return fmt.Errorf("%s opens but does not run a guest: %w", kvmDevice, err)
		case time.Since(started) >= kvmProbeLimit:
			return fmt.Errorf("%s opens but does not run a guest in hardware (a millisecond's work took more than %s)", kvmDevice, kvmProbeLimit)
		}
	}
}

// interruptAfter signals the thread from limit on until stop is called: again
// and again, because one signal may arrive while it is not in the guest.
func interruptAfter(limit time.Duration, tid int) (stop func()) {
	done := make(chan struct{})
	go func() {
		timer := time.NewTimer(limit)
		defer timer.Stop()
		for {
			select {
			case <-done:
				return
			case <-timer.C:
				_ = unix.Tgkill(unix.Getpid(), tid, unix.SIGURG)
				timer.Reset(10 * time.Millisecond)
			}
		}
	}()
	return func() { close(done) }
}

// resetProcessor points the processor at address zero in real mode.
func resetProcessor(cpu int) error {
	var sregs [kvmSregsBytes]byte
	if _, err := ioctl(cpu, kvmGetSregs, uintptr(unsafe.Pointer(&sregs))); err != nil {
		return err
	}
	clear(sregs[:8])    // cs.base
	clear(sregs[12:14]) // cs.selector
	if _, err := ioctl(cpu, kvmSetSregs, uintptr(unsafe.Pointer(&sregs))); err != nil {
		return err
	}
	var regs [18]uint64 // struct kvm_regs: rip is 16, rflags 17, with bit 1 always set
	regs[17] = 2
	_, err := ioctl(cpu, kvmSetRegs, uintptr(unsafe.Pointer(&regs)))
	return err
}

func ioctl(fd int, request, argument uintptr) (int, error) {
	n, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, argument)
	if errno != 0 {
		return int(n), errno
	}
	return int(n), nil
}
