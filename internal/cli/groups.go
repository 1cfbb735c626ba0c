package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/org/imagebuild-action/internal/build"
	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/plan"
	"github.com/org/imagebuild-action/internal/workflow"
)

// group is cells of a workflow that one build makes together: they differ in
// their platforms alone.
type group struct {
	options build.Options // Platforms, when not empty, are those of the cells
	plan    *plan.Plan
	shown   []string // values that tell it from others, without the sensitive ones
	cells   []string // for people
	folder  string   // below the output folder; empty is that itself
}

// grouper reads cells into groups.
type grouper struct {
	app       *app
	common    build.Options // of the command line
	file      *workflow.File
	described map[string]*build.Description
	used      map[string]bool // choices of the command line that chose something
	byKey     map[string]*group
	groups    []*group
	idle      []string // jobs' cells that build nothing, and why
}

// groups turns a workflow into what is to be built. Everything that can be
// known to be wrong is found here, before anything is built.
func (a *app) groups(ctx context.Context, common build.Options, w workflowFlags) ([]*group, error) {
	file, err := workflow.Load(w.path)
	if err != nil {
		return nil, err
	}
	jobs, err := file.Choose(w.job)
	if err != nil {
		return nil, err
	}
	g := &grouper{app: a, common: common, file: file, described: map[string]*build.Description{}, used: map[string]bool{}, byKey: map[string]*group{}}
	var errs []error
	for _, job := range jobs {
		cells, err := job.Cells(ctx, a.planner(file))
		if err != nil {
			errs = append(errs, err)
			continue
		}
		for _, cell := range cells {
			if err := g.add(cell); err != nil {
				errs = append(errs, err)
			}
		}
	}
	if err := errors.Join(once(errs)...); err != nil {
		return nil, err
	}
	if err := g.check(); err != nil {
		return nil, err
	}
	for _, each := range g.groups {
		each.plan, err = build.Plan(ctx, each.options)
		var list fault.List
		switch {
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case errors.As(err, &list): // has its places
			errs = append(errs, err)
		case err != nil:
			errs = append(errs, fmt.Errorf("%s: %w", each.cells[0], err))
		}
	}
	if err := errors.Join(once(errs)...); err != nil {
		return nil, err
	}
	nameFolders(g.groups)
	return g.groups, nil
}

// once drops what was said before: cells have their faults in common.
func once(errs []error) []error {
	seen := map[string]bool{}
	return slices.DeleteFunc(errs, func(err error) bool {
		again := seen[err.Error()]
		seen[err.Error()] = true
		return again
	})
}

// add puts a cell into its group, unless the command line wants others.
func (g *grouper) add(cell *workflow.Cell) error {
	command, _, err := cell.Input("command")
	if err != nil {
		return err
	}
	if command != "" && command != "build" {
		g.idle = append(g.idle, fmt.Sprintf("%s has the command %s", cell, command))
		return nil
	}
	in, err := g.inputs(cell)
	if err != nil {
		return err
	}
	path, d, err := g.template(cell, in)
	if err != nil {
		return err
	}
	own := map[string]string{}
	for key, value := range in.Vars {
		own[key] = value
	}
	for key, value := range g.common.Vars {
		if slices.Contains(d.Known.Variables, key) {
			own[key], g.used["variable "+key] = value, true
		}
	}
	in.Vars = own
	choice, err := workflow.Select(cell.Matrix, in, d.Known)
	if err != nil {
		return cell.Fault(workflow.KeyPlatform, err)
	}
	if !g.narrow(&choice, d) {
		return nil
	}
	version := g.common.Version
	if version == "" {
		if version, _, err = cell.Input("version"); err != nil {
			return err
		}
	}
	return g.put(cell, path, d, choice, version)
}

// inputs are the step's own, where the command line does not say otherwise.
func (g *grouper) inputs(cell *workflow.Cell) (in workflow.Inputs, err error) {
	if in.Template, _, err = cell.Input(workflow.KeyTemplate); err != nil {
		return in, err
	}
	in.Template = strings.TrimSpace(in.Template)
	platform, _, err := cell.Input(workflow.KeyPlatform)
	if err != nil && len(g.common.Platforms) == 0 {
		return in, err
	}
	if platform != "" && err == nil {
		in.Platforms = []string{platform}
	}
	if in.Arch, _, err = cell.Input(workflow.KeyArch); err != nil && g.common.Arch == "" {
		return in, err
	}
	in.Vars, err = cell.Variables("variables", g.common.Vars)
	return in, err
}

// template finds the cell's template, which is named from the repository's
// root.
func (g *grouper) template(cell *workflow.Cell, in workflow.Inputs) (string, *build.Description, error) {
	name, err := workflow.Template(cell.Matrix, in)
	if err != nil {
		return "", nil, cell.Fault(workflow.KeyTemplate, err)
	}
	if name != "" && !filepath.IsLocal(name) {
		return "", nil, cell.Fault(workflow.KeyTemplate, fmt.Errorf("the template %q lies outside of the repository; name it from the repository's root", name))
	}
	path, err := templateArgument([]string{filepath.Join(g.file.Folder(), name)})
	if err != nil {
		return "", nil, cell.Fault(workflow.KeyTemplate, err)
	}
	if g.described[path] == nil {
		if g.described[path], err = build.Describe(path); err != nil {
			return "", nil, err
		}
	}
	return path, g.described[path], nil
}

// narrow applies --platform and --arch; false leaves the cell out.
func (g *grouper) narrow(choice *workflow.Choice, d *build.Description) bool {
	if len(choice.Platforms) == 0 && len(g.common.Platforms) > 0 {
		choice.Platforms = d.Known.Platforms
	}
	if len(g.common.Platforms) > 0 {
		choice.Platforms = slices.DeleteFunc(slices.Clone(choice.Platforms), func(name string) bool { return !slices.Contains(g.common.Platforms, name) })
		for _, name := range choice.Platforms {
			g.used["platform "+name] = true
		}
		if len(choice.Platforms) == 0 {
			return false
		}
	}
	if g.common.Arch != "" {
		if choice.Arch != "" && choice.Arch != g.common.Arch {
			return false
		}
		choice.Arch = g.common.Arch
	}
	return true
}

// put adds the cell to the group of those that can share its build.
func (g *grouper) put(cell *workflow.Cell, path string, d *build.Description, choice workflow.Choice, version string) error {
	// Only the keys that the template looks up keep cells apart.
	maps.DeleteFunc(choice.Matrix, func(key, _ string) bool { return !slices.Contains(d.MatrixKeys, key) })
	env := g.env(cell, d)
	key := fmt.Sprintf("%q %q %q %q %q %q", path, version, choice.Arch, choice.Vars, choice.Matrix, env) // fmt sorts a map's keys
	own := g.byKey[key]
	if own == nil {
		own = &group{options: g.common}
		own.options.Template, own.options.Version, own.options.Arch = path, version, choice.Arch
		own.options.Vars, own.options.Matrix, own.options.Platforms = choice.Vars, choice.Matrix, nil
		own.options.LookupEnv = func(name string) (string, bool) {
			if value, set := env[name]; set {
				return value, true
			}
			return g.common.LookupEnv(name)
		}
		own.shown = shown(d, choice)
		g.byKey[key] = own
		g.groups = append(g.groups, own)
	}
	own.cells = append(own.cells, cell.String())
	switch {
	case len(choice.Platforms) == 0: // all of them
		own.options.Platforms = append(own.options.Platforms, d.Known.Platforms...)
	default:
		own.options.Platforms = append(own.options.Platforms, choice.Platforms...)
	}
	slices.Sort(own.options.Platforms)
	own.options.Platforms = slices.Compact(own.options.Platforms)
	var err error
	own.options.Epoch, err = build.Epoch(own.options.LookupEnv)
	return err
}

// env is what the workflow sets of the environment that decides something. The
// environment here wins, so that a value can be given by hand.
func (g *grouper) env(cell *workflow.Cell, d *build.Description) map[string]string {
	env := map[string]string{}
	for _, name := range append([]string{"SOURCE_DATE_EPOCH"}, d.EnvNames...) {
		if value, _ := g.common.LookupEnv(name); value != "" {
			continue
		}
		if value, set := cell.Env(name); set {
			env[name] = value
		}
	}
	return env
}

// shown is what tells a group from others of its image in a folder's name.
func shown(d *build.Description, choice workflow.Choice) []string {
	var words []string
	for _, v := range d.Variables {
		if value := choice.Vars[v.Name]; value != "" && !v.Sensitive {
			words = append(words, imageName(value))
		}
	}
	for _, key := range slices.Sorted(maps.Keys(choice.Matrix)) {
		if choice.Vars[key] == "" {
			words = append(words, imageName(choice.Matrix[key]))
		}
	}
	if choice.Arch != "" {
		words = append(words, choice.Arch)
	}
	return words
}

// check refuses a command line that chose nothing.
func (g *grouper) check() error {
	for _, name := range g.common.Platforms {
		if !g.used["platform "+name] {
			return fault.Errorf(fault.Input, "%s: no cell of the workflow has the platform %q", g.file.Path(), name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(g.common.Vars)) {
		if !g.used["variable "+name] {
			return fault.Errorf(fault.Input, "--var %s: no template of the workflow has such a variable", name)
		}
	}
	switch {
	case len(g.groups) > 0:
		return nil
	case len(g.idle) > 0:
		return fault.Errorf(fault.Input, "%s: nothing to build: %s", g.file.Path(), strings.Join(g.idle, ", "))
	}
	return fault.Errorf(fault.Input, "%s: no cell of the workflow has the architecture %q", g.file.Path(), g.common.Arch)
}

// nameFolders gives each group a folder of its own: the image's name, with what tells
// it from others of that name. A single one needs none.
func nameFolders(groups []*group) {
	if len(groups) == 1 {
		return
	}
	taken := map[string]int{}
	for _, g := range groups {
		taken[g.plan.Name]++
	}
	used := map[string]bool{}
	for _, g := range groups {
		g.folder = g.plan.Name
		if taken[g.plan.Name] > 1 {
			g.folder = strings.Join(append([]string{g.plan.Name}, g.shown...), "-")
		}
		for n, first := 2, g.folder; used[g.folder]; n++ {
			g.folder = fmt.Sprintf("%s-%d", first, n)
		}
		used[g.folder] = true
	}
}
