package cli

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/org/imagebuild-action/internal/build"
	"github.com/org/imagebuild-action/internal/report"
	"github.com/org/imagebuild-action/internal/userns"
)

// built is what became of a group of cells.
type built struct {
	Template  string        `json:"template"`
	Platforms []string      `json:"platforms"`
	Output    string        `json:"output"`
	Result    *build.Result `json:"result,omitempty"`
	Error     string        `json:"error,omitempty"`
}

// buildWorkflow builds every cell of a workflow here. A group that fails does
// not keep the others from being built.
func (a *app) buildWorkflow(ctx context.Context, common build.Options, w workflowFlags, output string, asJSON bool) error {
	groups, err := a.groups(ctx, common, w)
	if err != nil {
		return err
	}
	for _, twice := range sameFiles(groups) {
		fmt.Fprintf(a.Stderr, "imagebuild: warning: %s\n", twice)
	}
	if err := userns.Enter(ctx, a.Argv, a.Environ); err != nil {
		return err
	}
	reporter := a.reporter()
	var results []built
	var errs []error
	for _, g := range groups {
		if ctx.Err() != nil {
			break
		}
		one := built{Template: g.options.Template, Platforms: g.options.Platforms, Output: filepath.Join(output, g.folder)}
		g.options.Output = filepath.Join(common.Output, g.folder)
		one.Result, err = a.buildGroup(ctx, g, reporter)
		if err != nil {
			errs = append(errs, err)
			one.Error = a.secrets.String(err.Error())
		}
		results = append(results, one)
	}
	a.stopReport()
	if asJSON {
		errs = append(errs, printJSON(a, results))
	} else {
		for _, one := range results {
			if one.Result != nil {
				errs = append(errs, a.printResult(one.Result, one.Output))
			}
		}
	}
	return errors.Join(errs...)
}

// buildGroup builds one group, as a task of its own where there are several.
func (a *app) buildGroup(ctx context.Context, g *group, reporter report.Reporter) (result *build.Result, err error) {
	if g.folder == "" {
		g.options.Report = reporter
		return build.Run(ctx, g.options)
	}
	err = report.Do(reporter, g.folder, func(task report.Task) error {
		g.options.Report = task
		result, err = build.Run(ctx, g.options)
		return err
	})
	return result, err
}

// sameFiles finds groups whose files have the same names. Here each has its
// folder, but a release has one for all.
func sameFiles(groups []*group) []string {
	var found []string
	makers := map[string]*group{}
	for _, g := range groups {
		for _, cell := range g.plan.Cells {
			name := fmt.Sprintf("%s-%s-%s-%s", g.plan.Name, g.plan.Version, cell.Platform, cell.Arch)
			if other := makers[name]; other != nil && other != g {
				found = append(found, fmt.Sprintf("%s and %s both make %s; on a release that would be one file, so give the images different names or versions", other.cells[0], g.cells[0], name))
			}
			makers[name] = g
		}
	}
	return found
}
