package build

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/org/imagebuild-action/internal/failure"
	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/guest"
	"github.com/org/imagebuild-action/internal/plan"
	"github.com/org/imagebuild-action/internal/report"
	"github.com/org/imagebuild-action/internal/seal"
	"github.com/org/imagebuild-action/internal/target"
	"github.com/org/imagebuild-action/internal/verify"
	"github.com/org/imagebuild-action/internal/vm"
	"github.com/org/imagebuild-action/platforms"
	"github.com/org/imagebuild-action/provision"
)

// A source that is in a cloud is built there, and there is nothing to build
// here: without Publish the build runs all the same, as it does for every
// other platform, and takes back in the end what it made.

// launcher is the cell's platform.
func launcher(cell *plan.Cell) (platforms.Launcher, error) {
	platform, err := platforms.New(cell.Type, cell.Platform, cell.Config)
	if err != nil {
		return nil, err
	}
	p, ok := platform.(platforms.Launcher)
	if !ok {
		return nil, fault.Errorf(fault.Bug, "platform %s starts no machines of a source of kind %s", platform, cell.Tree.Source.Kind)
	}
	return p, nil
}

// checkLaunch finds what can be known to fail before anything is made. What the
// source is now becomes a part of the plan, before anything asks for its digest.
func (b *builder) checkLaunch(ctx context.Context, task report.Task) error {
	errs := []error{b.checkLaunchOptions()}
	for _, t := range b.trees {
		errs = append(errs, b.checkSteps(ctx, t.plan.Steps))
	}
	for _, cell := range b.plan.Cells {
		errs = append(errs, b.checkSteps(ctx, cell.Tests))
	}
	if err := errors.Join(errs...); err != nil { // nothing is asked of a cloud in vain
		return err
	}
	b.origins = map[*plan.Cell]target.Origin{}
	for _, cell := range b.plan.Cells {
		p, err := launcher(cell)
		if err != nil {
			return err
		}
		origin, err := p.Origin(ctx, b.launchOf(cell))
		if err != nil {
			errs = append(errs, err)
			continue
		}
		task.Note("%s, %s: the source is %s (%s)", cell.Platform, cell.Arch, origin.ID, origin.Name)
		if err := b.plan.Pin(cell, origin.ID, !pinned(cell)); err != nil {
			return err
		}
		b.origins[cell] = origin
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	b.result.PlanDigest = b.plan.Digest
	for _, cell := range b.plan.Cells {
		p, err := launcher(cell)
		if err != nil {
			return err
		}
		errs = append(errs, p.CheckLaunch(ctx, b.launchOf(cell)))
	}
	return errors.Join(errs...)
}

// launchOf describes a cell to its launcher, as far as it is known.
func (b *builder) launchOf(cell *plan.Cell) target.Launch {
	return target.Launch{Publication: b.publication(cell), Source: cell.Tree.Source.Config, Origin: b.origins[cell]}
}

// pinned tells whether the template itself says what the source is.
func pinned(cell *plan.Cell) bool {
	p, ok := cell.Tree.Source.Config.(interface{ Pinned() bool })
	return ok && p.Pinned()
}

func (b *builder) checkLaunchOptions() error {
	switch {
	case b.From != "":
		return fault.Errorf(fault.Input, "--from %q: an instance keeps no checkpoints, so all of its steps run; leave it out", b.From)
	case b.LiveCheckpoints:
		return fault.Errorf(fault.Input, "--live-checkpoints: an instance keeps no checkpoints; leave it out")
	case b.Publish && b.Until == StageProvision:
		return fault.Errorf(fault.Input, "publishing needs an image, and the build is to stop before it; leave --until provision out")
	}
	return nil
}

func (b *builder) checkSteps(ctx context.Context, steps []plan.Step) error {
	var errs []error
	for i := range steps {
		step, err := b.step(steps, i)
		if err == nil {
			err = step.Check(ctx)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// launch makes the images, one cell after the other.
func (b *builder) launch(ctx context.Context, task report.Task) error {
	for _, cell := range b.plan.Cells {
		err := report.Do(task, cell.Platform+" "+cell.Arch, func(task report.Task) error { return b.launchCell(ctx, cell, task) })
		if err != nil {
			return err
		}
	}
	if !b.Publish {
		task.Note("nothing is published: that takes --publish. What was made in the cloud is removed again")
	}
	return nil
}

func (b *builder) launchCell(ctx context.Context, cell *plan.Cell, task report.Task) error {
	p, err := launcher(cell)
	if err != nil {
		return err
	}
	t := b.treeOf(cell)
	t.result.ID, t.result.Platforms = t.plan.ID, b.platformsOf(t)
	l := b.launchOf(cell)
	l.Seal, l.Stays = seal.Script(), b.Publish
	l.Image = b.Until != StageProvision
	l.Env = stepEnviron(b.Epoch, l.Origin.Created)
	l.Console = func(name string, text []byte) {
		if err := failure.KeepConsole(b.failureDir(name), text, b.Secrets); err != nil {
			task.Warn("the failure bundle is incomplete: %v", err)
		}
	}
	l.Steps = func(ctx context.Context, g guest.Guest, task report.Task) error {
		return b.launchSteps(ctx, cell, g, task)
	}
	if b.Until != StageProvision && b.Until != StagePack {
		l.Tests = func(ctx context.Context, g guest.Guest, seen target.Booted, task report.Task) error {
			return b.launchTests(ctx, cell, p.ImageName(l.Publication), g, seen, task)
		}
	}
	if l.Journal, err = b.journal(cell.Type); err != nil {
		return err
	}
	out, err := p.Launch(ctx, l, task)
	if err != nil {
		return err
	}
	b.published(out)
	return nil
}

// stepEnviron is what steps get besides their own variables: what they get in a
// chroot, but for what is true on this machine alone. The date is that of the
// source, unless one is given.
func stepEnviron(epoch, source time.Time) []string {
	if epoch.IsZero() {
		epoch = source
	}
	return []string{"TZ=UTC", "DEBIAN_FRONTEND=noninteractive", "SOURCE_DATE_EPOCH=" + strconv.FormatInt(max(epoch.Unix(), 0), 10)}
}

// launchSteps runs the template's steps in an instance.
func (b *builder) launchSteps(ctx context.Context, cell *plan.Cell, g guest.Guest, task report.Task) error {
	t := b.treeOf(cell)
	t.result.Steps = nil // of another cell that shares them
	for i := range t.plan.Steps {
		step, err := b.step(t.plan.Steps, i)
		if err != nil {
			return err
		}
		start := time.Now()
		if err := provision.Run(ctx, step, g, task); err != nil {
			return err
		}
		t.result.Steps = append(t.result.Steps, StepResult{Name: t.plan.Steps[i].Name, Seconds: seconds(start)})
	}
	return nil
}

// ec2 is what a Result says an instance was run by.
const ec2 vm.Accel = "ec2"

// launchTests runs the template's tests in an instance of the finished image.
func (b *builder) launchTests(ctx context.Context, cell *plan.Cell, name string, g guest.Guest, seen target.Booted, task report.Task) error {
	tests, err := b.tests(cell)
	if err != nil {
		return err
	}
	result := verify.Result{
		Artifact: name, Kind: "ami", Checks: []string{}, Accel: ec2, AccelReason: seen.Machine, Access: seen.Access, Kernel: seen.Kernel, BootSeconds: seen.Seconds,
	}
	result.Tests, err = verify.RunTests(ctx, g, tests, task)
	b.result.Verified = append(slices.Clip(b.result.Verified), result)
	return err
}
