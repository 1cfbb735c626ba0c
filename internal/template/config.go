package template

import (
	"errors"
	"io/fs"
	"os"
	"reflect"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// config decodes one kind's configuration and asks it what it thinks. others
// are structs whose keys stand in the same mapping.
func (d *decoder) config(kind *Kind, node *yaml.Node, path string, others ...reflect.Value) Config {
	start := len(*d.faults)
	configured := kind.New()
	short, ok := configured.(Scalar)
	switch {
	case ok && node.Kind == yaml.ScalarNode && !isNull(node):
		if s, good := d.scalar(node, path); good && (s.tag == "!!str" || s.computed) {
			short.FromScalar(s.text)
		} else if good {
			d.add(node, path, "want text or a mapping, found %s; put it in quotes", describe(node))
		}
	case ok && node.Kind == yaml.SequenceNode:
		d.add(node, path, "want text or a mapping, found a list")
	default:
		d.structure(node, path, append([]reflect.Value{reflect.ValueOf(configured).Elem()}, others...)...)
	}
	found := &configFaults{d: d, node: node, path: path, start: start, end: len(*d.faults)}
	if v, ok := configured.(Validator); ok {
		v.Validate(found)
	}
	if namer, ok := configured.(FileNamer); ok {
		for _, ref := range namer.Files() {
			d.file.exists(ref, found)
		}
	}
	return Config{Kind: kind.Name, Value: configured}
}

// exists checks a file that a configuration names. An empty path is the
// configuration's own business.
func (f *File) exists(ref FileRef, faults Faults) {
	if ref.Path == "" {
		return
	}
	_, err := os.Stat(f.Abs(ref.Path))
	var wrapped *fs.PathError
	switch {
	case err == nil:
	case errors.Is(err, fs.ErrNotExist):
		faults.Add(ref.Field, "%q does not exist; paths start from the template's folder", ref.Path)
	case errors.As(err, &wrapped):
		faults.Add(ref.Field, "%q cannot be used: %v", ref.Path, wrapped.Err)
	default:
		faults.Add(ref.Field, "%q cannot be used: %v", ref.Path, err)
	}
}

// configFaults places a configuration's faults. What the decoder found in the
// same field already is not said again in other words.
type configFaults struct {
	d          *decoder
	node       *yaml.Node
	path       string
	start, end int // of the configuration's own faults, before Validate
}

func (c *configFaults) Add(fieldPath, format string, args ...any) {
	path := c.path
	if fieldPath != "" {
		path = child(path, fieldPath)
	}
	for _, earlier := range (*c.d.faults)[c.start:c.end] {
		if within(earlier.Field, path) || within(path, earlier.Field) {
			return
		}
	}
	c.d.report(nearest(c.node, fieldPath), path, format, args...)
}

// nearest returns the place of a field, or of what should have held it.
func nearest(node *yaml.Node, fieldPath string) place {
	for _, step := range strings.FieldsFunc(fieldPath, func(r rune) bool { return r == '.' || r == '[' || r == ']' }) {
		var next *yaml.Node
		if i, err := strconv.Atoi(step); err == nil && node.Kind == yaml.SequenceNode && i >= 0 && i < len(node.Content) {
			next = node.Content[i]
		} else {
			next = mapValue(node, step)
		}
		if next == nil {
			break
		}
		node = next
	}
	return place{Line: node.Line, Column: node.Column}
}

var _ Faults = (*configFaults)(nil)
