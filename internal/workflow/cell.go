package workflow

import (
	"context"
	"errors"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/org/imagebuild-action/internal/fault"
)

// Cell is one combination of a job's matrix, for one step that uses the
// action.
type Cell struct {
	Job    string
	Matrix Object // empty when the job has no matrix
	scope  scope
}

// Cells expands the job's matrix, for every step that uses the action. plan
// makes the matrices that another job of the workflow plans; nil means that
// they are refused.
func (j *Job) Cells(ctx context.Context, plan Planner) ([]*Cell, error) {
	base := scope{ctx: ctx, file: j.file, job: j.node, plan: plan}
	all, err := base.combinations()
	if err != nil {
		return nil, err
	}
	var cells []*Cell
	for _, matrix := range all {
		for _, step := range j.steps {
			own := base
			own.matrix, own.within, own.step, own.nodes = matrix, true, step, 0
			cells = append(cells, &Cell{Job: j.ID, Matrix: matrix, scope: own})
		}
	}
	return cells, nil
}

// Input is what the step hands over under with, as text. given is false when
// the step does not name the input. The case of its name does not matter.
func (c *Cell) Input(name string) (text string, given bool, err error) {
	node := c.input(name)
	if node == nil {
		return "", false, nil
	}
	s := c.scope
	value, err := s.value(node)
	return Text(value), err == nil, err
}

// Variables reads an input that has variables, as ParseVariables does. Those
// that are given otherwise are not looked at, so that a secret which only
// GitHub knows can be given by hand.
func (c *Cell) Variables(name string, given map[string]string) (map[string]string, error) {
	node := c.input(name)
	if node == nil {
		return nil, nil
	}
	s := c.scope
	var text strings.Builder
	offset := 0
	for line := range strings.Lines(node.Value) {
		before, _, _ := strings.Cut(line, opening)
		variable := strings.TrimSpace(before[:max(0, strings.IndexAny(before, "=:"))])
		if _, known := given[variable]; !known {
			value, err := s.text(node, line, offset)
			if err != nil {
				return nil, err
			}
			text.WriteString(Text(value) + "\n")
		}
		offset += len(line)
	}
	vars, err := ParseVariables(text.String())
	return vars, c.Fault(name, err)
}

// Env is what the workflow, the job or the step sets an environment variable
// to. What only GitHub knows counts as not set, like what nobody sets.
func (c *Cell) Env(name string) (string, bool) {
	s := c.scope
	value, err := s.env(name)
	return Text(value), value != nil && err == nil
}

// At is where an input stands, or the step where it is not named.
func (c *Cell) At(name string) fault.Position {
	node := c.input(name)
	if node == nil {
		node = c.scope.step
	}
	return fault.Position{File: c.scope.file.path, Line: node.Line, Column: node.Column}
}

// Fault puts the place of an input before what is wrong with it.
func (c *Cell) Fault(name string, err error) error {
	var located *fault.Located
	if err == nil || errors.As(err, &located) {
		return err
	}
	at := c.At(name)
	at.Field = c.Job
	return fault.Wrap(fault.Input, &fault.Located{Position: at, Message: err.Error()})
}

func (c *Cell) input(name string) *yaml.Node {
	for key, content := range members(get(c.scope.step, "with")) {
		if strings.EqualFold(key.Value, name) {
			return content
		}
	}
	return nil
}

// String names the cell for a person: the job and the values of its matrix, as
// GitHub names the job.
func (c *Cell) String() string {
	var words []string
	for _, m := range c.Matrix {
		if word := Text(m.Value); word != "" {
			words = append(words, word)
		}
	}
	if len(words) == 0 {
		return c.Job
	}
	return c.Job + " (" + strings.Join(words, ", ") + ")"
}
