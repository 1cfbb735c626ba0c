package container

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/org/imagebuild-action/internal/fault"
)

// Sweep stops and removes the siblings that a run has left because their parent
// was killed, with their anonymous volumes, and returns how many there were. A
// machine without a Docker socket has none.
func Sweep(ctx context.Context, socket, runID string) (removed int, err error) {
	return sweep(ctx, socket, runID, runnerTiming)
}

func sweep(ctx context.Context, socket, runID string, limits timing) (removed int, err error) {
	if runID == "" {
		return 0, errors.New("sweep: empty run id")
	}
	d, err := dial(ctx, socket, limits)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fault.Wrap(fault.Environment, fmt.Errorf("look for containers left behind: %w", err))
	}
	defer d.Close()
	listCtx, cancel := context.WithTimeout(ctx, d.timing.call)
	defer cancel()
	list, err := d.ContainerList(listCtx, client.ContainerListOptions{All: true, Filters: make(client.Filters).Add("label", RunLabel+"="+runID)})
	if err != nil {
		return 0, fault.Wrap(fault.Environment, fmt.Errorf("look for containers left behind: %w", err))
	}
	var errs []error
	for _, each := range list.Items {
		if each.Labels[RunLabel] != runID {
			continue // a daemon that does not know the filter
		}
		if err := d.end(ctx, each.ID); err != nil {
			errs = append(errs, fault.Wrap(fault.Environment, &leftoverError{each.ID, err}))
			continue
		}
		removed++
	}
	return removed, errors.Join(errs...)
}

// end asks a container to stop, waits for a moment and removes it.
func (d *daemon) end(ctx context.Context, id string) error {
	stop, cancel := context.WithTimeout(ctx, d.timing.sweep)
	defer cancel()
	_, err := d.ContainerKill(stop, id, client.ContainerKillOptions{Signal: "SIGINT"})
	if err == nil {
		wait := d.ContainerWait(stop, id, client.ContainerWaitOptions{Condition: container.WaitConditionNotRunning})
		select {
		case <-wait.Result:
		case <-wait.Error:
		case <-stop.Done():
		}
	} else if errdefs.IsNotFound(err) {
		return nil
	}
	return d.remove(ctx, id, d.timing.call)
}
