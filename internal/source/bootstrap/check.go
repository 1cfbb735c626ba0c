package bootstrap

import (
	"context"
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/run"
)

// Check finds out whether the bootstrap can work on this machine: the tools,
// the distribution's keys, the rights. It changes nothing and needs no
// network. Each fault says its remedy.
func (b *Bootstrap) Check(context.Context) error {
	var errs []error
	for _, tool := range []struct{ name, pkg string }{{"mmdebstrap", "mmdebstrap"}, {"apt-get", "apt"}, {"dpkg", "dpkg"}, {"unshare", "util-linux"}} {
		if _, err := run.LookPath(tool.name); err != nil {
			errs = append(errs, fault.Errorf(fault.Environment, "%s is not installed; install the package %s", tool.name, tool.pkg))
		}
	}
	ring := keyrings[b.config.Distribution]
	if _, err := os.Stat(ring.path); err != nil {
		errs = append(errs, fault.Errorf(fault.Environment, "the keys of %s's archive are not there (%s); install the package %s", b.config.Distribution, ring.path, ring.pkg))
	}
	if os.Geteuid() != 0 {
		errs = append(errs, fault.Errorf(fault.Environment, "a bootstrap needs root, or root of a user namespace; run with sudo, or install uidmap and have lines for this user in /etc/subuid and /etc/subgid"))
	} else {
		for _, c := range []struct {
			bit  int
			name string
		}{{unix.CAP_CHOWN, "CAP_CHOWN"}, {unix.CAP_DAC_OVERRIDE, "CAP_DAC_OVERRIDE"}, {unix.CAP_SYS_CHROOT, "CAP_SYS_CHROOT"}} {
			if has, err := capable(c.bit); err == nil && !has {
				errs = append(errs, fault.Errorf(fault.Environment, "root is here without %s; start the container with --cap-add=%s", c.name, c.name[len("CAP_"):]))
			}
		}
	}
	for i := range b.config.Repositories {
		if _, err := b.repository(i); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func capable(bit int) (bool, error) {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return false, err
	}
	return data[bit/32].Effective&(1<<(bit%32)) != 0, nil
}
