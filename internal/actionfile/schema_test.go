package actionfile_test

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rhysd/actionlint"
	"gopkg.in/yaml.v3"
)

// schema judges an action.yml as GitHub's own schema does; testdata/github
// says where it is from. A definition is a scalar, a mapping, a sequence or a
// choice; "context" lists what an expression in it may look up.
type schema struct {
	Definitions map[string]definition `json:"definitions"`
}

type definition struct {
	Context []string `json:"context"`
	String  *struct {
		NonEmpty bool `json:"require-non-empty"`
	} `json:"string"`
	Boolean *struct{} `json:"boolean"`
	Mapping *struct {
		Properties map[string]property `json:"properties"`
		LooseKey   string              `json:"loose-key-type"`
		LooseValue string              `json:"loose-value-type"`
	} `json:"mapping"`
	Sequence *struct {
		Item string `json:"item-type"`
	} `json:"sequence"`
	OneOf   []string `json:"one-of"`
	Allowed []string `json:"allowed-values"`
}

// property is the name of a definition, or an object around it.
type property struct {
	Type     string
	Required bool
}

func (p *property) UnmarshalJSON(text []byte) error {
	if err := json.Unmarshal(text, &p.Type); err == nil {
		return nil
	}
	type plain property
	return json.Unmarshal(text, (*plain)(p))
}

func readSchema(t *testing.T) *schema {
	t.Helper()
	text, err := os.ReadFile("testdata/github/action-v1.0.json")
	if err != nil {
		t.Fatal(err)
	}
	s := &schema{}
	if err := json.Unmarshal(text, s); err != nil {
		t.Fatal(err)
	}
	s.Definitions["string"] = definition{String: &struct {
		NonEmpty bool `json:"require-non-empty"`
	}{}}
	s.Definitions["boolean"] = definition{Boolean: &struct{}{}}
	return s
}

// judge returns what is wrong with a document.
func (s *schema) judge(text []byte) []string {
	var document yaml.Node
	if err := yaml.Unmarshal(text, &document); err != nil {
		return []string{err.Error()}
	}
	return s.check(document.Content[0], "action-root-strict", "", nil)
}

func (s *schema) check(node *yaml.Node, name, at string, context []string) []string {
	if name == "any" {
		return nil
	}
	d, ok := s.Definitions[name]
	if !ok {
		return []string{"the schema has no " + name}
	}
	context = append(slices.Clone(context), d.Context...)
	wrong := func(format string, args ...any) []string {
		return []string{fmt.Sprintf("line %d: %s: %s", node.Line, at, fmt.Sprintf(format, args...))}
	}
	switch {
	case d.Mapping != nil && node.Kind == yaml.MappingNode:
		return s.checkMapping(node, d, at, context)
	case d.Mapping != nil:
		return wrong("want a mapping")
	case d.Sequence != nil && node.Kind == yaml.SequenceNode:
		var faults []string
		for i, item := range node.Content {
			faults = append(faults, s.check(item, d.Sequence.Item, fmt.Sprintf("%s[%d]", at, i), context)...)
		}
		return faults
	case d.Sequence != nil:
		return wrong("want a sequence")
	case len(d.OneOf) > 0:
		var faults []string
		for _, each := range d.OneOf {
			if faults = s.check(node, each, at, context); len(faults) == 0 {
				return nil
			}
		}
		return faults
	case node.Kind != yaml.ScalarNode:
		return wrong("want %s", name)
	case d.Allowed != nil && !slices.Contains(d.Allowed, node.Value):
		return wrong("%q is not one of %s", node.Value, name)
	case d.Boolean != nil && node.Tag != "!!bool":
		return wrong("want true or false")
	case d.String != nil && d.String.NonEmpty && node.Value == "":
		return wrong("is empty")
	}
	for _, fault := range checkExpressions(node.Value, name == "runs-if", context) {
		return wrong("%s", fault)
	}
	return nil
}

func (s *schema) checkMapping(node *yaml.Node, d definition, at string, context []string) []string {
	var faults []string
	seen := map[string]bool{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		field := strings.TrimPrefix(at+"."+key.Value, ".")
		if seen[strings.ToLower(key.Value)] {
			faults = append(faults, fmt.Sprintf("line %d: %s is there twice", key.Line, field))
		}
		seen[strings.ToLower(key.Value)] = true
		switch p, known := d.Mapping.Properties[key.Value]; {
		case known:
			faults = append(faults, s.check(value, p.Type, field, context)...)
		case d.Mapping.LooseValue != "":
			faults = append(faults, s.check(value, d.Mapping.LooseValue, field, context)...)
		default:
			faults = append(faults, fmt.Sprintf("line %d: %s: unknown key", key.Line, field))
		}
	}
	for name, p := range d.Mapping.Properties {
		if p.Required && !seen[name] {
			faults = append(faults, fmt.Sprintf("line %d: %s.%s is missing", node.Line, at, name))
		}
	}
	return faults
}

// everywhere are the functions that need no context
// (docs.github.com, "Evaluate expressions in workflows and actions").
var everywhere = []string{"contains", "startswith", "endswith", "format", "join", "tojson", "fromjson"}

var anExpression = regexp.MustCompile(`(?s)\$\{\{(.*?)\}\}`)

// checkExpressions parses each ${{ }} in text, or all of it where it is a
// condition, and names what may not be looked up there.
func checkExpressions(text string, condition bool, context []string) []string {
	var sources []string
	for _, m := range anExpression.FindAllStringSubmatch(text, -1) {
		sources = append(sources, m[1])
	}
	if condition && len(sources) == 0 {
		sources = []string{text}
	}
	if len(sources) > 0 && len(context) == 0 {
		return []string{"no expression may stand here"}
	}
	allowed := slices.Clone(everywhere)
	for _, each := range context {
		name, _, _ := strings.Cut(each, "(")
		allowed = append(allowed, strings.ToLower(name))
	}
	var faults []string
	for _, source := range sources {
		tree, err := actionlint.NewExprParser().Parse(actionlint.NewExprLexer(source + "}}"))
		if err != nil {
			faults = append(faults, err.Message)
			continue
		}
		actionlint.VisitExprNode(tree, func(node, _ actionlint.ExprNode, entering bool) {
			name := ""
			switch n := node.(type) {
			case *actionlint.VariableNode:
				name = n.Name
			case *actionlint.FuncCallNode:
				name = n.Callee
			}
			if entering && name != "" && !slices.Contains(allowed, strings.ToLower(name)) {
				faults = append(faults, name+" may not be used here")
			}
		})
	}
	return faults
}
