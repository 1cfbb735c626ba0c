package build

import (
	"cmp"
	"context"
	"path/filepath"
	"runtime"

	"golang.org/x/sync/errgroup"

	"github.com/org/imagebuild-action/internal/entry"
	"github.com/org/imagebuild-action/internal/image"
	"github.com/org/imagebuild-action/internal/plan"
	"github.com/org/imagebuild-action/internal/report"
	"github.com/org/imagebuild-action/internal/size"
	"github.com/org/imagebuild-action/internal/target"
	"github.com/org/imagebuild-action/internal/verify"
	"github.com/org/imagebuild-action/internal/vm"
)

// packedCell is a cell with what was packed for it.
type packedCell struct {
	cell      *plan.Cell
	hardware  target.Hardware
	artifacts []image.Artifact
	boots     *boots // what is booted in place of artifacts, of a cloud's
}

// verify boots every artifact from its own file, a few at a time.
func (b *builder) verify(ctx context.Context, task report.Task) error {
	accel, _, err := vm.ChooseAccel(cmp.Or(b.Accel, vm.Auto))
	if err != nil {
		return err
	}
	count := len(b.result.Artifacts)
	for _, p := range b.packed {
		if p.boots != nil {
			count++
		}
	}
	limit := b.guests(accel)
	single := accel != vm.KVM && min(limit, count) > 1
	if single {
		task.Note("several machines are emulated at once, each with one processor")
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(limit)
	results := make([]verify.Result, count)
	b.result.Verified = results
	for _, p := range b.packed {
		if single {
			p.hardware.CPUs = 1
		}
		if p.boots != nil {
			result := &results[0]
			results = results[1:]
			group.Go(func() error {
				tests, err := b.tests(p.cell)
				if err != nil {
					return err
				}
				return report.Do(task, p.boots.name, func(task report.Task) (err error) {
					*result, err = b.verifyCloud(ctx, p, tests, task)
					return err
				})
			})
		}
		for _, artifact := range p.artifacts {
			result := &results[0] // its place does not depend on who is first
			results = results[1:]
			group.Go(func() error {
				tests, err := b.tests(p.cell)
				if err != nil {
					return err
				}
				return report.Do(task, artifact.Name, func(task report.Task) (err error) {
					access, err := b.verifyAccess(p.cell, artifact)
					if err != nil {
						return err
					}
					*result, err = verify.Boot(ctx, verify.Request{
						Artifact: filepath.Join(b.artifactDir(), artifact.Path), Hardware: p.hardware, Accel: b.Accel, Access: access, Tests: tests,
						Dir: b.work.Path, FailureDir: b.failureDir(artifact.Name), Secrets: b.Secrets,
					}, task)
					return err
				})
			})
		}
	}
	return group.Wait()
}

// verifyAccess is the way into the machine that the steps ran in, which is the
// way into the finished one too, if the template names one. A box has its own,
// unless its disk is kept: nothing was put on it.
func (b *builder) verifyAccess(cell *plan.Cell, artifact image.Artifact) (entry.Access, error) {
	t := b.treeOf(cell)
	if artifact.Kind == image.Box && !t.plan.KeepsDisk {
		return entry.Access{}, nil
	}
	return b.access(t)
}

// guestOverhead is what QEMU takes besides the guest's own memory: under TCG
// most of it is translated code.
const guestOverhead = 1152 * size.MiB

// guests is how many machines may run at once. Two emulated ones on a core each
// end sooner than one after the other on two cores; under KVM each gets the two
// that it has. All of them together must fit into the memory that is free now.
func (b *builder) guests(accel vm.Accel) int {
	n := runtime.NumCPU()
	if accel == vm.KVM {
		n /= 2
	}
	var largest size.Bytes
	for _, p := range b.packed {
		largest = max(largest, p.hardware.Memory)
	}
	if free := vm.AvailableMemory(); free > 0 {
		n = min(n, int(free/(largest+guestOverhead)))
	}
	return max(n, 1)
}

// tests are the template's test steps as they run in the booted machine.
func (b *builder) tests(cell *plan.Cell) ([]verify.Test, error) {
	var tests []verify.Test
	for i := range cell.Tests {
		step, err := b.step(cell.Tests, i)
		if err != nil {
			return nil, err
		}
		tests = append(tests, verify.Test{Name: cell.Tests[i].Name, Run: step.Do})
	}
	return tests, nil
}

// Tests returns the test steps of a template, for the first platform that the
// options choose.
func Tests(ctx context.Context, o Options) ([]verify.Test, error) {
	b := &builder{Options: o}
	if err := b.load(ctx); err != nil {
		return nil, err
	}
	return b.tests(b.plan.Cells[0])
}
