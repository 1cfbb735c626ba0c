package container

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"

	"github.com/org/imagebuild-action/internal/retry"
)

// timing bounds what may take long. The times of an end count one after the
// other.
type timing struct {
	call      time.Duration // one request to the daemon
	interrupt time.Duration // from SIGINT to SIGTERM
	terminate time.Duration // from SIGTERM to SIGKILL
	kill      time.Duration // from SIGKILL to the end
	remove    time.Duration // for a removal after a cancellation
	sweep     time.Duration // from SIGINT to SIGKILL in Sweep
}

// runnerTiming fits into what the runner leaves us: it kills 10 s after its
// first signal (ProcessInvoker.cs: SIGINT, 7.5 s, SIGTERM, 2.5 s). A sweep is not
// in such a hurry, and what it ends may be taking back what it made elsewhere.
var runnerTiming = timing{ //nolint:gochecknoglobals // a constant
	call: 30 * time.Second, interrupt: 5 * time.Second, terminate: 1500 * time.Millisecond,
	kill: time.Second, remove: time.Second, sweep: 10 * time.Second,
}

// daemon is the Docker that we are in.
type daemon struct {
	*client.Client
	timing   timing
	security []string // as "name=apparmor"
}

// dial connects to a Docker daemon and makes sure that it is one.
func dial(ctx context.Context, socket string, limits timing) (*daemon, error) {
	if socket == "" {
		socket = DefaultSocket
	}
	switch info, err := os.Stat(socket); {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%s: there is no Docker socket here; %w", socket, fs.ErrNotExist)
	case err != nil:
		return nil, err
	case info.Mode()&fs.ModeSocket == 0:
		return nil, fmt.Errorf("%s is not a socket", socket)
	}
	docker, err := client.New(client.WithHost("unix://" + socket))
	if err != nil {
		return nil, err
	}
	d := &daemon{Client: docker, timing: limits}
	if err := d.identify(ctx); err != nil {
		_ = docker.Close()
		return nil, err
	}
	return d, nil
}

func (d *daemon) identify(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, d.timing.call)
	defer cancel()
	version, err := d.ServerVersion(ctx, client.ServerVersionOptions{})
	if err != nil {
		return fmt.Errorf("ask the Docker daemon for its version: %w", err)
	}
	for _, each := range version.Components {
		if strings.Contains(strings.ToLower(each.Name), "podman") {
			return fmt.Errorf("the container engine is %s, and only Docker is known to work", each.Name)
		}
	}
	info, err := d.Info(ctx, client.InfoOptions{})
	if err != nil {
		return fmt.Errorf("ask the Docker daemon what it can do: %w", err)
	}
	d.security = info.Info.SecurityOptions
	return nil
}

// has reports whether the daemon uses a security mechanism.
func (d *daemon) has(mechanism string) bool {
	for _, each := range d.security {
		name, _, _ := strings.Cut(each, ",")
		if name == "name="+mechanism {
			return true
		}
	}
	return false
}

// answered reports whether an error is the daemon's answer. If it is none, the
// daemon may have done what it was asked to.
func answered(err error) bool {
	for _, is := range []func(error) bool{
		errdefs.IsInvalidArgument, errdefs.IsUnauthorized, errdefs.IsPermissionDenied, errdefs.IsNotFound,
		errdefs.IsConflict, errdefs.IsInternal, errdefs.IsNotImplemented, errdefs.IsUnavailable,
	} {
		if is(err) {
			return !client.IsErrConnectionFailed(err)
		}
	}
	return false
}

// remove removes a container, running or not, with its anonymous volumes, and
// returns when it is gone.
func (d *daemon) remove(ctx context.Context, name string, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	policy := retry.Policy{Attempts: 1000, Delay: 20 * time.Millisecond, MaxDelay: 200 * time.Millisecond}
	return retry.Do(ctx, policy, func(ctx context.Context, _ int) error {
		_, err := d.ContainerRemove(ctx, name, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
		switch {
		case errdefs.IsNotFound(err):
			return nil
		case errdefs.IsPermissionDenied(err), errdefs.IsUnauthorized(err), errdefs.IsInvalidArgument(err):
			return retry.Permanent(err)
		case err != nil: // under way by AutoRemove, or a passing trouble
			return err
		}
		return errors.New("it is still there") // asked for: look whether it is done
	})
}
