package workflow

import (
	"strings"

	"github.com/rhysd/actionlint"
)

// opening begins an expression, and closing ends it.
const (
	opening = "${{"
	closing = "}}"
)

// maxExpression is GitHub's own limit, in characters.
const maxExpression = 21000

// part is a piece of a scalar: plain text, or an expression.
type part struct {
	text string // when tree is nil
	tree actionlint.ExprNode
	from int // offset of the expression's text in the scalar's value
}

// expressionFault is what is wrong with an expression, and where in the
// scalar's value.
type expressionFault struct {
	offset  int
	message string
}

func (e *expressionFault) Error() string { return e.message }

// split takes a scalar's value apart. The grammar is GitHub's, with calls,
// comparisons and look-ups of any depth, and so another one than that of our
// templates; a linter for workflows has the parser.
func split(value string) ([]part, *expressionFault) {
	var parts []part
	for at := 0; at < len(value); {
		n := strings.Index(value[at:], opening)
		if n < 0 {
			return append(parts, part{text: value[at:]}), nil
		}
		if n > 0 {
			parts = append(parts, part{text: value[at : at+n]})
		}
		begin := at + n
		from := begin + len(opening)
		if !strings.Contains(value[from:], closing) {
			return nil, &expressionFault{begin, "the expression has no end; close it with }}"}
		}
		// The lexer finds the end itself, as "}}" may stand in a literal; but it
		// has to be bounded, and its parser recurses.
		source := value[from:]
		if len(source) > maxExpression {
			source = source[:maxExpression]
		}
		lexer := actionlint.NewExprLexer(source)
		tree, err := actionlint.NewExprParser().Parse(lexer)
		if err != nil {
			return nil, &expressionFault{from + min(max(err.Offset, 0), len(source)), "not an expression: " + err.Message}
		}
		parts = append(parts, part{tree: tree, from: from})
		at = from + lexer.Offset()
	}
	return parts, nil
}

// lookUp takes a chain of look-ups apart: github.event.number is github and
// [event number]. ok is false when it is something else.
func lookUp(node actionlint.ExprNode) (root *actionlint.VariableNode, names []string, ok bool) {
	for {
		switch n := node.(type) {
		case *actionlint.VariableNode:
			return n, names, true
		case *actionlint.ObjectDerefNode:
			names = append([]string{n.Property}, names...)
			node = n.Receiver
		case *actionlint.IndexAccessNode:
			index, literal := n.Index.(*actionlint.StringNode)
			if !literal {
				return nil, nil, false
			}
			names = append([]string{index.Value}, names...)
			node = n.Operand
		default:
			return nil, nil, false
		}
	}
}
