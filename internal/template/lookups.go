package template

import (
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// Variable is what a template says of a variable before it has a value.
type Variable struct {
	Name      string
	Sensitive bool
}

// Variables lists the variables that the template declares, in order. Nothing
// was resolved, so nothing was checked.
func (f *File) Variables() []Variable {
	var all []Variable
	for key, content := range pairs(mapValue(f.root, "variables")) {
		sensitive := mapValue(content, "sensitive")
		all = append(all, Variable{Name: key.Value, Sensitive: sensitive != nil && strings.EqualFold(sensitive.Value, "true")})
	}
	return all
}

// Archs lists a platform's architectures before anything is resolved. Where an
// expression gives them, the default stands in.
func (f *File) Archs(platform string) []string {
	content := mapValue(mapValue(f.root, "platforms"), platform)
	var archs []string
	if node := mapValue(content, "arch"); node != nil && node.Kind == yaml.SequenceNode {
		for _, item := range node.Content {
			if item.Kind == yaml.ScalarNode && !strings.Contains(item.Value, opening) {
				archs = append(archs, item.Value)
			}
		}
	}
	if len(archs) == 0 {
		archs = newPlatformHead(platform).Arch
	}
	return archs
}

// MatrixKeys lists the keys of the workflow's matrix that the template looks
// up, sorted: two cells that have these in common can be built together.
func (f *File) MatrixKeys() []string { return f.lookups("matrix", nil) }

// EnvNames lists the environment variables that the template looks up, sorted.
func (f *File) EnvNames() []string {
	var names []string
	for _, content := range pairs(mapValue(f.root, "variables")) {
		if node := mapValue(content, "env"); node != nil && node.Kind == yaml.ScalarNode && node.Value != "" {
			names = append(names, node.Value)
		}
	}
	return f.lookups("env", names)
}

// lookups adds to names those that expressions look up in a scope.
func (f *File) lookups(scope string, names []string) []string {
	var walk func(*yaml.Node)
	walk = func(node *yaml.Node) {
		for _, child := range node.Content {
			walk(child)
		}
		if node.Kind != yaml.ScalarNode || !strings.Contains(node.Value, opening) {
			return
		}
		segments, err := parseText(node.Value)
		if err != nil {
			return // Resolve reports it
		}
		for _, each := range segments {
			for _, operand := range each.alternatives {
				if operand.scope == scope {
					names = append(names, operand.name)
				}
			}
		}
	}
	walk(f.root)
	slices.Sort(names)
	return slices.Compact(names)
}
