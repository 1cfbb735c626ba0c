package build

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/plan"
	"github.com/org/imagebuild-action/internal/workflow"
)

// MatrixOptions says which jobs a matrix is made of.
type MatrixOptions struct {
	Options                                                                        // what every template is planned with; its Template is not looked at
	Root      string                                                               // folder from which the cells name their templates; empty is the current one
	Templates []string                                                             // files
	Runners   map[string]string                                                    // labels by architecture, commas between several; wins over DefaultRunners
	Unchanged func(context.Context, Options, *plan.Plan) (map[CellKey]bool, error) // cells to leave out; nil leaves none
}

// CellKey names a cell within its template.
type CellKey struct{ Platform, Arch string }

// DefaultRunners are GitHub's own machines, by architecture.
var DefaultRunners = map[string]string{"amd64": "ubuntu-latest", "arm64": "ubuntu-24.04-arm"} //nolint:gochecknoglobals // a constant table

// Matrix is what a workflow's job takes with fromJSON.
type Matrix struct {
	Cells     []workflow.Object
	Unchanged int      // cells left out because nothing changed
	Notes     []string // for the user
	Cache     CacheKey // of all cells' builds, those left out too
}

// JSON is the matrix in one line.
func (m *Matrix) JSON() ([]byte, error) {
	list := make([]any, len(m.Cells))
	for i, cell := range m.Cells {
		list[i] = cell
	}
	return workflow.Object{{Name: "include", Value: list}}.MarshalJSON()
}

// The keys of a planned cell that choose nothing: for the workflow to use.
const (
	keyName   = "name"
	keyRunner = "runner"
	keyDigest = "digest"
)

// PlanMatrix plans every template and makes one cell of each platform and
// architecture. Variables that are given from outside and not sensitive become
// keys of the cell, so that its job builds what was planned.
func PlanMatrix(ctx context.Context, o MatrixOptions) (*Matrix, error) {
	b := &matrixBuilder{MatrixOptions: o, used: map[string]bool{}, names: map[string]string{}}
	var faults fault.List
	var errs []error
	for _, path := range o.Templates {
		err := b.add(ctx, path)
		var list fault.List
		switch {
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case errors.As(err, &list):
			faults = append(faults, list...)
		case err != nil:
			errs = append(errs, fmt.Errorf("%s: %w", path, err))
		}
	}
	if err := errors.Join(append(errs, faults.Err())...); err != nil {
		if len(errs) == 0 {
			return nil, faults.Err()
		}
		return nil, err
	}
	if err := b.unused(); err != nil {
		return nil, err
	}
	b.matrix.Cache = NewCacheKey(b.plans...)
	if n := len(b.matrix.Cells); n > workflow.MaxCells {
		return nil, fault.Errorf(fault.Input, "%d cells, and GitHub takes no more than %d jobs from one matrix; plan fewer templates or --platform in one job and the rest in another, or leave out what did not change with --changed-since", n, workflow.MaxCells)
	}
	return &b.matrix, nil
}

type matrixBuilder struct {
	MatrixOptions
	matrix Matrix
	used   map[string]bool   // choices that chose something, as "platform libvirt"
	names  map[string]string // artifact's name to template
	plans  []*plan.Plan
}

// unused refuses choices that no template knows.
func (b *matrixBuilder) unused() error {
	for _, each := range b.chosen() {
		if !b.used[each[0]+" "+each[1]] {
			return fault.Errorf(fault.Input, "%s %q: no template of %s has it", each[0], each[1], strings.Join(b.Templates, ", "))
		}
	}
	return nil
}

func (b *matrixBuilder) chosen() [][2]string {
	var all [][2]string
	for _, name := range b.Platforms {
		all = append(all, [2]string{"platform", name})
	}
	if b.Arch != "" {
		all = append(all, [2]string{"architecture", b.Arch})
	}
	for _, name := range slices.Sorted(maps.Keys(b.Vars)) {
		all = append(all, [2]string{"variable", name})
	}
	return all
}

// add plans one template.
func (b *matrixBuilder) add(ctx context.Context, path string) error {
	d, err := Describe(path)
	if err != nil {
		return err
	}
	o := b.Options
	o.Template, o.Platforms, o.Arch, o.Vars = path, nil, "", map[string]string{}
	vars := workflow.Object{}
	for _, v := range d.Variables {
		value, given := b.Vars[v.Name]
		if !given {
			continue
		}
		b.used["variable "+v.Name] = true
		o.Vars[v.Name] = value
		switch {
		case v.Sensitive:
			b.note("%s: the variable %s is sensitive and so not in the matrix; give it to the job with env", path, v.Name)
		case slices.Contains([]string{workflow.KeyTemplate, workflow.KeyPlatform, workflow.KeyArch, keyRunner}, v.Name):
			return fault.Errorf(fault.Input, "a matrix uses the key %s itself, so the variable of that name cannot be in it; rename the variable", v.Name)
		default:
			vars = append(vars, workflow.Member{Name: v.Name, Value: value})
		}
	}
	// Whatever else the cell has must not set a variable.
	if slices.Contains(d.Known.Variables, keyRunner) {
		return fault.Errorf(fault.Input, "the template has a variable called %s, and the matrix a key of that name, which would set it; rename the variable", keyRunner)
	}
	p, err := Plan(ctx, o)
	if err != nil {
		return err
	}
	b.plans = append(b.plans, p)
	var unchanged map[CellKey]bool
	if b.Unchanged != nil {
		if unchanged, err = b.Unchanged(ctx, o, p); err != nil {
			return err
		}
	}
	for _, cell := range p.Cells {
		if err := b.cell(path, d, p, cell, vars, unchanged); err != nil {
			return err
		}
	}
	return nil
}

func (b *matrixBuilder) cell(path string, d *Description, p *plan.Plan, cell *plan.Cell, vars workflow.Object, unchanged map[CellKey]bool) error {
	platform := len(b.Platforms) == 0 || slices.Contains(b.Platforms, cell.Platform)
	arch := b.Arch == "" || b.Arch == cell.Arch
	b.used["platform "+cell.Platform], b.used["architecture "+cell.Arch] = true, true
	if !platform || !arch {
		return nil
	}
	name := fmt.Sprintf("%s-%s-%s-%s", p.Name, p.Version, cell.Platform, cell.Arch)
	if other, found := b.names[name]; found {
		return fault.Errorf(fault.Input, "its %s and that of %s would be the same file of a release; give one template another name", name, other)
	}
	b.names[name] = path
	if unchanged[CellKey{cell.Platform, cell.Arch}] {
		b.matrix.Unchanged++
		return nil
	}
	labels, err := b.runner(cell.Arch)
	if err != nil {
		return err
	}
	if b.Root != "" {
		if path, err = filepath.Rel(b.Root, path); err != nil {
			return fault.Wrap(fault.Input, err)
		}
	}
	object := workflow.Object{{Name: workflow.KeyTemplate, Value: filepath.ToSlash(path)}}
	add := func(key string, value any) {
		if !slices.Contains(d.Known.Variables, key) {
			object = append(object, workflow.Member{Name: key, Value: value})
		}
	}
	add(keyName, p.Name)
	object = append(object, workflow.Member{Name: workflow.KeyPlatform, Value: cell.Platform}, workflow.Member{Name: workflow.KeyArch, Value: cell.Arch}, workflow.Member{Name: keyRunner, Value: labels})
	add(keyDigest, cell.Digest)
	b.matrix.Cells = append(b.matrix.Cells, append(object, vars...))
	return nil
}

// runner is a label, or a list of them, for runs-on.
func (b *matrixBuilder) runner(arch string) (any, error) {
	text, ok := b.Runners[arch]
	if !ok {
		text, ok = DefaultRunners[arch]
	}
	if !ok {
		return nil, fault.Errorf(fault.Input, "no runner is known for the architecture %s; name one with --runner %s=LABEL", arch, arch)
	}
	var labels []any
	for label := range strings.SplitSeq(text, ",") {
		if label = strings.TrimSpace(label); label != "" {
			labels = append(labels, label)
		}
	}
	switch len(labels) {
	case 0:
		return nil, fault.Errorf(fault.Input, "--runner %s=: want a label", arch)
	case 1:
		return labels[0], nil
	}
	return labels, nil
}

func (b *matrixBuilder) note(format string, args ...any) {
	b.matrix.Notes = append(b.matrix.Notes, fmt.Sprintf(format, args...))
}
