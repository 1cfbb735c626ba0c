package template

import (
	"errors"
	"strings"

	"gopkg.in/yaml.v3"
)

// scalar is a YAML scalar after expansion.
type scalar struct {
	text      string
	tag       string // as YAML resolves it: "!!str", "!!int" and so on
	computed  bool   // the whole scalar was one expression: its text serves as a string too
	sensitive bool
}

// scalar expands a scalar node. ok is false when a fault was reported.
//
// For the public form a sensitive value is replaced by ${{scope.name}}, and
// what else looks like an expression is escaped, so that two templates have
// the same public form only if they say the same.
func (d *decoder) scalar(node *yaml.Node, field string) (scalar, bool) {
	if !strings.Contains(node.Value, opening) {
		return scalar{text: node.Value, tag: node.ShortTag()}, true
	}
	segments, err := parseText(node.Value)
	if err != nil {
		var wrong *exprError
		errors.As(err, &wrong)
		d.addAt(node, wrong.offset, field, "%s", wrong.message)
		return scalar{}, false
	}
	result := scalar{tag: "!!str"}
	var text, open strings.Builder // open is what lies between two sensitive values
	good := true
	for _, part := range segments {
		if len(part.alternatives) == 0 {
			open.WriteString(part.text)
			continue
		}
		v, spelled, ok := d.evaluate(node, field, part.alternatives)
		good = good && ok
		result.sensitive = result.sensitive || v.sensitive
		if !v.sensitive || !d.public {
			open.WriteString(v.text)
			continue
		}
		text.WriteString(d.plain(open.String(), true) + opening + spelled + closing)
		open.Reset()
	}
	result.text = text.String() + d.plain(open.String(), false)
	if len(segments) == 1 && len(segments[0].alternatives) > 0 && !result.sensitive {
		result.computed = true
		if tag := (&yaml.Node{Kind: yaml.ScalarNode, Value: result.text}).ShortTag(); tag != "!!null" && tag != "!!merge" {
			result.tag = tag
		}
	}
	return result, good
}

// plain escapes text that is not an expression for the public form. A dollar
// sign before an expression would escape that, so it becomes one itself.
func (d *decoder) plain(text string, before bool) string {
	if !d.public {
		return text
	}
	text = strings.ReplaceAll(text, opening, escaped)
	if rest, ok := strings.CutSuffix(text, "$"); ok && before {
		return rest + opening + "'$'" + closing
	}
	return text
}

// evaluate returns the first alternative that is defined and not empty, else
// the first that is defined, and how it is spelled. Every name is looked up,
// so that a wrong one is found even behind a value that wins.
func (d *decoder) evaluate(node *yaml.Node, field string, alternatives []operand) (found value, spelled string, ok bool) {
	ok = true
	for _, each := range alternatives {
		v, err := d.look.find(each)
		switch {
		case err != nil:
			d.addAt(node, each.offset, field, "%v", err)
			ok = false
		case v.broken:
			ok = false
		case v.defined && (!found.defined || found.text == ""):
			found, spelled = v, each.scope+"."+each.name
		}
	}
	if ok && !found.defined {
		last := alternatives[len(alternatives)-1]
		d.addAt(node, last.offset, field, "%s.%s has no value here; give it one, or a default: %s.%s || 'default'",
			last.scope, last.name, last.scope, last.name)
		ok = false
	}
	return found, spelled, ok
}
