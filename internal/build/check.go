package build

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/plan"
	"github.com/org/imagebuild-action/internal/report"
	"github.com/org/imagebuild-action/internal/run"
	"github.com/org/imagebuild-action/internal/size"
	"github.com/org/imagebuild-action/internal/target"
	"github.com/org/imagebuild-action/internal/template"
	"github.com/org/imagebuild-action/internal/vm"
	"github.com/org/imagebuild-action/platforms"
	"github.com/org/imagebuild-action/provision"
)

// freeBytes is what a small image with all its artifacts needs. More is needed
// for larger ones, but less is never enough.
const freeBytes = 2 * size.GiB

// check finds what can be known to fail before anything is built, all of it.
func (b *builder) check(ctx context.Context, task report.Task) error {
	var errs []error
	add := func(err error) {
		if err != nil {
			errs = append(errs, err)
		}
	}
	machine := b.Until == StageVerify
	for _, t := range b.trees {
		if t.plan.Engine == template.VM {
			machine = machine || len(t.plan.Steps) > 0
			_, err := b.access(t)
			add(err)
		}
		if t.plan.Arch != "amd64" {
			add(fault.Errorf(fault.Input, "arch: %s is not available yet; use amd64", t.plan.Arch))
			continue
		}
		add(b.checkSource(ctx, t, task))
		for i := range t.plan.Steps {
			step, err := b.step(t.plan.Steps, i)
			add(err)
			if err == nil {
				add(step.Check(ctx))
			}
		}
	}
	uefi := false
	for _, cell := range b.plan.Cells {
		platform, err := platforms.New(cell.Type, cell.Platform, cell.Config)
		add(err)
		if err == nil {
			add(platform.Check(ctx))
			uefi = uefi || platform.Hardware().Firmware == target.UEFI
		}
		for i := range cell.Tests {
			step, err := b.step(cell.Tests, i)
			add(err)
			if err == nil {
				add(step.Check(ctx))
			}
		}
	}
	for _, dir := range []string{b.Output, b.CacheDir} {
		add(enoughSpace(dir))
	}
	if b.Publish {
		add(b.checkPublish(ctx))
	}
	if machine {
		add(vm.Check(ctx, uefi))
		accel, reason, err := vm.ChooseAccel(cmp.Or(b.Accel, vm.Auto))
		add(err)
		if err == nil {
			task.Note("machines will run under %s: %s", accel, reason)
		}
	}
	return errors.Join(errs...)
}

func (b *builder) checkSource(ctx context.Context, t *builtTree, task report.Task) error {
	disk, err := b.disk(t, task)
	if err != nil {
		return err
	}
	if disk != nil {
		return disk.Check(ctx)
	}
	src, err := b.source(t, task)
	if err != nil {
		return err
	}
	return src.Check(ctx)
}

// step makes the provisioner of one of the plan's steps.
func (b *builder) step(steps []plan.Step, i int) (provision.Step, error) {
	s := steps[i]
	provisioner, ok := s.Config.(provision.Provisioner)
	if !ok {
		return provision.Step{}, fault.Errorf(fault.Bug, "%s: %s is not a provisioner", s.Field, s.Kind)
	}
	return provision.Step{
		Number: i + 1, Total: len(steps), Name: s.Name, Dir: b.dir, Provisioner: provisioner,
		Timeout: time.Duration(s.Timeout), Retries: s.Retries, Env: provision.Environ(s.Env),
		Failed: b.shellOnError(),
	}, nil
}

func enoughSpace(dir string) error {
	var stat unix.Statfs_t
	if err := unix.Statfs(dir, &stat); err != nil {
		return run.Explain(fmt.Errorf("%s: %w", dir, err))
	}
	free := size.Bytes(int64(stat.Bavail) * stat.Bsize)
	if free < freeBytes {
		return fault.Errorf(fault.Environment, "%s has %s free, and a build needs %s at the least; free some space, or point --output and --cache-dir elsewhere",
			dir, free.Human(), freeBytes.Human())
	}
	return nil
}
