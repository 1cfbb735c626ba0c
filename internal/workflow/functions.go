package workflow

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strconv"
	"strings"

	"github.com/rhysd/actionlint"
)

// call evaluates the functions that depend on their arguments alone.
func (s *scope) call(n *actionlint.FuncCallNode) (any, error) {
	limits, known := map[string][2]int{
		"fromjson": {1, 1}, "tojson": {1, 1}, "format": {1, 100}, "join": {1, 2},
		"contains": {2, 2}, "startswith": {2, 2}, "endswith": {2, 2},
	}[strings.ToLower(n.Callee)]
	switch {
	case !known:
		return nil, wrongAt(n, "%s() cannot be evaluated outside of GitHub; write the value here", n.Callee)
	case len(n.Args) < limits[0] || len(n.Args) > limits[1]:
		return nil, wrongAt(n, "%s() takes %d to %d arguments, not %d", n.Callee, limits[0], limits[1], len(n.Args))
	}
	args := make([]any, len(n.Args))
	for i, arg := range n.Args {
		var err error
		if args[i], err = s.evaluate(arg); err != nil {
			return nil, err
		}
	}
	switch strings.ToLower(n.Callee) {
	case "fromjson":
		value, err := fromJSON(Text(args[0]))
		if err != nil {
			return nil, wrongAt(n.Args[0], "fromJSON: %v", err)
		}
		return value, nil
	case "tojson":
		return toJSON(n, args[0])
	case "format":
		return format(n, args)
	case "join":
		return join(args), nil
	case "contains":
		return contains(args[0], args[1]), nil
	case "startswith":
		return strings.HasPrefix(strings.ToUpper(Text(args[0])), strings.ToUpper(Text(args[1]))), nil
	}
	return strings.HasSuffix(strings.ToUpper(Text(args[0])), strings.ToUpper(Text(args[1]))), nil
}

func toJSON(n *actionlint.FuncCallNode, value any) (any, error) {
	text, err := compact(value)
	if err != nil {
		return nil, wrongAt(n, "toJSON: %v", err)
	}
	var out bytes.Buffer
	if err := json.Indent(&out, []byte(text), "", "  "); err != nil {
		return nil, wrongAt(n, "toJSON: %v", err)
	}
	return out.String(), nil
}

var placeholder = regexp.MustCompile(`\{\{|\}\}|\{([0-9]+)\}|[{}]`) //nolint:gochecknoglobals // compiled once

func format(n *actionlint.FuncCallNode, args []any) (any, error) {
	var err error
	text := placeholder.ReplaceAllStringFunc(Text(args[0]), func(found string) string {
		switch found {
		case "{{", "}}":
			return found[:1]
		case "{", "}":
			err = wrongAt(n, "format: a single %s; write it twice to mean it", found)
			return found
		}
		i, wrong := strconv.Atoi(found[1 : len(found)-1])
		if wrong != nil || i+1 >= len(args) {
			err = wrongAt(n, "format: there is no argument for %s", found)
			return found
		}
		return Text(args[i+1])
	})
	return text, err
}

func join(args []any) string {
	separator := ","
	if len(args) > 1 {
		separator = Text(args[1])
	}
	list, ok := args[0].([]any)
	if !ok {
		return Text(args[0])
	}
	words := make([]string, len(list))
	for i, item := range list {
		words[i] = Text(item)
	}
	return strings.Join(words, separator)
}

func contains(where, what any) bool {
	if list, ok := where.([]any); ok {
		for _, item := range list {
			if equal(item, what) {
				return true
			}
		}
		return false
	}
	return strings.Contains(strings.ToUpper(Text(where)), strings.ToUpper(Text(what)))
}
