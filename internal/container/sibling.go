package container

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/retry"
)

// leftoverError is a sibling that could not be removed, and may even run.
type leftoverError struct {
	name string
	err  error
}

func (l *leftoverError) Error() string {
	return fmt.Sprintf("container %s could not be removed: %v; remove it with: docker rm --force --volumes %s", l.name, l.err, l.name)
}
func (l *leftoverError) Unwrap() error { return l.err }

// sibling is one container from its creation to its removal.
type sibling struct {
	*daemon
	name string // chosen by us: with it what was created is found even if the answer got lost
}

// run creates, starts, watches and removes the container. Unless begun, it ran
// nothing.
func (s *sibling) run(ctx context.Context, request *Request, options client.ContainerCreateOptions) (exitCode int, begun bool, err error) {
	defer func() {
		limit := s.timing.call
		if ctx.Err() != nil {
			limit = s.timing.remove
		}
		if removeErr := s.remove(context.WithoutCancel(ctx), s.name, limit); removeErr != nil {
			left := &leftoverError{s.name, removeErr}
			err = errors.Join(err, fault.Wrap(fault.Environment, left))
		}
	}()
	if err := s.call(ctx, func(ctx context.Context) error {
		_, err := s.ContainerCreate(ctx, options)
		return err
	}); err != nil {
		return 0, false, fmt.Errorf("create a container: %w", err)
	}
	// What watches it lives on after a cancellation, until it has ended.
	watch, stopWatching := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWatching()
	output, err := s.attach(ctx, watch, request.Stdout, request.Stderr)
	if err != nil {
		return 0, false, fmt.Errorf("attach to a container: %w", err)
	}
	defer output.close()
	ended, err := s.watch(ctx, watch)
	if err != nil {
		return 0, false, fmt.Errorf("wait for a container: %w", err)
	}
	// A cancellation in the middle would kill what has just begun; a moment later
	// it can be told.
	late, cancel := lagging(ctx, s.timing.kill)
	defer cancel()
	if err := s.call(late, func(ctx context.Context) error {
		_, err := s.ContainerStart(ctx, s.name, client.ContainerStartOptions{})
		return err
	}); err != nil {
		err = fault.Wrap(fault.Environment, fmt.Errorf("start a container: %w", err))
		return 0, !answered(err) && ctx.Err() == nil, err
	}
	exitCode, err = s.follow(ctx, ended)
	output.drain(s.timing.remove)
	return exitCode, true, err
}

// call bounds one request to the daemon.
func (s *sibling) call(ctx context.Context, fn func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, s.timing.call)
	defer cancel()
	return fn(ctx)
}

// lagging returns a context that ends some time after ctx.
func lagging(ctx context.Context, by time.Duration) (context.Context, context.CancelFunc) {
	late, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		_ = retry.Sleep(late, by)
		cancel()
	})
	return late, func() {
		stop()
		cancel()
	}
}

// output copies what the sibling says.
type output struct {
	conn client.HijackedResponse
	done chan struct{}
}

// attach must come before the start, lest the first lines get lost.
func (s *sibling) attach(ctx, watch context.Context, stdout, stderr io.Writer) (*output, error) {
	var result client.ContainerAttachResult
	err := s.bounded(ctx, watch, func(watch context.Context) (err error) {
		result, err = s.ContainerAttach(watch, s.name, client.ContainerAttachOptions{Stream: true, Stdin: true, Stdout: true, Stderr: true})
		return err
	})
	if err != nil {
		return nil, err
	}
	o := &output{conn: result.HijackedResponse, done: make(chan struct{})}
	go func() {
		defer close(o.done)
		if _, err := stdcopy.StdCopy(stdout, stderr, o.conn.Reader); err != nil {
			// Nobody listens any more; the sibling must not block for that.
			_, _ = io.Copy(io.Discard, o.conn.Reader)
		}
	}()
	return o, nil
}

// drain waits until all output has been copied.
func (o *output) drain(limit time.Duration) {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-o.done:
	case <-timer.C:
	}
}

func (o *output) close() {
	o.conn.Close()
	<-o.done
}

// end is how the sibling ended.
type end struct {
	code int
	err  error
}

// watch asks for the sibling's end, which comes with its removal.
func (s *sibling) watch(ctx, watch context.Context) (<-chan end, error) {
	var result client.ContainerWaitResult
	err := s.bounded(ctx, watch, func(watch context.Context) error {
		result = s.ContainerWait(watch, s.name, client.ContainerWaitOptions{Condition: container.WaitConditionRemoved})
		select {
		case err := <-result.Error:
			return err
		default:
			return nil
		}
	})
	if err != nil {
		return nil, err
	}
	ended := make(chan end, 1)
	go func() {
		select {
		case answer := <-result.Result:
			ended <- end{code: int(answer.StatusCode)}
		case err := <-result.Error:
			ended <- end{err: err}
		case <-watch.Done():
		}
	}()
	return ended, nil
}

// bounded starts something that goes on under watch, and gives up with ctx.
func (s *sibling) bounded(ctx, watch context.Context, fn func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, s.timing.call)
	defer cancel()
	started := make(chan error, 1)
	go func() { started <- fn(watch) }()
	select {
	case err := <-started:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// follow waits for the end, and brings it about when ctx ends.
func (s *sibling) follow(ctx context.Context, ended <-chan end) (int, error) {
	select {
	case e := <-ended:
		return s.exit(e)
	case <-ctx.Done():
	}
	for _, step := range []struct {
		signal string
		wait   time.Duration
	}{{"SIGINT", s.timing.interrupt}, {"SIGTERM", s.timing.terminate}, {"SIGKILL", s.timing.kill}} {
		// The wait includes the call: a daemon that hangs must not hold us.
		limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), step.wait)
		_, _ = s.ContainerKill(limit, s.name, client.ContainerKillOptions{Signal: step.signal})
		select {
		case e := <-ended:
			cancel()
			code, err := s.exit(e)
			if step.signal == "SIGKILL" && err == nil {
				err = killed(ctx)
			}
			return code, err
		case <-limit.Done():
			cancel()
		}
	}
	return int(fault.Cancelled), killed(ctx)
}

func killed(ctx context.Context) error {
	return fault.Errorf(fault.Cancelled, "the sibling container did not stop in time and was killed: %w", context.Cause(ctx))
}

func (s *sibling) exit(e end) (int, error) {
	if e.err != nil {
		return 0, fault.Wrap(fault.Environment, fmt.Errorf("the Docker daemon was lost while a container was at work: %w", e.err))
	}
	return e.code, nil
}
