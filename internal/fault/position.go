package fault

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Position is a place in a file that a user wrote. Line and Column count from
// one; zero means unknown. Field is the path of the value, as in
// "provision[2].shell".
type Position struct {
	File   string `json:"file"`
	Line   int    `json:"line,omitempty"`
	Column int    `json:"column,omitempty"`
	Field  string `json:"field,omitempty"`
}

// String renders file:line:column, without the field.
func (p Position) String() string {
	switch {
	case p.Line == 0:
		return p.File
	case p.Column == 0:
		return fmt.Sprintf("%s:%d", p.File, p.Line)
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
}

// Located is an input fault with its position.
type Located struct {
	Position
	Message string `json:"message"`
}

// Error renders "file:line:column: field: message".
func (l *Located) Error() string {
	if l.Field == "" {
		return l.String() + ": " + l.Message
	}
	return l.String() + ": " + l.Field + ": " + l.Message
}

// List is every fault found in one input, reported together. Its kind is Input.
type List []*Located

// Add appends a fault.
func (l *List) Add(at Position, format string, args ...any) {
	*l = append(*l, &Located{Position: at, Message: fmt.Sprintf(format, args...)})
}

// Err returns nil for an empty list, otherwise the list sorted by position
// and classified as Input.
func (l List) Err() error {
	if len(l) == 0 {
		return nil
	}
	sorted := slices.Clone(l)
	slices.SortStableFunc(sorted, func(a, b *Located) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return Wrap(Input, sorted)
}

// Error renders one fault per line.
func (l List) Error() string {
	lines := make([]string, len(l))
	for i, each := range l {
		lines[i] = each.Error()
	}
	return strings.Join(lines, "\n")
}
