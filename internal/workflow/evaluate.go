package workflow

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/rhysd/actionlint"
	"gopkg.in/yaml.v3"
)

// scope is where an expression stands, and so what it can look up.
type scope struct {
	ctx    context.Context //nolint:containedctx // lives for one evaluation
	file   *File
	job    *yaml.Node
	step   *yaml.Node
	matrix Object
	within bool // whether there is a matrix here
	plan   Planner
	source string // of the expression, for messages
	depth  int    // of values in one another
	nodes  int    // looked at so far; aliases can multiply them
}

// maxNodes is GitHub's own limit.
const maxNodes = 50000

// value is a node's value with its expressions evaluated.
func (s *scope) value(node *yaml.Node) (any, error) {
	if s.nodes++; s.nodes > maxNodes {
		return nil, s.file.failAt(node, "the workflow is too large: its aliases stand for more than %d values", maxNodes)
	}
	if s.depth++; s.depth > maxDepth {
		return nil, s.file.failAt(node, "too many lists and mappings in one another")
	}
	defer func() { s.depth-- }()
	switch node = resolve(node); node.Kind {
	case yaml.SequenceNode:
		list := make([]any, len(node.Content))
		for i, item := range node.Content {
			var err error
			if list[i], err = s.value(item); err != nil {
				return nil, err
			}
		}
		return list, nil
	case yaml.MappingNode:
		object := Object{}
		for key, content := range members(node) {
			item, err := s.value(content)
			if err != nil {
				return nil, err
			}
			object = object.set(key.Value, item)
		}
		return object, nil
	case yaml.ScalarNode:
		return s.scalar(node)
	}
	return nil, s.file.failAt(node, "an alias that never ends")
}

// scalar evaluates the expressions of a scalar. One that is nothing but an
// expression has that one's type; any other is text.
func (s *scope) scalar(node *yaml.Node) (any, error) {
	if !strings.Contains(node.Value, opening) {
		return literal(node), nil
	}
	return s.text(node, node.Value, 0)
}

// text evaluates a part of a scalar, which begins at an offset in its value.
func (s *scope) text(node *yaml.Node, value string, offset int) (any, error) {
	parts, wrong := split(value)
	if wrong != nil {
		return nil, s.file.fail(s.file.doc.Lines.Locate(node, offset+wrong.offset), "%s", wrong.message)
	}
	var text strings.Builder
	for _, each := range parts {
		if each.tree == nil {
			text.WriteString(each.text)
			continue
		}
		outer := s.source
		s.source = value[each.from:]
		found, err := s.evaluate(each.tree)
		s.source = outer
		if errors.As(err, &wrong) {
			return nil, s.file.fail(s.file.doc.Lines.Locate(node, offset+each.from+wrong.offset), "%s", wrong.message)
		} else if err != nil {
			return nil, err
		}
		if len(parts) == 1 {
			return found, nil
		}
		text.WriteString(Text(found))
	}
	return text.String(), nil
}

func wrongAt(node actionlint.ExprNode, format string, args ...any) error {
	return &expressionFault{node.Token().Offset, fmt.Sprintf(format, args...)}
}

func (s *scope) evaluate(node actionlint.ExprNode) (any, error) {
	switch n := node.(type) {
	case *actionlint.NullNode:
		return nil, nil
	case *actionlint.BoolNode:
		return n.Value, nil
	case *actionlint.IntNode:
		return float64(n.Value), nil
	case *actionlint.FloatNode:
		return n.Value, nil
	case *actionlint.StringNode:
		return n.Value, nil
	case *actionlint.NotOpNode:
		value, err := s.evaluate(n.Operand)
		return !truthy(value), err
	case *actionlint.LogicalOpNode:
		left, err := s.evaluate(n.Left)
		if err != nil || truthy(left) == (n.Kind == actionlint.LogicalOpNodeKindOr) {
			return left, err
		}
		return s.evaluate(n.Right)
	case *actionlint.CompareOpNode:
		return s.compare(n)
	case *actionlint.FuncCallNode:
		return s.call(n)
	case *actionlint.VariableNode, *actionlint.ObjectDerefNode, *actionlint.IndexAccessNode:
		return s.find(node)
	}
	return nil, wrongAt(node, "a filter with * cannot be evaluated here; write the values out")
}

func (s *scope) compare(n *actionlint.CompareOpNode) (any, error) {
	left, err := s.evaluate(n.Left)
	if err != nil {
		return nil, err
	}
	right, err := s.evaluate(n.Right)
	if err != nil {
		return nil, err
	}
	a, isText := left.(string)
	b, both := right.(string)
	order := func() (less, same bool) {
		if isText && both {
			a, b := strings.ToUpper(a), strings.ToUpper(b)
			return a < b, a == b
		}
		x, y := toNumber(left), toNumber(right)
		return x < y, x == y
	}
	less, same := order()
	greater := !less && !same && (isText && both || toNumber(left) > toNumber(right))
	switch n.Kind {
	case actionlint.CompareOpNodeKindEq:
		return equal(left, right), nil
	case actionlint.CompareOpNodeKindNotEq:
		return !equal(left, right), nil
	case actionlint.CompareOpNodeKindLess:
		return less, nil
	case actionlint.CompareOpNodeKindLessEq:
		return less || same, nil
	case actionlint.CompareOpNodeKindGreater:
		return greater, nil
	}
	return greater || same, nil
}

// find evaluates a look-up.
func (s *scope) find(node actionlint.ExprNode) (any, error) {
	if root, names, ok := lookUp(node); ok && !strings.EqualFold(root.Name, "matrix") {
		return s.context(root, names)
	}
	var receiver, key any
	var err error
	switch n := node.(type) {
	case *actionlint.VariableNode:
		if !s.within {
			return nil, wrongAt(n, "matrix cannot be looked up here")
		}
		return s.matrix, nil
	case *actionlint.ObjectDerefNode:
		key = n.Property
		receiver, err = s.evaluate(n.Receiver)
	case *actionlint.IndexAccessNode:
		if receiver, err = s.evaluate(n.Operand); err == nil {
			key, err = s.evaluate(n.Index)
		}
	}
	if err != nil {
		return nil, err
	}
	switch r := receiver.(type) {
	case Object:
		value, _ := r.Get(Text(key)) // what is not there is null
		return value, nil
	case []any:
		if i := toNumber(key); i >= 0 && i < float64(len(r)) {
			return r[int(i)], nil
		}
	}
	return nil, nil
}

// context looks up what GitHub knows and we may not.
func (s *scope) context(root *actionlint.VariableNode, names []string) (any, error) {
	whole := strings.Join(append([]string{root.Name}, names...), ".")
	// The parser makes names lower-case; show what was written.
	if written := s.source[min(root.Token().Offset, len(s.source)):]; len(written) >= len(whole) && strings.EqualFold(written[:len(whole)], whole) {
		whole = written[:len(whole)]
	}
	at := func(format string, args ...any) error {
		return &expressionFault{root.Token().Offset, fmt.Sprintf(format, args...)}
	}
	switch strings.ToLower(root.Name) {
	case "env":
		if len(names) == 1 {
			return s.env(names[0])
		}
	case "needs":
		if len(names) == 3 && strings.EqualFold(names[1], "outputs") {
			return s.output(root, names[0], names[2])
		}
	case "inputs", "vars", "secrets", "github", "steps", "job", "jobs", "runner", "strategy":
	default:
		return nil, at("%s is not a context of GitHub's", root.Name)
	}
	remedy := "write the values here"
	if s.within {
		remedy = "write the value here, or give it on the command line (--platform, --arch, --version, --var)"
	}
	return nil, at("%s is known to GitHub only; %s", whole, remedy)
}

// env looks a variable up where the step, its job or the workflow sets it.
// What nobody sets is empty, as it is for GitHub.
func (s *scope) env(name string) (any, error) {
	levels := []*yaml.Node{s.step, s.job, s.file.doc.Root}
	for i, level := range levels {
		for key, content := range members(get(level, "env")) {
			if !strings.EqualFold(key.Value, name) {
				continue
			}
			// A variable may be made of those further out only.
			outer := *s
			outer.step, outer.job = nil, nil
			if i == 0 {
				outer.job = s.job
			}
			if outer.depth++; outer.depth > maxDepth {
				return nil, s.file.failAt(content, "env.%s is made of itself", name)
			}
			value, err := outer.value(content)
			return Text(value), err
		}
	}
	return nil, nil
}
