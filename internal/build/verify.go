package build

import (
	"context"
	"os"
	"path/filepath"

	"github.com/org/imagebuild-action/internal/image"
	"github.com/org/imagebuild-action/internal/plan"
	"github.com/org/imagebuild-action/internal/report"
	"github.com/org/imagebuild-action/internal/run"
	"github.com/org/imagebuild-action/internal/target"
	"github.com/org/imagebuild-action/internal/verify"
)

// packedCell is a cell with what was packed for it.
type packedCell struct {
	cell      *plan.Cell
	hardware  target.Hardware
	artifacts []image.Artifact
}

// verify boots every artifact from its own file. One at a time: an emulated
// guest wants all cores, and the time to boot is part of the result.
func (b *builder) verify(ctx context.Context, task report.Task) error {
	failure := filepath.Join(b.Output, "failure")
	if err := os.RemoveAll(failure); err != nil {
		return run.Explain(err)
	}
	for _, p := range b.packed {
		for _, artifact := range p.artifacts {
			if err := b.boot(ctx, p, artifact, filepath.Join(failure, artifact.Name), task); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *builder) boot(ctx context.Context, p packedCell, artifact image.Artifact, failure string, task report.Task) error {
	return report.Do(task, artifact.Name, func(task report.Task) error {
		tests, err := b.tests(p.cell)
		if err != nil {
			return err
		}
		result, err := verify.Boot(ctx, verify.Request{
			Artifact: filepath.Join(b.artifactDir(), artifact.Path), Hardware: p.hardware, Tests: tests,
			Dir: b.work.Path, FailureDir: failure,
		}, task)
		if err != nil {
			return err
		}
		for _, s := range result.Substitutions {
			task.Note("%s", s)
		}
		task.Note("SSH after %.0f s under %s", result.BootSeconds, result.Accel)
		b.result.Verified = append(b.result.Verified, result)
		return nil
	})
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
