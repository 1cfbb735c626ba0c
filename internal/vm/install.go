package vm

import (
	"fmt"
	"strconv"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/run"
)

// Service is a TCP port in the guest's own network. For every connection that
// the guest opens, QEMU starts Command with the connection as its standard
// input and output. Nobody but the guest can reach it, and it is there with
// Config.Restrict too (qemu(1), guestfwd).
type Service struct {
	Address string // in the guest's network, apart from the addresses that QEMU uses itself (.2 to .4, .15)
	Port    int
	Command []string // an absolute path and its arguments
}

// option renders the service as part of a -netdev.
func (s Service) option() string {
	return ",guestfwd=tcp:" + s.Address + ":" + strconv.Itoa(s.Port) + "-cmd:" + escape(run.Quote(s.Command))
}

// boot adds what is booted in place of a disk's own boot loader, and what a
// reset does.
func (a *arguments) boot(c Config) {
	if c.Kernel != "" {
		a.add("-kernel", c.Kernel)
		if c.Initrd != "" {
			a.add("-initrd", c.Initrd)
		}
		if c.Append != "" {
			a.add("-append", c.Append)
		}
	}
	if c.NoReboot {
		a.add("-no-reboot")
	}
}

// held tells whether the machine stands still until we are connected: a kernel
// that is started directly may be at its end before that.
func (c Config) held() bool { return c.Kernel != "" && !c.Incoming }

// maxAppend is the longest command line that x86 kernels take
// (COMMAND_LINE_SIZE), its terminating zero included.
const maxAppend = 2048

// validateBoot checks what is booted in place of a boot loader, and the
// services.
func (c Config) validateBoot() error {
	if c.Kernel == "" && (c.Initrd != "" || c.Append != "") {
		return fault.Errorf(fault.Input, "an initrd or a kernel command line without a kernel; give the kernel too")
	}
	if len(c.Append) >= maxAppend {
		return fault.Errorf(fault.Input, "a kernel command line of %d bytes: the kernel takes %d", len(c.Append), maxAppend-1)
	}
	for _, each := range c.Services {
		if c.NoNetwork || len(each.Command) == 0 {
			return fmt.Errorf("service %s:%d: it needs a network card and a command", each.Address, each.Port)
		}
	}
	return nil
}
