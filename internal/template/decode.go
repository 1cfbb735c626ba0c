package template

import (
	"cmp"
	"encoding"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/org/imagebuild-action/internal/fault"
)

var nodeType = reflect.TypeFor[*yaml.Node]() //nolint:gochecknoglobals // a constant

// decoder fills Go values from nodes. It reports faults and goes on.
type decoder struct {
	file   *File
	look   lookup
	public bool // decode the public form
	faults *fault.List

	compiled map[string]*regexp.Regexp
}

// matches tells whether text is what a pattern of the tags asks for.
func (d *decoder) matches(pattern, text string) bool {
	if d.compiled == nil {
		d.compiled = map[string]*regexp.Regexp{}
	}
	if d.compiled[pattern] == nil {
		d.compiled[pattern] = regexp.MustCompile(pattern) // Check has seen it
	}
	return d.compiled[pattern].MatchString(text)
}

// MaxFaults is how many faults are looked for before Resolve says that there
// are more.
const MaxFaults = 100

func (d *decoder) add(node *yaml.Node, field, format string, args ...any) {
	d.report(place{Line: node.Line, Column: node.Column}, field, format, args...)
}

func (d *decoder) addAt(node *yaml.Node, offset int, field, format string, args ...any) {
	if len(*d.faults) < MaxFaults { // finding the place takes time
		d.report(d.file.lines.Locate(node, offset), field, format, args...)
	}
}

func (d *decoder) report(at place, field, format string, args ...any) {
	if len(*d.faults) < MaxFaults {
		d.faults.Add(d.file.position(at, field), format, args...)
	}
}

// durationPattern is how a duration is written.
const durationPattern = `^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$`

// value decodes node into v, which rules describes.
func (d *decoder) value(node *yaml.Node, v reflect.Value, rules field, path string) {
	t := v.Type()
	if node.Kind == yaml.AliasNode {
		return // reported with the structure
	}
	if t == nodeType {
		v.Set(reflect.ValueOf(node)) // decoded by who knows the registry
		return
	}
	if t.Kind() == reflect.Pointer {
		// Keep what New put there: it holds the defaults.
		fresh := reflect.New(t.Elem())
		if !v.IsNil() {
			fresh.Elem().Set(v.Elem())
		}
		d.value(node, fresh.Elem(), rules, path)
		v.Set(fresh)
		return
	}
	scalarType := t == durationType || isText(t)
	switch {
	case scalarType || t.Kind() != reflect.Slice && t.Kind() != reflect.Map && t.Kind() != reflect.Struct:
		d.scalarValue(node, v, rules, path)
	case t.Kind() == reflect.Slice:
		d.list(node, v, rules, path)
	case t.Kind() == reflect.Map:
		d.mapping(node, v, rules, path)
	default:
		d.structure(node, path, v)
	}
}

func (d *decoder) list(node *yaml.Node, v reflect.Value, rules field, path string) {
	if node.Kind != yaml.SequenceNode {
		d.wrongType(node, v.Type(), path)
		return
	}
	if rules.nonempty && len(node.Content) == 0 {
		d.add(node, path, "the list is empty; remove the key, or name something")
	}
	list := reflect.MakeSlice(v.Type(), len(node.Content), len(node.Content))
	for i, item := range node.Content {
		d.value(item, list.Index(i), rules, fmt.Sprintf("%s[%d]", path, i))
	}
	v.Set(list)
}

func (d *decoder) mapping(node *yaml.Node, v reflect.Value, rules field, path string) {
	if node.Kind != yaml.MappingNode {
		d.wrongType(node, v.Type(), path)
		return
	}
	m := reflect.MakeMap(v.Type())
	for key, content := range pairs(node) {
		within := child(path, key.Value)
		if rules.keys != "" && !d.matches(rules.keys, key.Value) {
			d.add(key, within, "%q cannot be a key here; want %s", key.Value, cmp.Or(rules.hint, "what matches "+rules.keys))
		}
		item := reflect.New(v.Type().Elem()).Elem()
		if item.Kind() == reflect.String && !isText(item.Type()) && content.Kind == yaml.ScalarNode && !isNull(content) {
			// In a mapping of strings numbers are at home: PORT: 80.
			if s, ok := d.scalar(content, within); ok {
				item.SetString(s.text)
			}
		} else {
			d.value(content, item, rules, within)
		}
		m.SetMapIndex(reflect.ValueOf(key.Value).Convert(v.Type().Key()), item)
	}
	v.Set(m)
}

// structure decodes a mapping into structs, each of which takes its own keys.
func (d *decoder) structure(node *yaml.Node, path string, targets ...reflect.Value) {
	if isNull(node) {
		node = &yaml.Node{Kind: yaml.MappingNode, Line: node.Line, Column: node.Column}
	}
	if node.Kind != yaml.MappingNode {
		d.wrongType(node, targets[0].Type(), path)
		return
	}
	var known []string
	taken := map[string]bool{}
	for _, target := range targets {
		for _, f := range fieldsOf(target.Type()) {
			known = append(known, f.key)
			if content := mapValue(node, f.key); content != nil {
				taken[f.key] = true
				d.value(content, target.FieldByIndex(f.index), f, child(path, f.key))
			} else if f.required {
				d.add(node, child(path, f.key), "the key is missing; it is required: %s", f.doc)
			}
		}
	}
	for key := range pairs(node) {
		if !taken[key.Value] {
			d.add(key, child(path, key.Value), "unknown key%s", suggest(key.Value, known))
		}
	}
}

// scalarValue decodes everything that is written as one word.
func (d *decoder) scalarValue(node *yaml.Node, v reflect.Value, rules field, path string) {
	t := v.Type()
	if node.Kind != yaml.ScalarNode || isNull(node) {
		d.wrongType(node, t, path)
		return
	}
	s, ok := d.scalar(node, path)
	if !ok {
		return
	}
	free := t.Kind() == reflect.String && !isText(t) && rules.enum == nil && rules.pattern == ""
	if s.sensitive && !free {
		if !d.public {
			d.add(node, path, "a sensitive value can stand only where any text can")
		}
		return
	}
	switch {
	case t == literalType:
		v.SetString(s.text)
		return
	case t.Kind() == reflect.Bool:
		if s.tag == "!!bool" {
			v.SetBool(strings.EqualFold(s.text, "true"))
			return
		}
	case t != durationType && !isText(t) && t.Kind() != reflect.String:
		if s.tag == "!!int" {
			d.number(node, v, s, rules, path)
			return
		}
	case s.tag == "!!str" || s.computed:
		d.word(node, v, s, rules, path)
		return
	}
	if rules.enum != nil {
		d.add(node, path, "want one of %s, found %s", strings.Join(rules.enum, ", "), describe(node))
		return
	}
	d.wrongType(node, t, path)
}

func (d *decoder) number(node *yaml.Node, v reflect.Value, s scalar, rules field, path string) {
	n, err := strconv.ParseInt(s.text, 10, 64)
	switch {
	case err != nil || strings.HasPrefix(strings.TrimLeft(s.text, "+-"), "0") && strings.Trim(s.text, "+-0") != "":
		d.add(node, path, "%s is not a number that everybody reads alike; write decimal digits", s.text)
	case rules.min != nil && n < *rules.min:
		d.add(node, path, "%d is too small; the least is %d", n, *rules.min)
	case rules.max != nil && n > *rules.max:
		d.add(node, path, "%d is too large; the most is %d", n, *rules.max)
	case v.CanInt() && !v.OverflowInt(n):
		v.SetInt(n)
	case v.CanUint() && n >= 0 && !v.OverflowUint(uint64(n)):
		v.SetUint(uint64(n))
	default:
		d.add(node, path, "%d is out of range", n)
	}
}

func (d *decoder) word(node *yaml.Node, v reflect.Value, s scalar, rules field, path string) {
	switch t := v.Type(); {
	case t == durationType:
		length, err := time.ParseDuration(s.text)
		if err != nil || !d.matches(durationPattern, s.text) {
			d.add(node, path, "%q is not a duration; write a number with a unit, like 90s, 5m or 1h30m", s.text)
			return
		}
		v.SetInt(int64(length))
	case isText(t):
		if err := v.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(s.text)); err != nil {
			d.add(node, path, "%v", err)
		}
	case rules.enum != nil && !slices.Contains(rules.enum, s.text):
		d.add(node, path, "%q is not one of %s", s.text, strings.Join(rules.enum, ", "))
	case rules.pattern != "" && !d.matches(rules.pattern, s.text):
		d.add(node, path, "%q does not fit here; want %s", s.text, cmp.Or(rules.hint, "what matches "+rules.pattern))
	default:
		v.SetString(s.text)
	}
}

func (d *decoder) wrongType(node *yaml.Node, t reflect.Type, path string) {
	remedy := ""
	switch {
	case isNull(node):
		remedy = "; give it a value, or remove the key"
	case node.Kind == yaml.ScalarNode && (t.Kind() == reflect.String || isText(t)):
		remedy = "; put it in quotes"
	}
	d.add(node, path, "want %s, found %s%s", wanted(t), describe(node), remedy)
}
