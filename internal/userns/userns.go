// Package userns makes an ordinary user root of a namespace of his own, in
// which a root filesystem can be built: owners other than himself, chroot and
// mounts, all without a right outside.
//
//	if err := userns.Enter(ctx, os.Args, os.Environ()); err != nil { ... }
//	// from here on the effective user is root
//
// Device nodes cannot be made in there. It needs the package uidmap, a range
// of ids for the user in /etc/subuid and /etc/subgid, and a kernel that allows
// it; what is missing is named.
package userns

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/run"
)

// enter is the command that runs another as root of a new user namespace.
func enter() []string {
	return []string{"unshare", "--user", "--map-root-user", "--map-auto", "--mount", "--"}
}

// Enter returns nil at once for root. For anyone else it starts the program
// anew in a user namespace, in the place of this process, and so does not
// return; argv and env are its arguments, from its name on, and environment.
// An error means that this machine does not allow it, and says the remedy.
func Enter(ctx context.Context, argv, env []string) error {
	if os.Geteuid() == 0 {
		return nil
	}
	if err := Check(ctx); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return fault.Wrap(fault.Environment, fmt.Errorf("find this program: %w", err))
	}
	command := append(append(enter(), self), argv[1:]...)
	path, err := run.LookPath(command[0])
	if err != nil {
		return fault.Wrap(fault.Environment, err)
	}
	return fault.Wrap(fault.Environment, fmt.Errorf("%s: %w", run.Quote(command), unix.Exec(path, command, env)))
}

// Check finds out whether an ordinary user can become root of a namespace.
func Check(ctx context.Context) error {
	var errs []error
	for _, tool := range []struct{ name, pkg string }{{"unshare", "util-linux"}, {"newuidmap", "uidmap"}, {"newgidmap", "uidmap"}} {
		if _, err := run.LookPath(tool.name); err != nil {
			errs = append(errs, fmt.Errorf("%s is not installed; install the package %s", tool.name, tool.pkg))
		}
	}
	who, err := user.Current()
	if err != nil {
		return fault.Wrap(fault.Environment, err)
	}
	for _, file := range []string{"/etc/subuid", "/etc/subgid"} {
		if !hasRange(file, who) {
			errs = append(errs, fmt.Errorf("%s has no range of ids for the user %s; add the line %s:100000:65536", file, who.Username, who.Username))
		}
	}
	if len(errs) == 0 {
		err := run.Run(ctx, run.Spec{Argv: append(enter(), "true")})
		if err == nil || ctx.Err() != nil {
			return err
		}
		errs = append(errs, fmt.Errorf("user namespaces are not allowed here (%w); allow them with sysctl kernel.unprivileged_userns_clone=1, kernel.apparmor_restrict_unprivileged_userns=0", err))
	}
	return fault.Wrap(fault.Environment, fmt.Errorf("not root: run with sudo, or mend this: %w", errors.Join(errs...)))
}

// hasRange looks for a user's line NAME:START:COUNT (subuid(5)).
func hasRange(file string, who *user.User) bool {
	data, err := os.ReadFile(file)
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(data)) {
		name, _, _ := strings.Cut(line, ":")
		if name == who.Username || name == who.Uid {
			return true
		}
	}
	return false
}
