package container

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/org/imagebuild-action/internal/fault"
)

// Request is what a sibling should do.
type Request struct {
	// RunID names the run to Sweep. Jobs that share a daemon need different ones.
	RunID string
	// Argv is the command; empty means that of the container we are in.
	Argv []string
	// Environ is the whole environment. What must not reach the sibling has no
	// place in it.
	Environ []string
	// Dir is the working directory; empty means the container's.
	Dir string
	// Stdout and Stderr get the sibling's output as it comes.
	Stdout, Stderr io.Writer
	// Devices are passed in if the host has them; nil means KVM.
	Devices []string
	// Socket is the daemon's; empty means DefaultSocket.
	Socket string
}

// Rerun runs the request in a sibling of the container that this process is in,
// and returns the sibling's exit code. When ctx ends the sibling is told to
// stop as a runner would tell us, only sooner, so that both are gone in time;
// its exit code is then returned together with the cancellation if it had to be
// killed.
//
// A *Refused error means that nothing was begun. After any other error the
// request may have been carried out in part.
func Rerun(ctx context.Context, request Request) (exitCode int, err error) {
	if _, sibling := Granted(request.Environ); sibling {
		return 0, refused(errors.New("this is one already"))
	}
	return rerun(ctx, &request, here{root: "/"}, runnerTiming)
}

func rerun(ctx context.Context, request *Request, h here, limits timing) (exitCode int, err error) {
	d, err := dial(ctx, request.Socket, limits)
	if err != nil {
		return 0, unlessEnded(ctx, refused(err))
	}
	defer d.Close()
	self, err := findSelf(ctx, d, h)
	if err != nil {
		return 0, unlessEnded(ctx, refused(err))
	}
	var first error
	for i, attempt := range attempts(request.Devices, d.has("apparmor")) {
		attempt.explain(first)
		s := &sibling{daemon: d, name: fmt.Sprintf("imagebuild-%.12s-%d", self.ID, i+1)}
		code, begun, err := s.run(ctx, request, siblingOptions(self, request, s.name, attempt.wish, attempt.grant))
		switch {
		case begun, errors.As(err, new(*leftoverError)):
			return code, err
		case ctx.Err() != nil:
			return 0, unlessEnded(ctx, err)
		case first == nil:
			first = err
		}
	}
	return 0, refused(first)
}

// attempt is a wish and what the sibling is told when it was granted.
type attempt struct {
	wish
	grant Grant
}

// attempts lists what is asked for, one after the other until the daemon agrees:
// only by trying does one learn whether the host has a device, or what a policy
// allows.
func attempts(devices []string, apparmor bool) []attempt {
	if devices == nil {
		devices = []string{KVM}
	}
	all := wish{devices: devices, mounts: true, apparmor: apparmor}
	noDevices, noMounts := all, all
	noDevices.devices = nil
	noMounts.mounts = false
	return []attempt{{wish: all}, {wish: noDevices}, {wish: noMounts}}
}

// explain fills in the grant; denied is why the first wish was not granted.
func (a *attempt) explain(denied error) {
	why := ""
	if denied != nil {
		why = ": " + firstLine(denied)
	}
	if a.grant.KVM = len(a.devices) > 0; a.grant.KVM {
		a.grant.KVMReason = fmt.Sprintf("%s was passed to a sibling container", a.devices[0])
	} else {
		a.grant.KVMReason = "the Docker daemon could not pass it to a sibling container" + why
	}
	switch a.grant.Mounts = a.mounts; {
	case !a.mounts:
		a.grant.MountsReason = "the Docker daemon did not allow them to a sibling container" + why
	case a.apparmor:
		a.grant.MountsReason = "a sibling container has the capability SYS_ADMIN and no AppArmor profile"
	default:
		a.grant.MountsReason = "a sibling container has the capability SYS_ADMIN"
	}
}

// unlessEnded prefers the cancellation to what it caused.
func unlessEnded(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fault.Wrap(fault.Cancelled, context.Cause(ctx))
	}
	return err
}
