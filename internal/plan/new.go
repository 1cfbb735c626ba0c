package plan

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/redact"
	"github.com/org/imagebuild-action/internal/template"
)

// New resolves the template for every chosen platform and architecture. Its
// errors are the template's faults, all of them, or the input's.
func New(ctx context.Context, file *template.File, o Options) (*Plan, error) {
	scope := template.Scope{
		Vars: o.Vars, Env: o.Env, Version: o.Version, Tag: o.Tag, Matrix: o.Matrix, Redact: o.Redact,
	}
	whole, err := file.Resolve(scope)
	if err != nil {
		return nil, err
	}
	if err := o.check(whole.Platforms); err != nil {
		return nil, err
	}
	b := &builder{o: o, hasher: hasher{file: file, seen: map[string][]Input{}}, trees: map[string]*Tree{}}
	var faults fault.List
	for _, p := range whole.Platforms {
		for _, arch := range p.Arch {
			scope.Platform, scope.Arch = template.Target{Name: p.Name, Type: p.Kind}, arch
			t, err := file.Resolve(scope)
			var list fault.List
			switch {
			case errors.As(err, &list):
				faults = append(faults, list...)
			case err != nil:
				return nil, err
			case len(faults) == 0:
				if err := b.cell(ctx, t, p.Name, arch); err != nil {
					return nil, fmt.Errorf("plan %s %s: %w", p.Name, arch, err)
				}
			}
		}
	}
	if err := once(faults).Err(); err != nil {
		return nil, err
	}
	return b.plan(whole)
}

// once drops the faults that every platform has in common.
func once(faults fault.List) fault.List {
	seen := map[fault.Located]bool{}
	return slices.DeleteFunc(faults, func(l *fault.Located) bool {
		again := seen[*l]
		seen[*l] = true
		return again
	})
}

// check refuses choices that choose nothing.
func (o *Options) check(platforms []template.Platform) error {
	var names, archs []string
	matches := false
	for _, p := range platforms {
		names = append(names, p.Name)
		archs = append(archs, p.Arch...)
		for _, arch := range p.Arch {
			matches = matches || o.wants(p.Name, arch)
		}
	}
	slices.Sort(archs)
	for _, each := range []struct {
		what          string
		chosen, known []string
	}{{"platform", o.Platforms, names}, {"architecture", o.Archs, slices.Compact(archs)}} {
		for _, name := range each.chosen {
			if !slices.Contains(each.known, name) {
				return fault.Errorf(fault.Input, "%s %q is not in the template; it has %s", each.what, name, strings.Join(each.known, ", "))
			}
		}
	}
	if !matches {
		return fault.Errorf(fault.Input, "no platform chosen (%s) has an architecture chosen (%s)", strings.Join(o.Platforms, ", "), strings.Join(o.Archs, ", "))
	}
	return nil
}

func (o *Options) wants(platform, arch string) bool {
	return (len(o.Platforms) == 0 || slices.Contains(o.Platforms, platform)) && (len(o.Archs) == 0 || slices.Contains(o.Archs, arch))
}

// builder collects the cells: the chosen ones for the plan, all of them for
// the differences.
type builder struct {
	o        Options
	hasher   hasher
	trees    map[string]*Tree // by ID
	order    []*Tree          // of the chosen cells
	cells    []*Cell          // the chosen ones
	names    []CellName       // of all cells
	variants []variant        // of all cells
}

func (b *builder) plan(t *template.Template) (*Plan, error) {
	p := &Plan{
		Format: Format, Name: t.Name, Version: t.Version, SourceDateEpoch: b.o.Epoch.Unix(), Tools: maps.Clone(b.o.Tools),
		Trees: b.order, Cells: b.cells,
		Template: b.names, Release: t.Release, Differences: differences(b.variants),
	}
	return p, p.digest()
}

// digest takes the digest over all cells. The order of platforms in the
// template decides nothing.
func (p *Plan) digest() (err error) {
	sorted := slices.SortedFunc(slices.Values(p.Cells), func(x, y *Cell) int {
		return cmp.Or(cmp.Compare(x.Platform, y.Platform), cmp.Compare(x.Arch, y.Arch))
	})
	digests := make([]any, len(sorted))
	for i, cell := range sorted {
		digests[i] = cell.Digest
	}
	p.Digest, err = digest("plan", map[string]any{"cells": digests})
	return err
}

// cell adds one platform and architecture.
func (b *builder) cell(ctx context.Context, t *template.Template, platform, arch string) error {
	tree, v, err := b.tree(ctx, t, platform, arch)
	if err != nil {
		return err
	}
	v.platform, v.varies = platform, tree.Varies()
	b.variants = append(b.variants, v)
	b.names = append(b.names, CellName{platform, arch})
	if !b.o.wants(platform, arch) {
		return nil
	}
	if known := b.trees[tree.ID]; known != nil {
		tree = known
	} else {
		b.trees[tree.ID] = tree
		b.order = append(b.order, tree)
	}
	i := slices.IndexFunc(t.Platforms, func(p template.Platform) bool { return p.Name == platform })
	own := t.Platforms[i]
	cell := &Cell{Platform: platform, Type: own.Kind, Arch: arch, Config: own.Value, Public: b.shown(own.Config), TreeID: tree.ID, Tree: tree}
	if cell.Inputs, err = b.hasher.inputs(ctx, own.Config); err != nil {
		return err
	}
	for _, test := range t.Test {
		if test.Runs(platform) {
			step, err := b.step(ctx, &test)
			if err != nil {
				return err
			}
			cell.Tests = append(cell.Tests, step)
		}
	}
	cell.Digest, err = digest("cell", map[string]any{
		"tree": tree.ID, "name": t.Name, "version": t.Version, "arch": arch, "platform": platform, "type": own.Kind,
		"config": public(own.Config, true), "inputs": inputsOf(cell.Inputs),
	})
	b.cells = append(b.cells, cell)
	return err
}

// tree digests the source and the steps of one cell, each on top of the one
// before.
func (b *builder) tree(ctx context.Context, t *template.Template, platform, arch string) (*Tree, variant, error) {
	tree := &Tree{Arch: arch, Engine: t.Engine, Disk: t.Disk, KeepsDisk: t.KeepsDisk(), Source: Source{Kind: t.Source.Kind, Config: t.Source.Value, Public: b.shown(t.Source)}}
	if t.Engine == template.VM {
		tree.Machine = &t.Machine
	}
	if t.GuestTools {
		tree.GuestTools = slices.Sorted(slices.Values(b.o.GuestPackages))
	}
	v := variant{arch: arch}
	var err error
	if tree.Source.Inputs, err = b.hasher.inputs(ctx, t.Source); err != nil {
		return nil, v, err
	}
	// The disk's size is missing here on purpose: no step can see it, so a
	// larger disk needs no new provisioning.
	tree.Source.Digest, err = digest("source", map[string]any{
		"kind": t.Source.Kind, "config": public(t.Source, true), "inputs": inputsOf(tree.Source.Inputs),
		"arch": arch, "engine": t.Engine, "epoch": b.o.Epoch.Unix(), "tools": b.o.Tools, "guest_tools": tree.GuestTools,
		"filesystem": t.Disk.Filesystem, "firmware": t.Disk.Firmware,
	})
	if err != nil {
		return nil, v, err
	}
	v.source = tree.Source.Digest
	last := tree.Source.Digest
	for i := range t.Provision {
		from := &t.Provision[i]
		step, err := b.step(ctx, from)
		if err != nil {
			return nil, v, err
		}
		own, err := digest("step", map[string]any{
			"kind": step.Kind, "config": public(from.Config, true), "env": from.PublicEnv, "inputs": inputsOf(step.Inputs),
		})
		if err != nil {
			return nil, v, err
		}
		runs := from.Runs(platform)
		v.steps = append(v.steps, variantStep{step: from, name: step.Name, digest: own, runs: runs})
		if !runs {
			continue
		}
		if step.Digest, err = digest("checkpoint", map[string]any{"before": last, "step": own}); err != nil {
			return nil, v, err
		}
		last = step.Digest
		tree.Steps = append(tree.Steps, step)
	}
	// The name is the image's host name, given when everything else is done.
	tree.ID, err = digest("tree", map[string]any{"content": last, "disk": t.Disk, "name": t.Name})
	return tree, v, err
}

func (b *builder) step(ctx context.Context, from *template.Step) (Step, error) {
	step := Step{
		Name: cmp.Or(from.Name, label(from.Config)), Field: from.Field, Kind: from.Kind, Config: from.Value, Public: b.shown(from.Config),
		Env: from.Env, PublicEnv: maps.Clone(from.PublicEnv), Timeout: Duration(from.Timeout), Retries: from.Retries,
	}
	step.Name = b.o.Redact.String(step.Name)
	for name, value := range step.PublicEnv {
		step.PublicEnv[name] = b.o.Redact.String(value)
	}
	var err error
	if step.Inputs, err = b.hasher.inputs(ctx, from.Config); err != nil {
		return step, fmt.Errorf("%s: %w", from.Field, err)
	}
	return step, nil
}

// label names a step that has no name.
func label(c template.Config) string {
	if named, ok := c.Public.(fmt.Stringer); ok {
		return named.String()
	}
	for _, ref := range refs(c.Public) {
		if ref.Path != "" {
			return c.Kind + " " + portable(ref.Path)
		}
	}
	return c.Kind
}

// shown is the public form for people. What looks like a sensitive value is
// masked even where it came in by another way.
func (b *builder) shown(c template.Config) any { return mask(public(c, false), b.o.Redact) }

func mask(node any, set *redact.Set) any {
	switch n := node.(type) {
	case string:
		return set.String(n)
	case map[string]any:
		for key, item := range n {
			n[key] = mask(item, set)
		}
	case []any:
		for i, item := range n {
			n[i] = mask(item, set)
		}
	}
	return node
}

// public is the form of a configuration that may be printed, without this
// machine's paths.
func public(c template.Config, deciding bool) any {
	plain := template.Plain(c.Public, deciding)
	hidePaths(plain, c.Public)
	return plain
}
