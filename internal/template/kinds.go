package template

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

// DefaultTimeout is how long a step may take that does not say.
const DefaultTimeout = 30 * time.Minute

// platformHead is what every platform has besides its type's own keys.
type platformHead struct {
	Type string   `yaml:"type" doc:"Kind of the platform; its key unless given."`
	Arch []string `yaml:"arch" nonempty:"true" enum:"amd64,arm64" doc:"Architectures to build, in Debian's spelling."`
}

func newPlatformHead(name string) platformHead {
	return platformHead{Type: name, Arch: []string{"amd64"}}
}

func kindNames(kinds []Kind) []string {
	names := make([]string, len(kinds))
	for i, kind := range kinds {
		names[i] = kind.Name
	}
	slices.Sort(names)
	return names
}

func findKind(kinds []Kind, name string) *Kind {
	for i := range kinds {
		if kinds[i].Name == name {
			return &kinds[i]
		}
	}
	return nil
}

// source decodes the source section: a mapping with one kind for its key.
func (d *decoder) source(node *yaml.Node) Config {
	kind, content := d.oneKind(node, "source", "source", d.file.registry.Sources, nil)
	if kind == nil {
		return Config{}
	}
	return d.config(kind, content, "source."+kind.Name)
}

// oneKind finds the one key of a mapping that is a kind.
func (d *decoder) oneKind(node *yaml.Node, path, what string, kinds []Kind, common []string) (*Kind, *yaml.Node) {
	if node.Kind != yaml.MappingNode {
		d.add(node, path, "want a mapping with one of %s, found %s", strings.Join(kindNames(kinds), ", "), describe(node))
		return nil, nil
	}
	var found *Kind
	var first, content *yaml.Node
	unknown := false
	for key, each := range pairs(node) {
		kind := findKind(kinds, key.Value)
		switch {
		case slices.Contains(common, key.Value):
		case kind == nil:
			unknown = true
			if stepKind := findKind(d.file.registry.Steps, key.Value); stepKind != nil && common != nil {
				d.add(key, child(path, key.Value), "this kind cannot run as a test; those that can are %s", strings.Join(kindNames(kinds), ", "))
				continue
			}
			d.add(key, child(path, key.Value), "unknown %s kind%s", what, d.suggestKind(key.Value, kinds, common))
		case found != nil:
			d.add(key, child(path, key.Value), "a %s has one kind, and this one has %s on line %d already; make two of it", what, found.Name, first.Line)
		default:
			found, first, content = kind, key, each
		}
	}
	if found == nil && !unknown {
		d.add(node, path, "the %s has no kind; give it one of %s", what, strings.Join(kindNames(kinds), ", "))
	}
	return found, content
}

// suggestKind names the nearest word, kinds before the common keys, and lists
// the kinds otherwise.
func (d *decoder) suggestKind(written string, kinds []Kind, common []string) string {
	hint := suggest(written, slices.Concat(kindNames(kinds), common))
	if strings.HasPrefix(hint, "; known") {
		hint = "; known are " + strings.Join(kindNames(kinds), ", ")
		if common != nil {
			hint += ", and the keys " + strings.Join(common, ", ")
		}
	}
	return hint
}

// steps decodes the provision or test section.
func (d *decoder) steps(node *yaml.Node, path string, platforms []string) []Step {
	switch {
	case node == nil:
		return nil
	case isNull(node), node.Kind == yaml.SequenceNode && len(node.Content) == 0:
		d.add(node, path, "the list is empty; remove the key if there is nothing to do")
		return nil
	case node.Kind != yaml.SequenceNode:
		d.add(node, path, "want a list of steps, found %s; begin each step with a dash", describe(node))
		return nil
	}
	kinds := d.file.registry.Steps
	if path == "test" {
		kinds = slices.DeleteFunc(slices.Clone(kinds), func(k Kind) bool { return !k.Test })
	}
	steps := make([]Step, len(node.Content))
	for i, item := range node.Content {
		steps[i] = d.step(item, fmt.Sprintf("%s[%d]", path, i), kinds, platforms)
	}
	return steps
}

func (d *decoder) step(node *yaml.Node, path string, kinds []Kind, platforms []string) Step {
	step := Step{Timeout: DefaultTimeout, Field: path}
	fields := fieldsOf(reflect.TypeFor[Step]())
	common := make([]string, len(fields))
	for i, f := range fields {
		common[i] = f.key
	}
	kind, content := d.oneKind(node, path, "step", kinds, common)
	v := reflect.ValueOf(&step).Elem()
	for _, f := range fields {
		if content := mapValue(node, f.key); content != nil {
			d.value(content, v.FieldByIndex(f.index), f, child(path, f.key))
		}
	}
	d.chosen(node, path, "only", step.Only, platforms)
	d.chosen(node, path, "except", step.Except, platforms)
	if len(step.Only) > 0 && len(step.Except) > 0 {
		d.add(keyOf(node, "except"), path+".except", "only and except exclude each other; keep one")
	}
	if timeout := mapValue(node, "timeout"); step.Timeout <= 0 {
		d.add(timeout, path+".timeout", "the timeout must be longer than nothing")
	}
	if kind != nil {
		step.Config = d.config(kind, content, child(path, kind.Name))
	}
	return step
}

// chosen checks the platforms that a step names.
func (d *decoder) chosen(node *yaml.Node, path, key string, names, platforms []string) {
	list := mapValue(node, key)
	if list == nil || list.Kind != yaml.SequenceNode {
		return
	}
	for i, name := range names {
		if name != "" && !slices.Contains(platforms, name) {
			d.add(list.Content[i], fmt.Sprintf("%s.%s[%d]", path, key, i), "unknown platform %q; it is not under platforms%s", name, suggest(name, platforms))
		}
	}
}

// platforms decodes the platforms section.
func (d *decoder) platforms(node *yaml.Node, heads map[string]platformHead) []Platform {
	switch {
	case node == nil:
		return nil
	case isNull(node), node.Kind == yaml.MappingNode && len(node.Content) == 0:
		d.add(node, "platforms", "there is no platform; name at least one of %s", strings.Join(kindNames(d.file.registry.Platforms), ", "))
		return nil
	case node.Kind != yaml.MappingNode:
		d.add(node, "platforms", "want a mapping of platforms, found %s; write them as virtualbox: {}", describe(node))
		return nil
	}
	var all []Platform
	for key, content := range pairs(node) {
		all = append(all, d.platform(key, content, heads[key.Value]))
	}
	return all
}

func (d *decoder) platform(key, content *yaml.Node, head platformHead) Platform {
	path := "platforms." + key.Value
	if !d.matches(NamePattern, key.Value) {
		d.add(key, path, "%q does not make a good file name; want lower-case letters, digits, dots, dashes and underscores, at most 64", key.Value)
	}
	p := Platform{Name: key.Value, Arch: head.Arch}
	kind := findKind(d.file.registry.Platforms, head.Type)
	if kind == nil {
		at, known := key, kindNames(d.file.registry.Platforms)
		if node := mapValue(content, "type"); node != nil {
			at, path = node, path+".type"
		}
		d.add(at, path, "unknown platform type %q%s", head.Type, suggest(head.Type, known))
		return p
	}
	arch := mapValue(content, "arch")
	for i, each := range head.Arch {
		if each != "" && slices.Contains(head.Arch[:i], each) {
			d.add(arch.Content[i], fmt.Sprintf("%s.arch[%d]", path, i), "%s is there already", each)
		}
	}
	outer := d.look.platform
	d.look.platform = platformValues(Target{Name: key.Value, Type: head.Type})
	p.Config = d.config(kind, content, path, reflect.ValueOf(&head).Elem())
	d.look.platform = outer
	return p
}
