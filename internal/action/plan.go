package action

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/org/imagebuild-action/internal/build"
	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/run"
)

// validate is command: validate.
func (c *cell) validate(ctx context.Context) error {
	var err error
	if c.options, err = c.buildOptions(); err != nil {
		return err
	}
	if c.plan, err = build.Plan(ctx, c.options); err != nil {
		return err
	}
	c.console.line("%s: %s %s is valid: %d cells", c.relative(c.options.Template), c.plan.Name, c.plan.Version, len(c.plan.Cells))
	return c.setOutputs(map[string]string{"version": c.plan.Version, "plan-digest": c.plan.Digest})
}

// planMatrix is command: plan.
func (c *cell) planMatrix(ctx context.Context) (err error) {
	if err := os.Chdir(c.workspace); err != nil { // the cells' templates are named from there
		return run.Explain(err)
	}
	for _, name := range c.in.templates {
		if _, err := c.inside("template", name, ""); err != nil {
			return err
		}
	}
	o := build.MatrixOptions{Options: build.Options{
		Vars: c.in.variables, LookupEnv: c.LookupEnv, Arch: c.in.arch, Version: c.in.version, Secrets: c.secrets, Generator: c.Generator,
	}}
	if o.Templates, err = build.FindTemplates(c.in.templates); err != nil {
		return err
	}
	if o.Epoch, err = build.Epoch(c.LookupEnv); err != nil {
		return err
	}
	if c.in.changedSince != "" {
		since := &build.Revision{Name: c.in.changedSince}
		defer func() { err = errors.Join(err, since.Close()) }()
		o.Unchanged = since.Unchanged
	}
	if c.in.sinceRelease {
		client, err := c.client()
		if err != nil {
			return err
		}
		o.Unchanged = build.SinceRelease(build.LatestRelease(client))
	}
	matrix, err := build.PlanMatrix(ctx, o)
	if err != nil {
		return err
	}
	text, err := matrix.JSON()
	if err != nil {
		return err
	}
	for _, note := range matrix.Notes {
		c.console.annotate("notice", fault.Position{}, note)
	}
	c.console.line("%s", text)
	c.summary.title = fmt.Sprintf("plan: %d cells, %d unchanged", len(matrix.Cells), matrix.Unchanged)
	return errors.Join(c.setOutputs(map[string]string{
		"matrix": string(text), "cache-key": matrix.Cache.Key, "cache-restore-keys": matrix.Cache.Restore,
	}), c.addSummary(c.summary.markdown()))
}
