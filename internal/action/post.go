package action

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"

	"github.com/org/imagebuild-action/internal/build"
	"github.com/org/imagebuild-action/internal/container"
	"github.com/org/imagebuild-action/internal/fault"
)

// post is the action's last stage. It runs however main ended, also when the
// runner gave up on a cancelled main and killed it: then it removes what main
// could not.
func (j *job) post(ctx context.Context) error {
	removed, err := container.Sweep(ctx, "", j.runID())
	if errors.As(err, new(*container.Refused)) {
		err = nil // where there is no daemon, there was no sibling
	}
	if removed > 0 {
		j.console.line("removed %d containers that a killed build left", removed)
	}
	if j.state(stateDone) != "" {
		return err
	}
	return errors.Join(err, j.sweepFolders(ctx), j.takeBackFromState(ctx))
}

// sweepFolders removes the work folders of a build that is gone, and what its
// journal says that it made in clouds.
func (j *job) sweepFolders(ctx context.Context) error {
	in, err := readInputs(j.actions)
	if err != nil {
		return nil // main has said so, and has built nothing
	}
	c := &cell{job: j, in: in}
	output, err := c.inside("output", in.output, "")
	if err != nil {
		return nil //nolint:nilerr // as above
	}
	cacheDir, err := c.cacheDir()
	if err != nil {
		return nil //nolint:nilerr // as above
	}
	if err := build.Sweep(output, cacheDir); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return errors.Join(j.sweepClouds(ctx, in, cacheDir), handOver(j.workspace, output, filepath.Clean(cacheDir)))
}

// takeBackFromState finishes what a killed main was publishing.
func (j *job) takeBackFromState(ctx context.Context) error {
	text := j.state(statePublishing)
	if text == "" {
		return nil
	}
	var w withdrawal
	if err := json.Unmarshal([]byte(text), &w); err != nil {
		return fault.Errorf(fault.Bug, "the state of the main stage: %w", err)
	}
	in, err := readInputs(j.actions)
	if err != nil {
		return err
	}
	github, err := j.actions.Context()
	if err != nil {
		return fault.Wrap(fault.Environment, err)
	}
	if err := j.secrets.Add(in.token); err != nil {
		return fault.Wrap(fault.Input, err)
	}
	return (&cell{job: j, in: in, github: github}).takeBack(ctx, w)
}
